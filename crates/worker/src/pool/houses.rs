//! Compartments that the versions of one tenant share, where a wall makes them so: who comes finds room in one that is there,
//! waits for one that is being built, or builds one.
//!
//! Shared is among versions under the same limits only: a slot's cgroup and scratch directory are made when the compartment
//! is. What does not fit (one zygote or bundle too many, no slot free) gets another compartment.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use bulkhead_types::{TenantId, WallKind};
use bulkhead_wall::{CompartmentSpec, Wall};
use tokio::sync::Notify;

use super::house::{House, Listener, Lodging};
use super::places::{Granted, Urgent};
use super::{Pool, TakeError};

/// What the versions in one compartment have in common.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct HouseKey {
    pub(super) tenant: TenantId,
    pub(super) wall: WallKind,
    pub(super) memory_mib: u64,
    pub(super) processes: u32,
    pub(super) scratch_mib: u64,
    pub(super) scratch_inodes: u64,
}

/// All that are shared.
#[derive(Default)]
pub(super) struct Houses {
    known: Mutex<HashMap<HouseKey, Known>>,
    /// One was built, or could not be.
    changed: Notify,
}

#[derive(Default)]
struct Known {
    houses: Vec<Weak<House>>,
    building: bool,
}

/// Who looks for room.
pub(super) struct Seeker<'a> {
    pub(super) key: &'a HouseKey,
    pub(super) bundle_bytes: u64,
    /// Where it has a zygote already.
    pub(super) not_in: Vec<Weak<House>>,
    pub(super) on_change: Listener,
    pub(super) urgent: Urgent,
}

enum Found {
    Room(Lodging),
    /// One is being built.
    Building,
    /// The seeker is to build one, if it has claimed that; else it may claim it.
    Nothing,
}

impl Houses {
    fn lock(&self) -> MutexGuard<'_, HashMap<HouseKey, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn seek(&self, seeker: &Seeker<'_>, claim: bool) -> Found {
        let mut known = self.lock();
        let of = known.entry(seeker.key.clone()).or_default();
        of.houses.retain(|house| house.strong_count() > 0);
        for house in of.houses.iter().filter_map(Weak::upgrade) {
            let lives_there =
                seeker.not_in.iter().any(|it| std::ptr::eq(it.as_ptr(), Arc::as_ptr(&house)));
            if lives_there || house.free_slots() == 0 {
                continue;
            }
            let room = house.move_in(seeker.bundle_bytes, Arc::clone(&seeker.on_change));
            if let Some(lodging) = room {
                return Found::Room(lodging);
            }
        }
        if of.building {
            return Found::Building;
        }
        of.building = claim;
        Found::Nothing
    }

    /// Whether there is one that may have room.
    pub(super) fn has_any(&self, key: &HouseKey) -> bool {
        let known = self.lock();
        known.get(key).is_some_and(|it| it.houses.iter().any(|house| house.strong_count() > 0))
    }

    /// Forgets those that are gone.
    pub(super) fn prune(&self) {
        self.lock().retain(|_, known| {
            known.houses.retain(|house| house.strong_count() > 0);
            known.building || !known.houses.is_empty()
        });
    }

    /// Room for the seeker, in a compartment that is there or that is built for it.
    pub(super) async fn lodge(
        pool: &Arc<Pool>,
        seeker: Seeker<'_>,
        (wall, spec): (&dyn Wall, CompartmentSpec),
    ) -> Result<Lodging, TakeError> {
        type Asking<'a> = Pin<Box<dyn Future<Output = Result<Granted, TakeError>> + Send + 'a>>;
        let houses = &pool.houses;
        let mut asking: Option<Asking<'_>> = None;
        let mut granted: Option<Granted> = None;
        let (claim, (place, _turn)) = loop {
            // Before the look, so that no change after it is missed.
            let changed = houses.changed.notified();
            match (houses.seek(&seeker, granted.is_some()), granted.take()) {
                (Found::Room(lodging), _) => return Ok(lodging),
                (Found::Building, _) => {
                    asking = None;
                    changed.await;
                }
                (Found::Nothing, Some(granted)) => {
                    break (Claim { houses, key: seeker.key }, granted);
                }
                (Found::Nothing, None) => {
                    let place = asking.get_or_insert_with(|| {
                        Box::pin(pool.place(&seeker.key.tenant, seeker.urgent.clone()))
                    });
                    tokio::select! {
                        place = place => {
                            granted = Some(place?);
                            asking = None;
                        }
                        () = changed => {}
                    }
                }
            }
        };
        let house = House::build(pool, place, wall, spec).await?;
        let lodging = house.move_in(seeker.bundle_bytes, seeker.on_change);
        claim.built(&house);
        lodging
            .ok_or_else(|| super::house::unavailable("bundle_transfer", "the bundle is too large"))
    }
}

/// The right to build the next one. Whoever waits for it looks again when this is dropped.
struct Claim<'a> {
    houses: &'a Houses,
    key: &'a HouseKey,
}

impl Claim<'_> {
    fn built(&self, house: &Arc<House>) {
        if let Some(known) = self.houses.lock().get_mut(self.key) {
            known.houses.push(Arc::downgrade(house));
        }
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        if let Some(known) = self.houses.lock().get_mut(self.key) {
            known.building = false;
        }
        self.houses.changed.notify_waiters();
    }
}

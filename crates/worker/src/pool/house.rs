//! A compartment, from built to destroyed, and the zygotes that live in it: one, or, behind walls that make compartments
//! for tenants, one for each of several versions.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use bulkhead_protocol::{BUNDLES_BYTES_MAX, ZYGOTES_EVER_MAX};
use bulkhead_wall::{Compartment, CompartmentSpec, Wall};

use super::places::Place;
use super::{Pool, TakeError};
use crate::mux::{Change, Guest, OnChange};
use crate::stats::Stats;

/// What is idle changes little: its memory is looked at again after this long, microseconds, or after it was used.
const MEASURED_FOR_US: u64 = 30_000_000;

/// A compartment. When the last zygote in it is let go of, it is destroyed.
pub(super) struct House {
    pub(super) guest: Arc<Guest>,
    /// Taken out by drop only.
    held: tokio::sync::Mutex<Option<Held>>,
    pool: Weak<Pool>,
    lodgers: Arc<Lodgers>,
    zygotes_max: usize,
    /// Forks fail here: nobody else moves in.
    shut: AtomicBool,
    /// What it kept when it was last looked at, bytes, and when that was; 0 is never.
    memory_bytes: AtomicU64,
    measured_us: AtomicU64,
}

/// The zygotes in a compartment, with who wants to know what happens there.
#[derive(Default)]
struct Lodgers(Mutex<Numbered>);

#[derive(Default)]
struct Numbered {
    last: u32,
    here: HashMap<u32, Lodger>,
}

struct Lodger {
    bundle_bytes: u64,
    died: Arc<AtomicBool>,
    on_change: Listener,
}

/// What is called when a slot gets free, or when this zygote or the whole compartment is gone.
pub(super) type Listener = Arc<dyn Fn() + Send + Sync>;

impl Lodgers {
    fn lock(&self) -> MutexGuard<'_, Numbered> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whoever is told may want to know more: nothing is locked then.
    fn changed(&self, change: Change) {
        let concerned: Vec<Listener> = {
            let numbered = self.lock();
            let concerns = |zygote: u32| match change {
                Change::ZygoteDied(dead) => zygote == dead,
                Change::SlotFree | Change::Broken => true,
            };
            let concerned = numbered.here.iter().filter(|(zygote, _)| concerns(**zygote));
            let told = concerned.map(|(_, lodger)| {
                if matches!(change, Change::ZygoteDied(_)) {
                    lodger.died.store(true, Ordering::Release);
                }
                Arc::clone(&lodger.on_change)
            });
            told.collect()
        };
        concerned.iter().for_each(|tell| tell());
    }
}

impl House {
    /// Builds a compartment. Whatever was built before a failure is destroyed.
    pub(super) async fn build(
        pool: &Arc<Pool>,
        place: Place,
        wall: &dyn Wall,
        spec: CompartmentSpec,
    ) -> Result<Arc<Self>, TakeError> {
        let wall_failed = |error: bulkhead_wall::WallError| TakeError::Unavailable {
            stage: error.stage,
            message: error.message,
        };
        let zygotes_max = spec.zygotes.max(1) as usize;
        let mut compartment = wall.create(spec).await.map_err(wall_failed)?;
        Stats::count(&pool.stats.compartments_built);
        let stream = compartment.take_stream();
        // From here on the compartment is in somebody's hands who destroys it.
        let built = Unfinished { pool: Arc::downgrade(pool), held: Some((compartment, place)) };
        let stream = stream.ok_or_else(|| unavailable("stream", "the wall gave no stream"))?;
        let lodgers: Arc<Lodgers> = Arc::default();
        let told = Arc::clone(&lodgers);
        let notice: OnChange = Box::new(move |change| told.changed(change));
        let guest = Guest::connect(stream, Arc::clone(&pool.monotonic), &pool.tasks, notice)
            .await
            .map_err(|broken| unavailable("guest", &broken.to_string()))?;
        Ok(Arc::new(Self {
            guest,
            held: tokio::sync::Mutex::new(built.finish()),
            pool: Arc::downgrade(pool),
            lodgers,
            zygotes_max,
            shut: AtomicBool::new(false),
            memory_bytes: AtomicU64::new(0),
            measured_us: AtomicU64::new(0),
        }))
    }

    /// Room for one more zygote with a bundle of so many bytes, if there is any.
    pub(super) fn move_in(
        self: &Arc<Self>,
        bundle_bytes: u64,
        on_change: Listener,
    ) -> Option<Lodging> {
        let died: Arc<AtomicBool> = Arc::default();
        let mut numbered = self.lodgers.lock();
        let used: u64 = numbered.here.values().map(|it| it.bundle_bytes).sum();
        let full = numbered.here.len() >= self.zygotes_max
            || numbered.last >= ZYGOTES_EVER_MAX
            || used.saturating_add(bundle_bytes) > BUNDLES_BYTES_MAX;
        if full || self.shut.load(Ordering::Acquire) || self.guest.is_broken() {
            return None;
        }
        numbered.last += 1;
        let zygote = numbered.last;
        let lodger = Lodger { bundle_bytes, died: Arc::clone(&died), on_change };
        numbered.here.insert(zygote, lodger);
        Some(Lodging { house: Arc::clone(self), zygote, died })
    }

    /// Takes nobody in any more.
    pub(super) fn shut(&self) {
        self.shut.store(true, Ordering::Release);
    }

    /// How many zygotes are here, on their way, or kept by attempts that still run.
    pub(super) fn zygotes(&self) -> usize {
        self.lodgers.lock().here.len()
    }

    pub(super) fn free_slots(&self) -> usize {
        self.guest.slots().saturating_sub(self.guest.slots_used()) as usize
    }

    /// Its memory, bytes, when it was last measured; 0 where it can't be told.
    pub(super) fn memory_bytes(&self) -> u64 {
        self.memory_bytes.load(Ordering::Acquire)
    }

    /// Measures its memory, unless it was measured since it was last used.
    pub(super) async fn measure(&self, used_us: u64, now_us: u64) {
        let measured_us = self.measured_us.load(Ordering::Acquire);
        let fresh = now_us.saturating_sub(measured_us) < MEASURED_FOR_US;
        if measured_us > 0 && fresh && measured_us > used_us {
            return;
        }
        let bytes = match self.held.lock().await.as_ref() {
            Some((compartment, _)) => compartment.memory_bytes().await.unwrap_or(0),
            None => 0,
        };
        self.memory_bytes.store(bytes, Ordering::Release);
        self.measured_us.store(now_us, Ordering::Release);
    }
}

impl Drop for House {
    fn drop(&mut self) {
        self.guest.close();
        if let Some(held) = self.held.get_mut().take() {
            destroy(&self.pool, held);
        }
    }
}

/// A zygote's room in a compartment. Dropping it ends the zygote, and with the last one the compartment.
pub(super) struct Lodging {
    pub(super) house: Arc<House>,
    pub(super) zygote: u32,
    died: Arc<AtomicBool>,
}

impl Lodging {
    /// Whether the zygote lives, or may yet come to.
    pub(super) fn is_alive(&self) -> bool {
        !self.died.load(Ordering::Acquire) && !self.house.guest.is_broken()
    }
}

impl Drop for Lodging {
    fn drop(&mut self) {
        // In this order: who moves in next may be told to the guest at once, which must have heard of this end by then.
        self.house.guest.stop_zygote(self.zygote);
        self.house.lodgers.lock().here.remove(&self.zygote);
    }
}

/// A compartment, and the place it takes until nothing of it is left.
type Held = (Box<dyn Compartment>, Place);

/// A compartment whose guest has not said hello yet.
struct Unfinished {
    pool: Weak<Pool>,
    held: Option<Held>,
}

impl Unfinished {
    fn finish(mut self) -> Option<Held> {
        self.held.take()
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if let Some(held) = self.held.take() {
            destroy(&self.pool, held);
        }
    }
}

/// Destroys in the background.
fn destroy(pool: &Weak<Pool>, (compartment, place): Held) {
    // Without a pool there is nobody to run the background task: dropping destroys too.
    let Some(pool) = pool.upgrade() else { return };
    place.leave();
    let stats = Arc::clone(&pool.stats);
    pool.tasks.spawn(async move {
        let id = compartment.id();
        if let Err(error) = compartment.destroy().await {
            tracing::error!(compartment = id, %error, "a compartment was not removed whole");
        }
        Stats::count(&stats.compartments_gone);
        drop(place);
    });
}

pub(super) fn unavailable(stage: &str, message: &str) -> TakeError {
    TakeError::Unavailable { stage: stage.to_owned(), message: message.to_owned() }
}

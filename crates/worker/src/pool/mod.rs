//! Compartments, zygotes and parked sandboxes: where an attempt's sandbox comes from.
//!
//! Each version (with the limits its attempts run under) has an [`Entry`]; an entry has homes, a *home* being a zygote in
//! a compartment, its *house*. Behind some walls a house has room for the zygotes of several versions of one tenant
//! (`houses`). An attempt takes a parked sandbox, else waits: for a fork, for a compartment
//! being built, for a slot that gets free, whichever comes first. What to fork and build is decided in `supply`
//! whenever anything changes, whose home goes when there is too little room in `warmth`. A home that nobody refers to
//! any more ends itself, and a house in which nobody lives is destroyed.

mod backoff;
mod entry;
mod evict;
mod home;
mod house;
mod houses;
mod places;
mod supply;
mod warmth;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bulkhead_protocol::{SandboxLimits, StartKind, ZygoteSpec};
use bulkhead_types::{FunctionKey, Isolation, Limits, TenantId, VersionId, WallKind};
use bulkhead_wall::{CompartmentSpec, DynWall, Mount, Walls};
use tokio::sync::Notify;

use crate::clock::Monotonic;
use crate::config::{PoolConfig, ZygoteConfig};
use crate::mux::Sandbox;
use crate::runner::Parts;
use crate::source::Prepared;
use crate::stats::Stats;
use crate::tasks::Tasks;
use entry::{Entry, MadeOf};
use home::InUse;
use houses::{HouseKey, Houses};
use places::{Granted, Places, Urgent};

/// Where the bundle's directory appears inside a compartment.
const BUNDLE_DIRECTORY: &str = "/bundle/function";

/// The bundle's name in its directory.
const BUNDLE_NAME: &str = "bundle.js";

/// How often idle compartments are looked for.
const EVICT_EVERY: Duration = Duration::from_secs(1);

/// How long a shutdown waits until every compartment is gone.
const SHUTDOWN_WAIT: Duration = Duration::from_secs(30);

/// Why there is no sandbox.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TakeError {
    /// The bundle does not load: the author's fault.
    #[error("the bundle does not load: {message}")]
    Bundle {
        /// What it threw.
        message: String,
    },
    /// Compartment, zygote or fork could not be had, or could not be restricted.
    #[error("no sandbox: stage {stage}: {message}")]
    Unavailable {
        /// The restriction or step that failed.
        stage: String,
        /// What went wrong.
        message: String,
    },
    /// This worker has no such wall; it runs nothing behind a weaker one.
    #[error(
        "this worker has no {} wall; `bulkhead doctor` on its machine tells how to get it",
        wall.as_str()
    )]
    NoWall {
        /// Which.
        wall: WallKind,
    },
    /// Everything is in use, and stayed so.
    #[error("no sandbox got free in time")]
    NoRoom,
}

/// A sandbox for one attempt.
pub(crate) struct Taken {
    pub(crate) sandbox: Sandbox,
    pub(crate) kind: StartKind,
    /// Keeps the compartment; after the sandbox, so that this is dropped last.
    _home: InUse,
}

/// What came of making something warm for an attempt that may come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Prewarmed {
    /// It was built.
    Built,
    /// It was warm already; that counts as a use.
    Already,
    /// Nothing of it can be kept: each execution gets a compartment of its own.
    Never,
    /// There is no memory for it in the tenant's share of what may be kept warm.
    NoRoom,
}

/// What sandboxes of one entry have in common. A sandbox is never used under other limits than it was parked with, nor
/// by another tenant: equal builds of two tenants are one version by name, and never share a compartment.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    tenant: TenantId,
    wall: WallKind,
    version: VersionId,
    memory_mib: u64,
    cpu_ms: Option<u64>,
    processes: u32,
    scratch_mib: u64,
    scratch_inodes: u64,
    isolation: Isolation,
}

impl Key {
    /// What a compartment has in common that is shared with other versions.
    fn house(&self) -> HouseKey {
        HouseKey {
            tenant: self.tenant.clone(),
            wall: self.wall,
            memory_mib: self.memory_mib,
            processes: self.processes,
            scratch_mib: self.scratch_mib,
            scratch_inodes: self.scratch_inodes,
        }
    }
}

/// The pool.
pub(crate) struct Pool {
    config: PoolConfig,
    zygote: ZygoteConfig,
    walls: Walls,
    monotonic: Arc<dyn Monotonic>,
    stats: Arc<Stats>,
    entries: Mutex<HashMap<Key, Arc<Entry>>>,
    places: Arc<Places>,
    houses: Houses,
    /// An attempt ended, or somebody waits for a place: an idle compartment may have to go.
    idle: Arc<Notify>,
    /// Walls that were asked, and whether forks behind them are kept apart.
    fork_isolation: Mutex<HashMap<WallKind, bool>>,
    /// Last, so that what tasks refer to is still there when they are aborted.
    tasks: Tasks,
}

impl Pool {
    pub(crate) fn new(
        config: PoolConfig,
        zygote: ZygoteConfig,
        parts: &Parts,
        stats: Arc<Stats>,
    ) -> Arc<Self> {
        let pool = Arc::new(Self {
            places: Places::new(config.compartments, config.builds),
            config,
            zygote,
            walls: parts.walls.clone(),
            monotonic: Arc::clone(&parts.monotonic),
            stats,
            entries: Mutex::default(),
            houses: Houses::default(),
            idle: Arc::default(),
            fork_isolation: Mutex::default(),
            tasks: Tasks::default(),
        });
        pool.tasks.spawn(evict::evict_for_ever(Arc::downgrade(&pool), EVICT_EVERY));
        pool.tasks.spawn(evict::make_places_for_ever(Arc::downgrade(&pool)));
        pool.warm_budget();
        pool
    }

    /// A sandbox for one attempt of `prepared`, under `limits`.
    pub(crate) async fn take(
        self: &Arc<Self>,
        prepared: &Prepared,
        limits: &Limits,
    ) -> Result<Taken, TakeError> {
        let entry = self.entry(prepared, limits).await?;
        let taken = tokio::time::timeout(self.config.wait, entry.take()).await;
        taken.unwrap_or(Err(TakeError::NoRoom))
    }

    /// Makes sure that the next attempt finds a parked sandbox.
    pub(crate) async fn warm(
        self: &Arc<Self>,
        prepared: &Prepared,
        limits: &Limits,
    ) -> Result<(), TakeError> {
        let entry = self.entry(prepared, limits).await?;
        let warm = tokio::time::timeout(self.config.wait, entry.warm()).await;
        warm.unwrap_or(Err(TakeError::NoRoom))
    }

    /// The same for an attempt that may come, of what is live: nobody waits for it, and others give up no more for it
    /// than is over their share.
    pub(crate) async fn prewarm(
        self: &Arc<Self>,
        prepared: &Prepared,
        limits: &Limits,
    ) -> Result<Prewarmed, TakeError> {
        let entry = self.entry(prepared, limits).await?;
        let tenant = &prepared.version.tenant;
        let before = entry.make_current(self.monotonic.micros());
        self.supersede_others(&entry);
        if let Some(known) = before {
            return Ok(known);
        }
        let joins = entry.shared.as_ref().is_some_and(|key| self.houses.has_any(key));
        if !self.make_memory(tenant, prepared.wall, joins).await {
            Stats::count(&self.stats.prewarms_refused);
            return Ok(Prewarmed::NoRoom);
        }
        let warm = tokio::time::timeout(self.config.wait, entry.warm()).await;
        warm.unwrap_or(Err(TakeError::NoRoom))?;
        Stats::count(&self.stats.prewarms);
        Ok(Prewarmed::Built)
    }

    /// Runs something that belongs to no attempt, until it ends or the pool shuts down.
    pub(crate) fn background(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(task);
    }

    /// Destroys every compartment; returns when nothing is left, or after [`SHUTDOWN_WAIT`].
    pub(crate) async fn shutdown(&self) {
        let entries = std::mem::take(&mut *self.lock());
        entries.into_values().for_each(|entry| entry.close());
        if tokio::time::timeout(SHUTDOWN_WAIT, self.places.close()).await.is_err() {
            tracing::error!("compartments are left after the shutdown's wait; dropping them");
        }
        self.tasks.shutdown().await;
    }

    /// Whether any version of a function has a compartment.
    pub(crate) fn is_warm(&self, function: &FunctionKey) -> bool {
        self.lock().values().any(|entry| entry.function == *function && entry.has_home())
    }

    /// Compartments that wait to be built.
    pub(crate) fn compartments_wanted(&self) -> u64 {
        self.places.wanted() as u64
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Arc<Entry>>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The entry of a version under these limits. A new one takes the parked sandboxes away from the function's
    /// other versions and limits: what still runs there forks on demand.
    async fn entry(
        self: &Arc<Self>,
        prepared: &Prepared,
        limits: &Limits,
    ) -> Result<Arc<Entry>, TakeError> {
        let wall = self.walls.get(prepared.wall);
        let wall = wall.ok_or(TakeError::NoWall { wall: prepared.wall })?;
        let isolation = self.isolation(prepared, wall).await;
        let key = Key {
            tenant: prepared.version.tenant.clone(),
            wall: prepared.wall,
            version: prepared.version.id.clone(),
            memory_mib: limits.memory_mib,
            cpu_ms: limits.cpu_ms,
            processes: limits.processes,
            scratch_mib: limits.scratch_mib,
            scratch_inodes: limits.scratch_inodes,
            isolation,
        };
        let entry = {
            let mut entries = self.lock();
            if let Some(entry) = entries.get(&key) {
                return Ok(Arc::clone(entry));
            }
            let entry = self.new_entry(&key, Arc::clone(wall), prepared, limits);
            entries.insert(key, Arc::clone(&entry));
            entry
        };
        self.supersede_others(&entry);
        Ok(entry)
    }

    fn supersede_others(&self, entry: &Arc<Entry>) {
        let entries = self.lock();
        let others = entries.values().filter(|other| other.function == entry.function);
        others.filter(|other| !Arc::ptr_eq(other, entry)).for_each(|other| other.supersede());
    }

    fn new_entry(
        self: &Arc<Self>,
        key: &Key,
        wall: DynWall,
        prepared: &Prepared,
        limits: &Limits,
    ) -> Arc<Entry> {
        let private = key.isolation == Isolation::Compartment;
        // Each parks at least one sandbox: with no more zygotes than this, half of the slots are left to attempts.
        let zygotes = wall.zygotes_max().min((self.config.slots / 2).max(1));
        let zygotes = if private { 0 } else { zygotes };
        let mount = Mount { source: prepared.bundle.clone(), target: BUNDLE_DIRECTORY.into() };
        let spec = CompartmentSpec {
            mounts: if zygotes > 0 { Vec::new() } else { vec![mount] },
            zygotes,
            slots: if private { 1 } else { self.config.slots },
            scratch_mib: limits.scratch_mib,
            scratch_inodes: limits.scratch_inodes,
            memory_mib: limits.memory_mib,
            processes: limits.processes,
        };
        let mut argv = self.zygote.argv.clone();
        argv.push(format!("{BUNDLE_DIRECTORY}/{BUNDLE_NAME}"));
        let ready_ms_max = u64::try_from(self.zygote.ready.as_millis()).unwrap_or(u64::MAX);
        let zygote = ZygoteSpec { argv, env: self.zygote.env.clone(), ready_ms_max };
        let limits = SandboxLimits {
            memory_mib: limits.memory_mib,
            cpu_ms: limits.cpu_ms,
            processes: limits.processes,
        };
        let shared = (zygotes > 0).then(|| key.house());
        let bundle = (prepared.bundle.join(BUNDLE_NAME), prepared.version.bundle.clone());
        let made_of = MadeOf { private, shared, spec, zygote, bundle, limits };
        let of = (prepared.version.function(), prepared.wall, wall);
        Entry::new(Arc::downgrade(self), of, made_of, &self.config)
    }

    /// What was asked for, or a compartment for each where forks cannot be kept apart.
    async fn isolation(&self, prepared: &Prepared, wall: &DynWall) -> Isolation {
        let asked = prepared.version.spec.isolation.max(self.config.isolation);
        let lock = || self.fork_isolation.lock().unwrap_or_else(PoisonError::into_inner);
        let known = lock().get(&prepared.wall).copied();
        let apart = match known {
            Some(apart) => apart,
            None => wall.probe().await.fork_isolation,
        };
        lock().insert(prepared.wall, apart);
        if apart { asked } else { Isolation::Compartment }
    }

    /// Waits for a place for a compartment and the turn to build it; an idle compartment may have to go for it.
    async fn place(&self, tenant: &TenantId, urgent: Urgent) -> Result<Granted, TakeError> {
        let granted = self.places.ask(tenant, urgent);
        self.idle.notify_one();
        granted.await.map_err(|_| TakeError::NoRoom)
    }
}

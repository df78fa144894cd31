//! Compartments, zygotes and parked sandboxes: where an attempt's sandbox comes from.
//!
//! Each version (with the limits its attempts run under) has an [`Entry`]; an entry has homes, a *home* being a
//! compartment with a zygote in it. An attempt takes a parked sandbox, else waits: for a fork, for a compartment
//! being built, for a slot that gets free, whichever comes first. What to fork and build is decided in `supply`
//! whenever anything changes. A home that nobody refers to any more destroys itself.

mod backoff;
mod entry;
mod evict;
mod home;
mod supply;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bulkhead_protocol::{SandboxLimits, StartKind, ZygoteSpec};
use bulkhead_types::{Isolation, Limits, VersionId, WallKind};
use bulkhead_wall::{CompartmentSpec, DynWall, Mount, Walls};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

use crate::clock::Monotonic;
use crate::config::{PoolConfig, ZygoteConfig};
use crate::mux::Sandbox;
use crate::runner::Parts;
use crate::source::Prepared;
use crate::stats::Stats;
use crate::tasks::Tasks;
use entry::Entry;
use home::InUse;

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

/// What sandboxes of one entry have in common. A sandbox is never used under other limits than it was parked with.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    wall: WallKind,
    version: VersionId,
    memory_mib: u64,
    cpu_ms: Option<u64>,
    processes: u32,
    scratch_mib: u64,
    scratch_inodes: u64,
    isolation: Isolation,
}

/// The pool.
pub(crate) struct Pool {
    config: PoolConfig,
    zygote: ZygoteConfig,
    walls: Walls,
    monotonic: Arc<dyn Monotonic>,
    stats: Arc<Stats>,
    entries: Mutex<HashMap<Key, Arc<Entry>>>,
    /// One permit per compartment that may exist.
    places: Arc<Semaphore>,
    /// One permit per compartment that may be under construction.
    builds: Semaphore,
    /// An attempt ended: somebody who waits for a place may find an idle compartment.
    idle: Notify,
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
            places: Arc::new(Semaphore::new(config.compartments)),
            builds: Semaphore::new(config.builds),
            config,
            zygote,
            walls: parts.walls.clone(),
            monotonic: Arc::clone(&parts.monotonic),
            stats,
            entries: Mutex::default(),
            idle: Notify::new(),
            fork_isolation: Mutex::default(),
            tasks: Tasks::default(),
        });
        pool.tasks.spawn(evict::evict_for_ever(Arc::downgrade(&pool), EVICT_EVERY));
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

    /// Runs something that belongs to no attempt, until it ends or the pool shuts down.
    pub(crate) fn background(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(task);
    }

    /// Destroys every compartment; returns when nothing is left, or after [`SHUTDOWN_WAIT`].
    pub(crate) async fn shutdown(&self) {
        let entries = std::mem::take(&mut *self.lock());
        entries.into_values().for_each(|entry| entry.close());
        let all = u32::try_from(self.config.compartments).unwrap_or(u32::MAX);
        if tokio::time::timeout(SHUTDOWN_WAIT, self.places.acquire_many(all)).await.is_err() {
            tracing::error!("compartments are left after the shutdown's wait; dropping them");
        }
        self.tasks.shutdown().await;
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
            wall: prepared.wall,
            version: prepared.version.id.clone(),
            memory_mib: limits.memory_mib,
            cpu_ms: limits.cpu_ms,
            processes: limits.processes,
            scratch_mib: limits.scratch_mib,
            scratch_inodes: limits.scratch_inodes,
            isolation,
        };
        let function = prepared.version.function();
        let mut entries = self.lock();
        if let Some(entry) = entries.get(&key) {
            return Ok(Arc::clone(entry));
        }
        entries.values().filter(|other| other.function == function).for_each(|it| it.supersede());
        let entry = self.new_entry(&key, Arc::clone(wall), prepared, limits);
        entries.insert(key, Arc::clone(&entry));
        Ok(entry)
    }

    fn new_entry(
        self: &Arc<Self>,
        key: &Key,
        wall: DynWall,
        prepared: &Prepared,
        limits: &Limits,
    ) -> Arc<Entry> {
        let private = key.isolation == Isolation::Compartment;
        let spec = CompartmentSpec {
            mounts: vec![Mount {
                source: prepared.bundle.clone(),
                target: BUNDLE_DIRECTORY.into(),
            }],
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
        let of = (prepared.version.function(), wall);
        Entry::new(Arc::downgrade(self), of, private, spec, zygote, limits, &self.config)
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

    /// Waits for a place for a compartment, making one if an idle compartment can go.
    async fn place(&self) -> Result<OwnedSemaphorePermit, TakeError> {
        let closed = |_| TakeError::NoRoom;
        loop {
            if let Ok(place) = Arc::clone(&self.places).try_acquire_owned() {
                return Ok(place);
            }
            // Registered before looking: an attempt that ends in between is not missed.
            let idle = self.idle.notified();
            if self.evict_oldest() {
                return Arc::clone(&self.places).acquire_owned().await.map_err(closed);
            }
            tokio::select! {
                place = Arc::clone(&self.places).acquire_owned() => return place.map_err(closed),
                () = idle => {},
            }
        }
    }
}

//! The worker in a server's own process.

use std::future::Future;
use std::sync::Arc;

use anyhow::Context as _;
use bulkhead_api::Warmth;
use bulkhead_api::worker::Me;
use bulkhead_config::Config;
use bulkhead_engine::Engine;
use bulkhead_platform::Platform;
use bulkhead_types::{Clock, Units, WorkerId};
use bulkhead_worker::{Parts, PoolConfig, Runner, Snapshot, Worker, WorkerConfig, ZygoteConfig};
use tokio::task::JoinHandle;

use super::prewarm::Prewarm;
use crate::adapters::EngineSource;

/// A worker that runs.
pub(super) struct OwnWorker {
    runner: Runner,
    id: WorkerId,
    capacity: Units,
    running: JoinHandle<()>,
    /// Makes warm what may be called, unless the settings leave that out.
    prewarming: Option<JoinHandle<()>>,
}

impl OwnWorker {
    /// Starts it; it drains and ends after `stop`.
    pub(super) fn start(
        config: &Config,
        engine: &Engine,
        id: WorkerId,
        parts: Parts,
        stop: impl Future<Output = ()> + Send + 'static,
    ) -> Self {
        let runner = Runner::new(pool(config), ZygoteConfig::default(), parts);
        let source = EngineSource {
            engine: engine.clone(),
            worker: id.clone(),
            ceilings: config.ceilings.clone(),
        };
        let worker = Worker::new(options(config), Arc::new(source), runner.clone());
        let running = tokio::spawn(worker.run(stop));
        Self { runner, id, capacity: options(config).capacity, running, prewarming: None }
    }

    /// The same, with what may be called made warm, if the settings say so.
    pub(super) fn prewarming(
        self,
        config: &Config,
        engine: &Engine,
        platform: &Arc<Platform>,
        clock: &Arc<dyn Clock>,
    ) -> Self {
        let prewarm = Prewarm {
            engine: engine.clone(),
            platform: Arc::clone(platform),
            runner: self.runner(),
            ceilings: config.ceilings.clone(),
            clock: Arc::clone(clock),
        };
        let prewarming = config.worker_prewarm.then(|| tokio::spawn(prewarm.run()));
        Self { prewarming, ..self }
    }

    pub(super) fn runner(&self) -> Runner {
        self.runner.clone()
    }

    /// Waits until it has ended.
    pub(super) async fn ended(self) -> anyhow::Result<()> {
        if let Some(prewarming) = self.prewarming {
            prewarming.abort();
        }
        self.running.await.context("the worker ended badly")
    }
}

/// Of the lease loop, as the operator set it.
pub(crate) fn options(config: &Config) -> WorkerConfig {
    WorkerConfig {
        capacity: Units { cpu: config.worker_units, memory_mib: config.worker_memory_mib },
        headroom: bulkhead_engine::headroom(config.worker_units, config.worker_headroom_percent),
        drain: config.worker_drain,
        ..WorkerConfig::default()
    }
}

/// Of the pool, as the operator set it.
pub(crate) fn pool(config: &Config) -> PoolConfig {
    let usual = PoolConfig::default();
    let parked_min = config.worker_parked as usize;
    // None is none: not one either after a burst.
    let parked_max = if parked_min == 0 { 0 } else { usual.parked_max.max(parked_min) };
    PoolConfig {
        parked_min,
        parked_max,
        isolation: config.isolation,
        idle: config.worker_idle,
        compartments: config.worker_compartments as usize,
        warm_memory_mib: config.worker_warm_memory_mib,
        attempt_memory_mib: config.worker_memory_mib,
        ..usual
    }
}

/// Whether it works, for `/readyz`. A server without one has nothing to wait for.
pub(super) fn ready(
    worker: Option<&OwnWorker>,
) -> Arc<dyn Fn() -> Result<(), String> + Send + Sync> {
    let running = worker.map(|worker| worker.running.abort_handle());
    Arc::new(move || match running.as_ref().is_some_and(|running| running.is_finished()) {
        true => Err("the worker has ended".to_owned()),
        false => Ok(()),
    })
}

/// What the list of workers says of it.
pub(super) fn describe(
    worker: Option<&OwnWorker>,
) -> Arc<dyn Fn() -> Option<(Me, Warmth)> + Send + Sync> {
    let own = worker.map(|own| (own.id.clone(), own.capacity, own.runner()));
    Arc::new(move || {
        own.as_ref().map(|(id, capacity, runner)| {
            let snapshot = runner.snapshot();
            let me = Me {
                worker: id.clone(),
                name: "this server".to_owned(),
                version: env!("CARGO_PKG_VERSION").to_owned(),
                capacity: *capacity,
                running: snapshot.running,
                draining: false,
            };
            (me, warmth(&snapshot))
        })
    })
}

fn warmth(snapshot: &Snapshot) -> Warmth {
    let Snapshot { parked, forked, cold, compartments, warmth, .. } = snapshot;
    Warmth {
        parked: *parked,
        forked: *forked,
        cold: *cold,
        compartments: *compartments,
        memory_mib: warmth.memory_bytes >> 20,
        memory_mib_max: warmth.memory_bytes_max >> 20,
        evicted: warmth.evicted_unused + warmth.evicted_memory + warmth.evicted_place,
        prewarmed: warmth.prewarmed,
    }
}

//! The worker in a server's own process.

use std::future::Future;
use std::sync::Arc;

use anyhow::Context as _;
use bulkhead_api::worker::Me;
use bulkhead_config::Config;
use bulkhead_engine::Engine;
use bulkhead_types::{Units, WorkerId};
use bulkhead_worker::{Parts, PoolConfig, Runner, Worker, WorkerConfig, ZygoteConfig};
use tokio::task::JoinHandle;

use crate::adapters::EngineSource;

/// A worker that runs.
pub(super) struct OwnWorker {
    runner: Runner,
    id: WorkerId,
    capacity: Units,
    running: JoinHandle<()>,
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
        Self { runner, id, capacity: options(config).capacity, running }
    }

    pub(super) fn runner(&self) -> Runner {
        self.runner.clone()
    }

    /// Waits until it has ended.
    pub(super) async fn ended(self) -> anyhow::Result<()> {
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
    let parked_max = usual.parked_max.max(parked_min);
    PoolConfig { parked_min, parked_max, isolation: config.isolation, ..usual }
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
pub(super) fn describe(worker: Option<&OwnWorker>) -> Arc<dyn Fn() -> Option<Me> + Send + Sync> {
    let own = worker.map(|own| (own.id.clone(), own.capacity, own.runner()));
    Arc::new(move || {
        own.as_ref().map(|(id, capacity, runner)| Me {
            worker: id.clone(),
            name: "this server".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            capacity: *capacity,
            running: runner.snapshot().running,
            draining: false,
        })
    })
}

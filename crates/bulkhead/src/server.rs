//! A whole server in one process: database → engine → platform → worker → HTTP. `serve` runs one over the
//! operator's data directory; `demo`, `bench` and tests run one over a temporary directory.

use std::fs::File;
use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use bulkhead_config::{AdminKey, Config, Synchronous, load_or_create_admin_key};
use bulkhead_egress::{Gateway, GatewayLimits, Rule, SystemResolver};
use bulkhead_engine::{Engine, EngineOptions};
use bulkhead_platform::{Platform, PlatformConfig};
use bulkhead_server::{App, AppOptions};
use bulkhead_store::hot::sqlite::SqliteStore;
use bulkhead_store::{Db, DbOptions, Durability};
use bulkhead_types::{Clock, Entropy, SystemClock, SystemEntropy, WorkerId};
use bulkhead_wall::DynWall;
use bulkhead_worker::{
    Parts, PoolConfig, Runner, SystemMonotonic, Worker, WorkerConfig, ZygoteConfig,
};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::adapters::{EngineSource, LiveVersions, PlatformHost, TenantEgress};

mod identity;
mod metrics;

/// A server that runs.
pub(crate) struct Server {
    /// How it is reached, without a slash at the end.
    pub(crate) url: String,
    /// The operator's key.
    pub(crate) admin_key: AdminKey,
    /// Runs the attempts; tells what it counted.
    pub(crate) runner: Runner,
    stopping: watch::Sender<bool>,
    http: JoinHandle<()>,
    background: JoinHandle<()>,
    worker: JoinHandle<()>,
    /// Held as long as the server uses the data directory.
    _lock: File,
}

impl Server {
    /// Starts everything. What a dead predecessor left half done is taken up again before the first request.
    pub(crate) async fn start(config: &Config, wall: DynWall) -> anyhow::Result<Self> {
        let (clock, entropy): (Arc<dyn Clock>, Arc<dyn Entropy>) =
            (Arc::new(SystemClock), Arc::new(SystemEntropy));
        let lock = lock_data_dir(config)?;
        let admin_key = load_or_create_admin_key(config, entropy.as_ref())?;
        let listener = TcpListener::bind(config.listen)
            .await
            .with_context(|| format!("can't listen on {}", config.listen))?;
        let address = listener.local_addr()?;
        let url = config.public_url.clone().unwrap_or_else(|| format!("http://{address}"));

        let db = open_database(config).await?;
        let store = Arc::new(SqliteStore::new(db.clone()));
        let engine =
            Engine::new(store, Arc::clone(&clock), Arc::clone(&entropy), EngineOptions::default());
        let worker_id =
            identity::new_worker(config, &engine, clock.now(), entropy.as_ref()).await?;
        let gateway = Gateway::new(Arc::new(SystemResolver::new()?), GatewayLimits::default());
        let platform_config = platform_config(config, address, &url)?;
        let (clock2, entropy2) = (Arc::clone(&clock), Arc::clone(&entropy));
        let platform =
            Platform::open(platform_config, db, engine.clone(), gateway.clone(), clock2, entropy2)
                .await?;

        let parts = Parts {
            host: Arc::new(PlatformHost(Arc::clone(&platform))),
            wall,
            egress: Arc::new(TenantEgress { platform: Arc::clone(&platform), gateway }),
            clock: Arc::clone(&clock),
            monotonic: Arc::new(SystemMonotonic::new()),
            entropy: Arc::clone(&entropy),
        };
        let runner = Runner::new(pool(config), ZygoteConfig::default(), parts);
        let (stopping, stops) = watch::channel(false);
        let worker = work(config, &engine, &runner, worker_id, stops.clone());
        let background = run_background(engine.clone(), Arc::clone(&platform), stops.clone());
        let options = AppOptions {
            admin_key: admin_key.secret.reveal().to_owned(),
            public_url: url.clone(),
            ceilings: config.ceilings.clone(),
            requests_max: config.http_requests as usize,
            stopping: stops.clone(),
            worker_ready: worker_ready(worker.abort_handle()),
            metrics: metrics::of(runner.clone()),
        };
        let app = App::new(engine, platform, entropy, options);
        let connections_max = config.http_connections as usize;
        let http = tokio::spawn(bulkhead_server::serve(
            listener,
            bulkhead_server::router(app),
            connections_max,
            stopped(stops),
        ));
        Ok(Self { url, admin_key, runner, stopping, http, background, worker, _lock: lock })
    }

    /// Takes no more requests, lets those under way and running attempts come to their end within their deadlines,
    /// and leaves no sandbox behind.
    pub(crate) async fn stop(self) -> anyhow::Result<()> {
        self.stopping.send_replace(true);
        // The worker first: requests that wait for an execution end with it.
        self.worker.await.context("the worker ended badly")?;
        self.http.await.context("the HTTP server ended badly")?;
        self.background.await.context("the background ended badly")?;
        Ok(())
    }
}

fn platform_config(
    config: &Config,
    listener: SocketAddr,
    url: &str,
) -> anyhow::Result<PlatformConfig> {
    Ok(PlatformConfig {
        data: config.data_dir.clone(),
        egress: egress_rules(config)?,
        listeners: vec![listener],
        addresses: bulkhead_egress::local_addresses()?,
        public_url: url.to_owned(),
    })
}

async fn stopped(mut stops: watch::Receiver<bool>) {
    // An error means that the server itself is gone, which is a stop as well.
    drop(stops.wait_for(|stop| *stop).await);
}

fn worker_ready(
    worker: tokio::task::AbortHandle,
) -> Arc<dyn Fn() -> Result<(), String> + Send + Sync> {
    Arc::new(move || match worker.is_finished() {
        true => Err("the worker has ended".to_owned()),
        false => Ok(()),
    })
}

fn work(
    config: &Config,
    engine: &Engine,
    runner: &Runner,
    id: WorkerId,
    stops: watch::Receiver<bool>,
) -> JoinHandle<()> {
    let source =
        EngineSource { engine: engine.clone(), worker: id, ceilings: config.ceilings.clone() };
    let options =
        WorkerConfig { concurrency: config.worker_units as usize, ..WorkerConfig::default() };
    let worker = Worker::new(options, Arc::new(source), runner.clone());
    tokio::spawn(worker.run(stopped(stops)))
}

fn pool(config: &Config) -> PoolConfig {
    let usual = PoolConfig::default();
    let parked_min = config.worker_parked as usize;
    PoolConfig { parked_min, parked_max: usual.parked_max.max(parked_min), ..usual }
}

/// Starts what time alone brings about: due schedules, dead leases, retries.
fn run_background(
    engine: Engine,
    platform: Arc<Platform>,
    stops: watch::Receiver<bool>,
) -> JoinHandle<()> {
    let resolve = Arc::new(LiveVersions(platform));
    tokio::spawn(async move { engine.run_background(resolve, stopped(stops)).await })
}

/// Two servers over one database would run everything twice.
fn lock_data_dir(config: &Config) -> anyhow::Result<File> {
    std::fs::create_dir_all(&config.data_dir)
        .with_context(|| format!("can't make {}", config.data_dir.display()))?;
    let path = config.data_dir.join("lock");
    let lock = File::create(&path).with_context(|| format!("can't open {}", path.display()))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(std::fs::TryLockError::WouldBlock) => {
            bail!("another server uses {}", config.data_dir.display())
        }
        Err(std::fs::TryLockError::Error(error)) => {
            Err(error).with_context(|| format!("can't lock {}", path.display()))
        }
    }
}

async fn open_database(config: &Config) -> anyhow::Result<Db> {
    if let Some(url) = &config.database_url {
        let connected = Db::connect(url.reveal(), DbOptions::default()).await;
        return connected.context("can't use the database that database_url names");
    }
    let durability = match config.synchronous {
        Synchronous::Normal => Durability::Normal,
        Synchronous::Full => Durability::Full,
    };
    let path = config.data_dir.join("bulkhead.db");
    let options = DbOptions { durability, ..DbOptions::default() };
    Db::open_with(&path, options).with_context(|| format!("can't open {}", path.display()))
}

/// The operator's rules, understood by the crate that applies them; an error names the rule and where it was said.
fn egress_rules(config: &Config) -> anyhow::Result<Vec<Rule>> {
    let rule = |said: &bulkhead_config::EgressRule| {
        let named = || format!("egress rule {} said by {}", said.name, said.origin);
        let hosts = said.hosts.iter().map(|host| host.clone().try_into());
        let ports = said.ports.iter().map(|ports| ports.clone().try_into());
        Ok(Rule {
            name: said.name.clone(),
            effect: if said.allow {
                bulkhead_egress::Effect::Allow
            } else {
                bulkhead_egress::Effect::Deny
            },
            hosts: hosts.collect::<Result<_, _>>().with_context(named)?,
            networks: said.networks.clone(),
            ports: ports.collect::<Result<_, _>>().with_context(named)?,
        })
    };
    config.egress.iter().map(rule).collect()
}

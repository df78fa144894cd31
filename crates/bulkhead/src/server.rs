//! A whole server in one process: database → engine → platform → worker → HTTP. `serve` runs one over the
//! operator's data directory; `demo`, `bench` and tests run one over a temporary directory.

use std::fs::File;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use bulkhead_blobs::{Place, Store as Blobs};
use bulkhead_config::{AdminKey, Config, load_or_create_admin_key};
use bulkhead_egress::{Gateway, GatewayLimits, Rule, SystemResolver};
use bulkhead_engine::{Engine, EngineOptions, Submit};
use bulkhead_platform::{Platform, PlatformConfig};
use bulkhead_server::{App, AppOptions};
use bulkhead_store::hot::sqlite::SqliteStore;
use bulkhead_types::{Clock, Entropy, SystemClock, SystemEntropy};
use bulkhead_wall::Walls;
use bulkhead_worker::{Parts, Runner, SystemMonotonic};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::adapters::{LiveVersions, PlatformHost, TenantEgress};
use own_worker::OwnWorker;

mod database;
mod identity;
mod metrics;
pub(crate) mod own_worker;
mod prewarm;
mod secret_keys;

/// A server that runs.
pub(crate) struct Server {
    /// How it is reached, without a slash at the end.
    pub(crate) url: String,
    /// The operator's key.
    pub(crate) admin_key: AdminKey,
    /// Runs executions, unless they are left to workers elsewhere.
    worker: Option<OwnWorker>,
    engine: Engine,
    app: App,
    stopping: watch::Sender<bool>,
    closing: watch::Sender<bool>,
    http: JoinHandle<()>,
    background: JoinHandle<()>,
    /// Held as long as the server uses the data directory.
    _lock: File,
}

impl Server {
    /// Starts everything. What a dead predecessor left half done is taken up again before the first request. Without a
    /// wall, the server leaves executions to workers elsewhere.
    pub(crate) async fn start(config: &Config, walls: Option<Walls>) -> anyhow::Result<Self> {
        Self::start_with(config, walls, |parts| parts).await
    }

    /// The same with some of what the worker is made of replaced.
    pub(crate) async fn start_with(
        config: &Config,
        walls: Option<Walls>,
        change: impl FnOnce(Parts) -> Parts,
    ) -> anyhow::Result<Self> {
        let (clock, entropy): (Arc<dyn Clock>, Arc<dyn Entropy>) =
            (Arc::new(SystemClock), Arc::new(SystemEntropy));
        let lock = lock_data_dir(config)?;
        let admin_key = load_or_create_admin_key(config, entropy.as_ref())?;
        let listener = TcpListener::bind(config.listen)
            .await
            .with_context(|| format!("can't listen on {}", config.listen))?;
        let address = listener.local_addr()?;
        let url = config.public_url.clone().unwrap_or_else(|| format!("http://{address}"));

        let db = database::open(config).await?;
        let store = Arc::new(SqliteStore::new(db.clone()));
        let blobs = blobs(config)?;
        let (payloads, usual) = (blobs.payloads, EngineOptions::default());
        let engine = Engine::with_blobs(store, clock.clone(), entropy.clone(), usual, payloads);
        let worker_id =
            identity::new_worker(config, &engine, clock.now(), entropy.as_ref()).await?;
        let gateway = Gateway::new(Arc::new(SystemResolver::new()?), GatewayLimits::default());
        let platform_config = platform_config(config, address, &url, blobs.shared)?;
        let (clock2, entropy2) = (Arc::clone(&clock), Arc::clone(&entropy));
        let platform =
            Platform::open(platform_config, db, engine.clone(), gateway.clone(), clock2, entropy2)
                .await?;

        let (stopping, stops) = watch::channel(false);
        let (closing, closes) = watch::channel(false);
        let kinds = walls.as_ref().map(Walls::kinds);
        let worker = walls.map(|walls| {
            let parts = parts_of(&platform, gateway, walls, (&clock, &entropy));
            OwnWorker::start(config, &engine, worker_id, change(parts), stopped(stops.clone()))
        });
        let worker = worker.map(|it| it.prewarming(config, &engine, &platform, &clock));
        let background = run_background(engine.clone(), Arc::clone(&platform), closes.clone());
        let options = AppOptions {
            admin_key: admin_key.secret.reveal().to_owned(),
            public_url: url.clone(),
            ceilings: config.ceilings.clone(),
            requests_max: config.http_requests as usize,
            stopping: stops,
            clock,
            walls: kinds,
            own_worker: own_worker::describe(worker.as_ref()),
            worker_ready: own_worker::ready(worker.as_ref()),
            metrics: metrics::of(worker.as_ref().map(OwnWorker::runner)),
        };
        let app = App::new(engine.clone(), platform, entropy, options);
        let http = tokio::spawn(bulkhead_server::serve(
            listener,
            bulkhead_server::router(app.clone()),
            config.http_connections as usize,
            stopped(closes),
        ));
        Ok(Self {
            url,
            admin_key,
            worker,
            engine,
            app,
            stopping,
            closing,
            http,
            background,
            _lock: lock,
        })
    }

    /// What runs this server's own attempts, and tells what it counted.
    pub(crate) fn runner(&self) -> Option<Runner> {
        self.worker.as_ref().map(OwnWorker::runner)
    }

    /// Runs one execution to its end, past the routes; returns its id.
    pub(crate) async fn run(&self, submit: Submit) -> anyhow::Result<String> {
        let id = self.engine.submit(submit).await?.execution;
        let ended = self.engine.wait(&id, RUN_WAIT).await?;
        ended.with_context(|| format!("{id} did not end within {} s", RUN_WAIT.as_secs()))?;
        Ok(id.to_string())
    }

    /// Takes no more requests, lets those under way and running attempts come to their end within their deadlines,
    /// and leaves no sandbox behind. Workers elsewhere are listened to until the last moment: what they run goes on,
    /// and it is the time without a server that counts against their leases.
    pub(crate) async fn stop(mut self) -> anyhow::Result<()> {
        self.stopping.send_replace(true);
        // Our worker first: requests that wait for an execution end with it.
        if let Some(worker) = self.worker {
            worker.ended().await?;
        }
        if tokio::time::timeout(REQUESTS_WAIT, self.app.idle()).await.is_err() {
            tracing::warn!("requests are cut off: they took too long to end");
        }
        self.closing.send_replace(true);
        match tokio::time::timeout(CLOSE_WAIT, &mut self.http).await {
            Ok(ended) => ended.context("the HTTP server ended badly")?,
            Err(_) => self.http.abort(),
        }
        self.background.await.context("the background ended badly")?;
        Ok(())
    }
}

/// How long [`Server::run`] waits: some attempts of the longest kind.
const RUN_WAIT: Duration = Duration::from_secs(60 * 60);

/// What a worker of our own is made of.
fn parts_of(
    platform: &Arc<Platform>,
    gateway: Gateway,
    walls: Walls,
    (clock, entropy): (&Arc<dyn Clock>, &Arc<dyn Entropy>),
) -> Parts {
    Parts {
        host: Arc::new(PlatformHost(Arc::clone(platform))),
        walls,
        egress: Arc::new(TenantEgress { platform: Arc::clone(platform), gateway }),
        clock: Arc::clone(clock),
        monotonic: Arc::new(SystemMonotonic::new()),
        entropy: Arc::clone(entropy),
    }
}

/// How long requests under way may take once the server stops.
const REQUESTS_WAIT: Duration = Duration::from_secs(20);

/// How long connections have to end by themselves after that: answers on their way, and logs that are followed.
const CLOSE_WAIT: Duration = Duration::from_secs(1);

fn platform_config(
    config: &Config,
    listener: SocketAddr,
    url: &str,
    blobs: Option<Blobs>,
) -> anyhow::Result<PlatformConfig> {
    Ok(PlatformConfig {
        data: config.data_dir.clone(),
        egress: egress_rules(config)?,
        listeners: vec![listener],
        addresses: bulkhead_egress::local_addresses()?,
        secret_keys: secret_keys::of(config)?,
        blobs,
        public_url: url.to_owned(),
        walls: config.walls,
    })
}

/// Where contents are kept by their hash.
struct Contents {
    payloads: Blobs,
    /// Of bundles and source maps, besides the data directory.
    shared: Option<Blobs>,
}

fn blobs(config: &Config) -> anyhow::Result<Contents> {
    let Some(place) = &config.blobs else {
        let place = Place::Disk(config.data_dir.join("blobs"));
        if config.database_url.is_some() {
            tracing::warn!(
                "bundles and large payloads are on this machine's disk: other servers over the same database do not \
                 see them; set `blobs` to s3://…"
            );
        }
        return Ok(Contents { payloads: Blobs::open(&place)?, shared: None });
    };
    let place = Place::parse_s3(place).map_err(anyhow::Error::msg)?;
    let shared = Blobs::open(&place).with_context(|| {
        "can't use the blob storage; it is told by AWS_REGION, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_ENDPOINT_URL"
    })?;
    Ok(Contents { payloads: shared.clone(), shared: Some(shared) })
}

async fn stopped(mut stops: watch::Receiver<bool>) {
    // An error means that the server itself is gone, which is a stop as well.
    drop(stops.wait_for(|stop| *stop).await);
}

/// Starts what time alone brings about: due schedules, dead leases, retries, notifications.
fn run_background(
    engine: Engine,
    platform: Arc<Platform>,
    stops: watch::Receiver<bool>,
) -> JoinHandle<()> {
    let resolve = Arc::new(LiveVersions(Arc::clone(&platform)));
    let told = stopped(stops.clone());
    tokio::spawn(async move {
        let notifications = platform.run_notifications(told);
        let upkeep = platform.run_upkeep(stopped(stops.clone()));
        tokio::join!(engine.run_background(resolve, stopped(stops)), notifications, upkeep);
    })
}

/// Two servers over one database would run everything twice; a worker has what a compartment mounts there.
pub(crate) fn lock_data_dir(config: &Config) -> anyhow::Result<File> {
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

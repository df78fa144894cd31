//! The processes: servers with workers of their own, workers on other machines as far as a process and a directory
//! are one, and PostgreSQL.

use std::time::Duration;

use bulkhead_client::Client;
use bulkhead_sched::lease::LEASE;
use bulkhead_store::hot::Store;
use bulkhead_store::hot::sqlite::SqliteStore;
use bulkhead_store::{Db, DbOptions};
use bulkhead_testkit::postgres::{Cluster, Database};
use bulkhead_testkit::s3::{self, S3};
use rustix::process::{Pid, Signal, kill_process};
use tokio::time::Instant;

use crate::load::TENANT;
use crate::support::{Home, Server, Worker, until};

/// What is done to a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Blow {
    /// SIGKILL of a server, with the worker in it.
    Server,
    /// SIGKILL of a worker elsewhere.
    Worker,
    /// A worker elsewhere is stopped for longer than its leases live, and then goes on as if nothing had been.
    Pause,
    /// SIGKILL of PostgreSQL's postmaster.
    Database,
    /// SIGKILL of one of its backends, upon which it begins anew.
    Backend,
}

/// Attempts that each worker runs at the same time.
const UNITS: &str = "worker.units=8";

struct Served {
    home: Home,
    settings: Vec<String>,
    server: Option<Server>,
}

struct Working {
    home: Home,
    worker: Option<Worker>,
}

/// Where executions are when all processes are gone.
struct Kept {
    // Dropped in this order.
    database: Database,
    cluster: Cluster,
    s3: S3,
}

pub(crate) struct Machines {
    /// One per server, with the tenant's key.
    pub(crate) clients: Vec<Client>,
    servers: Vec<Served>,
    /// The first is killed, the second paused.
    workers: [Working; 2],
    token: String,
    paused: Option<Instant>,
    kept: Option<Kept>,
}

/// What is left when everything has been stopped.
pub(crate) struct Left {
    pub(crate) store: Box<dyn Store>,
    _machines: Machines,
}

impl Machines {
    /// A server with a worker of its own, two workers elsewhere.
    pub(crate) async fn on_sqlite() -> Self {
        Self::start(vec![vec![UNITS.to_owned()]], None).await
    }

    /// Two servers over one cluster that nobody else uses.
    pub(crate) async fn on_postgres() -> Self {
        let cluster = Cluster::start();
        let kept = Kept { database: cluster.database(), cluster, s3: bulkhead_testkit::s3() };
        let settings = vec![
            UNITS.to_owned(),
            format!("database_url={}", kept.database.url()),
            format!("blobs=s3://{}", s3::BUCKET),
            format!("secret_key={}", "0f".repeat(32)),
        ];
        Self::start(vec![settings.clone(), settings], Some(kept)).await
    }

    async fn start(settings: Vec<Vec<String>>, kept: Option<Kept>) -> Self {
        let mut servers = Vec::new();
        for settings in settings {
            let mut served = Served { home: Home::new(), settings, server: None };
            served.start(kept.as_ref());
            // Its successor is found where it was.
            let port = served.server.as_ref().unwrap().same_port();
            served.settings.push(port);
            servers.push(served);
        }
        let first = servers[0].server.as_ref().unwrap();
        let (client, key) = first.tenant_and_key(TENANT, "tests/functions").await;
        let token = first.worker_token().await;
        let others = servers[1..].iter().map(|at| at.server.as_ref().unwrap().with_key(&key));
        let clients = std::iter::once(client).chain(others).collect();
        let workers = [0, 1].map(|_| Working { home: Home::new(), worker: None });
        let mut machines = Self { clients, servers, workers, token, paused: None, kept };
        machines.join(0);
        machines.join(1);
        machines
    }

    /// What can be done to them.
    pub(crate) fn blows(&self) -> Vec<Blow> {
        let mut blows = vec![Blow::Server, Blow::Worker, Blow::Pause];
        if self.kept.is_some() {
            blows.extend([Blow::Database, Blow::Backend]);
        }
        blows
    }

    /// Does it; returns when what was killed runs again.
    pub(crate) fn hit(&mut self, blow: Blow, dice: &mut fastrand::Rng) {
        if self.paused.is_some_and(|since| since.elapsed() > PAUSED) {
            self.wake();
        }
        match blow {
            Blow::Server => {
                let at = dice.usize(..self.servers.len());
                self.servers[at].server.take().unwrap().kill_nine();
                self.servers[at].start(self.kept.as_ref());
            }
            Blow::Worker => {
                let mut worker = self.workers[0].worker.take().unwrap();
                worker.process.kill().unwrap();
                worker.process.wait().unwrap();
                self.join(0);
            }
            Blow::Pause if self.paused.is_none() => {
                self.signal_paused(Signal::STOP);
                self.paused = Some(Instant::now());
            }
            // It is as far gone as it can be.
            Blow::Pause => {}
            Blow::Database => {
                let cluster = &self.kept.as_ref().unwrap().cluster;
                cluster.kill();
                cluster.start_again();
            }
            Blow::Backend => {
                let kept = self.kept.as_ref().unwrap();
                kept.cluster.kill_backend(&kept.database, dice.usize(..));
            }
        }
    }

    /// Lets the paused worker go on, once it has been so for long enough.
    pub(crate) fn wake(&mut self) {
        let Some(since) = self.paused.take() else { return };
        std::thread::sleep(PAUSED.saturating_sub(since.elapsed()));
        self.signal_paused(Signal::CONT);
    }

    fn signal_paused(&self, signal: Signal) {
        let worker = self.workers[1].worker.as_ref().unwrap();
        kill_process(Pid::from_child(&worker.process), signal).unwrap();
    }

    fn join(&mut self, at: usize) {
        let url = self.servers[0].server.as_ref().unwrap().url.clone();
        let working = &mut self.workers[at];
        working.worker = Some(Worker::join(&working.home, &url, &self.token, &[UNITS]));
    }

    /// Stops everything in good order: nothing of it is left on the machine.
    pub(crate) async fn stop(mut self) -> Left {
        for working in &mut self.workers {
            working.worker.take().unwrap().stop();
        }
        for served in &mut self.servers {
            served.server.take().unwrap().stop();
        }
        let servers = self.servers.iter().map(|served| &served.home);
        for home in servers.chain(self.workers.iter().map(|working| &working.home)) {
            until("nothing is left", || async { home.cgroups().is_empty() }).await;
        }
        let db = match &self.kept {
            Some(kept) => Db::connect(kept.database.url(), DbOptions::default()).await.unwrap(),
            None => Db::open(&self.servers[0].home.data().join("bulkhead.db")).unwrap(),
        };
        Left { store: Box::new(SqliteStore::new(db)), _machines: self }
    }
}

/// Longer than a lease lives without being renewed.
const PAUSED: Duration = LEASE.saturating_add(Duration::from_secs(3));

impl Served {
    fn start(&mut self, kept: Option<&Kept>) {
        let environment = kept.map_or_else(Vec::new, |kept| kept.s3.environment());
        let settings: Vec<&str> = self.settings.iter().map(String::as_str).collect();
        self.server = Some(Server::start_in(&self.home, &settings, environment));
    }
}

//! A whole platform over SQLite in a temporary directory, with an engine whose leases a test takes by hand.
#![allow(dead_code, unreachable_pub, missing_docs, reason = "each test file uses a part of it")]
#![allow(clippy::unwrap_used, reason = "a failed step is the test's failure")]

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bulkhead_egress::{FixedResolver, Gateway, GatewayLimits, Rule};
use bulkhead_engine::{Engine, EngineOptions, Settled};
use bulkhead_platform::{
    Credentials, DeployRequest, FunctionUpload, IntegrationSettings, NewConnection, Platform,
    PlatformConfig, TenantSettings,
};
use bulkhead_protocol::CallError;
use bulkhead_store::hot::sqlite::SqliteStore;
use bulkhead_store::{Db, DbOptions};
use bulkhead_testkit::postgres::Database;
use bulkhead_types::{
    Clock, ConnectionId, FixedClock, IntegrationId, Lease, Outcome, SystemEntropy, TenantId,
    Timestamp, WorkerId,
};
use serde_json::{Value, json};

pub struct World {
    pub dir: tempfile::TempDir,
    pub clock: Arc<FixedClock>,
    pub engine: Engine,
    pub platform: Arc<Platform>,
    pub worker: WorkerId,
}

/// 2023-11-14T22:13:20Z.
pub const BEGINNING: Timestamp = Timestamp::from_millis(1_700_000_000_000);

pub fn tenant() -> TenantId {
    TenantId::parse("acme").unwrap()
}

pub fn demo() -> IntegrationId {
    IntegrationId::parse("demo").unwrap()
}

pub fn connection() -> ConnectionId {
    ConnectionId::parse("c1").unwrap()
}

pub async fn world() -> World {
    world_with(vec![]).await
}

/// A world with the tenant `acme`; `egress` are the operator's rules.
pub async fn world_with(egress: Vec<Rule>) -> World {
    let dir = tempfile::tempdir().unwrap();
    let db = Db::open(&dir.path().join("bulkhead.db")).unwrap();
    world_over(dir, db, egress).await
}

/// As [`world_with`], over PostgreSQL: several servers may share that.
pub async fn postgres_world(database: &Database, egress: Vec<Rule>) -> World {
    world_over(tempfile::tempdir().unwrap(), connect(database).await, egress).await
}

async fn connect(database: &Database) -> Db {
    Db::connect(database.url(), DbOptions::default()).await.unwrap()
}

/// Another server over the same database, with the same key.
pub async fn another(world: &World, database: &Database, egress: Vec<Rule>) -> Arc<Platform> {
    let (db, clock) = (connect(database).await, Arc::clone(&world.clock));
    open_over(world.dir.path(), db, clock, egress).await.1
}

async fn world_over(dir: tempfile::TempDir, db: Db, egress: Vec<Rule>) -> World {
    let clock = Arc::new(FixedClock::at(BEGINNING));
    let (engine, platform) = open_over(dir.path(), db, Arc::clone(&clock), egress).await;
    platform.put_tenant(&tenant(), TenantSettings::default()).await.unwrap();
    let worker = WorkerId::generate(BEGINNING, &SystemEntropy);
    World { dir, clock, engine, platform, worker }
}

/// A server over the SQLite database of a directory.
pub async fn open(
    dir: &std::path::Path,
    clock: Arc<FixedClock>,
    egress: Vec<Rule>,
) -> (Engine, Arc<Platform>) {
    open_over(dir, Db::open(&dir.join("bulkhead.db")).unwrap(), clock, egress).await
}

async fn open_over(
    dir: &std::path::Path,
    db: Db,
    clock: Arc<FixedClock>,
    egress: Vec<Rule>,
) -> (Engine, Arc<Platform>) {
    let clock: Arc<dyn Clock> = clock;
    let entropy = Arc::new(SystemEntropy);
    let store = Arc::new(SqliteStore::new(db.clone()));
    let engine =
        Engine::new(store, Arc::clone(&clock), Arc::clone(&entropy) as _, EngineOptions::default());
    let gateway = Gateway::new(Arc::new(FixedResolver(HashMap::new())), GatewayLimits::default());
    let config = PlatformConfig {
        data: dir.to_owned(),
        egress,
        public_url: "https://bulkhead.test/".to_owned(),
        ..PlatformConfig::default()
    };
    let platform =
        Platform::open(config, db, engine.clone(), gateway, clock, entropy).await.unwrap();
    (engine, platform)
}

pub fn upload(spec: Value) -> FunctionUpload {
    let bundle = format!("module.exports = {spec}").into_bytes();
    FunctionUpload {
        spec: serde_json::from_value(spec).unwrap(),
        bundle,
        source_map: Some(b"{}".to_vec()),
    }
}

pub fn action(name: &str) -> Value {
    json!({"integration": "demo", "kind": "action", "name": name})
}

pub fn sync(name: &str) -> Value {
    json!({"integration": "demo", "kind": "sync", "name": name, "models": {"Item": {}}, "frequency": "every 1h"})
}

impl World {
    pub async fn deploy(&self, specs: &[Value]) {
        let functions = specs.iter().cloned().map(upload).collect();
        let request =
            DeployRequest { functions, allow_destructive: true, ..DeployRequest::default() };
        self.platform.deploy(&tenant(), request).await.unwrap();
    }

    /// The integration `demo` with these settings, and its connection `c1`.
    pub async fn connect(&self, settings: IntegrationSettings, credentials: Credentials) {
        self.platform.put_integration(&tenant(), &demo(), settings).await.unwrap();
        let metadata = json!({"team": "red"});
        let made = NewConnection { credentials, metadata, ..NewConnection::default() };
        self.platform.put_connection(&tenant(), &demo(), &connection(), made).await.unwrap();
    }

    /// The next lease.
    pub async fn lease(&self) -> Lease {
        let mut leases = self.engine.lease(&self.worker, 1).await.unwrap();
        leases.pop().expect("something to run")
    }

    pub async fn call(
        &self,
        lease: &Lease,
        method: &str,
        params: Value,
    ) -> Result<Value, CallError> {
        self.platform.call(lease, method, params).await
    }

    /// A call that has to go well.
    pub async fn ok(&self, lease: &Lease, method: &str, params: Value) -> Value {
        self.call(lease, method, params).await.unwrap_or_else(|error| panic!("{method}: {error}"))
    }

    /// The code of a call that has to fail.
    pub async fn code(&self, lease: &Lease, method: &str, params: Value) -> String {
        match self.call(lease, method, params).await {
            Ok(value) => panic!("{method} went well: {value}"),
            Err(error) => error.code,
        }
    }

    pub async fn settle(&self, lease: &Lease, outcome: Outcome) {
        self.engine.settle(&lease.lease, Settled::new(outcome)).await.unwrap();
    }

    pub fn pass(&self, millis: u64) {
        self.clock.advance(Duration::from_millis(millis));
    }
}

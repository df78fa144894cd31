//! A host, an egress and leases for tests of the worker.
#![allow(dead_code, reason = "each test file uses its part")]

use std::collections::HashMap;
use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bulkhead_egress::NameCheck;
use bulkhead_protocol::{CallError, LogLine, OpenRequest, Refused};
use bulkhead_types::{
    ExecutionId, Fence, FunctionSpec, Lease, LeaseRef, Limits, SystemClock, SystemEntropy,
    TimelineEvent, Timestamp, Trigger, Version, WallKind,
};
use bulkhead_wall::DynWall;
use bulkhead_worker::{
    Connected, Egress, Host, Parts, PoolConfig, Prepared, Runner, Settled, SourceError, Stop,
    SystemMonotonic, ZygoteConfig,
};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::sync::watch;

type Answer = Pin<Box<dyn Future<Output = Result<Value, CallError>> + Send>>;
type Answers = Arc<dyn Fn(String, Value) -> Answer + Send + Sync>;

/// Answers calls with a closure, keeps what it is told.
pub(crate) struct TestHost {
    answers: Answers,
    pub(crate) version: Mutex<Arc<Version>>,
    pub(crate) lines: Mutex<Vec<LogLine>>,
    pub(crate) events: Mutex<Vec<TimelineEvent>>,
}

impl TestHost {
    /// Answers every call with its own name and parameters.
    pub(crate) fn echo() -> Arc<Self> {
        Self::answering(
            |method, params| async move { Ok(json!({"method": method, "params": params})) },
        )
    }

    pub(crate) fn answering<F, Fut>(answers: F) -> Arc<Self>
    where
        F: Fn(String, Value) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Value, CallError>> + Send + 'static,
    {
        Arc::new(Self {
            answers: Arc::new(move |method, params| Box::pin(answers(method, params))),
            version: Mutex::new(version("a")),
            lines: Mutex::default(),
            events: Mutex::default(),
        })
    }

    pub(crate) fn texts(&self) -> Vec<String> {
        self.lines.lock().unwrap().iter().map(|line| line.message.clone()).collect()
    }

    pub(crate) fn events_named(&self, what: &str) -> Vec<Value> {
        let events = self.events.lock().unwrap();
        events.iter().filter(|it| it.what == what).map(|it| it.detail.clone()).collect()
    }
}

#[async_trait::async_trait]
impl Host for TestHost {
    async fn prepare(&self, _lease: &Lease) -> Result<Prepared, CallError> {
        Ok(prepared(&self.version.lock().unwrap()))
    }

    async fn call(&self, _: &Lease, method: &str, params: Value) -> Result<Value, CallError> {
        (self.answers)(method.to_owned(), params).await
    }

    async fn log(&self, _: &Lease, lines: Vec<LogLine>) -> Result<(), SourceError> {
        self.lines.lock().unwrap().extend(lines);
        Ok(())
    }

    async fn event(&self, _: &Lease, event: TimelineEvent) -> Result<(), SourceError> {
        tokio::time::sleep(Duration::from_millis(50)).await;
        self.events.lock().unwrap().push(event);
        Ok(())
    }
}

/// Connects the hosts it knows, refuses all others by a rule.
#[derive(Default)]
pub(crate) struct TestEgress(pub(crate) HashMap<String, SocketAddr>);

#[async_trait::async_trait]
impl Egress for TestEgress {
    async fn connect(
        &self,
        _: &Lease,
        _: &Version,
        request: &OpenRequest,
    ) -> Result<Connected, Refused> {
        let Some(address) = self.0.get(&request.host).copied() else {
            let (code, message) = ("egress_denied".to_owned(), "not allowed".to_owned());
            return Err(Refused { code, message, rule: Some("deny-all".to_owned()) });
        };
        let stream = TcpStream::connect(address).await.unwrap();
        let host = bulkhead_egress::Host::parse(&request.host).unwrap();
        let check = NameCheck::new(host, address, Arc::default());
        Ok(Connected { stream, address, check })
    }
}

pub(crate) fn version(id: &str) -> Arc<Version> {
    version_of("acme", "f", id)
}

/// A version of a tenant's function.
pub(crate) fn version_of(tenant: &str, name: &str, id: &str) -> Arc<Version> {
    let spec: FunctionSpec =
        serde_json::from_value(json!({"integration": "github", "kind": "action", "name": name}))
            .unwrap();
    let version = json!({"id": id, "tenant": tenant, "spec": spec, "bundle": "00"});
    Arc::new(serde_json::from_value(version).unwrap())
}

pub(crate) fn prepared(version: &Arc<Version>) -> Prepared {
    let context = json!({"connectionId": "c1"});
    let (bundle, wall) = (PathBuf::from("/nowhere"), WallKind::Process);
    Prepared { version: Arc::clone(version), bundle, context, wall }
}

/// A lease of execution `number`, that lives for a minute.
pub(crate) fn lease(number: u32, limits: Limits, input: Value) -> Lease {
    let version = version("a");
    let now = bulkhead_types::Clock::now(&SystemClock);
    Lease {
        lease: LeaseRef {
            execution: ExecutionId::parse(&format!("exe_{number}")).unwrap(),
            fence: Fence(1),
        },
        attempt: 1,
        function: version.function(),
        version: version.id.clone(),
        connection: None,
        trigger: Trigger::Api,
        input,
        limits,
        leased_at: now,
        expires_at: now.after(Duration::from_secs(60)),
    }
}

pub(crate) fn limits(time_ms: u64) -> Limits {
    Limits { time_ms, ..Limits::default() }
}

pub(crate) fn small_pool() -> PoolConfig {
    PoolConfig {
        slots: 8,
        compartments_per_version: 2,
        parked_max: 4,
        wait: Duration::from_secs(10),
        fork: Duration::from_secs(2),
        ..PoolConfig::default()
    }
}

pub(crate) fn runner(wall: DynWall, host: &Arc<TestHost>) -> Runner {
    runner_with(wall, host, small_pool(), TestEgress::default())
}

pub(crate) fn runner_with(
    wall: DynWall,
    host: &Arc<TestHost>,
    pool: PoolConfig,
    egress: TestEgress,
) -> Runner {
    let parts = Parts {
        host: Arc::clone(host) as Arc<dyn Host>,
        walls: wall.into(),
        egress: Arc::new(egress),
        clock: Arc::new(SystemClock),
        monotonic: Arc::new(SystemMonotonic::new()),
        entropy: Arc::new(SystemEntropy),
    };
    Runner::new(pool, ZygoteConfig::default(), parts)
}

/// Runs one attempt to its end.
pub(crate) async fn run(runner: &Runner, lease: Lease) -> Settled {
    let (_keep, stop) = watch::channel(None);
    run_until(runner, lease, stop).await
}

pub(crate) async fn run_until(
    runner: &Runner,
    lease: Lease,
    stop: watch::Receiver<Option<Stop>>,
) -> Settled {
    let taken_us = runner.monotonic().micros();
    let attempt = runner.run_attempt(lease, taken_us, stop);
    tokio::time::timeout(Duration::from_secs(30), attempt).await.expect("the attempt must end")
}

/// Waits until `condition` holds; fails after ten seconds.
pub(crate) async fn eventually(what: &str, condition: impl Fn() -> bool) {
    for _ in 0..1_000 {
        if condition() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("never came true: {what}");
}

pub(crate) fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis)
}

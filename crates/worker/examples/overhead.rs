//! What the worker itself adds to a start: attempts on the fake wall, whose sandboxes cost nothing.
//!
//! `cargo run --release -p bulkhead-worker --example overhead`: one after another, then many at once.
#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "an example")]

use std::sync::Arc;
use std::time::Duration;

use bulkhead_protocol::{CallError, LogLine, OpenRequest, Refused};
use bulkhead_types::{
    Clock, ExecutionId, Fence, Lease, LeaseRef, Limits, SystemClock, SystemEntropy, TimelineEvent,
    Trigger, Version, WallKind,
};
use bulkhead_wall::Walls;
use bulkhead_wall::fake::FakeWall;
use bulkhead_worker::{
    Connected, Egress, Host, Measured, Parts, Percentiles, PoolConfig, Prepared, Runner,
    SourceError, SystemMonotonic, ZygoteConfig,
};
use futures_util::StreamExt;
use serde_json::{Value, json};

const ATTEMPTS: u32 = 2_000;
const AT_ONCE: usize = 32;

struct Nobody;

#[async_trait::async_trait]
impl Host for Nobody {
    async fn prepare(&self, _: &Lease) -> Result<Prepared, CallError> {
        Err(CallError { code: "nobody".into(), message: String::new(), payload: None })
    }
    async fn call(&self, _: &Lease, _: &str, _: Value) -> Result<Value, CallError> {
        Ok(Value::Null)
    }
    async fn log(&self, _: &Lease, _: Vec<LogLine>) -> Result<(), SourceError> {
        Ok(())
    }
    async fn event(&self, _: &Lease, _: TimelineEvent) -> Result<(), SourceError> {
        Ok(())
    }
}

#[async_trait::async_trait]
impl Egress for Nobody {
    async fn connect(&self, _: &Lease, _: &Version, _: &OpenRequest) -> Result<Connected, Refused> {
        Err(Refused { code: "egress_denied".into(), message: String::new(), rule: None })
    }
}

fn lease(version: &Version, number: u32) -> Lease {
    let now = SystemClock.now();
    let execution = ExecutionId::parse(&format!("exe_{number}")).unwrap();
    Lease {
        lease: LeaseRef { execution, fence: Fence(1) },
        attempt: 1,
        function: version.function(),
        version: version.id.clone(),
        connection: None,
        trigger: Trigger::Api,
        input: json!({"number": number}),
        limits: Limits::default(),
        leased_at: now,
        expires_at: now.after(Duration::from_secs(60)),
    }
}

fn print(name: &str, samples: Vec<u64>) {
    let Percentiles { n, p50, p95, p99, max, .. } = Percentiles::of(samples);
    println!("{name:28} n {n:5}  p50 {p50:6} µs  p95 {p95:6} µs  p99 {p99:6} µs  max {max:6} µs");
}

#[tokio::main]
async fn main() {
    let parts = Parts {
        host: Arc::new(Nobody),
        walls: Walls::Any(FakeWall::handler(|start, _| async move { Ok(start.input) })),
        egress: Arc::new(Nobody),
        clock: Arc::new(SystemClock),
        monotonic: Arc::new(SystemMonotonic::new()),
        entropy: Arc::new(SystemEntropy),
    };
    let runner = Runner::new(PoolConfig::default(), ZygoteConfig::default(), parts);
    let spec = json!({"integration": "none", "kind": "action", "name": "echo"});
    let version = json!({"id": "v", "tenant": "t", "spec": spec, "bundle": ""});
    let version: Arc<Version> = Arc::new(serde_json::from_value(version).unwrap());
    let prepared = Prepared {
        version,
        bundle: "/nowhere".into(),
        context: Value::Null,
        wall: WallKind::Process,
    };
    runner.warm(&prepared, &Limits::default()).await.unwrap();

    let mut alone = Vec::new();
    for number in 0..ATTEMPTS {
        alone.push(runner.direct(lease(&prepared.version, number), &prepared).await);
        // Until the refill is there, as between requests on an idle machine.
        tokio::time::sleep(Duration::from_micros(500)).await;
    }
    report("one after another", &alone);
    let before = runner.monotonic().micros();
    let attempts = (0..ATTEMPTS).map(|it| runner.direct(lease(&prepared.version, it), &prepared));
    let many: Vec<Measured> =
        futures_util::stream::iter(attempts).buffer_unordered(AT_ONCE).collect().await;
    let took_us = runner.monotonic().micros() - before;
    report("many at once", &many);
    println!("{} attempts a second, {AT_ONCE} at once", u64::from(ATTEMPTS) * 1_000_000 / took_us);
    runner.shutdown().await;
}

fn report(name: &str, measured: &[Measured]) {
    let of = |what: fn(&Measured) -> u64| measured.iter().map(what).collect();
    print(&format!("{name}: sandbox"), of(|it| it.sandbox_us));
    print(&format!("{name}: start"), of(|it| it.settled.usage.start_us));
    print(&format!("{name}: gone"), of(|it| it.total_us));
}

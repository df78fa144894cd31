//! How many executions a second the engine takes from submit over lease to settle, on SQLite, and what one lease
//! costs with few and with many queued. A figure to look at while working on the store; `bulkhead bench` measures
//! what is promised.
//!
//! `cargo run --release -p bulkhead-engine --example throughput -- DIRECTORY|postgres://… [EXECUTIONS] [QUEUED]`
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a tool for its authors")]
#![allow(clippy::disallowed_methods, reason = "it measures")]

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use bulkhead_engine::{Engine, EngineOptions, Settled, Submit};
use bulkhead_store::hot::sqlite::SqliteStore;
use bulkhead_store::{Db, DbOptions, Durability};
use bulkhead_types::{
    FunctionKey, FunctionKind, FunctionName, IntegrationId, Outcome, SystemClock, SystemEntropy,
    TenantId, Trigger, VersionId, WorkerId,
};
use serde_json::json;

const TENANTS: usize = 50;
const SUBMITTERS: usize = 64;
const SETTLERS: usize = 8;

async fn engine(dir: &str, name: &str, durability: Durability) -> Engine {
    let options = DbOptions { durability, ..DbOptions::default() };
    let db = if dir.starts_with("postgres") {
        Db::connect(dir, options).await.unwrap()
    } else {
        Db::open_with(&Path::new(dir).join(name), options).unwrap()
    };
    let store = Arc::new(SqliteStore::new(db));
    Engine::new(store, Arc::new(SystemClock), Arc::new(SystemEntropy), EngineOptions::default())
}

fn submit(n: usize) -> Submit {
    let function = FunctionKey {
        tenant: TenantId::parse(&format!("tenant{}", n % TENANTS)).unwrap(),
        integration: IntegrationId::parse("github").unwrap(),
        kind: FunctionKind::Action,
        name: FunctionName::parse("create-issue").unwrap(),
    };
    let input = json!({"title": "A title", "body": "x".repeat(200), "n": n});
    let mut submit =
        Submit::new(function, VersionId::parse(&"a".repeat(64)).unwrap(), Trigger::Api, input);
    let ttl = std::time::Duration::from_secs(3_600);
    submit.idempotency = Some(bulkhead_engine::Idempotency { key: format!("k{n}"), ttl });
    submit
}

async fn submit_all(engine: &Engine, count: usize) {
    let tasks = (0..SUBMITTERS).map(|part| {
        let engine = engine.clone();
        tokio::spawn(async move {
            for n in (part..count).step_by(SUBMITTERS) {
                engine.submit(submit(n)).await.unwrap();
            }
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.unwrap();
    }
}

async fn settle_all(engine: &Engine, count: usize) {
    let left = Arc::new(std::sync::atomic::AtomicUsize::new(count));
    let tasks = (0..SETTLERS).map(|number| {
        let (engine, left) = (engine.clone(), Arc::clone(&left));
        tokio::spawn(async move {
            let worker = WorkerId::parse(&format!("wrk_{number}")).unwrap();
            while left.load(std::sync::atomic::Ordering::SeqCst) > 0 {
                let wait = std::time::Duration::from_millis(200);
                let Ok(leases) = tokio::time::timeout(wait, engine.lease(&worker, 16)).await else {
                    continue;
                };
                let settles = leases.unwrap().into_iter().map(|lease| {
                    let engine = engine.clone();
                    tokio::spawn(async move {
                        let settled = Settled::new(Outcome::Completed(json!({"ok": true})));
                        engine.settle(&lease.lease, settled).await.unwrap();
                    })
                });
                for settle in settles.collect::<Vec<_>>() {
                    settle.await.unwrap();
                    left.fetch_sub(1, std::sync::atomic::Ordering::SeqCst);
                }
            }
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.unwrap();
    }
}

async fn lease_cost_us(engine: &Engine) -> f64 {
    let worker = WorkerId::parse("wrk_cost").unwrap();
    let mut costs = Vec::new();
    for _ in 0..300 {
        let start = Instant::now();
        let lease = engine.lease(&worker, 1).await.unwrap().remove(0);
        costs.push(start.elapsed().as_secs_f64() * 1e6);
        engine.settle(&lease.lease, Settled::new(Outcome::Completed(json!(1)))).await.unwrap();
    }
    costs.sort_by(f64::total_cmp);
    costs[costs.len() / 2]
}

#[tokio::main]
async fn main() {
    let mut args = std::env::args().skip(1);
    let dir = args.next().expect("DIRECTORY [EXECUTIONS] [QUEUED]");
    let mut number = |otherwise| args.next().map_or(otherwise, |text| text.parse().unwrap());
    let (count, queued): (usize, usize) = (number(20_000), number(100_000));
    for durability in [Durability::Normal, Durability::Full] {
        let engine = engine(&dir, &format!("{durability:?}.db"), durability).await;
        let start = Instant::now();
        tokio::join!(submit_all(&engine, count), settle_all(&engine, count));
        let rate = count as f64 / start.elapsed().as_secs_f64();
        println!("{durability:?}: {count} executions at {rate:.0}/s");
    }
    let engine = engine(&dir, "queued.db", Durability::Normal).await;
    submit_all(&engine, 1_000).await;
    println!("one lease, about 1000 queued: p50 {:.0} us", lease_cost_us(&engine).await);
    let start = Instant::now();
    submit_all(&engine, queued + 1_000).await;
    println!("submit alone: {:.0}/s", queued as f64 / start.elapsed().as_secs_f64());
    println!("one lease, about {queued} queued: p50 {:.0} us", lease_cost_us(&engine).await);
}

//! `bulkhead bench webhooks`: T14, deliveries over HTTP on loopback, each durable before its 202. First a burst,
//! then a sustained stream that does not wait for answers: a delivery that should have been sent counts from then.
//! Then deliveries that repeat an id; and last what a stream of one tenant does to another's calls (`bench_flood.rs`).
//!
//! The server runs in this process, behind its real routes and over its real database (synchronous=FULL unless set
//! otherwise). Its wall is the fake one: handlers are run by the worker and take no time of their own, so that what
//! is measured is taking deliveries while they are also being worked off. Client and server share the machine.

use std::sync::Arc;
use std::time::Duration;

use bulkhead_api::Op;
use bulkhead_client::{Client, Request};
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::cli::Bench;
use crate::context::Context;
use crate::measure::{Series, Target};
use crate::output;
use crate::verbs::bench_engine::per_second;
use crate::verbs::bench_flood;
use crate::verbs::embedded::{Embedded, TENANT, on_fake_wall};

/// Deliveries of the burst.
const BURST: usize = 10_000;

/// Deliveries under way at the same time in the burst: what a provider's fleet would open.
const BURST_CONNECTIONS: usize = 256;

/// Deliveries a second of the stream.
pub(crate) const RATE: usize = 2_000;

/// Deliveries that come a second time.
const REPEATED: usize = 500;

pub(crate) const INTEGRATION: &str = "bench";

pub(crate) fn run(typed: &Bench, context: &Context) -> anyhow::Result<(Vec<Series>, Vec<Target>)> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let embedded = on_fake_wall(context).await?;
        furnish(&embedded).await?;
        let measured = both(&embedded, typed).await;
        embedded.stop().await?;
        measured
    })
}

async fn both(embedded: &Embedded, typed: &Bench) -> anyhow::Result<(Vec<Series>, Vec<Target>)> {
    let (mut results, mut targets) = measure(embedded, typed).await?;
    let (others, of_others) = bench_flood::measure(embedded).await?;
    results.extend(others);
    targets.extend(of_others);
    Ok((results, targets))
}

async fn furnish(embedded: &Embedded) -> anyhow::Result<()> {
    deploy(&embedded.client, "webhook", "changed").await
}

/// Makes a tenant's integration, and a function of it live.
pub(crate) async fn deploy(client: &Client, kind: &str, name: &str) -> anyhow::Result<()> {
    let put = json!({"base_url": "http://127.0.0.1:9", "auth": {"mode": "none"}});
    client.send(Request::new(Op::PutIntegration, &[INTEGRATION]).json(&put)).await?;
    let function = bulkhead_api::DeployFunction {
        spec: json!({"integration": INTEGRATION, "kind": kind, "name": name}),
        bundle: "module.exports = {}".to_owned(),
        source_map: None,
    };
    let body = bulkhead_api::Deploy {
        functions: vec![function],
        dry_run: false,
        allow_destructive: false,
        partial: false,
    };
    client.send(Request::new(Op::Deploy, &[]).json(&body)).await?;
    Ok(())
}

async fn measure(embedded: &Embedded, typed: &Bench) -> anyhow::Result<(Vec<Series>, Vec<Target>)> {
    let client = &embedded.client;
    let burst = typed.n.unwrap_or(BURST);
    output::say("warming up");
    at_once(client, "warm", 500).await?;

    output::say(&format!("{burst} deliveries at once"));
    let began = Instant::now();
    let burst_acks = at_once(client, "burst", burst).await?;
    let burst_rate = per_second(burst, began.elapsed());

    let sustained = RATE * usize::try_from(typed.seconds)?;
    output::say(&format!("{RATE} deliveries a second for {} s", typed.seconds));
    let began = Instant::now();
    let acks = stream(client, "stream", sustained).await?;
    let rate = per_second(sustained, began.elapsed());

    output::say(&format!("{REPEATED} of them again"));
    let mut duplicates = 0;
    for n in 0..REPEATED {
        duplicates += usize::from(deliver(client, &format!("stream-{n}")).await?);
    }
    let lost = 500 + burst + sustained - ended(embedded, 500 + burst + sustained).await?;

    let burst_acks = Series::of_durations(
        format!("webhooks/burst of {burst}, acknowledged since it began"),
        &burst_acks,
    );
    let acks = Series::of_durations(format!("webhooks/{RATE} a second, acknowledged"), &acks);
    let count = |n: usize| f64::from(u32::try_from(n).unwrap_or(u32::MAX));
    let targets = vec![
        Target::at_most("T14", "p99 of an acknowledgement at 2,000 a second", acks.p99, 50.0, "ms"),
        Target::at_least("T14", "deliveries a second, sustained", rate, count(RATE) * 0.99, "/s"),
        Target::at_most(
            "T14",
            "deliveries that were acknowledged and have not run",
            count(lost),
            0.0,
            "",
        ),
        Target::at_least(
            "T14",
            "repeated ids that were dropped, of 500",
            count(duplicates),
            count(REPEATED),
            "",
        ),
    ];
    let rates = [
        Series::single("webhooks/burst, rate", "/s", burst_rate),
        Series::single("webhooks/stream, rate", "/s", rate),
    ];
    Ok(([burst_acks, acks].into_iter().chain(rates).collect(), targets))
}

/// Sends one delivery; says whether it was a duplicate.
pub(crate) async fn deliver(client: &Client, id: &str) -> anyhow::Result<bool> {
    let body = json!({"type": "changed", "id": id, "text": "x".repeat(500)});
    let request =
        Request::new(Op::Webhook, &[TENANT, INTEGRATION]).header("x-delivery-id", id).json(&body);
    loop {
        match client.call::<Value>(request.clone()).await {
            Ok(answer) => return Ok(answer["duplicate"] == json!(true)),
            // It comes again, as from a provider; the time counts from the first try.
            Err(error) if error.code() == Some("overloaded") => tokio::time::sleep(REFUSED).await,
            Err(error) => return Err(error.into()),
        }
    }
}

/// Until a delivery that was refused comes again.
const REFUSED: Duration = Duration::from_millis(100);

async fn at_once(client: &Client, name: &str, count: usize) -> anyhow::Result<Vec<Duration>> {
    let doors = Arc::new(Semaphore::new(BURST_CONNECTIONS));
    let began = Instant::now();
    let mut sent = JoinSet::new();
    for n in 0..count {
        let door = Arc::clone(&doors).acquire_owned().await?;
        let (client, id) = (client.clone(), format!("{name}-{n}"));
        sent.spawn(async move {
            deliver(&client, &id).await?;
            drop(door);
            anyhow::Ok(began.elapsed())
        });
    }
    collect(sent).await
}

/// Deliveries at their times, whatever became of those before.
async fn stream(client: &Client, name: &str, count: usize) -> anyhow::Result<Vec<Duration>> {
    let began = Instant::now();
    let mut sent = JoinSet::new();
    for n in 0..count {
        let due = began + Duration::from_secs_f64(n as f64 / RATE as f64);
        if due > Instant::now() {
            tokio::time::sleep_until(due).await;
        }
        let (client, id) = (client.clone(), format!("{name}-{n}"));
        sent.spawn(async move {
            deliver(&client, &id).await?;
            anyhow::Ok(due.elapsed())
        });
    }
    collect(sent).await
}

pub(crate) async fn collect(
    mut sent: JoinSet<anyhow::Result<Duration>>,
) -> anyhow::Result<Vec<Duration>> {
    let mut took = Vec::with_capacity(sent.len());
    while let Some(one) = sent.join_next().await {
        took.push(one??);
    }
    Ok(took)
}

/// Waits until `expected` executions have succeeded, or until no more do; returns how many did.
async fn ended(embedded: &Embedded, expected: usize) -> anyhow::Result<usize> {
    output::say("waiting until all of them have run");
    let mut before = 0;
    loop {
        let done = usize::try_from(embedded.runner.snapshot().executions)?;
        if done >= expected || done == before {
            return Ok(done.min(expected));
        }
        before = done;
        tokio::time::sleep(Duration::from_secs(3)).await;
    }
}

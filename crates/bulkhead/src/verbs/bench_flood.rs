//! Part of `bulkhead bench webhooks`: what a flood of one tenant's webhooks does to how long another tenant's API calls
//! take. Seconds with the flood and seconds without it take turns, so that both see the same machine.
//!
//! The quiet tenant calls at fixed times, whatever became of the call before: in turns it looks something up and has
//! an action accepted, which is a durable write. Its actions and the webhooks are run meanwhile.

use std::sync::Arc;
use std::time::Duration;

use bulkhead_api::Op;
use bulkhead_client::{Client, Request};
use serde_json::json;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::measure::{Series, Target};
use crate::output;
use crate::verbs::bench_webhooks::{INTEGRATION, RATE, collect, deliver, deploy};
use crate::verbs::embedded::Embedded;

/// How long each turn takes.
const TURN: Duration = Duration::from_secs(3);

/// Turns of each kind.
const TURNS: usize = 5;

/// Between two calls of the quiet tenant.
const PAUSE: Duration = Duration::from_millis(20);

/// Deliveries of the flood under way at the same time.
const CONNECTIONS: usize = 256;

/// How much slower the quiet tenant's calls may become.
const RATIO_MAX: f64 = 2.0;

/// What the quiet tenant's calls took, in one kind of turn.
#[derive(Default)]
struct Took {
    reads: Vec<Duration>,
    writes: Vec<Duration>,
}

pub(crate) async fn measure(embedded: &Embedded) -> anyhow::Result<(Vec<Series>, Vec<Target>)> {
    let quiet = embedded.tenant("quiet").await?;
    deploy(&quiet, "action", "call").await?;
    output::say(&format!("another tenant's calls, with and without {RATE} webhooks a second"));
    let (mut alone, mut beside, mut refused) = (Took::default(), Took::default(), 0);
    for turn in 0..TURNS {
        call(&quiet, &mut alone).await?;
        let called = tokio::join!(call(&quiet, &mut beside), flood(&embedded.client, turn));
        called.0?;
        refused += called.1?;
    }
    if refused > 0 {
        output::say(&format!("{refused} deliveries of the flood were not taken"));
    }
    let series = |what: &str, took: &[Duration]| {
        Series::of_durations(format!("webhooks/another tenant's {what}"), took)
    };
    let reads = [series("reads, no flood", &alone.reads), series("reads, flood", &beside.reads)];
    let writes =
        [series("writes, no flood", &alone.writes), series("writes, flood", &beside.writes)];
    let ratio = |[alone, beside]: &[Series; 2]| beside.p50 / alone.p50.max(0.001);
    let what =
        |of: &str| format!("another tenant's {of} with a flood of webhooks, p50, against without");
    let targets = vec![
        Target::at_most("T14", what("reads"), ratio(&reads), RATIO_MAX, "x"),
        Target::at_most("T14", what("writes"), ratio(&writes), RATIO_MAX, "x"),
    ];
    Ok((reads.into_iter().chain(writes).collect(), targets))
}

/// Deliveries for one turn, at their times while there is a connection for them. Returns how many were not taken.
async fn flood(client: &Client, turn: usize) -> anyhow::Result<usize> {
    let (began, doors) = (Instant::now(), Arc::new(Semaphore::new(CONNECTIONS)));
    let mut sent = JoinSet::new();
    for n in 0_u32.. {
        let due = began + Duration::from_secs(1) * n / u32::try_from(RATE)?;
        let door = Arc::clone(&doors).acquire_owned().await?;
        tokio::time::sleep_until(due).await;
        if began.elapsed() >= TURN {
            break;
        }
        let (client, id) = (client.clone(), format!("flood-{turn}-{n}"));
        sent.spawn(async move {
            let taken = deliver(&client, &id).await.is_ok();
            drop(door);
            taken
        });
    }
    Ok(sent.join_all().await.into_iter().filter(|taken| !taken).count())
}

/// The quiet tenant's calls of one turn.
async fn call(client: &Client, took: &mut Took) -> anyhow::Result<()> {
    let (began, mut reads, mut writes) = (Instant::now(), JoinSet::new(), JoinSet::new());
    let mut due = began;
    for number in 0_u64.. {
        if due >= began + TURN {
            break;
        }
        tokio::time::sleep_until(due).await;
        let (client, is_read) = (client.clone(), number % 2 == 0);
        let request = match is_read {
            true => Request::new(Op::ListFunctions, &[]),
            false => Request::new(Op::RunAction, &[INTEGRATION, "call"])
                .header("Prefer", "respond-async")
                .json(&json!({"n": number})),
        };
        let calls = if is_read { &mut reads } else { &mut writes };
        calls.spawn(async move {
            client.send(request).await?;
            anyhow::Ok(due.elapsed())
        });
        due += PAUSE;
    }
    took.reads.extend(collect(reads).await?);
    took.writes.extend(collect(writes).await?);
    Ok(())
}

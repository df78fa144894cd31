//! `bulkhead bench fairness`: T13, what a tenant that queues 100,000 executions does to 50 others. The engine on
//! SQLite, without sandboxes: attempts are sleeps, so that the slots are what everybody competes for.
//!
//! The quiet tenants each want one execution at a time: each calls, waits for the end, and calls again. There are
//! more of them than slots, so that they wait for one another without anybody else; with the noisy tenant there is
//! one more to take turns with. Start delay is the time from acceptance to lease. Besides, cases without competition:
//! five tenants that call now and then find free slots, or, with the noisy tenant, none but the headroom; once with
//! attempts of the noisy tenant that end soon, and once with attempts of two minutes, which fill their slots for longer
//! than the measurement takes.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use bulkhead_engine::Engine;
use bulkhead_store::Durability;
use bulkhead_types::TenantId;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::cli::Bench;
use crate::context::Context;
use crate::measure::{Series, Target};
use crate::output;
use crate::verbs::bench_load::{
    HEADROOM_PERCENT, action, on_sqlite, start_delay, submit_all, tenant, work, worker,
};

/// Queued by the noisy tenant before the measurement begins.
const NOISE: usize = 100_000;

/// Tenants with one execution at a time.
const QUIET: usize = 50;

/// Tenants that call now and then.
const SELDOM: usize = 5;

/// Between two calls of one of those.
const PAUSE: Duration = Duration::from_millis(500);

/// Attempts that run at the same time: the usual 16 per core of a machine with two.
const SLOTS: usize = 32;

/// What an attempt of a quiet tenant takes.
const SHORT: Duration = Duration::from_millis(50);

/// What one of the noisy tenant's takes.
const LONG: Duration = Duration::from_millis(200);

/// What one of its takes that never ends while others wait.
const ENDLESS: Duration = Duration::from_secs(120);

/// Calls timed for each case.
const CALLS: usize = 2_000;

/// The longest wait for one call.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn run(typed: &Bench, _: &Context) -> anyhow::Result<(Vec<Series>, Vec<Target>)> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let n = typed.n.unwrap_or(CALLS);
    runtime.block_on(async {
        let busy = both("quiet, 50 tenants in turns", QUIET, Duration::ZERO, n).await?;
        let seldom = both("quiet, 5 tenants now and then", SELDOM, PAUSE, n / 10).await?;
        let quiet = Quiet { tenants: SELDOM, pause: PAUSE, calls: n / 10 };
        let endless = measure(quiet, NOISE, ENDLESS).await?;
        let what = "quiet, 5 tenants now and then/beside one that runs for 120 s, without end";
        let endless = Series::of_durations(what, &endless);
        let ratio = busy[1].p99 / busy[0].p99.max(0.001);
        let what = "start delay of quiet tenants with the noisy one, p99, against without";
        // As `bulkhead_sched::share` says: rounds of their own attempts until each had a slot of the headroom; and the
        // time that it takes to choose and keep.
        let rounds = SELDOM.div_ceil(headroom_of(SLOTS)?);
        let bound = SHORT.as_secs_f64() * 1e3 * rounds as f64 + OVERHEAD_MS;
        let within = "start delay of quiet tenants beside endless 120 s functions, p99, against the stated bound";
        let targets = vec![
            Target::at_most("T13", what, ratio, 2.0, "x"),
            Target::at_most("T13", within, endless.p99, bound, "ms"),
        ];
        Ok((busy.into_iter().chain(seldom).chain([endless]).collect(), targets))
    })
}

/// Choosing and keeping, with all cores busy, milliseconds.
const OVERHEAD_MS: f64 = 50.0;

/// Slots, of so many, that are kept for tenants that run nothing.
fn headroom_of(slots: usize) -> anyhow::Result<usize> {
    Ok(usize::try_from(bulkhead_engine::headroom(u32::try_from(slots)?, HEADROOM_PERCENT))?)
}

/// Without the noisy tenant and with it.
async fn both(
    name: &str,
    tenants: usize,
    pause: Duration,
    calls: usize,
) -> anyhow::Result<[Series; 2]> {
    let quiet = Quiet { tenants, pause, calls };
    let without = measure(quiet, 0, LONG).await?;
    let with = measure(quiet, NOISE, LONG).await?;
    Ok([
        Series::of_durations(format!("{name}/alone"), &without),
        Series::of_durations(format!("{name}/beside one with {NOISE} queued"), &with),
    ])
}

/// Those whose calls are timed.
#[derive(Debug, Clone, Copy)]
struct Quiet {
    tenants: usize,
    /// Between two calls of one of them.
    pause: Duration,
    /// Of all of them.
    calls: usize,
}

/// Beside a tenant with so many queued, of which each takes so long.
async fn measure(quiet: Quiet, noise: usize, long: Duration) -> anyhow::Result<Vec<Duration>> {
    let directory = tempfile::Builder::new().prefix("bulkhead-").tempdir()?;
    let engine = on_sqlite(directory.path(), Durability::Normal)?;
    let noisy = tenant("noisy")?;
    let make = {
        let noisy = noisy.clone();
        move |n| action(&noisy, n)
    };
    submit_all(&engine, noise, 256, make).await?;
    let tenants = quiet.tenants;
    output::say(&format!("{tenants} quiet tenants, {noise} queued by another, {long:?} each"));
    // It works until the quiet ones have what they wanted, whatever is left of the noise.
    let left = Arc::new(AtomicUsize::new(usize::MAX));
    let takes = move |lease: &bulkhead_types::Lease| {
        if lease.function.tenant == noisy { long } else { SHORT }
    };
    let mut working = JoinSet::new();
    working.spawn(work(engine.clone(), worker(0)?, SLOTS, left, Arc::new(takes)));
    let delays = call_all(&engine, quiet).await;
    working.abort_all();
    delays
}

/// Each of the quiet tenants calls, waits, pauses and calls again, until `n` calls are timed.
async fn call_all(engine: &Engine, quiet: Quiet) -> anyhow::Result<Vec<Duration>> {
    let Quiet { tenants, pause, calls } = quiet;
    let each = calls.div_ceil(tenants);
    let mut callers = JoinSet::new();
    for number in 0..tenants {
        let (engine, tenant) = (engine.clone(), tenant(&format!("quiet{number}"))?);
        // Not all at the same moment.
        let first =
            pause * u32::try_from(number).unwrap_or(0) / u32::try_from(tenants).unwrap_or(1);
        callers.spawn(async move {
            tokio::time::sleep(first).await;
            call_again_and_again(&engine, &tenant, pause, each).await
        });
    }
    let mut delays = Vec::new();
    while let Some(done) = callers.join_next().await {
        delays.extend(done??);
    }
    Ok(delays)
}

/// The first two calls are left out: all begin at once.
async fn call_again_and_again(
    engine: &Engine,
    tenant: &TenantId,
    pause: Duration,
    count: usize,
) -> anyhow::Result<Vec<Duration>> {
    let mut delays = Vec::new();
    for n in 0..count + 2 {
        let submitted = engine.submit(action(tenant, n)?).await?;
        let until = Instant::now() + PATIENCE;
        let ended = engine.wait(&submitted.execution, PATIENCE).await?;
        anyhow::ensure!(ended.is_some() && Instant::now() < until, "an execution did not end");
        let attempts = engine.attempts(tenant, &submitted.execution).await?;
        if let (Some(ended), Some(attempt)) = (ended, attempts.first())
            && n >= 2
        {
            delays.push(start_delay(ended.created_at, attempt.leased_at));
        }
        tokio::time::sleep(pause).await;
    }
    Ok(delays)
}

//! `bulkhead bench engine`: the engine without sandboxes. T10: how many executions a second go from submit over lease
//! to settle, with fairness and idempotency on. T12: what one lease costs with much and with little queued. Besides,
//! what limits cost, and what 100,000 schedules cost while none is due.
//!
//! Submitters, workers and the store share the machine's cores, as in a server.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use anyhow::Context as _;
use bulkhead_engine::{Engine, GateChange, GateOf, ScheduleKey, ScheduleSpec, Settled};
use bulkhead_store::Durability;
use bulkhead_types::{ConnectionId, FunctionKey, FunctionKind, Outcome, ScheduleOptions, TenantId};
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::cli::Bench;
use crate::context::Context;
use crate::measure::{Series, Target};
use crate::output;
use crate::verbs::bench_load::{
    action, keyed_action, on_postgres, on_sqlite, submit_all, tenant, work, worker,
};

/// Executions of one round.
const EXECUTIONS: usize = 60_000;

/// Executions before the first that counts.
const WARM_UP: usize = 5_000;

const TENANTS: usize = 50;

/// Callers that each wait for their answer: what the HTTP server has under way when it is busy.
const CALLERS: usize = 128;

/// Workers, and attempts that each runs at the same time.
const WORKERS: [usize; 2] = [2, 128];

/// Queued for T12, by default.
const QUEUED: [usize; 2] = [1_000, 1_000_000];

/// Leases timed for T12, of each.
const LEASES: usize = 1_000;

/// Schedules for what they cost while none is due.
const SCHEDULES: usize = 100_000;

pub(crate) fn run(typed: &Bench, context: &Context) -> anyhow::Result<(Vec<Series>, Vec<Target>)> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    if let Some(url) = &context.config.database_url {
        return runtime.block_on(postgres(url.reveal(), typed.n.unwrap_or(EXECUTIONS)));
    }
    let directory = tempfile::Builder::new().prefix("bulkhead-").tempdir()?;
    let queued = [QUEUED[0], typed.n.unwrap_or(QUEUED[1])];
    runtime.block_on(async {
        let (mut results, mut targets) = (Vec::new(), Vec::new());
        for (durability, name, least) in [
            (Durability::Normal, "SQLite, synchronous=NORMAL", 10_000.0),
            (Durability::Full, "SQLite, synchronous=FULL", 3_000.0),
        ] {
            let engine = on_sqlite(directory.path(), durability)?;
            let rate = throughput(&engine, name).await?;
            results.push(Series::single(format!("engine/{name}"), "/s", rate));
            targets.push(Target::at_least(
                "T10",
                format!("executions a second, {name}"),
                rate,
                least,
                "/s",
            ));
        }
        results.push(limited(directory.path()).await?);
        let [few, many] = lease_cost(directory.path(), queued).await?;
        let ratio = many.p50 / few.p50.max(0.001);
        targets.push(Target::at_most(
            "T12",
            "one lease, much queued against little (p50)",
            ratio,
            1.3,
            "x",
        ));
        results.extend([few, many]);
        results.extend(schedules(directory.path()).await?);
        Ok((results, targets))
    })
}

/// T11, in the database that `database_url` names, which is to be empty. What it is held against runs in the same run:
/// bench/queues/run.sh.
async fn postgres(url: &str, count: usize) -> anyhow::Result<(Vec<Series>, Vec<Target>)> {
    let engine = on_postgres(url).await?;
    output::say(&format!("{count} executions of {TENANTS} tenants, PostgreSQL"));
    through(&engine, WARM_UP, 0).await?;
    let began = Instant::now();
    through(&engine, count, WARM_UP).await?;
    let rate = per_second(count, began.elapsed());
    let what = "executions a second, PostgreSQL";
    let target = Target::at_least("T11", what, rate, 3_000.0, "/s");
    Ok((vec![Series::single("engine/PostgreSQL", "/s", rate)], vec![target]))
}

fn tenants() -> anyhow::Result<Arc<Vec<TenantId>>> {
    Ok(Arc::new((0..TENANTS).map(|n| tenant(&format!("tenant{n}"))).collect::<Result<_, _>>()?))
}

/// Submit, lease and settle at the same time, until all have ended.
async fn throughput(engine: &Engine, name: &str) -> anyhow::Result<f64> {
    output::say(&format!("{EXECUTIONS} executions of {TENANTS} tenants, {name}"));
    through(engine, WARM_UP, 0).await?;
    let began = Instant::now();
    through(engine, EXECUTIONS, WARM_UP).await?;
    Ok(per_second(EXECUTIONS, began.elapsed()))
}

async fn through(engine: &Engine, count: usize, first: usize) -> anyhow::Result<()> {
    let tenants = tenants()?;
    let make = move |n: usize| keyed_action(&tenants[n % TENANTS], first + n);
    let left = Arc::new(AtomicUsize::new(count));
    let mut workers = JoinSet::new();
    for number in 0..WORKERS[0] {
        let at_once = Arc::new(|_: &_| Duration::ZERO);
        workers.spawn(work(
            engine.clone(),
            worker(number)?,
            WORKERS[1],
            Arc::clone(&left),
            at_once,
        ));
    }
    submit_all(engine, count, CALLERS, make).await?;
    while let Some(done) = workers.join_next().await {
        done??;
    }
    Ok(())
}

/// The same with a limit on each tenant's function that holds most of what is queued.
async fn limited(directory: &Path) -> anyhow::Result<Series> {
    let engine = on_sqlite(&below(directory, "limited")?, Durability::Normal)?;
    for tenant in tenants()?.iter() {
        let of = GateOf::Function(action(tenant, 0)?.function);
        let change = GateChange { running_max: Some(Some(2)), paused: None };
        engine.set_gate(of, change).await?;
    }
    let rate =
        throughput(&engine, "SQLite, synchronous=NORMAL, each function limited to 2").await?;
    Ok(Series::single("engine/SQLite, synchronous=NORMAL, functions at their limit", "/s", rate))
}

/// One lease at a time, each settled and replaced, alternating between the two queues.
async fn lease_cost(directory: &Path, queued: [usize; 2]) -> anyhow::Result<[Series; 2]> {
    let mut sides = Vec::new();
    for count in queued {
        let engine = on_sqlite(&below(directory, &format!("queued-{count}"))?, Durability::Normal)?;
        output::say(&format!("queueing {count} executions"));
        let tenants = tenants()?;
        let make = move |n: usize| action(&tenants[n % TENANTS], n);
        submit_all(&engine, count, CALLERS * 4, make).await?;
        sides.push((engine, Vec::with_capacity(LEASES)));
    }
    output::say(&format!("{LEASES} leases from each queue, in turns"));
    let tenants = tenants()?;
    for n in 0..LEASES {
        for (engine, samples) in &mut sides {
            engine.submit(action(&tenants[n % TENANTS], n)?).await?;
            let began = Instant::now();
            let lease = engine.lease(&worker(0)?, 1).await?.pop().context("nothing was leased")?;
            samples.push(began.elapsed().as_secs_f64() * 1e3);
            engine.settle(&lease.lease, Settled::new(Outcome::Completed(json!(1)))).await?;
        }
    }
    let series = sides.into_iter().zip(queued).map(|((_, samples), count)| {
        Series::of(format!("engine/one lease, {count} queued"), "ms", samples)
    });
    series.collect::<Vec<_>>().try_into().ok().context("there are two queues")
}

/// What the background costs while no schedule is due: CPU time of the whole process, and one look at what is due.
async fn schedules(directory: &Path) -> anyhow::Result<[Series; 2]> {
    let engine = on_sqlite(&below(directory, "schedules")?, Durability::Normal)?;
    output::say(&format!("making {SCHEDULES} schedules"));
    let mut tasks = JoinSet::new();
    for part in 0..CALLERS {
        let engine = engine.clone();
        tasks.spawn(async move {
            for n in (part..SCHEDULES).step_by(CALLERS) {
                engine.put_schedule(daily(n)?).await?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(done) = tasks.join_next().await {
        done??;
    }
    let nothing = NothingLive;
    let mut looks = Vec::new();
    for _ in 0..500 {
        let began = Instant::now();
        engine.fire_due(&nothing).await?;
        looks.push(began.elapsed());
    }
    output::say("the background for 20 s, with nothing due");
    let idle = Duration::from_secs(20);
    let before = cpu_time()?;
    engine.run_background(Arc::new(nothing), tokio::time::sleep(idle)).await;
    let used = cpu_time()?.saturating_sub(before);
    let percent = used.as_secs_f64() / idle.as_secs_f64() * 100.0;
    Ok([
        Series::of_durations(format!("engine/one look, {SCHEDULES} schedules, none due"), &looks),
        Series::single(
            format!("engine/background, {SCHEDULES} schedules, none due"),
            "% of a core",
            percent,
        ),
    ])
}

fn daily(n: usize) -> anyhow::Result<ScheduleSpec> {
    let function = FunctionKey {
        kind: FunctionKind::Sync,
        ..action(&tenant(&format!("tenant{}", n % TENANTS))?, n)?.function
    };
    let connection = Some(ConnectionId::parse(&format!("c{n}"))?);
    Ok(ScheduleSpec {
        key: ScheduleKey { function, connection },
        frequency: "every 1d".to_owned(),
        options: ScheduleOptions { jitter_ms: 3_600_000, ..ScheduleOptions::default() },
        paused: false,
        first_at_once: false,
    })
}

struct NothingLive;

#[async_trait::async_trait]
impl bulkhead_engine::Resolve for NothingLive {
    async fn live(
        &self,
        _: &FunctionKey,
        _: Option<&ConnectionId>,
    ) -> Result<bulkhead_engine::Live, String> {
        Err("nothing is deployed".to_owned())
    }
}

/// CPU time that this process has used so far.
fn cpu_time() -> anyhow::Result<Duration> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    // The name, in parentheses, may have blanks in it; utime and stime are the 12th and 13th fields after it.
    let fields: Vec<&str> =
        stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |place: usize| fields.get(place).and_then(|field| field.parse::<u64>().ok());
    let ticks = ticks(11).zip(ticks(12)).map(|(user, system)| user + system);
    // Told in hundredths of a second (USER_HZ), whatever the kernel's own clock runs at.
    Ok(Duration::from_millis(ticks.context("no CPU time to be read")? * 10))
}

fn below(directory: &Path, name: &str) -> anyhow::Result<std::path::PathBuf> {
    let path = directory.join(name);
    std::fs::create_dir_all(&path)?;
    Ok(path)
}

#[allow(clippy::cast_precision_loss, reason = "a count of executions is far below 2^52")]
pub(crate) fn per_second(count: usize, took: Duration) -> f64 {
    count as f64 / took.as_secs_f64()
}

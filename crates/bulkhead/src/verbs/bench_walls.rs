//! `bulkhead bench walls`: a fresh sandbox behind each wall that there is here (parked, forked on demand, with nothing
//! there), its memory, how many of them fit into 8 GiB; beside a bare `node`, gVisor and bubblewrap by themselves, on the
//! same bundle, interleaved in one run.
//!
//! Two servers in processes of their own: one that parks sandboxes ahead and one that parks none. Starts are counted from
//! the lease to the handler's first line, as each attempt records it.

mod sleepers;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use bulkhead_api::DeployFunction;
use bulkhead_client::Client;
use bulkhead_config::Config;
use bulkhead_types::WallKind;
use serde_json::json;
use tempfile::TempDir;

use crate::cli::Bench;
use crate::compile::measured;
use crate::context::Context;
use crate::measure::{Series, Target};
use crate::output;
use crate::verbs::apart::{self, Apart};
use crate::verbs::baselines::{Baseline, bare_node, bubblewrap, runsc_do};
use crate::verbs::doctor;

/// Enough for a p99.
const SAMPLES: usize = 500;

/// Runs before the first sample, of each kind.
const WARM_UP: usize = 20;

/// Between two samples, so that what was used is parked anew: the machine counts as idle.
const PAUSE: Duration = Duration::from_millis(20);

/// For each cold start, so many of the others: each deploys the function anew.
const OTHERS_PER_COLD: usize = 16;

/// For each start of a whole kernel, so many of the others.
const OTHERS_PER_RUNSC: usize = 5;

/// What is measured: `examples/bench/actions/noop.ts` and `sleep.ts`, with zod and axios in their bundles.
const NOOP: [&str; 2] = ["bench", "noop"];
const SLEEP: [&str; 2] = ["bench", "sleep"];

pub(crate) fn run(typed: &Bench, context: &Context) -> anyhow::Result<(Vec<Series>, Vec<Target>)> {
    let walls = walls(typed, &context.config)?;
    let functions = [NOOP, SLEEP].map(|function| function.join("/action/"));
    let functions = measured(context, &typed.examples, &functions)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let stage = Stage::set(context, walls, functions).await?;
        let measured = stage.measure(typed.n.unwrap_or(SAMPLES)).await;
        stage.parked.stop().await?;
        stage.demand.stop().await?;
        measured
    })
}

/// Those that work on this machine, or the one that was asked for; what is left out is said.
fn walls(typed: &Bench, config: &Config) -> anyhow::Result<Vec<WallKind>> {
    let mut walls = Vec::new();
    for (kind, found) in doctor::walls(config) {
        if typed.wall.as_ref().is_some_and(|wanted| wanted != kind.as_str()) {
            continue;
        }
        match found.available {
            true => walls.push(kind),
            false => output::say(&format!("SKIPPED: no {} wall here", kind.as_str())),
        }
    }
    if walls.is_empty() {
        bail!("there is no such wall here: `bulkhead doctor` tells what is missing");
    }
    Ok(walls)
}

/// Everything that is measured.
struct Stage {
    walls: Vec<WallKind>,
    noop: DeployFunction,
    sleep: DeployFunction,
    parked: Apart,
    demand: Apart,
    baselines: Vec<Baseline>,
    /// The bundle, for the baselines.
    _directory: TempDir,
}

/// Starts of one kind, in milliseconds.
struct Starts {
    name: String,
    ms: Vec<f64>,
}

impl Stage {
    async fn set(
        context: &Context,
        walls: Vec<WallKind>,
        functions: Vec<DeployFunction>,
    ) -> anyhow::Result<Self> {
        let one = |function: [&str; 2]| {
            let found = functions.iter().find(|it| it.spec["name"] == function[1]);
            found.cloned().with_context(|| format!("{} was not compiled", function[1]))
        };
        let (noop, sleep) = (one(NOOP)?, one(SLEEP)?);
        let directory = tempfile::tempdir()?;
        let bundle: PathBuf = directory.path().join("bundle.js");
        std::fs::write(&bundle, &noop.bundle)?;
        let node = context.config.runtime_dir.canonicalize()?.join("rootfs/runtime/node");
        let baselines = baselines(&node, &bundle);
        let usual = walls.first().copied().unwrap_or_default().as_str();
        let roomy = [
            ("wall", usual),
            ("worker.prewarm", "no"),
            ("worker.units", "2000"),
            ("worker.memory_mib", "100000"),
            ("worker.headroom_percent", "0"),
        ];
        let parked = Apart::start(context, &roomy).await?;
        let demand =
            Apart::start(context, &[&roomy[..], &[("worker.parked", "0")]].concat()).await?;
        Ok(Self { walls, noop, sleep, parked, demand, baselines, _directory: directory })
    }

    async fn measure(&self, n: usize) -> anyhow::Result<(Vec<Series>, Vec<Target>)> {
        let mut series = self.starts(n).await?;
        let mut targets = targets_of_starts(&series);
        for wall in &self.walls {
            let (more, reached) = sleepers::measure(&self.parked, &self.sleep, *wall, n).await?;
            series.extend(more);
            targets.extend(reached);
        }
        Ok((series, targets))
    }

    /// All kinds of starts in turns.
    async fn starts(&self, n: usize) -> anyhow::Result<Vec<Series>> {
        let (parked, demand) = (self.parked.client()?, self.demand.client()?);
        for wall in &self.walls {
            output::say(&format!("{}: warming up", wall.as_str()));
            for server in [&self.parked, &self.demand] {
                server.deploy(vec![behind(&self.noop, *wall, 0)?]).await?;
                for _ in 0..WARM_UP {
                    start_ms(&server.client()?, *wall, None).await?;
                }
            }
        }
        let mut starts: Vec<Starts> = Vec::new();
        let mut add =
            |name: String, ms: Option<f64>| match starts.iter_mut().find(|it| it.name == name) {
                Some(known) => known.ms.extend(ms),
                None => starts.push(Starts { name, ms: ms.into_iter().collect() }),
            };
        output::say(&format!("{n} rounds of starts, parked and on demand, and the baselines"));
        for round in 0..n {
            for baseline in &self.baselines {
                if baseline.name.starts_with("runsc") && !round.is_multiple_of(OTHERS_PER_RUNSC) {
                    continue;
                }
                let took = baseline.start().await?.as_secs_f64() * 1e3;
                add(format!("baseline/{}", baseline.name), Some(took));
            }
            for wall in &self.walls {
                let name = wall.as_str();
                tokio::time::sleep(PAUSE).await;
                add(format!("{name}/parked"), start_ms(&parked, *wall, Some("parked")).await?);
                tokio::time::sleep(PAUSE).await;
                add(format!("{name}/on demand"), start_ms(&demand, *wall, Some("forked")).await?);
                if round.is_multiple_of(OTHERS_PER_COLD) {
                    // Another bundle is another version: nothing of it is there.
                    self.demand.deploy(vec![behind(&self.noop, *wall, round + 1)?]).await?;
                    add(format!("{name}/cold"), start_ms(&demand, *wall, Some("cold")).await?);
                }
            }
        }
        Ok(starts.into_iter().map(|it| Series::of(it.name, "ms", it.ms)).collect())
    }
}

fn baselines(node: &Path, bundle: &Path) -> Vec<Baseline> {
    let mut baselines = vec![bare_node(node, bundle)];
    for (found, package) in
        [(runsc_do(node, bundle), "runsc"), (bubblewrap(node, bundle), "bubblewrap")]
    {
        match found {
            Some(baseline) => baselines.push(baseline),
            None => output::say(&format!("SKIPPED: no {package} here (Debian package {package})")),
        }
    }
    baselines
}

/// A function under another name, behind a wall; with another `round`, another version.
pub(super) fn behind(
    function: &DeployFunction,
    wall: WallKind,
    round: usize,
) -> anyhow::Result<DeployFunction> {
    let mut function = function.clone();
    let name = function.spec["name"].as_str().context("a function without a name")?;
    function.spec["name"] = json!(format!("{name}-{}", wall.as_str()));
    function.spec["wall"] = json!(wall.as_str());
    function.bundle = format!("{}\n// {round}\n", function.bundle);
    function.source_map = None;
    Ok(function)
}

/// One start, in milliseconds; `None` where the sandbox came to be in another way than is looked for.
async fn start_ms(
    client: &Client,
    wall: WallKind,
    wanted: Option<&str>,
) -> anyhow::Result<Option<f64>> {
    let name = format!("{}-{}", NOOP[1], wall.as_str());
    let (id, ended) = apart::call(client, [NOOP[0], &name], &json!({"n": 1})).await?;
    ended.map_err(|code| anyhow::anyhow!("{id} ended with {code}"))?;
    let attempt = apart::attempt(client, &id).await?;
    if attempt.wall.as_deref() != Some(wall.as_str()) {
        bail!("{id} ran behind {:?} instead of {}", attempt.wall, wall.as_str());
    }
    let as_wanted = wanted.is_none() || attempt.start.as_deref() == wanted;
    Ok(as_wanted.then_some(attempt.usage.start_us as f64 / 1e3))
}

/// What was promised of starts, as far as it was measured.
fn targets_of_starts(series: &[Series]) -> Vec<Target> {
    let of = |name: &str| series.iter().find(|it| it.name == name && it.n > 0);
    let mut targets = Vec::new();
    let rows = [
        ("T1", WallKind::Process, [2.0, 10.0, 6.0], 150.0, "baseline/bare node"),
        ("T6", WallKind::Gvisor, [5.0, f64::INFINITY, 20.0], 400.0, "baseline/runsc do node"),
        ("T7", WallKind::Microvm, [20.0, f64::INFINITY, 60.0], f64::INFINITY, "baseline/bare node"),
    ];
    for (id, wall, [parked_p50, parked_p99, demand], cold_p50, baseline) in rows {
        let wall = wall.as_str();
        let mut at_most = |id, what: String, value: f64, most: f64| {
            if most.is_finite() {
                targets.push(Target::at_most(id, what, value, most, "ms"));
            }
        };
        let Some(parked) = of(&format!("{wall}/parked")) else { continue };
        at_most(id, format!("{wall}, p50, from a parked fork"), parked.p50, parked_p50);
        at_most(id, format!("{wall}, p99, from a parked fork"), parked.p99, parked_p99);
        if let Some(forked) = of(&format!("{wall}/on demand")) {
            at_most(id, format!("{wall}, p50, forked on demand"), forked.p50, demand);
        }
        if let Some(cold) = of(&format!("{wall}/cold")) {
            at_most("T4", format!("{wall}, p50, nothing there"), cold.p50, cold_p50);
        }
        if let Some(other) = of(baseline).filter(|_| wall != "microvm") {
            let times = other.p50 / parked.p50.max(0.001);
            let what = format!("{wall}, times faster than {} (p50)", other.name);
            targets.push(Target::at_least(id, what, times, 25.0, "x"));
        }
    }
    targets
}

//! `bulkhead bench memory`: T8, what an execution keeps while its handler sleeps, beside a bare `node` that has
//! loaded the same bundle. The kernel's proportional set size: what several share counts a share for each.

use anyhow::Context as _;
use bulkhead_api::{DeployFunction, Op};
use bulkhead_client::{Client, Request};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::cli::Bench;
use crate::compile::measured;
use crate::context::Context;
use crate::measure::{Series, Target};
use crate::output;
use crate::verbs::embedded::{Embedded, prepare};

/// Executions that sleep at the same time.
const SLEEPERS: usize = 100;

/// Long enough for all of them to have begun when the first one looks at its memory, half-way.
const SLEEP_MS: u64 = 20_000;

/// What is measured: `examples/bench/actions/sleep.ts`, with zod and axios in its bundle.
const FUNCTION: [&str; 2] = ["bench", "sleep"];

pub(crate) fn run(typed: &Bench, context: &Context) -> anyhow::Result<(Vec<Series>, Vec<Target>)> {
    let functions = [FUNCTION.join("/action/")];
    let functions = measured(context, &typed.examples, &functions)?;
    let node = context.config.runtime_dir.join("rootfs/runtime/node");
    let n = typed.n.unwrap_or(SLEEPERS);
    let units = n.to_string();
    let ready =
        prepare(context, "bench", &[("worker.units", &units), ("worker.headroom_percent", "0")])?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let embedded = ready.start().await?;
        embedded.deploy(functions.clone()).await?;
        let sleeping = sleep(&embedded, n).await;
        embedded.stop().await?;
        let bare = bare_node(&node, &functions).await?;
        let sleeping = Series::of("process/sleeping execution, PSS", "MiB", sleeping?);
        let bare = Series::single("baseline/bare node, same bundle, PSS", "MiB", bare);
        let what = format!("p50 of {n} executions asleep at the same time");
        let targets = vec![Target::at_most("T8", what, sleeping.p50, 6.0, "MiB")];
        Ok((vec![bare, sleeping], targets))
    })
}

async fn sleep(embedded: &Embedded, n: usize) -> anyhow::Result<Vec<f64>> {
    output::say(&format!("{n} executions that sleep for {} s", SLEEP_MS / 1_000));
    let mut sleepers = JoinSet::new();
    for _ in 0..n {
        let client = embedded.client.clone();
        sleepers.spawn(async move { one(&client).await });
    }
    let mut samples = Vec::with_capacity(n);
    while let Some(sample) = sleepers.join_next().await {
        samples.push(sample??);
    }
    Ok(samples)
}

async fn one(client: &Client) -> anyhow::Result<f64> {
    let request = Request::new(Op::RunAction, &FUNCTION).json(&json!({"ms": SLEEP_MS}));
    let output: Value = client.call(request).await?;
    let kib = output["pss_kib"].as_f64().context("it did not tell its memory")?;
    Ok(kib / 1024.0)
}

/// A bare `node` that has loaded the bundle, by its own account, as the sandboxes give theirs.
#[allow(clippy::disallowed_methods, reason = "the baseline is a program that is started")]
async fn bare_node(node: &std::path::Path, functions: &[DeployFunction]) -> anyhow::Result<f64> {
    let directory = tempfile::tempdir()?;
    let bundle = directory.path().join("bundle.js");
    std::fs::write(&bundle, &functions.first().context("nothing was compiled")?.bundle)?;
    let script = "require(process.argv[1]); \
        setTimeout(() => process.stdout.write(require('fs').readFileSync('/proc/self/smaps_rollup')), 500)";
    let output = tokio::process::Command::new(node)
        .arg("-e")
        .arg(script)
        .arg(&bundle)
        .env_clear()
        .output()
        .await?;
    let text = String::from_utf8_lossy(&output.stdout);
    let pss = text.lines().find_map(|line| line.strip_prefix("Pss:"));
    let kib = pss.and_then(|rest| rest.trim().strip_suffix(" kB")?.trim().parse::<f64>().ok());
    Ok(kib.context("a bare node did not tell its memory")? / 1024.0)
}

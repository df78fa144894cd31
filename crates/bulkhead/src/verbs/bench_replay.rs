//! `bulkhead bench replay`: T5, how many starts are slow when many tenants call as tenants do: a few often, most of
//! them seldom (Zipf: the k-th tenant calls 1/k as often as the first). Calls come at random times (Poisson) at a
//! fixed rate, whatever became of those before. Each tenant has a compartment of its own, so a seldom one may find
//! it gone.
//!
//! A start is counted from the lease to the handler's first line, as the worker sees it for every attempt.

use std::time::Duration;

use anyhow::bail;
use bulkhead_api::{Deploy, DeployFunction, Op};
use bulkhead_client::{Client, Request};
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::cli::Bench;
use crate::compile::measured;
use crate::context::Context;
use crate::measure::{Series, Target};
use crate::output;
use crate::verbs::embedded::{Embedded, prepare};

/// Calls that count.
const CALLS: usize = 20_000;

const TENANTS: usize = 200;

/// Calls a second, on average: two thirds of what two cores sustain, so that 20,000 of them take four minutes.
const RATE: f64 = 80.0;

/// Told how far it is, so many times.
const TOLD: usize = 20;

/// Behind its times by more than this at the end, the replay was slower than it says.
const LATE: Duration = Duration::from_secs(1);

/// A start that is slower than this is one that a caller notices.
const SLOW_MS: f64 = 50.0;

/// Calls under way at the same time; more wait.
const UNDER_WAY_MAX: usize = 500;

/// What is called: `examples/bench/actions/noop.ts`, with zod and axios in its bundle.
const FUNCTION: [&str; 2] = ["bench", "noop"];

pub(crate) fn run(typed: &Bench, context: &Context) -> anyhow::Result<(Vec<Series>, Vec<Target>)> {
    let functions = [FUNCTION.join("/action/")];
    let functions = measured(context, &typed.examples, &functions)?;
    let ready = prepare(context, "bench", &[("worker.prewarm", "yes")])?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let embedded = ready.start().await?;
        let measured = measure(&embedded, typed, functions).await;
        embedded.stop().await?;
        measured
    })
}

async fn measure(
    embedded: &Embedded,
    typed: &Bench,
    functions: Vec<DeployFunction>,
) -> anyhow::Result<(Vec<Series>, Vec<Target>)> {
    output::say(&format!("making {TENANTS} tenants"));
    let mut tenants = Vec::with_capacity(TENANTS);
    for n in 0..TENANTS {
        tenants.push(tenant(embedded, n, &functions).await?);
        if (n + 1) % (TENANTS / 4) == 0 {
            output::say(&format!("  {} of {TENANTS}", n + 1));
        }
    }
    let n = typed.n.unwrap_or(CALLS);
    output::say(&format!("{n} calls, {RATE} a second: {:.0} s", n as f64 / RATE));
    let starts = replay(embedded, &tenants, n).await?;
    if starts.len() < n * 99 / 100 {
        bail!("{} starts were seen, of {n} calls", starts.len());
    }
    let share = percent(slow(&starts), starts.len());
    let starts = Series::of(format!("replay/{TENANTS} tenants, start"), "ms", starts);
    let target = Target::at_most("T5", "starts over 50 ms", share, 1.0, "%");
    Ok((vec![starts], vec![target]))
}

async fn tenant(
    embedded: &Embedded,
    n: usize,
    functions: &[DeployFunction],
) -> anyhow::Result<Client> {
    let client = embedded.tenant(&format!("tenant{n}")).await?;
    let put = json!({"base_url": "http://127.0.0.1:9", "auth": {"mode": "none"}});
    client.send(Request::new(Op::PutIntegration, &[FUNCTION[0]]).json(&put)).await?;
    let body = Deploy {
        functions: functions.to_vec(),
        dry_run: false,
        allow_destructive: false,
        partial: false,
    };
    client.send(Request::new(Op::Deploy, &[]).json(&body)).await?;
    Ok(client)
}

/// Calls at their times. Starts are collected as they come: the worker keeps only the newest.
async fn replay(embedded: &Embedded, tenants: &[Client], n: usize) -> anyhow::Result<Vec<f64>> {
    let (mut dice, popularity) = (Dice(7), Popularity::zipf(tenants.len()));
    let (mut calls, mut starts) = (JoinSet::new(), Vec::with_capacity(n));
    let (mut due, mut seen) = (Instant::now(), embedded.runner.snapshot().executions);
    let began = due;
    for called in 0..n {
        if called > 0 && called % n.div_ceil(TOLD) == 0 {
            let (slow, took) = (slow(&starts), began.elapsed().as_secs());
            output::say(&format!(
                "  {called} of {n} called in {took} s, {slow} starts over {SLOW_MS} ms"
            ));
        }
        due += Duration::from_secs_f64(-(1.0 - dice.fraction()).ln() / RATE);
        tokio::time::sleep_until(due).await;
        while calls.len() >= UNDER_WAY_MAX
            && let Some(done) = calls.join_next().await
        {
            done??;
        }
        while let Some(done) = calls.try_join_next() {
            done??;
        }
        let client = tenants[popularity.pick(dice.fraction())].clone();
        calls.spawn(async move {
            client.send(Request::new(Op::RunAction, &FUNCTION).json(&json!({"n": 1}))).await?;
            anyhow::Ok(())
        });
        seen = collect(embedded, seen, &mut starts);
    }
    if due.elapsed() > LATE {
        let late = due.elapsed().as_secs();
        output::say(&format!("the machine did not keep up: the last call came {late} s late"));
    }
    while let Some(done) = calls.join_next().await {
        done??;
    }
    collect(embedded, seen, &mut starts);
    Ok(starts)
}

/// Adds the starts since `seen` executions had been counted; returns how many have been by now.
fn collect(embedded: &Embedded, seen: u64, starts: &mut Vec<f64>) -> u64 {
    let snapshot = embedded.runner.snapshot();
    let new = usize::try_from(snapshot.executions.saturating_sub(seen)).unwrap_or(0);
    let newest = embedded.runner.recent_starts();
    let newest = &newest[newest.len().saturating_sub(new)..];
    starts.extend(newest.iter().map(|start| start.start_us as f64 / 1e3));
    snapshot.executions
}

/// How often each of many is called.
struct Popularity(Vec<f64>);

impl Popularity {
    fn zipf(count: usize) -> Self {
        let weights = (1..=count).map(|rank| 1.0 / rank as f64);
        let mut sum = 0.0;
        let mut sums: Vec<f64> = weights
            .map(|weight| {
                sum += weight;
                sum
            })
            .collect();
        sums.iter_mut().for_each(|part| *part /= sum);
        Self(sums)
    }

    /// Which one `fraction` (0 to 1) falls on.
    fn pick(&self, fraction: f64) -> usize {
        self.0.partition_point(|sum| *sum < fraction).min(self.0.len() - 1)
    }
}

/// SplitMix64: the same calls in every run.
struct Dice(u64);

impl Dice {
    /// From 0 to 1, without 1.
    fn fraction(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }
}

fn slow(starts: &[f64]) -> usize {
    starts.iter().filter(|ms| **ms > SLOW_MS).count()
}

fn percent(part: usize, of: usize) -> f64 {
    part as f64 / of.max(1) as f64 * 100.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_is_called_most_and_all_are_called() {
        let (popularity, mut dice) = (Popularity::zipf(200), Dice(1));
        let mut calls = [0_usize; 200];
        for _ in 0..20_000 {
            calls[popularity.pick(dice.fraction())] += 1;
        }
        // 1/H(200) is 17 %.
        assert!((3_000..3_900).contains(&calls[0]), "{}", calls[0]);
        assert!(calls.iter().all(|count| *count > 0));
    }
}

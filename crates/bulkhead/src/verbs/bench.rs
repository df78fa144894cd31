//! `bulkhead bench`

use crate::cli::{Bench, Benchmark};
use crate::context::Context;
use crate::exit;
use crate::measure::{Machine, Measurement, commit};
use crate::verbs::{
    bench_action, bench_cancel, bench_checkpoint, bench_dev, bench_engine, bench_fairness,
    bench_leaks, bench_memory, bench_replay, bench_start, bench_walls, bench_webhooks,
};

/// Measures and prints. Exit code 0 whether or not a target is met: a benchmark is no test. But for leaks: what is left is
/// no question of how fast the machine is.
pub(crate) fn run(typed: &Bench, context: Context) -> anyhow::Result<u8> {
    let machine = Machine::this(context.around.cores);
    let commit = commit(&context.around.directory);
    let (bench, (results, targets)) = match typed.name {
        Benchmark::Start => ("start", bench_start::run(typed, &context)?),
        Benchmark::Action => ("action", bench_action::run(typed, &context)?),
        Benchmark::Memory => ("memory", bench_memory::run(typed, &context)?),
        Benchmark::Engine => ("engine", bench_engine::run(typed, &context)?),
        Benchmark::Fairness => ("fairness", bench_fairness::run(typed, &context)?),
        Benchmark::Webhooks => ("webhooks", bench_webhooks::run(typed, &context)?),
        Benchmark::Checkpoint => ("checkpoint", bench_checkpoint::run(typed, &context)?),
        Benchmark::Cancel => ("cancel", bench_cancel::run(typed, &context)?),
        Benchmark::Dev => ("dev", bench_dev::run(typed, &context)?),
        Benchmark::Replay => ("replay", bench_replay::run(typed, &context)?),
        Benchmark::Leaks => ("leaks", bench_leaks::run(typed, &context)?),
        Benchmark::Walls => ("walls", bench_walls::run(typed, &context)?),
    };
    let left = typed.name == Benchmark::Leaks && targets.iter().any(|target| !target.met);
    Measurement { bench, machine, commit, results, targets }.print(context.json)?;
    Ok(if left { exit::FAILED } else { exit::DONE })
}

//! `bulkhead bench`

use crate::cli::{Bench, Benchmark};
use crate::context::Context;
use crate::exit;
use crate::measure::{Machine, Measurement, commit};
use crate::verbs::{bench_action, bench_memory, bench_start};

/// Measures and prints. Exit code 0 whether or not a target is met: a benchmark is no test.
pub(crate) fn run(typed: &Bench, context: Context) -> anyhow::Result<u8> {
    let machine = Machine::this(context.around.cores);
    let commit = commit(&context.around.directory);
    let (bench, (results, targets)) = match typed.name {
        Benchmark::Start => ("start", bench_start::run(typed, &context)?),
        Benchmark::Action => ("action", bench_action::run(typed, &context)?),
        Benchmark::Memory => ("memory", bench_memory::run(typed, &context)?),
    };
    Measurement { bench, machine, commit, results, targets }.print(context.json)?;
    Ok(exit::DONE)
}

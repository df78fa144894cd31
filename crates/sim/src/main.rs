//! `bulkhead-sim`: runs seeds of the simulator. `cargo xtask sim` builds and starts it.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "it talks to the person who started it"
)]

use std::process::ExitCode;

use bulkhead_sim::{Canary, many, run};
use clap::Parser;

#[derive(Parser)]
#[command(about = "The whole engine, simulated: one seed, a virtual clock, faults, and checkers")]
struct Arguments {
    /// How many seeds to run.
    #[arg(long, default_value_t = 2_000)]
    seeds: u64,
    /// The first of them.
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// Replay this one seed, and print all that happens.
    #[arg(long)]
    seed: Option<u64>,
    /// Threads that run seeds side by side.
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// Run with a store that has this bug, to see the checkers find it.
    #[arg(long, value_parser = canary)]
    canary: Option<Canary>,
}

fn canary(text: &str) -> Result<Canary, String> {
    let all = Canary::ALL.map(Canary::as_str).join(", ");
    Canary::parse(text).ok_or_else(|| format!("there is no such canary; there are {all}"))
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if let Some(seed) = arguments.seed {
        let report = run(seed, arguments.canary, true);
        let Some(violation) = &report.violation else {
            println!("seed {seed} is fine: {} lines, hash {:016x}", report.lines, report.hash);
            return ExitCode::SUCCESS;
        };
        println!("seed {seed} broke a promise after {} lines\n{violation}", report.lines);
        return ExitCode::FAILURE;
    }
    let seeds = arguments.from..arguments.from.saturating_add(arguments.seeds);
    let tally = many::run_many(seeds, arguments.threads, arguments.canary);
    if let Some(failed) = &tally.failed {
        println!("{}", many::told(failed, arguments.canary));
        return ExitCode::FAILURE;
    }
    println!("{} seeds are fine: {:?}", tally.seeds, tally.counts);
    ExitCode::SUCCESS
}

//! The binary: parse what was typed, resolve the settings, run one verb.
//!
//! Layout: [`cli`] is what can be typed; [`verbs`] has one file per verb; [`privileged`] is the start of what needs
//! root, before there is a second thread; [`walls`] are those of
//! this machine; [`server`] wires database, engine, platform, worker and HTTP together,
//! for `serve` as for `demo` and `bench`; [`adapters`] join the crates that must not know one another;
//! [`measure`] is the shape of a measurement; [`rehearsal`] runs functions against mocks; [`output`] prints.
//!
//! Invariant: only here are concrete stores and walls named, clocks and randomness made, and lines written to
//! standard output.

mod adapters;
#[cfg(test)]
mod api_tests;
mod cli;
mod compile;
mod context;
mod exit;
mod measure;
mod output;
mod privileged;
mod rehearsal;
mod server;
mod verbs;
mod walls;

use std::process::ExitCode;

use clap::Parser as _;

use crate::cli::Cli;
use crate::context::Context;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let outcome = Context::new(&cli).and_then(|context| verbs::run(cli.verb, context));
    match outcome {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            output::complain(&error);
            ExitCode::from(exit::code_of(&error))
        }
    }
}

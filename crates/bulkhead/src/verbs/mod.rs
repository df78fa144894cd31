//! One file per verb.

mod apart;
mod audit;
mod baselines;
pub(crate) mod bench;
mod bench_action;
mod bench_cancel;
mod bench_checkpoint;
mod bench_dev;
mod bench_engine;
mod bench_fairness;
mod bench_flood;
mod bench_leaks;
mod bench_load;
mod bench_memory;
mod bench_replay;
mod bench_start;
mod bench_walls;
mod bench_webhooks;
mod compile;
mod completions;
mod config;
mod connections;
mod dead_letters;
mod demo;
mod deploy;
mod dev;
mod doctor;
mod dryrun;
mod egress;
pub(crate) mod embedded;
mod executions;
mod generate;
mod init;
mod integrations;
mod keys;
mod limits;
mod logs;
mod mcp;
mod providers;
mod records;
mod run;
mod serve;
mod sync;
mod tenants;
mod test;
mod worker;
mod workers;

use std::io::Read as _;

use anyhow::{Context as _, bail};
use serde_json::Value;

use crate::cli::Verb;
use crate::context::Context;

/// Runs what was typed; returns the exit code.
pub(crate) fn run(verb: Verb, context: Context) -> anyhow::Result<u8> {
    match verb {
        Verb::Serve(_) => serve::run(context),
        Verb::Init(typed) => init::run(&typed, &context),
        Verb::Compile(typed) => compile::run(&typed, &context),
        Verb::Dev(typed) => dev::run(&typed, context),
        Verb::Dryrun(typed) => dryrun::run(&typed, &context),
        Verb::Test(typed) => test::run(&typed, &context),
        Verb::Generate(typed) => generate::run(&typed, &context),
        Verb::Deploy(typed) => deploy::run(&typed, &context),
        Verb::Rollback { deployment } => deploy::rollback(deployment.as_deref(), &context),
        Verb::Deployments => deploy::deployments(&context),
        Verb::Functions => deploy::functions(&context),
        Verb::Run(typed) => run::run(&typed, &context),
        Verb::Sync(typed) => sync::run(typed, &context),
        Verb::Executions(typed) => executions::run(typed, &context),
        Verb::DeadLetters(typed) => dead_letters::run(typed, &context),
        Verb::Limits(typed) => limits::run(typed, &context),
        Verb::Pause(what) => limits::pause(&what, true, &context),
        Verb::Resume(what) => limits::pause(&what, false, &context),
        Verb::Logs(typed) => logs::run(&typed, &context),
        Verb::Records(typed) => records::run(&typed, &context),
        Verb::Providers(typed) => providers::run(&typed, &context),
        Verb::Integrations(typed) => integrations::run(typed, &context),
        Verb::Connections(typed) => connections::run(typed, &context),
        Verb::Egress(typed) => egress::run(&typed, &context),
        Verb::Tenants(typed) => tenants::run(typed, &context),
        Verb::Keys(typed) => keys::run(typed, &context),
        Verb::Worker(_) => worker::run(&context),
        Verb::Workers(typed) => workers::run(typed, &context),
        Verb::Mcp(typed) => mcp::run(&typed, &context),
        Verb::Doctor => doctor::run(&context),
        Verb::Demo(typed) => demo::run(&typed, context),
        Verb::Audit(typed) => audit::run(&typed, &context),
        Verb::Bench(typed) => bench::run(&typed, context),
        Verb::Config(typed) => config::run(&typed, &context),
        Verb::Completions { shell } => completions::run(shell, &context),
    }
}

/// The largest file that is read as an argument, in bytes: the largest input that a server takes.
const ARGUMENT_BYTES_MAX: u64 = 16 << 20;

/// JSON, `@FILE`, or `@-` for standard input.
fn argument(text: &str) -> anyhow::Result<Value> {
    let text = match text.strip_prefix('@') {
        None => text.to_owned(),
        Some("-") => read(std::io::stdin().lock(), "standard input")?,
        Some(path) => {
            let file = std::fs::File::open(path).with_context(|| format!("can't read {path}"))?;
            read(file, path)?
        }
    };
    serde_json::from_str(&text).context("the argument is not JSON")
}

fn read(source: impl std::io::Read, name: &str) -> anyhow::Result<String> {
    let mut text = String::new();
    let read = source.take(ARGUMENT_BYTES_MAX + 1).read_to_string(&mut text);
    if read.with_context(|| format!("can't read {name}"))? as u64 > ARGUMENT_BYTES_MAX {
        bail!("{name} has more than {ARGUMENT_BYTES_MAX} bytes");
    }
    Ok(text)
}

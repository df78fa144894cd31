//! The crash tests of the binary (`crates/bulkhead/tests/crash`) at their full size. Among all other tests they run with
//! few executions.

use std::process::Command;

use clap::{Args, ValueEnum};

use crate::workspace::{self, Profile, Workspace};

#[derive(Args)]
pub(crate) struct Crash {
    /// Over which database.
    #[arg(long, value_enum)]
    store: Store,
    /// Executions of the load; something is killed for every hundred of them.
    #[arg(long, default_value_t = 5_000)]
    executions: u32,
    /// What is killed when.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Cargo's profile. The runtime image has to be there: `cargo xtask image`.
    #[arg(long, value_enum, default_value_t = Profile::Release)]
    profile: Profile,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Store {
    Sqlite,
    Postgres,
}

/// Runs one of them.
pub(crate) fn run(workspace: &Workspace, crash: &Crash) -> anyhow::Result<()> {
    let test = match crash.store {
        Store::Sqlite => "sqlite",
        Store::Postgres => "postgres",
    };
    let mut command = Command::new("cargo");
    command.current_dir(&workspace.root);
    // Of the whole workspace, as `make test` compiles it: nothing is compiled again with other features.
    command.args(["test", "--quiet", "--workspace", "--test", "crash"]);
    command.args(["--profile", crash.profile.as_str()]);
    command.args(["--", "--exact", test, "--nocapture"]);
    command.env("CRASH_EXECUTIONS", crash.executions.to_string());
    command.env("CRASH_SEED", crash.seed.to_string());
    workspace::run(&mut command)
}

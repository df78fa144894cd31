//! What can be typed.

mod apis;
mod audit;
mod authoring;
mod machines;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::exit;

pub(crate) use apis::{Connections, Integrations, Providers};
pub(crate) use audit::Audit;
pub(crate) use authoring::{Compile, Deploy, Dev, Dryrun, Generate, Init, Test};
pub(crate) use machines::{Egress, Serve, Worker, Workers};

/// Runs untrusted TypeScript functions, each execution in a sandbox of its own.
#[derive(Debug, Parser)]
#[command(name = "bulkhead", version, after_help = exit::HELP)]
pub(crate) struct Cli {
    /// Settings file [default: bulkhead.toml here, if there is one].
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// A setting, such as worker.units=8; `bulkhead config show` lists them.
    #[arg(long = "set", global = true, value_name = "KEY=VALUE", value_parser = key_value)]
    pub(crate) set: Vec<(String, String)>,
    /// The server to talk to, such as http://127.0.0.1:8686.
    #[arg(long, global = true, value_name = "URL")]
    pub(crate) server: Option<String>,
    /// The tenant's key.
    #[arg(long, global = true, value_name = "KEY")]
    pub(crate) key: Option<String>,
    /// Print JSON instead of tables.
    #[arg(long, global = true)]
    pub(crate) json: bool,
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

impl Cli {
    /// What the flags say about settings.
    pub(crate) fn settings(&self) -> Vec<(String, String)> {
        let mut settings = self.set.clone();
        let mut add = |key: &str, value: &Option<String>| {
            settings.extend(value.iter().map(|value| (key.to_owned(), value.clone())));
        };
        add("server", &self.server);
        add("key", &self.key);
        if let Verb::Serve(serve) = &self.verb {
            add("listen", &serve.listen);
            add("data_dir", &serve.data_dir);
            add("database_url", &serve.database_url);
            add("user", &serve.user);
            add("public_url", &serve.public_url);
            add("blobs", &serve.blobs);
            add("worker.own", &serve.no_worker.then(|| "no".to_owned()));
        }
        if let Verb::Worker(worker) = &self.verb {
            add("worker.token_file", &worker.token_file);
            add("worker.name", &worker.name);
            add("data_dir", &worker.data_dir);
            add("user", &worker.user);
            add("worker.plaintext", &worker.plaintext.then(|| "yes".to_owned()));
        }
        settings
    }
}

fn key_value(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("write KEY=VALUE")?;
    Ok((key.trim().to_owned(), value.trim().to_owned()))
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Run the server: API, engine, worker, database, in one process.
    Serve(Serve),
    /// Run executions for a server elsewhere: walls and sandboxes, and nothing else.
    Worker(Worker),
    /// Make a project to begin with: it type-checks, passes its tests and deploys.
    Init(Init),
    /// Check a project and bundle its functions.
    Compile(Compile),
    /// Run a project's functions on a server of their own, anew at every change of a file.
    Dev(Dev),
    /// Run one function of a project against a connection, without keeping what it writes.
    Dryrun(Dryrun),
    /// Replay recorded mocks against the functions of a project, in real sandboxes.
    Test(Test),
    /// Write files to begin with: tests.
    #[command(subcommand)]
    Generate(Generate),
    /// Compile a project and make its functions live.
    Deploy(Deploy),
    /// Make an earlier deployment's versions live again.
    Rollback {
        /// Such as dep_…; without one, the deployment before the newest.
        deployment: Option<String>,
    },
    /// List deployments.
    Deployments,
    /// List live functions.
    Functions,
    /// Run an action and print its output.
    Run(Run),
    /// Syncs: list, trigger, pause, resume, frequency.
    #[command(subcommand, visible_alias = "syncs")]
    Sync(Sync),
    /// Executions: list, show, cancel, retry.
    #[command(subcommand)]
    Executions(Executions),
    /// Failed executions that nobody has repeated: list, show, replay.
    #[command(subcommand)]
    DeadLetters(DeadLetters),
    /// Limits on what runs at the same time: list, set.
    #[command(subcommand)]
    Limits(Limits),
    /// Let nothing begin: of a function, a connection, a key or, with the admin key, a tenant.
    Pause(What),
    /// Let it go on.
    Resume(What),
    /// Print an execution's log.
    Logs(Logs),
    /// Records that syncs saved.
    Records(Records),
    /// Well-known APIs: list, show.
    #[command(subcommand)]
    Providers(Providers),
    /// Integrations: list, show, put, delete.
    #[command(subcommand)]
    Integrations(Integrations),
    /// Connections: list, show, put, connect, delete, metadata.
    #[command(subcommand)]
    Connections(Connections),
    /// Where functions may connect: explain.
    #[command(subcommand)]
    Egress(Egress),
    /// Tenants (admin key): list, put.
    #[command(subcommand)]
    Tenants(Tenants),
    /// Keys of tenants, and the one that credentials are sealed with (admin key): list, create, revoke, rotate.
    #[command(subcommand)]
    Keys(Keys),
    /// Workers elsewhere (admin key): list, and the tokens that they join with.
    #[command(subcommand)]
    Workers(Workers),
    /// Serve the Model Context Protocol: actions as tools, executions and logs to read.
    Mcp(Mcp),
    /// Say what this machine can do, and what each wall would lack.
    Doctor,
    /// Show Bulkhead at work, on an embedded server with the functions in examples/.
    Demo(Demo),
    /// Try to break out of every wall that there is here, on an embedded server; natively too, to show that it would work.
    Audit(Audit),
    /// Measure, on an embedded server.
    Bench(Bench),
    /// Settings.
    #[command(subcommand)]
    Config(ConfigVerb),
    /// Print completions for a shell.
    Completions {
        /// Which shell.
        shell: clap_complete::Shell,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Run {
    /// INTEGRATION/NAME.
    #[arg(value_parser = integration_and_name)]
    pub(crate) function: (String, String),
    /// On behalf of which connection.
    #[arg(long)]
    pub(crate) connection: Option<String>,
    /// JSON, @FILE, or @- for standard input.
    #[arg(long, default_value = "null")]
    pub(crate) input: String,
    /// A second call with the same key gets the first one's result.
    #[arg(long)]
    pub(crate) idempotency_key: Option<String>,
    /// Do not wait for the output.
    #[arg(long)]
    pub(crate) detach: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Sync {
    /// List syncs and their schedules.
    #[command(visible_alias = "status")]
    List,
    /// Run one now.
    Trigger {
        #[command(flatten)]
        which: WhichSync,
        /// Forget the checkpoint first.
        #[arg(long)]
        reset: bool,
        /// Forget the records first, too.
        #[arg(long)]
        empty_cache: bool,
    },
    /// Stop its schedule.
    Pause {
        #[command(flatten)]
        which: WhichSync,
    },
    /// Start its schedule.
    Resume {
        #[command(flatten)]
        which: WhichSync,
    },
    /// Say how often it runs; without a frequency, as its author declared.
    Frequency {
        #[command(flatten)]
        which: WhichSync,
        /// Such as `every 5m`.
        frequency: Option<String>,
    },
}

#[derive(Debug, Args)]
pub(crate) struct WhichSync {
    /// INTEGRATION/NAME.
    #[arg(value_parser = integration_and_name)]
    pub(crate) function: (String, String),
    /// Of which connection.
    #[arg(long)]
    pub(crate) connection: String,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Executions {
    /// List them, newest first.
    List {
        /// NAME or INTEGRATION/NAME.
        #[arg(long)]
        function: Option<String>,
        /// queued, running, waiting, succeeded, failed, cancelled, expired.
        #[arg(long)]
        state: Option<String>,
        /// Of one connection.
        #[arg(long)]
        connection: Option<String>,
        /// Created then or later, such as 2026-01-31T12:00:00Z.
        #[arg(long)]
        since: Option<String>,
        /// From the page before.
        #[arg(long)]
        cursor: Option<String>,
        /// At most this many.
        #[arg(long)]
        limit: Option<u32>,
    },
    /// Show one with attempts and timeline.
    Show {
        /// Such as exe_…
        execution: String,
    },
    /// Cancel one.
    Cancel {
        /// Such as exe_…
        execution: String,
    },
    /// Run one that ended badly again.
    Retry {
        /// Such as exe_…
        execution: String,
    },
}

/// Which dead letters.
#[derive(Debug, Args)]
pub(crate) struct WhichDead {
    /// NAME or INTEGRATION/NAME.
    #[arg(long)]
    pub(crate) function: Option<String>,
    /// action, sync, webhook, event.
    #[arg(long)]
    pub(crate) kind: Option<String>,
    /// Failed with this error code.
    #[arg(long)]
    pub(crate) error: Option<String>,
    /// Of one connection.
    #[arg(long)]
    pub(crate) connection: Option<String>,
    /// Created then or later, such as 2026-01-31T12:00:00Z.
    #[arg(long)]
    pub(crate) since: Option<String>,
    /// Created before then.
    #[arg(long)]
    pub(crate) until: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum DeadLetters {
    /// List them, newest first.
    List {
        #[command(flatten)]
        which: WhichDead,
        /// From the page before.
        #[arg(long)]
        cursor: Option<String>,
        /// At most this many.
        #[arg(long)]
        limit: Option<u32>,
    },
    /// Show one with attempts and timeline.
    Show {
        /// Such as exe_…
        execution: String,
    },
    /// Repeat one, or all that match.
    Replay {
        /// Such as exe_…; without one, all that match.
        #[arg(conflicts_with_all = ["function", "kind", "error", "connection", "since", "until", "max"])]
        execution: Option<String>,
        #[command(flatten)]
        which: WhichDead,
        /// At most this many, 1 to 1,000.
        #[arg(long)]
        max: Option<usize>,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Limits {
    /// List limits and pauses.
    List,
    /// Set how many attempts run at the same time.
    Set {
        /// connection INTEGRATION/CONNECTION, or key NAME.
        #[command(flatten)]
        what: What,
        /// A number, or `any`.
        running_max: String,
    },
}

/// What a limit or a pause is about.
#[derive(Debug, Args)]
pub(crate) struct What {
    /// function, connection, key or tenant.
    pub(crate) of: Of,
    /// INTEGRATION/KIND/NAME, INTEGRATION/CONNECTION, or a name.
    pub(crate) name: String,
}

/// What a limit or a pause is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Of {
    /// INTEGRATION/KIND/NAME.
    Function,
    /// INTEGRATION/CONNECTION.
    Connection,
    /// A concurrency key's name.
    Key,
    /// A tenant, with the admin key.
    Tenant,
}

#[derive(Debug, Args)]
pub(crate) struct Logs {
    /// Such as exe_…; the newest one when absent.
    pub(crate) execution: Option<String>,
    /// Go on until the execution has ended.
    #[arg(short, long)]
    pub(crate) follow: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Records {
    /// Of which connection.
    #[arg(long)]
    pub(crate) connection: String,
    /// Of which model. Without one: which models there are, and how many records of each.
    #[arg(long)]
    pub(crate) model: Option<String>,
    /// Of which integration, when the connection's name is not unique.
    #[arg(long)]
    pub(crate) integration: Option<String>,
    /// From the page before.
    #[arg(long)]
    pub(crate) cursor: Option<String>,
    /// At most this many.
    #[arg(long)]
    pub(crate) limit: Option<u32>,
    /// All pages, one record a line.
    #[arg(long)]
    pub(crate) all: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Tenants {
    /// List them.
    List,
    /// Create one, or change it.
    #[command(visible_alias = "create")]
    Put {
        /// Which.
        tenant: String,
        /// For people.
        #[arg(long, default_value = "")]
        display_name: String,
        /// Its share of the slots relative to others.
        #[arg(long)]
        weight: Option<u32>,
        /// Attempts that may run at the same time.
        #[arg(long)]
        running_max: Option<u32>,
        /// Executions that may be queued or waiting.
        #[arg(long)]
        queued_max: Option<u64>,
        /// The least wall that its functions run behind: process, gvisor or microvm.
        #[arg(long)]
        wall_floor: Option<String>,
        /// Rules that narrow where its functions may connect: a JSON array, or @FILE; `[]` takes them away.
        #[arg(long, value_name = "JSON")]
        egress: Option<String>,
        /// How its records are kept, as JSON: {"encrypted": true, "retention": {"deleted_days": 30}}.
        #[arg(long)]
        records: Option<String>,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Keys {
    /// List a tenant's keys, without secrets.
    List {
        /// Whose.
        tenant: String,
    },
    /// Make a key. Its secret is printed this once.
    Create {
        /// Whose.
        tenant: String,
        /// What it is for.
        #[arg(long, default_value = "")]
        label: String,
    },
    /// Replace the key that credentials are sealed with, and seal everything anew. Can be broken off and begun again.
    Rotate,
    /// Revoke a key.
    Revoke {
        /// Whose.
        tenant: String,
        /// Such as key_…
        key: String,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Demo {
    /// The examples [default: examples here].
    #[arg(long, default_value = "examples")]
    pub(crate) examples: PathBuf,
}

/// What to measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Benchmark {
    /// T1, T4: how long a fresh sandbox takes, beside a bare `node`.
    Start,
    /// T2, T3: actions over HTTP, one at a time and sustained.
    Action,
    /// T8: memory of an execution that sleeps.
    Memory,
    /// T10, T12: the engine without sandboxes.
    Engine,
    /// T13: what one noisy tenant does to others.
    Fairness,
    /// T14: webhooks, in a burst and sustained.
    Webhooks,
    /// T15: checkpoints, saved and gone on from.
    Checkpoint,
    /// From a cancel until the execution has ended: a function that listens, and one that does not.
    Cancel,
    /// `bulkhead dev`: from a saved file to the function running anew.
    Dev,
    /// T5: many tenants, a few of them often.
    Replay,
    /// Nothing stays: processes, cgroups, mounts, namespaces, descriptors, files, memory. Fails when something does.
    Leaks,
    /// T1, T4, T6 to T9: every wall that there is here, beside a bare `node`, gVisor and bubblewrap by themselves.
    Walls,
}

#[derive(Debug, Args)]
pub(crate) struct Mcp {
    /// Serve over HTTP here instead of over standard streams; each request brings a tenant's key of its own.
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) listen: Option<String>,
    /// With --listen: another name that this machine is called by.
    #[arg(long = "host", value_name = "NAME", requires = "listen")]
    pub(crate) hosts: Vec<String>,
    /// A project that clients may deploy; without one they can't.
    #[arg(long, value_name = "DIR")]
    pub(crate) project: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Bench {
    /// What to measure.
    pub(crate) name: Benchmark,
    /// How many times; each benchmark has its own usual number.
    #[arg(long)]
    pub(crate) n: Option<usize>,
    /// How long to sustain, in seconds.
    #[arg(long, default_value_t = 15)]
    pub(crate) seconds: u64,
    /// The wall, where a benchmark is about one; `walls` takes all that there are, or this one.
    #[arg(long)]
    pub(crate) wall: Option<String>,
    /// The examples, whose bench/ functions are measured.
    #[arg(long, default_value = "examples")]
    pub(crate) examples: PathBuf,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigVerb {
    /// Print every setting.
    Show {
        /// And where each was said.
        #[arg(long)]
        origin: bool,
    },
}

/// `REQUESTS/SECONDS`.
pub(crate) fn rate_limit(text: &str) -> Result<(u32, u32), String> {
    let read =
        |(requests, per_s): (&str, &str)| Some((requests.parse().ok()?, per_s.parse().ok()?));
    text.split_once('/').and_then(read).ok_or_else(|| "write REQUESTS/SECONDS".to_owned())
}

pub(crate) fn integration_and_name(text: &str) -> Result<(String, String), String> {
    match text.split_once('/') {
        Some((integration, name)) if !integration.is_empty() && !name.is_empty() => {
            Ok((integration.to_owned(), name.to_owned()))
        }
        _ => Err("write INTEGRATION/NAME".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        use clap::CommandFactory as _;
        Cli::command().debug_assert();
    }

    #[test]
    fn flags_are_settings() {
        let typed = ["bulkhead", "--set", "worker.units=3", "serve", "--listen", "127.0.0.1:0"];
        let settings = Cli::parse_from(typed).settings();
        let expected = [("worker.units", "3"), ("listen", "127.0.0.1:0")];
        assert_eq!(settings, expected.map(|(key, value)| (key.to_owned(), value.to_owned())));
    }
}

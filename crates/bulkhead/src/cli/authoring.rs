//! What authors type.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::integration_and_name;

#[derive(Debug, Args)]
pub(crate) struct Init {
    /// Where; made if it is not there.
    #[arg(default_value = ".")]
    pub(crate) directory: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct Compile {
    /// The project's directory.
    #[arg(default_value = ".")]
    pub(crate) project: PathBuf,
    /// Keep bundles, source maps and manifest.json there.
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
    /// Only this function, as INTEGRATION/KIND/NAME; may be given again.
    #[arg(long = "function", value_name = "NAME")]
    pub(crate) functions: Vec<String>,
    /// Do not check types.
    #[arg(long)]
    pub(crate) no_type_check: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Deploy {
    /// The project's directory.
    #[arg(default_value = ".")]
    pub(crate) project: PathBuf,
    /// Only say what would change.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Do not ask; nobody is asked but at a terminal.
    #[arg(long, short)]
    pub(crate) yes: bool,
    /// Go on although functions would be removed.
    #[arg(long)]
    pub(crate) allow_destructive: bool,
    /// Deploy only this function and leave the others as they are; may be given again.
    #[arg(long = "function", value_name = "NAME")]
    pub(crate) functions: Vec<String>,
    /// Do not check types.
    #[arg(long)]
    pub(crate) no_type_check: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Dev {
    /// The project's directory.
    #[arg(default_value = ".")]
    pub(crate) project: PathBuf,
    /// Where the server listens.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8686")]
    pub(crate) listen: String,
    /// After every change, run this action: INTEGRATION/NAME.
    #[arg(long, value_name = "FUNCTION", value_parser = integration_and_name)]
    pub(crate) run: Option<(String, String)>,
    /// What it is called with: JSON or @FILE.
    #[arg(long, default_value = "null", requires = "run")]
    pub(crate) input: String,
    /// On behalf of which connection.
    #[arg(long, requires = "run")]
    pub(crate) connection: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Dryrun {
    /// INTEGRATION/NAME.
    #[arg(value_parser = integration_and_name)]
    pub(crate) function: (String, String),
    /// A connection on the server; its credentials stay there.
    pub(crate) connection: Option<String>,
    /// The project's directory.
    #[arg(long, default_value = ".")]
    pub(crate) project: PathBuf,
    /// action, sync, webhook or event, where several functions have the name.
    #[arg(long)]
    pub(crate) kind: Option<String>,
    /// What it is called with: JSON, @FILE, or @- for standard input.
    #[arg(long, default_value = "null")]
    pub(crate) input: String,
    /// Instead of the connection's metadata: JSON or @FILE.
    #[arg(long, value_name = "JSON")]
    pub(crate) metadata: Option<String>,
    /// Where it goes on from: JSON or @FILE.
    #[arg(long, value_name = "JSON")]
    pub(crate) checkpoint: Option<String>,
    /// As if a sync had last begun then, such as 2026-01-31T12:00:00Z.
    #[arg(long, value_name = "TIME")]
    pub(crate) last_sync_date: Option<String>,
    /// Keep what happened as mocks in INTEGRATION/tests/NAME.test.json.
    #[arg(long, visible_alias = "save")]
    pub(crate) save_mocks: bool,
    /// Say what the run used.
    #[arg(long)]
    pub(crate) diagnostics: bool,
    /// Do not check types.
    #[arg(long)]
    pub(crate) no_type_check: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Test {
    /// The project's directory.
    #[arg(default_value = ".")]
    pub(crate) project: PathBuf,
    /// Only tests of this function, as NAME or INTEGRATION/NAME; may be given again.
    #[arg(long = "function", value_name = "NAME")]
    pub(crate) functions: Vec<String>,
    /// Do not check types.
    #[arg(long)]
    pub(crate) no_type_check: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Generate {
    /// A test to fill in for every function that has none, with an example of its input.
    Tests {
        /// The project's directory.
        #[arg(default_value = ".")]
        project: PathBuf,
    },
}

//! The simulator: built with optimization, since a run is worth as much as the seeds it gets through.

use std::process::Command;

use crate::workspace::{self, Workspace};

/// Runs `bulkhead-sim` with these arguments.
pub(crate) fn run(workspace: &Workspace, arguments: &[String]) -> anyhow::Result<()> {
    let mut command = Command::new("cargo");
    command.current_dir(&workspace.root);
    command.args(["run", "--quiet", "--release", "--package", "bulkhead-sim", "--"]);
    workspace::run(command.args(arguments))
}

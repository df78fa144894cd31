//! `bulkhead mcp`: the tenant's actions as tools of the Model Context Protocol, and tools to look at what ran. The
//! server is `runtime/node/mcp`; here it is told where it stands, and takes this process's place
//! ([why](../../../../docs/decisions/0150-mcp-by-the-protocols-own-library.md)).

use std::os::unix::process::CommandExt as _;

use anyhow::Context as _;

use crate::cli::Mcp;
use crate::compile::command;
use crate::context::Context;

/// Settings that nobody else on the machine may read off a command line.
const SECRET_SETTINGS: [&str; 3] = ["key=", "admin_key=", "database_url="];

pub(crate) fn run(typed: &Mcp, context: &Context) -> anyhow::Result<u8> {
    let tools = &context.config.tools;
    let beside = tools.compiler.parent().and_then(std::path::Path::parent);
    let script =
        beside.context("the compiler's place has nothing beside it")?.join("mcp/serve.mjs");
    anyhow::ensure!(script.is_file(), "{} is missing: see `compiler`", script.display());
    let mut command = command(&tools.node);
    command.arg(script).args(["--version", env!("CARGO_PKG_VERSION")]);
    command.args(["--server", &context.config.client.server]);
    if let Some(project) = &typed.project {
        let project = project.canonicalize().context("there is no such project")?;
        command.arg("--project").arg(project);
        command.arg("--bulkhead").arg(std::env::current_exe()?);
        // It starts with an empty environment: what was found by ours would not be found again.
        for (name, path) in [("compiler", &tools.compiler), ("node", &tools.node)] {
            command.arg(format!("--set={name}={}", path.display()));
        }
        for pair in context.typed_settings().chunks(2) {
            if !SECRET_SETTINGS
                .iter()
                .any(|secret| pair.iter().any(|said| said.starts_with(secret)))
            {
                // As one word: what is said must not be taken for an option of its own.
                command.arg(format!("--set={}", pair.last().map_or("", String::as_str)));
            }
        }
    }
    match &typed.listen {
        Some(listen) => {
            command.args(["--listen", listen]);
            for host in &typed.hosts {
                command.args(["--host", host]);
            }
        }
        None => {
            context.tenant()?;
            let key = context.config.client.key.as_ref().map_or("", |key| key.reveal());
            command.env("BULKHEAD_KEY", key);
        }
    }
    let failed = command.exec();
    Err(failed).with_context(|| format!("{} could not be run", tools.node.display()))
}

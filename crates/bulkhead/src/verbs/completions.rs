//! `bulkhead completions`

use clap::CommandFactory as _;
use serde_json::json;

use crate::cli::Cli;
use crate::context::Context;
use crate::{exit, output};

pub(crate) fn run(shell: clap_complete::Shell, context: &Context) -> anyhow::Result<u8> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "bulkhead", &mut text);
    let script = String::from_utf8_lossy(&text);
    if context.json {
        output::json(&json!({"shell": shell.to_string(), "script": script}))?;
    } else {
        output::raw(&script)?;
    }
    Ok(exit::DONE)
}

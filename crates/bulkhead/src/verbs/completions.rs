//! `bulkhead completions`

use clap::CommandFactory as _;

use crate::cli::Cli;
use crate::{exit, output};

pub(crate) fn run(shell: clap_complete::Shell) -> anyhow::Result<u8> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "bulkhead", &mut text);
    output::raw(&String::from_utf8_lossy(&text))?;
    Ok(exit::DONE)
}

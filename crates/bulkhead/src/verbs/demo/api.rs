//! The small HTTP API that the examples talk to: `examples/demo-api.mjs`, as a program of its own.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Stdio};

use anyhow::Context as _;
use serde::Deserialize;

use crate::compile::command;

/// Runs until it is dropped.
pub(super) struct DemoApi {
    pub(super) url: String,
    child: Child,
}

#[derive(Deserialize)]
struct Said {
    url: String,
}

impl DemoApi {
    /// Starts it on a free port.
    pub(super) fn start(node: &Path, examples: &Path) -> anyhow::Result<Self> {
        let script = examples.join("demo-api.mjs");
        let mut child = command(node)
            .arg(&script)
            .args(["--port", "0", "--until-stdin-ends"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("{} could not be run", node.display()))?;
        let mut line = String::new();
        let stdout = child.stdout.take().context("the demo's API has no output")?;
        // Held from here on, so that the child is ended whatever happens next.
        let mut api = Self { url: String::new(), child };
        BufReader::new(stdout).read_line(&mut line)?;
        let said: Said = serde_json::from_str(&line)
            .with_context(|| format!("{} did not say where it listens", script.display()))?;
        api.url = said.url;
        Ok(api)
    }

    /// Where it listens.
    pub(super) fn port(&self) -> anyhow::Result<u16> {
        let port = self.url.rsplit(':').next().unwrap_or_default();
        port.trim_end_matches('/').parse().with_context(|| format!("{} has no port", self.url))
    }
}

impl Drop for DemoApi {
    fn drop(&mut self) {
        // It was started while we were root, and so can't be killed by who we are now: it ends with its input.
        drop(self.child.stdin.take());
        drop(self.child.wait());
    }
}

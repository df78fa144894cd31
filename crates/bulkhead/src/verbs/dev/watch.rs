//! The compiler that stays (`compile.mjs --watch`): one line of JSON for each build, and one for the types after it.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdin, Stdio};

use anyhow::Context as _;
use bulkhead_api::DeployFunction;
use bulkhead_config::Tools;
use serde::Deserialize;
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::compile::{CompileError, collect_some, command};

/// Builds that wait to be made live.
const BUILDS_MAX: usize = 16;

/// Bytes of one line.
const LINE_BYTES_MAX: usize = 16 << 20;

/// What the compiler says.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Line {
    ok: bool,
    /// `build` or `types`.
    step: String,
    #[serde(default)]
    errors: Vec<CompileError>,
    /// Names of the functions that are not as they were.
    #[serde(default)]
    changed: Vec<String>,
    /// Whether functions came or went.
    #[serde(default)]
    all: bool,
}

/// One turn.
pub(super) enum Built {
    /// It does not compile.
    Wrong(Vec<CompileError>),
    /// These are to be made live; `all` when no others are there.
    Functions { functions: Vec<DeployFunction>, all: bool, began: Instant },
    /// What the types say of what is live.
    Types(Vec<CompileError>),
}

/// Ends the compiler when it is dropped.
pub(super) struct Watch {
    lines: mpsc::Receiver<(Instant, String)>,
    out: TempDir,
    /// The compiler ends with its input: it may belong to another user than we are by now.
    stdin: Option<ChildStdin>,
    child: Child,
}

impl Watch {
    pub(super) fn start(tools: &Tools, project: &Path) -> anyhow::Result<Self> {
        let out = tempfile::tempdir().context("no temporary directory could be made")?;
        // What is read there is read by whoever we become.
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(out.path(), mode)?;
        let mut command = command(&tools.node);
        command.arg(&tools.compiler).args(["--json", "--watch"]);
        command.arg("--project").arg(project).arg("--out").arg(out.path());
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("{} could not be run", tools.node.display()))?;
        let stdin = child.stdin.take();
        let stdout = child.stdout.take().context("the compiler has no output")?;
        let (tell, lines) = mpsc::channel(BUILDS_MAX);
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines() {
                let Ok(line) = line else { return };
                if line.len() > LINE_BYTES_MAX
                    || tell.blocking_send((Instant::now(), line)).is_err()
                {
                    return;
                }
            }
        });
        Ok(Self { lines, out, stdin, child })
    }

    /// The next turn; `None` when the compiler has ended.
    pub(super) async fn next(&mut self) -> anyhow::Result<Option<Built>> {
        let Some((began, line)) = self.lines.recv().await else { return Ok(None) };
        let line: Line =
            serde_json::from_str(&line).context("the compiler's line can't be read")?;
        Ok(Some(match (line.step.as_str(), line.ok) {
            ("types", _) => Built::Types(line.errors),
            (_, false) => Built::Wrong(line.errors),
            _ => {
                let wanted = |name: &str| line.all || line.changed.iter().any(|c| c == name);
                let functions = collect_some(self.out.path(), wanted)?;
                Built::Functions { functions, all: line.all, began }
            }
        }))
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        drop(self.stdin.take());
        drop(self.child.wait());
    }
}

//! The compiler that stays (`compile.mjs --watch`): one line of JSON for each build, and one for the types after it.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};
use std::time::Duration;

use anyhow::Context as _;
use bulkhead_api::DeployFunction;
use bulkhead_config::Tools;
use serde::Deserialize;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::compile::{CompileError, collect_some, compiler};

/// Builds that wait to be made live.
const BUILDS_MAX: usize = 16;

/// Bytes of one line.
const LINE_BYTES_MAX: usize = 16 << 20;

/// What the compiler says.
#[derive(Deserialize)]
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
    /// Since a file was saved.
    #[serde(default)]
    took_ms: u64,
}

/// One turn.
pub(in crate::verbs) enum Built {
    /// It does not compile.
    Wrong(Vec<CompileError>),
    /// These are to be made live; `all` when no others are there.
    Functions { functions: Vec<DeployFunction>, all: bool, began: Instant },
    /// What the types say of what is live.
    Types(Vec<CompileError>),
}

/// Ends the compiler when it is dropped.
pub(in crate::verbs) struct Watch {
    /// Until it is read: whoever builds walls starts with one thread, and reading takes another.
    stdout: Option<ChildStdout>,
    lines: Option<mpsc::Receiver<(Instant, String)>>,
    /// Removed by the compiler, whose it is.
    out: PathBuf,
    /// The compiler ends with its input: it may belong to another user than we are by now.
    stdin: Option<ChildStdin>,
    child: Child,
}

impl Watch {
    pub(in crate::verbs) fn start(tools: &Tools, project: &Path) -> anyhow::Result<Self> {
        let out = tempfile::tempdir().context("no temporary directory could be made")?.keep();
        // What is read there is read by whoever we become.
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(&out, mode)?;
        let mut command = compiler(tools)?;
        command.args(["--json", "--watch"]);
        command.arg("--project").arg(project).arg("--out").arg(&out);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("{} could not be run", tools.node.display()))?;
        let stdin = child.stdin.take();
        let stdout = child.stdout.take().context("the compiler has no output")?;
        Ok(Self { stdout: Some(stdout), lines: None, out, stdin, child })
    }

    /// The next turn; `None` when the compiler has ended.
    pub(in crate::verbs) async fn next(&mut self) -> anyhow::Result<Option<Built>> {
        let stdout = &mut self.stdout;
        let lines = self.lines.get_or_insert_with(|| read(stdout.take()));
        let Some((began, line)) = lines.recv().await else { return Ok(None) };
        let line: Line =
            serde_json::from_str(&line).context("the compiler's line can't be read")?;
        Ok(Some(match (line.step.as_str(), line.ok) {
            ("types", _) => Built::Types(line.errors),
            (_, false) => Built::Wrong(line.errors),
            _ => {
                let wanted = |name: &str| line.all || line.changed.iter().any(|c| c == name);
                let functions = collect_some(&self.out, wanted)?;
                let took = Duration::from_millis(line.took_ms);
                let began = began.checked_sub(took).unwrap_or(began);
                Built::Functions { functions, all: line.all, began }
            }
        }))
    }
}

/// Lines with when they came.
fn read(stdout: Option<ChildStdout>) -> mpsc::Receiver<(Instant, String)> {
    let (tell, lines) = mpsc::channel(BUILDS_MAX);
    std::thread::spawn(move || {
        for line in stdout.into_iter().flat_map(|stdout| BufReader::new(stdout).lines()) {
            let Ok(line) = line else { return };
            if line.len() > LINE_BYTES_MAX || tell.blocking_send((Instant::now(), line)).is_err() {
                return;
            }
        }
    });
    lines
}

impl Drop for Watch {
    fn drop(&mut self) {
        drop(self.stdin.take());
        drop(self.child.wait());
    }
}

//! What fresh sandboxes are measured beside: a bare `node`, and the same in the sandboxes that a machine has without us,
//! each started anew. From `spawn` until the bundle is loaded and the first line of code after it has written a byte.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::io::AsyncReadExt as _;
use tokio::time::Instant;

/// How long each may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// What Node.js is to do; the bundle's path comes behind it.
const SCRIPT: &str = "require(process.argv[1]); require('fs').writeSync(1, 'x'); process.exit(0)";

/// Where Debian's packages put programs.
const PLACES: [&str; 4] = ["/usr/bin", "/usr/sbin", "/usr/local/bin", "/usr/local/sbin"];

/// A program that starts Node.js.
#[derive(Debug, Clone)]
pub(crate) struct Baseline {
    /// Such as `bare node`.
    pub(crate) name: &'static str,
    program: PathBuf,
    arguments: Vec<String>,
}

/// `node` by itself.
pub(crate) fn bare_node(node: &Path, bundle: &Path) -> Baseline {
    let arguments = script(bundle).to_vec();
    Baseline { name: "bare node", program: node.to_owned(), arguments }
}

/// `runsc do node`: gVisor without us, a kernel for each.
pub(crate) fn runsc_do(node: &Path, bundle: &Path) -> Option<Baseline> {
    let flags = ["--platform=systrap", "--network=none", "--ignore-cgroups", "do", "--"];
    let arguments = with_node(&flags, node, bundle);
    Some(Baseline { name: "runsc do node", program: find("runsc")?, arguments })
}

/// bubblewrap around `node`: every namespace, a read-only root.
pub(crate) fn bubblewrap(node: &Path, bundle: &Path) -> Option<Baseline> {
    let flags = [
        "--unshare-all",
        "--die-with-parent",
        "--ro-bind",
        "/",
        "/",
        "--proc",
        "/proc",
        "--dev",
        "/dev",
    ];
    let arguments = with_node(&flags, node, bundle);
    Some(Baseline { name: "bubblewrap + node", program: find("bwrap")?, arguments })
}

fn script(bundle: &Path) -> [String; 3] {
    ["-e".to_owned(), SCRIPT.to_owned(), bundle.display().to_string()]
}

fn with_node(flags: &[&str], node: &Path, bundle: &Path) -> Vec<String> {
    let flags = flags.iter().map(|flag| (*flag).to_owned());
    flags.chain([node.display().to_string()]).chain(script(bundle)).collect()
}

fn find(program: &str) -> Option<PathBuf> {
    PLACES.iter().map(|place| Path::new(place).join(program)).find(|path| path.is_file())
}

impl Baseline {
    /// One start.
    #[allow(clippy::disallowed_methods, reason = "the baseline is a program that is started")]
    pub(crate) async fn start(&self) -> anyhow::Result<Duration> {
        let began = Instant::now();
        let mut child = tokio::process::Command::new(&self.program)
            .args(&self.arguments)
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("can't start {}", self.program.display()))?;
        let mut output = child.stdout.take().context("no output")?;
        let mut byte = [0_u8; 1];
        let read = tokio::time::timeout(PATIENCE, output.read(&mut byte));
        let read = read.await.with_context(|| format!("{} hangs", self.name))??;
        let took = began.elapsed();
        let ended = child.wait_with_output().await?;
        if read != 1 || !ended.status.success() {
            let said = String::from_utf8_lossy(&ended.stderr).into_owned();
            bail!("{} does not load the bundle: {said}", self.name);
        }
        Ok(took)
    }
}

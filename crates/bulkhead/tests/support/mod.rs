//! A real server: the binary as a user starts it, over a directory of its own, as root.
#![allow(clippy::unwrap_used, reason = "tests")]
#![allow(clippy::disallowed_methods, reason = "tests start the program under test")]
#![allow(dead_code, reason = "each test program uses its own part of this")]

pub(crate) mod web;

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use bulkhead_api::{KeyCreated, Op, PutTenant, Tenant};
use bulkhead_client::{Client, ClientError, Request};
use serde_json::{Value, json};
use sha2::Digest;

/// Generous: the machine may be busy; nothing here measures time.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

const BULKHEAD: &str = env!("CARGO_BIN_EXE_bulkhead");

/// A directory that outlives servers.
pub(crate) struct Home(tempfile::TempDir);

impl Home {
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o711);
        std::fs::set_permissions(directory.path(), open).unwrap();
        Self(directory)
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.0.path().join("data")
    }

    /// cgroups of the server over this directory.
    pub(crate) fn cgroups(&self) -> Vec<PathBuf> {
        let hash = sha2::Sha256::digest(
            self.data().canonicalize().unwrap().as_os_str().as_encoded_bytes(),
        );
        let name = format!("bulkhead-srv-{}", hex::encode(&hash[..6]));
        let layout = bulkhead_wall_process::cgroup::detect().unwrap();
        let tops = layout.hierarchies.iter().map(|hierarchy| hierarchy.own.join(&name));
        tops.filter(|top| top.exists()).collect()
    }
}

pub(crate) struct Server {
    pub(crate) process: Child,
    pub(crate) url: String,
    pub(crate) admin: Client,
    admin_key: String,
    /// The thread that reads what it logs, until it ends.
    log: Option<std::thread::JoinHandle<Vec<String>>>,
}

impl Server {
    /// Starts one and waits until it says where it serves.
    pub(crate) fn start(home: &Home, settings: &[&str]) -> Self {
        Self::start_in(home, settings, Vec::new())
    }

    /// The same, with more in its environment.
    pub(crate) fn start_in(
        home: &Home,
        settings: &[&str],
        environment: Vec<(&'static str, String)>,
    ) -> Self {
        let rootfs = bulkhead_testkit::rootfs().unwrap_or_else(|error| panic!("{error}"));
        let mut command = Command::new(BULKHEAD);
        command
            .envs(environment)
            .args(["--set", "listen=127.0.0.1:0", "--set", "log.format=json"])
            // What nobody calls would only take the CPU of other tests.
            .args(["--set", "worker.prewarm=no"])
            .args(["--set", &format!("data_dir={}", home.data().display())])
            .args(["--set", &format!("runtime_dir={}", rootfs.parent().unwrap().display())]);
        for setting in settings {
            command.args(["--set", setting]);
        }
        let mut process =
            command.arg("serve").stdin(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(process.stderr.take().unwrap()).lines();
        let mut said = Vec::new();
        let url = loop {
            let Some(Ok(line)) = lines.next() else { panic!("no server: {}", said.join("\n")) };
            let parsed: Option<Value> = serde_json::from_str(&line).ok();
            let url = parsed
                .as_ref()
                .and_then(|line| line["fields"]["url"].as_str().or(line["url"].as_str()));
            if let Some(url) = url {
                break url.to_owned();
            }
            said.push(line);
        };
        // Somebody has to read on, or the server stops at a full pipe.
        let log = std::thread::spawn(move || {
            said.extend(lines.map_while(Result::ok));
            said
        });
        let key = std::fs::read_to_string(home.data().join("admin.key")).unwrap();
        let admin = Client::new(&url, Some(key.trim())).unwrap();
        Self { process, url, admin, admin_key: key.trim().to_owned(), log: Some(log) }
    }

    /// A tenant with functions deployed from a project of this repository.
    pub(crate) async fn tenant(&self, name: &str, project: &str) -> Client {
        self.tenant_and_key(name, project).await.0
    }

    /// The same, with the tenant's key for a later server.
    pub(crate) async fn tenant_and_key(&self, name: &str, project: &str) -> (Client, String) {
        let put = Request::new(Op::PutTenant, &[name]).json(&PutTenant::default());
        self.admin.call::<Tenant>(put).await.unwrap();
        let create = Request::new(Op::CreateKey, &[name]).json(&json!({"label": "test"}));
        let key: KeyCreated = self.admin.call(create).await.unwrap();
        let output = Command::new(BULKHEAD)
            .current_dir(workspace())
            .args([
                "--set",
                &format!("server={}", self.url),
                "--set",
                &format!("key={}", key.secret),
            ])
            .args(["deploy", project, "--no-type-check", "--json"])
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        (self.admin.with_key(&key.secret), key.secret)
    }

    pub(crate) fn with_key(&self, key: &str) -> Client {
        self.admin.with_key(key)
    }

    /// As a crash would.
    pub(crate) fn kill_nine(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    pub(crate) fn stop(self) {
        drop(self.stop_and_log());
    }

    /// The same, with all that it logged.
    pub(crate) fn stop_and_log(mut self) -> String {
        let pid = rustix::process::Pid::from_child(&self.process);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        assert!(self.process.wait().unwrap().success());
        self.log.take().unwrap().join().unwrap().join("\n")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // A test that failed must not leave its server; one that was waited for is gone already.
        if matches!(self.process.try_wait(), Ok(None)) && self.process.kill().is_ok() {
            drop(self.process.wait());
        }
    }
}

/// What the command line prints, with the operator's key, whatever its exit status.
pub(crate) fn bulkhead(server: &Server, arguments: &[&str]) -> String {
    let settings = format!("server={}", server.url);
    let output = Command::new(BULKHEAD)
        .env("BULKHEAD_ADMIN_KEY", &server.admin_key)
        .args(["--set", &settings])
        .args(arguments)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    format!("{}{said}", String::from_utf8_lossy(&output.stdout))
}

pub(crate) fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// Runs an action and waits: its output, or the error's code.
pub(crate) async fn action(
    client: &Client,
    integration: &str,
    name: &str,
    input: Value,
) -> Result<Value, String> {
    let request = Request::new(Op::RunAction, &[integration, name]).json(&input);
    match tokio::time::timeout(PATIENCE, client.call(request)).await {
        Err(_) => Err("the test's patience".to_owned()),
        Ok(Ok(output)) => Ok(output),
        Ok(Err(error)) => Err(code(&error)),
    }
}

pub(crate) fn code(error: &ClientError) -> String {
    error.code().map_or_else(|| error.to_string(), str::to_owned)
}

/// Accepts an action and does not wait for it: the execution's id.
pub(crate) async fn submit(client: &Client, integration: &str, name: &str, input: Value) -> String {
    let request = Request::new(Op::RunAction, &[integration, name])
        .header("Prefer", "respond-async")
        .json(&input);
    let accepted: Value = client.call(request).await.unwrap();
    accepted["execution_id"].as_str().unwrap().to_owned()
}

pub(crate) async fn execution(client: &Client, id: &str) -> Value {
    client.call(Request::new(Op::ShowExecution, &[id])).await.unwrap()
}

/// Looks every 50 ms until `seen` holds.
pub(crate) async fn until<F: Future<Output = bool>>(what: &str, mut seen: impl FnMut() -> F) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while !seen().await {
        assert!(tokio::time::Instant::now() < deadline, "never seen: {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// A worker on a machine of its own, as far as a process and a directory are one.
pub(crate) struct Worker {
    pub(crate) process: Child,
    /// What it is called by the server.
    pub(crate) id: String,
}

impl Worker {
    /// Starts one that joins the server at `url`, and waits until it has.
    pub(crate) fn join(home: &Home, url: &str, token: &str, settings: &[&str]) -> Self {
        let rootfs = bulkhead_testkit::rootfs().unwrap_or_else(|error| panic!("{error}"));
        let file = home.0.path().join("token");
        std::fs::write(&file, token).unwrap();
        let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        std::fs::set_permissions(&file, private).unwrap();
        let mut command = Command::new(BULKHEAD);
        command
            .args(["--server", url, "--set", "log.format=json"])
            .args(["--set", &format!("data_dir={}", home.data().display())])
            .args(["--set", &format!("runtime_dir={}", rootfs.parent().unwrap().display())]);
        for setting in settings {
            command.args(["--set", setting]);
        }
        command.arg("worker").arg("--token-file").arg(&file);
        let mut process = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(process.stderr.take().unwrap()).lines();
        let mut said = Vec::new();
        let id = loop {
            let Some(Ok(line)) = lines.next() else { panic!("no worker: {}", said.join("\n")) };
            let parsed: Option<Value> = serde_json::from_str(&line).ok();
            let id = parsed
                .as_ref()
                .and_then(|line| line["fields"]["worker"].as_str().or(line["worker"].as_str()));
            if let Some(id) = id {
                break id.to_owned();
            }
            said.push(line);
        };
        std::thread::spawn(move || lines.for_each(drop));
        Self { process, id }
    }

    /// Asks it to end.
    pub(crate) fn terminate(&self) {
        let pid = rustix::process::Pid::from_child(&self.process);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    }

    /// Asks it to end, and waits until it has.
    pub(crate) fn stop(mut self) {
        self.terminate();
        assert!(self.process.wait().unwrap().success());
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        if matches!(self.process.try_wait(), Ok(None)) && self.process.kill().is_ok() {
            drop(self.process.wait());
        }
    }
}

impl Server {
    /// A token for workers.
    pub(crate) async fn worker_token(&self) -> String {
        let create = Request::new(Op::CreateWorkerToken, &[]).json(&json!({"label": "test"}));
        self.admin.call::<KeyCreated>(create).await.unwrap().secret
    }

    /// The port it listens on, as a setting for its successor.
    pub(crate) fn same_port(&self) -> String {
        format!("listen={}", self.url.strip_prefix("http://").unwrap())
    }
}

/// A wire that can be cut without either end hearing of it.
pub(crate) struct Wire {
    pub(crate) url: String,
    cut: tokio::sync::watch::Sender<bool>,
}

impl Wire {
    /// From a port of its own to the server at `url`.
    pub(crate) async fn to(url: &str) -> Self {
        let target = url.strip_prefix("http://").unwrap().to_owned();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (cut, is_cut) = tokio::sync::watch::channel(false);
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                tokio::spawn(carry(near, target.clone(), is_cut.clone()));
            }
        });
        Self { url, cut }
    }

    pub(crate) fn cut(&self) {
        self.cut.send_replace(true);
    }

    /// What was connected while it was cut stays dead; new connections work.
    pub(crate) fn mend(&self) {
        self.cut.send_replace(false);
    }
}

/// Carries bytes until the wire is cut. Then nothing moves, and nobody is told: the sockets stay open.
async fn carry(
    mut near: tokio::net::TcpStream,
    target: String,
    mut is_cut: tokio::sync::watch::Receiver<bool>,
) {
    let carried = async {
        let mut far = tokio::net::TcpStream::connect(target).await?;
        tokio::io::copy_bidirectional(&mut near, &mut far).await
    };
    let dead = async {
        drop(is_cut.wait_for(|cut| *cut).await);
    };
    let was_cut = {
        tokio::pin!(carried);
        tokio::select! {
            biased;
            () = dead => true,
            _ = carried => false,
        }
    };
    if was_cut {
        std::future::pending::<()>().await;
    }
}

/// How many processes run in sandboxes of the server or worker over this directory.
pub(crate) fn sandboxes(home: &Home) -> usize {
    let tops = home.cgroups();
    let pids = tops.iter().find(|top| top.to_string_lossy().contains("pids"));
    pids.map_or_else(|| tops.iter().map(|top| below(top)).max().unwrap_or(0), |top| below(top))
}

fn below(path: &Path) -> usize {
    let own = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('s'));
    let procs = std::fs::read_to_string(path.join("cgroup.procs")).unwrap_or_default();
    let here = if own { procs.lines().count() } else { 0 };
    let Ok(entries) = std::fs::read_dir(path) else { return here };
    here + entries.flatten().filter(|e| e.path().is_dir()).map(|e| below(&e.path())).sum::<usize>()
}

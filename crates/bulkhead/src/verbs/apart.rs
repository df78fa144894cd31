//! A server in a process of its own, for benchmarks that look at it from outside: this process keeps root, and sees what
//! the server, its launcher and its compartments have on the machine.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, bail};
use bulkhead_api::{Deploy, DeployFunction, ExecutionShow, KeyCreated, Op, PutTenant, Tenant};
use bulkhead_client::{Client, Request};
use bulkhead_wall_process::cgroup;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader, Lines};
use tokio::process::{Child, Command};

use crate::context::Context;
use crate::privileged;

/// How long it may take to start, and to stop.
const PATIENCE: Duration = Duration::from_secs(120);

/// Lines of its log that are kept, to be shown when it does not come up.
const LINES_KEPT: usize = 40;

/// The tenant that everything belongs to.
const TENANT: &str = "bench";

/// A server that runs.
pub(crate) struct Apart {
    process: Child,
    pub(crate) pid: u32,
    url: String,
    admin_key: String,
    key: String,
    directory: TempDir,
    /// The top of its compartments' cgroups in each hierarchy, whether there are some or not.
    pub(crate) tops: Vec<PathBuf>,
}

impl Apart {
    /// Starts one over a temporary directory, with a tenant. What was typed on the command line holds for it too.
    pub(crate) async fn start(
        context: &Context,
        settings: &[(&str, &str)],
    ) -> anyhow::Result<Self> {
        let directory = tempfile::Builder::new().prefix("bulkhead-").tempdir()?;
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o711);
        std::fs::set_permissions(directory.path(), open)?;
        let mut process = spawn(context, directory.path(), settings)?;
        let pid = process.id().context("it ended at once")?;
        let output = process.stderr.take().context("no output")?;
        let url = tokio::time::timeout(PATIENCE, address(BufReader::new(output).lines()));
        let url = url.await.context("the server does not come up")??;
        let data_dir = directory.path().join("data");
        let admin_key = std::fs::read_to_string(data_dir.join("admin.key"))?.trim().to_owned();
        let admin = Client::new(&url, Some(&admin_key))?;
        admin
            .call::<Tenant>(Request::new(Op::PutTenant, &[TENANT]).json(&PutTenant::default()))
            .await?;
        let create = Request::new(Op::CreateKey, &[TENANT]).json(&json!({"label": "bench"}));
        let key = admin.call::<KeyCreated>(create).await?.secret;
        let instance = format!("bulkhead-{}", privileged::instance_of(&data_dir));
        let layout = cgroup::detect()?;
        let tops = layout.hierarchies.iter().map(|it| it.own.join(&instance)).collect();
        Ok(Self { process, pid, url, admin_key, key, directory, tops })
    }

    /// A client of the tenant's, with connections of its own: they end with it.
    pub(crate) fn client(&self) -> anyhow::Result<Client> {
        Ok(Client::new(&self.url, Some(&self.key))?)
    }

    /// Everything that the server keeps.
    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// The launcher: the server's one child.
    pub(crate) fn launcher(&self) -> anyhow::Result<u32> {
        let path = format!("/proc/{0}/task/{0}/children", self.pid);
        let children =
            std::fs::read_to_string(&path).with_context(|| format!("can't read {path}"))?;
        children.split_whitespace().next().and_then(|pid| pid.parse().ok()).context("no launcher")
    }

    /// Makes functions live.
    pub(crate) async fn deploy(&self, functions: Vec<DeployFunction>) -> anyhow::Result<()> {
        let body = Deploy { functions, dry_run: false, allow_destructive: true, partial: true };
        self.client()?.send(Request::new(Op::Deploy, &[]).json(&body)).await?;
        Ok(())
    }

    /// What `/metrics` says of one number.
    pub(crate) async fn metric(&self, line: &str) -> anyhow::Result<f64> {
        let admin = Client::new(&self.url, Some(&self.admin_key))?;
        let page = admin.send(Request::new(Op::Metrics, &[])).await?;
        let page = String::from_utf8_lossy(&page.body).into_owned();
        let found = page.lines().find_map(|it| it.strip_prefix(line)?.trim().parse().ok());
        found.with_context(|| format!("the metrics have no {line}"))
    }

    /// Ends it as an operator does.
    pub(crate) async fn stop(mut self) -> anyhow::Result<()> {
        let pid = i32::try_from(self.pid)?;
        let pid = rustix::process::Pid::from_raw(pid).context("no process")?;
        rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
        let ended = tokio::time::timeout(PATIENCE, self.process.wait()).await;
        let status = ended.context("the server does not end")??;
        if !status.success() {
            bail!("the server ended with {status}");
        }
        Ok(())
    }
}

#[allow(clippy::disallowed_methods, reason = "what is measured is a server as operators start it")]
fn spawn(context: &Context, directory: &Path, settings: &[(&str, &str)]) -> anyhow::Result<Child> {
    let runtime_dir = context.config.runtime_dir.canonicalize()?;
    let temporary = directory.join("tmp");
    std::fs::create_dir(&temporary)?;
    let anybody = std::os::unix::fs::PermissionsExt::from_mode(0o1777);
    std::fs::set_permissions(&temporary, anybody)?;
    let mut command = Command::new(std::env::current_exe()?);
    // No settings file, no environment of this machine, and files for a while where they can be seen.
    command.env_clear().env("TMPDIR", &temporary).env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    command.current_dir(directory).args(context.typed_settings());
    let data_dir = directory.join("data").display().to_string();
    let runtime_dir = runtime_dir.display().to_string();
    let needed = [
        ("listen", "127.0.0.1:0"),
        ("log.format", "json"),
        ("data_dir", &data_dir),
        ("runtime_dir", &runtime_dir),
    ];
    for (key, value) in settings.iter().chain(&needed) {
        command.arg("--set").arg(format!("{key}={value}"));
    }
    command.arg("serve").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    command.kill_on_drop(true).spawn().context("can't start a server")
}

/// Where it serves, as its log says. Its log is read on: a full pipe would stop it.
async fn address<R>(mut lines: Lines<BufReader<R>>) -> anyhow::Result<String>
where
    R: AsyncRead + Send + Unpin + 'static,
{
    let mut said = Vec::new();
    while let Some(line) = lines.next_line().await? {
        let parsed: Value = serde_json::from_str(&line).unwrap_or_default();
        let url = parsed["fields"]["url"].as_str().or(parsed["url"].as_str());
        if let Some(url) = url {
            tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
            return Ok(url.to_owned());
        }
        said.push(line);
        if said.len() > LINES_KEPT {
            said.remove(0);
        }
    }
    bail!("the server does not come up:\n{}", said.join("\n"))
}

/// Runs an action: the execution's id, and its output or the error's code.
pub(crate) async fn call(
    client: &Client,
    function: [&str; 2],
    input: &Value,
) -> anyhow::Result<(String, Result<Value, String>)> {
    let answer = client.exchange(Request::new(Op::RunAction, &function).json(input)).await?;
    let id = answer.header(bulkhead_api::headers::EXECUTION_ID).map(str::to_owned);
    let body: Value = answer.json().unwrap_or_default();
    let id = id.or_else(|| body["error"]["execution_id"].as_str().map(str::to_owned));
    let id = id.with_context(|| format!("status {}: {body}", answer.status))?;
    if (200..300).contains(&answer.status) {
        return Ok((id, Ok(body)));
    }
    let code = body["error"]["code"].as_str().unwrap_or("no code").to_owned();
    Ok((id, Err(code)))
}

/// An execution's only or last attempt.
pub(crate) async fn attempt(client: &Client, id: &str) -> anyhow::Result<bulkhead_api::Attempt> {
    let show: ExecutionShow = client.call(Request::new(Op::ShowExecution, &[id])).await?;
    show.attempt_list.into_iter().next_back().context("an execution without an attempt")
}

/// Lets `count` callers at a time take turns over `items`; the first error ends it.
pub(crate) async fn by_turns<T, F, Fut>(items: Vec<T>, count: usize, work: F) -> anyhow::Result<()>
where
    T: Send + 'static,
    F: Fn(T) -> Fut + Clone + Send + 'static,
    Fut: Future<Output = anyhow::Result<()>> + Send,
{
    let queue = Arc::new(Mutex::new(items.into_iter()));
    let mut callers = tokio::task::JoinSet::new();
    for _ in 0..count {
        let (queue, work) = (Arc::clone(&queue), work.clone());
        callers.spawn(async move {
            loop {
                let next = queue.lock().unwrap_or_else(PoisonError::into_inner).next();
                let Some(item) = next else { return anyhow::Ok(()) };
                work(item).await?;
            }
        });
    }
    while let Some(caller) = callers.join_next().await {
        caller??;
    }
    Ok(())
}

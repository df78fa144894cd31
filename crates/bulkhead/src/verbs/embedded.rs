//! A server of our own over a temporary directory, for `demo`, `bench`, `test` and `dryrun`.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use anyhow::Context as _;
use bulkhead_api::{
    Deploy, DeployFunction, Deployment, KeyCreated, Op, PutConnection, PutIntegration, PutTenant,
    Tenant,
};
use bulkhead_client::{Client, Request};
use bulkhead_config::{Config, User};
use bulkhead_telemetry::LogFormat;
use bulkhead_wall::Walls;
use bulkhead_wall::fake::FakeWall;
use bulkhead_worker::{Parts, Runner};
use rustix::process::{Gid, Uid};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::context::Context;
use crate::privileged::{self, Privileged};
use crate::server::Server;
use crate::walls;
use bulkhead_wall_process::launcher::Holes;

/// The tenant that owns everything in a demo or a benchmark.
pub(crate) const TENANT: &str = "demo";

/// What was made while the process had one thread.
pub(crate) struct Ready {
    config: Config,
    privileged: Privileged,
    /// Absent where data stays.
    directory: Option<TempDir>,
}

/// Makes the directory and the launcher, and gives root away. `name` and the process id name the instance, so that
/// several can run beside each other.
pub(crate) fn prepare(
    context: &Context,
    name: &str,
    settings: &[(&str, &str)],
) -> anyhow::Result<Ready> {
    prepare_with(context, name, settings, Holes::Refused)
}

/// The same, also from a runtime image with a hole in it: for the audit alone.
pub(crate) fn prepare_with(
    context: &Context,
    name: &str,
    settings: &[(&str, &str)],
    holes: Holes,
) -> anyhow::Result<Ready> {
    let directory = tempfile::Builder::new().prefix("bulkhead-").tempdir()?;
    // The unprivileged user passes through to the data directory in it, and lists nothing.
    std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o711))?;
    let data_dir = directory.path().join("data");
    let data_dir = data_dir.to_str().context("the temporary directory's name is no text")?;
    let needed = [("data_dir", data_dir), ("listen", "127.0.0.1:0")];
    // What is deployed is called at once, or not at all.
    let usual = [("log.level", "warn"), ("worker.prewarm", "no")];
    let config = context.embedded(&usual, &[&needed, settings].concat())?;
    // Whoever we become has to be able to remove it in the end.
    if let User::Ids { uid, gid } = config.user {
        let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
        rustix::fs::chown(directory.path(), Some(uid), Some(gid))?;
    }
    let instance = format!("{name}-{}", std::process::id());
    let privileged = privileged::begin_with(&config, &instance, holes)?;
    bulkhead_telemetry::init(&config.log_level, LogFormat::Text)?;
    Ok(Ready { config, privileged, directory: Some(directory) })
}

/// The same over a directory that stays, one server at a time.
pub(crate) fn prepare_at(
    context: &Context,
    name: &str,
    directory: &Path,
    settings: &[(&str, &str)],
) -> anyhow::Result<Ready> {
    let data_dir = directory.to_str().context("the data directory's name is no text")?;
    let needed = [("data_dir", data_dir)];
    let config = context.embedded(&[("log.level", "warn")], &[&needed, settings].concat())?;
    let hash = directory.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let privileged = privileged::begin(&config, &format!("{name}-{hash}"))?;
    bulkhead_telemetry::init(&config.log_level, LogFormat::Text)?;
    Ok(Ready { config, privileged, directory: None })
}

/// The credential of every connection that is made here.
pub(crate) const TOKEN: &str = "a-token-that-no-sandbox-sees";

/// A server that runs, with a tenant and its key.
pub(crate) struct Embedded {
    /// The server.
    pub(crate) server: Server,
    /// Runs its attempts; tells what it counted.
    pub(crate) runner: Runner,
    /// Talks to it with the tenant's key.
    pub(crate) client: Client,
    /// The tenant's key.
    pub(crate) key: String,
    /// Removed with the last value.
    _directory: Option<TempDir>,
    /// Where the server keeps everything.
    data_dir: std::path::PathBuf,
}

/// A server whose sandboxes are no sandboxes: handlers answer at once, in this process.
pub(crate) async fn on_fake_wall(context: &Context) -> anyhow::Result<Embedded> {
    let directory = tempfile::Builder::new().prefix("bulkhead-").tempdir()?;
    let data_dir = directory.path().join("data");
    let data_dir = data_dir.to_str().context("the temporary directory's name is no text")?;
    let needed = [("data_dir", data_dir), ("listen", "127.0.0.1:0")];
    let config = context.embedded(&[("log.level", "warn")], &needed)?;
    bulkhead_telemetry::init(&config.log_level, LogFormat::Text)?;
    let wall = FakeWall::handler(|start, _| async move { Ok(start.input) });
    serve(&config, Walls::Any(wall), Some(directory), |parts| parts).await
}

impl Ready {
    /// Starts the server and makes the tenant.
    pub(crate) async fn start(self) -> anyhow::Result<Embedded> {
        self.start_with(|parts| parts).await
    }

    /// The same with some of what the worker is made of replaced.
    pub(crate) async fn start_with(
        self,
        change: impl FnOnce(Parts) -> Parts,
    ) -> anyhow::Result<Embedded> {
        let walls = walls::of(&self.config, self.privileged).await?;
        serve(&self.config, walls, self.directory, change).await
    }
}

async fn serve(
    config: &Config,
    walls: Walls,
    directory: Option<TempDir>,
    change: impl FnOnce(Parts) -> Parts,
) -> anyhow::Result<Embedded> {
    let server = Server::start_with(config, Some(walls), change).await?;
    let runner = server.runner().context("an embedded server runs its executions itself")?;
    let admin = Client::new(&server.url, Some(server.admin_key.secret.reveal()))?;
    let key = make_tenant(&admin, TENANT).await?;
    let client = admin.with_key(&key);
    let data_dir = config.data_dir.clone();
    Ok(Embedded { server, runner, client, key, _directory: directory, data_dir })
}

/// Makes a tenant; returns its key.
async fn make_tenant(admin: &Client, name: &str) -> anyhow::Result<String> {
    let put = Request::new(Op::PutTenant, &[name]).json(&PutTenant::default());
    admin.call::<Tenant>(put).await?;
    let create = Request::new(Op::CreateKey, &[name]).json(&json!({"label": "embedded"}));
    Ok(admin.call::<KeyCreated>(create).await?.secret)
}

impl Embedded {
    /// One more tenant; talks with its key.
    pub(crate) async fn tenant(&self, name: &str) -> anyhow::Result<Client> {
        let admin = self.client.with_key(self.server.admin_key.secret.reveal());
        let key = make_tenant(&admin, name).await?;
        Ok(admin.with_key(&key))
    }

    /// Where the server keeps everything.
    pub(crate) fn data_dir(&self) -> std::path::PathBuf {
        self.data_dir.clone()
    }

    /// Makes an integration and a connection to it.
    pub(crate) async fn connect(
        &self,
        integration: &str,
        base_url: &str,
        connection: &str,
    ) -> anyhow::Result<()> {
        let put = PutIntegration {
            base_url: Some(base_url.to_owned()),
            auth: json!({"mode": "bearer"}),
            ..PutIntegration::default()
        };
        self.client.send(Request::new(Op::PutIntegration, &[integration]).json(&put)).await?;
        let put = PutConnection {
            connection_id: connection.to_owned(),
            integration: integration.to_owned(),
            credentials: json!({"token": TOKEN}),
            metadata: Value::Null,
            connection_config: std::collections::BTreeMap::new(),
        };
        self.client.send(Request::new(Op::PutConnection, &[]).json(&put)).await?;
        Ok(())
    }

    /// Makes functions live.
    pub(crate) async fn deploy(
        &self,
        functions: Vec<DeployFunction>,
    ) -> anyhow::Result<Deployment> {
        let body = Deploy { functions, dry_run: false, allow_destructive: false, partial: false };
        Ok(self.client.call(Request::new(Op::Deploy, &[]).json(&body)).await?)
    }

    /// Ends everything; nothing is left behind.
    pub(crate) async fn stop(self) -> anyhow::Result<()> {
        self.server.stop().await
    }
}

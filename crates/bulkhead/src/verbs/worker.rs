//! `bulkhead worker`: walls and sandboxes only, for a server elsewhere (`docs/worker-protocol.md`).

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use bulkhead_client::Client;
use bulkhead_config::{Config, User, find_worker_token};
use bulkhead_egress::{Gateway, GatewayLimits, SystemResolver};
use bulkhead_platform::worker_token_id;
use bulkhead_remote::{Remote, RemoteOptions};
use bulkhead_telemetry::LogFormat;
use bulkhead_types::{Clock, Entropy, SystemClock, SystemEntropy, WorkerId};
use bulkhead_worker::{Parts, Runner, SystemMonotonic, Worker, ZygoteConfig};
use tokio::signal::unix::{SignalKind, signal};

use crate::context::Context;
use crate::privileged::{self, Privileged};
use crate::server::{lock_data_dir, own_worker};
use crate::{exit, walls};

/// Runs until SIGINT or SIGTERM, then drains. The privileged start comes first, while there is one thread.
pub(crate) fn run(context: &Context) -> anyhow::Result<u8> {
    let config = &context.config;
    // Read while we may still be root, so that the file need not be the unprivileged user's.
    let token = find_worker_token(config)?;
    let privileged = privileged::begin(config, &privileged::instance_of(&config.data_dir))?;
    let format = if config.log_json { LogFormat::Json } else { LogFormat::Text };
    bulkhead_telemetry::init(&config.log_level, format)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(work(config, token.reveal(), privileged))?;
    Ok(exit::DONE)
}

async fn work(config: &Config, token: &str, privileged: Privileged) -> anyhow::Result<()> {
    if config.user == User::Off {
        tracing::warn!("user = off: the process that speaks to the server keeps root");
    }
    let (mut interrupt, mut terminate) =
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let _lock = lock_data_dir(config)?;
    let (clock, entropy): (Arc<dyn Clock>, Arc<dyn Entropy>) =
        (Arc::new(SystemClock), Arc::new(SystemEntropy));
    let remote = join(config, token, Arc::clone(&clock), Arc::clone(&entropy)).await?;
    let parts = Parts {
        host: Arc::new(remote.clone()),
        walls: walls::of(config, privileged).await?,
        egress: Arc::new(remote.clone()),
        clock,
        monotonic: Arc::new(SystemMonotonic::new()),
        entropy,
    };
    let runner = Runner::new(own_worker::pool(config), ZygoteConfig::default(), parts);
    let worker = Worker::new(own_worker::options(config), Arc::new(remote.clone()), runner);
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let mut running = tokio::spawn(worker.run(async {
        // An error means that nobody is left to say so, which is a stop as well.
        drop(stopped.await);
    }));
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
        ended = &mut running => return ended.context("the worker ended badly"),
    }
    tracing::info!("draining; a second signal ends at once");
    remote.drains();
    drop(stop);
    tokio::select! {
        ended = running => ended.context("the worker ended badly")?,
        _ = interrupt.recv() => return Ok(()),
        _ = terminate.recv() => return Ok(()),
    }
    remote.leave().await;
    tracing::info!("drained");
    Ok(())
}

/// The channel to the server, tried once: a token that is refused is an error at the start, a server that is away is not.
async fn join(
    config: &Config,
    token: &str,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
) -> anyhow::Result<Remote> {
    let server = &config.client.server;
    let Some(token_id) = worker_token_id(token) else {
        bail!("the worker token has not the form bhw_…: `bulkhead workers token` makes one");
    };
    let addresses = addresses(server).await?;
    let here = addresses.iter().all(|address| address.ip().is_loopback());
    if !server.starts_with("https://") && !here && !config.worker_plaintext {
        bail!(
            "{server} is another machine, and not https: the token and everything that functions send would be open \
             to whoever is in between. Use https://, or say --plaintext on a network that is closed otherwise"
        );
    }
    let options = RemoteOptions {
        worker: WorkerId::of_token(token_id, clock.now(), entropy.as_ref())?,
        name: config.worker_name.clone().unwrap_or_else(machine),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        capacity: own_worker::options(config).capacity,
        bundles: config.data_dir.join("bundles"),
        server: addresses,
        addresses: bulkhead_egress::local_addresses()?,
    };
    let worker = options.worker.clone();
    let gateway = Gateway::new(Arc::new(SystemResolver::new()?), GatewayLimits::default());
    let client = Client::new(server, Some(token))?;
    let remote = Remote::new(client, gateway, clock, entropy, options)
        .with_context(|| format!("can't use {}", config.data_dir.display()))?;
    match remote.greet().await {
        Ok(()) => tracing::info!(%worker, url = %server, "joined"),
        Err(error) if error.code().is_some_and(|code| code != "shutting_down") => {
            return Err(error).with_context(|| format!("{server} refuses this worker"));
        }
        Err(error) => tracing::warn!(%error, %worker, "the server is not there yet; trying again"),
    }
    Ok(remote)
}

/// Where the server is: what its name means now.
async fn addresses(server: &str) -> anyhow::Result<Vec<SocketAddr>> {
    let (scheme, rest) = server.split_once("://").context("the server's URL has no scheme")?;
    let authority = rest.split('/').next().unwrap_or(rest);
    let has_port = authority.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    let port = if scheme == "https" { 443 } else { 80 };
    let target = if has_port { authority.to_owned() } else { format!("{authority}:{port}") };
    let found = tokio::net::lookup_host(&target).await;
    Ok(found.with_context(|| format!("{target} can't be resolved"))?.collect())
}

/// The machine's name.
fn machine() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

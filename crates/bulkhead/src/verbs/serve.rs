//! `bulkhead serve`

use bulkhead_config::User;
use bulkhead_telemetry::LogFormat;
use tokio::signal::unix::{SignalKind, signal};

use crate::context::Context;
use crate::privileged::{self, Privileged};
use crate::server::Server;
use crate::{exit, output, walls};

/// Runs until SIGINT or SIGTERM. The privileged start comes first, while there is one thread.
pub(crate) fn run(context: Context) -> anyhow::Result<u8> {
    let config = &context.config;
    let instance = privileged::instance_of(&config.data_dir);
    let privileged = match config.worker_own {
        true => Some(privileged::begin(config, &instance)?),
        // No compartments are built here: nothing needs root.
        false => {
            privileged::drop_root(config)?;
            None
        }
    };
    let format = if config.log_json { LogFormat::Json } else { LogFormat::Text };
    bulkhead_telemetry::init(&config.log_level, format)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(serve(&context, privileged))?;
    Ok(exit::DONE)
}

async fn serve(context: &Context, privileged: Option<Privileged>) -> anyhow::Result<()> {
    let config = &context.config;
    if config.user == User::Off {
        tracing::warn!("user = off: the process that speaks HTTP, SQL and TLS keeps root");
    }
    let (mut interrupt, mut terminate) =
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let walls = match privileged {
        Some(privileged) => Some(walls::of(config, privileged).await?),
        None => None,
    };
    let server = Server::start(config, walls).await?;
    if server.admin_key.created {
        output::say(&format!(
            "The admin key, told this once (kept in {}):\n{}",
            config.data_dir.join("admin.key").display(),
            server.admin_key.secret.reveal()
        ));
    }
    tracing::info!(url = %server.url, data_dir = %config.data_dir.display(), "serving");
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    tracing::info!("stopping; a second signal ends at once");
    tokio::select! {
        stopped = server.stop() => stopped,
        _ = interrupt.recv() => Ok(()),
        _ = terminate.recv() => Ok(()),
    }
}

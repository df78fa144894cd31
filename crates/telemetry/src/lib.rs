//! The server's own log and its metrics.
//!
//! Layout: [`init`] starts the log; [`metrics`] prints numbers in Prometheus' text format.
//!
//! Invariant: nothing of a tenant's goes into the server's log but ids; functions' logs are kept by the platform.

pub mod metrics;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

/// How the log is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
}

/// Why the log could not be started.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// The level can't be read.
    #[error("the log level {0:?} can't be read")]
    Level(String),
    /// There is one already.
    #[error("the log was started twice")]
    Twice,
}

/// Starts the log, on standard error.
///
/// # Errors
/// When the level is none or there is a log already.
pub fn init(level: &str, format: LogFormat) -> Result<(), InitError> {
    let filter = EnvFilter::try_new(level).map_err(|_| InitError::Level(level.to_owned()))?;
    let registry = tracing_subscriber::registry().with(filter);
    let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_target(true);
    match format {
        LogFormat::Text => registry.with(layer.with_ansi(false)).try_init(),
        LogFormat::Json => registry.with(layer.json()).try_init(),
    }
    .map_err(|_| InitError::Twice)
}

//! What can be wrong with settings.

use std::path::PathBuf;

use crate::sources::Origin;

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file can't be read.
    #[error("the settings file {path}, named by {origin}, can't be read")]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Who named it.
        origin: Origin,
        /// Why.
        source: std::io::Error,
    },
    /// The file is larger than a settings file is.
    #[error("the settings file {path} has more than {max} bytes")]
    TooLarge {
        /// Which.
        path: PathBuf,
        /// The limit.
        max: u64,
    },
    /// The file is not TOML.
    #[error("the settings file {path} is not TOML: {message}")]
    NotToml {
        /// Which.
        path: PathBuf,
        /// What the parser says, with line and column.
        message: String,
    },
    /// There is no such setting.
    #[error("there is no setting `{key}`, said by {origin}{hint}")]
    Unknown {
        /// What was said.
        key: String,
        /// Where.
        origin: Origin,
        /// The nearest one.
        hint: String,
    },
    /// The value means nothing.
    #[error("`{key}` can't be {value:?}, said by {origin}: {why}")]
    Invalid {
        /// Which setting.
        key: &'static str,
        /// What was said.
        value: String,
        /// Where.
        origin: Origin,
        /// What is wrong, and what to write.
        why: String,
    },
    /// A worker has nothing to join with.
    #[error(
        "a worker needs a token: --token-file FILE or BULKHEAD_WORKER_TOKEN; `bulkhead workers token` on the server makes one"
    )]
    NoWorkerToken,
    /// A file of ours in the data directory is not as it must be.
    #[error("{path}: {why}")]
    DataDir {
        /// Which file.
        path: PathBuf,
        /// What is wrong, and what to do.
        why: String,
    },
}

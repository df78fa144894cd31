//! Why the platform could not do what a caller asked.

use bulkhead_engine::EngineError;
use bulkhead_store::StoreError;
use bulkhead_types::{Fault, Retry};
use serde_json::Value;

/// Why the platform could not do what a caller asked.
#[derive(Debug, thiserror::Error)]
pub enum PlatformError {
    /// There is no such thing; `code` says what kind, such as `connection_not_found`.
    #[error("{message}")]
    NotFound {
        /// `…_not_found`.
        code: &'static str,
        /// Which one, and where to look.
        message: String,
    },
    /// What was given can't be used.
    #[error("{message}")]
    Invalid {
        /// Stable.
        code: &'static str,
        /// What is wrong, and what to do.
        message: String,
    },
    /// It would undo or overwrite something.
    #[error("{message}")]
    Conflict {
        /// Stable.
        code: &'static str,
        /// What, and what to do.
        message: String,
        /// Details.
        payload: Option<Value>,
    },
    /// A signature or a key is wrong.
    #[error("{message}")]
    Denied {
        /// Stable.
        code: &'static str,
        /// What, and what to do.
        message: String,
    },
    /// An external service did not do its part.
    #[error("{message}")]
    Upstream {
        /// Stable.
        code: &'static str,
        /// What it said, without secrets.
        message: String,
    },
    /// This version of Bulkhead does not do that.
    #[error("{0}")]
    NotSupported(String),
    /// A file of the data directory could not be read or written.
    #[error("cannot use {path}")]
    Io {
        /// Which.
        path: std::path::PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The blob storage failed, or what it has is not what was put there.
    #[error("the blob storage could not do that")]
    Blobs(#[from] bulkhead_blobs::BlobError),
    /// A sealed value does not open: the key file was replaced, or the database was changed by hand.
    #[error("a stored secret can't be decrypted; was the key file in the data directory replaced?")]
    Unsealable,
    /// The store failed.
    #[error("the store failed")]
    Store(#[from] StoreError),
    /// The engine refused.
    #[error(transparent)]
    Engine(#[from] EngineError),
}

impl PlatformError {
    /// The stable code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::NotFound { code, .. }
            | Self::Invalid { code, .. }
            | Self::Conflict { code, .. }
            | Self::Upstream { code, .. }
            | Self::Denied { code, .. } => code,
            Self::NotSupported(_) => "not_supported",
            Self::Io { .. } | Self::Unsealable | Self::Blobs(_) => "internal",
            Self::Store(error) => error.code(),
            Self::Engine(error) => error.code(),
        }
    }

    /// Whose fault it is.
    #[must_use]
    pub fn fault(&self) -> Fault {
        match self {
            Self::Io { .. } | Self::Unsealable | Self::Blobs(_) | Self::Store(_) => Fault::Platform,
            Self::Engine(error) => error.fault(),
            Self::Upstream { .. } => Fault::Upstream,
            _ => Fault::Caller,
        }
    }

    /// Whether to try again.
    #[must_use]
    pub fn retry(&self) -> Retry {
        match self {
            Self::Store(error) => error.retry(),
            Self::Engine(error) => error.retry(),
            _ => Retry::Never,
        }
    }

    /// Details for the caller.
    #[must_use]
    pub fn payload(&self) -> Option<&Value> {
        match self {
            Self::Conflict { payload, .. } => payload.as_ref(),
            _ => None,
        }
    }

    pub(crate) fn not_found(code: &'static str, message: impl Into<String>) -> Self {
        Self::NotFound { code, message: message.into() }
    }

    pub(crate) fn invalid(code: &'static str, message: impl Into<String>) -> Self {
        Self::Invalid { code, message: message.into() }
    }
}

//! Why a request did not give what was asked for.

use bulkhead_api::ErrorDetail;

/// Why a request did not give what was asked for.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The URL of the server can't be used.
    #[error("{0} is no URL of a server")]
    Url(String),
    /// The machine's certificates can't be read.
    #[error("the machine's root certificates can't be read: {0}")]
    Tls(String),
    /// There was no answer.
    #[error("{server} can't be reached: {why}")]
    Unreachable {
        /// Which server.
        server: String,
        /// What the network said.
        why: String,
        /// Whether the request may have arrived all the same: the connection broke after it was made.
        sent: bool,
    },
    /// There was no answer in time.
    #[error("{server} did not answer within {seconds} s")]
    TimedOut {
        /// Which server.
        server: String,
        /// How long it was waited for.
        seconds: u64,
    },
    /// The server said no.
    #[error("{}: {}", detail.code, detail.message)]
    Api {
        /// HTTP status.
        status: u16,
        /// What it said.
        detail: Box<ErrorDetail>,
        /// The execution that it is about.
        execution_id: Option<String>,
    },
    /// The answer is none of Bulkhead's.
    #[error("the answer (status {status}) is not what Bulkhead answers: {why}")]
    Strange {
        /// HTTP status.
        status: u16,
        /// What is strange.
        why: String,
    },
}

impl ClientError {
    /// The stable code, when the server gave one.
    #[must_use]
    pub fn code(&self) -> Option<&str> {
        match self {
            Self::Api { detail, .. } => Some(&detail.code),
            _ => None,
        }
    }
}

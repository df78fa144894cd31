//! Why the store could not do what it was asked.

use std::path::PathBuf;

use bulkhead_types::{Fault, Retry};

/// Why the store could not do what it was asked. Always the platform's fault.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// SQLite said no.
    #[error("the database refused a statement")]
    Sqlite(#[from] rusqlite::Error),
    /// PostgreSQL said no, or the connection broke.
    #[error("the database refused a statement: {}", told(.0))]
    Postgres(#[from] tokio_postgres::Error),
    /// PostgreSQL could not be reached.
    #[error("the database can't be reached; check that it runs and that the database URL is right")]
    Unreachable(#[source] tokio_postgres::Error),
    /// The database URL can't be read. Not shown: it has a password.
    #[error("the database URL can't be read; write postgres://user:password@host:port/database")]
    BadUrl,
    /// The connection broke during a commit.
    #[error(
        "the connection to the database broke during a commit: whether the write was kept is not known"
    )]
    CommitUnknown(#[source] tokio_postgres::Error),
    /// PostgreSQL is too old.
    #[error("the database is PostgreSQL {0}; 15 or later is needed")]
    TooOld(String),
    /// A file beside the database could not be made or opened.
    #[error(
        "cannot open {path}; check that the data directory exists and is writable by this user"
    )]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Another process has the database open.
    #[error(
        "{0} is in use by another bulkhead server; stop that one, or give this one its own data directory"
    )]
    InUse(PathBuf),
    /// A newer Bulkhead wrote this database.
    #[error(
        "the database is at migration {found}, this bulkhead knows up to {known}; run the newer version again"
    )]
    Newer {
        /// What the database is at.
        found: u32,
        /// The newest this program knows.
        known: u32,
    },
    /// A migration failed; nothing of it was kept.
    #[error("migration {number} failed; the database is unchanged")]
    Migration {
        /// Which.
        number: u32,
        /// Why.
        source: Box<StoreError>,
    },
    /// The group this write went with was not committed; nothing of it was kept.
    #[error("the write was not committed: {0}")]
    NotCommitted(String),
    /// The work panicked, or was dropped before its turn; what it wrote was taken back.
    #[error("the database work did not finish; see the log")]
    Panicked,
    /// The database is being closed.
    #[error("the database is closed")]
    Closed,
    /// A large input or output, which stands in blob storage, could not be kept or read.
    #[error("a large input or output could not be kept or read")]
    Blobs {
        /// Whether it may go well another time.
        passes: bool,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A row holds what this version can't read.
    #[error("unreadable row in {table}: {what}")]
    Corrupt {
        /// In which table.
        table: &'static str,
        /// What is wrong with it.
        what: String,
    },
}

impl StoreError {
    /// The stable code.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        "store_unavailable"
    }

    /// Whose fault it is.
    #[must_use]
    pub const fn fault(&self) -> Fault {
        Fault::Platform
    }

    /// Whether to try again.
    #[must_use]
    pub const fn retry(&self) -> Retry {
        match self {
            Self::Sqlite(_)
            | Self::Postgres(_)
            | Self::Unreachable(_)
            | Self::CommitUnknown(_)
            | Self::NotCommitted(_)
            | Self::Blobs { passes: true, .. }
            | Self::Closed => Retry::Policy,
            _ => Retry::Never,
        }
    }
}

impl StoreError {
    /// Whether the database starts, recovers or stops right now: it will answer soon without anybody's help.
    #[must_use]
    pub fn is_restarting(&self) -> bool {
        use tokio_postgres::error::SqlState;
        let error = match self {
            Self::Postgres(error) | Self::Unreachable(error) => error,
            Self::Migration { source, .. } => return source.is_restarting(),
            _ => return false,
        };
        [SqlState::CANNOT_CONNECT_NOW, SqlState::CRASH_SHUTDOWN, SqlState::ADMIN_SHUTDOWN]
            .iter()
            .any(|code| error.code() == Some(code))
    }

    /// Whether a row that was waited for has moved to another partition meanwhile.
    pub(crate) fn is_moved(&self) -> bool {
        matches!(self, Self::Postgres(error)
            if error.code() == Some(&tokio_postgres::error::SqlState::T_R_SERIALIZATION_FAILURE))
    }

    /// The same for another caller of the same group.
    pub(super) fn again(&self) -> Self {
        Self::NotCommitted(self.to_string())
    }
}

/// What PostgreSQL itself said, which the driver's error keeps in its source.
fn told(error: &tokio_postgres::Error) -> String {
    error.as_db_error().map_or_else(
        || error.to_string(),
        |said| format!("{} ({})", said.message(), said.code().code()),
    )
}

/// Reads a value kept as JSON.
pub(crate) fn from_json<T: serde::de::DeserializeOwned>(
    table: &'static str,
    text: &str,
) -> Result<T, StoreError> {
    serde_json::from_str(text)
        .map_err(|error| StoreError::Corrupt { table, what: error.to_string() })
}

/// Keeps a value as JSON.
pub(crate) fn to_json<T: serde::Serialize>(
    table: &'static str,
    value: &T,
) -> Result<String, StoreError> {
    serde_json::to_string(value)
        .map_err(|error| StoreError::Corrupt { table, what: error.to_string() })
}

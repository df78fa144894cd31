//! Opening: the file's mode, the lock beside it, the pragmas.

use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::Connection;
use rusqlite::config::DbConfig;

use super::StoreError;
use super::conn::Conn;

/// When a commit counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Durability {
    /// `synchronous=NORMAL`: survives the crash of any process; a power cut may take the last moments.
    #[default]
    Normal,
    /// `synchronous=FULL`: every commit is on disk before it is answered, so a power cut takes nothing.
    Full,
}

/// How to open a database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DbOptions {
    /// When a commit counts.
    pub durability: Durability,
    /// Connections that read; at least 1.
    pub readers: usize,
    /// How long a statement waits for a lock of another process, such as `sqlite3` or a backup.
    pub busy: Duration,
}

impl Default for DbOptions {
    fn default() -> Self {
        Self { durability: Durability::Normal, readers: 4, busy: Duration::from_secs(5) }
    }
}

/// Statements each connection keeps prepared. Ours are about a hundred; the default of 16 would thrash.
const STATEMENTS_KEPT: usize = 256;

/// Page cache of each connection, in KiB.
const CACHE_KIB: i64 = 16 * 1024;

/// The WAL is brought home at about this many pages of 4 KiB, and cut to [`WAL_BYTES_KEPT`] afterwards. Pages that are
/// written again and again, as those of the queue are, go home once each time.
const CHECKPOINT_PAGES: i64 = 16_000;

const WAL_BYTES_KEPT: i64 = 64 << 20;

/// Takes the lock file beside the database, so that no two servers think they are alone with it: leases of a dead
/// server are taken back at once at start, which is right only if it is dead.
pub(super) fn lock(path: &Path) -> Result<File, StoreError> {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    let name = PathBuf::from(name);
    let file = private(&name)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StoreError::InUse(path.to_owned())),
        Err(TryLockError::Error(source)) => Err(StoreError::Io { path: name, source }),
    }
}

/// Opens or makes a file that only this user may read; SQLite gives its WAL the same mode.
fn private(path: &Path) -> Result<File, StoreError> {
    let failed = |source| StoreError::Io { path: path.to_owned(), source };
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600);
    let file = options.open(path).map_err(failed)?;
    file.set_permissions(std::fs::Permissions::from_mode(0o600)).map_err(failed)?;
    Ok(file)
}

pub(super) fn writer(path: &Path, options: DbOptions) -> Result<Conn, StoreError> {
    drop(private(path)?);
    let connection = common(path, options)?;
    let synchronous = match options.durability {
        Durability::Normal => "NORMAL",
        Durability::Full => "FULL",
    };
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", synchronous)?;
    connection.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES)?;
    connection.pragma_update(None, "journal_size_limit", WAL_BYTES_KEPT)?;
    Ok(Conn::sqlite(connection))
}

pub(super) fn reader(path: &Path, options: DbOptions) -> Result<Conn, StoreError> {
    let connection = common(path, options)?;
    connection.pragma_update(None, "query_only", true)?;
    Ok(Conn::sqlite(connection))
}

fn common(path: &Path, options: DbOptions) -> Result<Connection, StoreError> {
    let connection = Connection::open(path)?;
    connection.busy_timeout(options.busy)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_KEPT);
    // A statement keeps its plan whatever values are bound to it, and is not prepared again for each of them.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.pragma_update(None, "cache_size", -CACHE_KIB)?;
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    Ok(connection)
}

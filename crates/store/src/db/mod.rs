//! The database: SQLite in WAL mode, one writer thread, a few readers.
//!
//! SQLite has one writer at a time whatever we do, so all writes go to one thread, which takes what has piled up
//! and commits it together: under load the price of a commit is shared by the whole group. Each closure runs in a
//! savepoint of its own, so that one that fails takes back its own writes and nobody else's. A caller hears of
//! success only after the group's commit. The hot path goes without savepoints: see [`Db::write_whole`].
//!
//! The rejected way: a pool of connections that each `BEGIN IMMEDIATE`. It pays a commit per write, and under load
//! the waiting happens in SQLite's busy handler, which sleeps and is not fair.

mod error;
mod migrate;
mod open;
mod reader;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rusqlite::{Connection, Transaction};

pub use error::StoreError;
pub(crate) use error::{from_json, to_json};
pub use open::{DbOptions, Durability};

use reader::Readers;
use writer::{Undo, Writer};

/// An open database. Cheap to clone; the last clone to go waits for the writer to finish what it was given.
#[derive(Debug, Clone)]
pub struct Db {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    // Dropped in this order: the writer ends first, then the readers, then the lock is given back.
    writer: Writer,
    readers: Readers,
    _lock: std::fs::File,
}

impl Db {
    /// Opens the database at `path` with [`DbOptions::default`]: makes it (mode 0600) where there is none, takes
    /// the lock beside it, and applies the migrations it lacks.
    ///
    /// # Errors
    /// When the file can't be opened, another process has it, or it was written by a newer Bulkhead.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        Self::open_with(path, DbOptions::default())
    }

    /// As [`Self::open`], with options.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_with(path: &Path, options: DbOptions) -> Result<Self, StoreError> {
        let lock = open::lock(path)?;
        let mut connection = open::writer(path, options)?;
        migrate::migrate(&mut connection)?;
        let readers = Readers::open(path, options)?;
        let writer = Writer::start(connection)?;
        Ok(Self { inner: Arc::new(Inner { path: path.to_owned(), writer, readers, _lock: lock }) })
    }

    /// Runs `work` in the writer, in a savepoint, and returns its result once the group it went with is
    /// committed. An error from `work` takes back what it wrote. `work` must be short: all writers wait for it.
    ///
    /// Use `prepare_cached` in it: the writer keeps its statements.
    ///
    /// # Errors
    /// Those of `work`, and [`StoreError`] when the group could not be committed; then nothing of it was kept.
    pub async fn write<T, E, F>(&self, work: F) -> Result<T, E>
    where
        F: FnOnce(&Transaction<'_>) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        self.inner.writer.write(Undo::Savepoint, work).await
    }

    /// As [`Self::write`], for the hot path: without a savepoint. `work` promises to refuse before it has written
    /// anything; should it fail halfway all the same, nothing of the group that it went with is kept.
    ///
    /// # Errors
    /// As [`Self::write`].
    pub(crate) async fn write_whole<T, E, F>(&self, work: F) -> Result<T, E>
    where
        F: FnOnce(&Transaction<'_>) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        self.inner.writer.write(Undo::Group, work).await
    }

    /// Runs `work` on a reader: a consistent view of what is committed, which never waits for the writer.
    ///
    /// # Errors
    /// Those of `work`, and [`StoreError`] when the reader is gone.
    pub async fn read<T, E, F>(&self, work: F) -> Result<T, E>
    where
        F: FnOnce(&Connection) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        self.inner.readers.read(work).await
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.inner.path
    }
}

#[cfg(test)]
mod tests;

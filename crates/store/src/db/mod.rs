//! The database: SQLite in a file of this machine, or PostgreSQL that several servers share.
//!
//! Layout, in reading order:
//! - [`Db`]: what the rest of the crate stands on: `write` and `read`, which take closures over a [`Conn`].
//! - `conn.rs`, `value.rs`: one connection and its values, the same for both databases.
//! - `writer.rs`: the writer thread, which commits what has piled up together.
//! - `open.rs`, `reader.rs`: SQLite's files and readers. `postgres/`: sessions and their pools.
//! - `migrate.rs`: the schema.
//!
//! **SQLite** has one writer at a time whatever we do, so all writes go to one thread, which takes what has piled up
//! and commits it together: under load the price of a commit is shared by the whole group. Each closure runs in a
//! savepoint of its own, so that one that fails takes back its own writes and nobody else's. A caller hears of
//! success only after the group's commit. The hot path goes without savepoints: see [`Db::write_whole`].
//!
//! **PostgreSQL** has many. The hot path keeps its one writer thread per server, whose groups take turns over an
//! advisory lock; everything else is a transaction of its own in a pooled session, and locks the row that it stands
//! on before it reads what it changes: the execution that a fenced write belongs to ([`crate::fence`]), the stream of
//! records. Those two orders meet in one place, the execution's row, which both lock first.
//!
//! The rejected way: a pool of connections that each `BEGIN IMMEDIATE`. It pays a commit per write, and under load
//! the waiting happens in SQLite's busy handler, which sleeps and is not fair.

mod conn;
mod error;
mod migrate;
mod open;
mod postgres;
mod reader;
mod value;
mod writer;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};

pub(crate) use conn::Ask;
pub use conn::{Conn, Dialect, Row};
pub use error::StoreError;
pub(crate) use error::{from_json, to_json};
pub use open::{DbOptions, Durability};
pub use value::{Column, Params, Value};
pub(crate) use value::{named_params, params};

use crate::hot::group::Need;
use crate::hot::news::News;
use postgres::{Access, Address, Listener, Pool, Session};
use reader::Readers;
use writer::{Undo, Writer};

/// Sessions for writes off the hot path, per server.
const POSTGRES_WRITERS: usize = 6;

/// An open database. Cheap to clone; the last clone to go waits for the writer to finish what it was given.
#[derive(Debug, Clone)]
pub struct Db {
    inner: Arc<Inner>,
}

// Fields are dropped in this order: the writer ends first, then the readers, then the lock is given back.
#[derive(Debug)]
struct Inner {
    writer: Writer,
    others: Others,
}

/// Connections beside the writer's.
#[derive(Debug)]
enum Others {
    Sqlite { readers: Readers, _lock: std::fs::File },
    Postgres(Box<Pools>),
}

#[derive(Debug)]
struct Pools {
    readers: Pool,
    writers: Pool,
    listener: Listener,
}

impl Db {
    /// Opens the SQLite database at `path` with [`DbOptions::default`]: makes it (mode 0600) where there is none,
    /// takes the lock beside it, and applies the migrations it lacks.
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
        let connection = open::writer(path, options)?;
        migrate::migrate(&connection)?;
        let readers = Readers::open(path, options)?;
        let mut connection = Some(connection);
        let writer = Writer::start(Box::new(move || connection.take().ok_or(StoreError::Closed)))?;
        let others = Others::Sqlite { readers, _lock: lock };
        Ok(Self { inner: Arc::new(Inner { writer, others }) })
    }

    /// Opens the PostgreSQL database at `url`, `postgres://user:password@host:port/database`, and applies the
    /// migrations it lacks. It takes `options.readers` sessions to read and seven to write; when a commit counts is
    /// the database's own setting.
    ///
    /// # Errors
    /// When it can't be reached, is older than 15, or was written by a newer Bulkhead.
    pub async fn connect(url: &str, options: DbOptions) -> Result<Self, StoreError> {
        let address = Address::parse(url)?;
        let own = Arc::new(AtomicI32::new(0));
        let (to, own2) = (address.clone(), Arc::clone(&own));
        let connect = move || Self::connect_to(to, own2);
        let writer =
            tokio::task::spawn_blocking(connect).await.map_err(|_| StoreError::Panicked)??;
        let others = Others::Postgres(Box::new(Pools {
            readers: Pool::new(address.clone(), Access::Read, options.readers),
            writers: Pool::new(address.clone(), Access::Write, POSTGRES_WRITERS),
            listener: Listener::start(address, own),
        }));
        Ok(Self { inner: Arc::new(Inner { writer, others }) })
    }

    fn connect_to(address: Address, own: Arc<AtomicI32>) -> Result<Writer, StoreError> {
        let first = Conn::postgres(Session::connect(&address)?);
        postgres::check_version(&first)?;
        migrate::migrate(&first)?;
        drop(first);
        Writer::start(Box::new(move || {
            let session = Session::connect(&address)?;
            session.make_hot()?;
            own.store(session.backend(), Ordering::SeqCst);
            Ok(Conn::postgres(session))
        }))
    }

    /// Looks at the PostgreSQL database at `url` and changes nothing: its version, and the newest migration it has.
    ///
    /// # Errors
    /// When it can't be reached or is older than 15.
    pub async fn look_at(url: &str) -> Result<(String, u32), StoreError> {
        let address = Address::parse(url)?;
        let look = move || {
            let conn = Conn::postgres(Session::connect(&address)?);
            postgres::check_version(&conn)?;
            Ok((postgres::version(&conn)?, migrate::found(&conn)?))
        };
        tokio::task::spawn_blocking(look).await.map_err(|_| StoreError::Panicked)?
    }

    /// Waits for what other servers brought about. On SQLite there are none.
    pub(crate) async fn news(&self) -> Vec<News> {
        match &self.inner.others {
            Others::Sqlite { .. } => std::future::pending().await,
            Others::Postgres(pools) => pools.listener.next().await,
        }
    }

    /// Runs `work` in a transaction, and returns its result once that is committed. An error from `work` takes back
    /// what it wrote. `work` must be short: other writers wait for it.
    ///
    /// # Errors
    /// Those of `work`, and [`StoreError`] when it could not be committed; then nothing of it was kept, but for
    /// [`StoreError::CommitUnknown`].
    pub async fn write<T, E, F>(&self, work: F) -> Result<T, E>
    where
        F: FnOnce(&Conn) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        match &self.inner.others {
            Others::Sqlite { .. } => {
                self.inner.writer.write(Undo::Savepoint, Need::Unknown, work).await
            }
            Others::Postgres(pools) => pools.writers.run(work).await,
        }
    }

    /// As [`Self::write`], for the hot path: in the writer's group, without a savepoint. `work` promises to refuse
    /// before it has written anything; should it fail halfway all the same, nothing of the group that it went with
    /// is kept.
    ///
    /// # Errors
    /// As [`Self::write`].
    pub(crate) async fn write_whole<T, E, F>(&self, need: Need, work: F) -> Result<T, E>
    where
        F: FnOnce(&Conn) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        self.inner.writer.write(Undo::Group, need, work).await
    }

    /// Runs `work` on a reader, which never waits for a writer. Each statement has a view of what is committed.
    ///
    /// # Errors
    /// Those of `work`, and [`StoreError`] when the reader is gone.
    pub async fn read<T, E, F>(&self, work: F) -> Result<T, E>
    where
        F: FnOnce(&Conn) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        match &self.inner.others {
            Others::Sqlite { readers, .. } => readers.read(work).await,
            Others::Postgres(pools) => pools.readers.run(work).await,
        }
    }

    /// Which database it is.
    #[must_use]
    pub fn dialect(&self) -> Dialect {
        match self.inner.others {
            Others::Sqlite { .. } => Dialect::Sqlite,
            Others::Postgres(_) => Dialect::Postgres,
        }
    }
}

#[cfg(test)]
mod postgres_tests;
#[cfg(test)]
mod tests;

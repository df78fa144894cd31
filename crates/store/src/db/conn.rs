//! One connection, to either database: run a statement, read what it finds.
//!
//! Statements are written once, in what SQLite and PostgreSQL share: `INSERT … ON CONFLICT (…) DO UPDATE`,
//! `RETURNING`, partial indexes. Where they differ ([`Conn::dialect`]) the statement says so next to itself.

use std::ops::ControlFlow;

use rusqlite::Connection as Sqlite;
use tokio_postgres::types::ToSql;

use super::postgres::Session;
use super::{Column, Params, StoreError, Value};
use crate::hot::group::{GroupRows, Need};
use crate::hot::news::News;
use crate::hot::rows::Rows;
use crate::hot::sqlite::SqliteRows;

/// Which database it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// SQLite, in a file of this machine.
    Sqlite,
    /// PostgreSQL 15 or later, shared by many servers.
    Postgres,
}

/// Groups of the hot path, of all servers, take turns: each sees all that the one before it kept, as if there were
/// one writer. The number is ours alone ("bulk" in ASCII); the lock goes with the transaction.
const HOT_TURN: &str = "SELECT pg_advisory_xact_lock(1651862635, 1)";

/// A connection inside [`super::Db::read`] or [`super::Db::write`].
#[derive(Debug)]
pub struct Conn {
    pub(super) inner: Inner,
}

#[derive(Debug)]
pub(super) enum Inner {
    Sqlite(Sqlite),
    Postgres(Box<Session>),
}

/// A row that a statement found.
pub struct Row<'a> {
    inner: RowInner<'a>,
}

enum RowInner<'a> {
    Sqlite(&'a rusqlite::Row<'a>),
    Postgres(&'a tokio_postgres::Row),
}

impl<'a> Row<'a> {
    /// One that PostgreSQL found.
    pub(crate) const fn of_postgres(row: &'a tokio_postgres::Row) -> Self {
        Self { inner: RowInner::Postgres(row) }
    }
}

/// A statement of PostgreSQL's, sent together with others. Its values may be arrays.
pub(crate) struct Ask<'a> {
    sql: &'a str,
    values: Vec<&'a (dyn ToSql + Sync)>,
}

impl<'a> Ask<'a> {
    pub(crate) const fn new(sql: &'a str, values: Vec<&'a (dyn ToSql + Sync)>) -> Self {
        Self { sql, values }
    }
}

impl Row<'_> {
    /// The column at `place`, from 0.
    ///
    /// # Errors
    /// When it is of another type than ours, or there is none.
    pub fn get<T: Column>(&self, place: usize) -> Result<T, StoreError> {
        T::read(self.value(place)?).map_err(|what| StoreError::Corrupt {
            table: "a row",
            what: format!("column {place}: {what}"),
        })
    }

    /// The column at `place`, as it is.
    pub(crate) fn value(&self, place: usize) -> Result<Value<'_>, StoreError> {
        match self.inner {
            RowInner::Sqlite(row) => Value::of_sqlite(row.get_ref(place)?),
            RowInner::Postgres(row) => Ok(row.try_get(place)?),
        }
    }
}

impl Conn {
    pub(super) const fn sqlite(connection: Sqlite) -> Self {
        Self { inner: Inner::Sqlite(connection) }
    }

    pub(super) fn postgres(session: Session) -> Self {
        Self { inner: Inner::Postgres(Box::new(session)) }
    }

    /// Which database this is.
    #[must_use]
    pub const fn dialect(&self) -> Dialect {
        match self.inner {
            Inner::Sqlite(_) => Dialect::Sqlite,
            Inner::Postgres(_) => Dialect::Postgres,
        }
    }

    /// `suffix`, which locks rows, in a transaction of PostgreSQL; nothing on SQLite, where one writer needs no
    /// row locks, and nothing for a reader, who may take none.
    pub(crate) fn locking(&self, suffix: &'static str) -> &'static str {
        match &self.inner {
            Inner::Postgres(session) if session.in_transaction() => suffix,
            Inner::Postgres(_) | Inner::Sqlite(_) => "",
        }
    }

    /// Runs a statement; says how many rows it changed.
    pub(crate) fn execute(&self, sql: &str, params: Params<'_>) -> Result<usize, StoreError> {
        match &self.inner {
            Inner::Sqlite(connection) => {
                let mut statement = connection.prepare_cached(sql)?;
                bind(&mut statement, params)?;
                Ok(statement.raw_execute()?)
            }
            Inner::Postgres(session) => session.execute(sql, params),
        }
    }

    /// The first row that a statement finds.
    pub(crate) fn one<T>(
        &self,
        sql: &str,
        params: Params<'_>,
        mut read: impl FnMut(&Row<'_>) -> Result<T, StoreError>,
    ) -> Result<Option<T>, StoreError> {
        match &self.inner {
            Inner::Sqlite(connection) => {
                let mut statement = connection.prepare_cached(sql)?;
                bind(&mut statement, params)?;
                let mut rows = statement.raw_query();
                let found = rows.next()?.map(|row| read(&Row { inner: RowInner::Sqlite(row) }));
                found.transpose()
            }
            Inner::Postgres(session) => {
                let rows = session.query(sql, params)?;
                rows.first().map(|row| read(&Row { inner: RowInner::Postgres(row) })).transpose()
            }
        }
    }

    /// The row that is there for certain.
    pub(crate) fn only<T>(
        &self,
        sql: &str,
        params: Params<'_>,
        read: impl FnMut(&Row<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let missing =
            || StoreError::Corrupt { table: "the database", what: format!("no row: {sql}") };
        self.one(sql, params, read)?.ok_or_else(missing)
    }

    /// All rows that a statement finds.
    pub(crate) fn all<T>(
        &self,
        sql: &str,
        params: Params<'_>,
        mut read: impl FnMut(&Row<'_>) -> Result<T, StoreError>,
    ) -> Result<Vec<T>, StoreError> {
        let mut found = Vec::new();
        self.each(sql, params, |row| {
            found.push(read(row)?);
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(found)
    }

    /// Shows the rows that a statement finds to `see`, until that has seen enough.
    pub(crate) fn each(
        &self,
        sql: &str,
        params: Params<'_>,
        mut see: impl FnMut(&Row<'_>) -> Result<ControlFlow<()>, StoreError>,
    ) -> Result<(), StoreError> {
        match &self.inner {
            Inner::Sqlite(connection) => {
                let mut statement = connection.prepare_cached(sql)?;
                bind(&mut statement, params)?;
                let mut rows = statement.raw_query();
                while let Some(row) = rows.next()? {
                    if see(&Row { inner: RowInner::Sqlite(row) })?.is_break() {
                        break;
                    }
                }
            }
            Inner::Postgres(session) => {
                for row in &session.query(sql, params)? {
                    if see(&Row { inner: RowInner::Postgres(row) })?.is_break() {
                        break;
                    }
                }
            }
        }
        Ok(())
    }

    /// Tells the other servers, if there can be any, once the transaction is committed.
    pub(crate) fn tell(&self, news: &News) {
        if let Inner::Postgres(session) = &self.inner {
            session.tell(news.to_line());
        }
    }

    /// Sends several statements together and waits for all answers. PostgreSQL runs them one after the other.
    pub(crate) fn ask_all(
        &self,
        asks: &[Ask<'_>],
    ) -> Result<Vec<Vec<tokio_postgres::Row>>, StoreError> {
        match &self.inner {
            Inner::Sqlite(_) => {
                Err(StoreError::NotCommitted("SQLite takes one at a time".to_owned()))
            }
            Inner::Postgres(session) => {
                session.query_all(asks.iter().map(|ask| (ask.sql, ask.values.as_slice())))
            }
        }
    }

    /// Something was changed on the desk that is to be put away.
    pub(crate) fn note_change(&self) {
        if let Inner::Postgres(session) = &self.inner {
            session.note_change();
        }
    }

    /// Fetches what the steps of a group will look at.
    pub(super) fn load_desk(&self, needs: &[Need]) -> Result<(), StoreError> {
        match &self.inner {
            Inner::Sqlite(_) => Ok(()),
            Inner::Postgres(session) => session.desk().load(self, needs),
        }
    }

    /// Puts away what the steps of a group changed.
    pub(super) fn flush_desk(&self) -> Result<(), StoreError> {
        match &self.inner {
            Inner::Sqlite(_) => Ok(()),
            Inner::Postgres(session) => session.desk().flush(self),
        }
    }

    /// Runs a step of the hot path over rows: on PostgreSQL, over the group's desk.
    pub(crate) fn step<T>(&self, step: impl FnOnce(&mut dyn Rows) -> T) -> T {
        match &self.inner {
            Inner::Sqlite(_) => step(&mut SqliteRows::new(self)),
            Inner::Postgres(session) => step(&mut GroupRows::new(&mut session.desk(), self)),
        }
    }

    /// Begins a transaction that writes. On PostgreSQL it waits for its turn among the servers' hot paths if it is
    /// one of those ([`HOT_TURN`]).
    pub(super) fn begin(&self, hot: bool) -> Result<(), StoreError> {
        match &self.inner {
            Inner::Sqlite(connection) => {
                connection.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
                Ok(())
            }
            Inner::Postgres(session) => session.begin(if hot { HOT_TURN } else { "" }),
        }
    }

    pub(super) fn commit(&self) -> Result<(), StoreError> {
        match &self.inner {
            Inner::Sqlite(connection) => {
                connection.prepare_cached("COMMIT")?.execute([])?;
                Ok(())
            }
            Inner::Postgres(session) => session.commit(),
        }
    }

    pub(super) fn rollback(&self) -> Result<(), StoreError> {
        match &self.inner {
            // A full disk or a failing one may have ended the transaction behind our back.
            Inner::Sqlite(connection) if connection.is_autocommit() => Ok(()),
            Inner::Sqlite(connection) => Ok(connection.execute_batch("ROLLBACK")?),
            Inner::Postgres(session) => session.rollback(),
        }
    }

    /// Whether nothing of the transaction can be kept any more, whatever comes.
    pub(super) fn is_broken(&self) -> bool {
        match &self.inner {
            Inner::Sqlite(connection) => connection.is_autocommit(),
            Inner::Postgres(session) => session.has_failed(),
        }
    }

    /// Grows with every change.
    pub(super) fn changes(&self) -> u64 {
        match &self.inner {
            Inner::Sqlite(connection) => connection.total_changes(),
            Inner::Postgres(session) => session.changes(),
        }
    }

    /// Whether it takes a new connection to go on.
    pub(super) fn is_gone(&self) -> bool {
        match &self.inner {
            Inner::Sqlite(_) => false,
            Inner::Postgres(session) => session.is_gone(),
        }
    }

    /// Runs several statements without values.
    pub(crate) fn batch(&self, sql: &str) -> Result<(), StoreError> {
        match &self.inner {
            Inner::Sqlite(connection) => Ok(connection.execute_batch(sql)?),
            Inner::Postgres(session) => session.batch(sql),
        }
    }
}

fn bind(
    statement: &mut rusqlite::CachedStatement<'_>,
    params: Params<'_>,
) -> Result<(), StoreError> {
    match params {
        Params::Placed(values) => {
            for (place, value) in (1..).zip(values) {
                statement.raw_bind_parameter(place, value)?;
            }
        }
        Params::Named(values) => {
            for (name, value) in values {
                let place = statement.parameter_index(name)?;
                let unknown = || rusqlite::Error::InvalidParameterName((*name).to_owned());
                statement.raw_bind_parameter(place.ok_or_else(unknown)?, value)?;
            }
        }
    }
    Ok(())
}

//! One connection to PostgreSQL, used from one thread at a time.
//!
//! The driver is asynchronous; what stands on it here is not: a transaction is a closure that reads, decides and
//! writes (`hot/flow`). So each session has a runtime of its own that turns only while somebody waits for an answer.
//! A session lives on threads that may block, never on those of the server's runtime.

use std::cell::{Cell, RefCell, RefMut};
use std::collections::{BTreeSet, HashMap};
use std::future::Future;
use std::time::Duration;

use futures_util::future::try_join_all;
use tokio::runtime::Runtime;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, NoTls, Row, Statement};

use super::super::{Params, StoreError, Value};
use crate::hot::group::Desk;

/// Statements kept prepared in each session. Ours are about two hundred.
const STATEMENTS_KEPT: usize = 512;

/// How long a connection may take to come about.
const CONNECT_TIME: Duration = Duration::from_secs(5);

/// What every session is told first. A server that stops in the middle of a transaction must not hold its locks
/// for ever, and none of ours takes this long.
const SETTINGS: &str = "SET application_name = 'bulkhead'; SET statement_timeout = '60s'; SET lock_timeout = '20s'; \
                        SET idle_in_transaction_session_timeout = '30s'; SET default_transaction_isolation = \
                        'read committed'; SET client_min_messages = warning; SET jit = off";

/// What the hot path's session is told besides. Its statements look rows up by index, over arrays and tables whose
/// sizes change by the minute: a plan that reads a whole table because it was small a moment ago is never the one.
const HOT_SETTINGS: &str = "SET enable_seqscan = off; SET enable_hashjoin = off; SET enable_mergejoin = off; \
                            SET plan_cache_mode = force_generic_plan";

/// Where the database is, read from its URL.
#[derive(Clone)]
pub(crate) struct Address {
    config: tokio_postgres::Config,
}

impl std::fmt::Debug for Address {
    // Without the password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Address")
            .field("hosts", &self.config.get_hosts())
            .field("database", &self.config.get_dbname())
            .finish_non_exhaustive()
    }
}

impl Address {
    /// Reads `postgres://user:password@host:port/database`.
    pub(crate) fn parse(url: &str) -> Result<Self, StoreError> {
        let mut config: tokio_postgres::Config = url.parse().map_err(|_| StoreError::BadUrl)?;
        config.connect_timeout(CONNECT_TIME).keepalives_idle(Duration::from_secs(30));
        Ok(Self { config })
    }

    pub(super) const fn config(&self) -> &tokio_postgres::Config {
        &self.config
    }
}

/// Where servers tell each other what they brought about.
pub(super) const CHANNEL: &str = "bulkhead";

/// PostgreSQL takes 8,000 bytes at a time.
const NOTIFY_BYTES_MAX: usize = 7_500;

/// One connection.
pub(crate) struct Session {
    /// Taken when the session is dropped.
    runtime: Option<Runtime>,
    client: Client,
    statements: RefCell<HashMap<String, Statement>>,
    /// A statement failed: PostgreSQL takes no more of this transaction, and answers its commit with a rollback.
    failed: Cell<bool>,
    in_transaction: Cell<bool>,
    /// Statements sent that may have changed something.
    changes: Cell<u64>,
    /// What a group of the hot path has fetched and changed.
    desk: RefCell<Desk>,
    /// What the transaction brings about, as lines.
    news: RefCell<BTreeSet<String>>,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("closed", &self.client.is_closed()).finish_non_exhaustive()
    }
}

impl Session {
    pub(crate) fn connect(address: &Address) -> Result<Self, StoreError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(
            |source| StoreError::Io { path: "a runtime for the database".into(), source },
        )?;
        let (client, connection) =
            runtime.block_on(address.config.connect(NoTls)).map_err(StoreError::Unreachable)?;
        #[allow(
            clippy::disallowed_methods,
            reason = "it ends with the session, whose runtime it is on"
        )]
        drop(runtime.spawn(async move {
            if let Err(error) = connection.await {
                tracing::warn!(%error, "a connection to the database ended");
            }
        }));
        let session = Self {
            runtime: Some(runtime),
            client,
            statements: RefCell::default(),
            failed: Cell::new(false),
            in_transaction: Cell::new(false),
            changes: Cell::new(0),
            desk: RefCell::default(),
            news: RefCell::default(),
        };
        session.batch(SETTINGS)?;
        Ok(session)
    }

    /// Settles it for the hot path.
    pub(crate) fn make_hot(&self) -> Result<(), StoreError> {
        self.batch(HOT_SETTINGS)
    }

    /// The process that serves it, by which others are told apart from us.
    pub(crate) fn backend(&self) -> i32 {
        let asked = self.query("SELECT pg_backend_pid()", Params::Placed(&[]));
        asked.ok().and_then(|rows| rows.first()?.try_get(0).ok()).unwrap_or_default()
    }

    fn wait<T>(
        &self,
        answer: impl Future<Output = Result<T, tokio_postgres::Error>>,
    ) -> Result<T, StoreError> {
        let Some(runtime) = &self.runtime else { return Err(StoreError::Closed) };
        runtime.block_on(answer).map_err(|error| {
            self.failed.set(true);
            error.into()
        })
    }

    fn prepared(&self, sql: &str, params: Params<'_>) -> Result<Statement, StoreError> {
        if let Some(statement) = self.statements.borrow().get(sql) {
            return Ok(statement.clone());
        }
        let statement = self.wait(self.client.prepare(&super::statement(sql, params)))?;
        let mut statements = self.statements.borrow_mut();
        if statements.len() >= STATEMENTS_KEPT {
            statements.clear();
        }
        statements.insert(sql.to_owned(), statement.clone());
        Ok(statement)
    }

    pub(crate) fn execute(&self, sql: &str, params: Params<'_>) -> Result<usize, StoreError> {
        let statement = self.prepared(sql, params)?;
        self.changes.set(self.changes.get() + 1);
        let changed = self.wait(self.client.execute_raw(&statement, values(params)))?;
        Ok(usize::try_from(changed).unwrap_or(usize::MAX))
    }

    pub(crate) fn query(&self, sql: &str, params: Params<'_>) -> Result<Vec<Row>, StoreError> {
        let statement = self.prepared(sql, params)?;
        let values = values(params);
        let values: Vec<_> = values
            .iter()
            .map(|value| value as &(dyn tokio_postgres::types::ToSql + Sync))
            .collect();
        self.wait(self.client.query(&statement, &values))
    }

    /// Sends all statements, then waits for all answers.
    pub(crate) fn query_all<'q>(
        &self,
        asks: impl Iterator<Item = (&'q str, &'q [&'q (dyn ToSql + Sync)])>,
    ) -> Result<Vec<Vec<Row>>, StoreError> {
        let mut prepared = Vec::new();
        for (sql, values) in asks {
            prepared.push((self.prepared(sql, Params::Placed(&[]))?, values));
        }
        // Each is sent when its future is first polled, which is in this order.
        let answers =
            prepared.iter().map(|(statement, values)| self.client.query(statement, values));
        self.wait(try_join_all(answers))
    }

    pub(crate) fn desk(&self) -> RefMut<'_, Desk> {
        self.desk.borrow_mut()
    }

    pub(crate) fn note_change(&self) {
        self.changes.set(self.changes.get() + 1);
    }

    pub(crate) fn batch(&self, sql: &str) -> Result<(), StoreError> {
        self.wait(self.client.batch_execute(sql))
    }

    /// Begins a transaction; `more` is run in the same round trip.
    pub(crate) fn begin(&self, more: &str) -> Result<(), StoreError> {
        self.failed.set(false);
        self.news.borrow_mut().clear();
        self.desk.replace(Desk::default());
        self.batch(&format!("BEGIN; {more}"))?;
        self.in_transaction.set(true);
        Ok(())
    }

    /// Keeps the transaction. An error of the connection leaves open whether it was kept.
    pub(crate) fn commit(&self) -> Result<(), StoreError> {
        if self.failed.get() {
            return Err(StoreError::NotCommitted("a statement failed".to_owned()));
        }
        self.in_transaction.set(false);
        self.batch(&format!("{}COMMIT", self.notifications())).map_err(|error| match error {
            StoreError::Postgres(source) if source.as_db_error().is_none() => {
                StoreError::CommitUnknown(source)
            }
            refused => refused,
        })
    }

    /// Tells other servers, with the commit.
    pub(crate) fn tell(&self, line: String) {
        self.news.borrow_mut().insert(line);
    }

    fn notifications(&self) -> String {
        let lines = std::mem::take(&mut *self.news.borrow_mut());
        let mut payloads: Vec<String> = Vec::new();
        for line in lines {
            match payloads.last_mut() {
                Some(last) if last.len() + line.len() < NOTIFY_BYTES_MAX => {
                    last.push('\n');
                    last.push_str(&line);
                }
                _ => payloads.push(line),
            }
        }
        let notify = |payload: &String| {
            format!("SELECT pg_notify('{CHANNEL}', '{}'); ", payload.replace('\'', "''"))
        };
        payloads.iter().map(notify).collect()
    }

    pub(crate) fn rollback(&self) -> Result<(), StoreError> {
        self.in_transaction.set(false);
        self.batch("ROLLBACK")?;
        self.failed.set(false);
        Ok(())
    }

    pub(crate) const fn has_failed(&self) -> bool {
        self.failed.get()
    }

    pub(crate) const fn in_transaction(&self) -> bool {
        self.in_transaction.get()
    }

    pub(crate) const fn changes(&self) -> u64 {
        self.changes.get()
    }

    /// Whether the connection is gone, asked of the database itself.
    pub(crate) fn is_gone(&self) -> bool {
        self.client.is_closed() || self.batch("").is_err()
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

fn values(params: Params<'_>) -> Vec<Value<'_>> {
    match params {
        Params::Placed(values) => values.to_vec(),
        Params::Named(values) => values.iter().map(|(_, value)| *value).collect(),
    }
}

//! A few sessions, lent out one piece of work at a time.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;

use super::super::conn::{Conn, Inner};
use super::{Address, Session};
use crate::db::StoreError;

/// A session that rested this long is asked whether it is still there before it is lent.
const RESTED: Duration = Duration::from_secs(1);

/// What the work may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// Statements on their own, each with a view of what is committed.
    Read,
    /// One transaction.
    Write,
}

#[derive(Debug)]
pub(crate) struct Pool {
    address: Address,
    access: Access,
    free: Arc<Mutex<Vec<(Conn, Instant)>>>,
    permits: Arc<Semaphore>,
}

impl Pool {
    pub(crate) fn new(address: Address, access: Access, size: usize) -> Self {
        let free = Arc::new(Mutex::new(Vec::new()));
        Self { address, access, free, permits: Arc::new(Semaphore::new(size.max(1))) }
    }

    /// Runs `work` in a session of its own.
    pub(crate) async fn run<T, E, F>(&self, work: F) -> Result<T, E>
    where
        F: FnOnce(&Conn) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        let Ok(permit) = Arc::clone(&self.permits).acquire_owned().await else {
            return Err(StoreError::Closed.into());
        };
        let (free, address, access) = (Arc::clone(&self.free), self.address.clone(), self.access);
        // Session and permit go along with the work: a caller that stops waiting does not lose them. A session
        // whose work panicked is not lent again.
        let done = tokio::task::spawn_blocking(move || {
            let conn = match take(&free) {
                Some(conn) => conn,
                None => open(&address, access)?,
            };
            let result = match access {
                Access::Read => work(&conn),
                Access::Write => in_transaction(&conn, work),
            };
            if let Inner::Postgres(session) = &conn.inner
                && !session.has_failed()
            {
                free.lock().unwrap_or_else(PoisonError::into_inner).push((conn, now()));
            }
            drop(permit);
            result
        });
        done.await.unwrap_or_else(|error| {
            let lost = if error.is_panic() { StoreError::Panicked } else { StoreError::Closed };
            Err(lost.into())
        })
    }
}

#[allow(
    clippy::disallowed_methods,
    reason = "how long a connection rested decides nothing but a round trip"
)]
fn now() -> Instant {
    Instant::now()
}

fn take(free: &Mutex<Vec<(Conn, Instant)>>) -> Option<Conn> {
    loop {
        let (conn, since) = free.lock().unwrap_or_else(PoisonError::into_inner).pop()?;
        let Inner::Postgres(session) = &conn.inner else { continue };
        if now().duration_since(since) < RESTED || !session.is_gone() {
            return Some(conn);
        }
    }
}

fn open(address: &Address, access: Access) -> Result<Conn, StoreError> {
    let session = Session::connect(address)?;
    if access == Access::Read {
        session.batch("SET default_transaction_read_only = on")?;
    }
    Ok(Conn::postgres(session))
}

fn in_transaction<T, E: From<StoreError>>(
    conn: &Conn,
    work: impl FnOnce(&Conn) -> Result<T, E>,
) -> Result<T, E> {
    conn.begin(false)?;
    let result = work(conn);
    match &result {
        Ok(_) => conn.commit()?,
        // A session that can't roll back is not lent again, and the database rolls back for it.
        Err(_) => drop(conn.rollback()),
    }
    result
}

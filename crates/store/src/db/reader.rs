//! Readers: a few connections, lent out one piece of work at a time.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Semaphore;

use super::conn::Conn;
use super::{DbOptions, StoreError, open};

#[derive(Debug)]
pub(super) struct Readers {
    free: Arc<Mutex<Vec<Conn>>>,
    permits: Arc<Semaphore>,
}

impl Readers {
    pub(super) fn open(path: &Path, options: DbOptions) -> Result<Self, StoreError> {
        let count = options.readers.max(1);
        let free =
            (0..count).map(|_| open::reader(path, options)).collect::<Result<Vec<_>, _>>()?;
        Ok(Self { free: Arc::new(Mutex::new(free)), permits: Arc::new(Semaphore::new(count)) })
    }

    pub(super) async fn read<T, E, F>(&self, work: F) -> Result<T, E>
    where
        F: FnOnce(&Conn) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        let Ok(permit) = Arc::clone(&self.permits).acquire_owned().await else {
            return Err(StoreError::Closed.into());
        };
        let free = Arc::clone(&self.free);
        // Conn and permit go along with the work: a caller that stops waiting does not lose them.
        let done = tokio::task::spawn_blocking(move || {
            let lent = Lent { connection: take(&free), free };
            let result = match &lent.connection {
                Some(connection) => work(connection),
                None => Err(StoreError::Closed.into()),
            };
            drop(lent);
            drop(permit);
            result
        });
        done.await.unwrap_or_else(|error| {
            let lost = if error.is_panic() { StoreError::Panicked } else { StoreError::Closed };
            Err(lost.into())
        })
    }
}

fn take(free: &Mutex<Vec<Conn>>) -> Option<Conn> {
    free.lock().unwrap_or_else(PoisonError::into_inner).pop()
}

/// Gives the connection back however the work ends.
struct Lent {
    connection: Option<Conn>,
    free: Arc<Mutex<Vec<Conn>>>,
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take() {
            self.free.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
        }
    }
}

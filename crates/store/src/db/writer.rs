//! The writer: one thread that takes what has piled up and commits it as one transaction.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread::JoinHandle;

use rusqlite::{Connection, Transaction, TransactionBehavior};
use tokio::sync::{mpsc, oneshot};

use super::StoreError;

/// Writes that wait for the writer; more wait at the door, in order.
const QUEUE_LENGTH: usize = 4_096;

/// Writes in one commit. At some 20 µs each this bounds what the first of a group waits for the last.
const GROUP_SIZE_MAX: usize = 256;

/// What a job leaves behind: told how the group's commit went, it answers its caller.
type Finish = Box<dyn FnOnce(Result<(), StoreError>) + Send>;

/// Runs in the transaction, or hears why there is none.
type Run = dyn FnOnce(Result<&Transaction<'_>, StoreError>) -> Ran + Send;

struct Job {
    undo: Undo,
    run: Box<Run>,
}

/// How the writes of work that fails are taken back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Undo {
    /// By a savepoint of its own. It costs a copy of every page that the work changes first.
    Savepoint,
    /// Not at all: the work refuses before it has written anything. Should it fail halfway all the same, which only
    /// a failing database can make it do, its whole group is taken back.
    Group,
}

struct Ran {
    keep: bool,
    finish: Finish,
}

#[derive(Debug)]
pub(super) struct Writer {
    jobs: Option<mpsc::Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    pub(super) fn start(connection: Connection) -> Result<Self, StoreError> {
        let (jobs, queue) = mpsc::channel(QUEUE_LENGTH);
        let thread = std::thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || run(connection, queue))
            .map_err(|source| StoreError::Io {
                path: "the store's writer thread".into(),
                source,
            })?;
        Ok(Self { jobs: Some(jobs), thread: Some(thread) })
    }

    pub(super) async fn write<T, E, F>(&self, undo: Undo, work: F) -> Result<T, E>
    where
        F: FnOnce(&Transaction<'_>) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        let (answer, answered) = oneshot::channel();
        let run = Box::new(move |tx: Result<&Transaction<'_>, StoreError>| {
            let result = match tx {
                Ok(tx) => work(tx),
                Err(error) => Err(error.into()),
            };
            let keep = result.is_ok();
            let finish: Finish = Box::new(move |committed| {
                // A refusal stands whether or not others were committed.
                let result = match (result, committed) {
                    (Ok(_), Err(error)) => Err(error.into()),
                    (result, _) => result,
                };
                drop(answer.send(result));
            });
            Ran { keep, finish }
        });
        let Some(jobs) = &self.jobs else { return Err(StoreError::Closed.into()) };
        if jobs.send(Job { undo, run }).await.is_err() {
            return Err(StoreError::Closed.into());
        }
        // Without an answer the job was dropped: it panicked, or the writer ended before its turn.
        answered.await.unwrap_or_else(|_| Err(StoreError::Panicked.into()))
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        drop(self.jobs.take());
        let Some(thread) = self.thread.take() else { return };
        // Work may own the last handle on the database; the writer can't wait for itself.
        if thread.thread().id() != std::thread::current().id() && thread.join().is_err() {
            tracing::error!("the store's writer thread panicked");
        }
    }
}

fn run(mut connection: Connection, mut queue: mpsc::Receiver<Job>) {
    let mut group = VecDeque::with_capacity(GROUP_SIZE_MAX);
    loop {
        if group.is_empty() {
            let Some(first) = queue.blocking_recv() else { return };
            group.push_back(first);
        }
        while group.len() < GROUP_SIZE_MAX {
            let Ok(job) = queue.try_recv() else { break };
            group.push_back(job);
        }
        commit_group(&mut connection, &mut group);
    }
}

/// Runs a group and commits it. Callers are answered only after that. What is left in `group` is for the next one.
fn commit_group(connection: &mut Connection, group: &mut VecDeque<Job>) {
    let mut finishes = Vec::with_capacity(group.len());
    let done = match connection.transaction_with_behavior(TransactionBehavior::Immediate) {
        Ok(tx) => run_group(&tx, group, &mut finishes).and_then(|()| Ok(tx.commit()?)),
        Err(error) => {
            tracing::error!(%error, "cannot begin a write transaction");
            for job in group.drain(..) {
                let why = StoreError::NotCommitted(error.to_string());
                ((job.run)(Err(why)).finish)(Ok(()));
            }
            return;
        }
    };
    let failed = done.err().map(|error| {
        tracing::error!(%error, "a group of {} writes was not committed", finishes.len());
        error.to_string()
    });
    for finish in finishes {
        finish(failed.clone().map_or(Ok(()), |why| Err(StoreError::NotCommitted(why))));
    }
}

fn run_group(
    tx: &Transaction<'_>,
    group: &mut VecDeque<Job>,
    finishes: &mut Vec<Finish>,
) -> Result<(), StoreError> {
    while let Some(Job { undo, run }) = group.pop_front() {
        if undo == Undo::Savepoint {
            tx.prepare_cached("SAVEPOINT one")?.execute([])?;
        }
        let changes = tx.total_changes();
        let ran = catch_unwind(AssertUnwindSafe(|| run(Ok(tx))));
        let keep = ran.as_ref().is_ok_and(|ran| ran.keep);
        if let Ok(ran) = ran {
            finishes.push(ran.finish);
        }
        // A full disk or a failing one ends the whole transaction behind our back: then nothing was kept.
        if tx.is_autocommit() {
            return Err(StoreError::NotCommitted("SQLite rolled the transaction back".to_owned()));
        }
        match undo {
            Undo::Savepoint => {
                if !keep {
                    tx.prepare_cached("ROLLBACK TO one")?.execute([])?;
                }
                tx.prepare_cached("RELEASE one")?.execute([])?;
            }
            Undo::Group if !keep && tx.total_changes() != changes => {
                return Err(StoreError::NotCommitted("a write failed halfway".to_owned()));
            }
            Undo::Group => {}
        }
    }
    Ok(())
}

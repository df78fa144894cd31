//! The writer: one thread that takes what has piled up and commits it as one transaction.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use super::conn::Conn;
use super::{StoreError, params};
use crate::hot::group::Need;

/// Writes that wait for the writer; more wait at the door, in order.
const QUEUE_LENGTH: usize = 4_096;

/// Writes in one commit. At some 20 µs each this bounds what the first of a group waits for the last.
const GROUP_SIZE_MAX: usize = 256;

/// How long a group waits for a database that can't be reached, before its callers hear of it.
const PATIENCE: Duration = Duration::from_secs(10);

/// The first pause between two tries to reach it; each is twice the one before.
const PAUSE_MIN: Duration = Duration::from_millis(50);

/// The longest pause between two tries.
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// What a job leaves behind: told how the group's commit went, it answers its caller.
type Finish = Box<dyn FnOnce(Result<(), StoreError>) + Send>;

/// Runs in the transaction, or hears why there is none.
type Run = dyn FnOnce(Result<&Conn, StoreError>) -> Ran + Send;

struct Job {
    undo: Undo,
    need: Need,
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
    pub(super) fn start(mut open: Box<Open>) -> Result<Self, StoreError> {
        let conn = open()?;
        let (jobs, queue) = mpsc::channel(QUEUE_LENGTH);
        let thread = std::thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || run(conn, open, queue))
            .map_err(|source| StoreError::Io {
                path: "the store's writer thread".into(),
                source,
            })?;
        Ok(Self { jobs: Some(jobs), thread: Some(thread) })
    }

    pub(super) async fn write<T, E, F>(&self, undo: Undo, need: Need, work: F) -> Result<T, E>
    where
        F: FnOnce(&Conn) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        let (answer, answered) = oneshot::channel();
        let run = Box::new(move |tx: Result<&Conn, StoreError>| {
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
        if jobs.send(Job { undo, need, run }).await.is_err() {
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

/// Makes the writer's connection, at first and again when it broke.
pub(super) type Open = dyn FnMut() -> Result<Conn, StoreError> + Send;

fn run(mut conn: Conn, mut open: Box<Open>, mut queue: mpsc::Receiver<Job>) {
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
        let needs: Vec<_> = group.iter_mut().map(|job| std::mem::take(&mut job.need)).collect();
        let begun = begin(&mut conn, open.as_mut()).and_then(|()| conn.load_desk(&needs));
        commit_group(&conn, begun, &mut group);
    }
}

/// Begins a transaction, over a new connection if the old one broke: a restart of the database costs the group that
/// was under way and a wait for the next.
fn begin(conn: &mut Conn, open: &mut Open) -> Result<(), StoreError> {
    let Err(error) = conn.begin(true) else { return Ok(()) };
    if !conn.is_gone() {
        return Err(error);
    }
    let mut pause = PAUSE_MIN;
    let mut waited = Duration::ZERO;
    loop {
        match open() {
            Ok(new) => {
                tracing::info!("connected to the database again");
                *conn = new;
                return conn.begin(true);
            }
            Err(error) if waited >= PATIENCE => return Err(error),
            Err(error) => tracing::warn!(%error, "no connection to the database; trying again"),
        }
        std::thread::sleep(pause);
        waited += pause;
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

/// Runs a group and commits it. Callers are answered only after that. What is left in `group` is for the next one.
fn commit_group(conn: &Conn, begun: Result<(), StoreError>, group: &mut VecDeque<Job>) {
    if let Err(error) = begun {
        tracing::error!(%error, "cannot begin a write transaction");
        give_up(conn);
        for job in group.drain(..) {
            ((job.run)(Err(error.again())).finish)(Ok(()));
        }
        return;
    }
    let mut finishes = Vec::with_capacity(group.len());
    let done = run_group(conn, group, &mut finishes)
        .and_then(|()| conn.flush_desk())
        .and_then(|()| conn.commit());
    if let Err(error) = &done {
        tracing::error!(%error, "a group of {} writes was not committed", finishes.len());
        give_up(conn);
    }
    for finish in finishes {
        finish(done.as_ref().map_err(StoreError::again).copied());
    }
}

/// Takes back what the transaction wrote, if there is one.
fn give_up(conn: &Conn) {
    if let Err(error) = conn.rollback() {
        tracing::warn!(%error, "a transaction could not be rolled back");
    }
}

fn run_group(
    conn: &Conn,
    group: &mut VecDeque<Job>,
    finishes: &mut Vec<Finish>,
) -> Result<(), StoreError> {
    while let Some(Job { undo, run, .. }) = group.pop_front() {
        if undo == Undo::Savepoint {
            conn.execute("SAVEPOINT one", params![])?;
        }
        let changes = conn.changes();
        let ran = catch_unwind(AssertUnwindSafe(|| run(Ok(conn))));
        let keep = ran.as_ref().is_ok_and(|ran| ran.keep);
        if let Ok(ran) = ran {
            finishes.push(ran.finish);
        }
        if conn.is_broken() {
            return Err(StoreError::NotCommitted(
                "the database gave the transaction up".to_owned(),
            ));
        }
        match undo {
            Undo::Savepoint => {
                if !keep {
                    conn.execute("ROLLBACK TO one", params![])?;
                }
                conn.execute("RELEASE one", params![])?;
            }
            Undo::Group if !keep && conn.changes() != changes => {
                return Err(StoreError::NotCommitted("a write failed halfway".to_owned()));
            }
            Undo::Group => {}
        }
    }
    Ok(())
}

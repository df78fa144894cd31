//! What all actors of a run share: the store that survives everything, the servers, the checkers, the trace.

use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bulkhead_store::hot::mem::MemStore;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::canary::Canary;
use crate::check::{Ledger, Violation};
use crate::server::Server;
use crate::swarm::{CALM, Faults, Swarm};
use crate::trace::Trace;

/// What all share.
pub(crate) struct World {
    pub(crate) swarm: Swarm,
    pub(crate) canary: Option<Canary>,
    /// What survives every death.
    pub(crate) store: MemStore,
    pub(crate) servers: Vec<Arc<Server>>,
    pub(crate) start: Instant,
    calm: AtomicBool,
    book: Mutex<Book>,
    /// A promise was broken.
    broken: Notify,
}

pub(crate) struct Book {
    pub(crate) ledger: Ledger,
    pub(crate) trace: Trace,
    /// The first promise that was broken.
    pub(crate) violation: Option<Violation>,
}

impl World {
    pub(crate) fn new(swarm: Swarm, canary: Option<Canary>, trace: Trace) -> Arc<Self> {
        let start = Instant::now();
        let servers = (0..swarm.servers).map(|name| Arc::new(Server::new(name, start))).collect();
        Arc::new(Self {
            swarm,
            canary,
            store: MemStore::new(),
            servers,
            start,
            calm: AtomicBool::new(false),
            book: Mutex::new(Book { ledger: Ledger::default(), trace, violation: None }),
            broken: Notify::new(),
        })
    }

    /// How often what goes wrong, now.
    pub(crate) fn faults(&self) -> &Faults {
        if self.calm.load(Ordering::Relaxed) { &CALM } else { &self.swarm.faults }
    }

    /// From here on nothing goes wrong any more, and no clock is behind what it, or another, ever said.
    pub(crate) fn becalm(&self) {
        self.calm.store(true, Ordering::Relaxed);
        if let Some(latest) = self.servers.iter().map(|server| server.clock.latest()).max() {
            self.servers.iter().for_each(|server| server.clock.set(latest));
        }
        self.tell("the storm is over");
    }

    pub(crate) fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn tell(&self, what: &str) {
        let at = self.start.elapsed();
        self.book().trace.tell(at, what);
    }

    /// Shows the checkers what happened. After the first promise that was broken, the run is over.
    pub(crate) fn check(&self, look: impl FnOnce(&mut Book) -> Result<(), Violation>) {
        let mut book = self.book();
        if let Err(violation) = look(&mut book) {
            book.trace.tell(self.start.elapsed(), &format!("BROKEN {violation}"));
            book.violation.get_or_insert(violation);
            self.broken.notify_one();
        }
    }

    /// Returns once something is broken.
    pub(crate) async fn broken(&self) {
        self.broken.notified().await;
    }

    /// Something that goes on by itself, whatever becomes of who began it: a message that is under way.
    pub(crate) fn spawn(self: &Arc<Self>, what: impl Future<Output = ()> + Send + 'static) {
        let (world, task) = (Arc::clone(self), tokio::spawn(what));
        tokio::spawn(async move {
            if task.await.is_err_and(|error| error.is_panic()) {
                world.check(|_| Err(Violation::new("panics", "a task panicked; see above".into())));
            }
        });
    }

    /// Waits until `settled` says so, looking once a second of virtual time; `false` after `patience`.
    pub(crate) async fn until(
        &self,
        patience: Duration,
        mut settled: impl FnMut() -> bool,
    ) -> bool {
        let deadline = Instant::now() + patience;
        while !settled() {
            if Instant::now() >= deadline {
                return false;
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        true
    }
}

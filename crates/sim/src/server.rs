//! A server that lives, dies at any store call, and comes back over the same store.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bulkhead_engine::{Engine, EngineOptions};
use bulkhead_types::{Clock, WorkerId};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::actor::functions::Deployed;
use crate::actor::worker;
use crate::network::Link;
use crate::store::SimStore;
use crate::swarm::{BACK_MS_MAX, FORWARD_MS_MAX};
use crate::time::{Dice, SimClock};
use crate::world::World;

/// How long a dead server stays away at most, milliseconds: longer than leases and most deadlines live.
const AWAY_MS_MAX: u64 = 30_000;

/// How often a clock may be set.
const CLOCK_LOOK: Duration = Duration::from_secs(20);

/// How long executions are kept once they are final: some are forgotten while the storm lasts.
pub(crate) const RETENTION: Duration = Duration::from_secs(5 * 60);

/// A machine that a server runs on.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) name: usize,
    pub(crate) clock: Arc<SimClock>,
    life: Mutex<Option<Arc<Life>>>,
    /// Its own worker's name, in a file that survives it.
    worker: Mutex<Option<WorkerId>>,
}

/// One life of a server, from start to death.
#[derive(Debug)]
pub(crate) struct Life {
    pub(crate) engine: Engine,
    pub(crate) store: Arc<SimStore>,
    pub(crate) gate: Arc<Gate>,
    pub(crate) clock: Arc<SimClock>,
}

/// Whether a life is over. Nothing of a life that is over reaches the store any more.
#[derive(Debug)]
pub(crate) struct Gate {
    pub(crate) server: usize,
    pub(crate) dice: Dice,
    over: AtomicBool,
    died: Notify,
}

impl Gate {
    pub(crate) fn new(server: usize, dice: Dice) -> Self {
        Self { server, dice, over: AtomicBool::new(false), died: Notify::new() }
    }

    /// Ends the life: in the middle of whatever it does.
    pub(crate) fn kill(&self) {
        self.over.store(true, Ordering::Relaxed);
        self.died.notify_waiters();
    }

    pub(crate) fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    /// Returns when the life is over.
    pub(crate) async fn over(&self) {
        let died = self.died.notified();
        tokio::pin!(died);
        died.as_mut().enable();
        if !self.is_over() {
            died.await;
        }
    }
}

impl Server {
    pub(crate) fn new(name: usize, start: Instant) -> Self {
        Self {
            name,
            clock: Arc::new(SimClock::new(start)),
            life: Mutex::default(),
            worker: Mutex::default(),
        }
    }

    /// The life that answers calls now, if there is one.
    pub(crate) fn life(&self) -> Option<Arc<Life>> {
        self.life.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The run is over.
    pub(crate) fn forget_life(&self) {
        self.set_life(None);
    }

    fn set_life(&self, life: Option<Arc<Life>>) {
        *self.life.lock().unwrap_or_else(PoisonError::into_inner) = life;
    }

    /// Lives, dies, and starts again, for ever.
    pub(crate) async fn run(self: Arc<Self>, world: Arc<World>, dice: Dice) {
        loop {
            let life = self.begin(&world, &dice);
            world.tell(&format!("s{} starts", self.name));
            tokio::select! {
                biased;
                () = life.gate.over() => {}
                () = self.serve(&world, &life, &dice) => {}
                () = self.set_clock(&world, &dice) => {}
            }
            self.set_life(None);
            world.tell(&format!("s{} is dead", self.name));
            tokio::time::sleep(dice.span(10, AWAY_MS_MAX)).await;
        }
    }

    fn begin(&self, world: &Arc<World>, dice: &Dice) -> Arc<Life> {
        let gate = Arc::new(Gate::new(self.name, dice.fork()));
        let store = Arc::new(SimStore::new(Arc::clone(world), Arc::clone(&gate)));
        let options = EngineOptions {
            lease_wait: world.swarm.lease_wait,
            retention: RETENTION,
            ..EngineOptions::default()
        };
        let clock: Arc<dyn Clock> = Arc::<SimClock>::clone(&self.clock);
        let engine =
            Engine::new(Arc::<SimStore>::clone(&store), clock, Arc::new(dice.fork()), options);
        Arc::new(Life { engine, store, gate, clock: Arc::clone(&self.clock) })
    }

    /// As `bulkhead serve` does: takes back what its own worker held before it died, then answers and works.
    async fn serve(&self, world: &Arc<World>, life: &Arc<Life>, dice: &Dice) {
        let id = WorkerId::generate(self.clock.now(), dice);
        if world.swarm.own_workers {
            self.take_back(life).await;
            *self.lock_worker() = Some(id.clone());
        }
        self.set_life(Some(Arc::clone(life)));
        let background = life.engine.run_background(Arc::new(Deployed), std::future::pending());
        if world.swarm.own_workers {
            let link = Link::within(world, self.name, dice.fork());
            tokio::select! {
                biased;
                // They are one process.
                () = worker::live(world, link, id, dice.fork()) => life.gate.kill(),
                () = background => {}
            }
        } else {
            background.await;
        }
    }

    async fn take_back(&self, life: &Life) {
        let dead = self.lock_worker().clone();
        if let Some(dead) = dead {
            while life.engine.recover(&dead).await.is_err() {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    }

    fn lock_worker(&self) -> MutexGuard<'_, Option<WorkerId>> {
        self.worker.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn set_clock(&self, world: &Arc<World>, dice: &Dice) {
        loop {
            tokio::time::sleep(CLOCK_LOOK).await;
            let forward = dice.below(2) == 0;
            let by = dice.span(10, if forward { FORWARD_MS_MAX } else { BACK_MS_MAX });
            if dice.strikes(world.faults().clock_jump) {
                let by_ms = i64::try_from(by.as_millis()).unwrap_or(0);
                self.clock.jump(if forward { by_ms } else { -by_ms });
                let way = if forward { "forward" } else { "back" };
                world.tell(&format!("s{} clock set {way} by {by:?}", self.name));
            }
        }
    }
}

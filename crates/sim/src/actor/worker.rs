//! A worker: takes leases, runs what they name, renews, settles. It does as `bulkhead-worker` does, and now and then
//! it dies, or stands still for longer than its leases live; or it is told to end, drains and takes its leave.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bulkhead_engine::{EngineError, RecallReason, Settled, Settlement};
use bulkhead_sched::lease::LEASE;
use bulkhead_store::StoreError;
use bulkhead_types::{
    ExecutionId, Fence, Lease, LeaseRef, Outcome, Room, Timestamp, Units, Usage, WorkerId,
};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::functions::Script;
use crate::check::Violation;
use crate::network::{Link, NoAnswer};
use crate::server::Gate;
use crate::swarm::STILL_MS_MAX;
use crate::time::Dice;
use crate::world::World;

/// Tries to hand in one outcome; as the worker's.
const SETTLE_TRIES_MAX: u32 = 8;

/// How long a worker that is told to end waits for what it runs; the binary's default.
const DRAIN: Duration = Duration::from_secs(30);

/// How long after that for what it has stopped.
const STOPPED_WAIT: Duration = Duration::from_secs(5);

/// How long a dead worker stays away at most, milliseconds.
const AWAY_MS_MAX: u64 = 20_000;

/// How late the second copy of an outcome is at most, milliseconds: its lease may be long over, and given again.
const COPY_LATE_MS_MAX: u64 = 60_000;

/// Runs a worker of its own machine, and another in its place whenever one dies.
pub(crate) async fn run(world: Arc<World>, link: Link, dice: Dice) {
    loop {
        let id = WorkerId::generate(Timestamp::default(), &dice);
        live(&world, link.again(), id, dice.fork()).await;
        tokio::time::sleep(dice.span(10, AWAY_MS_MAX)).await;
    }
}

/// Runs a worker until it dies, or has ended.
pub(crate) async fn live(world: &Arc<World>, link: Link, id: WorkerId, dice: Dice) {
    let gate = Arc::new(Gate::new(0, dice.fork()));
    let worker = Arc::new(Worker {
        gate: Arc::clone(&gate),
        link,
        dice,
        id,
        held: Mutex::default(),
        total: world.swarm.units,
        taken: watch::Sender::default(),
        drains: watch::Sender::default(),
        still_until: Mutex::new(Instant::now()),
        world: Arc::clone(world),
    });
    tokio::select! {
        biased;
        () = gate.over() => {}
        () = worker.work() => {}
    }
    world.tell(&format!("{} is gone", worker.short()));
}

pub(super) struct Worker {
    world: Arc<World>,
    pub(super) link: Link,
    pub(super) dice: Dice,
    gate: Arc<Gate>,
    id: WorkerId,
    held: Mutex<BTreeMap<(ExecutionId, Fence), Held>>,
    total: Units,
    taken: watch::Sender<Units>,
    /// It was told to end.
    drains: watch::Sender<bool>,
    still_until: Mutex<Instant>,
}

struct Held {
    stop: watch::Sender<Option<RecallReason>>,
    /// By when it is renewed, or over.
    until: Instant,
}

impl Worker {
    fn short(&self) -> &str {
        let id = self.id.as_str();
        &id[id.len() - 4..]
    }

    fn held(&self) -> MutexGuard<'_, BTreeMap<(ExecutionId, Fence), Held>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn work(self: &Arc<Self>) {
        let (mut attempts, mut drains) = (JoinSet::new(), self.drains.subscribe());
        tokio::select! {
            biased;
            // Leases that were on their way are its own, and it never hears of them.
            _ = drains.wait_for(|drains| *drains) => {}
            () = self.take_leases(&mut attempts) => {}
            () = self.keep_leases() => {}
        }
        tokio::select! {
            biased;
            () = self.drain(&mut attempts) => {}
            () = self.keep_leases() => {}
        }
        attempts.abort_all();
        if self.link.is_far() {
            let id = self.id.clone();
            let leave =
                |life: Arc<crate::server::Life>| async move { life.engine.recover(&id).await };
            // A farewell that does not arrive costs the wait for the leases to run out.
            drop(self.link.ask(leave).await);
        }
    }

    async fn keep_leases(&self) {
        tokio::join!(self.renew(), self.pass_recalls());
    }

    /// Waits for what runs; stops what takes too long.
    async fn drain(&self, attempts: &mut JoinSet<()>) {
        self.world.tell(&format!("{} drains", self.short()));
        if tokio::time::timeout(DRAIN, self.all_ended(attempts)).await.is_ok() {
            return;
        }
        for held in self.held().values() {
            held.stop.send_replace(Some(RecallReason::Cancelled));
        }
        drop(tokio::time::timeout(STOPPED_WAIT, self.all_ended(attempts)).await);
    }

    async fn all_ended(&self, attempts: &mut JoinSet<()>) {
        while let Some(ended) = attempts.join_next().await {
            self.note_panic(ended.is_err());
        }
    }

    /// Whether syncs are to come to their end at a checkpoint.
    pub(super) fn winds_down(&self) -> bool {
        *self.drains.borrow()
    }

    /// Nothing happens in a worker while it stands still.
    async fn awake(&self) {
        loop {
            let until = *self.still_until.lock().unwrap_or_else(PoisonError::into_inner);
            if until <= Instant::now() {
                return;
            }
            tokio::time::sleep_until(until).await;
        }
    }

    /// Some of an attempt's time goes by, with what may happen in it.
    pub(super) async fn step(&self, time: Duration) {
        tokio::time::sleep(time).await;
        let faults = self.world.faults();
        if self.dice.strikes(faults.worker_death) {
            self.gate.kill();
            std::future::pending::<()>().await;
        }
        if self.dice.strikes(faults.worker_drain) {
            self.drains.send_replace(true);
        }
        let still = self.dice.span(1_000, STILL_MS_MAX);
        if self.dice.strikes(faults.worker_still) {
            self.world.tell(&format!("{} stands still for {still:?}", self.short()));
            let until = Instant::now() + still;
            *self.still_until.lock().unwrap_or_else(PoisonError::into_inner) = until;
        }
        self.awake().await;
    }

    async fn take_leases(self: &Arc<Self>, attempts: &mut JoinSet<()>) {
        loop {
            while let Some(ended) = attempts.try_join_next() {
                self.note_panic(ended.is_err());
            }
            let room = self.room(|room| room.free.cpu > 0).await;
            let id = self.id.clone();
            let asked =
                |life: Arc<crate::server::Life>| async move { life.engine.lease(&id, room).await };
            let answer = tokio::select! {
                biased;
                answer = self.link.ask(asked) => answer,
                // What did not fit may fit now. Over a network an answer would be given up with the question.
                _ = self.room(|now| has_grown(room, now)), if !self.link.is_far() => continue,
            };
            self.awake().await;
            match answer {
                Ok(Ok(leases)) => {
                    leases.into_iter().for_each(|lease| self.begin(lease, attempts));
                }
                Ok(Err(error)) => {
                    self.note_panic(matches!(error, EngineError::Store(StoreError::Closed)));
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
                Err(NoAnswer) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    }

    fn room_beside(&self, taken: Units) -> Room {
        Room {
            free: self.total.minus(taken),
            total: self.total,
            headroom: self.world.swarm.headroom,
        }
    }

    /// Waits until there is enough room; returns what there is.
    async fn room(&self, enough: impl Fn(Room) -> bool) -> Room {
        let mut taken = self.taken.subscribe();
        loop {
            let room = self.room_beside(*taken.borrow_and_update());
            if enough(room) {
                return room;
            }
            if taken.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// The engine runs some of its work in tasks of its own, and says so when one of them panicked.
    fn note_panic(&self, panicked: bool) {
        if panicked {
            self.world
                .check(|_| Err(Violation::new("panics", "a task panicked; see above".into())));
        }
    }

    fn begin(self: &Arc<Self>, lease: Lease, attempts: &mut JoinSet<()>) {
        let units = self.room_beside(Units::default()).taken_by(lease.limits.units());
        self.taken.send_modify(|taken| *taken = taken.plus(units));
        let (stop, stopped) = watch::channel(None);
        let name = (lease.lease.execution.clone(), lease.lease.fence);
        let held = Held { stop, until: Instant::now() + LEASE };
        self.held().insert(name.clone(), held);
        let worker = Arc::clone(self);
        attempts.spawn(async move {
            let begun = Instant::now();
            let outcome = tokio::select! {
                biased;
                reason = stop_of(stopped) => match reason {
                    RecallReason::Cancelled => Some(Outcome::Cancelled),
                    RecallReason::Lost => None,
                },
                outcome = worker.perform(&lease, begun) => Some(outcome),
            };
            if let Some(outcome) = outcome {
                let settled = Settled { usage: worker.usage(begun), ..Settled::new(outcome) };
                worker.settle(&lease.lease, settled).await;
            }
            worker.held().remove(&name);
            worker.taken.send_modify(|taken| *taken = taken.minus(units));
        });
    }

    async fn perform(&self, lease: &Lease, begun: Instant) -> Outcome {
        let script = Script::of(&lease.input);
        let Some(script) = script else { return super::functions::at_the_cap() };
        if script.pages > 0 {
            return self.sync(lease, &script, begun).await;
        }
        self.step(Duration::from_millis(script.ms)).await;
        script.outcome(lease.attempt)
    }

    fn usage(&self, begun: Instant) -> Usage {
        let wall_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        Usage { wall_ms, cpu_us: self.dice.between(1, 1_000_000), ..Usage::default() }
    }

    async fn settle(&self, lease: &LeaseRef, settled: Settled) {
        let late = self.dice.span(1, COPY_LATE_MS_MAX);
        if self.dice.strikes(self.world.faults().outcome_twice) {
            let (link, lease, settled) = (self.link.again(), lease.clone(), settled.clone());
            let copy = async move {
                tokio::time::sleep(late).await;
                let answer = hand_in(&link, &lease, settled).await;
                drop(answer);
            };
            self.world.spawn(copy);
        }
        let mut wait = Duration::from_millis(50);
        for _ in 0..SETTLE_TRIES_MAX {
            self.awake().await;
            if let Ok(Ok(_)) = hand_in(&self.link, lease, settled.clone()).await {
                return;
            }
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(Duration::from_secs(5));
        }
    }

    /// Renews what is held, three times in a lease's life; stops what could not be renewed in it.
    async fn renew(&self) {
        loop {
            tokio::time::sleep(LEASE / 3).await;
            self.awake().await;
            let named: Vec<LeaseRef> = self
                .held()
                .keys()
                .map(|(execution, fence)| LeaseRef { execution: execution.clone(), fence: *fence })
                .collect();
            if named.is_empty() {
                continue;
            }
            let (asked, id, leases) = (Instant::now(), self.id.clone(), named.clone());
            let renew = |life: Arc<crate::server::Life>| async move {
                life.engine.renew(&id, &leases).await
            };
            let answer = self.link.ask(renew).await;
            self.awake().await;
            if let Ok(Ok(recalls)) = answer {
                for lease in &named {
                    let name = (lease.execution.clone(), lease.fence);
                    if let Some(held) = self.held().get_mut(&name) {
                        held.until = asked + LEASE;
                    }
                }
                recalls.into_iter().for_each(|recall| self.stop(&recall.lease, recall.reason));
            }
            let now = Instant::now();
            for held in self.held().values().filter(|held| held.until <= now) {
                held.stop.send_replace(Some(RecallReason::Lost));
            }
        }
    }

    async fn pass_recalls(&self) {
        loop {
            let id = self.id.clone();
            let next = |life: Arc<crate::server::Life>| async move {
                // Asked again now and then, since the server may be another by then.
                tokio::time::timeout(Duration::from_secs(20), life.engine.recalls(&id)).await
            };
            let answer = self.link.ask(next).await;
            self.awake().await;
            match answer {
                Ok(Ok(recall)) => self.stop(&recall.lease, recall.reason),
                Ok(Err(_)) => {}
                Err(NoAnswer) => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
    }

    fn stop(&self, lease: &LeaseRef, reason: RecallReason) {
        if let Some(held) = self.held().get(&(lease.execution.clone(), lease.fence)) {
            held.stop.send_replace(Some(reason));
        }
    }
}

/// Whether there is so much more room that what did not fit before may fit now; as `bulkhead-worker` has it.
fn has_grown(before: Room, now: Room) -> bool {
    let larger = now.free == now.total || now.free.covers(before.free.plus(before.free));
    let open = before.is_for_the_idle() && !now.is_for_the_idle();
    now.free != before.free && (larger || open)
}

/// Why an attempt must stop, once it must.
async fn stop_of(mut stopped: watch::Receiver<Option<RecallReason>>) -> RecallReason {
    let reason = stopped.wait_for(Option::is_some).await.ok().and_then(|reason| *reason);
    match reason {
        Some(reason) => reason,
        // The lease is not held any more, and so is the attempt.
        None => std::future::pending().await,
    }
}

fn hand_in(
    link: &Link,
    lease: &LeaseRef,
    settled: Settled,
) -> impl Future<Output = Result<Result<Settlement, EngineError>, NoAnswer>> {
    let lease = lease.clone();
    link.ask(|life| async move { life.engine.settle(&lease, settled).await })
}

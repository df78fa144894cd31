//! One version's compartments, its parked sandboxes, and the attempts that wait for one.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use bulkhead_protocol::{SandboxGone, SandboxLimits, StartKind, ZygoteSpec};
use bulkhead_types::{FunctionKey, WallKind};
use bulkhead_wall::{CompartmentSpec, DynWall};
use tokio::sync::{Notify, oneshot};

use super::backoff::Backoff;
use super::home::{self, Home, InUse};
use super::house::{self, House, Listener};
use super::houses::{HouseKey, Houses, Seeker};
use super::places::Urgent;
use super::supply::{Target, View, plan};
use super::{Pool, Prewarmed, TakeError, Taken};
use crate::config::PoolConfig;
use crate::mux::{Forking, Gone, NoFork, Sandbox};
use crate::stats::Stats;

/// How long a refill waits for the attempt that made it necessary: forking copies the zygote's page tables, and
/// would take the CPU that this attempt starts with. Measured on 2 cores; an empty pool is refilled at once. Where the
/// kernel is gVisor's or a guest's, a fork takes twenty times as long, and so does a start beside one.
const fn refill_after(wall: WallKind) -> Duration {
    match wall {
        WallKind::Process => Duration::from_millis(5),
        WallKind::Gvisor | WallKind::Microvm => Duration::from_millis(50),
    }
}

/// Forks in a row that may fail until the compartment is given up.
const FORK_FAILURES_MAX: u32 = 3;

pub(super) struct Entry {
    pub(super) function: FunctionKey,
    pub(super) wall_kind: WallKind,
    wall: DynWall,
    private: bool,
    /// Whom it shares compartments with; nobody where each version has its own.
    pub(super) shared: Option<HouseKey>,
    spec: CompartmentSpec,
    zygote: ZygoteSpec,
    /// File and SHA-256.
    bundle: (PathBuf, String),
    limits: SandboxLimits,
    compartments_max: usize,
    fork_wait: Duration,
    pool: Weak<Pool>,
    state: Mutex<State>,
    /// Something was parked or has failed.
    changed: Notify,
    /// Whether an attempt waits for what is being built.
    urgent: Urgent,
}

/// What an entry's compartments, zygotes and sandboxes are made of.
pub(super) struct MadeOf {
    /// A compartment for each execution.
    pub(super) private: bool,
    /// Whom compartments are shared with, if with anybody.
    pub(super) shared: Option<HouseKey>,
    pub(super) spec: CompartmentSpec,
    pub(super) zygote: ZygoteSpec,
    /// File and SHA-256.
    pub(super) bundle: (PathBuf, String),
    pub(super) limits: SandboxLimits,
}

struct State {
    homes: Vec<Arc<Home>>,
    parked: VecDeque<Parked>,
    waiting: VecDeque<Waiting>,
    forking: usize,
    /// What to supply will be looked at soon, whatever happens before.
    look_due: bool,
    building: bool,
    /// How many wait for sandboxes to be parked.
    warming: usize,
    target: Target,
    superseded: bool,
    closed: bool,
    backoff: Backoff,
    used_us: u64,
}

/// A sandbox in hand, and the compartment it lives in; in this order, to be dropped in it.
struct Parked {
    sandbox: Sandbox,
    home: Arc<Home>,
}

struct Waiting {
    since_us: u64,
    give: oneshot::Sender<Result<Taken, TakeError>>,
}

impl Entry {
    pub(super) fn new(
        pool: Weak<Pool>,
        (function, wall_kind, wall): (FunctionKey, WallKind, DynWall),
        made_of: MadeOf,
        config: &PoolConfig,
    ) -> Arc<Self> {
        let MadeOf { private, shared, spec, zygote, bundle, limits } = made_of;
        // Where versions share slots, what they park leaves half of them to attempts.
        let parked_max = match spec.zygotes {
            0 => config.parked_max,
            zygotes => config.parked_max.min((spec.slots / (2 * zygotes)).max(1) as usize),
        };
        let parked_min = config.parked_min.min(parked_max);
        let state = State {
            homes: Vec::new(),
            parked: VecDeque::new(),
            waiting: VecDeque::new(),
            forking: 0,
            look_due: false,
            building: false,
            warming: 0,
            target: Target::new(parked_min, parked_max, 0),
            superseded: false,
            closed: false,
            backoff: Backoff::default(),
            used_us: pool.upgrade().map_or(0, |pool| pool.monotonic.micros()),
        };
        Arc::new(Self {
            function,
            wall_kind,
            wall,
            private,
            shared,
            spec,
            zygote,
            bundle,
            limits,
            compartments_max: config.compartments_per_version,
            fork_wait: config.fork,
            pool,
            state: Mutex::new(state),
            changed: Notify::new(),
            urgent: Urgent::default(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now_us(&self) -> u64 {
        self.pool.upgrade().map_or(0, |pool| pool.monotonic.micros())
    }

    /// A sandbox: parked, or as soon as there is one.
    pub(super) async fn take(self: &Arc<Self>) -> Result<Taken, TakeError> {
        if self.private {
            return self.take_private().await;
        }
        let (give, given) = oneshot::channel();
        let now_us = self.now_us();
        {
            let mut state = self.lock();
            state.used_us = now_us;
            let parked = state.pop_parked();
            if let Some(Parked { sandbox, home }) = parked {
                self.refill_soon(&mut state);
                let _home = InUse::new(home);
                return Ok(Taken { sandbox, kind: StartKind::Parked, _home });
            }
            state.missed(now_us);
            if state.homes.is_empty() {
                state.fail_standing(now_us)?;
            }
            state.waiting.push_back(Waiting { since_us: now_us, give });
            self.supply(&mut state);
        }
        given.await.unwrap_or(Err(TakeError::NoRoom))
    }

    /// A compartment for one attempt alone.
    async fn take_private(self: &Arc<Self>) -> Result<Taken, TakeError> {
        self.lock().fail_standing(self.now_us())?;
        let home = match self.build(Urgent::new(true)).await {
            Ok(home) => home,
            Err(error) => {
                self.lock().backoff.failed(error.clone(), self.now_us());
                return Err(error);
            }
        };
        self.lock().backoff.succeeded();
        let sandbox = self.fork(&home)?.ready(self.fork_wait).await.map_err(not_started)?;
        self.count_sandbox();
        let _home = InUse::new(home);
        Ok(Taken { sandbox, kind: StartKind::Cold, _home })
    }

    /// Returns once as many are parked as should be.
    pub(super) async fn warm(self: &Arc<Self>) -> Result<(), TakeError> {
        if self.private {
            return Ok(());
        }
        let _warming = self.begin_warming();
        loop {
            let changed = self.changed.notified();
            {
                let state = self.lock();
                state.fail_standing(self.now_us())?;
                if state.closed || state.parked.len() >= state.target_now() {
                    return Ok(());
                }
            }
            changed.await;
        }
    }

    /// As long as what is returned lives, a compartment is built although no attempt waits.
    fn begin_warming(self: &Arc<Self>) -> Warming {
        let mut state = self.lock();
        state.used_us = self.now_us();
        state.warming += 1;
        self.supply(&mut state);
        Warming(Arc::clone(self))
    }

    /// What is live runs here from now on. Says what is known of it: whether it is warm, or can't be.
    pub(super) fn make_current(self: &Arc<Self>, now_us: u64) -> Option<Prewarmed> {
        if self.private {
            return Some(Prewarmed::Never);
        }
        let mut state = self.lock();
        state.superseded = false;
        state.homes.iter().for_each(|home| home.touch(now_us));
        if !state.homes.is_empty() {
            self.supply(&mut state);
        }
        (state.building || !state.homes.is_empty()).then_some(Prewarmed::Already)
    }

    pub(super) fn has_home(&self) -> bool {
        !self.lock().homes.is_empty()
    }

    /// Another version or other limits took over: what is parked here goes, nothing is parked any more.
    pub(super) fn supersede(&self) {
        let mut state = self.lock();
        state.superseded = true;
        state.parked.clear();
    }

    /// Ends everything here; attempts under way keep their compartment until they end.
    pub(super) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        state.parked.clear();
        state.waiting.clear();
        let homes = std::mem::take(&mut state.homes);
        drop(state);
        homes.iter().for_each(|home| home.guest().close());
    }

    /// A sandbox is ready: for who waits longest, else to be parked.
    fn offer(self: &Arc<Self>, sandbox: Sandbox, home: Arc<Home>, was_forking: bool) {
        let mut state = self.lock();
        state.forking -= usize::from(was_forking);
        let mut taken = Taken { sandbox, kind: StartKind::Forked, _home: InUse::new(home) };
        loop {
            let Some(waiting) = state.waiting.pop_front() else { break };
            let cold = taken._home.home().born_us >= waiting.since_us;
            taken.kind = if cold { StartKind::Cold } else { StartKind::Forked };
            match waiting.give.send(Ok(taken)) {
                Ok(()) => return self.supply(&mut state),
                // Who waited is gone: the next one.
                Err(Ok(back)) => taken = back,
                Err(Err(_)) => return,
            }
        }
        let Taken { sandbox, _home: in_use, .. } = taken;
        let home = in_use.release();
        let room = !state.superseded && state.parked.len() < state.target_now().max(1);
        if room && !state.closed && home.is_alive() {
            sandbox.rehearse();
            state.parked.push_back(Parked { sandbox, home });
        }
        self.supply(&mut state);
        drop(state);
        self.changed.notify_waiters();
    }

    /// Something changed outside: a slot is free, a zygote or a compartment is gone.
    pub(super) fn refresh(self: &Arc<Self>) {
        let mut state = self.lock();
        state.parked.retain(|parked| !parked.sandbox.is_gone() && parked.home.is_alive());
        // A home leaves the list when it can't fork; it is destroyed when the last attempt in it ends.
        state.homes.retain(|home| home.is_alive());
        self.supply(&mut state);
    }

    /// Refills in a moment, so that the attempt that just took a sandbox starts first.
    fn refill_soon(self: &Arc<Self>, state: &mut State) {
        if state.parked.is_empty() {
            self.supply(state);
        } else {
            self.look_again(state, refill_after(self.wall_kind));
        }
    }

    /// Supplies anew after a time. One such look is on its way at most: it asks for the next one itself.
    fn look_again(self: &Arc<Self>, state: &mut State, after: Duration) {
        let Some(pool) = self.pool.upgrade() else { return };
        if std::mem::replace(&mut state.look_due, true) {
            return;
        }
        let entry = Arc::clone(self);
        pool.tasks.spawn(async move {
            tokio::time::sleep(after).await;
            let mut state = entry.lock();
            state.look_due = false;
            entry.supply(&mut state);
        });
    }

    /// Carries out what `supply` decides.
    fn supply(self: &Arc<Self>, state: &mut State) {
        let Some(pool) = self.pool.upgrade() else { return };
        if state.closed {
            return;
        }
        state.waiting.retain(|waiting| !waiting.give.is_closed());
        let now_us = pool.monotonic.micros();
        let plan = plan(state.view(self.compartments_max, now_us));
        self.urgent.set(!state.waiting.is_empty());
        for _ in 0..plan.forks {
            let roomiest = state.homes.iter().max_by_key(|home| home.free_slots());
            let Some(home) = roomiest.map(Arc::clone) else { break };
            let Ok(forking) = self.fork(&home) else { break };
            state.forking += 1;
            pool.tasks.spawn(Arc::clone(self).await_fork(forking, home));
        }
        if let Some(after_us) = plan.look_again_us {
            self.look_again(state, Duration::from_micros(after_us));
        }
        if plan.build && state.backoff.standing(now_us).is_none() {
            state.building = true;
            pool.tasks.spawn(Arc::clone(self).add_home());
        }
    }

    fn fork(&self, home: &Home) -> Result<Forking, TakeError> {
        home.guest().fork(home.zygote(), self.limits.clone()).map_err(|why| match why {
            NoFork::Broken(broken) => not_started(Gone::Broken(broken)),
            NoFork::Full => house::unavailable("slot", "all slots are in use"),
        })
    }

    fn count_sandbox(&self) {
        if let Some(pool) = self.pool.upgrade() {
            Stats::count(&pool.stats.sandboxes_made);
        }
    }

    async fn await_fork(self: Arc<Self>, forking: Forking, home: Arc<Home>) {
        match forking.ready(self.fork_wait).await {
            Ok(sandbox) => {
                self.count_sandbox();
                home.fork_succeeded();
                self.offer(sandbox, home, true);
            }
            Err(gone) => self.fork_failed(not_started(gone), &home),
        }
    }

    /// Tells one attempt; tries again for the others, elsewhere when it keeps failing here.
    fn fork_failed(self: &Arc<Self>, error: TakeError, home: &Arc<Home>) {
        let mut state = self.lock();
        // When the pool is closed, sandboxes on their way go with it.
        if !state.closed {
            tracing::warn!(%error, "a sandbox did not come to be");
        }
        state.forking -= 1;
        if home.fork_failed() >= FORK_FAILURES_MAX {
            home.house().shut();
            state.homes.retain(|other| !Arc::ptr_eq(other, home));
            state.parked.retain(|parked| !Arc::ptr_eq(&parked.home, home));
        }
        match state.waiting.pop_front() {
            Some(waiting) => {
                waiting.give.send(Err(error)).ok();
                self.supply(&mut state);
            }
            // Nobody waits: no refill until an attempt asks, so that a failing refill is not a hot loop.
            None => state.backoff.failed(error, self.now_us()),
        }
        drop(state);
        // With nothing on its way, a home here may go for somebody who waits for a place.
        if let Some(pool) = self.pool.upgrade() {
            pool.idle.notify_one();
        }
        self.changed.notify_waiters();
    }

    /// Builds one more compartment, and hands on what came of it.
    async fn add_home(self: Arc<Self>) {
        let built = self.build(self.urgent.clone()).await;
        let mut state = self.lock();
        state.building = false;
        match built {
            // Closed meanwhile: nobody wants it, and dropping destroys it.
            Ok(_) if state.closed => return,
            Ok(home) => {
                state.backoff.succeeded();
                state.homes.push(home);
            }
            Err(error) => {
                tracing::warn!(%error, "a compartment did not come up");
                state.backoff.failed(error.clone(), self.now_us());
                // With other homes alive, who waits may still get a slot there.
                if state.homes.is_empty() {
                    for waiting in state.waiting.drain(..) {
                        waiting.give.send(Err(error.clone())).ok();
                    }
                }
            }
        }
        self.supply(&mut state);
        drop(state);
        self.changed.notify_waiters();
    }

    async fn build(self: &Arc<Self>, urgent: Urgent) -> Result<Arc<Home>, TakeError> {
        let Some(pool) = self.pool.upgrade() else { return Err(TakeError::NoRoom) };
        let entry = Arc::downgrade(self);
        let on_change: Listener = Arc::new(move || {
            if let Some(entry) = entry.upgrade() {
                entry.refresh();
            }
        });
        let (wall, spec) = (self.wall.as_ref(), self.spec.clone());
        let Some(key) = &self.shared else {
            let (place, _turn) = pool.place(&self.function.tenant, urgent).await?;
            let house = House::build(&pool, place, wall, spec).await?;
            let lodging = house.move_in(0, on_change);
            let broken = || house::unavailable("guest", "it broke at once");
            return Home::start(&pool, lodging.ok_or_else(broken)?, self.zygote.clone(), None)
                .await;
        };
        let (head, content) = home::read_bundle(&self.bundle.0, &self.bundle.1).await?;
        let not_in = self.lock().homes.iter().map(|home| Arc::downgrade(home.house())).collect();
        let seeker = Seeker { key, bundle_bytes: head.bytes, not_in, on_change, urgent };
        let lodging = Houses::lodge(&pool, seeker, (wall, spec)).await?;
        Home::start(&pool, lodging, self.zygote.clone(), Some((head, content))).await
    }

    /// The homes, with when each was last used and whether it can go. What runs nothing but what is superseded was not
    /// used for longest, whenever that was.
    pub(super) fn homes(&self) -> Vec<(Arc<Home>, u64, bool)> {
        let state = self.lock();
        let wanted = !state.waiting.is_empty() || state.forking > 0;
        let used_us = |home: &Home| if state.superseded { 0 } else { home.used_us() };
        let seen =
            |home: &Arc<Home>| (Arc::clone(home), used_us(home), !wanted && !home.is_running());
        state.homes.iter().map(seen).collect()
    }

    /// Gives up a home if nothing runs in it by now; its parked sandboxes go with it.
    pub(super) fn evict(&self, home: &Arc<Home>) -> bool {
        let mut state = self.lock();
        if home.is_running() || !state.waiting.is_empty() || state.forking > 0 {
            return false;
        }
        let before = state.homes.len();
        state.homes.retain(|other| !Arc::ptr_eq(other, home));
        state.parked.retain(|parked| !Arc::ptr_eq(&parked.home, home));
        state.homes.len() < before
    }

    /// Time passes: parks fewer when fewer were asked for. True when nothing is left here since `idle_us`.
    pub(super) fn tick(&self, now_us: u64, idle_us: u64) -> bool {
        let mut state = self.lock();
        if state.target.tick(now_us) {
            let target = state.target_now();
            state.parked.truncate(target);
        }
        let busy = !state.homes.is_empty() || !state.waiting.is_empty() || state.building;
        !busy && now_us.saturating_sub(state.used_us) >= idle_us
    }
}

struct Warming(Arc<Entry>);

impl Drop for Warming {
    fn drop(&mut self) {
        self.0.lock().warming -= 1;
    }
}

impl State {
    fn pop_parked(&mut self) -> Option<Parked> {
        while let Some(parked) = self.parked.pop_front() {
            if !parked.sandbox.is_gone() {
                return Some(parked);
            }
        }
        None
    }

    fn missed(&mut self, now_us: u64) {
        if !self.homes.is_empty() {
            self.target.missed(now_us);
        }
    }

    fn fail_standing(&self, now_us: u64) -> Result<(), TakeError> {
        self.backoff.standing(now_us).map_or(Ok(()), |error| Err(error.clone()))
    }

    fn target_now(&self) -> usize {
        if self.superseded { 0 } else { self.target.get() }
    }

    fn view(&self, compartments_max: usize, now_us: u64) -> View {
        let longest = self.waiting.front();
        View {
            waiting: self.waiting.len(),
            waited_us: longest.map_or(0, |it| now_us.saturating_sub(it.since_us)),
            parked: self.parked.len(),
            forking: self.forking,
            target: self.target_now(),
            free_slots: self.homes.iter().map(|home| home.free_slots()).sum(),
            compartments: self.homes.len(),
            compartments_max,
            building: self.building,
            warming: self.warming > 0,
        }
    }
}

fn not_started(gone: Gone) -> TakeError {
    let (stage, message) = match gone {
        Gone::Guest(SandboxGone::NotStarted { error }) => (error.stage, error.message),
        Gone::Guest(other) => ("fork".to_owned(), format!("gone before it was ready: {other:?}")),
        Gone::Broken(broken) => ("guest".to_owned(), broken.to_string()),
    };
    TakeError::Unavailable { stage, message }
}

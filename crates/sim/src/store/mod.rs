//! Stands between an engine and the store: a call takes its time, fails, is done without an answer, or its server
//! dies before or after it. What is done is shown to the checkers in the same moment: the store commits without
//! waiting, so the order in which they see commits is the order of the commits.

mod faults;
mod news;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bulkhead_sched::gate::Gate as Limit;
use bulkhead_sched::share::{Share, ShareLimits};
use bulkhead_store::StoreError;
use bulkhead_store::checkpoints::{Checkpoint, CheckpointError};
use bulkhead_store::hot::Store;
use bulkhead_store::hot::mem::MemStore;
use bulkhead_store::hot::model::{
    CancelResult, Dispatch, Dispatched, ExecutionFilter, Fire, Fired, Forgotten, GateChange,
    GateOf, Page, RecallReason, Schedule, ScheduleKey, Settled, Settlement, Submit, SubmitError,
    Submitted, Tick,
};
use bulkhead_store::hot::news::{self as told, News};
use bulkhead_types::{
    Attempt, Execution, ExecutionId, FunctionKey, LeaseRef, TenantId, TimelineEvent, Timestamp,
    WorkerId,
};

use crate::actor::functions::tenant;
use crate::canary::Canary;
use crate::check::{Ledger, Violation};
use crate::server::Gate;
use crate::world::World;
use news::Mailbox;

/// A server's way to the store.
pub(crate) struct SimStore {
    world: Arc<World>,
    gate: Arc<Gate>,
    mailbox: Mailbox,
}

impl std::fmt::Debug for SimStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SimStore").finish_non_exhaustive()
    }
}

impl SimStore {
    pub(crate) fn new(world: Arc<World>, gate: Arc<Gate>) -> Self {
        Self { world, gate, mailbox: Mailbox::default() }
    }

    fn inner(&self) -> &MemStore {
        &self.world.store
    }

    fn has(&self, canary: Canary) -> bool {
        self.world.canary == Some(canary)
    }

    /// Shows the checkers a commit, under a line of the trace.
    fn show(&self, what: &str, look: impl FnOnce(&mut Ledger) -> Result<(), Violation>) {
        let at = self.world.start.elapsed();
        self.world.check(|book| {
            book.trace.tell(at, &format!("s{} {what}", self.gate.server));
            look(&mut book.ledger)
        });
    }

    fn number(&self, id: &ExecutionId) -> String {
        self.world.book().ledger.number(id)
    }

    /// Rows as they are now.
    async fn rows(&self, ids: impl Iterator<Item = &ExecutionId>) -> Vec<Execution> {
        let mut rows = Vec::new();
        for id in ids {
            rows.extend(self.inner().execution(id.clone()).await.ok().flatten());
        }
        rows
    }

    async fn shares(&self) -> Vec<Share> {
        let mut shares = Vec::new();
        for at in 0..self.world.swarm.tenants.len() {
            shares.extend(self.inner().share(tenant(at)).await.ok().flatten());
        }
        shares
    }

    async fn show_tick(&self, what: &str, tick: &Tick, now: Timestamp) {
        let lost: Vec<String> =
            tick.lost.iter().map(|(_, lease)| self.number(&lease.execution)).collect();
        let ended: Vec<String> = tick.ended.iter().map(|id| self.number(id)).collect();
        let ids = tick.lost.iter().map(|(_, lease)| &lease.execution).chain(&tick.ended);
        let (rows, shares) = (self.rows(ids).await, self.shares().await);
        let quiet = lost.is_empty() && ended.is_empty();
        let told =
            if quiet { what.to_owned() } else { format!("{what}: lost {lost:?} ended {ended:?}") };
        self.show(&told, |ledger| {
            ledger.fairness.refunded(&shares);
            ledger.ticked(tick, now, &rows)
        });
    }

    /// What the store is asked for with a canary.
    fn bent(&self, dispatch: &Dispatch) -> Dispatch {
        let mut bent = dispatch.clone();
        match self.world.canary {
            Some(Canary::HeadroomGiven) => bent.room.headroom = 0,
            Some(Canary::RoomDoubled) => bent.room.free = bent.room.free.plus(bent.room.free),
            _ => {}
        }
        bent
    }

    /// The lease that is newest now, for canaries.
    async fn newest(&self, lease: LeaseRef) -> LeaseRef {
        let row = self.inner().execution(lease.execution.clone()).await.ok().flatten();
        LeaseRef { fence: row.map_or(lease.fence, |row| row.fence), ..lease }
    }
}

#[async_trait]
impl Store for SimStore {
    async fn submit(
        &self,
        id: ExecutionId,
        mut submit: Submit,
        now: Timestamp,
    ) -> Result<Submitted, SubmitError> {
        self.before("submit").await?;
        let asked = submit.clone();
        if self.has(Canary::SubmitLost) && self.gate.dice.below(50) == 0 {
            return Ok(Submitted { execution: id, duplicate: false });
        }
        if self.has(Canary::KeyForgotten) {
            submit.idempotency = None;
        }
        let done = self.inner().submit(id.clone(), submit, now).await;
        let shares = self.shares().await;
        let row = self.rows(done.as_ref().ok().map(|done| &done.execution).into_iter()).await;
        self.show("submit", |ledger| {
            ledger.fairness.refunded(&shares);
            ledger.submitted(&asked, now, &done)?;
            ledger.rows(&row)
        });
        if let Ok(done) = &done {
            let as_what = if done.duplicate { "as" } else { "new" };
            let key = asked.idempotency.map(|key| key.key).unwrap_or_default();
            let number = self.number(&done.execution);
            let function = asked.function;
            let (tenant, kind) = (function.tenant, function.kind.as_str());
            self.world
                .tell(&format!("  {tenant} {kind} {} {key} {as_what} {number}", function.name));
        }
        self.tell(done.iter().filter(|done| !done.duplicate).map(|_| News::Runnable));
        self.after("submit").await?;
        done
    }

    async fn dispatch(&self, dispatch: Dispatch) -> Result<Dispatched, StoreError> {
        self.before("dispatch").await?;
        let before = self.shares().await;
        let done = self.inner().dispatch(self.bent(&dispatch)).await?;
        let after = self.shares().await;
        let ids = done.leases.iter().map(|lease| &lease.lease.execution).chain(&done.ended);
        let rows = self.rows(ids).await;
        if !rows.is_empty() {
            let given: Vec<String> =
                done.leases.iter().map(|lease| self.number(&lease.lease.execution)).collect();
            let worker = dispatch.worker.as_str();
            let swarm = &self.world.swarm;
            let turns_hold = !swarm.sized && swarm.headroom == 0;
            let what = format!(
                "dispatch {} to {}: {given:?}",
                dispatch.room.free.cpu,
                &worker[worker.len() - 4..]
            );
            self.show(&what, |ledger| {
                ledger.dispatched(&dispatch, &done, &rows)?;
                let leases: Vec<_> =
                    done.leases.iter().map(|lease| lease.function.tenant.clone()).collect();
                // One that does not fit is passed over for a while, and one whose tenant runs something while what is
                // free is headroom: turns are promised to the others.
                if !turns_hold {
                    return Ok(());
                }
                let weights = ledger.weights();
                ledger.fairness.picked(&leases, &before, &after, &weights)
            });
        }
        self.tell(done.ended.iter().cloned().map(News::Ended));
        self.after("dispatch").await?;
        Ok(done)
    }

    async fn renew(
        &self,
        worker: WorkerId,
        leases: Vec<LeaseRef>,
        now: Timestamp,
        lease: Duration,
    ) -> Result<(Vec<(LeaseRef, RecallReason)>, Tick), StoreError> {
        self.before("renew").await?;
        let given = if self.has(Canary::LeaseShort) { lease / 2 } else { lease };
        let done = self.inner().renew(worker.clone(), leases.clone(), now, given).await?;
        let (recalls, tick) = &done;
        let ids = tick.lost.iter().map(|(_, lease)| &lease.execution).chain(&tick.ended);
        let (rows, shares) = (self.rows(ids).await, self.shares().await);
        let short = &worker.as_str()[worker.as_str().len() - 4..];
        let what = format!("renew {} of {short}: {} to stop", leases.len(), recalls.len());
        self.show(&what, |ledger| {
            ledger.fairness.refunded(&shares);
            ledger.renewed(&worker, &leases, now.after(lease), recalls)?;
            ledger.unnamed(tick, &leases, now, &rows)
        });
        self.tell(told::of_tick(&done.1));
        self.after("renew").await?;
        Ok(done)
    }

    async fn settle(
        &self,
        lease: LeaseRef,
        settled: Settled,
        now: Timestamp,
        random: u64,
    ) -> Result<Settlement, StoreError> {
        self.before("settle").await?;
        let mut given = (lease.clone(), settled.clone());
        if self.has(Canary::FenceIgnored) {
            given.0 = self.newest(given.0).await;
        }
        if self.has(Canary::UsageTwice) {
            given.1.usage.cpu_us *= 2;
        }
        let done = self.inner().settle(given.0, given.1, now, random).await?;
        let rows = self.rows(std::iter::once(&lease.execution)).await;
        let shares = self.shares().await;
        let number = self.number(&lease.execution);
        let told = settled.outcome.as_str();
        let what = format!("settle {number} fence {} {told} → {}", lease.fence.0, short(done));
        self.show(&what, |ledger| {
            ledger.fairness.refunded(&shares);
            ledger.settled(&lease, &settled, done, &rows)
        });
        self.tell(told::of_settlement(&lease.execution, done));
        self.after("settle").await?;
        Ok(done)
    }

    async fn cancel(
        &self,
        tenant: TenantId,
        id: ExecutionId,
        now: Timestamp,
    ) -> Result<CancelResult, StoreError> {
        self.before("cancel").await?;
        let done = self.inner().cancel(tenant, id.clone(), now).await?;
        let rows = self.rows(std::iter::once(&id)).await;
        let what = format!("cancel {} → {done:?}", self.number(&id));
        self.show(&what, |ledger| ledger.cancelled(&id, &done, &rows));
        self.tell(told::of_cancel(&id, &done));
        self.after("cancel").await?;
        Ok(done)
    }

    async fn tick(&self, now: Timestamp, limit: usize) -> Result<Tick, StoreError> {
        self.before("tick").await?;
        if self.has(Canary::TimeStands) {
            return Ok(Tick::default());
        }
        let done = self.inner().tick(now, limit).await?;
        self.world.check(|book| {
            book.ledger.keys_ran_out(now);
            Ok(())
        });
        self.show_tick("tick", &done, now).await;
        self.tell(told::of_tick(&done));
        self.after("tick").await?;
        Ok(done)
    }

    async fn recover(&self, dead: WorkerId, now: Timestamp) -> Result<Tick, StoreError> {
        self.before("recover").await?;
        let done = self.inner().recover(dead.clone(), now).await?;
        self.world.check(|book| {
            book.ledger.worker_is_dead(&dead);
            Ok(())
        });
        self.show_tick("recover", &done, now).await;
        self.tell(told::of_tick(&done));
        self.after("recover").await?;
        Ok(done)
    }

    async fn forget(
        &self,
        before: Timestamp,
        cursor: i64,
        limit: usize,
    ) -> Result<Forgotten, StoreError> {
        self.before("forget").await?;
        if self.has(Canary::NothingForgotten) {
            return Ok(Forgotten { count: 0, cursor: None });
        }
        let done = self.inner().forget(before, cursor, limit).await?;
        self.show(&format!("forget {}", done.count), |ledger| ledger.forgot(before, done.count));
        self.after("forget").await?;
        Ok(done)
    }

    async fn execution(&self, id: ExecutionId) -> Result<Option<Execution>, StoreError> {
        self.before("execution").await?;
        let found = self.inner().execution(id).await?;
        self.world.check(|book| book.ledger.rows(found.as_slice()));
        Ok(found)
    }

    async fn again(&self, tenant: TenantId, id: ExecutionId) -> Result<Option<Submit>, StoreError> {
        self.before("again").await?;
        self.inner().again(tenant, id).await
    }

    async fn executions(
        &self,
        tenant: TenantId,
        filter: ExecutionFilter,
    ) -> Result<Page, StoreError> {
        self.before("executions").await?;
        self.inner().executions(tenant, filter).await
    }

    async fn attempts(&self, id: ExecutionId) -> Result<Vec<Attempt>, StoreError> {
        self.before("attempts").await?;
        self.inner().attempts(id).await
    }

    async fn timeline(&self, id: ExecutionId) -> Result<Vec<TimelineEvent>, StoreError> {
        self.before("timeline").await?;
        self.inner().timeline(id).await
    }

    async fn append_event(&self, id: ExecutionId, event: TimelineEvent) -> Result<(), StoreError> {
        self.before("append_event").await?;
        self.inner().append_event(id, event).await?;
        self.after("append_event").await
    }

    async fn pause_tenant(&self, tenant: TenantId, paused: bool) -> Result<(), StoreError> {
        self.before("pause_tenant").await?;
        let given = paused && !self.has(Canary::PauseIgnored);
        self.inner().pause_tenant(tenant.clone(), given).await?;
        self.show(&format!("pause_tenant {tenant} {paused}"), |ledger| {
            ledger.tenant_paused(&tenant, paused);
            Ok(())
        });
        self.tell([News::Runnable]);
        self.after("pause_tenant").await
    }

    async fn set_gate(&self, of: GateOf, change: GateChange) -> Result<Limit, StoreError> {
        self.before("set_gate").await?;
        let mut given = change;
        if self.has(Canary::GateRaised) {
            given.running_max = given.running_max.map(|max| max.map(|max| max + 1));
        }
        let gate = self.inner().set_gate(of.clone(), given).await?;
        self.show(&format!("set_gate {} {} {change:?}", of.tenant(), of.key()), |ledger| {
            ledger.gated(&of, change);
            Ok(())
        });
        self.tell([News::Runnable]);
        self.after("set_gate").await?;
        Ok(gate)
    }

    async fn gates(&self, tenant: TenantId) -> Result<Vec<Limit>, StoreError> {
        self.before("gates").await?;
        self.inner().gates(tenant).await
    }

    async fn repeated(
        &self,
        function: FunctionKey,
        key: String,
        now: Timestamp,
    ) -> Result<Option<ExecutionId>, StoreError> {
        self.before("repeated").await?;
        self.inner().repeated(function, key, now).await
    }

    async fn set_share(&self, tenant: TenantId, limits: ShareLimits) -> Result<(), StoreError> {
        self.before("set_share").await?;
        let mut given = limits;
        if self.has(Canary::LimitRaised) {
            given.running_max = given.running_max.saturating_add(1);
        }
        if self.has(Canary::Unfair) && tenant.as_str() == "t0" {
            given.weight *= 100;
        }
        self.inner().set_share(tenant.clone(), given).await?;
        let shares = self.shares().await;
        self.show(&format!("set_share {tenant} {limits:?}"), |ledger| {
            ledger.fairness.refunded(&shares);
            ledger.limited(tenant, limits);
            Ok(())
        });
        self.tell([News::Runnable]);
        self.after("set_share").await
    }

    async fn share(&self, tenant: TenantId) -> Result<Option<Share>, StoreError> {
        self.before("share").await?;
        self.inner().share(tenant).await
    }

    async fn endings(&self, limit: usize) -> Result<Vec<ExecutionId>, StoreError> {
        self.before("endings").await?;
        self.inner().endings(limit).await
    }

    async fn forget_endings(&self, ids: Vec<ExecutionId>) -> Result<(), StoreError> {
        self.before("forget_endings").await?;
        self.inner().forget_endings(ids).await
    }

    async fn checkpoint(&self, scope: String) -> Result<Option<Checkpoint>, StoreError> {
        self.before("checkpoint").await?;
        self.inner().checkpoint(scope).await
    }

    async fn save_checkpoint(
        &self,
        lease: LeaseRef,
        expected: u64,
        body: Option<String>,
        now: Timestamp,
    ) -> Result<u64, CheckpointError> {
        self.before("save_checkpoint").await?;
        let mut given = lease.clone();
        if self.has(Canary::CheckpointUnfenced) {
            given = self.newest(given).await;
        }
        let done = self.inner().save_checkpoint(given, expected, body.clone(), now).await;
        let number = self.number(&lease.execution);
        let told = done.as_ref().map_err(CheckpointError::code);
        let fence = lease.fence.0;
        let what = format!("save {number} fence {fence} {body:?} at {expected} → {told:?}");
        self.show(&what, |ledger| ledger.saved(&lease, expected, body.as_deref(), &done));
        self.after("save_checkpoint").await?;
        done
    }

    async fn put_schedule(
        &self,
        schedule: Schedule,
        first_at: Option<Timestamp>,
    ) -> Result<Schedule, StoreError> {
        self.before("put_schedule").await?;
        let done = self.inner().put_schedule(schedule, first_at).await?;
        self.show("put_schedule", |_| Ok(()));
        self.tell([News::Schedules]);
        self.after("put_schedule").await?;
        Ok(done)
    }

    async fn pause_schedule(
        &self,
        key: ScheduleKey,
        paused: bool,
    ) -> Result<Option<Schedule>, StoreError> {
        self.before("pause_schedule").await?;
        let done = self.inner().pause_schedule(key, paused).await?;
        self.show(&format!("pause_schedule {paused}"), |_| Ok(()));
        self.tell([News::Schedules]);
        self.after("pause_schedule").await?;
        Ok(done)
    }

    async fn remove_schedule(&self, key: ScheduleKey) -> Result<bool, StoreError> {
        self.before("remove_schedule").await?;
        let done = self.inner().remove_schedule(key).await?;
        self.show("remove_schedule", |_| Ok(()));
        self.after("remove_schedule").await?;
        Ok(done)
    }

    async fn schedules(&self, tenant: TenantId) -> Result<Vec<Schedule>, StoreError> {
        self.before("schedules").await?;
        self.inner().schedules(tenant).await
    }

    async fn schedule(&self, key: ScheduleKey) -> Result<Option<Schedule>, StoreError> {
        self.before("schedule").await?;
        self.inner().schedule(key).await
    }

    async fn due(
        &self,
        now: Timestamp,
        limit: usize,
    ) -> Result<(Vec<Schedule>, Option<Timestamp>), StoreError> {
        self.before("due").await?;
        self.inner().due(now, limit).await
    }

    async fn news(&self) -> Vec<News> {
        self.mailbox.next().await
    }

    async fn fire(&self, mut fire: Fire) -> Result<Option<Fired>, StoreError> {
        self.before("fire").await?;
        let asked = fire.clone();
        if self.has(Canary::ScheduleStuck) {
            fire.next_at = fire.next_at.after(Duration::from_secs(365 * 24 * 60 * 60));
        }
        let paused = self.inner().schedule(fire.key.clone()).await?.is_none_or(|s| s.paused);
        let done = self.inner().fire(fire).await?;
        let id = match &done {
            Some(Fired::Submitted(done)) => Some(&done.execution),
            _ => None,
        };
        let (rows, shares) = (self.rows(id.into_iter()).await, self.shares().await);
        self.show(&format!("fire {} → {done:?}", asked.key.function.name), |ledger| {
            ledger.fairness.refunded(&shares);
            ledger.fired(&asked, paused, done.as_ref())?;
            ledger.rows(&rows)
        });
        self.tell(done.as_ref().map(|_| News::Runnable));
        self.after("fire").await?;
        Ok(done)
    }
}

fn short(settlement: Settlement) -> String {
    match settlement {
        Settlement::Stale => "stale".to_owned(),
        Settlement::Accepted { state, .. } => state.as_str().to_owned(),
    }
}

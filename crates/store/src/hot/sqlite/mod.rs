//! The hot path over SQLite: each step is one closure for the writer, which commits what has piled up together.

pub(super) mod columns;
mod read;
mod rows;
mod statements;

use std::time::Duration;

use async_trait::async_trait;
use bulkhead_sched::gate::Gate;
use bulkhead_sched::share::{Share, ShareLimits};
use bulkhead_types::{
    Attempt, Execution, ExecutionId, FunctionKey, LeaseRef, TenantId, TimelineEvent, Timestamp,
    WorkerId,
};

use super::flow::{self, dispatch::Chosen, fire::Due};
use super::group::Need;
use super::model::{
    CancelResult, Dispatch, Dispatched, ExecutionFilter, Fire, Fired, Forgotten, GateChange,
    GateOf, Page, RecallReason, Schedule, ScheduleKey, Settled, Settlement, Submit, SubmitError,
    Submitted, Tick,
};
use super::news::{self, News};
use super::rows::Rows;
use super::{Store, leases};
use crate::checkpoints::{self, Checkpoint, CheckpointError};
use crate::db::{Conn, Db, StoreError};
pub(crate) use rows::SqliteRows;

/// The hot path over SQLite.
#[derive(Debug, Clone)]
pub struct SqliteStore {
    db: Db,
}

impl SqliteStore {
    /// Over an open database.
    #[must_use]
    pub const fn new(db: Db) -> Self {
        Self { db }
    }

    async fn write<T, E, F>(&self, step: F) -> Result<T, E>
    where
        F: FnOnce(&mut dyn Rows) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        self.write_with(Need::Unknown, step).await
    }

    /// A step refuses before it has changed anything (`flow/mod.rs`), so it needs no savepoint. `need` is what it will
    /// look at, as far as that is known.
    async fn write_with<T, E, F>(&self, need: Need, step: F) -> Result<T, E>
    where
        F: FnOnce(&mut dyn Rows) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        self.db.write_whole(need, move |tx: &Conn| tx.step(step)).await
    }
}

fn tell(rows: &mut dyn Rows, news: impl IntoIterator<Item = News>) {
    news.into_iter().for_each(|news| rows.tell(news));
}

#[async_trait]
impl Store for SqliteStore {
    async fn submit(
        &self,
        id: ExecutionId,
        submit: Submit,
        now: Timestamp,
    ) -> Result<Submitted, SubmitError> {
        let prepared = flow::submit::prepare(id, submit, now)?;
        self.write_with(prepared.need(), move |rows| {
            let submitted = flow::submit::submit(rows, prepared)?;
            tell(rows, (!submitted.duplicate).then_some(News::Runnable));
            Ok(submitted)
        })
        .await
    }

    async fn dispatch(&self, dispatch: Dispatch) -> Result<Dispatched, StoreError> {
        let lease = dispatch.lease;
        let chosen: Chosen = self
            .write_with(Need::Dispatch(dispatch.leases_max()), move |rows| {
                let chosen = flow::dispatch::dispatch(rows, &dispatch)?;
                tell(rows, chosen.ended.iter().cloned().map(News::Ended));
                Ok::<_, StoreError>(chosen)
            })
            .await?;
        Ok(leases(chosen, lease))
    }

    async fn renew(
        &self,
        worker: WorkerId,
        leases: Vec<LeaseRef>,
        now: Timestamp,
        lease: Duration,
    ) -> Result<(Vec<(LeaseRef, RecallReason)>, Tick), StoreError> {
        let expires_at = now.after(lease);
        self.write(move |rows| {
            let renewed = flow::dispatch::renew(rows, &worker, &leases, now, expires_at)?;
            tell(rows, news::of_tick(&renewed.1));
            Ok(renewed)
        })
        .await
    }

    async fn settle(
        &self,
        lease: LeaseRef,
        settled: Settled,
        now: Timestamp,
        random: u64,
    ) -> Result<Settlement, StoreError> {
        let ended = flow::settle::prepare(settled)?;
        self.write_with(Need::Execution(lease.execution.clone()), move |rows| {
            let settlement = flow::settle::settle(rows, &lease, ended, now, random)?;
            tell(rows, news::of_settlement(&lease.execution, settlement));
            Ok(settlement)
        })
        .await
    }

    async fn cancel(
        &self,
        tenant: TenantId,
        id: ExecutionId,
        now: Timestamp,
    ) -> Result<CancelResult, StoreError> {
        self.write_with(Need::Execution(id.clone()), move |rows| {
            let cancel = flow::stop::cancel(rows, &tenant, &id, now)?;
            tell(rows, news::of_cancel(&id, &cancel));
            Ok(cancel)
        })
        .await
    }

    async fn tick(&self, now: Timestamp, limit: usize) -> Result<Tick, StoreError> {
        self.write(move |rows| {
            let tick = flow::tick::tick(rows, now, limit)?;
            tell(rows, news::of_tick(&tick));
            Ok(tick)
        })
        .await
    }

    async fn recover(&self, dead: WorkerId, now: Timestamp) -> Result<Tick, StoreError> {
        self.write(move |rows| {
            let tick = flow::tick::recover(rows, &dead, now)?;
            tell(rows, news::of_tick(&tick));
            Ok(tick)
        })
        .await
    }

    async fn forget(
        &self,
        before: Timestamp,
        cursor: i64,
        limit: usize,
    ) -> Result<Forgotten, StoreError> {
        self.write(move |rows| flow::tick::forget(rows, before, cursor, limit)).await
    }

    async fn execution(&self, id: ExecutionId) -> Result<Option<Execution>, StoreError> {
        self.db.read(move |conn| read::execution(conn, &id)).await
    }

    async fn again(&self, tenant: TenantId, id: ExecutionId) -> Result<Option<Submit>, StoreError> {
        self.db.read(move |conn| read::again(conn, &tenant, &id)).await
    }

    async fn executions(
        &self,
        tenant: TenantId,
        filter: ExecutionFilter,
    ) -> Result<Page, StoreError> {
        self.db.read(move |conn| read::executions(conn, &tenant, &filter)).await
    }

    async fn attempts(&self, id: ExecutionId) -> Result<Vec<Attempt>, StoreError> {
        let attempts = self.db.read(move |conn| read::attempts(conn, &id)).await?;
        Ok(attempts.into_iter().map(|row| row.attempt).collect())
    }

    async fn timeline(&self, id: ExecutionId) -> Result<Vec<TimelineEvent>, StoreError> {
        self.db.read(move |conn| read::timeline(conn, &id)).await
    }

    async fn append_event(&self, id: ExecutionId, event: TimelineEvent) -> Result<(), StoreError> {
        self.write(move |rows| rows.append_event(&id, &event)).await
    }

    async fn set_share(&self, tenant: TenantId, limits: ShareLimits) -> Result<(), StoreError> {
        self.write(move |rows| {
            tell(rows, [News::Runnable]);
            flow::set_share(rows, &tenant, limits)
        })
        .await
    }

    async fn share(&self, tenant: TenantId) -> Result<Option<Share>, StoreError> {
        self.db.read(move |conn| read::share(conn, &tenant)).await
    }

    async fn pause_tenant(&self, tenant: TenantId, paused: bool) -> Result<(), StoreError> {
        self.write(move |rows| {
            tell(rows, [News::Runnable]);
            flow::pause_tenant(rows, &tenant, paused)
        })
        .await
    }

    async fn set_gate(&self, of: GateOf, change: GateChange) -> Result<Gate, StoreError> {
        self.write(move |rows| {
            tell(rows, [News::Runnable]);
            flow::gates::set(rows, &of, change)
        })
        .await
    }

    async fn gates(&self, tenant: TenantId) -> Result<Vec<Gate>, StoreError> {
        self.db.read(move |conn| read::gates(conn, &tenant)).await
    }

    async fn repeated(
        &self,
        function: FunctionKey,
        key: String,
        now: Timestamp,
    ) -> Result<Option<ExecutionId>, StoreError> {
        self.write(move |rows| flow::submit::repeated(rows, &function, &key, now)).await
    }

    async fn endings(&self, limit: usize) -> Result<Vec<ExecutionId>, StoreError> {
        self.db.read(move |conn| read::endings(conn, limit)).await
    }

    async fn forget_endings(&self, ids: Vec<ExecutionId>) -> Result<(), StoreError> {
        self.db.write(move |tx| rows::forget_endings(tx, &ids)).await
    }

    async fn checkpoint(&self, scope: String) -> Result<Option<Checkpoint>, StoreError> {
        self.db.read(move |conn| checkpoints::get(conn, &scope)).await
    }

    async fn save_checkpoint(
        &self,
        lease: LeaseRef,
        expected: u64,
        body: Option<String>,
        now: Timestamp,
    ) -> Result<u64, CheckpointError> {
        self.db.write(move |tx| checkpoints::put(tx, &lease, expected, body.as_deref(), now)).await
    }

    async fn put_schedule(
        &self,
        schedule: Schedule,
        first_at: Option<Timestamp>,
    ) -> Result<Schedule, StoreError> {
        self.write(move |rows| {
            tell(rows, [News::Schedules]);
            flow::fire::put(rows, schedule, first_at)
        })
        .await
    }

    async fn pause_schedule(
        &self,
        key: ScheduleKey,
        paused: bool,
    ) -> Result<Option<Schedule>, StoreError> {
        self.write(move |rows| {
            tell(rows, [News::Schedules]);
            flow::fire::pause(rows, &key, paused)
        })
        .await
    }

    async fn remove_schedule(&self, key: ScheduleKey) -> Result<bool, StoreError> {
        self.db.write(move |tx| rows::remove_schedule(tx, &key)).await
    }

    async fn schedules(&self, tenant: TenantId) -> Result<Vec<Schedule>, StoreError> {
        self.db.read(move |conn| read::schedules(conn, &tenant)).await
    }

    async fn schedule(&self, key: ScheduleKey) -> Result<Option<Schedule>, StoreError> {
        self.db.read(move |conn| read::schedule(conn, &key)).await
    }

    async fn due(
        &self,
        now: Timestamp,
        limit: usize,
    ) -> Result<(Vec<Schedule>, Option<Timestamp>), StoreError> {
        self.db.read(move |conn| read::due(conn, now, limit)).await
    }

    async fn fire(&self, fire: Fire) -> Result<Option<Fired>, StoreError> {
        let due = Due::prepare(fire)?;
        self.write(move |rows| {
            let fired = flow::fire::fire(rows, due)?;
            tell(rows, fired.is_some().then_some(News::Runnable));
            Ok(fired)
        })
        .await
    }

    async fn news(&self) -> Vec<News> {
        self.db.news().await
    }
}

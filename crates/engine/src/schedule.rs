//! Schedules: what makes executions by the clock, one per function and connection.

use std::time::Duration;

use async_trait::async_trait;
use bulkhead_sched::frequency::Frequency;
use bulkhead_sched::schedule;
use bulkhead_store::hot::model::{Fire, Fired};
use bulkhead_types::{
    ConcurrencyKey, ConnectionId, ExecutionId, FunctionKey, Limits, RetryPolicy, ScheduleOptions,
    TenantId, Timestamp, Trigger, VersionId,
};
use serde_json::Value;

use crate::{Engine, EngineError, Schedule, ScheduleKey, Submit, Submitted};

/// Schedules fired in one go.
const FIRED_AT_ONCE: usize = 200;

/// Why a due schedule made no execution.
const MISSED: &str = "the run was missed, and this schedule leaves missed runs out";

/// A schedule to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScheduleSpec {
    /// Which function, for which connection.
    pub key: ScheduleKey,
    /// `every 5m`, or `cron: 0 6 * * 1-5 Europe/Paris`.
    pub frequency: String,
    /// How it keeps its times.
    pub options: ScheduleOptions,
    /// Whether it rests until [`Engine::resume`].
    pub paused: bool,
    /// Whether it is due at once, besides its frequency: a sync of a new connection.
    pub first_at_once: bool,
}

/// What of a function is live: what a schedule runs when it is due.
#[derive(Debug, Clone, PartialEq)]
pub struct Live {
    /// The build.
    pub version: VersionId,
    /// What each attempt may use.
    pub limits: Limits,
    /// How failures are tried again.
    pub retry: RetryPolicy,
    /// A key that only so many attempts may share at the same time.
    pub concurrency: Option<ConcurrencyKey>,
    /// What it is called with; `null` for syncs.
    pub input: Value,
}

/// Says what a due schedule runs: the engine does not know deployments.
#[async_trait]
pub trait Resolve: Send + Sync + 'static {
    /// What is live of `function` for `connection`, or why nothing is, for people.
    async fn live(
        &self,
        function: &FunctionKey,
        connection: Option<&ConnectionId>,
    ) -> Result<Live, String>;
}

impl Engine {
    /// Makes a schedule, or changes one. With the frequency and the options it had, an existing one keeps its next time and
    /// whether it is paused.
    ///
    /// # Errors
    /// [`EngineError::Frequency`], which says what to write instead; when the store fails.
    pub async fn put_schedule(&self, spec: ScheduleSpec) -> Result<Schedule, EngineError> {
        let now = self.inner.clock.now();
        let next_at = next_after(&spec.key, &spec.frequency, spec.options, now, now)?;
        let schedule = Schedule {
            key: spec.key,
            frequency: spec.frequency,
            options: spec.options,
            anchor: now,
            paused: spec.paused,
            next_at,
            last_at: None,
            last_execution: None,
            last_error: None,
        };
        let first_at = spec.first_at_once.then_some(now);
        let schedule = self.inner.store.put_schedule(schedule, first_at).await?;
        self.inner.schedules.notify_one();
        Ok(schedule)
    }

    /// Lets a schedule rest. What runs already goes on.
    ///
    /// # Errors
    /// [`EngineError::ScheduleNotFound`]; when the store fails.
    pub async fn pause(&self, key: &ScheduleKey) -> Result<Schedule, EngineError> {
        self.set_paused(key, true).await
    }

    /// Wakes a schedule: what it missed is made up for once, at once, unless its options say otherwise.
    ///
    /// # Errors
    /// [`EngineError::ScheduleNotFound`]; when the store fails.
    pub async fn resume(&self, key: &ScheduleKey) -> Result<Schedule, EngineError> {
        self.set_paused(key, false).await
    }

    /// Runs a schedule's function now, besides its frequency, paused or not. Joins the live execution if there is
    /// one.
    ///
    /// # Errors
    /// [`EngineError::NotLive`], and those of [`Engine::submit`].
    pub async fn trigger(
        &self,
        key: &ScheduleKey,
        resolve: &dyn Resolve,
    ) -> Result<Submitted, EngineError> {
        let live = resolve
            .live(&key.function, key.connection.as_ref())
            .await
            .map_err(EngineError::NotLive)?;
        Ok(self.submit(submit_of(key, live, Trigger::Api)).await?)
    }

    /// Removes a schedule. What runs already goes on.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn remove_schedule(&self, key: &ScheduleKey) -> Result<bool, EngineError> {
        Ok(self.inner.store.remove_schedule(key.clone()).await?)
    }

    /// A tenant's schedules.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn schedules(&self, tenant: &TenantId) -> Result<Vec<Schedule>, EngineError> {
        Ok(self.inner.store.schedules(tenant.clone()).await?)
    }

    /// One schedule.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn schedule(&self, key: &ScheduleKey) -> Result<Option<Schedule>, EngineError> {
        Ok(self.inner.store.schedule(key.clone()).await?)
    }

    /// What is due now or within a time, at most so many, and when the next one after that is: for who prepares for it.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn due_within(
        &self,
        ahead: Duration,
        most: usize,
    ) -> Result<(Vec<ScheduleKey>, Option<Timestamp>), EngineError> {
        let until = self.inner.clock.now().after(ahead);
        let (due, next_at) = self.inner.store.due(until, most).await?;
        Ok((due.into_iter().map(|schedule| schedule.key).collect(), next_at))
    }

    /// Fires what is due. Returns when the next one is.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn fire_due(&self, resolve: &dyn Resolve) -> Result<Option<Timestamp>, EngineError> {
        loop {
            let now = self.inner.clock.now();
            let (due, next_at) = self.inner.store.due(now, FIRED_AT_ONCE).await?;
            if due.is_empty() {
                return Ok(next_at);
            }
            // Together, so that the store commits them together.
            let fired = due.into_iter().map(|schedule| self.fire(schedule, now, resolve));
            futures_util::future::try_join_all(fired).await?;
        }
    }

    async fn fire(
        &self,
        schedule: Schedule,
        now: Timestamp,
        resolve: &dyn Resolve,
    ) -> Result<(), EngineError> {
        let Schedule { key, options, anchor, next_at: due_at, .. } = schedule;
        // A frequency that can't be read any more, or never comes again, rests for as long as a schedule can.
        let next_at = next_after(&key, &schedule.frequency, options, anchor, now)
            .unwrap_or_else(|_| now.after(bulkhead_sched::frequency::INTERVAL_MAX));
        let what = if schedule::runs(options, due_at, now) {
            let live = resolve.live(&key.function, key.connection.as_ref()).await;
            live.map(|live| {
                let id = ExecutionId::generate(now, self.inner.entropy.as_ref());
                (id, Box::new(submit_of(&key, live, Trigger::Schedule)))
            })
        } else {
            Err(MISSED.to_owned())
        };
        let fire = Fire { key, due_at, next_at, now, what };
        match self.inner.store.fire(fire).await? {
            Some(Fired::Submitted(Submitted { duplicate: false, .. })) => {
                self.inner.runnable.notify_one()
            }
            Some(Fired::Skipped(why)) => tracing::warn!(why, "a due schedule made no execution"),
            Some(Fired::Submitted(_)) | None => {}
        }
        Ok(())
    }

    async fn set_paused(&self, key: &ScheduleKey, paused: bool) -> Result<Schedule, EngineError> {
        let schedule = self.inner.store.pause_schedule(key.clone(), paused).await?;
        self.inner.schedules.notify_one();
        schedule.ok_or(EngineError::ScheduleNotFound)
    }
}

fn next_after(
    key: &ScheduleKey,
    frequency: &str,
    options: ScheduleOptions,
    anchor: Timestamp,
    now: Timestamp,
) -> Result<Timestamp, EngineError> {
    let read = Frequency::parse(frequency)?;
    let next = schedule::next_after(&read, schedule::delay(options, &name(key)), anchor, now);
    next.ok_or_else(|| EngineError::NeverDue(frequency.to_owned()))
}

/// What the jitter of a schedule is worked out from.
fn name(key: &ScheduleKey) -> String {
    let FunctionKey { tenant, integration, kind, name } = &key.function;
    let connection = key.connection.as_ref().map_or("", ConnectionId::as_str);
    format!("{tenant}/{integration}/{}/{name}/{connection}", kind.as_str())
}

fn submit_of(key: &ScheduleKey, live: Live, trigger: Trigger) -> Submit {
    let mut submit = Submit::new(key.function.clone(), live.version, trigger, live.input);
    submit.connection.clone_from(&key.connection);
    submit.limits = live.limits;
    submit.retry = live.retry;
    submit.concurrency = live.concurrency;
    submit
}

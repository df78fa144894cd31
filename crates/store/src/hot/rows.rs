//! The row operations that the flow is written over: small, exact, and the same for maps and for SQL.

use bulkhead_sched::gate::Gate;
use bulkhead_sched::settle::Counts;
use bulkhead_sched::share::{Share, VirtualClock};
use bulkhead_types::{
    Attempt, ConcurrencyKey, ConnectionId, ErrorInfo, Execution, ExecutionId, ExecutionState,
    Fault, Fence, FunctionKey, LeaseRef, TenantId, TimelineEvent, Timestamp, Trigger, Units, Usage,
    VersionId, WorkerId,
};
use serde_json::Value;

use super::model::{Schedule, ScheduleKey};
use super::news::News;
use crate::db::StoreError;

/// An execution's row. Input and output are here only when they are short.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Row {
    /// Order of acceptance; 0 until it is inserted.
    pub(crate) seq: i64,
    pub(crate) id: ExecutionId,
    pub(crate) function: FunctionKey,
    pub(crate) version: VersionId,
    pub(crate) connection: Option<ConnectionId>,
    pub(crate) trigger: Trigger,
    pub(crate) retry_of: Option<ExecutionId>,
    pub(crate) input: Option<String>,
    pub(crate) limits: String,
    pub(crate) retry: String,
    pub(crate) scope: String,
    pub(crate) exclusive: Option<String>,
    pub(crate) start_by: Option<Timestamp>,
    pub(crate) concurrency: Option<ConcurrencyKey>,
    /// Its end is told to the tenant's product.
    pub(crate) told: bool,
    pub(crate) units: Units,
    pub(crate) created_at: Timestamp,
    // What changes from here on.
    pub(crate) state: ExecutionState,
    pub(crate) ready_at: Timestamp,
    pub(crate) rank: Timestamp,
    /// Queued: where it stands.
    pub(crate) place: Place,
    /// Held: at which gate.
    pub(crate) gate: Option<String>,
    /// Queued: what it shares with all that have the same gates; none before it has met a gate.
    pub(crate) lane: Option<String>,
    /// Running: the gates it is inside of.
    pub(crate) passed: Vec<String>,
    pub(crate) attempts: u32,
    pub(crate) fence: Fence,
    pub(crate) worker: Option<WorkerId>,
    pub(crate) leased_at: Option<Timestamp>,
    pub(crate) charged_us: i64,
    pub(crate) checkpoint_at_start: u64,
    pub(crate) counts: Counts,
    pub(crate) cancel_asked: bool,
    pub(crate) started_at: Option<Timestamp>,
    pub(crate) ended_at: Option<Timestamp>,
    pub(crate) output: Option<String>,
    pub(crate) error: Option<ErrorInfo>,
    pub(crate) fault: Option<Fault>,
    pub(crate) usage: Usage,
}

impl Row {
    pub(crate) fn lease(&self) -> LeaseRef {
        LeaseRef { execution: self.id.clone(), fence: self.fence }
    }

    pub(crate) fn into_execution(self, input: Value, output: Option<Value>) -> Execution {
        Execution {
            id: self.id,
            function: self.function,
            version: self.version,
            connection: self.connection,
            trigger: self.trigger,
            state: self.state,
            input,
            output,
            error: self.error,
            fault: self.fault,
            attempts: self.attempts,
            fence: self.fence,
            created_at: self.created_at,
            started_at: self.started_at,
            ended_at: self.ended_at,
            usage: self.usage,
        }
    }
}

/// Where a queued execution stands (`bulkhead_sched::gate`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Place {
    /// In the ready index.
    Ready,
    /// At a gate.
    Held,
    /// Behind its lane's front.
    Behind,
}

impl Place {
    /// As in the database.
    pub(crate) const fn as_number(self) -> u32 {
        match self {
            Self::Ready => 0,
            Self::Held => 1,
            Self::Behind => 2,
        }
    }

    pub(crate) const fn of_number(number: u32) -> Option<Self> {
        match number {
            0 => Some(Self::Ready),
            1 => Some(Self::Held),
            2 => Some(Self::Behind),
            _ => None,
        }
    }
}

/// An attempt, as kept.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct AttemptRow {
    pub(crate) attempt: Attempt,
    /// The checkpoint's version at its end, when it moved.
    pub(crate) checkpoint: Option<u64>,
}

/// What a renewal reads of a running execution.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Running {
    pub(crate) lease: LeaseRef,
    pub(crate) leased_at: Timestamp,
    pub(crate) cancel_asked: bool,
}

/// What forgetting reads of an execution.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Aged {
    pub(crate) seq: i64,
    pub(crate) id: ExecutionId,
    pub(crate) created_at: Timestamp,
    pub(crate) state: ExecutionState,
}

/// Gates of one execution: its function's, its connection's, its key's.
pub(crate) const GATES_MAX: usize = 3;

pub(crate) type Result<T> = std::result::Result<T, StoreError>;

/// The row operations. Lists are in the order that their names say, and at most `limit` long.
pub(crate) trait Rows {
    fn execution(&mut self, id: &ExecutionId) -> Result<Option<Row>>;
    fn insert(&mut self, row: &Row) -> Result<()>;
    /// Keeps what may change of a row.
    fn update(&mut self, row: &Row) -> Result<()>;
    fn payload(&mut self, id: &ExecutionId, what: Payload) -> Result<Option<String>>;
    fn put_payload(&mut self, id: &ExecutionId, what: Payload, body: &str) -> Result<()>;

    /// The tenant's ready execution with the smallest rank.
    fn head(&mut self, tenant: &TenantId) -> Result<Option<Row>>;
    /// The one of a lane that is ready or held.
    fn front(&mut self, tenant: &TenantId, lane: &str) -> Result<Option<Row>>;
    /// Of those that stand behind a lane's front, the one with the smallest rank.
    fn behind(&mut self, tenant: &TenantId, lane: &str) -> Result<Option<Row>>;
    /// Of the fronts that are held at a gate, the one with the smallest rank.
    fn held(&mut self, tenant: &TenantId, gate: &str) -> Result<Option<Row>>;
    /// Those that there are of these gates, at most [`GATES_MAX`].
    fn gates(&mut self, tenant: &TenantId, keys: &[String]) -> Result<Vec<Gate>>;
    fn put_gate(&mut self, tenant: &TenantId, gate: &Gate) -> Result<()>;
    fn remove_gate(&mut self, tenant: &TenantId, key: &str) -> Result<()>;
    fn live_exclusive(&mut self, key: &str) -> Result<Option<ExecutionId>>;
    fn waiting_until(&mut self, now: Timestamp, limit: usize) -> Result<Vec<Row>>;
    /// Queued executions that have not begun and whose deadline is past.
    fn too_late(&mut self, now: Timestamp, limit: usize) -> Result<Vec<Row>>;
    fn running_of(&mut self, worker: &WorkerId, limit: usize) -> Result<Vec<Row>>;
    fn running_briefly(&mut self, worker: &WorkerId) -> Result<Vec<Running>>;
    /// The earliest moment at which one of the three lists above, or that of dead workers, may have something.
    fn next_moment(&mut self) -> Result<Option<Timestamp>>;

    fn share(&mut self, tenant: &TenantId) -> Result<Option<Share>>;
    fn put_share(&mut self, share: &Share) -> Result<()>;
    /// Eligible shares with the smallest virtual times.
    fn eligible_shares(&mut self, limit: usize) -> Result<Vec<Share>>;
    /// As above, of those that run nothing.
    fn idle_shares(&mut self, limit: usize) -> Result<Vec<Share>>;
    fn virtual_clock(&mut self) -> Result<VirtualClock>;
    fn put_virtual_clock(&mut self, clock: VirtualClock) -> Result<()>;

    fn put_worker(&mut self, worker: &WorkerId, expires_at: Timestamp) -> Result<()>;
    fn remove_worker(&mut self, worker: &WorkerId) -> Result<()>;
    /// Workers with when they expire, the earliest first.
    fn workers(&mut self) -> Result<Vec<(WorkerId, Timestamp)>>;

    fn idempotent(&mut self, scope: &str, key: &str) -> Result<Option<(ExecutionId, Timestamp)>>;
    fn put_idempotent(
        &mut self,
        scope: &str,
        key: &str,
        id: &ExecutionId,
        expires_at: Timestamp,
    ) -> Result<()>;
    fn purge_idempotent(&mut self, now: Timestamp, limit: usize) -> Result<()>;

    /// Executions in the order that they were accepted in, after `cursor`.
    fn oldest_after(&mut self, cursor: i64, limit: usize) -> Result<Vec<Aged>>;
    /// Removes an execution and all that hangs on it.
    fn remove(&mut self, id: &ExecutionId) -> Result<()>;

    fn checkpoint_version(&mut self, scope: &str) -> Result<u64>;
    fn remove_checkpoint(&mut self, scope: &str) -> Result<()>;

    fn begin_attempt(&mut self, attempt: &Attempt) -> Result<()>;
    /// Keeps how an attempt ended, under its execution and number.
    fn end_attempt(&mut self, attempt: &AttemptRow) -> Result<()>;
    fn append_event(&mut self, id: &ExecutionId, event: &TimelineEvent) -> Result<()>;
    /// Keeps that an execution has ended, for those who tell the tenant's product.
    fn keep_ending(&mut self, id: &ExecutionId) -> Result<()>;

    /// Tells the other servers on the same database, once the step is kept; nobody where there can be none.
    fn tell(&mut self, _news: News) {}

    fn schedule(&mut self, key: &ScheduleKey) -> Result<Option<Schedule>>;
    fn put_schedule(&mut self, schedule: &Schedule) -> Result<()>;
}

/// What is kept apart from the row when it is long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Payload {
    Input,
    Output,
}

impl Payload {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Input => "input",
            Self::Output => "output",
        }
    }
}

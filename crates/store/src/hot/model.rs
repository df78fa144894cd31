//! What goes into the hot path and comes out of it.

use std::time::Duration;

use bulkhead_types::{
    ConcurrencyKey, ConnectionId, Execution, ExecutionId, ExecutionState, Fault, FunctionKey,
    FunctionKind, FunctionName, IntegrationId, Lease, LeaseRef, Limits, Outcome, Retry,
    RetryPolicy, Room, ScheduleOptions, TenantId, Timestamp, Trigger, Usage, VersionId, WorkerId,
};
use serde_json::Value;

use crate::db::StoreError;

/// The longest name of a concurrency key, in bytes.
pub const CONCURRENCY_KEY_BYTES_MAX: usize = 255;

/// The longest idempotency key, in bytes.
pub const IDEMPOTENCY_KEY_BYTES_MAX: usize = 255;

/// Leases given in one transaction; a worker that has room for more asks again.
pub const LEASES_AT_ONCE_MAX: usize = 256;

/// Events kept per execution beyond those its attempts tell.
pub const TIMELINE_EVENTS_MAX: u64 = 1_000;

/// The most executions on one page.
pub const PAGE_LENGTH_MAX: usize = 200;

/// Bytes from which an input or output is kept apart from the execution's row, which is rewritten as it goes on.
pub(crate) const INLINE_BYTES_MAX: usize = 4 * 1024;

/// An execution to be.
#[derive(Debug, Clone, PartialEq)]
pub struct Submit {
    /// Which function.
    pub function: FunctionKey,
    /// Which build of it.
    pub version: VersionId,
    /// On behalf of which connection.
    pub connection: Option<ConnectionId>,
    /// What made it.
    pub trigger: Trigger,
    /// What the function is called with.
    pub input: Value,
    /// What each attempt may use.
    pub limits: Limits,
    /// How failures are tried again.
    pub retry: RetryPolicy,
    /// Whether it repeats an earlier one.
    pub idempotency: Option<Idempotency>,
    /// It expires unless its first attempt began by then.
    pub start_by: Option<Timestamp>,
    /// A key that only so many attempts may share at the same time.
    pub concurrency: Option<ConcurrencyKey>,
    /// What if the same function runs already for the same connection.
    pub overlap: Overlap,
    /// The execution that it repeats, for people.
    pub retry_of: Option<ExecutionId>,
    /// Whether the tenant's product is to be told when it ends ([`super::Store::endings`]).
    pub told: bool,
}

impl Submit {
    /// An execution with default limits, no retries and no deadline. A sync joins its live execution, unless what
    /// made it is a webhook: each of those must be handled. The ends of syncs are told of: nobody waits for them.
    #[must_use]
    pub fn new(function: FunctionKey, version: VersionId, trigger: Trigger, input: Value) -> Self {
        let is_sync = function.kind == FunctionKind::Sync;
        let exclusive = is_sync && trigger != Trigger::Webhook;
        Self {
            function,
            version,
            connection: None,
            trigger,
            input,
            limits: Limits::default(),
            retry: RetryPolicy::default(),
            idempotency: None,
            start_by: None,
            concurrency: None,
            overlap: if exclusive { Overlap::Join } else { Overlap::Allowed },
            retry_of: None,
            told: is_sync,
        }
    }
}

/// A key under which the same submit is accepted once, within its tenant and function.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Idempotency {
    /// 1 to [`IDEMPOTENCY_KEY_BYTES_MAX`] bytes.
    pub key: String,
    /// How long it is remembered.
    pub ttl: Duration,
}

/// What if the same function runs already for the same connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overlap {
    /// Both run. Each has a checkpoint of its own.
    Allowed,
    /// The submit joins the live one. They share one checkpoint, from one execution to the next.
    Join,
}

/// What became of a submit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Submitted {
    /// The execution to look at.
    pub execution: ExecutionId,
    /// Whether it was there before, by its idempotency key or because a sync does not overlap itself.
    pub duplicate: bool,
}

/// Why a submit was refused.
#[derive(Debug, thiserror::Error)]
pub enum SubmitError {
    /// The tenant has as much queued as it may.
    #[error("the tenant's queue is full; try again in {} s, or raise its limit", .retry_after.as_secs())]
    QueueFull {
        /// When to try again.
        retry_after: Duration,
    },
    /// The input is longer than the function takes.
    #[error("the input has {bytes} bytes; at most {bytes_max} are allowed")]
    InputTooLarge {
        /// As JSON.
        bytes: u64,
        /// The function's limit.
        bytes_max: u64,
    },
    /// The idempotency key is empty or too long.
    #[error("an idempotency key has 1 to {IDEMPOTENCY_KEY_BYTES_MAX} bytes")]
    BadIdempotencyKey,
    /// The concurrency key is empty, too long, or lets nobody through.
    #[error(
        "a concurrency key has 1 to {CONCURRENCY_KEY_BYTES_MAX} bytes, no control characters, and a limit of at least 1"
    )]
    BadConcurrencyKey,
    /// The store failed.
    #[error("the execution could not be kept")]
    Store(#[from] StoreError),
}

impl SubmitError {
    /// The stable code.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::QueueFull { .. } => "queue_full",
            Self::InputTooLarge { .. } => "input_too_large",
            Self::BadIdempotencyKey => "invalid_idempotency_key",
            Self::BadConcurrencyKey => "invalid_concurrency_key",
            Self::Store(error) => error.code(),
        }
    }

    /// Whose fault it is.
    #[must_use]
    pub const fn fault(&self) -> Fault {
        match self {
            Self::Store(error) => error.fault(),
            _ => Fault::Caller,
        }
    }

    /// Whether to try again.
    #[must_use]
    pub const fn retry(&self) -> Retry {
        match self {
            Self::QueueFull { retry_after } => Retry::After(*retry_after),
            Self::Store(error) => error.retry(),
            _ => Retry::Never,
        }
    }
}

/// A worker asks for work.
#[derive(Debug, Clone)]
pub struct Dispatch {
    /// Which worker.
    pub worker: WorkerId,
    /// What it has room for. It gets at most [`LEASES_AT_ONCE_MAX`] leases in one go.
    pub room: Room,
    /// Now.
    pub now: Timestamp,
    /// How long a lease lives unless renewed.
    pub lease: Duration,
}

impl Dispatch {
    /// The most leases that it can come to.
    pub(crate) fn leases_max(&self) -> usize {
        let free = usize::try_from(self.room.free.cpu).unwrap_or(usize::MAX);
        free.min(LEASES_AT_ONCE_MAX)
    }
}

/// What a worker got.
#[derive(Debug, Clone, Default)]
pub struct Dispatched {
    /// Its leases.
    pub leases: Vec<Lease>,
    /// Executions found on the way whose start-by deadline is past; they are final now.
    pub ended: Vec<ExecutionId>,
    /// Whether there may be more for somebody: it took all it has room for, or the transaction was long enough.
    pub more: bool,
}

/// What a limit or a pause is about.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum GateOf {
    /// All executions of a function.
    Function(FunctionKey),
    /// All executions on behalf of a connection.
    Connection(TenantId, IntegrationId, ConnectionId),
    /// All executions with a concurrency key of this name.
    Key(TenantId, String),
}

impl GateOf {
    /// Whose.
    #[must_use]
    pub const fn tenant(&self) -> &TenantId {
        match self {
            Self::Function(function) => &function.tenant,
            Self::Connection(tenant, ..) | Self::Key(tenant, _) => tenant,
        }
    }

    /// Its name within the tenant: `f/INTEGRATION/KIND/NAME`, `c/INTEGRATION/CONNECTION` or `k/NAME`.
    #[must_use]
    pub fn key(&self) -> String {
        match self {
            Self::Function(FunctionKey { integration, kind, name, .. }) => {
                format!("f/{integration}/{}/{name}", kind.as_str())
            }
            Self::Connection(_, integration, connection) => format!("c/{integration}/{connection}"),
            Self::Key(_, name) => format!("k/{name}"),
        }
    }
}

/// What to change of a gate; `None` leaves it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct GateChange {
    /// Attempts that may be inside at the same time; `Some(None)` is any number.
    pub running_max: Option<Option<u32>>,
    /// Whether nobody may begin.
    pub paused: Option<bool>,
}

/// How an attempt ended, with what is told along.
#[derive(Debug, Clone, PartialEq)]
pub struct Settled {
    /// How it ended.
    pub outcome: Outcome,
    /// What it used.
    pub usage: Usage,
    /// When the handler's first line ran.
    pub started_at: Option<Timestamp>,
    /// How its sandbox came to be: `parked`, `forked` or `cold`.
    pub start: Option<String>,
    /// The wall that it ran behind, as `WallKind::as_str`.
    pub wall: Option<String>,
}

impl Settled {
    /// An outcome with nothing told along.
    #[must_use]
    pub fn new(outcome: Outcome) -> Self {
        Self { outcome, usage: Usage::default(), started_at: None, start: None, wall: None }
    }
}

/// What became of an outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settlement {
    /// The lease was not the newest, or the execution is final: nothing changed.
    Stale,
    /// Taken.
    Accepted {
        /// The execution's state from here on.
        state: ExecutionState,
        /// When it is queued again, while `Waiting`.
        ready_at: Option<Timestamp>,
    },
}

/// What became of a cancel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CancelResult {
    /// No such execution of this tenant.
    NotFound,
    /// It had ended before, in this state.
    Final(ExecutionState),
    /// It did not run; now it is cancelled.
    Cancelled,
    /// It runs; its worker is to stop it.
    Asked {
        /// Who runs it.
        worker: WorkerId,
        /// Under which lease.
        lease: LeaseRef,
    },
}

/// Why a running execution must stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecallReason {
    /// Somebody cancelled it: tell the sandbox, then kill it.
    Cancelled,
    /// The lease belongs to somebody else now: kill it, nobody waits for the outcome.
    Lost,
}

/// What time alone brought about.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tick {
    /// Executions that became final.
    pub ended: Vec<ExecutionId>,
    /// Leases that ended, and whose they were.
    pub lost: Vec<(WorkerId, LeaseRef)>,
    /// Whether something became runnable.
    pub runnable: bool,
    /// Whether the limit was reached, so that there may be more to do now.
    pub more: bool,
    /// When there will be something to do.
    pub next_at: Option<Timestamp>,
}

/// What was forgotten.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Forgotten {
    /// How many executions.
    pub count: usize,
    /// Where to go on; `None` when everything that is left is younger.
    pub cursor: Option<i64>,
}

/// Which executions to list.
#[derive(Debug, Clone, Default)]
pub struct ExecutionFilter {
    /// Of this integration.
    pub integration: Option<IntegrationId>,
    /// Of functions of this kind.
    pub kind: Option<FunctionKind>,
    /// Of functions of this name.
    pub name: Option<FunctionName>,
    /// In this state.
    pub state: Option<ExecutionState>,
    /// Only dead letters: failed, and repeated by nobody.
    pub dead: bool,
    /// Ended with this error code.
    pub error_code: Option<String>,
    /// On behalf of this connection.
    pub connection: Option<ConnectionId>,
    /// Created at this moment or later.
    pub since: Option<Timestamp>,
    /// Created before this moment.
    pub until: Option<Timestamp>,
    /// Older than this one: the last of the page before.
    pub cursor: Option<ExecutionId>,
    /// At most this many; 0 is the most there may be, [`PAGE_LENGTH_MAX`].
    pub limit: usize,
}

impl ExecutionFilter {
    pub(crate) fn page_length(&self) -> usize {
        if self.limit == 0 { PAGE_LENGTH_MAX } else { self.limit.min(PAGE_LENGTH_MAX) }
    }
}

/// A page of executions, newest first.
#[derive(Debug, Clone, Default)]
pub struct Page {
    /// Without inputs and outputs, which are `null` here.
    pub executions: Vec<Execution>,
    /// Where the next page goes on.
    pub next_cursor: Option<ExecutionId>,
}

/// What names a schedule.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ScheduleKey {
    /// Which function.
    pub function: FunctionKey,
    /// For which connection.
    pub connection: Option<ConnectionId>,
}

/// A schedule, as kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    /// Its name.
    pub key: ScheduleKey,
    /// As the author wrote it.
    pub frequency: String,
    /// Intervals count from here.
    pub anchor: Timestamp,
    /// How it keeps its times.
    pub options: ScheduleOptions,
    /// Whether it rests.
    pub paused: bool,
    /// When it is due.
    pub next_at: Timestamp,
    /// When it last fired.
    pub last_at: Option<Timestamp>,
    /// The execution of the last firing.
    pub last_execution: Option<ExecutionId>,
    /// Why the last firing made no execution.
    pub last_error: Option<String>,
}

/// A due schedule fires.
#[derive(Debug, Clone)]
pub struct Fire {
    /// Which.
    pub key: ScheduleKey,
    /// When it was due; if it is due at another time by now, somebody else fired it.
    pub due_at: Timestamp,
    /// When it is due next.
    pub next_at: Timestamp,
    /// Now.
    pub now: Timestamp,
    /// What to submit, and under which name; or why nothing can be.
    pub what: Result<(ExecutionId, Box<Submit>), String>,
}

/// What became of a firing.
#[derive(Debug)]
pub enum Fired {
    /// An execution: a new one, or the live one it joined.
    Submitted(Submitted),
    /// None, and why; kept with the schedule.
    Skipped(String),
}

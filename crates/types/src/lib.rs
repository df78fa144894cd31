//! The nouns of Bulkhead, as plain values: what the other crates decide about, store and send.
//!
//! Words (see ARCHITECTURE.md, "Words"): a *tenant* deploys *functions*; each deploy makes a *version*; an
//! *execution* is one logical invocation; an *attempt* is one sandboxed run of it, under a *lease*; the
//! *outcome* says how the attempt ended, whose *fault* that was, and whether to go on.
//!
//! Invariant: this crate does no I/O and reads no clock. Time is a [`Timestamp`] that somebody passes in.

mod capacity;
mod execution;
mod fault;
mod function;
mod ids;
mod limits;
mod time;
mod wall;

pub use capacity::{Room, Units};
pub use execution::{
    Attempt, Cause, ErrorInfo, Execution, ExecutionState, Lease, LeaseRef, LimitKind, Outcome,
    TimelineEvent, Trigger, Usage,
};
pub use fault::{Fault, Retry};
pub use function::{
    Concurrency, ConcurrencyKey, EgressRule, FunctionKey, FunctionKind, FunctionSpec, Isolation,
    MissedRuns, RetryPolicy, ScheduleOptions, Uses, Version,
};
pub use ids::{
    ConnectionId, DeploymentId, ExecutionId, Fence, FunctionName, IdError, IntegrationId, TenantId,
    VersionId, WorkerId,
};
pub use limits::{CPU_UNITS_PER_CORE, Limits};
pub use time::{Clock, Entropy, FixedClock, SystemClock, SystemEntropy, Timestamp};
pub use wall::{WallKind, WallRule};

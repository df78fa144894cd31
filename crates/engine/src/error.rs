//! Why the engine could not do what it was asked.

use bulkhead_sched::frequency::FrequencyError;
use bulkhead_store::StoreError;
use bulkhead_store::hot::model::SubmitError;
use bulkhead_types::{ExecutionId, ExecutionState, Fault, Retry};

/// Why the engine could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// No such execution of this tenant.
    #[error("there is no execution {0}")]
    ExecutionNotFound(ExecutionId),
    /// Only what ended badly can be repeated.
    #[error("execution {id} is {}; only a failed, cancelled or expired one can be retried", .state.as_str())]
    NotRetryable {
        /// Which.
        id: ExecutionId,
        /// Where it stands.
        state: ExecutionState,
    },
    /// No such schedule.
    #[error("there is no schedule for this function and connection")]
    ScheduleNotFound,
    /// The frequency can't be read.
    #[error(transparent)]
    Frequency(#[from] FrequencyError),
    /// A schedule whose next time never comes.
    #[error("{0:?} is never due; write a rule that has a next time")]
    NeverDue(String),
    /// The function of a schedule is not deployed, or its connection is gone.
    #[error("the scheduled function cannot be run: {0}")]
    NotLive(String),
    /// The submit was refused.
    #[error(transparent)]
    Submit(#[from] SubmitError),
    /// The store failed.
    #[error("the engine's store failed")]
    Store(#[from] StoreError),
}

impl EngineError {
    /// The stable code.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::ExecutionNotFound(_) => "execution_not_found",
            Self::NotRetryable { .. } => "execution_not_retryable",
            Self::ScheduleNotFound => "schedule_not_found",
            Self::Frequency(error) => error.code(),
            Self::NeverDue(_) => "invalid_frequency",
            Self::NotLive(_) => "function_not_live",
            Self::Submit(error) => error.code(),
            Self::Store(error) => error.code(),
        }
    }

    /// Whose fault it is.
    #[must_use]
    pub const fn fault(&self) -> Fault {
        match self {
            Self::Submit(error) => error.fault(),
            Self::Store(error) => error.fault(),
            _ => Fault::Caller,
        }
    }

    /// Whether to try again.
    #[must_use]
    pub const fn retry(&self) -> Retry {
        match self {
            Self::Submit(error) => error.retry(),
            Self::Store(error) => error.retry(),
            _ => Retry::Never,
        }
    }
}

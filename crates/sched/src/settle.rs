//! An attempt ended; what now? Done, once more from the checkpoint, once more later, or dead.

use std::time::Duration;

use bulkhead_types::{
    ErrorInfo, ExecutionState, Fault, FunctionKind, LimitKind, Outcome, Retry, RetryPolicy,
    Timestamp,
};

use crate::retry;

/// Attempts in a row that may be cut by the cap without moving the checkpoint; the last one ends the execution.
pub const STALLS_MAX: u32 = 3;

/// Attempts in a row that may vanish with their worker. An execution that kills its workers must not go round for
/// ever; one that met this many crashes of others by accident is not worth planning for.
pub const LOSSES_MAX: u32 = 5;

/// Retries after failures that are ours, whatever the function's policy says: nothing of the function's has failed.
const PLATFORM_RETRIES: u32 = 3;

/// Retries of what an external API told to come back later, of functions that nobody waits for: giving up a sync
/// because of a rate limit would be to misread the answer. One that moved its checkpoint in between is not counted.
const TOLD_RETRIES: u32 = 3;

/// What the checkpoint did during the attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// There is none: the next attempt would begin from the beginning.
    NoCheckpoint,
    /// There is one, from before the attempt.
    Stayed,
    /// The attempt saved or cleared it.
    Moved,
}

impl Progress {
    /// From the checkpoint's version before the attempt and after it; 0 is none.
    #[must_use]
    pub const fn between(before: u64, after: u64) -> Self {
        match after {
            0 => Self::NoCheckpoint,
            _ if after == before => Self::Stayed,
            _ => Self::Moved,
        }
    }
}

/// What of an execution's past the decision reads.
#[derive(Debug, Clone)]
pub struct Past<'a> {
    /// What kind of function it runs.
    pub kind: FunctionKind,
    /// Somebody asked to cancel it.
    pub cancel_asked: bool,
    /// What the checkpoint did during the attempt that ended.
    pub progress: Progress,
    /// What was counted before the attempt that ended.
    pub counts: Counts,
    /// The function's policy.
    pub retry: &'a RetryPolicy,
}

/// Attempts that ended badly since the last progress.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Failed by the function, a limit or a crash.
    pub failures: u32,
    /// Cut by the cap.
    pub stalls: u32,
    /// Vanished with their worker.
    pub losses: u32,
}

/// What follows.
#[derive(Debug, Clone, PartialEq)]
pub struct Decision {
    /// What to do.
    pub next: Next,
    /// What to remember for the next time.
    pub counts: Counts,
    /// Why the attempt did not complete, and whose fault that was.
    pub error: Option<(ErrorInfo, Fault)>,
}

/// What to do with the execution.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// It is final.
    End(ExecutionState),
    /// Queue it again at once.
    Again,
    /// Queue it again at this time.
    At(Timestamp),
}

/// Decides what follows the end of an attempt. `random` spreads retries.
#[must_use]
pub fn settle(past: &Past<'_>, outcome: &Outcome, now: Timestamp, random: u64) -> Decision {
    let counts = if past.progress == Progress::Moved { Counts::default() } else { past.counts };
    let turn = Turn { past, counts, now, random };
    match outcome {
        Outcome::Completed(_) => {
            Decision { next: Next::End(ExecutionState::Succeeded), counts, error: None }
        }
        _ if past.cancel_asked => turn.cancelled(),
        Outcome::Failed(cause) => turn.failed(cause.error.clone(), cause.fault, cause.retry),
        Outcome::Interrupted => turn.cut(None),
        Outcome::Limit(LimitKind::TimeLimit, error) if past.progress != Progress::NoCheckpoint => {
            turn.cut(Some(error))
        }
        Outcome::Limit(_, error) | Outcome::Crashed(error) => {
            turn.failed(error.clone(), Fault::Tenant, Retry::Policy)
        }
        // A worker that stops an attempt nobody asked to stop is as good as gone.
        Outcome::Lost | Outcome::Cancelled => turn.lost(),
    }
}

struct Turn<'a> {
    past: &'a Past<'a>,
    counts: Counts,
    now: Timestamp,
    random: u64,
}

impl Turn<'_> {
    fn cancelled(&self) -> Decision {
        let error = ErrorInfo::new("cancelled", "The execution was cancelled.");
        self.end(ExecutionState::Cancelled, error, Fault::Caller)
    }

    fn failed(mut self, error: ErrorInfo, fault: Fault, retry: Retry) -> Decision {
        let told = match retry {
            Retry::Never => return self.end(ExecutionState::Failed, error, fault),
            Retry::After(told) => told,
            Retry::Policy => Duration::ZERO,
        };
        // An API that lets so much through and no more, and a function that gets on in between: nothing fails.
        let gets_on =
            self.past.progress == Progress::Moved && self.is_told_to_come_back(fault, retry);
        let granted = self.granted(fault, retry);
        if !gets_on && self.counts.failures >= self.past.retry.max.max(granted) {
            return self.end(ExecutionState::Failed, error, fault);
        }
        // Who was told when to come back does not come earlier than that.
        let wait = retry::wait(self.past.retry, self.counts.failures, self.random).max(told);
        if !gets_on {
            self.counts.failures += 1;
        }
        Decision {
            next: Next::At(self.now.after(wait)),
            counts: self.counts,
            error: Some((error, fault)),
        }
    }

    /// Retries that need no policy.
    fn granted(&self, fault: Fault, retry: Retry) -> u32 {
        match fault {
            Fault::Platform => PLATFORM_RETRIES,
            _ if self.is_told_to_come_back(fault, retry) => TOLD_RETRIES,
            _ => 0,
        }
    }

    /// Whether an external API said when to come back, and nobody waits for the function.
    fn is_told_to_come_back(&self, fault: Fault, retry: Retry) -> bool {
        let told = matches!((fault, retry), (Fault::Upstream, Retry::After(_)));
        told && self.past.kind != FunctionKind::Action
    }

    fn cut(mut self, error: Option<&ErrorInfo>) -> Decision {
        if self.past.progress != Progress::Moved {
            self.counts.stalls += 1;
        }
        if self.counts.stalls >= STALLS_MAX {
            let text = format!(
                "{STALLS_MAX} attempts in a row reached the time limit without moving the checkpoint. \
                 Save checkpoints more often, or do less between two of them."
            );
            return self.end(
                ExecutionState::Failed,
                ErrorInfo::new("no_progress", text),
                Fault::Tenant,
            );
        }
        let error = error.map(|error| (error.clone(), Fault::Tenant));
        Decision { next: Next::Again, counts: self.counts, error }
    }

    fn lost(mut self) -> Decision {
        self.counts.losses += 1;
        let error = ErrorInfo::new("worker_lost", "The worker that ran the attempt is gone.");
        if self.counts.losses >= LOSSES_MAX {
            return self.end(ExecutionState::Failed, error, Fault::Platform);
        }
        Decision { next: Next::Again, counts: self.counts, error: Some((error, Fault::Platform)) }
    }

    fn end(&self, state: ExecutionState, error: ErrorInfo, fault: Fault) -> Decision {
        Decision { next: Next::End(state), counts: self.counts, error: Some((error, fault)) }
    }
}

#[cfg(test)]
mod tests;

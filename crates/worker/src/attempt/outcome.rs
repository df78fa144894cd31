//! How an attempt ended, out of everything that was seen of its end: one pure function.

use std::time::Duration;

use bulkhead_protocol::{ResultError, SandboxGone, SandboxResult, SlotUsage};
use bulkhead_types::{Cause, ErrorInfo, Fault, LimitKind, Limits, Outcome, Retry};
use serde_json::json;

use crate::mux::Gone;
use crate::pool::TakeError;
use crate::text::cut;

/// After a failure of the platform's, at least this long until the next attempt.
const PLATFORM_RETRY: Duration = Duration::from_secs(1);

/// The longest wait that a function or an upstream may ask for.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(24 * 3_600);

/// What is kept of a function's message and stack, bytes.
const MESSAGE_BYTES_MAX: usize = 16 * 1024;
const STACK_BYTES_MAX: usize = 32 * 1024;

/// The longest error code of a function's, characters.
const CODE_LENGTH_MAX: usize = 64;

/// Signals with which V8 gives up when its heap is full: SIGTRAP, SIGABRT; and as a shell would tell them.
const HEAP_SIGNALS: [i32; 2] = [5, 6];
const HEAP_STATUSES: [i32; 2] = [128 + 5, 128 + 6];

/// Errnos that say that the scratch directory is full.
const DISK_ERRNOS: [&str; 2] = ["ENOSPC", "EDQUOT"];

/// Errnos of a connection that could not be made or kept.
const NETWORK_ERRNOS: [&str; 11] = [
    "ECONNREFUSED",
    "ECONNRESET",
    "ECONNABORTED",
    "EHOSTUNREACH",
    "ENETUNREACH",
    "ENOTFOUND",
    "EAI_AGAIN",
    "EAI_FAIL",
    "EPIPE",
    "ETIMEDOUT",
    "EPROTO",
];

/// What the sandbox said of its end. The first counts.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Answer {
    /// A result.
    Said(SandboxResult),
    /// A result of this many bytes, over the limit.
    TooLarge(u64),
}

/// Why the worker ended the sandbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Why {
    /// The hard cap.
    TimeLimit,
    /// Somebody cancelled it.
    Cancelled,
    /// The lease is somebody else's: nobody reads the outcome.
    Lost,
    /// The worker shuts down.
    Drained,
    /// It sent what a sandbox may not send.
    Violation(String),
    /// It answered and did not leave.
    Answered,
}

/// Everything that was seen of an attempt's end.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Ending {
    /// What the sandbox said.
    pub(crate) answer: Option<Answer>,
    /// Why the worker ended it, if it did.
    pub(crate) why: Option<Why>,
    /// Whether the sandbox was told, before it answered, that the execution is cancelled.
    pub(crate) cancelled: bool,
    /// How it was gone; `None` when its answer settles the attempt and nobody waited for that.
    pub(crate) gone: Option<Gone>,
    /// What the guest measured.
    pub(crate) usage: SlotUsage,
    /// Whether V8 said that its heap is full.
    pub(crate) heap_exhausted: bool,
}

/// The outcome. What the handler said counts first, unless a limit explains why it failed; then why the worker
/// ended it; then how it was gone.
pub(crate) fn outcome(ending: Ending, limits: &Limits) -> Outcome {
    let limit = limit_hit(&ending);
    match ending.answer {
        Some(Answer::Said(SandboxResult::Completed { output })) => Outcome::Completed(output),
        // Told to stop, it stopped: that it threw is how it did so.
        Some(_) if ending.cancelled => Outcome::Cancelled,
        Some(Answer::Said(SandboxResult::Interrupted)) => Outcome::Interrupted,
        Some(Answer::TooLarge(bytes)) => output_too_large(Some(bytes), limits),
        Some(Answer::Said(SandboxResult::Failed { error })) => failed(error, limit, limits),
        None => ended(ending, limit, limits),
    }
}

impl Answer {
    /// Whether the outcome follows from the answer alone. Why a handler failed may be for guest and kernel to say,
    /// once the sandbox is gone.
    pub(crate) fn settles(&self) -> bool {
        use SandboxResult::{Completed, Interrupted};
        matches!(self, Self::Said(Completed { .. } | Interrupted))
    }
}

/// A limit that guest or kernel noted, whatever the sandbox said about it.
fn limit_hit(ending: &Ending) -> Option<LimitKind> {
    let Some(Gone::Guest(gone)) = &ending.gone else { return None };
    let heap = ending.heap_exhausted
        && match gone {
            SandboxGone::Signalled { signal } => HEAP_SIGNALS.contains(signal),
            SandboxGone::Exited { status } => HEAP_STATUSES.contains(status),
            _ => false,
        };
    match gone {
        SandboxGone::OutOfMemory => Some(LimitKind::OutOfMemory),
        _ if heap => Some(LimitKind::OutOfMemory),
        SandboxGone::CpuLimit => Some(LimitKind::CpuLimit),
        SandboxGone::ProcessLimit => Some(LimitKind::ProcessLimit),
        _ if ending.usage.process_refused => Some(LimitKind::ProcessLimit),
        _ if ending.usage.scratch_full => Some(LimitKind::DiskLimit),
        _ => None,
    }
}

/// The handler threw.
fn failed(error: ResultError, limit: Option<LimitKind>, limits: &Limits) -> Outcome {
    let info = |code: &str| ErrorInfo {
        code: code.to_owned(),
        message: cut(&error.message, MESSAGE_BYTES_MAX),
        payload: error.payload.clone(),
        stack: error.stack.as_deref().map(|stack| cut(stack, STACK_BYTES_MAX)),
    };
    let after = error
        .retry_after_ms
        .map_or(Retry::Policy, |ms| Retry::After(Duration::from_millis(ms).min(RETRY_AFTER_MAX)));
    let fail = |error: ErrorInfo, fault, retry| Outcome::Failed(Cause { error, fault, retry });
    match error.code.as_str() {
        code @ "action_error" => fail(info(code), Fault::Tenant, Retry::Never),
        code @ "invalid_input" => fail(info(code), Fault::Caller, Retry::Never),
        "output_too_large" => output_too_large(None, limits),
        code if DISK_ERRNOS.contains(&code) => limit_outcome(LimitKind::DiskLimit, limits),
        // What is left may be a consequence of a limit, and then that is its cause.
        _ if limit.is_some_and(|limit| limit != LimitKind::DiskLimit) => {
            limit_outcome(limit.unwrap_or(LimitKind::OutOfMemory), limits)
        }
        code @ ("upstream_error" | "upstream_unreachable") => {
            fail(info(code), Fault::Upstream, after)
        }
        code if NETWORK_ERRNOS.contains(&code) => {
            let payload = Some(json!({"cause": code}));
            fail(ErrorInfo { payload, ..info("upstream_unreachable") }, Fault::Upstream, after)
        }
        _ if limit == Some(LimitKind::DiskLimit) => limit_outcome(LimitKind::DiskLimit, limits),
        code if is_code(code) => fail(info(code), Fault::Tenant, after),
        _ => fail(info("script_error"), Fault::Tenant, after),
    }
}

fn is_code(text: &str) -> bool {
    let valid = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    !text.is_empty() && text.len() <= CODE_LENGTH_MAX && text.chars().all(valid)
}

/// It went without a result.
fn ended(ending: Ending, limit: Option<LimitKind>, limits: &Limits) -> Outcome {
    match ending.why {
        Some(Why::Cancelled) => return Outcome::Cancelled,
        Some(Why::TimeLimit) => return limit_outcome(LimitKind::TimeLimit, limits),
        Some(Why::Violation(what)) => return violation(&what),
        Some(Why::Lost) => return platform("lease_lost", "The lease is somebody else's by now"),
        Some(Why::Drained) => {
            return platform("worker_stopped", "The worker shut down before the attempt had ended");
        }
        Some(Why::Answered) | None => {}
    }
    if let Some(limit) = limit {
        return limit_outcome(limit, limits);
    }
    let crashed = |code: &str, message: String| Outcome::Crashed(ErrorInfo::new(code, message));
    match ending.gone {
        // Forks can't reach their guest, and whoever shared the compartment with the one at fault has done nothing.
        Some(Gone::Broken(broken)) => {
            platform("compartment_broken", &format!("The function's compartment broke: {broken}"))
        }
        Some(Gone::Guest(SandboxGone::NotStarted { error })) => {
            take_failed(TakeError::Unavailable { stage: error.stage, message: error.message })
        }
        Some(Gone::Guest(SandboxGone::ProtocolViolation { error })) => violation(&error),
        Some(Gone::Guest(SandboxGone::Signalled { signal })) => crashed(
            "sandbox_crashed",
            format!("The function's process was ended by signal {signal} before it had a result"),
        ),
        Some(Gone::Guest(SandboxGone::Exited { status })) => crashed(
            "no_result",
            format!("The function's process exited with status {status} before it had a result"),
        ),
        Some(Gone::Guest(_)) | None => crashed(
            "sandbox_crashed",
            "The function's process was ended before it had a result".to_owned(),
        ),
    }
}

/// There was no sandbox.
pub(crate) fn take_failed(error: TakeError) -> Outcome {
    match error {
        TakeError::Bundle { message } => {
            let message = cut(&message, MESSAGE_BYTES_MAX);
            let message = format!("The function's bundle does not load: {message}");
            let error = ErrorInfo::new("bundle_failed", message);
            Outcome::Failed(Cause { error, fault: Fault::Tenant, retry: Retry::Never })
        }
        // Another worker may have it; and it says whose fault it is.
        missing @ TakeError::NoWall { .. } => platform("wall_unavailable", &missing.to_string()),
        unavailable @ (TakeError::Unavailable { .. } | TakeError::NoRoom) => {
            platform("sandbox_unavailable", &unavailable.to_string())
        }
    }
}

/// A failure of ours; the work is tried again.
pub(crate) fn platform(code: &str, message: &str) -> Outcome {
    let error = ErrorInfo::new(code, message);
    let retry = Retry::After(PLATFORM_RETRY);
    Outcome::Failed(Cause { error, fault: Fault::Platform, retry })
}

fn violation(what: &str) -> Outcome {
    let what = cut(what, MESSAGE_BYTES_MAX);
    let message = format!("The function's process sent what a sandbox may not send: {what}");
    Outcome::Crashed(ErrorInfo::new("protocol_violation", message))
}

fn output_too_large(bytes: Option<u64>, limits: &Limits) -> Outcome {
    let has = bytes.map_or_else(|| "has more".to_owned(), |bytes| format!("has {bytes}"));
    let max = limits.output_bytes;
    let message = format!(
        "The output {has} bytes; at most {max} are allowed. Return less, or save records instead"
    );
    let kind = LimitKind::OutputTooLarge;
    Outcome::Limit(kind, ErrorInfo::new(kind.as_str(), message))
}

fn limit_outcome(kind: LimitKind, limits: &Limits) -> Outcome {
    let message = match kind {
        LimitKind::OutOfMemory => {
            format!("The function used more than its {} MiB of memory", limits.memory_mib)
        }
        LimitKind::CpuLimit => format!(
            "The function used more than its {} ms of CPU time",
            limits.cpu_ms.unwrap_or(limits.time_ms)
        ),
        LimitKind::TimeLimit => {
            format!("The attempt did not end within its {} ms and was killed", limits.time_ms)
        }
        LimitKind::DiskLimit => format!(
            "The function filled its scratch directory: {} MiB and {} files are allowed",
            limits.scratch_mib, limits.scratch_inodes
        ),
        LimitKind::ProcessLimit => {
            format!("The function wanted more than its {} processes and threads", limits.processes)
        }
        LimitKind::OutputTooLarge => return output_too_large(None, limits),
    };
    Outcome::Limit(kind, ErrorInfo::new(kind.as_str(), message))
}

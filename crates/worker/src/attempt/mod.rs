//! One attempt, from lease to outcome.

use std::sync::Arc;

use bulkhead_types::{Cause, ErrorInfo, Fault, Lease, Outcome, Retry, Usage};
use tokio::sync::watch;

use crate::runner::{Inner, Measured, Stop};
use crate::source::{Prepared, Settled};

pub(crate) async fn run_attempt(
    _inner: &Arc<Inner>,
    _lease: Lease,
    _taken_us: u64,
    _stop: watch::Receiver<Option<Stop>>,
) -> Settled {
    let error = ErrorInfo::new("sandbox_unavailable", "attempts do not run yet");
    let cause = Cause { error, fault: Fault::Platform, retry: Retry::Never };
    Settled {
        outcome: Outcome::Failed(cause),
        usage: Usage::default(),
        started_at: None,
        start: None,
    }
}

pub(crate) async fn run_prepared(
    inner: &Arc<Inner>,
    lease: &Lease,
    _prepared: &Prepared,
    taken_us: u64,
    stop: watch::Receiver<Option<Stop>>,
) -> Measured {
    let settled = run_attempt(inner, lease.clone(), taken_us, stop).await;
    Measured { settled, sandbox_us: 0, total_us: 0 }
}

//! One attempt, from lease to outcome: prepare, take a sandbox, start, serve it to its end, say how it ended.

mod budget;
mod calls;
mod connection;
mod connections;
mod logs;
mod outcome;
#[cfg(test)]
mod outcome_tests;
mod serve;
mod streams;

use std::sync::Arc;
use std::time::Duration;

use bulkhead_protocol::{CallError, SlotUsage, StartKind};
use bulkhead_types::{Lease, Outcome, Timestamp, Usage, WallKind};
use tokio::sync::watch;

use crate::runner::{Inner, Measured, Stop};
use crate::source::{Prepared, Settled};
use crate::stats::{StartSample, Stats};
use outcome::{platform, take_failed};
use serve::Served;

/// How long the host may take to gather what an attempt needs.
const PREPARE_WAIT: Duration = Duration::from_secs(30);

/// From lease to outcome.
pub(crate) async fn run_attempt(
    inner: &Arc<Inner>,
    lease: Lease,
    taken_us: u64,
    mut stop: watch::Receiver<Option<Stop>>,
) -> Settled {
    let preparing = tokio::time::timeout(PREPARE_WAIT, inner.parts.host.prepare(&lease));
    let prepared = tokio::select! {
        prepared = preparing => prepared,
        stop = stopped(&mut stop) => return without_sandbox(stopped_early(stop)),
    };
    match prepared {
        Ok(Ok(prepared)) => {
            let settled = run_prepared(inner, &lease, &prepared, taken_us, stop).await.settled;
            let outcome = inner.parts.host.presentable(&lease, settled.outcome).await;
            Settled { outcome, ..settled }
        }
        Ok(Err(error)) => without_sandbox(prepare_failed(&error)),
        Err(_) => {
            let message = format!("nothing prepared after {} seconds", PREPARE_WAIT.as_secs());
            without_sandbox(platform("prepare_failed", &message))
        }
    }
}

/// From what is prepared to the outcome.
pub(crate) async fn run_prepared(
    inner: &Arc<Inner>,
    lease: &Lease,
    prepared: &Prepared,
    taken_us: u64,
    mut stop: watch::Receiver<Option<Stop>>,
) -> Measured {
    let since = |inner: &Inner| inner.parts.monotonic.micros().saturating_sub(taken_us);
    let taken = tokio::select! {
        taken = inner.pool.take(prepared, &lease.limits) => taken.map_err(take_failed),
        stop = stopped(&mut stop) => Err(stopped_early(stop)),
    };
    let sandbox_us = since(inner);
    let settled = match taken {
        Err(outcome) => without_sandbox(outcome),
        Ok(taken) => {
            Stats::count(&inner.stats.executions);
            Stats::count(&inner.stats.sandboxes_used);
            let kind = taken.kind;
            let _memory = inner.stats.has_sandbox(lease.limits.memory_mib);
            let served = serve::serve(inner, lease, prepared, taken, stop).await;
            settled(inner, lease, served, (kind, prepared.wall), taken_us)
        }
    };
    if matches!(settled.outcome, Outcome::Failed(_) | Outcome::Limit(..) | Outcome::Crashed(_)) {
        Stats::count(&inner.stats.failures);
    }
    Measured { settled, sandbox_us, total_us: since(inner) }
}

fn settled(
    inner: &Inner,
    lease: &Lease,
    served: Served,
    (kind, wall): (StartKind, WallKind),
    taken_us: u64,
) -> Settled {
    let start_us = served.started_us.map(|started_us| started_us.saturating_sub(taken_us));
    if let Some(start_us) = start_us {
        inner.stats.started(StartSample { kind, wall, start_us });
    }
    let SlotUsage { cpu_us, memory_bytes_peak, .. } = served.ending.usage;
    let start_us = start_us.unwrap_or(0);
    let usage = Usage { wall_ms: served.wall_ms, cpu_us, memory_bytes_peak, start_us };
    let outcome = outcome::outcome(served.ending, &lease.limits);
    Settled { outcome, usage, started_at: served.started_at, start: Some(kind), wall: Some(wall) }
}

fn without_sandbox(outcome: Outcome) -> Settled {
    let started_at: Option<Timestamp> = None;
    Settled { outcome, usage: Usage::default(), started_at, start: None, wall: None }
}

fn prepare_failed(error: &CallError) -> Outcome {
    platform("prepare_failed", &format!("{}: {}", error.code, error.message))
}

/// Waits until the attempt must stop. Whoever could say so being gone means that nobody will.
async fn stopped(stop: &mut watch::Receiver<Option<Stop>>) -> Stop {
    // What has not begun by the time a shutdown has waited long enough is given back then.
    let ends = |stop: &Option<Stop>| stop.is_some_and(|stop| stop != Stop::Winding);
    match stop.wait_for(ends).await.map(|stop| *stop) {
        Ok(Some(stop)) => stop,
        _ => std::future::pending().await,
    }
}

fn stopped_early(stop: Stop) -> Outcome {
    match stop {
        Stop::Cancelled => Outcome::Cancelled,
        Stop::Lost => platform("lease_lost", "The lease is somebody else's by now"),
        Stop::Drained | Stop::Winding => {
            platform("worker_stopped", "The worker shut down before the attempt began")
        }
    }
}

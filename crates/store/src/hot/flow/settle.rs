//! An attempt ended: what `bulkhead-sched` decides is carried out.

use std::time::Duration;

use bulkhead_sched::settle::{self, Decision, Next, Past, Progress};
use bulkhead_types::{
    Attempt, ExecutionState, LeaseRef, Outcome, RetryPolicy, Timestamp, Usage, WorkerId,
};

use super::super::model::{INLINE_BYTES_MAX, Settled, Settlement, Tick};
use super::super::rows::{AttemptRow, Payload, Result, Row, Rows};
use super::{forget_checkpoint, gates, queue, share_of, shift, tell_of};

/// An outcome with its output written out, so that the writer's time is not spent on it.
#[derive(Debug)]
pub(crate) struct Ended {
    settled: Settled,
    output: Option<String>,
}

/// Writes the output out.
pub(crate) fn prepare(mut settled: Settled) -> Result<Ended> {
    let output = match &mut settled.outcome {
        Outcome::Completed(output) => Some(crate::db::to_json("executions", &output.take())?),
        _ => None,
    };
    Ok(Ended { settled, output })
}

/// Takes an outcome, unless the lease is stale.
pub(crate) fn settle(
    rows: &mut dyn Rows,
    lease: &LeaseRef,
    ended: Ended,
    now: Timestamp,
    random: u64,
) -> Result<Settlement> {
    let Some(mut row) = rows.execution(&lease.execution)? else { return Ok(Settlement::Stale) };
    let Some(worker) = row.worker.clone() else { return Ok(Settlement::Stale) };
    if row.fence != lease.fence || row.state != ExecutionState::Running {
        return Ok(Settlement::Stale);
    }
    let (decision, version) = decide(rows, &row, &ended.settled.outcome, now, random)?;
    let mut share = share_of(rows, &row.function.tenant)?;
    let usage = ended.settled.usage;
    share.correct(row.charged_us, used(&row, usage, now));
    let mut attempt = attempt(&row, worker, &ended.settled, now);
    attempt.attempt.error = decision.error.as_ref().map(|(error, _)| error.clone());
    attempt.checkpoint = (version > row.checkpoint_at_start).then_some(version);
    rows.end_attempt(&attempt)?;

    add_usage(&mut row.usage, usage);
    row.counts = decision.counts;
    row.worker = None;
    row.charged_us = 0;
    (row.error, row.fault) = decision.error.unzip();
    gates::release(rows, &mut share, &mut row)?;
    match decision.next {
        Next::Again => queue(rows, &mut share, &mut row, now)?,
        Next::At(at) => {
            shift(&mut share, &mut row, ExecutionState::Waiting);
            row.ready_at = at;
        }
        Next::End(state) => {
            shift(&mut share, &mut row, state);
            row.ended_at = Some(now);
            tell_of(rows, &row)?;
            if version > 0 {
                forget_checkpoint(rows, &row)?;
            }
        }
    }
    if let Some(output) = ended.output {
        if output.len() <= INLINE_BYTES_MAX {
            row.output = Some(output);
        } else {
            rows.put_payload(&row.id, Payload::Output, &output)?;
        }
    }
    rows.update(&row)?;
    rows.put_share(&share)?;
    let ready_at = (row.state == ExecutionState::Waiting).then_some(row.ready_at);
    Ok(Settlement::Accepted { state: row.state, ready_at })
}

fn decide(
    rows: &mut dyn Rows,
    row: &Row,
    outcome: &Outcome,
    now: Timestamp,
    random: u64,
) -> Result<(Decision, u64)> {
    let version = rows.checkpoint_version(&row.scope)?;
    let progress = Progress::between(row.checkpoint_at_start, version);
    let retry: RetryPolicy = crate::db::from_json("executions", &row.retry)?;
    let past = Past {
        kind: row.function.kind,
        cancel_asked: row.cancel_asked,
        progress,
        counts: row.counts,
        retry: &retry,
    };
    Ok((settle::settle(&past, outcome, now, random), version))
}

/// The lease of `worker` is dead: its execution goes on elsewhere or ends. Noted in `tick`.
pub(super) fn lose(
    rows: &mut dyn Rows,
    worker: &WorkerId,
    lease: &LeaseRef,
    now: Timestamp,
    tick: &mut Tick,
) -> Result<()> {
    let ended = Ended { settled: Settled::new(Outcome::Lost), output: None };
    // A lost attempt goes on at once or ends: there is no wait to spread.
    let Settlement::Accepted { state, .. } = settle(rows, lease, ended, now, 0)? else {
        return Ok(());
    };
    tick.lost.push((worker.clone(), lease.clone()));
    if state.is_final() {
        tick.ended.push(lease.execution.clone());
    } else {
        tick.runnable = true;
    }
    Ok(())
}

/// How long the attempt held its slot: as measured, or since its lease when nobody measured.
fn used(row: &Row, usage: Usage, now: Timestamp) -> Duration {
    match usage.wall_ms {
        0 => row.leased_at.map_or(Duration::ZERO, |leased_at| now.since(leased_at)),
        wall_ms => Duration::from_millis(wall_ms),
    }
}

fn add_usage(sum: &mut Usage, one: Usage) {
    sum.wall_ms = sum.wall_ms.saturating_add(one.wall_ms);
    sum.cpu_us = sum.cpu_us.saturating_add(one.cpu_us);
    sum.memory_bytes_peak = sum.memory_bytes_peak.max(one.memory_bytes_peak);
    sum.start_us = one.start_us;
}

fn attempt(row: &Row, worker: WorkerId, settled: &Settled, now: Timestamp) -> AttemptRow {
    let attempt = Attempt {
        execution: row.id.clone(),
        number: row.attempts,
        fence: row.fence,
        worker,
        leased_at: row.leased_at.unwrap_or(now),
        started_at: settled.started_at,
        ended_at: Some(now),
        outcome: Some(settled.outcome.as_str().to_owned()),
        error: None,
        usage: settled.usage,
        start: settled.start.clone(),
        wall: settled.wall.clone(),
    };
    AttemptRow { attempt, checkpoint: None }
}

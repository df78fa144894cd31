//! Accepting an execution.

use bulkhead_types::{
    ConcurrencyKey, ExecutionId, ExecutionState, Fence, FunctionKey, Limits, RetryPolicy,
    Timestamp, Usage,
};

use serde_json::Value;

use super::super::group::Need;
use super::super::model::{
    CONCURRENCY_KEY_BYTES_MAX, IDEMPOTENCY_KEY_BYTES_MAX, INLINE_BYTES_MAX, Overlap, Submit,
    SubmitError, Submitted,
};
use super::super::rows::{Payload, Place, Row, Rows};
use super::gates;
use crate::db::StoreError;

/// A submit with its values written out, so that the writer's time is not spent on it.
#[derive(Debug)]
pub(crate) struct Prepared {
    row: Row,
    input: String,
    idempotency: Option<Key>,
}

#[derive(Debug)]
struct Key {
    scope: String,
    key: String,
    expires_at: Timestamp,
}

impl Prepared {
    /// What [`submit`] will look at.
    pub(crate) fn need(&self) -> Need {
        let key = self.idempotency.as_ref().map(|key| (key.scope.clone(), key.key.clone()));
        Need::Submit(self.row.function.tenant.clone(), key)
    }
}

/// Checks a submit and writes its values out.
pub(crate) fn prepare(
    id: ExecutionId,
    submit: Submit,
    now: Timestamp,
) -> Result<Prepared, SubmitError> {
    let input = json(&submit.input)?;
    let bytes = u64::try_from(input.len()).unwrap_or(u64::MAX);
    if bytes > submit.limits.input_bytes {
        return Err(SubmitError::InputTooLarge { bytes, bytes_max: submit.limits.input_bytes });
    }
    let scope = function_scope(&submit.function);
    let idempotency = submit.idempotency.map(|key| {
        let fits = (1..=IDEMPOTENCY_KEY_BYTES_MAX).contains(&key.key.len());
        let kept = Key { scope: scope.clone(), key: key.key, expires_at: now.after(key.ttl) };
        fits.then_some(kept).ok_or(SubmitError::BadIdempotencyKey)
    });
    let fits = |key: &ConcurrencyKey| {
        let plain = !key.name.chars().any(char::is_control);
        (1..=CONCURRENCY_KEY_BYTES_MAX).contains(&key.name.len()) && plain && key.max > 0
    };
    if !submit.concurrency.as_ref().is_none_or(fits) {
        return Err(SubmitError::BadConcurrencyKey);
    }
    let exclusive = (submit.overlap == Overlap::Join).then(|| {
        let connection = submit.connection.as_ref().map_or("", |connection| connection.as_str());
        format!("{scope}/{connection}")
    });
    let class = bulkhead_sched::rank::Class::of(submit.function.kind, submit.trigger);
    let row = Row {
        seq: 0,
        scope: exclusive.clone().unwrap_or_else(|| id.as_str().to_owned()),
        id,
        function: submit.function,
        version: submit.version,
        connection: submit.connection,
        trigger: submit.trigger,
        retry_of: submit.retry_of,
        input: None,
        limits: brief_limits(&submit.limits)?,
        retry: brief_retry(&submit.retry)?,
        exclusive,
        start_by: submit.start_by,
        concurrency: submit.concurrency,
        told: submit.told,
        units: submit.limits.units(),
        created_at: now,
        state: ExecutionState::Queued,
        ready_at: now,
        rank: bulkhead_sched::rank::rank(class, now),
        place: Place::Ready,
        gate: None,
        lane: None,
        passed: Vec::new(),
        attempts: 0,
        fence: Fence(0),
        worker: None,
        leased_at: None,
        charged_us: 0,
        checkpoint_at_start: 0,
        counts: bulkhead_sched::settle::Counts::default(),
        cancel_asked: false,
        started_at: None,
        ended_at: None,
        output: None,
        error: None,
        fault: None,
        usage: Usage::default(),
    };
    Ok(Prepared { row, input, idempotency: idempotency.transpose()? })
}

/// Accepts what was prepared, or finds what it repeats.
pub(crate) fn submit(rows: &mut dyn Rows, prepared: Prepared) -> Result<Submitted, SubmitError> {
    let Prepared { mut row, input, idempotency } = prepared;
    if let Some(Key { scope, key, .. }) = &idempotency
        && let Some((execution, expires_at)) = rows.idempotent(scope, key)?
        && expires_at > row.created_at
    {
        return Ok(Submitted { execution, duplicate: true });
    }
    let live = match &row.exclusive {
        Some(exclusive) => rows.live_exclusive(exclusive)?,
        None => None,
    };
    let submitted = match live {
        Some(execution) => Submitted { execution, duplicate: true },
        None => {
            let mut share = super::share_of(rows, &row.function.tenant)?;
            share
                .admit()
                .map_err(|full| SubmitError::QueueFull { retry_after: full.retry_after })?;
            share.queued += 1;
            gates::enter(rows, &mut share, &mut row)?;
            rows.put_share(&share)?;
            insert(rows, &mut row, input)?;
            Submitted { execution: row.id.clone(), duplicate: false }
        }
    };
    if let Some(Key { scope, key, expires_at }) = idempotency {
        rows.put_idempotent(&scope, &key, &submitted.execution, expires_at)?;
    }
    Ok(submitted)
}

/// The execution that an idempotency key names, if it is remembered still.
pub(crate) fn repeated(
    rows: &mut dyn Rows,
    function: &FunctionKey,
    key: &str,
    now: Timestamp,
) -> Result<Option<ExecutionId>, StoreError> {
    let found = rows.idempotent(&function_scope(function), key)?;
    Ok(found.filter(|(_, expires_at)| *expires_at > now).map(|(execution, _)| execution))
}

/// A submit that repeats an execution, with a fresh name and no idempotency key.
pub(crate) fn again(row: Row, input: Value) -> Result<Submit, StoreError> {
    Ok(Submit {
        function: row.function,
        version: row.version,
        connection: row.connection,
        trigger: row.trigger,
        input,
        limits: crate::db::from_json("executions", &row.limits)?,
        retry: crate::db::from_json("executions", &row.retry)?,
        idempotency: None,
        start_by: None,
        concurrency: row.concurrency,
        overlap: if row.exclusive.is_some() { Overlap::Join } else { Overlap::Allowed },
        retry_of: Some(row.id),
        told: row.told,
    })
}

fn insert(rows: &mut dyn Rows, row: &mut Row, input: String) -> Result<(), StoreError> {
    if input.len() <= INLINE_BYTES_MAX {
        row.input = Some(input);
        return rows.insert(row);
    }
    rows.insert(row)?;
    rows.put_payload(&row.id, Payload::Input, &input)
}

/// Within which an idempotency key names one execution.
fn function_scope(function: &FunctionKey) -> String {
    let FunctionKey { tenant, integration, kind, name } = function;
    format!("{tenant}/{integration}/{}/{name}", kind.as_str())
}

/// Limits as an array of their values, in the order in which the type has them: an execution's row is written three
/// times in its life, and the names would be a quarter of it. What has names is read as well. The last ones are left out
/// where they are usual: a server of an earlier release, which may run beside this one, has never heard of them.
fn brief_limits(limits: &Limits) -> Result<String, StoreError> {
    let (l, usual) = (limits, Limits::default());
    let always = (
        (l.time_ms, l.soft_percent, l.cpu_ms, l.memory_mib, l.processes, l.scratch_mib),
        (l.scratch_inodes, l.input_bytes, l.output_bytes, l.log_bytes, l.log_lines),
        (l.connections, l.cpu_units, l.memory_reserved_mib),
    );
    let later = |l: &Limits| (l.connections_per_minute, l.lookups_per_minute, l.egress_mib);
    if later(l) == later(&usual) {
        return json(&always).map(flat);
    }
    let (a, b, c) = always;
    json(&(a, b, c, later(l))).map(flat)
}

/// As [`brief_limits`].
fn brief_retry(retry: &RetryPolicy) -> Result<String, StoreError> {
    json(&(retry.max, retry.backoff_ms, retry.backoff_ms_max, retry.jitter))
}

/// One array out of an array of arrays of numbers.
fn flat(nested: String) -> String {
    let flat = nested.replace("],[", ",");
    flat.replace("[[", "[").replace("]]", "]")
}

fn json<T: serde::Serialize>(value: &T) -> Result<String, StoreError> {
    crate::db::to_json("executions", value)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

    use super::*;

    #[test]
    fn what_is_written_briefly_is_read_as_it_was() {
        // Every value its own: two that changed places would be seen.
        let limits = Limits {
            time_ms: 1,
            soft_percent: 2,
            cpu_ms: Some(3),
            memory_mib: 4,
            processes: 5,
            scratch_mib: 6,
            scratch_inodes: 7,
            input_bytes: 8,
            output_bytes: 9,
            log_bytes: 10,
            log_lines: 11,
            connections: 12,
            cpu_units: 13,
            memory_reserved_mib: 14,
            connections_per_minute: 15,
            lookups_per_minute: 16,
            egress_mib: 17,
        };
        let text = brief_limits(&limits).unwrap();
        assert_eq!(text, "[1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17]");
        assert_eq!(serde_json::from_str::<Limits>(&text).unwrap(), limits);
        let earlier =
            Limits { connections: 12, cpu_units: 13, memory_reserved_mib: 14, ..Limits::default() };
        let text = brief_limits(&earlier).unwrap();
        assert!(text.ends_with(",12,13,14]"), "{text}");
        assert_eq!(serde_json::from_str::<Limits>(&text).unwrap(), earlier);
        let usual = brief_limits(&Limits::default()).unwrap();
        assert_eq!(serde_json::from_str::<Limits>(&usual).unwrap(), Limits::default());
        let retry = RetryPolicy { max: 1, backoff_ms: 2, backoff_ms_max: 3, jitter: false };
        let text = brief_retry(&retry).unwrap();
        assert_eq!(serde_json::from_str::<RetryPolicy>(&text).unwrap(), retry);
        let named = serde_json::to_string(&limits).unwrap();
        assert_eq!(serde_json::from_str::<Limits>(&named).unwrap(), limits, "as before");
    }
}

//! An execution's timeline. Most of it is told by its row and its attempts and costs no write of its own; only
//! what those do not tell is kept as events.

use bulkhead_types::{ExecutionState, TimelineEvent, Timestamp};
use serde_json::{Value, json};

use super::super::rows::{AttemptRow, Row};

/// Puts together what happened, oldest first.
pub(crate) fn compose(
    row: &Row,
    attempts: &[AttemptRow],
    events: Vec<TimelineEvent>,
) -> Vec<TimelineEvent> {
    let mut all =
        vec![event(row.created_at, "accepted", 0, json!({"trigger": row.trigger.as_str()}))];
    for AttemptRow { attempt, checkpoint } in attempts {
        let number = attempt.number;
        all.push(event(
            attempt.leased_at,
            "leased",
            number,
            json!({"worker": attempt.worker.as_str()}),
        ));
        if let Some(at) = attempt.started_at {
            all.push(event(
                at,
                "started",
                number,
                json!({"start": attempt.start, "start_us": attempt.usage.start_us, "wall": attempt.wall}),
            ));
        }
        let Some(at) = attempt.ended_at else { continue };
        if let Some(version) = checkpoint {
            all.push(event(at, "checkpoint", number, json!({"version": version})));
        }
        let code = attempt.error.as_ref().map(|error| &error.code);
        all.push(event(at, "outcome", number, json!({"outcome": attempt.outcome, "code": code})));
    }
    if row.state == ExecutionState::Waiting {
        let since =
            attempts.last().and_then(|last| last.attempt.ended_at).unwrap_or(row.created_at);
        all.push(event(since, "waiting", 0, json!({"until": row.ready_at.as_millis()})));
    }
    if let Some(at) = row.ended_at {
        all.push(event(at, "ended", 0, json!({"state": row.state.as_str()})));
    }
    all.extend(events);
    // Stable: what happened in the same millisecond stays in the order above, the end last.
    all.sort_by_key(|event| (event.at, event.what == "ended"));
    all
}

fn event(at: Timestamp, what: &str, attempt: u32, detail: Value) -> TimelineEvent {
    TimelineEvent { at, what: what.to_owned(), attempt, detail }
}

//! Deciding what a saved record does to the one there is. Pure.

use serde_json::Value;

/// What a stream has under an id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Existing<'a> {
    pub(super) hash: &'a [u8],
    pub(super) cursor: i64,
    pub(super) deleted: bool,
    /// Whether the run's own execution made the last change.
    pub(super) ours: bool,
}

/// What to do with a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Effect {
    /// Write it as new.
    Add,
    /// Write it as changed.
    Update,
    /// Mark it as deleted.
    Delete,
    /// Note that it was seen.
    See,
    /// Leave it as it is: it is not there, or somebody else changed it since.
    Leave,
}

/// Whether another execution changed the record after the run said it would leave such ones alone.
fn changed_by_others(existing: &Existing<'_>, keep_after: Option<i64>) -> bool {
    keep_after.is_some_and(|after| existing.cursor > after && !existing.ours)
}

pub(super) fn on_save(
    existing: Option<Existing<'_>>,
    hash: &[u8],
    keep_after: Option<i64>,
) -> Effect {
    match existing {
        None => Effect::Add,
        Some(existing) if changed_by_others(&existing, keep_after) => Effect::See,
        Some(Existing { deleted: true, .. }) => Effect::Add,
        Some(existing) if existing.hash == hash => Effect::See,
        Some(_) => Effect::Update,
    }
}

pub(super) fn on_delete(existing: Option<Existing<'_>>, keep_after: Option<i64>) -> Effect {
    match existing {
        None | Some(Existing { deleted: true, .. }) => Effect::Leave,
        Some(existing) if changed_by_others(&existing, keep_after) => Effect::Leave,
        Some(_) => Effect::Delete,
    }
}

/// Merges `patch` into `target`: objects key by key at any depth, anything else is replaced.
pub fn deep_merge(target: &mut Value, patch: Value) {
    match (target, patch) {
        (Value::Object(target), Value::Object(patch)) => {
            for (key, value) in patch {
                deep_merge(target.entry(key).or_insert(Value::Null), value);
            }
        }
        (target, patch) => *target = patch,
    }
}

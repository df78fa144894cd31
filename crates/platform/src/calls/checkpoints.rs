//! Checkpoints, as functions save them.

use bulkhead_store::checkpoints::{self, CheckpointError};
use bulkhead_types::Lease;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{Answer, Failure, soft_deadline};
use crate::platform::Platform;

/// Fields of one checkpoint.
const FIELDS_MAX: usize = 16;

/// Characters of one string in it.
const STRING_LENGTH_MAX: usize = 4_000;

/// Bytes of a field's name.
const NAME_BYTES_MAX: usize = 128;

#[derive(Deserialize)]
pub(super) struct Save {
    checkpoint: Map<String, Value>,
    version: u64,
}

#[derive(Deserialize)]
pub(super) struct Clear {
    version: u64,
}

impl From<CheckpointError> for Failure {
    fn from(error: CheckpointError) -> Self {
        match error {
            CheckpointError::Store(error) => error.into(),
            error => Self::new(error.code(), error.to_string()),
        }
    }
}

impl Platform {
    pub(super) async fn checkpoint_get(&self, lease: &Lease) -> Answer {
        let held = lease.lease.clone();
        let found = self.db.read(move |db| checkpoints::get_for(db, &held)).await?;
        let version = found.as_ref().map_or(0, |checkpoint| checkpoint.version);
        let body = found.and_then(|checkpoint| checkpoint.body);
        let checkpoint: Value = match body {
            Some(text) => crate::text::from_text("checkpoints", &text)?,
            None => Value::Null,
        };
        Ok(json!({ "checkpoint": checkpoint, "version": version }))
    }

    pub(super) async fn checkpoint_save(&self, lease: &Lease, params: Save) -> Answer {
        check(&params.checkpoint).map_err(|why| Failure::new("checkpoint_invalid", why))?;
        let body = crate::text::to_text(&params.checkpoint)?;
        let (held, expected, now) = (lease.lease.clone(), params.version, self.now());
        let version =
            self.db.write(move |tx| checkpoints::save(tx, &held, expected, &body, now)).await?;
        Ok(json!({ "version": version, "stop": self.now() >= soft_deadline(lease) }))
    }

    pub(super) async fn checkpoint_clear(&self, lease: &Lease, params: Clear) -> Answer {
        let (held, expected, now) = (lease.lease.clone(), params.version, self.now());
        let version = self.db.write(move |tx| checkpoints::clear(tx, &held, expected, now)).await?;
        Ok(json!({ "version": version }))
    }
}

/// A checkpoint says where to go on; what was fetched goes into records.
fn check(checkpoint: &Map<String, Value>) -> Result<(), String> {
    if checkpoint.len() > FIELDS_MAX {
        return Err(format!(
            "a checkpoint has at most {FIELDS_MAX} fields; this one has {}",
            checkpoint.len()
        ));
    }
    for (name, value) in checkpoint {
        if name.len() > NAME_BYTES_MAX {
            return Err(format!("a field's name has at most {NAME_BYTES_MAX} bytes"));
        }
        match value {
            Value::Object(_) | Value::Array(_) => {
                return Err(format!(
                    "field {name} is not flat: keep a text, number or boolean in it"
                ));
            }
            // Counted as JavaScript does, in UTF-16 units, so that both sides agree on what fits.
            Value::String(text) if text.encode_utf16().count() > STRING_LENGTH_MAX => {
                return Err(format!("field {name} has more than {STRING_LENGTH_MAX} characters"));
            }
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accepts(value: Value) -> bool {
        matches!(value, Value::Object(map) if check(&map).is_ok())
    }

    #[test]
    fn a_checkpoint_is_flat_and_small() {
        assert!(accepts(json!({})));
        assert!(accepts(
            json!({"page": 3, "done": false, "at": "2026-01-01T00:00:00Z", "none": null})
        ));
        assert!(accepts(json!({"text": "é".repeat(4_000)})));
        assert!(!accepts(json!({"text": "x".repeat(4_001)})));
        assert!(!accepts(json!({"list": []})));
        assert!(!accepts(json!({"nested": {"a": 1}})));
        let wide: Map<_, _> = (0..17).map(|i| (i.to_string(), Value::Null)).collect();
        assert!(!accepts(Value::Object(wide)));
    }
}

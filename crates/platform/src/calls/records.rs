//! Records, as syncs save them. Each write checks the lease in the same transaction: an attempt that lost it leaves
//! nothing, and one that is repeated changes nothing.

use std::collections::BTreeSet;
use std::sync::Arc;

use bulkhead_store::records::{self, Bodies, Counts, Filter, PageOf, Run, StreamKey};
use bulkhead_store::{Conn, checkpoints, fence};
use bulkhead_types::{FunctionKind, Lease};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{Answer, Failure};
use crate::error::PlatformError;
use crate::platform::Platform;
use crate::records::{PAGE_BYTES_MAX, cursor_of, cursor_text, with_metadata};

/// Records of one call; the SDK cuts longer batches.
const BATCH_LENGTH_MAX: usize = 1_000;

/// Bytes of a record's id.
const ID_BYTES_MAX: usize = 1_024;

/// Records that one page gives to a function.
const PAGE_LENGTH: usize = 1_000;

/// Records marked as deleted in one transaction, so that others get their turn.
const DELETED_AT_ONCE: usize = 1_000;

/// What readers add to a record; stripped when a function saves back what it has read.
const ADDED_BY_READERS: [&str; 2] = ["_metadata", "_nango_metadata"];

#[derive(Deserialize)]
pub(super) struct Batch {
    model: String,
    records: Vec<Map<String, Value>>,
}

#[derive(Deserialize)]
pub(super) struct Ids {
    model: String,
    ids: Vec<String>,
}

#[derive(Deserialize)]
pub(super) struct List {
    model: String,
    #[serde(default)]
    cursor: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct Model {
    model: String,
}

#[derive(Deserialize)]
pub(super) struct Merging {
    model: String,
    strategy: Strategy,
}

#[derive(Deserialize, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
enum Strategy {
    Override,
    #[serde(alias = "ignore_if_modified_after_cursor")]
    IgnoreIfModifiedAfter,
}

/// Which stream, on behalf of which lease.
#[derive(Clone)]
struct Writer {
    lease: Lease,
    key: StreamKey,
    bodies: Arc<dyn Bodies>,
}

impl Writer {
    /// The run, under the lease that has to be the newest.
    fn open(&self, tx: &Conn) -> Result<Run, Failure> {
        let held = fence::check_fence(tx, &self.lease.lease)?;
        let checkpoint = checkpoints::get(tx, &held.scope)?;
        let resuming = checkpoint.is_some_and(|checkpoint| checkpoint.body.is_some());
        let (function, execution) =
            (self.lease.function.name.as_str(), &self.lease.lease.execution);
        let runner = records::runner(function, execution, &held.scope);
        Ok(records::open_run(tx, &self.key, runner, execution, resuming)?)
    }
}

impl Platform {
    pub(super) async fn records_save(&self, lease: &Lease, params: Batch) -> Answer {
        let writer = self.writer(lease, params.model).await?;
        let (batch, now) = (checked(params.records)?, self.now());
        let work = move |tx: &Conn| {
            let run = writer.open(tx)?;
            Ok::<_, Failure>(records::save(tx, &run, writer.bodies.as_ref(), &batch, now)?)
        };
        counts(self.db.write(move |tx| work(tx)).await)
    }

    pub(super) async fn records_update(&self, lease: &Lease, params: Batch) -> Answer {
        let writer = self.writer(lease, params.model).await?;
        let (batch, now) = (checked(params.records)?, self.now());
        let work = move |tx: &Conn| {
            let run = writer.open(tx)?;
            Ok::<_, Failure>(records::update(tx, &run, writer.bodies.as_ref(), batch, now)?)
        };
        counts(self.db.write(work).await)
    }

    pub(super) async fn records_delete(&self, lease: &Lease, params: Batch) -> Answer {
        let writer = self.writer(lease, params.model).await?;
        let ids: Vec<_> = checked(params.records)?.into_iter().map(|(id, _)| id).collect();
        let now = self.now();
        let work =
            move |tx: &Conn| Ok::<_, Failure>(records::delete(tx, &writer.open(tx)?, &ids, now)?);
        counts(self.db.write(move |tx| work(tx)).await)
    }

    pub(super) async fn records_get(&self, lease: &Lease, params: Ids) -> Answer {
        let key = stream_of(lease, params.model)?;
        if params.ids.len() > BATCH_LENGTH_MAX {
            let message = format!("at most {BATCH_LENGTH_MAX} ids can be asked for at once");
            return Err(Failure::new("call_invalid", message));
        }
        let bodies = self.bodies(&key.tenant).await?;
        let work = move |db: &Conn| records::by_ids(db, &key, bodies.as_ref(), &params.ids);
        let rows = self.db.read(work).await?;
        let there = rows.into_iter().filter(|row| row.deleted_at.is_none());
        let bodies: Result<Vec<Value>, _> =
            there.map(|row| crate::text::from_text("records", &row.body)).collect();
        Ok(json!({ "records": bodies? }))
    }

    pub(super) async fn records_list(&self, lease: &Lease, params: List) -> Answer {
        let key = stream_of(lease, params.model)?;
        let after = params.cursor.as_deref().map(cursor_of).transpose()?.unwrap_or(0);
        let filter = Filter {
            actions: vec!["added".to_owned(), "updated".to_owned()],
            modified_after: None,
        };
        let of = PageOf { after, limit: PAGE_LENGTH, bytes_max: PAGE_BYTES_MAX };
        let bodies = self.bodies(&key.tenant).await?;
        let work = move |db: &Conn| records::since(db, &key, bodies.as_ref(), &filter, of);
        let (rows, more) = self.db.read(move |db| work(db)).await?;
        let next_cursor = rows.last().filter(|_| more).map(|last| cursor_text(last.cursor));
        let shown: Result<Vec<Value>, PlatformError> =
            rows.into_iter().map(with_metadata).collect();
        Ok(json!({ "records": shown?, "nextCursor": next_cursor }))
    }

    pub(super) async fn track_start(&self, lease: &Lease, params: Model) -> Answer {
        let writer = self.writer(lease, params.model).await?;
        let work =
            move |tx: &Conn| Ok::<_, Failure>(records::track_start(tx, &mut writer.open(tx)?)?);
        self.db.write(move |tx| work(tx)).await?;
        Ok(json!({}))
    }

    pub(super) async fn track_end(&self, lease: &Lease, params: Model) -> Answer {
        let writer = self.writer(lease, params.model).await?;
        let deleted =
            self.mark_unseen(&writer, Run::tracking, "trackDeletesStart has to come first").await?;
        let work =
            move |tx: &Conn| Ok::<_, Failure>(records::track_end(tx, &mut writer.open(tx)?)?);
        self.db.write(move |tx| work(tx)).await?;
        Ok(json!({ "deletedKeys": deleted }))
    }

    pub(super) async fn delete_unseen(&self, lease: &Lease, params: Model) -> Answer {
        let writer = self.writer(lease, params.model).await?;
        let deleted = self.mark_unseen(&writer, |run| Some(run.began()), "").await?;
        Ok(json!({ "deletedKeys": deleted }))
    }

    /// Marks as deleted what was not seen since the moment that `since` names, in as many transactions as it
    /// takes. An attempt that is cut in between leaves the rest to the next one.
    async fn mark_unseen(
        &self,
        writer: &Writer,
        since: fn(&Run) -> Option<i64>,
        missing: &'static str,
    ) -> Result<Vec<String>, Failure> {
        let mut deleted = Vec::new();
        loop {
            let (writer, now) = (writer.clone(), self.now());
            let work = move |tx: &Conn| {
                let run = writer.open(tx)?;
                let Some(since) = since(&run) else {
                    return Err(Failure::new("call_invalid", missing));
                };
                Ok(records::delete_unseen(tx, &run, since, DELETED_AT_ONCE, now)?)
            };
            let some = self.db.write(move |tx| work(tx)).await?;
            let last = some.len() < DELETED_AT_ONCE;
            deleted.extend(some);
            if last {
                return Ok(deleted);
            }
        }
    }

    pub(super) async fn merging(&self, lease: &Lease, params: Merging) -> Answer {
        let writer = self.writer(lease, params.model).await?;
        let keep = params.strategy == Strategy::IgnoreIfModifiedAfter;
        let work = move |tx: &Conn| {
            Ok::<_, Failure>(records::set_keep_after(tx, &mut writer.open(tx)?, keep)?)
        };
        self.db.write(move |tx| work(tx)).await?;
        Ok(json!({}))
    }

    /// Only a sync writes, and only models that it declared.
    async fn writer(&self, lease: &Lease, model: String) -> Result<Writer, Failure> {
        if lease.function.kind != FunctionKind::Sync {
            return Err(Failure::new("call_invalid", "only syncs can save records"));
        }
        let version = self.version(&lease.function.tenant, &lease.version).await?;
        if !version.spec.models.contains_key(&model) {
            let model: String = model.chars().take(80).collect();
            let declared: Vec<_> = version.spec.models.keys().map(String::as_str).collect();
            let message =
                format!("model {model:?} is not declared; this sync's are {}", declared.join(", "));
            return Err(Failure::new("model_unknown", message));
        }
        let bodies = self.bodies(&lease.function.tenant).await?;
        Ok(Writer { lease: lease.clone(), key: stream_of(lease, model)?, bodies })
    }
}

fn stream_of(lease: &Lease, model: String) -> Result<StreamKey, Failure> {
    let Some(connection) = lease.connection.clone() else {
        return Err(Failure::new(
            "call_invalid",
            "records belong to a connection, and this execution has none",
        ));
    };
    let (tenant, integration) = (lease.function.tenant.clone(), lease.function.integration.clone());
    Ok(StreamKey { tenant, integration, connection, model })
}

fn counts(done: Result<Counts, Failure>) -> Answer {
    let Counts { added, updated, unchanged, deleted } = done?;
    Ok(json!({ "added": added, "updated": updated, "unchanged": unchanged, "deleted": deleted }))
}

/// Each record with its id as text. Refuses the whole batch if one has none or two have the same: what can't be told
/// apart can't be saved once.
fn checked(batch: Vec<Map<String, Value>>) -> Result<Vec<(String, Value)>, Failure> {
    let invalid = |message: String| Err(Failure::new("invalid_record", message));
    if batch.len() > BATCH_LENGTH_MAX {
        return invalid(format!("a call carries at most {BATCH_LENGTH_MAX} records"));
    }
    let mut seen = BTreeSet::new();
    let mut records = Vec::with_capacity(batch.len());
    for (place, mut record) in batch.into_iter().enumerate() {
        for added in ADDED_BY_READERS {
            record.remove(added);
        }
        let id = match record.get("id") {
            Some(Value::String(id)) if !id.is_empty() && id.len() <= ID_BYTES_MAX => id.clone(),
            Some(Value::Number(id)) => id.to_string(),
            _ => {
                return invalid(format!(
                    "record {place} has no id of 1 to {ID_BYTES_MAX} bytes; nothing was saved"
                ));
            }
        };
        if !seen.insert(id.clone()) {
            let id: String = id.chars().take(80).collect();
            return invalid(format!("two records have the id {id:?}; nothing was saved"));
        }
        records.push((id, Value::Object(record)));
    }
    Ok(records)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed step is the test's failure")]
    use super::*;

    fn ids(batch: Value) -> Result<Vec<String>, String> {
        let checked = checked(serde_json::from_value(batch).unwrap());
        let ids = |records: Vec<(String, Value)>| records.into_iter().map(|(id, _)| id).collect();
        checked.map(ids).map_err(|failure| failure.0.code)
    }

    #[test]
    fn a_batch_has_an_id_for_each_record_and_no_id_twice() {
        assert_eq!(ids(json!([{"id": "a"}, {"id": 7}])), Ok(vec!["a".into(), "7".into()]));
        assert_eq!(ids(json!([])), Ok(vec![]));
        for bad in [
            json!([{"id": ""}]),
            json!([{}]),
            json!([{"id": null}]),
            json!([{"id": {"a": 1}}]),
            json!([{"id": "7"}, {"id": 7}]),
            json!([{"id": "x".repeat(1_025)}]),
        ] {
            assert_eq!(ids(bad), Err("invalid_record".to_owned()));
        }
    }

    #[test]
    fn what_readers_added_is_not_saved_back() {
        let records =
            checked(serde_json::from_value(json!([{"id": "a", "_metadata": {}, "v": 1}])).unwrap());
        assert_eq!(records.unwrap()[0].1, json!({"id": "a", "v": 1}));
    }
}

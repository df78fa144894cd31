//! Records, as the API reads them.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bulkhead_store::records::{self, Filter, PageOf, RecordRow, StreamKey};
use bulkhead_types::{ConnectionId, IntegrationId, TenantId, Timestamp};
use serde_json::{Value, json};

use crate::error::PlatformError;
use crate::model::{ModelCounts, RecordPage, RecordQuery};
use crate::platform::Platform;
use crate::text::from_text;

/// Records on one page.
const PAGE_LENGTH_MAX: usize = 10_000;

/// Bytes of one page's records, about.
pub(crate) const PAGE_BYTES_MAX: usize = 16 << 20;

/// Ids that can be asked for at once.
const IDS_MAX: usize = 1_000;

/// Models counted at once.
const MODELS_MAX: usize = 1_000;

/// The longest name of a model.
const MODEL_BYTES_MAX: usize = 128;

impl Platform {
    /// A page of records, in the order in which they last changed: whoever asks again with the last cursor sees
    /// every change once.
    ///
    /// # Errors
    /// `invalid_cursor`, `invalid_query`, `connection_not_found`; when the store fails.
    pub async fn records(
        &self,
        tenant: &TenantId,
        query: RecordQuery,
    ) -> Result<RecordPage, PlatformError> {
        let connection =
            self.connection(tenant, query.integration.as_ref(), &query.connection).await?;
        if query.model.is_empty() || query.model.len() > MODEL_BYTES_MAX {
            return Err(PlatformError::invalid(
                "invalid_query",
                "a model's name has 1 to 128 bytes",
            ));
        }
        let key = StreamKey {
            tenant: tenant.clone(),
            integration: connection.integration,
            connection: connection.id,
            model: query.model,
        };
        if !query.ids.is_empty() {
            return self.records_by_ids(key, query.ids).await;
        }
        let limit = query.limit.clamp(1, PAGE_LENGTH_MAX);
        let after = query.cursor.as_deref().map(cursor_of).transpose()?.unwrap_or(0);
        let filter = Filter { actions: query.actions, modified_after: query.modified_after };
        let of = PageOf { after, limit, bytes_max: PAGE_BYTES_MAX };
        let bodies = self.bodies(tenant).await?;
        let work = move |db: &_| records::since(db, &key, bodies.as_ref(), &filter, of);
        let (rows, more) = self.db.read(move |db| work(db)).await?;
        let next_cursor = rows.last().filter(|_| more).map(|last| cursor_text(last.cursor));
        let records = rows.into_iter().map(with_metadata).collect::<Result<_, _>>()?;
        Ok(RecordPage { records, next_cursor })
    }

    /// How many records a connection has of each model. They are counted as they change: nothing is gone through.
    ///
    /// # Errors
    /// `connection_not_found`; when the store fails.
    pub async fn record_counts(
        &self,
        tenant: &TenantId,
        integration: Option<&IntegrationId>,
        connection: &ConnectionId,
    ) -> Result<Vec<ModelCounts>, PlatformError> {
        let found = self.connection(tenant, integration, connection).await?;
        let tenant = tenant.clone();
        let work = move |db: &_| {
            records::stream_counts(db, &tenant, &found.integration, &found.id, MODELS_MAX)
        };
        let rows = self.db.read(move |db| work(db)).await?;
        let counts = |row: records::StreamCounts| ModelCounts {
            integration: row.integration,
            model: row.model,
            present: row.present,
            deleted: row.deleted,
            cursor: cursor_text(row.cursor),
        };
        Ok(rows.into_iter().map(counts).collect())
    }

    async fn records_by_ids(
        &self,
        key: StreamKey,
        ids: Vec<String>,
    ) -> Result<RecordPage, PlatformError> {
        if ids.len() > IDS_MAX {
            let message = format!("at most {IDS_MAX} ids can be asked for at once");
            return Err(PlatformError::invalid("invalid_query", message));
        }
        let bodies = self.bodies(&key.tenant).await?;
        let work = move |db: &_| records::by_ids(db, &key, bodies.as_ref(), &ids);
        let rows = self.db.read(work).await?;
        let records = rows.into_iter().map(with_metadata).collect::<Result<_, _>>()?;
        Ok(RecordPage { records, next_cursor: None })
    }
}

/// A record as readers see it: what was saved, and `_metadata` beside.
pub(crate) fn with_metadata(row: RecordRow) -> Result<Value, PlatformError> {
    let mut record: Value = from_text("records", &row.body)?;
    let metadata = json!({
        "first_seen_at": row.first_seen_at.to_text(),
        "last_modified_at": row.modified_at.to_text(),
        "last_action": row.action,
        "deleted_at": row.deleted_at.map(TimestampText::to_text),
        "cursor": cursor_text(row.cursor),
    });
    if let Value::Object(fields) = &mut record {
        fields.insert("_metadata".to_owned(), metadata);
    }
    Ok(record)
}

pub(crate) fn cursor_text(cursor: i64) -> String {
    URL_SAFE_NO_PAD.encode(format!("r1:{cursor}"))
}

pub(crate) fn cursor_of(text: &str) -> Result<i64, PlatformError> {
    let decoded = URL_SAFE_NO_PAD.decode(text).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    let number = decoded
        .as_deref()
        .and_then(|text| text.strip_prefix("r1:"))
        .and_then(|text| text.parse().ok());
    number.ok_or_else(|| PlatformError::invalid("invalid_cursor", "this is no cursor of records"))
}

/// Moments as ISO 8601 in UTC with milliseconds, as JavaScript writes them.
pub(crate) trait TimestampText {
    fn to_text(self) -> String;
}

impl TimestampText for Timestamp {
    fn to_text(self) -> String {
        let moment = jiff::Timestamp::from_millisecond(self.as_millis())
            .unwrap_or(jiff::Timestamp::UNIX_EPOCH);
        format!("{moment:.3}")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed step is the test's failure")]
    use super::*;

    #[test]
    fn cursors_are_read_back_and_nothing_else_is() {
        assert_eq!(cursor_of(&cursor_text(42)).unwrap(), 42);
        for bad in ["", "42", "cjE6", "!!", &URL_SAFE_NO_PAD.encode("r2:1")] {
            assert_eq!(cursor_of(bad).unwrap_err().code(), "invalid_cursor", "{bad}");
        }
    }

    #[test]
    fn moments_are_written_as_javascript_does() {
        assert_eq!(Timestamp::from_millis(0).to_text(), "1970-01-01T00:00:00.000Z");
        assert_eq!(Timestamp::from_millis(1_700_000_000_123).to_text(), "2023-11-14T22:13:20.123Z");
    }
}

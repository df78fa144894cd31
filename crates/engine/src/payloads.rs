//! Large inputs and outputs: kept in blob storage, by their hash, with a pointer to them in the execution's row. The
//! database stays small, and is not what a megabyte waits for.
//!
//! A pointer is an object with one member of a name that no function has a reason to use; a value that looks like one
//! all the same is kept apart whatever its size, so that what is read as a pointer always is one.

use std::time::Duration;

use bulkhead_blobs::{BlobError, Store as Blobs};
use bulkhead_store::StoreError;
use bulkhead_store::hot::model::SubmitError;
use bulkhead_types::{Limits, Timestamp};
use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::Engine;

/// Bytes, as JSON, from which a value is kept apart.
const APART_BYTES: usize = 64 << 10;

/// The largest that is read back: beyond every limit that an input or output can have.
const BYTES_MAX: usize = 64 << 20;

/// The folder of the blob storage.
const FOLDER: &str = "payloads";

/// The member of a pointer.
const POINTER: &str = "\u{0}bulkhead.payload";

/// Payloads are looked through for old ones this long after a start, and then as often.
const SWEEP_EVERY: Duration = Duration::from_secs(6 * 60 * 60);

/// What an execution was given or returned may be read as long as the execution is kept. Its payload was written when
/// it was accepted, or later; the rest is for clocks that differ.
const SWEEP_SLACK: Duration = Duration::from_secs(2 * 24 * 60 * 60);

fn pointer(name: &str) -> Value {
    json!({ POINTER: name })
}

fn pointed(value: &Value) -> Option<&str> {
    let object = value.as_object().filter(|object| object.len() == 1)?;
    object.get(POINTER)?.as_str()
}

fn failed(error: BlobError) -> StoreError {
    StoreError::Blobs { passes: error.may_pass(), source: Box::new(error) }
}

/// No time will heal it.
fn broken(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> StoreError {
    StoreError::Blobs { passes: false, source: source.into() }
}

/// The value as it goes into the database.
async fn apart(blobs: &Blobs, value: Value) -> Result<Value, StoreError> {
    let text = serde_json::to_vec(&value).map_err(broken)?;
    if text.len() <= APART_BYTES && pointed(&value).is_none() {
        return Ok(value);
    }
    Ok(pointer(&blobs.put(FOLDER, text.into()).await.map_err(failed)?))
}

/// The value as it was before it went into the database.
async fn whole(blobs: &Blobs, value: Value) -> Result<Value, StoreError> {
    let Some(name) = pointed(&value) else { return Ok(value) };
    let found = blobs.get(FOLDER, name, BYTES_MAX).await.map_err(failed)?;
    let missing = || broken(format!("there is no payload {name}"));
    let text = found.ok_or_else(missing)?;
    serde_json::from_slice(&text).map_err(broken)
}

impl Engine {
    /// An input as it goes into the database, if it is no longer than the function takes.
    pub(crate) async fn input_apart(
        &self,
        input: Value,
        limits: &Limits,
    ) -> Result<Value, SubmitError> {
        let Some(blobs) = &self.inner.blobs else { return Ok(input) };
        let kept = apart(blobs, input.clone()).await?;
        if pointed(&kept).is_some() {
            // The store will see the pointer alone.
            let bytes = serde_json::to_vec(&input).map_or(u64::MAX, |text| text.len() as u64);
            if bytes > limits.input_bytes {
                return Err(SubmitError::InputTooLarge { bytes, bytes_max: limits.input_bytes });
            }
        }
        Ok(kept)
    }

    /// A value as it goes into the database.
    pub(crate) async fn apart(&self, value: Value) -> Result<Value, StoreError> {
        match &self.inner.blobs {
            Some(blobs) => apart(blobs, value).await,
            None => Ok(value),
        }
    }

    /// A value as it was before it went into the database.
    pub(crate) async fn whole(&self, value: Value) -> Result<Value, StoreError> {
        match &self.inner.blobs {
            Some(blobs) => whole(blobs, value).await,
            None => Ok(value),
        }
    }

    /// The same for several.
    pub(crate) async fn all_whole(&self, values: Vec<Value>) -> Vec<Result<Value, StoreError>> {
        join_all(values.into_iter().map(|value| self.whole(value))).await
    }

    /// Removes payloads of executions that are forgotten, now and then, for ever.
    pub(crate) async fn sweep_for_ever(&self) {
        let Some(blobs) = &self.inner.blobs else { return std::future::pending().await };
        loop {
            tokio::time::sleep(SWEEP_EVERY).await;
            let kept = self.inner.options.retention.saturating_add(SWEEP_SLACK);
            let kept_ms = i64::try_from(kept.as_millis()).unwrap_or(i64::MAX);
            let now = self.inner.clock.now().as_millis();
            let before = Timestamp::from_millis(now.saturating_sub(kept_ms));
            match blobs.sweep(FOLDER, before).await {
                Ok(0) => {}
                Ok(removed) => tracing::info!(removed, "old payloads are gone"),
                Err(error) => tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "old payloads are left"
                ),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed step is the test's failure")]
    use super::*;

    #[tokio::test]
    async fn what_is_large_or_looks_like_a_pointer_is_kept_apart_and_comes_back() {
        let blobs = Blobs::in_memory();
        let large = json!({"text": "x".repeat(APART_BYTES)});
        let forged = pointer(&"0".repeat(64));
        for (value, goes) in [
            (json!(null), false),
            (json!({"text": "x".repeat(APART_BYTES / 2)}), false),
            (json!({"text": "x", POINTER: "0"}), false),
            (large, true),
            (forged, true),
            (json!({POINTER: {"n": 1}}), false),
        ] {
            let kept = apart(&blobs, value.clone()).await.unwrap();
            assert_eq!(pointed(&kept).is_some(), goes, "{kept:.100}");
            assert_eq!(whole(&blobs, kept).await.unwrap(), value);
        }
    }

    #[tokio::test]
    async fn a_payload_that_is_gone_is_an_error() {
        let gone = pointer(&bulkhead_blobs::digest(b"never kept"));
        let error = whole(&Blobs::in_memory(), gone).await.unwrap_err();
        assert_eq!(error.code(), "store_unavailable");
    }
}

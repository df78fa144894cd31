//! Records that syncs saved.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

/// A page of records, in the order in which they last changed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RecordPage {
    /// Each is the saved object and `_metadata: {first_seen_at, last_modified_at, last_action, deleted_at, cursor}`.
    #[schema(value_type = Vec<Object>)]
    pub records: Vec<Value>,
    /// Goes into `cursor` for the next page; absent on the last.
    pub next_cursor: Option<String>,
}

/// How many records a connection has, by model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ModelList {
    /// Each model that ever had records.
    pub models: Vec<ModelCount>,
}

/// How many records there are of a model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ModelCount {
    /// From which API.
    pub integration: String,
    /// Which model.
    pub model: String,
    /// Records that are there.
    pub count: u64,
    /// Records marked as deleted that are still kept.
    pub deleted: u64,
    /// The cursor of the newest change: a reader that starts there hears of what comes after.
    pub cursor: String,
}

/// How a tenant's records are kept.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RecordSettings {
    /// Bodies are sealed with the key that credentials are sealed with. Ids, times and what happened to a record are not.
    pub encrypted: bool,
    /// For how long records are kept.
    pub retention: RecordRetention,
    /// For how long those of some models are kept instead, by `integration/Model`.
    pub models: BTreeMap<String, RecordRetention>,
}

/// For how long records are kept; what is absent is for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RecordRetention {
    /// Days after its last change that a record is kept, 1 to 36,500. One that is saved again afterwards is added anew.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unchanged_days: Option<u32>,
    /// Days that a record marked as deleted is kept, for readers to hear of it, 1 to 36,500.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deleted_days: Option<u32>,
}

//! Records that syncs saved.

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

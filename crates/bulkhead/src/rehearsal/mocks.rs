//! Recorded mocks: what `INTEGRATION/tests/NAME.test.json` holds. Written by `bulkhead dryrun --save-mocks`, replayed by
//! `bulkhead test`. The format is told in `docs/testing.md`.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

/// Model → records, in the order of the calls.
pub(crate) type Batches = BTreeMap<String, Vec<Value>>;

/// One recorded run of a function.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Mocks {
    /// `action`, `sync`, `webhook` or `event`; needed where several functions have the name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) kind: Option<String>,
    /// What the function is called with.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub(crate) input: Value,
    /// What it has to return; unchecked when absent.
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub(crate) output: Option<Value>,
    /// It has to fail with these; what is not named is not compared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<ExpectedError>,
    /// What the platform answers, and what the function has to have told it.
    #[serde(default)]
    pub(crate) nango: Members,
    /// Method, in lower case → path → what the API answers.
    #[serde(default)]
    pub(crate) api: BTreeMap<String, BTreeMap<String, Entries>>,
}

/// How a function has to fail.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct ExpectedError {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) code: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) message: Option<String>,
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub(crate) payload: Option<Value>,
}

/// Members of the context: first what they answer, then what has to have been given to them.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Members {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) connection_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) last_sync_date: Option<String>,
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub(crate) get_connection: Value,
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub(crate) get_integration: Value,
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub(crate) get_metadata: Value,
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub(crate) get_checkpoint: Value,
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub(crate) get_environment_variables: Value,
    /// Action → what it returns.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) trigger_action: BTreeMap<String, Value>,
    /// Records that are there when it begins.
    #[serde(default, skip_serializing_if = "Batches::is_empty")]
    pub(crate) list_records: Batches,

    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) batch_save: Option<Batches>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) batch_update: Option<Batches>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) batch_delete: Option<Batches>,
    /// Model → keys that were marked as deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) track_deletes_end: Option<BTreeMap<String, Deleted>>,
    /// The last checkpoint that was saved; `null` once it was cleared.
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub(crate) save_checkpoint: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) set_metadata: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) update_metadata: Option<Value>,
    /// What we do not know: said, and ignored.
    #[serde(flatten)]
    pub(crate) unknown: Map<String, Value>,
}

/// What `trackDeletesEnd` answers.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Deleted {
    pub(crate) deleted_keys: Vec<String>,
}

/// What one path answers.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum Entries {
    Many(Vec<Entry>),
    One(Entry),
}

impl Entries {
    pub(crate) fn as_slice(&self) -> &[Entry] {
        match self {
            Self::Many(entries) => entries,
            Self::One(entry) => std::slice::from_ref(entry),
        }
    }

    /// Adds another answer of the same path.
    pub(crate) fn push(&mut self, entry: Entry) {
        match self {
            Self::Many(entries) => entries.push(entry),
            Self::One(first) => *self = Self::Many(vec![first.clone(), entry]),
        }
    }
}

/// One recorded answer.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Entry {
    /// Default 200.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) status: Option<u16>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) headers: BTreeMap<String, Value>,
    /// The body: JSON, or text.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub(crate) response: Value,
    /// `base64` when `response` is bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) encoding: Option<String>,
    /// Which request it answers. Without it: one without a query.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) request: Option<RequestMock>,
}

/// What tells requests for one path apart.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RequestMock {
    /// The whole query; values are compared as text.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) params: BTreeMap<String, Value>,
    /// Those that count.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) headers: BTreeMap<String, Value>,
    /// The body.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub(crate) data: Value,
}

/// `null` that is written is a value; what is not written is none.
fn present<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(from).map(Some)
}

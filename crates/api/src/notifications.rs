//! What a tenant's product is told, and the keys that secrets are sealed with.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Where a tenant's product listens.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NotificationTarget {
    /// Where, with scheme.
    pub url: String,
    /// To what: `webhook.received`, `connection.created`, `connection.failed`; empty is everything.
    #[serde(default)]
    pub events: Vec<String>,
    /// What signatures are checked with, as Standard Webhooks says. Told once, when the target is set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<String>,
}

/// Something that a product is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Notification {
    /// Its name: `webhook-id` of the request.
    pub id: String,
    /// What kind of thing.
    pub event: String,
    /// `waiting`, `delivered`, `dead`.
    pub state: String,
    /// Deliveries that were tried.
    pub attempts: u32,
    /// When the next is due, or would have been.
    pub due_at: String,
    /// Why the last one failed.
    pub failure: Option<String>,
    /// Since when.
    pub created_at: String,
}

/// Notifications by id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NotificationList {
    /// At most as many as asked for.
    pub notifications: Vec<Notification>,
    /// Goes into `after` for the next page; absent on the last.
    pub next_after: Option<String>,
}

/// A batch of secrets to seal anew.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Rotate {
    /// Make a new key first, if the key is the server's own and no older one is beside it.
    #[serde(default)]
    pub begin: bool,
    /// From the batch before.
    #[serde(default)]
    pub cursor: Option<String>,
}

/// What a batch did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Rotated {
    /// Whether a new key was made.
    pub begun: bool,
    /// Secrets that were sealed anew.
    pub resealed: usize,
    /// Goes into the next batch; absent when everything was gone through.
    pub cursor: Option<String>,
    /// The old key's file on the server, if the key is the server's own.
    pub old_key_file: Option<String>,
}

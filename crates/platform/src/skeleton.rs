//! Signatures that are not carried out yet. This file empties as the others fill.
#![allow(
    clippy::unused_async,
    unused_variables,
    reason = "signatures first, so that others can code against them"
)]

use bulkhead_protocol::CallError;
use bulkhead_types::{IntegrationId, Lease, TenantId, TimelineEvent};
use serde_json::Value;

use crate::error::PlatformError;
use crate::model::*;
use crate::platform::{Platform, Prepared};

impl Platform {
    /// Takes a provider's webhook: one execution per handler, committed when this returns. Errors: `webhook_signature_wrong`, `integration_not_found`.
    ///
    /// # Errors
    /// As named, and when the store fails.
    pub async fn ingest_webhook(
        &self,
        tenant: &TenantId,
        integration: &IntegrationId,
        headers: Vec<(String, String)>,
        body: Vec<u8>,
    ) -> Result<WebhookDelivery, PlatformError> {
        Err(PlatformError::NotSupported("ingest_webhook".to_owned()))
    }

    /// Gathers what the attempt needs.
    ///
    /// # Errors
    /// When the version or its bundle is not to be had.
    pub async fn prepare(&self, lease: &Lease) -> Result<Prepared, CallError> {
        Err(CallError { code: "not_supported".into(), message: "prepare".into(), payload: None })
    }

    /// Answers a call of a running function (`docs/protocol.md`, "Calls").
    ///
    /// # Errors
    /// As the function shall see it.
    pub async fn call(
        &self,
        lease: &Lease,
        method: &str,
        params: Value,
    ) -> Result<Value, CallError> {
        Err(CallError { code: "not_supported".into(), message: "call".into(), payload: None })
    }

    /// Keeps an event on the execution's timeline.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn event(&self, lease: &Lease, event: TimelineEvent) -> Result<(), PlatformError> {
        Err(PlatformError::NotSupported("event".to_owned()))
    }
}

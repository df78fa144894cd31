//! A worker's side: what an attempt needs before it starts, and what happens to it on the way.

use std::sync::Arc;

use bulkhead_engine::ExecutionFilter;
use bulkhead_protocol::CallError;
use bulkhead_types::{
    ExecutionState, FunctionKey, FunctionKind, FunctionSpec, Lease, TenantId, TimelineEvent,
    Version, WallKind,
};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::calls::Failure;
use crate::error::PlatformError;
use crate::platform::{Platform, Prepared};
use crate::records::TimestampText;

impl Platform {
    /// Gathers what the attempt needs.
    ///
    /// # Errors
    /// When the version or its bundle is not to be had.
    pub async fn prepare(&self, lease: &Lease) -> Result<Prepared, CallError> {
        self.try_prepare(lease).await.map_err(|error| Failure::from(error).0)
    }

    /// The same for a worker on another machine, which has its own place for the bundle.
    ///
    /// # Errors
    /// When the version is not to be had.
    pub async fn prepare_elsewhere(
        &self,
        lease: &Lease,
    ) -> Result<(Arc<Version>, Value, WallKind), CallError> {
        let both = async {
            let version = self.version(&lease.function.tenant, &lease.version).await?;
            let wall = self.wall(&lease.function.tenant, &version.spec).await?;
            Ok::<_, PlatformError>((version, self.context(lease).await?, wall))
        };
        both.await.map_err(|error| Failure::from(error).0)
    }

    async fn try_prepare(&self, lease: &Lease) -> Result<Prepared, PlatformError> {
        let version = self.version(&lease.function.tenant, &lease.version).await?;
        let bundle = self.blobs.bundle(&version.bundle).await?;
        let context = self.context(lease).await?;
        let wall = self.wall(&lease.function.tenant, &version.spec).await?;
        Ok(Prepared { version, bundle, context, wall })
    }

    /// What a sandbox of a live version needs before there is an attempt: no context.
    ///
    /// # Errors
    /// When there is no such function, or its bundle is not to be had.
    pub async fn prepare_ahead(&self, function: &FunctionKey) -> Result<Prepared, PlatformError> {
        let version = self.live_version(function).await?;
        let bundle = self.blobs.bundle(&version.bundle).await?;
        let wall = self.wall(&function.tenant, &version.spec).await?;
        Ok(Prepared { version, bundle, context: Value::Null, wall })
    }

    /// The wall that a function of a tenant gets: what it asks for, or the operator's and the tenant's floor.
    ///
    /// # Errors
    /// `tenant_not_found`; when the store fails.
    pub async fn wall(
        &self,
        tenant: &TenantId,
        spec: &FunctionSpec,
    ) -> Result<WallKind, PlatformError> {
        let floor = self.egress(tenant).await?.wall_floor;
        Ok(self.config.walls.with_floor(floor).choose(spec.wall))
    }

    /// A bundle by its content's hash, for a worker on another machine. Read whole and checked.
    ///
    /// # Errors
    /// `version_not_found` when there is no such bundle; when the disk fails, or the file is not what its name says.
    pub async fn bundle(&self, digest: &str) -> Result<bytes::Bytes, PlatformError> {
        self.blobs.bundle_content(digest).await
    }

    /// Keeps an event on the execution's timeline.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn event(&self, lease: &Lease, event: TimelineEvent) -> Result<(), PlatformError> {
        Ok(self.engine.append_event(&lease.lease, event).await?)
    }

    /// The values of the context's properties (`docs/protocol.md`, "A sandbox's life"). Numeric ids are what
    /// existing functions expect: numbers that stand for our names, the same for the same name.
    async fn context(&self, lease: &Lease) -> Result<Value, PlatformError> {
        let function = &lease.function;
        let tenant = &function.tenant;
        let provider = match self.integration(tenant, &function.integration).await {
            Ok(integration) => integration.settings.provider,
            // A function may run before its integration is set up: it just has nothing to call.
            Err(PlatformError::NotFound { .. }) => function.integration.to_string(),
            Err(error) => return Err(error),
        };
        let connection = lease.connection.as_ref().map(ToString::to_string);
        let sync = format!("{tenant}/{}/{}", function.integration, function.name);
        let is_sync = function.kind == FunctionKind::Sync;
        let last_sync_date = if is_sync { self.last_sync_date(lease).await? } else { None };
        let public_url = self.config.public_url.trim_end_matches('/');
        Ok(json!({
            "connectionId": connection,
            "providerConfigKey": function.integration,
            "provider": provider,
            "environmentId": number_of(tenant.as_str()),
            "environmentName": tenant,
            "accountId": number_of(tenant.as_str()),
            "activityLogId": lease.lease.execution,
            "syncId": is_sync.then(|| uuid_of(&format!("{sync}/{}", connection.as_deref().unwrap_or("")))),
            "syncJobId": is_sync.then(|| number_of(lease.lease.execution.as_str())),
            "nangoConnectionId": connection.as_ref().map(|id| number_of(&format!("{tenant}/{}/{id}", function.integration))),
            "scriptType": match function.kind {
                FunctionKind::Event => "on-event",
                kind => kind.as_str(),
            },
            "variant": "base",
            "lastSyncDate": last_sync_date,
            "webhookUrl": format!("{public_url}/v1/webhooks/{tenant}/{}", function.integration),
            "functionName": function.name,
        }))
    }

    /// When the newest execution of this sync that succeeded began; `None` for the first.
    async fn last_sync_date(&self, lease: &Lease) -> Result<Option<String>, PlatformError> {
        let filter = ExecutionFilter {
            integration: Some(lease.function.integration.clone()),
            kind: Some(FunctionKind::Sync),
            name: Some(lease.function.name.clone()),
            state: Some(ExecutionState::Succeeded),
            connection: lease.connection.clone(),
            limit: 1,
            ..ExecutionFilter::default()
        };
        let page = self.engine.executions(&lease.function.tenant, filter).await?;
        Ok(page.executions.first().map(|last| last.started_at.unwrap_or(last.created_at).to_text()))
    }
}

/// A number below 2³¹ that stands for a name.
fn number_of(name: &str) -> u32 {
    let digest = Sha256::digest(name.as_bytes());
    u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]]) >> 1
}

/// A UUID (version 8: made up by the application) that stands for a name.
fn uuid_of(name: &str) -> String {
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&Sha256::digest(name.as_bytes())[..16]);
    bytes[6] = (bytes[6] & 0x0f) | 0x80;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    let hex = hex::encode(bytes);
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}

#[cfg(test)]
mod tests {
    use super::{number_of, uuid_of};

    #[test]
    fn names_have_steady_numbers() {
        assert_eq!(number_of("acme"), number_of("acme"));
        assert_ne!(number_of("acme"), number_of("acme2"));
        let uuid = uuid_of("acme/demo/items/c1");
        assert_eq!((uuid.len(), &uuid[14..15]), (36, "8"));
        assert_ne!(uuid, uuid_of("acme/demo/items/c2"));
    }
}

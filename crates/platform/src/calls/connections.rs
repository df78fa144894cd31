//! Connections, metadata and variables, as functions see them.

use bulkhead_types::{ConnectionId, IntegrationId, Lease};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Answer, Failure};
use crate::auth::{AuthMode, Credentials};
use crate::platform::Platform;
use crate::records::TimestampText;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ConnectionGet {
    #[serde(default)]
    provider_config_key: Option<IntegrationId>,
    #[serde(default)]
    connection_id: Option<ConnectionId>,
}

#[derive(Deserialize)]
pub(super) struct Metadata {
    metadata: Value,
}

impl Platform {
    /// The one door through which credentials enter a sandbox: for versions that declared it when they were
    /// deployed, so that an operator can see which do.
    pub(super) async fn connection_get(&self, lease: &Lease, params: ConnectionGet) -> Answer {
        let tenant = &lease.function.tenant;
        let version = self.version(tenant, &lease.version).await?;
        if !version.spec.uses.secrets {
            let message = "this version does not declare that it needs credentials: call getConnection or getToken \
                           where the compiler sees it and deploy again, or use the proxy, which adds them";
            return Err(Failure::new("secrets_not_declared", message));
        }
        let (integration, connection) =
            Self::target(lease, params.provider_config_key, params.connection_id);
        let id = connection.ok_or_else(no_connection)?;
        let open = self.fresh_connection(tenant, &integration, &id).await?;
        let settings = self.integration(tenant, &integration).await?.settings;
        let (connection, credentials) = (open.connection, open.credentials);
        Ok(json!({
            "connection_id": connection.id,
            "provider_config_key": connection.integration,
            "provider": settings.provider,
            "credentials": shaped(&settings.auth.mode, credentials),
            "connection_config": connection.config,
            "metadata": connection.metadata,
            "created_at": connection.created_at.to_text(),
            "updated_at": connection.updated_at.to_text(),
        }))
    }

    pub(super) async fn integration_get(&self, lease: &Lease) -> Answer {
        let integration =
            self.integration(&lease.function.tenant, &lease.function.integration).await?;
        Ok(json!({
            "unique_key": integration.id,
            "provider": integration.settings.provider,
            "display_name": integration.settings.display_name,
            "base_url": integration.settings.base_url,
            "pagination": integration.settings.known_provider().and_then(|known| known.pagination.as_ref()),
        }))
    }

    pub(super) async fn metadata_get(&self, lease: &Lease) -> Answer {
        let id = lease.connection.as_ref().ok_or_else(no_connection)?;
        let (tenant, integration) = (&lease.function.tenant, &lease.function.integration);
        Ok(self.connection(tenant, Some(integration), id).await?.metadata)
    }

    pub(super) async fn metadata_change(
        &self,
        lease: &Lease,
        params: Metadata,
        merge: bool,
    ) -> Answer {
        let id = lease.connection.as_ref().ok_or_else(no_connection)?;
        let (tenant, integration) = (&lease.function.tenant, &lease.function.integration);
        Ok(self.change_metadata(tenant, integration, id, params.metadata, merge).await?)
    }

    pub(super) async fn variables_list(&self, lease: &Lease) -> Answer {
        let variables = self.variables(&lease.function.tenant).await?;
        let shown = |(name, value): (String, String)| json!({ "name": name, "value": value });
        Ok(variables.into_iter().map(shown).collect())
    }
}

fn no_connection() -> Failure {
    Failure::new(
        "connection_not_found",
        "this execution has no connection; run it on behalf of one",
    )
}

/// Credentials as functions expect them, by auth mode.
fn shaped(mode: &AuthMode, credentials: Credentials) -> Value {
    let expires_at = credentials.ends().map(|at| at.to_text());
    let Credentials { token, username, password, api_key, headers, refresh_token, scope, .. } =
        credentials;
    match mode {
        AuthMode::None => json!({ "type": "NONE" }),
        AuthMode::Bearer => json!({ "type": "BEARER", "token": token, "access_token": token }),
        AuthMode::Basic => json!({ "type": "BASIC", "username": username, "password": password }),
        AuthMode::ApiKey { .. } => json!({ "type": "API_KEY", "apiKey": api_key }),
        AuthMode::Headers => json!({ "type": "CUSTOM", "headers": headers }),
        AuthMode::Oauth2(_) => json!({
            "type": "OAUTH2",
            "access_token": token,
            "refresh_token": refresh_token,
            "expires_at": expires_at,
            "raw": { "scope": scope },
        }),
        AuthMode::Oauth2ClientCredentials(_) => json!({
            "type": "OAUTH2_CC",
            "token": token,
            "access_token": token,
            "expires_at": expires_at,
        }),
    }
}

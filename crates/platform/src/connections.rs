//! Connections and their metadata.

use std::collections::BTreeMap;

use bulkhead_store::catalog::{self, ConnectionRow};
use bulkhead_types::{ConnectionId, IntegrationId, TenantId};
use serde_json::{Map, Value};

use crate::auth::{AuthSettings, Credentials};
use crate::error::PlatformError;
use crate::model::{Connection, ConnectionPage};
use crate::platform::Platform;
use crate::text::{from_text, to_text};

/// Bytes of one connection's metadata, as JSON.
const METADATA_BYTES_MAX: usize = 256 * 1024;

/// Bytes of one connection's credentials, as JSON.
const CREDENTIALS_BYTES_MAX: usize = 64 * 1024;

/// Connections on one page.
pub(crate) const PAGE_LENGTH_MAX: usize = 200;

/// Records removed in one transaction, so that others get their turn.
const RECORDS_REMOVED_AT_ONCE: usize = 1_000;

/// What a connection is made of.
#[derive(Debug, Clone, Default)]
pub struct NewConnection {
    /// Shaped by the integration's auth mode.
    pub credentials: Credentials,
    /// An object of the tenant's choosing.
    pub metadata: Value,
    /// Values of the variables in the integration's URLs.
    pub config: BTreeMap<String, String>,
}

/// A connection with its credentials opened.
#[derive(Debug, Clone)]
pub(crate) struct OpenConnection {
    pub(crate) connection: Connection,
    pub(crate) credentials: Credentials,
}

impl Platform {
    /// Makes a connection, or replaces it. Functions that validate a new one decide whether it stays; syncs that start
    /// by themselves are scheduled for it.
    ///
    /// # Errors
    /// `integration_not_found`, `invalid_body` when credentials do not fit the integration's auth mode,
    /// `connection_invalid` when a function finds it so; when the store fails.
    pub async fn put_connection(
        &self,
        tenant: &TenantId,
        integration: &IntegrationId,
        connection: &ConnectionId,
        made: NewConnection,
    ) -> Result<Connection, PlatformError> {
        let settings = self.integration(tenant, integration).await?.settings;
        settings.check_config(&made.config)?;
        let sealed = self.seal_credentials(
            tenant,
            integration,
            connection,
            &settings.auth,
            &made.credentials,
        )?;
        let metadata = metadata_text(&made.metadata)?;
        let now = self.now();
        let row = ConnectionRow {
            integration: integration.clone(),
            id: connection.clone(),
            credentials: sealed,
            metadata,
            config: to_text(&made.config)?,
            failure: None,
            created_at: now,
            updated_at: now,
        };
        let of = tenant.clone();
        let new = self.db.write(move |tx| catalog::put_connection(tx, &of, &row)).await?;
        let made = self.connection(tenant, Some(integration), connection).await?;
        self.connection_made(tenant, &made, new).await?;
        if new {
            self.align_schedules_of(tenant, integration, connection).await?;
        }
        Ok(made)
    }

    /// Replaces a connection's credentials, or merges metadata into its own (shallow), or both.
    ///
    /// # Errors
    /// `connection_not_found`, `invalid_body`; when the store fails.
    pub async fn patch_connection(
        &self,
        tenant: &TenantId,
        integration: Option<&IntegrationId>,
        connection: &ConnectionId,
        credentials: Option<Credentials>,
        metadata: Option<Value>,
    ) -> Result<Connection, PlatformError> {
        let found = self.connection(tenant, integration, connection).await?;
        let integration = found.integration;
        let auth = self.integration(tenant, &integration).await?.settings.auth;
        let seal = |given: Credentials| {
            self.seal_credentials(tenant, &integration, connection, &auth, &given)
        };
        let sealed = credentials.map(seal).transpose()?;
        if let Some(patch) = metadata {
            self.change_metadata(tenant, &integration, connection, patch, true).await?;
        }
        if let Some(sealed) = sealed {
            let (of, id, now) = (tenant.clone(), connection.clone(), self.now());
            let to = integration.clone();
            let work = move |tx: &_| {
                catalog::update_connection(tx, &of, (&to, &id), Some(&sealed), None, now)
            };
            self.db.write(move |tx| work(tx)).await?;
        }
        self.connection(tenant, Some(&integration), connection).await
    }

    /// One connection. Without `integration`, its id has to be one integration's only.
    ///
    /// # Errors
    /// `connection_not_found`; `invalid_query` when more than one integration has it; when the store fails.
    pub async fn connection(
        &self,
        tenant: &TenantId,
        integration: Option<&IntegrationId>,
        connection: &ConnectionId,
    ) -> Result<Connection, PlatformError> {
        connection_of(self.connection_row(tenant, integration, connection).await?)
    }

    async fn connection_row(
        &self,
        tenant: &TenantId,
        integration: Option<&IntegrationId>,
        connection: &ConnectionId,
    ) -> Result<ConnectionRow, PlatformError> {
        let (of, to, id) = (tenant.clone(), integration.cloned(), connection.clone());
        let work = move |db: &_| catalog::connections_matching(db, &of, to.as_ref(), &id, 2);
        let mut rows = self.db.read(move |db| work(db)).await?;
        if rows.len() > 1 {
            let message = format!(
                "more than one integration has a connection {connection}; name the integration"
            );
            return Err(PlatformError::invalid("invalid_query", message));
        }
        rows.pop().ok_or_else(|| {
            let of =
                integration.map(|integration| format!(" of {integration}")).unwrap_or_default();
            let message = format!("there is no connection {connection}{of}");
            PlatformError::not_found("connection_not_found", message)
        })
    }

    /// One connection with its credentials.
    pub(crate) async fn open_connection(
        &self,
        tenant: &TenantId,
        integration: &IntegrationId,
        connection: &ConnectionId,
    ) -> Result<OpenConnection, PlatformError> {
        let row = self.connection_row(tenant, Some(integration), connection).await?;
        let purpose = credentials_purpose(tenant, integration, connection);
        let plain = self.sealer.open_sealed(&purpose, &row.credentials)?;
        let credentials = serde_json::from_slice(&plain).map_err(|_| PlatformError::Unsealable)?;
        Ok(OpenConnection { connection: connection_of(row)?, credentials })
    }

    /// A page of connections, by integration and id: 1 to 200.
    ///
    /// # Errors
    /// `invalid_cursor`; when the store fails.
    pub async fn connections(
        &self,
        tenant: &TenantId,
        integration: Option<&IntegrationId>,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<ConnectionPage, PlatformError> {
        let limit = limit.clamp(1, PAGE_LENGTH_MAX);
        // A `/` is in no id, so it parts the two halves of a cursor.
        let after = match cursor.map(|cursor| cursor.split_once('/')) {
            Some(None) => {
                return Err(PlatformError::invalid(
                    "invalid_cursor",
                    "this is no cursor of connections",
                ));
            }
            Some(Some((integration, id))) => Some((integration.to_owned(), id.to_owned())),
            None => None,
        };
        let (of, to) = (tenant.clone(), integration.cloned());
        let rows = self
            .db
            .read(move |db| {
                let after =
                    after.as_ref().map(|(integration, id)| (integration.as_str(), id.as_str()));
                catalog::connections(db, &of, to.as_ref(), after, limit + 1)
            })
            .await?;
        let more = rows.len() > limit;
        let connections =
            rows.into_iter().take(limit).map(connection_of).collect::<Result<Vec<_>, _>>()?;
        let last = connections.last().filter(|_| more);
        let next_cursor = last.map(|last| format!("{}/{}", last.integration, last.id));
        Ok(ConnectionPage { connections, next_cursor })
    }

    /// Removes a connection, with its schedules and records. What runs for it goes on, without credentials.
    ///
    /// # Errors
    /// `connection_not_found`; when the store fails.
    pub async fn remove_connection(
        &self,
        tenant: &TenantId,
        integration: Option<&IntegrationId>,
        connection: &ConnectionId,
    ) -> Result<(), PlatformError> {
        let integration = self.connection(tenant, integration, connection).await?.integration;
        self.connection_goes(tenant, &integration, connection).await?;
        self.forget_connection(tenant, &integration, connection).await
    }

    /// Removes a connection with all that is its. The row goes last: a removal that is broken off is repeated by asking
    /// again.
    pub(crate) async fn forget_connection(
        &self,
        tenant: &TenantId,
        integration: &IntegrationId,
        connection: &ConnectionId,
    ) -> Result<(), PlatformError> {
        self.remove_schedules_of(tenant, integration, connection).await?;
        loop {
            let (of, to, id) = (tenant.clone(), integration.clone(), connection.clone());
            let removed = self
                .db
                .write(move |tx| {
                    let limit = RECORDS_REMOVED_AT_ONCE;
                    bulkhead_store::records::remove_connection_records(tx, &of, &to, &id, limit)
                })
                .await?;
            if removed < RECORDS_REMOVED_AT_ONCE {
                break;
            }
        }
        let (of, to, id) = (tenant.clone(), integration.clone(), connection.clone());
        self.db.write(move |tx| catalog::remove_connection(tx, &of, &to, &id)).await?;
        Ok(())
    }

    /// Replaces a connection's metadata; returns it.
    ///
    /// # Errors
    /// `connection_not_found`, `invalid_body`; when the store fails.
    pub async fn set_metadata(
        &self,
        tenant: &TenantId,
        integration: Option<&IntegrationId>,
        connection: &ConnectionId,
        metadata: Value,
    ) -> Result<Value, PlatformError> {
        let integration = self.connection(tenant, integration, connection).await?.integration;
        self.change_metadata(tenant, &integration, connection, metadata, false).await
    }

    /// Replaces metadata, or merges into it at its top level. Reads and writes in one transaction, so that two
    /// merges at once both count.
    pub(crate) async fn change_metadata(
        &self,
        tenant: &TenantId,
        integration: &IntegrationId,
        connection: &ConnectionId,
        metadata: Value,
        merge: bool,
    ) -> Result<Value, PlatformError> {
        let given = metadata_object(metadata)?;
        let (of, to, id, now) =
            (tenant.clone(), integration.clone(), connection.clone(), self.now());
        self.db
            .write(move |tx| {
                let Some(row) = catalog::connection(tx, &of, &to, &id)? else {
                    let message = format!("there is no connection {id} of {to}");
                    return Err(PlatformError::not_found("connection_not_found", message));
                };
                let mut changed =
                    if merge { from_text("connections", &row.metadata)? } else { Map::new() };
                changed.extend(given);
                let changed = Value::Object(changed);
                let text = metadata_text(&changed)?;
                catalog::update_connection(tx, &of, (&to, &id), None, Some(&text), now)?;
                Ok(changed)
            })
            .await
    }

    pub(crate) fn seal_credentials(
        &self,
        tenant: &TenantId,
        integration: &IntegrationId,
        connection: &ConnectionId,
        auth: &AuthSettings,
        credentials: &Credentials,
    ) -> Result<Vec<u8>, PlatformError> {
        if let Some(missing) = credentials.missing(&auth.mode) {
            let message = format!("the integration's auth mode needs credentials.{missing}");
            return Err(PlatformError::invalid("invalid_body", message));
        }
        let plain = to_text(credentials)?;
        if plain.len() > CREDENTIALS_BYTES_MAX {
            let message = format!("credentials have at most {CREDENTIALS_BYTES_MAX} bytes");
            return Err(PlatformError::invalid("invalid_body", message));
        }
        let purpose = credentials_purpose(tenant, integration, connection);
        self.sealer.seal(&purpose, plain.as_bytes(), self.entropy.as_ref())
    }
}

pub(crate) fn credentials_purpose(
    tenant: &TenantId,
    integration: &IntegrationId,
    connection: &ConnectionId,
) -> String {
    format!("credentials/{tenant}/{integration}/{connection}")
}

fn connection_of(row: ConnectionRow) -> Result<Connection, PlatformError> {
    let ConnectionRow {
        integration, id, metadata, config, failure, created_at, updated_at, ..
    } = row;
    let metadata = from_text("connections", &metadata)?;
    let config = from_text("connections", &config)?;
    let failure = failure.map(|text| from_text("connections", &text)).transpose()?;
    Ok(Connection { id, integration, metadata, config, failure, created_at, updated_at })
}

/// Metadata is an object; nothing is an empty one.
fn metadata_object(metadata: Value) -> Result<Map<String, Value>, PlatformError> {
    match metadata {
        Value::Object(object) => Ok(object),
        Value::Null => Ok(Map::new()),
        _ => Err(PlatformError::invalid("invalid_body", "metadata has to be a JSON object")),
    }
}

fn metadata_text(metadata: &Value) -> Result<String, PlatformError> {
    let text = to_text(&metadata_object(metadata.clone())?)?;
    if text.len() > METADATA_BYTES_MAX {
        let message = format!("metadata has at most {METADATA_BYTES_MAX} bytes");
        return Err(PlatformError::invalid("invalid_body", message));
    }
    Ok(text)
}

//! Integrations: which APIs a tenant connects to, and how.

use std::collections::BTreeMap;
use std::sync::Arc;

use bulkhead_store::catalog::{self, IntegrationRow};
use bulkhead_types::{IntegrationId, TenantId};
use serde::{Deserialize, Serialize};

use crate::auth::{AuthMode, AuthSettings};
use crate::catalogue::{ConfigVariable, Provider, Template, TemplateError, Variables, provider};
use crate::connections::PAGE_LENGTH_MAX;
use crate::error::PlatformError;
use crate::model::{Integration, IntegrationSettings, RateLimit};
use crate::platform::Platform;
use crate::text::{from_text, to_text};
use crate::webhooks::{Scheme, WebhookSettings, verify_token};

/// Variables of one connection.
const CONFIG_MAX: usize = 32;

/// An integration, with its secrets.
#[derive(Debug)]
pub(crate) struct KnownIntegration {
    pub(crate) integration: Integration,
    pub(crate) webhook_secret: Option<Vec<u8>>,
    pub(crate) client_secret: Option<Vec<u8>>,
}

#[derive(Serialize, Deserialize)]
struct SettingsText {
    provider: String,
    display_name: String,
    base_url: Option<String>,
    auth: AuthSettings,
    webhook: WebhookSettings,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    rate_limit: Option<RateLimit>,
}

impl Platform {
    /// Makes an integration, or changes it.
    ///
    /// # Errors
    /// `invalid_body`, `tenant_not_found`; when the store fails.
    pub async fn put_integration(
        &self,
        tenant: &TenantId,
        integration: &IntegrationId,
        settings: IntegrationSettings,
    ) -> Result<Integration, PlatformError> {
        self.tenant(tenant).await?;
        check_settings(&settings)?;
        let or_id = |text: String| if text.is_empty() { integration.to_string() } else { text };
        let (mut webhook, mut auth) = (settings.webhook, settings.auth);
        let (secret, client_secret) = (webhook.secret.take(), auth.client_secret.take());
        let text = SettingsText {
            provider: or_id(settings.provider),
            display_name: or_id(settings.display_name),
            base_url: settings.base_url,
            auth,
            webhook,
            rate_limit: settings.rate_limit,
        };
        let seal = |purpose: String| {
            move |secret: String| {
                self.sealer.seal(&purpose, secret.as_bytes(), self.entropy.as_ref())
            }
        };
        let row = IntegrationRow {
            id: integration.clone(),
            settings: to_text(&text)?,
            webhook_secret: secret.map(seal(webhook_purpose(tenant, integration))).transpose()?,
            client_secret: client_secret
                .map(seal(client_purpose(tenant, integration)))
                .transpose()?,
            created_at: self.now(),
        };
        let of = tenant.clone();
        self.db.write(move |tx| catalog::put_integration(tx, &of, &row)).await?;
        self.caches.changed();
        self.integration(tenant, integration).await
    }

    /// One integration.
    ///
    /// # Errors
    /// `integration_not_found`; when the store fails.
    pub async fn integration(
        &self,
        tenant: &TenantId,
        integration: &IntegrationId,
    ) -> Result<Integration, PlatformError> {
        Ok(self.known_integration(tenant, integration).await?.integration.clone())
    }

    /// One integration, with its secrets.
    pub(crate) async fn known_integration(
        &self,
        tenant: &TenantId,
        integration: &IntegrationId,
    ) -> Result<Arc<KnownIntegration>, PlatformError> {
        let (generation, key) = (self.generation(), (tenant.clone(), integration.clone()));
        if let Some(found) = self.caches.integrations.get(&key, generation) {
            return Ok(found);
        }
        let (of, id) = (tenant.clone(), integration.clone());
        let row = self.db.read(move |db| catalog::integration(db, &of, &id)).await?;
        let Some(row) = row else {
            let message =
                format!("tenant {tenant} has no integration {integration}; make it first");
            return Err(PlatformError::not_found("integration_not_found", message));
        };
        let open = |purpose: String, sealed: Option<Vec<u8>>| {
            sealed.map(|sealed| self.sealer.open_sealed(&purpose, &sealed)).transpose()
        };
        let webhook_secret =
            open(webhook_purpose(tenant, integration), row.webhook_secret.clone())?;
        let client_secret = open(client_purpose(tenant, integration), row.client_secret.clone())?;
        let mut integration = integration_of(row)?;
        let is_meta = integration.settings.webhook.scheme == Some(Scheme::Meta);
        let secret = webhook_secret.as_ref().filter(|_| is_meta);
        integration.verify_token = secret.map(|secret| verify_token(secret));
        let found = Arc::new(KnownIntegration { integration, webhook_secret, client_secret });
        self.caches.integrations.put(key, generation, Arc::clone(&found));
        Ok(found)
    }

    /// All integrations of a tenant, by id.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn integrations(&self, tenant: &TenantId) -> Result<Vec<Integration>, PlatformError> {
        let tenant = tenant.clone();
        let rows = self.db.read(move |db| catalog::integrations(db, &tenant)).await?;
        rows.into_iter().map(integration_of).collect()
    }

    /// Removes an integration with its connections, their schedules and records.
    ///
    /// # Errors
    /// `integration_not_found`; when the store fails.
    pub async fn remove_integration(
        &self,
        tenant: &TenantId,
        integration: &IntegrationId,
    ) -> Result<(), PlatformError> {
        self.integration(tenant, integration).await?;
        loop {
            let page = self.connections(tenant, Some(integration), None, PAGE_LENGTH_MAX).await?;
            if page.connections.is_empty() {
                break;
            }
            for connection in page.connections {
                self.remove_connection(tenant, Some(integration), &connection.id).await?;
            }
        }
        let (of, id) = (tenant.clone(), integration.clone());
        self.db.write(move |tx| catalog::remove_integration(tx, &of, &id)).await?;
        self.caches.changed();
        Ok(())
    }
}

impl IntegrationSettings {
    /// What is known about its API.
    #[must_use]
    pub fn known_provider(&self) -> Option<&'static Provider> {
        provider(&self.provider)
    }

    fn variables(&self) -> &BTreeMap<String, ConfigVariable> {
        static NONE: BTreeMap<String, ConfigVariable> = BTreeMap::new();
        self.known_provider().map_or(&NONE, |provider| &provider.config)
    }

    /// A URL of its own for a connection.
    pub(crate) fn url(&self, template: &str, config: &Variables) -> Result<String, PlatformError> {
        let filled =
            Template::parse(template).and_then(|template| template.fill(config, self.variables()));
        filled.map_err(|error| wrong_config(&error))
    }

    /// Whether a connection says all that its URLs need, and nothing that can't stand there.
    pub(crate) fn check_config(&self, config: &Variables) -> Result<(), PlatformError> {
        if config.len() > CONFIG_MAX {
            let message = format!("a connection has at most {CONFIG_MAX} variables");
            return Err(PlatformError::invalid("invalid_body", message));
        }
        let oauth = self.auth.mode.oauth2();
        let of_oauth = oauth.map(|oauth| [&oauth.authorization_url, &oauth.token_url]);
        let urls = self.base_url.iter().chain(of_oauth.into_iter().flatten());
        for url in urls.filter(|url| !url.is_empty()) {
            self.url(url, config)?;
        }
        Ok(())
    }
}

fn wrong_config(error: &TemplateError) -> PlatformError {
    PlatformError::invalid("invalid_body", error.to_string())
}

pub(crate) fn client_purpose(tenant: &TenantId, integration: &IntegrationId) -> String {
    format!("client/{tenant}/{integration}")
}

pub(crate) fn webhook_purpose(tenant: &TenantId, integration: &IntegrationId) -> String {
    format!("webhook/{tenant}/{integration}")
}

fn integration_of(row: IntegrationRow) -> Result<Integration, PlatformError> {
    let text: SettingsText = from_text("integrations", &row.settings)?;
    let settings = IntegrationSettings {
        provider: text.provider,
        display_name: text.display_name,
        base_url: text.base_url,
        auth: text.auth,
        webhook: text.webhook,
        rate_limit: text.rate_limit,
    };
    Ok(Integration {
        id: row.id,
        settings,
        has_webhook_secret: row.webhook_secret.is_some(),
        has_client_secret: row.client_secret.is_some(),
        verify_token: None,
        created_at: row.created_at,
    })
}

fn check_settings(settings: &IntegrationSettings) -> Result<(), PlatformError> {
    let invalid = |message: &str| Err(PlatformError::invalid("invalid_body", message));
    let oauth = settings.auth.mode.oauth2();
    let optional =
        |url: &'static str, text: &str| (!text.is_empty()).then(|| (url, text.to_owned()));
    let urls = [
        settings.base_url.clone().map(|text| ("base_url", text)),
        oauth.and_then(|oauth| optional("auth.authorization_url", &oauth.authorization_url)),
        oauth.and_then(|oauth| optional("auth.token_url", &oauth.token_url)),
    ];
    for (what, text) in urls.into_iter().flatten() {
        if Template::parse(&text).is_err() {
            let message = format!(
                "{what} has to be an http or https URL, with neither user info nor a fragment"
            );
            return Err(PlatformError::invalid("invalid_body", message));
        }
    }
    match (&settings.auth.mode, oauth) {
        (_, Some(oauth)) if oauth.token_url.is_empty() => {
            return invalid("auth.token_url is missing");
        }
        (AuthMode::Oauth2(oauth), _) if oauth.authorization_url.is_empty() => {
            return invalid("auth.authorization_url is missing");
        }
        _ => {}
    }
    if let AuthMode::ApiKey { header: None, query: None, .. } = &settings.auth.mode {
        return invalid("auth mode api_key needs the name of a header or of a query parameter");
    }
    if let AuthMode::ApiKey { header: Some(name), .. } = &settings.auth.mode
        && http::HeaderName::try_from(name.as_str()).is_err()
    {
        return invalid("auth.header is no header name");
    }
    let fits = |limit: RateLimit| {
        (1..=1_000_000).contains(&limit.requests) && (1..=86_400).contains(&limit.per_s)
    };
    if !settings.rate_limit.is_none_or(fits) {
        return invalid("rate_limit is 1 to 1,000,000 requests per 1 to 86,400 seconds");
    }
    if settings.webhook.secret.as_ref().is_some_and(String::is_empty) {
        return invalid("an empty webhook secret signs nothing");
    }
    Ok(())
}

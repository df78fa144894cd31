//! Providers' webhooks: signature, duplicates, connection, then one durable execution per handler. Deciding is
//! pure and comes first; what is kept is kept before the provider hears that we have it.
//!
//! Layout: `settings` is what an integration says, `signature` whether to believe a delivery, `challenge` what
//! providers ask before they send, `delivery` what can be read off one.

mod challenge;
mod delivery;
mod settings;
mod signature;

use std::sync::Arc;
use std::time::Duration;

use bulkhead_engine::{Idempotency, Submit};
use bulkhead_store::catalog;
use bulkhead_types::{
    ConcurrencyKey, ConnectionId, FunctionKind, IntegrationId, TenantId, Trigger, Version,
};
use serde_json::json;
use sha2::{Digest as _, Sha256};

use crate::error::PlatformError;
use crate::model::WebhookDelivery;
use crate::platform::Platform;
use crate::run::submit_of;

pub use challenge::Challenge;
pub(crate) use challenge::verify_token;
use delivery::Delivery;
pub use settings::{Algorithm, Scheme, WebhookMatch, WebhookSettings};

/// How long a delivery's id is remembered; providers repeat for up to three days.
const DELIVERY_TTL: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// A request to the webhook address.
#[derive(Debug, Clone, Default)]
pub struct Incoming {
    /// As the provider called it, query included: some sign it.
    pub url: String,
    /// The part of the path behind the integration, which may name a connection.
    pub segment: Option<String>,
    /// Name and value.
    pub headers: Vec<(String, String)>,
    /// As it came.
    pub body: Vec<u8>,
}

impl Incoming {
    fn query(&self) -> Vec<(String, String)> {
        let query = self.url.split_once('?').map(|(_, query)| query).unwrap_or_default();
        url::form_urlencoded::parse(query.as_bytes()).into_owned().collect()
    }
}

/// What became of a request to the webhook address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Received {
    /// It was a delivery.
    Delivery(WebhookDelivery),
    /// It was a question, with this answer.
    Challenge(Challenge),
}

/// Where deliveries of a connection stand behind each other, for each function that handles them.
fn line_of(version: &Version, connection: &ConnectionId) -> ConcurrencyKey {
    let spec = &version.spec;
    let place = format!("{}/{}/{}/{connection}", spec.integration, spec.kind.as_str(), spec.name);
    let digest = hex::encode(&Sha256::digest(place.as_bytes())[..16]);
    ConcurrencyKey { name: format!("webhooks-{digest}"), max: 1 }
}

fn denied(why: &dyn std::fmt::Display) -> PlatformError {
    PlatformError::Denied { code: "webhook_signature_wrong", message: why.to_string() }
}

impl Platform {
    /// Takes a provider's webhook: one execution per live webhook function of the integration, and per sync that
    /// subscribes to it if its connection is known. When this returns, they are committed. A delivery that repeats an id
    /// makes nothing new. A provider that only asks whether the address is ours gets its answer.
    ///
    /// # Errors
    /// `webhook_signature_wrong`, `integration_not_found`, those of the engine's submit; when the store fails.
    pub async fn ingest_webhook(
        &self,
        tenant: &TenantId,
        integration: &IntegrationId,
        incoming: Incoming,
    ) -> Result<Received, PlatformError> {
        let known = self.known_integration(tenant, integration).await?;
        let secret = known.webhook_secret.as_deref();
        let settings = &known.integration.settings.webhook;
        if let Some(scheme) = settings.scheme
            && let Some(asked) = challenge::of_query(scheme, &incoming.query())
        {
            return Ok(Received::Challenge(asked));
        }
        let mut delivery = Delivery::new(incoming);
        signature::check(&delivery, settings, secret, self.now())
            .map_err(|untrusted| denied(&untrusted))?;
        if let (Some(scheme), Some(secret)) = (settings.scheme, secret)
            && let Some(asked) = challenge::of_delivery(scheme, secret, &delivery)
        {
            return Ok(Received::Challenge(asked));
        }
        if settings.scheme == Some(Scheme::Token) {
            // The header is the secret itself, which no handler shall see.
            delivery.forget(settings.signature_header.as_deref().unwrap_or("x-webhook-token"));
        }
        let taken = self.take_delivery(tenant, integration, settings, &delivery).await?;
        Ok(Received::Delivery(taken))
    }

    /// Answers a provider that asks by GET whether the address is ours.
    ///
    /// # Errors
    /// `webhook_signature_wrong` when the question is not the integration's, `integration_not_found`; when the store fails.
    pub async fn answer_challenge(
        &self,
        tenant: &TenantId,
        integration: &IntegrationId,
        incoming: &Incoming,
    ) -> Result<Challenge, PlatformError> {
        let known = self.known_integration(tenant, integration).await?;
        let scheme = known.integration.settings.webhook.scheme;
        let asked = scheme.zip(known.webhook_secret.as_deref());
        let answer =
            asked.and_then(|(scheme, secret)| challenge::of_get(scheme, secret, &incoming.query()));
        answer.ok_or_else(|| {
            denied(
                &"this is no challenge of the integration's scheme, or its verify token is wrong",
            )
        })
    }

    async fn take_delivery(
        &self,
        tenant: &TenantId,
        integration: &IntegrationId,
        settings: &WebhookSettings,
        delivery: &Delivery,
    ) -> Result<WebhookDelivery, PlatformError> {
        let connection =
            self.connection_of_delivery(tenant, integration, settings, delivery).await?;
        let id = delivery.id(settings);
        self.pass_on(tenant, integration, connection.as_ref(), (id.as_deref(), delivery)).await?;
        let handlers = self.webhook_handlers(tenant, integration).await?;
        let wanted =
            handlers.iter().filter(|version| delivery.is_for(version, connection.is_some()));
        let submits = wanted.map(|version| {
            let mut submit: Submit =
                submit_of(version, Trigger::Webhook, delivery.input_of(version));
            submit.connection.clone_from(&connection);
            if let Some(connection) = connection.as_ref().filter(|_| settings.ordered) {
                submit.concurrency = Some(line_of(version, connection));
            }
            submit.idempotency = id.clone().map(|key| Idempotency { key, ttl: DELIVERY_TTL });
            self.submit(submit)
        });
        let accepted = futures_util::future::try_join_all(submits).await?;
        let duplicate = !accepted.is_empty() && accepted.iter().all(|accepted| accepted.duplicate);
        let executions = accepted.into_iter().map(|accepted| accepted.execution).collect();
        Ok(WebhookDelivery { executions, duplicate, connection })
    }

    /// The product hears of it, if it listens: once per delivery, where deliveries have names.
    async fn pass_on(
        &self,
        tenant: &TenantId,
        integration: &IntegrationId,
        connection: Option<&ConnectionId>,
        (id, delivery): (Option<&str>, &Delivery),
    ) -> Result<(), PlatformError> {
        let name = match id {
            // Names of deliveries can be long and strange; a digest is neither.
            Some(id) => {
                hex::encode(&Sha256::digest(format!("{integration}/{id}").as_bytes())[..16])
            }
            None => self.random_hex(16),
        };
        let mut data = delivery.input();
        data["integration"] = json!(integration);
        data["connection_id"] = json!(connection);
        self.notify(tenant, "webhook.received", format!("webhook_{name}"), data).await
    }

    async fn webhook_handlers(
        &self,
        tenant: &TenantId,
        integration: &IntegrationId,
    ) -> Result<Arc<Vec<Arc<Version>>>, PlatformError> {
        let generation = self.generation();
        let key = (tenant.clone(), integration.clone());
        if let Some(handlers) = self.caches.handlers.get(&key, generation) {
            return Ok(handlers);
        }
        let live = self.functions(tenant).await?.into_iter().map(|info| info.version);
        let of_integration = live.filter(|version| version.spec.integration == *integration);
        let handlers = of_integration.filter(|version| match version.spec.kind {
            FunctionKind::Webhook => true,
            FunctionKind::Sync => !version.spec.webhook_subscriptions.is_empty(),
            _ => false,
        });
        let handlers: Arc<Vec<_>> = Arc::new(handlers.map(Arc::new).collect());
        self.caches.handlers.put(key, generation, Arc::clone(&handlers));
        Ok(handlers)
    }

    async fn connection_of_delivery(
        &self,
        tenant: &TenantId,
        integration: &IntegrationId,
        settings: &WebhookSettings,
        delivery: &Delivery,
    ) -> Result<Option<ConnectionId>, PlatformError> {
        let Some(rule) = &settings.connection else { return Ok(None) };
        let Some(value) = delivery.matched(rule) else { return Ok(None) };
        let (of, to, field) = (tenant.clone(), integration.clone(), rule.metadata.clone());
        self.db
            .read(move |db| match field {
                Some(field) => catalog::connection_with(db, &of, &to, &field, &value),
                None => match ConnectionId::parse(&value) {
                    Ok(id) => Ok(catalog::connection(db, &of, &to, &id)?.map(|row| row.id)),
                    Err(_) => Ok(None),
                },
            })
            .await
            .map_err(|error: bulkhead_store::StoreError| error.into())
    }
}

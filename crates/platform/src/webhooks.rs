//! Providers' webhooks: signature, duplicates, connection, then one durable execution per handler. Deciding is
//! pure and comes first; what is kept is kept before the provider hears that we have it.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bulkhead_engine::{Idempotency, Submit};
use bulkhead_store::catalog;
use bulkhead_types::{ConnectionId, FunctionKind, IntegrationId, TenantId, Trigger, Version};
use ring::hmac;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use crate::error::PlatformError;
use crate::model::{WebhookDelivery, WebhookMatch, WebhookSettings};
use crate::platform::Platform;
use crate::run::submit_of;

/// How long a delivery's id is remembered; providers repeat for up to three days.
const DELIVERY_TTL: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// Headers looked at for a signature when the integration names none.
const SIGNATURE_HEADERS: [&str; 2] = ["x-hub-signature-256", "x-signature"];

/// Headers looked at for a delivery's id when the integration names none.
const DELIVERY_HEADERS: [&str; 3] = ["x-github-delivery", "x-delivery-id", "webhook-id"];

/// Where a delivery's type is looked for: first in these headers, then in these fields of a JSON body.
const KIND_HEADERS: [&str; 2] = ["x-github-event", "x-event-type"];
const KIND_FIELDS: [&str; 3] = ["type", "event", "eventType"];

/// Headers that no handler needs, and that could hold somebody's secret.
const HEADERS_DROPPED: [&str; 3] = ["authorization", "cookie", "proxy-authorization"];

/// One delivery, as it came in.
struct Delivery {
    /// Names in lower case.
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    /// Parsed, if it is JSON.
    json: Option<Value>,
}

impl Platform {
    /// Takes a provider's webhook: one execution per live webhook function of the integration, and per sync that
    /// subscribes to it if its connection is known. When this returns, they are committed. A delivery that repeats an id makes nothing new.
    ///
    /// # Errors
    /// `webhook_signature_wrong`, `integration_not_found`, those of the engine's submit; when the store fails.
    pub async fn ingest_webhook(
        &self,
        tenant: &TenantId,
        integration: &IntegrationId,
        headers: Vec<(String, String)>,
        body: Vec<u8>,
    ) -> Result<WebhookDelivery, PlatformError> {
        let (known, secret) = self.integration_with_secret(tenant, integration).await?;
        let settings = known.settings.webhook;
        let delivery = Delivery::new(headers, body);
        if let Some(secret) = &secret {
            delivery.check_signature(&settings, secret)?;
        }
        let connection =
            self.connection_of_delivery(tenant, integration, &settings, &delivery).await?;
        let id = delivery.id(&settings);
        let handlers = self.webhook_handlers(tenant, integration).await?;
        let wanted =
            handlers.iter().filter(|version| delivery.is_for(version, connection.is_some()));
        let submits = wanted.map(|version| {
            let mut submit: Submit =
                submit_of(version, Trigger::Webhook, delivery.input_of(version));
            submit.connection.clone_from(&connection);
            submit.idempotency = id.clone().map(|key| Idempotency { key, ttl: DELIVERY_TTL });
            self.submit(submit)
        });
        let accepted = futures_util::future::try_join_all(submits).await?;
        let duplicate = !accepted.is_empty() && accepted.iter().all(|accepted| accepted.duplicate);
        let executions = accepted.into_iter().map(|accepted| accepted.execution).collect();
        Ok(WebhookDelivery { executions, duplicate, connection })
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

impl Delivery {
    fn new(headers: Vec<(String, String)>, body: Vec<u8>) -> Self {
        let headers =
            headers.into_iter().map(|(name, value)| (name.to_ascii_lowercase(), value)).collect();
        let json = serde_json::from_slice(&body).ok();
        Self { headers, body, json }
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    fn header_of(&self, named: Option<&str>, defaults: &[&str]) -> Option<&str> {
        match named {
            Some(name) => self.header(name),
            None => defaults.iter().find_map(|name| self.header(name)),
        }
    }

    /// HMAC-SHA256 over the raw body, in hex or base64, with or without `sha256=`. Compared in constant time.
    fn check_signature(
        &self,
        settings: &WebhookSettings,
        secret: &[u8],
    ) -> Result<(), PlatformError> {
        let wrong = |message: &str| PlatformError::Denied {
            code: "webhook_signature_wrong",
            message: message.to_owned(),
        };
        let given = self.header_of(settings.signature_header.as_deref(), &SIGNATURE_HEADERS);
        let given = given.ok_or_else(|| {
            wrong("the webhook has no signature header; is it the one that the integration names?")
        })?;
        let given = given.trim();
        let given = given.strip_prefix("sha256=").unwrap_or(given);
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
        let candidates = [hex::decode(given).ok(), STANDARD.decode(given).ok()];
        let right = |signature: &Vec<u8>| hmac::verify(&key, &self.body, signature).is_ok();
        if candidates.iter().flatten().any(right) {
            return Ok(());
        }
        Err(wrong(
            "the webhook's signature is wrong; compare the provider's secret with the integration's",
        ))
    }

    /// The idempotency key of its executions; long ids by their digest.
    fn id(&self, settings: &WebhookSettings) -> Option<String> {
        let id = self.header_of(settings.delivery_header.as_deref(), &DELIVERY_HEADERS)?.trim();
        (!id.is_empty()).then(|| match id.len() {
            1..=200 => format!("delivery:{id}"),
            _ => format!("delivery-sha256:{}", hex::encode(Sha256::digest(id.as_bytes()))),
        })
    }

    /// The text that a rule finds.
    fn matched(&self, rule: &WebhookMatch) -> Option<String> {
        if let Some(name) = &rule.header {
            return self.header(name).map(str::to_owned);
        }
        let path = rule.body.as_deref()?;
        let start = self.json.as_ref()?;
        let found = path.split('.').try_fold(start, |value, part| match value {
            Value::Array(items) => items.get(part.parse::<usize>().ok()?),
            value => value.get(part),
        });
        match found? {
            Value::String(text) => Some(text.clone()),
            Value::Number(number) => Some(number.to_string()),
            _ => None,
        }
    }

    /// Whether a function is to handle it: a webhook function always, a sync if it subscribes to this type, or to
    /// `*`, and there is a connection whose records it would write.
    fn is_for(&self, version: &Version, has_connection: bool) -> bool {
        if version.spec.kind == FunctionKind::Webhook {
            return true;
        }
        let kind = self.kind();
        let wants = |subscribed: &String| subscribed == "*" || Some(subscribed.as_str()) == kind;
        has_connection && version.spec.webhook_subscriptions.iter().any(wants)
    }

    /// Its type, where providers commonly say it.
    fn kind(&self) -> Option<&str> {
        let in_body =
            |name: &str| self.json.as_ref().and_then(|body| body.get(name)).and_then(Value::as_str);
        let in_header = KIND_HEADERS.iter().find_map(|name| self.header(name));
        in_header.or_else(|| KIND_FIELDS.iter().find_map(|name| in_body(name)))
    }

    /// A webhook function gets everything; a sync's `onWebhook` gets the body.
    fn input_of(&self, version: &Version) -> Value {
        let mut input = self.input();
        if version.spec.kind == FunctionKind::Webhook { input } else { input["body"].take() }
    }

    /// What the handler gets: `{headers, body, raw}`. A body that is no text is there as `rawBase64`.
    fn input(&self) -> Value {
        let mut headers = Map::new();
        for (name, value) in &self.headers {
            if !HEADERS_DROPPED.contains(&name.as_str()) {
                let joined = match headers.get(name).and_then(Value::as_str) {
                    Some(first) => format!("{first}, {value}"),
                    None => value.clone(),
                };
                headers.insert(name.clone(), Value::String(joined));
            }
        }
        match std::str::from_utf8(&self.body) {
            Ok(raw) => {
                let body = self.json.clone().unwrap_or_else(|| Value::String(raw.to_owned()));
                json!({ "headers": headers, "body": body, "raw": raw })
            }
            Err(_) => {
                let encoded = STANDARD.encode(&self.body);
                json!({ "headers": headers, "body": null, "raw": "", "rawBase64": encoded })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed step is the test's failure")]
    use super::*;

    fn delivery(headers: &[(&str, &str)], body: &str) -> Delivery {
        let headers =
            headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Delivery::new(headers, body.as_bytes().to_vec())
    }

    #[test]
    fn a_signature_is_hmac_sha256_of_the_raw_body() {
        // From RFC 4231, test case 2.
        let (secret, body) = (b"Jefe".as_slice(), "what do ya want for nothing?");
        let right = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
        let base64 = STANDARD.encode(hex::decode(right).unwrap());
        let custom = WebhookSettings {
            signature_header: Some("X-Sig".into()),
            ..WebhookSettings::default()
        };
        let check = |headers: &[(&str, &str)], body: &str, settings: &WebhookSettings| {
            delivery(headers, body).check_signature(settings, secret).is_ok()
        };
        let default = WebhookSettings::default();
        assert!(check(&[("X-Hub-Signature-256", &format!("sha256={right}"))], body, &default));
        assert!(check(&[("x-signature", right)], body, &default));
        assert!(check(&[("X-SIG", &base64)], body, &custom));
        assert!(!check(&[("x-signature", right)], "what do ya want for nothing!", &default));
        assert!(!check(&[("x-signature", &right.replace('5', "6"))], body, &default));
        assert!(!check(&[("x-signature", "")], body, &default));
        assert!(!check(&[("x-signature", right)], body, &custom), "not the header that was named");
        assert!(!check(&[], body, &default));
    }

    #[test]
    fn a_delivery_is_named_by_its_header() {
        let default = WebhookSettings::default();
        let id = |headers: &[(&str, &str)], settings: &WebhookSettings| {
            delivery(headers, "").id(settings)
        };
        assert_eq!(id(&[("X-GitHub-Delivery", "abc")], &default), Some("delivery:abc".into()));
        assert_eq!(id(&[("X-Other", "abc")], &default), None);
        let custom = WebhookSettings {
            delivery_header: Some("X-Other".into()),
            ..WebhookSettings::default()
        };
        assert_eq!(
            id(&[("X-Other", "abc"), ("Webhook-Id", "no")], &custom),
            Some("delivery:abc".into())
        );
        assert!(id(&[("Webhook-Id", &"x".repeat(4_000))], &default).unwrap().len() <= 255);
    }

    #[test]
    fn a_rule_finds_the_connection_in_header_or_body() {
        let delivery = delivery(
            &[("X-Account", "acme")],
            r#"{"installation": {"id": 42}, "list": [{"n": "x"}]}"#,
        );
        let rule = |header: Option<&str>, body: Option<&str>| WebhookMatch {
            header: header.map(str::to_owned),
            body: body.map(str::to_owned),
            metadata: None,
        };
        assert_eq!(delivery.matched(&rule(Some("x-account"), None)), Some("acme".into()));
        assert_eq!(delivery.matched(&rule(None, Some("installation.id"))), Some("42".into()));
        assert_eq!(delivery.matched(&rule(None, Some("list.0.n"))), Some("x".into()));
        for none in ["installation", "nope", "installation.id.more", "list.9.n", ""] {
            assert_eq!(delivery.matched(&rule(None, Some(none))), None, "{none}");
        }
    }

    #[test]
    fn handlers_get_the_raw_body_and_no_secrets_of_the_request() {
        let input =
            delivery(&[("Authorization", "x"), ("X-A", "1"), ("x-a", "2")], r#"{ "a": 1 }"#)
                .input();
        assert_eq!(
            input,
            json!({"headers": {"x-a": "1, 2"}, "body": {"a": 1}, "raw": "{ \"a\": 1 }"})
        );
        let binary = Delivery::new(vec![], vec![0xff, 0xfe]).input();
        assert_eq!(binary["rawBase64"], "//4=");
        assert_eq!(delivery(&[], "a=b").input()["body"], "a=b");
    }
}

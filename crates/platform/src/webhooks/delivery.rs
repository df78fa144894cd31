//! One delivery, and what can be read off it. Pure.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bulkhead_types::{FunctionKind, Version};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::Incoming;
use super::settings::{Scheme, WebhookMatch, WebhookSettings};

/// Headers looked at for a delivery's id when the integration names none.
const DELIVERY_HEADERS: [&str; 4] =
    ["x-github-delivery", "x-delivery-id", "webhook-id", "x-shopify-webhook-id"];

/// Where a delivery's type is looked for: first in these headers, then in these fields of a JSON body.
const KIND_HEADERS: [&str; 3] = ["x-github-event", "x-event-type", "x-shopify-topic"];
const KIND_FIELDS: [&str; 3] = ["type", "event", "eventType"];

/// Headers that no handler needs, and that could hold somebody's secret.
const HEADERS_DROPPED: [&str; 3] = ["authorization", "cookie", "proxy-authorization"];

/// One delivery, as it came in.
pub(super) struct Delivery {
    /// As the provider called it, for signatures over it.
    pub(super) url: String,
    /// The part of the path behind the integration.
    segment: Option<String>,
    /// Names in lower case.
    headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
    /// Parsed, if it is JSON.
    pub(super) json: Option<Value>,
}

impl Delivery {
    pub(super) fn new(incoming: Incoming) -> Self {
        let Incoming { url, segment, headers, body } = incoming;
        let headers =
            headers.into_iter().map(|(name, value)| (name.to_ascii_lowercase(), value)).collect();
        let json = serde_json::from_slice(&body).ok();
        Self { url, segment, headers, body, json }
    }

    /// Handlers do not get to see it.
    pub(super) fn forget(&mut self, header: &str) {
        self.headers.retain(|(name, _)| !name.eq_ignore_ascii_case(header));
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    pub(super) fn header_of(&self, named: Option<&str>, defaults: &[&str]) -> Option<&str> {
        match named {
            Some(name) => self.header(name),
            None => defaults.iter().find_map(|name| self.header(name)),
        }
    }

    /// The idempotency key of its executions; long ids by their digest.
    pub(super) fn id(&self, settings: &WebhookSettings) -> Option<String> {
        let own = match settings.scheme {
            Some(Scheme::Stripe) => Some("id"),
            Some(Scheme::Slack) => Some("event_id"),
            _ => None,
        };
        let in_body = settings.delivery_body.as_deref().or(own);
        let id = match (&settings.delivery_header, in_body) {
            (None, Some(path)) => self.text_at(path)?,
            (named, _) => self.header_of(named.as_deref(), &DELIVERY_HEADERS)?.trim().to_owned(),
        };
        (!id.is_empty()).then(|| match id.len() {
            1..=200 => format!("delivery:{id}"),
            _ => format!("delivery-sha256:{}", hex::encode(Sha256::digest(id.as_bytes()))),
        })
    }

    /// The text that a rule finds.
    pub(super) fn matched(&self, rule: &WebhookMatch) -> Option<String> {
        if rule.path {
            return self.segment.clone();
        }
        if let Some(name) = &rule.header {
            return self.header(name).map(str::to_owned);
        }
        self.text_at(rule.body.as_deref()?)
    }

    /// The text or number at a dotted path of the JSON body.
    pub(super) fn text_at(&self, path: &str) -> Option<String> {
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
    pub(super) fn is_for(&self, version: &Version, has_connection: bool) -> bool {
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
    pub(super) fn input_of(&self, version: &Version) -> Value {
        let mut input = self.input();
        if version.spec.kind == FunctionKind::Webhook { input } else { input["body"].take() }
    }

    /// What the handler gets: `{headers, body, raw}`. A body that is no text is there as `rawBase64`.
    pub(super) fn input(&self) -> Value {
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
        Delivery::new(Incoming { headers, body: body.as_bytes().to_vec(), ..Incoming::default() })
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
            ..WebhookMatch::default()
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
        let binary =
            Delivery::new(Incoming { body: vec![0xff, 0xfe], ..Incoming::default() }).input();
        assert_eq!(binary["rawBase64"], "//4=");
        assert_eq!(delivery(&[], "a=b").input()["body"], "a=b");
    }
}

//! How an integration's webhooks are received.

use serde::{Deserialize, Serialize};

/// How the connection of a webhook delivery is found: by one of `path`, `header`, `body`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WebhookMatch {
    /// The last part of the URL names it: `/v1/webhooks/TENANT/INTEGRATION/THIS`.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub path: bool,
    /// The header that names it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub header: Option<String>,
    /// Or the dotted path in the JSON body, such as `installation.id`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
    /// The metadata field that holds the same value; without one it is the connection's id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metadata: Option<String>,
}

/// How a provider signs what it sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scheme {
    /// HMAC over the raw body, in hex or base64, perhaps behind `sha256=`.
    Hmac,
    /// As `hmac`, in `X-Hub-Signature-256`.
    Github,
    /// `t=…,v1=…` over `TIMESTAMP.BODY`.
    Stripe,
    /// `v0=…` over `v0:TIMESTAMP:BODY`; answers `url_verification`.
    Slack,
    /// Base64 over the body in `X-Shopify-Hmac-Sha256`.
    Shopify,
    /// Version 3: base64 over method, URL, body and timestamp.
    Hubspot,
    /// [Standard Webhooks](https://www.standardwebhooks.com): base64 over `ID.TIMESTAMP.BODY`.
    Standard,
    /// As `github`; answers `hub.challenge`.
    Meta,
    /// Base64 over `TIMESTAMP` and `BODY`.
    Zendesk,
    /// `v0=…` over `v0:TIMESTAMP:BODY`, in Zoom's headers; answers `endpoint.url_validation`.
    Zoom,
    /// Microsoft Graph: each notification's `clientState` is the secret; answers `validationToken`.
    Microsoft,
    /// The header has the secret itself.
    Token,
}

/// The hash under an HMAC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Algorithm {
    /// For old APIs.
    Sha1,
    /// What nearly all use.
    Sha256,
    /// For a few.
    Sha512,
}

/// How an integration's webhooks are received.
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WebhookSettings {
    /// How they are signed. Without one it is `hmac` if there is a secret, and nothing is checked if there is none;
    /// with one, deliveries are refused while there is no secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scheme: Option<Scheme>,
    /// Secret of the signature. Write-only: never given back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret: Option<String>,
    /// Header with the signature, instead of the scheme's own. Default of `hmac`: `X-Hub-Signature-256`, then
    /// `X-Signature`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signature_header: Option<String>,
    /// The hash under `hmac`: SHA-256 unless something else is said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub algorithm: Option<Algorithm>,
    /// How far a signed timestamp may be from now, in seconds: 300 unless something else is said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tolerance_s: Option<u64>,
    /// Header with the delivery's id, for dropping duplicates. Default: the first of `X-GitHub-Delivery`,
    /// `X-Delivery-Id`, `Webhook-Id`, `X-Shopify-Webhook-Id`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delivery_header: Option<String>,
    /// Or the dotted path of it in the JSON body. Default: `id` for Stripe, `event_id` for Slack.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delivery_body: Option<String>,
    /// Deliveries of one connection are handled one at a time by each function, in the order in which they came. One
    /// that is tried again after a wait does not hold up the others.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub ordered: bool,
    /// How the connection is found; without it handlers run without one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connection: Option<WebhookMatch>,
}

impl std::fmt::Debug for WebhookSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WebhookSettings")
            .field("scheme", &self.scheme)
            .field("secret", &self.secret.as_ref().map(|_| "…"))
            .field("signature_header", &self.signature_header)
            .field("delivery_header", &self.delivery_header)
            .field("connection", &self.connection)
            .finish_non_exhaustive()
    }
}

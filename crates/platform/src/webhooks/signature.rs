//! Whether a delivery is from the provider: one function per way of signing, over the raw body, in constant time. Pure.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bulkhead_types::Timestamp;
use ring::hmac;
use subtle::ConstantTimeEq as _;

use super::delivery::Delivery;
use super::settings::{Algorithm, Scheme, WebhookSettings};

/// Headers looked at for a signature when neither the integration nor its scheme names one.
const SIGNATURE_HEADERS: [&str; 2] = ["x-hub-signature-256", "x-signature"];

/// How far a signed timestamp may be from now: what the providers' own libraries take.
const TOLERANCE_S: u64 = 300;

/// Signatures looked at in one header: while a secret is replaced there are two.
const SIGNATURES_MAX: usize = 10;

/// Why a delivery is not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Untrusted {
    #[error("the webhook has no signature header; is it the one that the integration names?")]
    NoSignature,
    #[error("the webhook has no timestamp, or none that can be read")]
    NoTimestamp,
    #[error("the webhook's timestamp is too far from now; compare the clocks")]
    Stale,
    #[error(
        "the webhook's signature is wrong; compare the provider's secret with the integration's"
    )]
    Wrong,
    #[error("the integration has no webhook secret, which its scheme needs; set webhook.secret")]
    NoSecret,
}

/// Checks a delivery against the integration's secret.
pub(super) fn check(
    delivery: &Delivery,
    settings: &WebhookSettings,
    secret: Option<&[u8]>,
    now: Timestamp,
) -> Result<(), Untrusted> {
    let secret = match (secret, settings.scheme) {
        (Some(secret), _) => secret,
        (None, None) => return Ok(()),
        (None, Some(_)) => return Err(Untrusted::NoSecret),
    };
    let check = Check { delivery, settings, secret, now };
    let body = &delivery.body[..];
    match settings.scheme.unwrap_or(Scheme::Hmac) {
        Scheme::Hmac => check.hmac(&SIGNATURE_HEADERS),
        Scheme::Github | Scheme::Meta => check.hmac(&["x-hub-signature-256"]),
        Scheme::Shopify => check.hmac(&["x-shopify-hmac-sha256"]),
        Scheme::Stripe => check.stripe(),
        Scheme::Slack => check.versioned("x-slack-signature", "x-slack-request-timestamp"),
        Scheme::Zoom => check.versioned("x-zm-signature", "x-zm-request-timestamp"),
        Scheme::Standard => check.standard(),
        Scheme::Hubspot => {
            let stamp = check.timestamp("x-hubspot-request-timestamp", 1)?;
            let signed = [b"POST", delivery.url.as_bytes(), body, stamp.as_bytes()];
            check.one(&["x-hubspot-signature-v3"], "", &signed.concat())
        }
        Scheme::Zendesk => {
            let stamp = check.header("x-zendesk-webhook-signature-timestamp");
            let stamp = stamp.ok_or(Untrusted::NoTimestamp)?;
            let sent = stamp.parse::<jiff::Timestamp>().map_err(|_| Untrusted::NoTimestamp)?;
            check.is_near(sent.as_millisecond())?;
            check.one(&["x-zendesk-webhook-signature"], "", &[stamp.as_bytes(), body].concat())
        }
        Scheme::Microsoft => check.client_state(),
        Scheme::Token => {
            let given = check.header_of(&["x-webhook-token"]).ok_or(Untrusted::NoSignature)?;
            check.is_secret(given)
        }
    }
}

struct Check<'a> {
    delivery: &'a Delivery,
    settings: &'a WebhookSettings,
    secret: &'a [u8],
    now: Timestamp,
}

impl<'a> Check<'a> {
    fn header(&self, name: &str) -> Option<&'a str> {
        self.delivery.header(name).map(str::trim)
    }

    /// The header that the integration names, else the first of the scheme's own.
    fn header_of(&self, own: &[&str]) -> Option<&'a str> {
        self.delivery.header_of(self.settings.signature_header.as_deref(), own).map(str::trim)
    }

    /// A header with one signature, over `signed`.
    fn one(&self, own: &[&str], prefix: &str, signed: &[u8]) -> Result<(), Untrusted> {
        let given = self.header_of(own).ok_or(Untrusted::NoSignature)?;
        let given = given.strip_prefix(prefix).ok_or(Untrusted::Wrong)?;
        if self.is_signature(hmac::HMAC_SHA256, self.secret, given, signed) {
            return Ok(());
        }
        Err(Untrusted::Wrong)
    }

    /// Over the raw body. Some put what hash it is, or a version, before it; some send several.
    fn hmac(&self, own: &[&str]) -> Result<(), Untrusted> {
        let algorithm = match self.settings.algorithm {
            Some(Algorithm::Sha1) => hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
            Some(Algorithm::Sha512) => hmac::HMAC_SHA512,
            Some(Algorithm::Sha256) | None => hmac::HMAC_SHA256,
        };
        let given = self.header_of(own).ok_or(Untrusted::NoSignature)?;
        let bare = |part: &'a str| {
            let part = part.trim();
            let named = ["sha256=", "sha1=", "sha512=", "v1=", "sha256 ", "hmac-sha256="];
            named.iter().find_map(|name| part.strip_prefix(name)).unwrap_or(part)
        };
        let mut parts = given.split(',').take(SIGNATURES_MAX).map(bare);
        if parts.any(|part| self.is_signature(algorithm, self.secret, part, &self.delivery.body)) {
            return Ok(());
        }
        Err(Untrusted::Wrong)
    }

    fn stripe(&self) -> Result<(), Untrusted> {
        let given = self.header_of(&["stripe-signature"]).ok_or(Untrusted::NoSignature)?;
        let parts: Vec<(&str, &str)> =
            given.split(',').filter_map(|part| part.trim().split_once('=')).collect();
        let stamp = parts.iter().find(|(name, _)| *name == "t").map(|(_, stamp)| *stamp);
        let stamp = stamp.ok_or(Untrusted::NoTimestamp)?;
        self.is_near_text(stamp, 1_000)?;
        let signed = [stamp.as_bytes(), b".", &self.delivery.body].concat();
        let ours = parts.iter().filter(|(name, _)| *name == "v1").take(SIGNATURES_MAX);
        let mut right =
            ours.map(|(_, part)| self.is_signature(hmac::HMAC_SHA256, self.secret, part, &signed));
        if right.any(|right| right) { Ok(()) } else { Err(Untrusted::Wrong) }
    }

    /// `v0=HEX` over `v0:TIMESTAMP:BODY`.
    fn versioned(&self, signature: &str, stamp: &str) -> Result<(), Untrusted> {
        let stamp = self.timestamp(stamp, 1_000)?;
        let signed = [b"v0:", stamp.as_bytes(), b":", &self.delivery.body].concat();
        self.one(&[signature], "v0=", &signed)
    }

    /// Its secret is base64 behind `whsec_`; its header has signatures with versions, told apart by spaces.
    fn standard(&self) -> Result<(), Untrusted> {
        let id = self.header("webhook-id").ok_or(Untrusted::NoSignature)?;
        let stamp = self.timestamp("webhook-timestamp", 1_000)?;
        let text = std::str::from_utf8(self.secret).map_err(|_| Untrusted::Wrong)?;
        let key = STANDARD.decode(text.strip_prefix("whsec_").unwrap_or(text));
        let key = key.map_err(|_| Untrusted::Wrong)?;
        let signed = [id.as_bytes(), b".", stamp.as_bytes(), b".", &self.delivery.body].concat();
        let given = self.header_of(&["webhook-signature"]).ok_or(Untrusted::NoSignature)?;
        let mut ours =
            given.split(' ').take(SIGNATURES_MAX).filter_map(|part| part.strip_prefix("v1,"));
        if ours.any(|part| self.is_signature(hmac::HMAC_SHA256, &key, part, &signed)) {
            return Ok(());
        }
        Err(Untrusted::Wrong)
    }

    fn client_state(&self) -> Result<(), Untrusted> {
        let body = self.delivery.json.as_ref().and_then(|body| body.get("value"));
        let all = body.and_then(serde_json::Value::as_array).filter(|all| !all.is_empty());
        for notification in all.ok_or(Untrusted::NoSignature)? {
            let state = notification.get("clientState").and_then(serde_json::Value::as_str);
            self.is_secret(state.ok_or(Untrusted::NoSignature)?)?;
        }
        Ok(())
    }

    fn is_secret(&self, given: &str) -> Result<(), Untrusted> {
        if bool::from(given.as_bytes().ct_eq(self.secret)) { Ok(()) } else { Err(Untrusted::Wrong) }
    }

    /// A timestamp near enough to now, as it was written; `unit_ms` is its unit.
    fn timestamp(&self, header: &str, unit_ms: i64) -> Result<&'a str, Untrusted> {
        let stamp = self.header(header).ok_or(Untrusted::NoTimestamp)?;
        self.is_near_text(stamp, unit_ms)?;
        Ok(stamp)
    }

    fn is_near_text(&self, stamp: &str, unit_ms: i64) -> Result<(), Untrusted> {
        let sent: i64 = stamp.parse().map_err(|_| Untrusted::NoTimestamp)?;
        self.is_near(sent.checked_mul(unit_ms).ok_or(Untrusted::NoTimestamp)?)
    }

    fn is_near(&self, sent_ms: i64) -> Result<(), Untrusted> {
        let tolerance_ms = self.settings.tolerance_s.unwrap_or(TOLERANCE_S).saturating_mul(1_000);
        if self.now.as_millis().abs_diff(sent_ms) <= tolerance_ms {
            Ok(())
        } else {
            Err(Untrusted::Stale)
        }
    }

    /// In hex or in base64; ring compares in constant time.
    fn is_signature(
        &self,
        algorithm: hmac::Algorithm,
        secret: &[u8],
        given: &str,
        signed: &[u8],
    ) -> bool {
        let key = hmac::Key::new(algorithm, secret);
        let read = [hex::decode(given).ok(), STANDARD.decode(given).ok()];
        read.iter().flatten().any(|signature| hmac::verify(&key, signed, signature).is_ok())
    }
}

#[cfg(test)]
#[path = "signature_tests.rs"]
mod tests;

//! What providers ask before they send: whether the address is ours. Pure.

use ring::hmac;
use serde_json::json;
use subtle::ConstantTimeEq as _;

use super::delivery::Delivery;
use super::settings::Scheme;

/// Bytes of what is sent back: a challenge is a short random text.
const CHALLENGE_BYTES_MAX: usize = 1_024;

/// An answer that proves that the address is ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Challenge {
    /// Of the answer; never one that a browser runs anything of.
    pub content_type: &'static str,
    /// The answer.
    pub body: String,
}

impl Challenge {
    fn text(body: &str) -> Option<Self> {
        let fits = !body.is_empty() && body.len() <= CHALLENGE_BYTES_MAX;
        fits.then(|| Self { content_type: "text/plain; charset=utf-8", body: body.to_owned() })
    }
}

/// The token that Meta is to be given for `hub.verify_token`: made from the secret, so that there is nothing more to
/// keep, and nothing of the secret in it.
pub(crate) fn verify_token(secret: &[u8]) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
    hex::encode(&hmac::sign(&key, b"bulkhead hub.verify_token").as_ref()[..16])
}

/// The answer to a GET, if it is a question that this scheme asks.
pub(super) fn of_get(
    scheme: Scheme,
    secret: &[u8],
    query: &[(String, String)],
) -> Option<Challenge> {
    let of =
        |name: &str| query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
    if scheme != Scheme::Meta || of("hub.mode") != Some("subscribe") {
        return None;
    }
    let right = verify_token(secret).as_bytes().ct_eq(of("hub.verify_token")?.as_bytes());
    if bool::from(right) { Challenge::text(of("hub.challenge")?) } else { None }
}

/// The answer to a POST that asks before there is any signature: Microsoft's.
pub(super) fn of_query(scheme: Scheme, query: &[(String, String)]) -> Option<Challenge> {
    let token = query.iter().find(|(key, _)| key == "validationToken");
    (scheme == Scheme::Microsoft).then_some(())?;
    Challenge::text(&token?.1)
}

/// The answer to a delivery whose signature was right, if it is a question.
pub(super) fn of_delivery(scheme: Scheme, secret: &[u8], delivery: &Delivery) -> Option<Challenge> {
    let text = |path: &str| delivery.text_at(path);
    match scheme {
        Scheme::Slack if text("type")? == "url_verification" => {
            Challenge::text(&text("challenge")?)
        }
        Scheme::Zoom if text("event")? == "endpoint.url_validation" => {
            let plain = text("payload.plainToken")?;
            let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
            let encrypted = hex::encode(hmac::sign(&key, plain.as_bytes()));
            let body = json!({ "plainToken": plain, "encryptedToken": encrypted }).to_string();
            let fits = plain.len() <= CHALLENGE_BYTES_MAX;
            fits.then_some(Challenge { content_type: "application/json", body })
        }
        _ => None,
    }
}

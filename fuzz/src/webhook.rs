//! What comes to the webhook address. The readers are the platform's own files: they are pure, and depend on nothing but
//! each other.
#![allow(
    dead_code,
    unreachable_pub,
    reason = "the platform uses all of it; a target uses what reads"
)]

#[path = "../../crates/platform/src/webhooks/challenge.rs"]
mod challenge;
#[path = "../../crates/platform/src/webhooks/delivery.rs"]
mod delivery;
#[path = "../../crates/platform/src/webhooks/settings.rs"]
mod settings;
#[path = "../../crates/platform/src/webhooks/signature.rs"]
mod signature;

use bulkhead_types::Timestamp;

use delivery::Delivery;
use settings::{Algorithm, Scheme, WebhookMatch, WebhookSettings};

/// As in `crates/platform/src/webhooks`.
pub struct Incoming {
    url: String,
    segment: Option<String>,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

const SECRET: &[u8] = b"whsec_c2VjcmV0IG9mIHRoZSBmdXp6ZXI=";

/// 2023-11-14T22:13:20Z, near which the seeds were signed.
const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

const SCHEMES: [Option<Scheme>; 13] = [
    None,
    Some(Scheme::Hmac),
    Some(Scheme::Github),
    Some(Scheme::Stripe),
    Some(Scheme::Slack),
    Some(Scheme::Shopify),
    Some(Scheme::Hubspot),
    Some(Scheme::Standard),
    Some(Scheme::Meta),
    Some(Scheme::Zendesk),
    Some(Scheme::Zoom),
    Some(Scheme::Microsoft),
    Some(Scheme::Token),
];

/// The first byte is the scheme, the second the hash; then lines as in HTTP: the URL, headers, an empty line, the body.
pub fn run(data: &[u8]) {
    let [scheme, algorithm, text @ ..] = data else { return };
    let scheme = SCHEMES[usize::from(*scheme) % SCHEMES.len()];
    let algorithm = [None, Some(Algorithm::Sha1), Some(Algorithm::Sha256), Some(Algorithm::Sha512)]
        [usize::from(*algorithm) % 4];
    let settings = WebhookSettings { scheme, algorithm, ..WebhookSettings::default() };
    let Some(delivery) = delivered(text) else { return };
    if signature::check(&delivery, &settings, Some(SECRET), NOW).is_ok() {
        nothing_else_has_this_signature(text, &settings);
    }
    assert!(signature::check(&delivery, &settings, None, NOW).is_err() || scheme.is_none());
    let scheme = scheme.unwrap_or(Scheme::Hmac);
    let query: Vec<(String, String)> =
        url::form_urlencoded::parse(delivery.url.as_bytes()).into_owned().collect();
    for answer in [
        challenge::of_get(scheme, SECRET, &query),
        challenge::of_query(scheme, &query),
        challenge::of_delivery(scheme, SECRET, &delivery),
    ] {
        let bytes = answer.map_or(0, |answer| answer.body.len());
        assert!(bytes <= 16 << 10, "an answer of {bytes} bytes");
    }
    read_off(&delivery, &settings);
}

fn delivered(text: &[u8]) -> Option<Delivery> {
    let end = text.windows(2).position(|two| two == b"\n\n")?;
    let (head, body) = (std::str::from_utf8(&text[..end]).ok()?, text[end + 2..].to_vec());
    let mut lines = head.lines();
    let url = lines.next().unwrap_or_default().to_owned();
    let header = |line: &str| {
        let (name, value) = line.split_once(": ")?;
        Some((name.to_owned(), value.to_owned()))
    };
    let headers = lines.filter_map(header).collect();
    let segment = url.rsplit('/').next().map(str::to_owned);
    Some(Delivery::new(Incoming { url, segment, headers, body }))
}

/// Those who sign the body can't have signed another one too.
fn nothing_else_has_this_signature(text: &[u8], settings: &WebhookSettings) {
    if matches!(settings.scheme, Some(Scheme::Token | Scheme::Microsoft)) {
        return;
    }
    let longer = [text, b" "].concat();
    let longer = delivered(&longer).expect("a longer body is a body");
    assert!(signature::check(&longer, settings, Some(SECRET), NOW).is_err());
}

fn read_off(delivery: &Delivery, settings: &WebhookSettings) {
    let id = delivery.id(settings);
    assert!(id.is_none_or(|id| (1..=255).contains(&id.len())));
    for rule in [
        WebhookMatch { path: true, ..WebhookMatch::default() },
        WebhookMatch { header: Some("x-connection".to_owned()), ..WebhookMatch::default() },
        WebhookMatch { body: Some("installation.id".to_owned()), ..WebhookMatch::default() },
        WebhookMatch { body: Some("items.0.id".to_owned()), ..WebhookMatch::default() },
    ] {
        drop(delivery.matched(&rule));
    }
    let input = delivery.input();
    let headers = input["headers"].as_object().expect("headers");
    for secret in ["authorization", "cookie", "proxy-authorization"] {
        assert!(!headers.contains_key(secret), "{secret} goes to the handler");
    }
}

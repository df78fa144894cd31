#![allow(clippy::unwrap_used, reason = "a failed step is the test's failure")]

use super::super::Incoming;
use super::*;

/// One delivery: how it is signed, with which secret, what is in it, and when it came.
struct Case<'a> {
    settings: WebhookSettings,
    secret: &'a str,
    url: &'a str,
    headers: Vec<(&'a str, &'a str)>,
    body: &'a str,
    now_ms: i64,
}

impl<'a> Case<'a> {
    fn of(scheme: Scheme, secret: &'a str, headers: &[(&'a str, &'a str)], body: &'a str) -> Self {
        let settings = WebhookSettings { scheme: Some(scheme), ..WebhookSettings::default() };
        Self { settings, secret, url: "", headers: headers.to_vec(), body, now_ms: 0 }
    }

    fn at_s(mut self, now_s: i64) -> Self {
        self.now_ms = now_s * 1_000;
        self
    }

    fn check(&self) -> Result<(), Untrusted> {
        self.check_of(self.body)
    }

    fn check_of(&self, body: &str) -> Result<(), Untrusted> {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let delivery = Delivery::new(Incoming {
            url: self.url.to_owned(),
            headers: self.headers.iter().map(owned).collect(),
            body: body.as_bytes().to_vec(),
            ..Incoming::default()
        });
        let now = Timestamp::from_millis(self.now_ms);
        check(&delivery, &self.settings, Some(self.secret.as_bytes()), now)
    }

    /// Right as it is, and wrong with anything about it changed.
    fn holds(mut self, name: &str) {
        assert_eq!(self.check(), Ok(()), "{name}");
        let (secret, headers) = (self.secret, self.headers.clone());
        let changed = format!("{} ", self.body);
        assert!(self.check_of(&changed).is_err(), "{name}: another body");
        self.secret = "bm90IHRoZSBzZWNyZXQ=";
        assert!(self.check().is_err(), "{name}: another secret");
        self.secret = secret;
        for left_out in 0..headers.len() {
            self.headers = headers.clone();
            self.headers.remove(left_out);
            assert!(self.check().is_err(), "{name}: without {:?}", headers[left_out].0);
        }
        self.headers = headers;
    }

    /// As [`Self::holds`], and wrong when it is too old or from the future.
    fn holds_for_a_time(mut self, name: &str) {
        let then = self.now_ms;
        for (late_ms, expected) in [
            (300_000, Ok(())),
            (-300_000, Ok(())),
            (300_001, Err(Untrusted::Stale)),
            (-300_001, Err(Untrusted::Stale)),
        ] {
            self.now_ms = then + late_ms;
            assert_eq!(self.check(), expected, "{name}: {late_ms} ms late");
        }
        self.now_ms = then;
        self.holds(name);
    }
}

#[test]
fn examples_that_providers_publish() {
    // docs.github.com, "Validating webhook deliveries", "Testing the webhook payload validation".
    let signature = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
    Case::of(
        Scheme::Github,
        "It's a Secret to Everybody",
        &[("X-Hub-Signature-256", signature)],
        "Hello, World!",
    )
    .holds("GitHub");

    // docs.slack.dev, "Verifying requests from Slack".
    let body = "token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V\
        &channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text=\
        &response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN\
        &trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c";
    let signature = "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503";
    Case::of(
        Scheme::Slack,
        "8f742231b10e8888abcd99yyyzzz85a5",
        &[("X-Slack-Signature", signature), ("X-Slack-Request-Timestamp", "1531420618")],
        body,
    )
    .at_s(1_531_420_618)
    .holds_for_a_time("Slack");

    // The test of the reference libraries of standardwebhooks.com.
    Case::of(
        Scheme::Standard,
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        &[
            ("webhook-id", "msg_p5jXN8AQM9LWM0D4loKWxJek"),
            ("webhook-timestamp", "1614265330"),
            ("webhook-signature", "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="),
        ],
        r#"{"test": 2432232314}"#,
    )
    .at_s(1_614_265_330)
    .holds_for_a_time("Standard Webhooks");

    // RFC 4231, test case 2, in hex and in base64.
    let hex = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
    let base64 = STANDARD.encode(hex::decode(hex).unwrap());
    for given in
        [hex, &base64, &format!("sha256={hex}"), &format!("v1={hex},v1={}", "00".repeat(32))]
    {
        let headers = [("X-Signature", given)];
        Case::of(Scheme::Hmac, "Jefe", &headers, "what do ya want for nothing?").holds(given);
    }
}

/// What `scheme` signs, made here with the HMAC that RFC 4231's case holds: for providers that publish no example.
fn sign(secret: &str, signed: &str) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()), signed.as_bytes())
        .as_ref()
        .to_vec()
}

#[test]
fn forms_that_providers_describe() {
    let (secret, now_s, body) = ("a secret", 1_700_000_000, r#"{"a": 1}"#);
    let stamp = now_s.to_string();
    let hex = |signed: &str| hex::encode(sign(secret, signed));
    let base64 = |signed: &str| STANDARD.encode(sign(secret, signed));

    let (right, old) = (hex(&format!("{now_s}.{body}")), "0".repeat(64));
    let given = format!("t={now_s},v1={old},v1={right},v0=ffff");
    let headers = [("Stripe-Signature", given.as_str())];
    Case::of(Scheme::Stripe, secret, &headers, body).at_s(now_s).holds_for_a_time("Stripe");

    let given = base64(body);
    let headers = [("X-Shopify-Hmac-Sha256", given.as_str())];
    Case::of(Scheme::Shopify, secret, &headers, body).holds("Shopify");

    let url = "https://bulkhead.test/v1/webhooks/acme/hubspot?a=1";
    let stamp_ms = format!("{now_s}000");
    let given = base64(&format!("POST{url}{body}{stamp_ms}"));
    let headers = [
        ("X-HubSpot-Signature-v3", given.as_str()),
        ("X-HubSpot-Request-Timestamp", stamp_ms.as_str()),
    ];
    let mut hubspot = Case::of(Scheme::Hubspot, secret, &headers, body).at_s(now_s);
    assert!(hubspot.check().is_err(), "another URL");
    hubspot.url = url;
    hubspot.holds_for_a_time("HubSpot");

    let given = format!("v0={}", hex(&format!("v0:{stamp}:{body}")));
    let headers = [("x-zm-signature", given.as_str()), ("x-zm-request-timestamp", stamp.as_str())];
    Case::of(Scheme::Zoom, secret, &headers, body).at_s(now_s).holds_for_a_time("Zoom");

    let sent = "2023-11-14T22:13:20Z";
    let given = base64(&format!("{sent}{body}"));
    let headers = [
        ("X-Zendesk-Webhook-Signature", given.as_str()),
        ("X-Zendesk-Webhook-Signature-Timestamp", sent),
    ];
    Case::of(Scheme::Zendesk, secret, &headers, body).at_s(now_s).holds_for_a_time("Zendesk");
}

#[test]
fn secrets_that_are_sent_as_they_are() {
    let mut token = Case::of(Scheme::Token, "hunter22", &[("X-Gitlab-Token", "hunter22")], "{}");
    token.settings.signature_header = Some("X-Gitlab-Token".to_owned());
    assert_eq!(token.check(), Ok(()));
    token.secret = "hunter2";
    assert_eq!(token.check(), Err(Untrusted::Wrong));

    let of = |body| Case::of(Scheme::Microsoft, "state", &[], body).check();
    assert_eq!(of(r#"{"value": [{"clientState": "state"}]}"#), Ok(()));
    assert_eq!(of(r#"{"value": [{"clientState": "state"}, {}]}"#), Err(Untrusted::NoSignature));
    assert_eq!(of(r#"{"value": [{"clientState": "other"}]}"#), Err(Untrusted::Wrong));
    assert_eq!(of(r#"{"value": []}"#), Err(Untrusted::NoSignature));
    assert_eq!(of("no JSON"), Err(Untrusted::NoSignature));
}

#[test]
fn a_scheme_without_a_secret_believes_nobody() {
    let delivery = Delivery::new(Incoming::default());
    let now = Timestamp::from_millis(0);
    let mut settings = WebhookSettings::default();
    assert_eq!(check(&delivery, &settings, None, now), Ok(()));
    settings.scheme = Some(Scheme::Hmac);
    assert_eq!(check(&delivery, &settings, None, now), Err(Untrusted::NoSecret));
}

#[test]
fn the_integration_names_header_and_hash() {
    // RFC 2202, test case 2.
    let signature = "sha1=effcdf6ae5eb2fa2d27416d5f184df9c259a7c79";
    let body = "what do ya want for nothing?";
    let mut case = Case::of(Scheme::Hmac, "Jefe", &[("X-Own", signature)], body);
    assert_eq!(case.check(), Err(Untrusted::NoSignature), "not one that is looked for");
    case.settings.signature_header = Some("x-own".to_owned());
    assert_eq!(case.check(), Err(Untrusted::Wrong), "not SHA-256");
    case.settings.algorithm = Some(Algorithm::Sha1);
    case.holds("SHA-1");
}

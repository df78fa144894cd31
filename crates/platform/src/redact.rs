//! Credentials taken out of log lines and errors, as they stand and in the encodings that people print things in. Pure.
//!
//! A function that declares that it needs credentials may print them, by mistake or because somebody made it: they must
//! not lie about in logs that more people read than may use them. What is hidden on purpose (reversed, encrypted, a
//! letter per line) is not found: that is sending data to whom one may send it.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};

use bulkhead_types::ErrorInfo;
use serde_json::Value;

use crate::auth::Credentials;

/// Stands where a credential was.
const REDACTED: &str = "[redacted]";

/// Shorter secrets are not looked for: they would be found everywhere.
const SECRET_BYTES_MIN: usize = 8;

/// What is looked for.
#[derive(Default)]
pub(crate) struct Redaction {
    /// Longest first: one may be part of another.
    wanted: Vec<String>,
}

impl Redaction {
    /// Everything secret of a connection.
    pub(crate) fn of(credentials: &Credentials) -> Self {
        let Credentials { token, password, api_key, refresh_token, client_secret, headers, .. } =
            credentials;
        let fields = [token, password, api_key, refresh_token, client_secret];
        let secrets = fields.into_iter().flatten().chain(headers.values());
        let mut wanted: Vec<String> = secrets
            .filter(|secret| secret.len() >= SECRET_BYTES_MIN)
            .flat_map(|secret| spellings(secret))
            .collect();
        wanted.sort_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        wanted.dedup();
        Self { wanted }
    }

    /// The error without them, wherever its function put them.
    pub(crate) fn apply_to_error(&self, error: ErrorInfo) -> ErrorInfo {
        if self.wanted.is_empty() {
            return error;
        }
        let ErrorInfo { code, message, payload, stack } = error;
        ErrorInfo {
            code: self.apply(code),
            message: self.apply(message),
            payload: payload.map(|payload| self.apply_to_json(payload)),
            stack: stack.map(|stack| self.apply(stack)),
        }
    }

    fn apply_to_json(&self, value: Value) -> Value {
        match value {
            Value::String(text) => Value::String(self.apply(text)),
            Value::Array(all) => all.into_iter().map(|one| self.apply_to_json(one)).collect(),
            Value::Object(fields) => {
                let clean = |(name, value)| (self.apply(name), self.apply_to_json(value));
                Value::Object(fields.into_iter().map(clean).collect())
            }
            // A credential can be a number.
            Value::Number(number) => {
                let text = number.to_string();
                let clean = self.apply(text.clone());
                if clean == text { Value::Number(number) } else { Value::String(clean) }
            }
            other => other,
        }
    }

    /// The text without them.
    pub(crate) fn apply(&self, text: String) -> String {
        self.wanted.iter().fold(text, |text, wanted| {
            if text.contains(wanted) { text.replace(wanted, REDACTED) } else { text }
        })
    }
}

/// A secret as it stands; in JSON, percent-encoding, hexadecimal and base64, within a longer text too.
fn spellings(secret: &str) -> Vec<String> {
    let json = serde_json::Value::from(secret).to_string();
    let mut all = vec![secret.to_owned(), json.trim_matches('"').to_owned()];
    all.push(percent(secret, |byte| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte)));
    // As encodeURIComponent() does it, which leaves more as it is.
    all.push(percent(secret, |byte| byte.is_ascii_alphanumeric() || b"-_.~!*'()".contains(&byte)));
    all.push(all[2].to_lowercase());
    let hex = hex::encode(secret);
    all.push(hex.to_uppercase());
    all.push(hex);
    for before in 0..3 {
        all.extend(base64_after(secret, before));
    }
    all.retain(|spelling| spelling.len() >= SECRET_BYTES_MIN);
    all
}

fn percent(secret: &str, plain: impl Fn(u8) -> bool) -> String {
    let spelled = |byte: u8| match plain(byte) {
        true => char::from(byte).to_string(),
        false => format!("%{byte:02X}"),
    };
    secret.bytes().map(spelled).collect()
}

/// What base64 makes of the secret when `before` bytes (0 to 2, modulo 3) come before it: without the letters at both
/// ends that its neighbours have a part in.
fn base64_after(secret: &str, before: usize) -> [String; 2] {
    let bytes = [&[0_u8; 2][..before], secret.as_bytes()].concat();
    let first = (before * 8).div_ceil(6);
    let last = bytes.len() * 8 / 6;
    [STANDARD_NO_PAD.encode(&bytes), URL_SAFE_NO_PAD.encode(&bytes)]
        .map(|text| text.get(first..last).unwrap_or_default().to_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed step is the test's failure")]
    use base64::engine::general_purpose::{STANDARD, URL_SAFE};

    use super::*;

    const SECRET: &str = "s3cr&t/\"täken\"?+~";

    fn clean(text: &str) -> String {
        let credentials = Credentials { token: Some(SECRET.to_owned()), ..Credentials::default() };
        Redaction::of(&credentials).apply(text.to_owned())
    }

    #[test]
    fn a_secret_is_found_in_every_usual_spelling() {
        assert_eq!(clean(&format!("it is {SECRET}, {SECRET}")), "it is [redacted], [redacted]");
        let json = serde_json::json!({ "token": SECRET }).to_string();
        assert_eq!(clean(&json), r#"{"token":"[redacted]"}"#);
        let percent = "s3cr%26t%2F%22t%C3%A4ken%22%3F%2B~";
        assert_eq!(clean(&format!("/?q={percent}&")), "/?q=[redacted]&");
        assert_eq!(clean(&percent.to_lowercase()), "[redacted]");
        assert_eq!(clean(&hex::encode(SECRET)), "[redacted]");
    }

    #[test]
    fn base64_is_found_wherever_the_secret_begins_and_ends_in_it() {
        for before in ["", "u", "us", "user:"] {
            for after in ["", "x", "xy", "xyz"] {
                let text = format!("{before}{SECRET}{after}");
                for encoded in [STANDARD.encode(&text), URL_SAFE.encode(&text)] {
                    let cleaned = clean(&encoded);
                    assert!(cleaned.contains(REDACTED), "{before} {after}: {cleaned}");
                    // At most a letter of each end stays, and what comes before and after.
                    assert!(cleaned.len() < encoded.len(), "{encoded}: {cleaned}");
                }
            }
        }
    }

    #[test]
    fn an_error_is_searched_wherever_a_function_can_put_something() {
        let credentials =
            Credentials { token: Some("12345678".to_owned()), ..Credentials::default() };
        let said = serde_json::json!({
            "code": "action_error", "message": "no 12345678", "stack": "Error: no 12345678\n    at f.ts:1",
            "payload": {"12345678": [12_345_678, "Bearer 12345678", null, true, 7], "b": {"c": "MTIzNDU2Nzg="}},
        });
        let error: ErrorInfo = serde_json::from_value(said).unwrap();
        let clean =
            serde_json::to_value(Redaction::of(&credentials).apply_to_error(error)).unwrap();
        let expected = serde_json::json!({
            "code": "action_error", "message": "no [redacted]", "stack": "Error: no [redacted]\n    at f.ts:1",
            "payload": {
                "[redacted]": ["[redacted]", "Bearer [redacted]", null, true, 7],
                "b": {"c": clean["payload"]["b"]["c"].clone()},
            },
        });
        assert_eq!(clean, expected);
        assert!(clean["payload"]["b"]["c"].as_str().unwrap().contains(REDACTED));
    }

    #[test]
    fn what_is_no_secret_stays() {
        assert_eq!(clean("s3cr&t and token"), "s3cr&t and token");
        let short = Credentials { password: Some("short".to_owned()), ..Credentials::default() };
        assert_eq!(Redaction::of(&short).apply("short".to_owned()), "short");
    }
}

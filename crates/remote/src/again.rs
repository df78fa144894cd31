//! Whether what failed may be sent again, and when.

use std::time::Duration;

use bulkhead_client::ClientError;
use serde_json::Value;

/// From the first wait to the longest: a server that is started again is back within seconds.
const WAITS: [Duration; 2] = [Duration::from_millis(50), Duration::from_secs(2)];

/// Waits that grow twofold.
#[derive(Debug, Default)]
pub(crate) struct Waits {
    tries: u32,
}

impl Waits {
    pub(crate) fn next(&mut self) -> Duration {
        let wait = WAITS[0].saturating_mul(1 << self.tries.min(10)).min(WAITS[1]);
        self.tries += 1;
        wait
    }
}

/// Whether a failure may pass by itself: the network, a server that stops or has too much to do, one that was put in
/// between and found none. What the server refused it will refuse again.
pub(crate) fn may_pass(error: &ClientError) -> bool {
    match error {
        ClientError::Unreachable { .. } | ClientError::TimedOut { .. } => true,
        ClientError::Api { status, .. } | ClientError::Strange { status, .. } => {
            // A refused token is one that the operator revoked: what runs under it is not to be told so by its own
            // calls, it ends with its leases.
            matches!(*status, 401 | 408 | 429) || (500..600).contains(status)
        }
        ClientError::Url(_) | ClientError::Tls(_) => false,
    }
}

/// Whether a message surely had no effect: it never left, or was refused at the server's gate.
pub(crate) fn had_no_effect(error: &ClientError) -> bool {
    match error {
        ClientError::Unreachable { sent, .. } => !sent,
        ClientError::Api { detail, .. } => {
            matches!(detail.code.as_str(), "shutting_down" | "overloaded" | "wrong_key")
        }
        _ => false,
    }
}

/// Whether doing a call twice leaves what doing it once does. What reaches beyond the platform, or starts something,
/// does not: its function is told that the answer was lost, and decides.
pub(crate) fn is_repeatable(method: &str, params: &Value) -> bool {
    match method {
        "proxy.request" => {
            let method = params.get("method").and_then(Value::as_str).unwrap_or("GET");
            matches!(method.to_ascii_uppercase().as_str(), "GET" | "HEAD" | "OPTIONS")
        }
        "sync.trigger" | "records.trackDeletesEnd" | "records.deleteUnseen" => false,
        // `action.trigger` among them: the server knows it again by its number.
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use bulkhead_api::ErrorDetail;
    use serde_json::json;

    use super::*;

    fn api(status: u16, code: &str) -> ClientError {
        let detail = ErrorDetail {
            code: code.to_owned(),
            message: String::new(),
            payload: None,
            upstream: None,
        };
        ClientError::Api { status, detail: Box::new(detail), execution_id: None }
    }

    fn unreachable(sent: bool) -> ClientError {
        ClientError::Unreachable { server: String::new(), why: String::new(), sent }
    }

    #[test]
    fn only_what_surely_had_no_effect_counts_as_that() {
        assert!(had_no_effect(&unreachable(false)));
        assert!(!had_no_effect(&unreachable(true)));
        assert!(had_no_effect(&api(503, "shutting_down")));
        assert!(!had_no_effect(&api(503, "store_unavailable")), "it may have been committed");
        assert!(!had_no_effect(&ClientError::TimedOut { server: String::new(), seconds: 1 }));
    }

    #[test]
    fn refusals_do_not_pass() {
        assert!(may_pass(&api(503, "shutting_down")) && may_pass(&api(401, "wrong_key")));
        for (status, code) in
            [(403, "wrong_worker"), (413, "body_too_large"), (400, "invalid_body")]
        {
            assert!(!may_pass(&api(status, code)), "{code}");
        }
    }

    #[test]
    fn effects_outside_are_not_repeated() {
        assert!(is_repeatable("records.save", &json!({})));
        assert!(is_repeatable("proxy.request", &json!({"method": "get"})));
        assert!(is_repeatable("proxy.request", &json!({})));
        assert!(!is_repeatable("proxy.request", &json!({"method": "POST"})));
        assert!(is_repeatable("action.trigger", &json!({})));
        assert!(!is_repeatable("sync.trigger", &json!({})));
    }

    #[test]
    fn waits_grow_to_the_longest() {
        let mut waits = Waits::default();
        assert_eq!(waits.next(), WAITS[0]);
        assert_eq!(waits.next(), WAITS[0] * 2);
        for _ in 0..100 {
            assert!(waits.next() <= WAITS[1]);
        }
    }
}

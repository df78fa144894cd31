//! How fast a connection's requests may go: its API's own word, shared by all executions of this server. When a
//! response says that nothing is left until some moment, or refuses with a wait, the next request of the connection
//! waits for it here instead of being refused there.
//!
//! Kept in memory, by server: several servers learn of the same limit each for itself, by one refused request.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bulkhead_egress::SendError;
use bulkhead_types::{ConnectionId, IntegrationId, TenantId, Timestamp};
use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode, header};

use super::{Job, ProxyRequest};
use crate::catalogue::RetryHints;
use crate::platform::Platform;

/// Whose requests.
pub(crate) type ConnectionKey = (TenantId, IntegrationId, ConnectionId);

/// Connections remembered; past them those whose time has come are forgotten, and then all.
const ENTRIES_MAX: usize = 10_000;

/// The longest that anybody is kept waiting for a word of the API.
const PAUSE_MAX: Duration = Duration::from_secs(3_600);

/// The longest that a function is kept waiting which did not ask for other tries.
const WAIT_MAX_UNASKED: Duration = Duration::from_secs(10);

/// Until when each connection is to wait.
#[derive(Default)]
pub(crate) struct Paces(Mutex<HashMap<ConnectionKey, Timestamp>>);

impl Paces {
    /// How long to wait still.
    pub(crate) fn wait(&self, key: &ConnectionKey, now: Timestamp) -> Option<Duration> {
        let paces = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        paces.get(key).map(|until| until.since(now)).filter(|wait| !wait.is_zero())
    }

    /// The connection waits until then, if not longer already.
    pub(crate) fn pause(&self, key: &ConnectionKey, until: Timestamp, now: Timestamp) {
        let mut paces = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if paces.len() >= ENTRIES_MAX {
            paces.retain(|_, until| *until > now);
        }
        if paces.len() >= ENTRIES_MAX {
            paces.clear();
        }
        let known = paces.entry(key.clone()).or_insert(until);
        *known = (*known).max(until);
    }
}

/// Until when the API lets nothing through, as far as a response says. Pure.
pub(super) fn pause_until(
    status: StatusCode,
    headers: &HeaderMap,
    hints: Option<&RetryHints>,
    now: Timestamp,
) -> Option<Timestamp> {
    let number = |name: &str| {
        let text = headers.get(name)?.to_str().ok()?.trim();
        text.parse::<f64>().ok().filter(|number| number.is_finite() && *number >= 0.0)
    };
    let wait = |name: &str| {
        let wait = Duration::from_secs_f64(number(name)?.min(PAUSE_MAX.as_secs_f64()));
        Some(now.after(wait))
    };
    #[allow(clippy::cast_possible_truncation, reason = "a moment in seconds; `as` saturates")]
    let moment = |name: &str| Some(Timestamp::from_millis((number(name)? * 1_000.0) as i64));
    let at = hints.and_then(|hints| hints.at.as_deref());
    let after = hints.and_then(|hints| hints.after.as_deref());
    let remaining = hints.and_then(|hints| hints.remaining.as_deref());
    let spent = remaining.and_then(number) == Some(0.0);
    let refused = status == StatusCode::TOO_MANY_REQUESTS;
    let told = match (refused, spent) {
        (true, _) => {
            [wait(header::RETRY_AFTER.as_str()), after.and_then(wait), at.and_then(moment)]
        }
        // It went through, and was the last: `after` is then how long until there are more.
        (false, true) => [None, after.and_then(wait), at.and_then(moment)],
        (false, false) => return None,
    };
    let until = told.into_iter().flatten().max()?;
    (until > now).then(|| until.min(now.after(PAUSE_MAX)))
}

impl Platform {
    /// Waits for the connection's turn. If that would take too long, says how long.
    pub(super) async fn pace(&self, job: &Job, request: &ProxyRequest) -> Option<Duration> {
        let key = job.of.as_ref()?;
        while let Some(wait) = self.paces.wait(key, self.now()) {
            let impatient = request.retries == 0 && wait > WAIT_MAX_UNASKED;
            if impatient || self.now().after(wait) >= job.wait_until {
                return Some(wait);
            }
            // Not all at once when the moment has come.
            let spread = Duration::from_millis(500).mul_f64(self.random_fraction());
            tokio::time::sleep(wait + spread).await;
        }
        None
    }

    pub(super) fn note_pace(&self, job: &Job, result: &Result<Response<Bytes>, SendError>) {
        if let (Some(key), Ok(response)) = (&job.of, result) {
            let now = self.now();
            if let Some(until) = pause_until(response.status(), response.headers(), job.hints, now)
            {
                self.paces.pause(key, until, now);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed step is the test's failure")]
    use super::*;

    #[test]
    fn the_api_says_how_fast() {
        let hints = RetryHints {
            after: Some("retry-after".into()),
            at: Some("x-reset".into()),
            remaining: Some("x-left".into()),
        };
        let now = Timestamp::from_millis(1_000_000);
        let until = |status: u16, headers: &[(&'static str, &str)]| {
            let headers = headers.iter().map(|(name, value)| {
                (http::HeaderName::from_static(name), http::HeaderValue::from_str(value).unwrap())
            });
            let status = StatusCode::from_u16(status).unwrap();
            pause_until(status, &headers.collect(), Some(&hints), now)
                .map(|until| until.as_millis() - now.as_millis())
        };
        type Case = (u16, &'static [(&'static str, &'static str)], Option<i64>);
        let table: [Case; 9] = [
            (200, &[], None),
            (200, &[("x-left", "1"), ("x-reset", "1060")], None),
            (200, &[("x-left", "0"), ("x-reset", "1060")], Some(60_000)),
            (200, &[("x-left", "0"), ("x-reset", "999")], None),
            (200, &[("x-left", "0")], None),
            (429, &[("retry-after", "7")], Some(7_000)),
            (429, &[("retry-after", "7"), ("x-reset", "1009.5")], Some(9_500)),
            (429, &[("retry-after", "soon")], None),
            (429, &[("retry-after", "1e300")], Some(3_600_000)),
        ];
        for (status, headers, expected) in table {
            assert_eq!(until(status, headers), expected, "{status} {headers:?}");
        }
    }

    #[test]
    fn a_pause_is_one_connections_and_the_longest_counts() {
        let key = |id: &str| {
            let (tenant, integration) =
                (TenantId::parse("t").unwrap(), IntegrationId::parse("i").unwrap());
            (tenant, integration, ConnectionId::parse(id).unwrap())
        };
        let (paces, at) = (Paces::default(), Timestamp::from_millis);
        paces.pause(&key("a"), at(100), at(0));
        paces.pause(&key("a"), at(50), at(0));
        assert_eq!(paces.wait(&key("a"), at(40)), Some(Duration::from_millis(60)));
        assert_eq!(paces.wait(&key("a"), at(100)), None);
        assert_eq!(paces.wait(&key("b"), at(40)), None);
    }
}

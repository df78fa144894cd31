//! Whether and when a request is tried again. Pure.

use std::time::Duration;

use bulkhead_egress::SendError;
use bulkhead_types::Timestamp;
use http::{HeaderMap, Response, header};

use super::request::{ProxyRequest, RetryHeader};
use crate::catalogue::RetryHints;

/// The first wait when nobody says how long; it doubles with each try.
const BACKOFF: Duration = Duration::from_secs(3);

/// The longest wait, told or not.
const WAIT_MAX: Duration = Duration::from_secs(600);

/// Tries after the first, however many a function asks for.
const RETRIES_MAX: u32 = 20;

/// How a try ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// With this status.
    Status(u16),
    /// Without a response.
    Unreachable,
    /// In a way that another try would not change.
    Final,
}

/// How long the API said to wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Told(Option<Duration>);

impl Told {
    pub(super) const fn wait(self) -> Option<Duration> {
        self.0
    }

    pub(super) fn of<T>(
        result: &Result<Response<T>, SendError>,
        request: &ProxyRequest,
        hints: Option<&RetryHints>,
        now: Timestamp,
    ) -> Self {
        match result {
            Ok(response) if !response.status().is_success() => {
                Self::from_headers(response.headers(), request, hints, now)
            }
            _ => Self(None),
        }
    }

    /// The longest of what `Retry-After` says, and the headers that the function names; where it names none, those
    /// of the provider.
    fn from_headers(
        headers: &HeaderMap,
        request: &ProxyRequest,
        hints: Option<&RetryHints>,
        now: Timestamp,
    ) -> Self {
        let text =
            |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
        let of_provider = || RetryHeader {
            at: hints.and_then(|hints| hints.at.clone()),
            after: hints.and_then(|hints| hints.after.clone()),
        };
        let names = request.retry_header.clone().unwrap_or_else(of_provider);
        let seconds = |text: &str| text.parse::<f64>().ok().filter(|s| s.is_finite() && *s >= 0.0);
        let wait = |text: &str| {
            seconds(text).map(|s| Duration::from_secs_f64(s.min(WAIT_MAX.as_secs_f64())))
        };
        let until = |millis: i64| Timestamp::from_millis(millis).since(now);
        let date = |text: &str| {
            jiff::fmt::rfc2822::parse(text)
                .ok()
                .map(|date| until(date.timestamp().as_millisecond()))
        };
        #[allow(clippy::cast_possible_truncation, reason = "a moment in seconds; `as` saturates")]
        let moment = |text: &str| seconds(text).map(|s| until((s * 1_000.0) as i64));
        let told = [
            text(header::RETRY_AFTER.as_str()).and_then(|text| wait(text).or_else(|| date(text))),
            names.after.as_deref().and_then(text).and_then(wait),
            names.at.as_deref().and_then(text).and_then(|text| moment(text).or_else(|| date(text))),
        ];
        Self(told.into_iter().flatten().max().map(|wait| wait.min(WAIT_MAX)))
    }
}

/// How long to wait before the next try; `None` when there is none. `random` is between 0 and 1.
pub(super) fn decide(
    request: &ProxyRequest,
    outcome: Outcome,
    tries_before: u32,
    told: Told,
    random: f64,
) -> Option<Duration> {
    if tries_before >= request.retries.min(RETRIES_MAX) {
        return None;
    }
    let again = match outcome {
        Outcome::Status(status) => {
            status == 429 || status >= 500 || request.retry_on.contains(&status)
        }
        Outcome::Unreachable => true,
        Outcome::Final => false,
    };
    let backoff = BACKOFF.saturating_mul(1 << tries_before.min(10)).min(WAIT_MAX);
    // Spread between half and the whole, so that many that failed together do not come back together.
    again.then(|| told.wait().unwrap_or_else(|| backoff.mul_f64(0.5 + random / 2.0)))
}

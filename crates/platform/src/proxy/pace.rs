//! How fast a connection's requests may go, all executions and all servers together: by the API's own word, and by the
//! integration's `rate_limit`.
//!
//! The word: when a response says that nothing is left until some moment, or refuses with a wait, the next requests of
//! the connection wait for that here instead of being refused there. It is written to the database once, and each
//! server looks there at most once a second for a connection that it sends requests for. The limit: `turns`.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bulkhead_store::StoreError;
use bulkhead_store::catalog;
use bulkhead_types::{ConnectionId, IntegrationId, TenantId, Timestamp};
use http::{HeaderMap, StatusCode, header};

use super::turns::{Lane, Spacing};
use super::{Job, ProxyRequest};
use crate::catalogue::RetryHints;
use crate::error::PlatformError;
use crate::platform::Platform;

/// Whose requests.
pub(crate) type ConnectionKey = (TenantId, IntegrationId, ConnectionId);

/// Connections remembered; past them all are forgotten, which costs one look each at those still in use.
const ENTRIES_MAX: usize = 10_000;

/// The longest that anybody is kept waiting for a word of the API.
const PAUSE_MAX: Duration = Duration::from_secs(3_600);

/// The longest that a function is kept waiting which did not ask for other tries.
const WAIT_MAX_UNASKED: Duration = Duration::from_secs(10);

/// For so long a look at the database counts: what another server heard of the API is heard of here this much later.
const LOOK: Duration = Duration::from_secs(1);

/// What this server knows of each connection's pace.
#[derive(Default)]
pub(crate) struct Paces(Mutex<HashMap<ConnectionKey, Arc<tokio::sync::Mutex<Known>>>>);

/// What is known of one connection's pace. Held locked while the database is asked, so that it is asked once.
#[derive(Default)]
pub(crate) struct Known {
    paused_until: Timestamp,
    looked_at: Option<Timestamp>,
    lane: Lane,
}

impl Paces {
    fn of(&self, key: &ConnectionKey) -> Arc<tokio::sync::Mutex<Known>> {
        let mut paces = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if paces.len() >= ENTRIES_MAX && !paces.contains_key(key) {
            paces.clear();
        }
        Arc::clone(paces.entry(key.clone()).or_default())
    }
}

/// When a request may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    /// After this wait; nobody else gets this turn.
    In(Duration),
    /// Nobody knows before this wait is over.
    Paused(Duration),
    /// Later than it can wait.
    TooFar(Duration),
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
    ///
    /// # Errors
    /// When the store fails.
    pub(super) async fn pace(
        &self,
        job: &Job,
        request: &ProxyRequest,
    ) -> Result<Option<Duration>, PlatformError> {
        let Some(key) = &job.of else { return Ok(None) };
        let patience = job.limits.wait_until.since(self.now()).min(job.limits.hold);
        let patience = if request.retries == 0 { patience.min(WAIT_MAX_UNASKED) } else { patience };
        let began = self.now();
        let mut has_turn = false;
        loop {
            let left = patience.saturating_sub(self.now().since(began));
            match self.turn(key, job.rate.filter(|_| !has_turn), left).await? {
                Turn::In(wait) if wait.is_zero() => return Ok(None),
                Turn::In(wait) => {
                    has_turn = true;
                    tokio::time::sleep(wait).await;
                }
                Turn::Paused(wait) if wait > left => return Ok(Some(wait)),
                Turn::Paused(wait) => {
                    // Not all at once when the moment has come.
                    let spread = Duration::from_millis(500).mul_f64(self.random_fraction());
                    has_turn = false;
                    tokio::time::sleep(wait + spread).await;
                }
                Turn::TooFar(wait) => return Ok(Some(wait)),
            }
        }
    }

    async fn turn(
        &self,
        key: &ConnectionKey,
        spacing: Option<Spacing>,
        patience: Duration,
    ) -> Result<Turn, StoreError> {
        let known = self.paces.of(key);
        let mut known = known.lock().await;
        let now = self.now();
        if known.looked_at.is_none_or(|at| now >= at.after(LOOK) || now < at) {
            let of = key.clone();
            let look = move |db: &_| catalog::paused_until(db, (&of.0, &of.1, &of.2));
            let paused_until = self.db.read(move |db| look(db)).await?.unwrap_or_default();
            known.paused_until = known.paused_until.max(paused_until);
            known.looked_at = Some(now);
        }
        let paused = known.paused_until.since(now);
        if !paused.is_zero() {
            return Ok(Turn::Paused(paused));
        }
        let Some(spacing) = spacing else { return Ok(Turn::In(Duration::ZERO)) };
        let wait = match known.lane.wait(spacing, now) {
            Some(wait) => wait,
            None => {
                let (of, turns) = (key.clone(), known.lane.order(spacing, now));
                let take = move |tx: &_| catalog::take_turns(tx, (&of.0, &of.1, &of.2), turns);
                // A connection that is gone is found out soon enough.
                let Some(first_us) = self.db.write(move |tx| take(tx)).await? else {
                    return Ok(Turn::In(Duration::ZERO));
                };
                known.lane.fill(turns, first_us, now);
                known.lane.wait(spacing, now).unwrap_or_default()
            }
        };
        if wait > patience {
            // The turn stays, for whoever comes when it is near.
            return Ok(Turn::TooFar(wait));
        }
        known.lane.use_one(spacing);
        Ok(Turn::In(wait))
    }

    /// Hears what a response says of the pace, for all servers.
    pub(super) async fn note_pace(&self, job: &Job, status: StatusCode, headers: &HeaderMap) {
        let Some(key) = &job.of else { return };
        let Some(until) = pause_until(status, headers, job.hints, self.now()) else { return };
        let known = self.paces.of(key);
        let mut known = known.lock().await;
        if until <= known.paused_until {
            return;
        }
        known.paused_until = until;
        let of = key.clone();
        let pause = move |tx: &_| catalog::pause(tx, (&of.0, &of.1, &of.2), until);
        // The other servers hear of it from the API then.
        if let Err(error) = self.db.write(move |tx| pause(tx)).await {
            tracing::warn!(%error, "a connection's pause could not be kept");
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
}

//! What a tenant's product is told: signed as [Standard Webhooks](https://www.standardwebhooks.com) says, kept before
//! whoever brought it about has an answer, tried for more than a day, and kept as a dead letter after that.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bulkhead_store::catalog::{self, NotificationRow, TargetRow};
use bulkhead_types::{TenantId, Timestamp};
use bytes::Bytes;
use futures_util::StreamExt as _;
use http::{HeaderValue, Method, Request, header};
use ring::hmac;
use serde_json::{Value, json};
use tokio::time::Instant;
use url::Url;

use crate::endings::ENDINGS_AT_ONCE;
use crate::error::PlatformError;
use crate::platform::Platform;
use crate::text::{from_text, to_text};

/// How long to wait after each failed delivery: twelve deliveries over 28 hours, as in the recommendation of Standard
/// Webhooks.
const WAITS_S: [u64; 11] = [5, 30, 120, 300, 900, 1_800, 3_600, 7_200, 14_400, 28_800, 43_200];

/// What a delivery may take; a product that works on it answers first.
const DELIVERY_DEADLINE: Duration = Duration::from_secs(15);

/// How long a delivery is its taker's own: longer than it may take.
const TAKEN: Duration = Duration::from_secs(60);

/// Deliveries under way at the same time.
const AT_ONCE: usize = 16;

/// Taken in one go.
const TAKEN_MAX: usize = 64;

/// How often to look for what is due.
const LOOK: Duration = Duration::from_secs(1);

/// How long what waits no more is kept.
const KEPT: Duration = Duration::from_secs(14 * 24 * 60 * 60);

/// Removed in one go.
const REMOVED_AT_ONCE: usize = 500;

/// Bytes of an answer that are looked at; nothing in it matters.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// Bytes of a signing secret: what Standard Webhooks recommends at least is 24.
const SECRET_BYTES: usize = 32;

/// What there is to tell. A product may ask for some only.
pub(crate) const EVENTS: [&str; 5] = [
    "webhook.received",
    "connection.created",
    "connection.failed",
    "sync.finished",
    "action.finished",
];

/// Where a tenant's product listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotificationTarget {
    /// Where.
    pub url: String,
    /// To what; empty is everything.
    pub events: Vec<String>,
}

/// Something that a product is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notification {
    /// Its name: `webhook-id` of the request.
    pub id: String,
    /// What kind of thing.
    pub event: String,
    /// `waiting`, `delivered`, `dead`.
    pub state: String,
    /// Deliveries that were tried.
    pub attempts: u32,
    /// When the next is due.
    pub due_at: Timestamp,
    /// Why the last one failed.
    pub failure: Option<String>,
    /// Since when.
    pub created_at: Timestamp,
}

/// How a delivery ended.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Delivered {
    Yes,
    /// With the reason.
    No(String),
}

/// What becomes of a notification after a delivery. Pure. `random` is between 0 and 1.
fn after(
    row: NotificationRow,
    delivered: Delivered,
    now: Timestamp,
    random: f64,
) -> NotificationRow {
    let attempts = row.attempts.saturating_add(1);
    let row = NotificationRow { attempts, ..row };
    let failure = match delivered {
        Delivered::Yes => {
            return NotificationRow { state: "delivered".into(), failure: None, ..row };
        }
        Delivered::No(failure) => Some(failure),
    };
    let tried = usize::try_from(attempts).unwrap_or(usize::MAX);
    match WAITS_S.get(tried - 1) {
        // Up to a tenth more, so that many that failed together do not come back together.
        Some(wait_s) => {
            let wait = Duration::from_secs(*wait_s).mul_f64(1.0 + random / 10.0);
            NotificationRow { due_at: now.after(wait), failure, ..row }
        }
        None => NotificationRow { state: "dead".into(), failure, ..row },
    }
}

/// The header `webhook-signature`.
fn signature(secret: &[u8], id: &str, at_s: i64, body: &[u8]) -> String {
    let signed = [id.as_bytes(), b".", at_s.to_string().as_bytes(), b".", body].concat();
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
    format!("v1,{}", STANDARD.encode(hmac::sign(&key, &signed)))
}

impl Platform {
    /// Sets where a tenant's product listens. Returns the secret that it checks signatures with, this once.
    ///
    /// # Errors
    /// `invalid_body`, `tenant_not_found`; when the store fails.
    pub async fn put_notification_target(
        &self,
        tenant: &TenantId,
        target: NotificationTarget,
    ) -> Result<String, PlatformError> {
        self.tenant(tenant).await?;
        let invalid = |message: String| PlatformError::invalid("invalid_body", message);
        let url =
            Url::parse(&target.url).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
        url.ok_or_else(|| invalid("url has to be an http or https URL".to_owned()))?;
        if let Some(unknown) = target.events.iter().find(|event| !EVENTS.contains(&event.as_str()))
        {
            return Err(invalid(format!("{unknown:?} is none of {}", EVENTS.join(", "))));
        }
        let mut secret = vec![0; SECRET_BYTES];
        self.entropy.fill(&mut secret);
        let row = TargetRow {
            url: target.url,
            events: to_text(&target.events)?,
            secret: self.sealer.seal(&target_purpose(tenant), &secret, self.entropy.as_ref())?,
        };
        let of = tenant.clone();
        self.db.write(move |tx| catalog::put_target(tx, &of, &row)).await?;
        self.caches.changed();
        Ok(format!("whsec_{}", STANDARD.encode(secret)))
    }

    /// Where a tenant's product listens, if it does.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn notification_target(
        &self,
        tenant: &TenantId,
    ) -> Result<Option<NotificationTarget>, PlatformError> {
        let row = self.target_row(tenant).await?;
        let shown = |row: TargetRow| {
            let events = from_text("notification_targets", &row.events)?;
            Ok(NotificationTarget { url: row.url, events })
        };
        row.map(shown).transpose()
    }

    /// The product is told nothing more.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn remove_notification_target(&self, tenant: &TenantId) -> Result<(), PlatformError> {
        let of = tenant.clone();
        self.db.write(move |tx| catalog::remove_target(tx, &of)).await?;
        self.caches.changed();
        Ok(())
    }

    async fn target_row(&self, tenant: &TenantId) -> Result<Option<TargetRow>, PlatformError> {
        let of = tenant.clone();
        Ok(self.db.read(move |db| catalog::target(db, &of)).await?)
    }

    /// Keeps something to tell the product, if it listens to that. The same `id` is told once.
    pub(crate) async fn notify(
        &self,
        tenant: &TenantId,
        event: &'static str,
        id: String,
        data: Value,
    ) -> Result<(), PlatformError> {
        let generation = self.generation();
        let target = match self.caches.targets.get(tenant, generation) {
            Some(target) => target,
            None => {
                let target = Arc::new(self.notification_target(tenant).await?);
                self.caches.targets.put(tenant.clone(), generation, Arc::clone(&target));
                target
            }
        };
        let wanted = |target: &NotificationTarget| {
            target.events.is_empty() || target.events.iter().any(|known| known == event)
        };
        if !target.as_ref().as_ref().is_some_and(wanted) {
            return Ok(());
        }
        let now = self.now();
        let body = json!({ "type": event, "timestamp": text(now), "data": data }).to_string();
        let purpose = body_purpose(tenant, &id);
        let row = NotificationRow {
            tenant: tenant.clone(),
            body: self.sealer.seal(&purpose, body.as_bytes(), self.entropy.as_ref())?,
            id,
            event: event.to_owned(),
            state: "waiting".to_owned(),
            attempts: 0,
            due_at: now,
            failure: None,
            created_at: now,
        };
        self.db.write(move |tx| catalog::insert_notification(tx, &row)).await?;
        Ok(())
    }

    /// A tenant's notifications in one state, by id: 1 to 200.
    ///
    /// # Errors
    /// `invalid_query`; when the store fails.
    pub async fn notifications(
        &self,
        tenant: &TenantId,
        state: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Notification>, PlatformError> {
        if !["waiting", "delivered", "dead"].contains(&state) {
            let message = "state is one of waiting, delivered, dead";
            return Err(PlatformError::invalid("invalid_query", message));
        }
        let (of, state, after) = (tenant.clone(), state.to_owned(), after.unwrap_or("").to_owned());
        let limit = limit.clamp(1, 200);
        let read = move |db: &_| catalog::notifications(db, &of, &state, &after, limit);
        Ok(self.db.read(move |db| read(db)).await?.into_iter().map(shown).collect())
    }

    /// Tries one again at once, whatever became of it, from the first of its attempts.
    ///
    /// # Errors
    /// `notification_not_found`; when the store fails.
    pub async fn retry_notification(
        &self,
        tenant: &TenantId,
        id: &str,
    ) -> Result<Notification, PlatformError> {
        let (of, name, now) = (tenant.clone(), id.to_owned(), self.now());
        let work = move |tx: &_| {
            let Some(row) = catalog::notification(tx, &of, &name)? else { return Ok(None) };
            let state = "waiting".to_owned();
            let row = NotificationRow { state, attempts: 0, due_at: now, ..row };
            catalog::update_notification(tx, &row)?;
            Ok::<_, PlatformError>(Some(row))
        };
        let row = self.db.write(move |tx| work(tx)).await?;
        row.map(shown).ok_or_else(|| {
            let message = format!("there is no notification {id:?}");
            PlatformError::not_found("notification_not_found", message)
        })
    }

    /// Tells of what ended and delivers what is due, again and again, until `stop` resolves.
    pub async fn run_notifications(&self, stop: impl Future<Output = ()>) {
        tokio::pin!(stop);
        loop {
            let more = async {
                let told = self.tell_of_endings().await? == ENDINGS_AT_ONCE;
                Ok::<_, PlatformError>(self.deliver_due().await? == TAKEN_MAX || told)
            };
            let more = more.await.unwrap_or_else(|error| {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "notifications could not be looked at"
                );
                false
            });
            let pause = if more { Duration::ZERO } else { LOOK };
            tokio::select! {
                () = &mut stop => return,
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Delivers what is due now; says how many were.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn deliver_due(&self) -> Result<usize, PlatformError> {
        let now = self.now();
        let work = move |tx: &_| {
            let before = Timestamp::from_millis(now.as_millis().saturating_sub(millis(KEPT)));
            catalog::remove_old_notifications(tx, before, REMOVED_AT_ONCE)?;
            catalog::take_due_notifications(tx, now, now.after(TAKEN), TAKEN_MAX)
        };
        // Looked at without a write first: mostly there is nothing.
        if !self.db.read(move |db| catalog::has_due_notifications(db, now)).await? {
            return Ok(0);
        }
        let taken = self.db.write(move |tx| work(tx)).await?;
        let count = taken.len();
        let mut deliveries =
            futures_util::stream::iter(taken.into_iter().map(|row| self.deliver(row)))
                .buffer_unordered(AT_ONCE);
        while let Some(delivered) = deliveries.next().await {
            delivered?;
        }
        Ok(count)
    }

    async fn deliver(&self, row: NotificationRow) -> Result<(), PlatformError> {
        let delivered = match self.send(&row).await {
            Ok(delivered) => delivered,
            Err(error) => Delivered::No(error.to_string()),
        };
        let mut random = [0];
        self.entropy.fill(&mut random);
        let row = after(row, delivered, self.now(), f64::from(random[0]) / 255.0);
        if row.state == "dead" {
            tracing::warn!(tenant = %row.tenant, id = row.id, "a notification was given up");
        }
        self.db.write(move |tx| catalog::update_notification(tx, &row)).await?;
        Ok(())
    }

    async fn send(&self, row: &NotificationRow) -> Result<Delivered, PlatformError> {
        let Some(target) = self.target_row(&row.tenant).await? else {
            return Ok(Delivered::No("the product listens no more".to_owned()));
        };
        let secret = self.sealer.open_sealed(&target_purpose(&row.tenant), &target.secret)?;
        let body = self.sealer.open_sealed(&body_purpose(&row.tenant, &row.id), &row.body)?;
        let at_s = self.now().as_millis() / 1_000;
        let signed = signature(&secret, &row.id, at_s, &body);
        let request = request(&target.url, [row.id.clone(), at_s.to_string(), signed], body);
        let Some(request) = request else {
            return Ok(Delivered::No("the target's URL can't be requested".to_owned()));
        };
        let client = self.egress(&row.tenant).await?.client;
        #[allow(
            clippy::disallowed_methods,
            reason = "tokio's clock: what its time-outs are measured by"
        )]
        let deadline = Instant::now() + DELIVERY_DEADLINE;
        // Redirects are not followed: whoever listens says where.
        Ok(match client.send(request, deadline, ANSWER_BYTES_MAX).await {
            Ok(answer) if answer.status().is_success() => Delivered::Yes,
            Ok(answer) => Delivered::No(format!("it answered {}", answer.status().as_u16())),
            Err(error) => Delivered::No(error.to_string()),
        })
    }
}

fn request(url: &str, [id, at, signed]: [String; 3], body: Vec<u8>) -> Option<Request<Bytes>> {
    let mut request = Request::new(Bytes::from(body));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = url.parse().ok()?;
    let headers = request.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::USER_AGENT, HeaderValue::from_static("bulkhead"));
    headers.insert("webhook-id", HeaderValue::try_from(id).ok()?);
    headers.insert("webhook-timestamp", HeaderValue::try_from(at).ok()?);
    headers.insert("webhook-signature", HeaderValue::try_from(signed).ok()?);
    Some(request)
}

fn shown(row: NotificationRow) -> Notification {
    let NotificationRow { id, event, state, attempts, due_at, failure, created_at, .. } = row;
    Notification { id, event, state, attempts, due_at, failure, created_at }
}

fn text(at: Timestamp) -> String {
    use crate::records::TimestampText as _;
    at.to_text()
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

pub(crate) fn target_purpose(tenant: &TenantId) -> String {
    format!("notification-target/{tenant}")
}

pub(crate) fn body_purpose(tenant: &TenantId, id: &str) -> String {
    format!("notification/{tenant}/{id}")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed step is the test's failure")]
    use super::*;

    #[test]
    fn signatures_are_those_of_standard_webhooks() {
        // The test of its reference libraries.
        let secret = STANDARD.decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let signed = signature(
            &secret,
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            1_614_265_330,
            br#"{"test": 2432232314}"#,
        );
        assert_eq!(signed, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn deliveries_are_tried_for_more_than_a_day() {
        let mut row = NotificationRow {
            tenant: TenantId::parse("t").unwrap(),
            id: "n".into(),
            event: "e".into(),
            body: vec![],
            state: "waiting".into(),
            attempts: 0,
            due_at: Timestamp::from_millis(0),
            failure: None,
            created_at: Timestamp::from_millis(0),
        };
        let delivered = after(row.clone(), Delivered::Yes, row.due_at, 0.5);
        assert_eq!((delivered.state.as_str(), delivered.attempts), ("delivered", 1));
        let mut attempts = 0;
        while row.state == "waiting" {
            let due = row.due_at;
            row = after(row, Delivered::No("no".into()), due, 0.0);
            attempts += 1;
        }
        assert_eq!((row.state.as_str(), attempts, row.attempts), ("dead", 12, 12));
        assert!(
            row.due_at.as_millis() >= millis(Duration::from_secs(24 * 3_600)),
            "{:?}",
            row.due_at
        );
    }
}

//! Keeps records in order, again and again: removes those that have had their time, and brings bodies into the form that
//! their tenant wants. It takes no input and remembers nothing: each round looks at what there is, so it may be broken
//! off anywhere, and may run on every server at the same time.

use std::collections::HashMap;
use std::time::Duration;

use bulkhead_store::records::{self, Expired, StreamRow};
use bulkhead_types::{TenantId, Timestamp};

use crate::error::PlatformError;
use crate::model::{RecordRetention, RecordSettings};
use crate::platform::Platform;

/// Between two rounds that find nothing to do. Retention counts in days.
const LOOK: Duration = Duration::from_secs(60);

/// Streams looked at with one read.
const STREAMS_AT_ONCE: usize = 1_000;

/// Records removed in one transaction, so that others get their turn.
const REMOVED_AT_ONCE: usize = 500;

/// Bodies sealed in one transaction: they can have megabytes each.
const SEALED_AT_ONCE: usize = 50;

/// Transactions for one stream in one round: the other streams wait meanwhile.
const PIECES_MAX: usize = 20;

/// A hundred years.
const DAYS_MAX: u32 = 36_500;

/// Models with a retention of their own.
const MODELS_MAX: usize = 1_000;

const DAY_MILLIS: i64 = 24 * 60 * 60 * 1_000;

/// What one round did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Upkeep {
    /// Records removed for good.
    pub removed: usize,
    /// Bodies that were sealed or opened.
    pub resealed: usize,
    /// There is more to do, which the next round does.
    pub more: bool,
}

impl Platform {
    /// Keeps records in order until `stop` resolves.
    pub async fn run_upkeep(&self, stop: impl Future<Output = ()>) {
        tokio::pin!(stop);
        loop {
            let wait = match self.records_upkeep().await {
                // Others get their turn, but not a minute.
                Ok(done) if done.more => Duration::from_millis(100),
                Ok(_) => LOOK,
                Err(error) => {
                    tracing::error!(
                        error = &error as &dyn std::error::Error,
                        "records could not be kept in order"
                    );
                    LOOK
                }
            };
            tokio::select! {
                () = &mut stop => return,
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    /// One round over all streams, with a bounded piece of work for each.
    ///
    /// # Errors
    /// When the store fails, or a body does not open.
    pub async fn records_upkeep(&self) -> Result<Upkeep, PlatformError> {
        let tenants = self.tenants().await?.into_iter();
        let settings: HashMap<TenantId, RecordSettings> =
            tenants.map(|tenant| (tenant.id, tenant.settings.records)).collect();
        let mut done = Upkeep::default();
        let mut after = 0;
        loop {
            let read = move |db: &_| records::streams(db, after, STREAMS_AT_ONCE);
            let some = self.db.read(move |db| read(db)).await?;
            for stream in &some {
                // Its tenant may have been made since: the next round knows it.
                let of = TenantId::parse(&stream.tenant).ok();
                if let Some(settings) = of.and_then(|tenant| settings.get(&tenant)) {
                    self.keep_in_order(stream, settings, &mut done).await?;
                }
            }
            match some.last().filter(|_| some.len() == STREAMS_AT_ONCE) {
                Some(last) => after = last.id,
                None => break,
            }
        }
        let forget = |tx: &_| records::forget_ended_runs(tx, REMOVED_AT_ONCE);
        done.more |= self.db.write(forget).await? == REMOVED_AT_ONCE;
        Ok(done)
    }

    async fn keep_in_order(
        &self,
        stream: &StreamRow,
        settings: &RecordSettings,
        done: &mut Upkeep,
    ) -> Result<(), PlatformError> {
        let id = stream.id;
        let expired = expired(settings, stream, self.now());
        let mut removes = expired != Expired::default();
        let sealed = settings.encrypted;
        let mut seals = if sealed { stream.sealed < stream.records } else { stream.sealed > 0 };
        for _ in 0..PIECES_MAX {
            if removes {
                let work = move |tx: &_| records::remove_expired(tx, id, expired, REMOVED_AT_ONCE);
                let removed = self.db.write(move |tx| work(tx)).await?;
                done.removed += removed;
                removes = removed > 0;
            }
            if seals {
                let bodies = self.sealing(sealed);
                let work =
                    move |tx: &_| records::reseal(tx, id, bodies.as_ref(), sealed, SEALED_AT_ONCE);
                let resealed = self.db.write(move |tx| work(tx)).await?;
                done.resealed += resealed;
                seals = resealed > 0;
            }
            if !removes && !seals {
                return Ok(());
            }
        }
        done.more = true;
        Ok(())
    }
}

/// What of a stream has had its time.
fn expired(settings: &RecordSettings, stream: &StreamRow, now: Timestamp) -> Expired {
    let key = format!("{}/{}", stream.integration, stream.model);
    let own = settings.models.get(&key).copied();
    let RecordRetention { unchanged_days, deleted_days } = own.unwrap_or(settings.retention);
    let before = |days: u32| {
        Timestamp::from_millis(now.as_millis().saturating_sub(i64::from(days) * DAY_MILLIS))
    };
    Expired {
        unchanged_since: unchanged_days.map(before),
        deleted_before: deleted_days.map(before).filter(|_| stream.deleted > 0),
    }
}

/// Refuses what can't be meant.
pub(crate) fn check_records(settings: &RecordSettings) -> Result<(), PlatformError> {
    let invalid = |message: String| Err(PlatformError::invalid("invalid_body", message));
    if settings.models.len() > MODELS_MAX {
        return invalid(format!("records.models has at most {MODELS_MAX} entries"));
    }
    if let Some(odd) = settings.models.keys().find(|key| !key.contains('/')) {
        let odd: String = odd.chars().take(80).collect();
        return invalid(format!("records.models has keys such as github/Issue, not {odd:?}"));
    }
    let each = settings.models.values().chain([&settings.retention]);
    let days = each.flat_map(|kept| [kept.unchanged_days, kept.deleted_days]).flatten();
    if days.into_iter().any(|days| !(1..=DAYS_MAX).contains(&days)) {
        return invalid(format!("records are kept for 1 to {DAYS_MAX} days, or for ever"));
    }
    Ok(())
}

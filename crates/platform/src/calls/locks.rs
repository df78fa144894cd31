//! Locks, as functions take them.

use std::time::Duration;

use bulkhead_store::{Conn, fence, locks};
use bulkhead_types::Lease;
use serde::Deserialize;
use serde_json::json;

use super::{Answer, Failure};
use crate::platform::Platform;

/// Bytes of a lock's key.
const KEY_BYTES_MAX: usize = 255;

/// The longest that a lock is held without being taken again.
const TTL_MAX: Duration = Duration::from_secs(60 * 60);

/// Locks that one execution may hold.
const HELD_MAX: usize = 100;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Acquire {
    key: String,
    ttl_ms: u64,
}

#[derive(Deserialize)]
pub(super) struct Release {
    key: String,
}

impl Platform {
    pub(super) async fn lock_acquire(&self, lease: &Lease, params: Acquire) -> Answer {
        let Acquire { key, ttl_ms } = params;
        if key.is_empty() || key.len() > KEY_BYTES_MAX || ttl_ms == 0 {
            let message =
                format!("a lock has a key of 1 to {KEY_BYTES_MAX} bytes and a time above 0");
            return Err(Failure::new("call_invalid", message));
        }
        let now = self.now();
        let expires_at = now.after(Duration::from_millis(ttl_ms).min(TTL_MAX));
        let (tenant, held) = (lease.function.tenant.clone(), lease.lease.clone());
        let work = move |tx: &Conn| {
            fence::check_fence(tx, &held)?;
            if locks::held(tx, &held.execution)? >= HELD_MAX {
                let message = format!("an execution may hold {HELD_MAX} locks; release some first");
                return Err(Failure::new("call_invalid", message));
            }
            Ok(locks::acquire(tx, &tenant, &key, &held.execution, expires_at, now)?)
        };
        let acquired = self.db.write(move |tx| work(tx)).await?;
        Ok(json!({ "acquired": acquired }))
    }

    pub(super) async fn lock_release(&self, lease: &Lease, params: Release) -> Answer {
        let (tenant, held) = (lease.function.tenant.clone(), lease.lease.clone());
        let work = move |tx: &Conn| {
            fence::check_fence(tx, &held)?;
            Ok::<_, Failure>(locks::release(tx, &tenant, &params.key, &held.execution)?)
        };
        let released = self.db.write(move |tx| work(tx)).await?;
        Ok(json!({ "released": released }))
    }

    pub(super) async fn lock_release_all(&self, lease: &Lease) -> Answer {
        let held = lease.lease.clone();
        let work = move |tx: &Conn| {
            fence::check_fence(tx, &held)?;
            Ok::<_, Failure>(locks::release_all(tx, &held.execution)?)
        };
        self.db.write(move |tx| work(tx)).await?;
        Ok(json!({}))
    }
}

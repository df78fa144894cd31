//! Which worker holds which lease. What a message says about it is held against this: the lease that a call is
//! answered for is the one that was given, with its tenant, function and connection, whatever the worker says.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bulkhead_types::{Attempt, Execution, Lease, LeaseRef, WorkerId};
use serde_json::Value;
use tokio::time::Instant;

use crate::app::App;
use crate::error::ApiError;

/// How long a lease is believed to be held after that was seen: as long as its loss may stay unseen by calls that
/// only read. What writes is fenced by the store in any case.
const BELIEVED: Duration = Duration::from_secs(2);

/// Leases remembered; beyond it all are forgotten, which costs one look each at those still in use.
const KNOWN_MAX: usize = 20_000;

/// The leases that this server has handed out or looked up lately.
#[derive(Default)]
pub(crate) struct Held {
    known: Mutex<HashMap<LeaseRef, Known>>,
}

struct Known {
    worker: WorkerId,
    lease: Arc<Lease>,
    seen: Instant,
}

impl Held {
    fn lock(&self) -> MutexGuard<'_, HashMap<LeaseRef, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers that `worker` was given `lease` just now.
    pub(super) fn hand(&self, worker: &WorkerId, lease: &Lease) {
        let lease = Arc::new(Lease { input: Value::Null, ..lease.clone() });
        self.keep(worker, lease);
    }

    pub(super) fn forget(&self, lease: &LeaseRef) {
        self.lock().remove(lease);
    }

    #[allow(clippy::disallowed_methods, reason = "tokio's clock, which tests can pause")]
    fn keep(&self, worker: &WorkerId, lease: Arc<Lease>) {
        let mut known = self.lock();
        if known.len() >= KNOWN_MAX {
            known.clear();
        }
        let name = lease.lease.clone();
        known.insert(name, Known { worker: worker.clone(), lease, seen: Instant::now() });
    }

    fn believed(&self, worker: &WorkerId, lease: &LeaseRef) -> Option<Arc<Lease>> {
        let known = self.lock();
        let known = known.get(lease)?;
        let fresh = known.worker == *worker && known.seen.elapsed() < BELIEVED;
        fresh.then(|| Arc::clone(&known.lease))
    }
}

/// The lease, if `worker` holds it. Its input is left out.
pub(super) async fn lease(
    app: &App,
    worker: &WorkerId,
    lease: &LeaseRef,
) -> Result<Option<Arc<Lease>>, ApiError> {
    let inner = &app.inner;
    if let Some(believed) = inner.held.believed(worker, lease) {
        return Ok(Some(believed));
    }
    let Some((execution, attempt)) = inner.engine.held(worker, lease).await? else {
        inner.held.forget(lease);
        return Ok(None);
    };
    let lease = Arc::new(Lease { input: Value::Null, ..lease_of(app, execution, &attempt).await? });
    inner.held.keep(worker, Arc::clone(&lease));
    Ok(Some(lease))
}

/// The lease with its input, if `worker` holds it.
pub(super) async fn whole(
    app: &App,
    worker: &WorkerId,
    lease: &LeaseRef,
) -> Result<Option<Lease>, ApiError> {
    match app.inner.engine.held_whole(worker, lease).await? {
        Some((execution, attempt)) => Ok(Some(lease_of(app, execution, &attempt).await?)),
        None => Ok(None),
    }
}

/// The lease of a running attempt, as it was handed out.
async fn lease_of(app: &App, execution: Execution, attempt: &Attempt) -> Result<Lease, ApiError> {
    let inner = &app.inner;
    let version = inner.platform.version(&execution.function.tenant, &execution.version).await?;
    Ok(Lease {
        lease: LeaseRef { execution: execution.id, fence: attempt.fence },
        attempt: attempt.number,
        function: execution.function,
        version: execution.version,
        connection: execution.connection,
        trigger: execution.trigger,
        input: execution.input,
        // An execution is submitted with the limits of its version.
        limits: version.spec.limits.within(&inner.options.ceilings),
        leased_at: attempt.leased_at,
        expires_at: attempt.leased_at,
    })
}

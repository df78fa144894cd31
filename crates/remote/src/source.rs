//! Work from a server: leases, renewals, recalls, outcomes.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bulkhead_api::Op;
use bulkhead_api::worker::{
    About, Handed, LeaseAnswer, LeaseRequest, Prepared as Apart, RecallReason as Reason, Recalls,
    RecallsRequest, RenewRequest, SettleAnswer, SettleRequest, Settlement,
};
use bulkhead_client::ClientError;
use bulkhead_protocol::StartKind;
use bulkhead_types::{Lease, LeaseRef, Room, Version, VersionId};
use bulkhead_worker::{Recall, RecallReason, Settled, SourceError, WorkSource};
use futures_util::future::join_all;
use tokio::time::Instant;

use crate::again::{Waits, may_pass};
use crate::{Held, Prepared, Remote};

/// How long the server is asked to wait for work, or for something to recall: also how long a connection that was cut
/// without a word goes unnoticed.
const POLL: Duration = Duration::from_secs(10);

/// As [`POLL`], for work, while all room that is left is kept for tenants that run nothing.
const POLL_FULL: Duration = Duration::from_millis(50);

/// How much longer the answer may take.
const POLL_SLACK: Duration = Duration::from_secs(5);

/// A renewal that takes longer has failed: leases live 15 s, and the next try must come in time.
const RENEW_WAIT: Duration = Duration::from_secs(4);

/// For one try to hand in an outcome, which may be megabytes.
const SETTLE_WAIT: Duration = Duration::from_secs(10);

/// For what did not fit into the answer with the lease.
const APART_WAIT: Duration = Duration::from_secs(10);

/// What came with a lease that is not renewed is kept this long: it was just handed over, or is about to be settled.
const HELD_UNNAMED: Duration = Duration::from_secs(60);

fn failed(error: &ClientError) -> SourceError {
    SourceError(error.to_string())
}

#[async_trait]
impl WorkSource for Remote {
    async fn lease(&self, room: Room) -> Result<Vec<Lease>, SourceError> {
        let running = self.held().len();
        // What ends here meanwhile is room for everybody, of which the server does not know before it is asked again.
        let poll = if room.is_for_the_idle() { POLL_FULL } else { POLL };
        let wait_ms = u64::try_from(poll.as_millis()).unwrap_or(u64::MAX);
        let ask = LeaseRequest { me: self.me(running), room, wait_ms };
        let answer: LeaseAnswer = self
            .ask(Op::WorkerLease, &ask, POLL + POLL_SLACK)
            .await
            .map_err(|error| failed(&error))?;
        let LeaseAnswer { leases, versions } = answer;
        let versions: HashMap<_, _> =
            versions.into_iter().map(|(id, version)| (id, Arc::new(version))).collect();
        // Taken: whatever goes wrong from here on is the attempt's to say, so that no lease is left lying.
        Ok(join_all(leases.into_iter().map(|handed| self.take(handed, &versions))).await)
    }

    async fn renew(&self, leases: &[LeaseRef]) -> Result<Vec<Recall>, SourceError> {
        self.forget_all_but(leases);
        let renew = RenewRequest { me: self.me(leases.len()), leases: leases.to_vec() };
        let answer: Recalls =
            self.ask(Op::WorkerRenew, &renew, RENEW_WAIT).await.map_err(|error| failed(&error))?;
        Ok(answer.recalls.into_iter().map(recall).collect())
    }

    async fn recalls(&self) -> Recall {
        let worker = self.inner.options.worker.clone();
        let wait_ms = u64::try_from(POLL.as_millis()).unwrap_or(u64::MAX);
        let ask = RecallsRequest { worker, wait_ms };
        let mut waits = Waits::default();
        loop {
            if let Some(recall) = self.recalled().pop_front() {
                return recall;
            }
            match self.ask::<_, Recalls>(Op::WorkerRecalls, &ask, POLL + POLL_SLACK).await {
                Ok(answer) => {
                    waits = Waits::default();
                    // A stopping server does not wait: it is not asked without a pause.
                    if answer.recalls.is_empty() {
                        tokio::time::sleep(waits.next()).await;
                    }
                    self.recalled().extend(answer.recalls.into_iter().map(recall));
                }
                // What is missed meanwhile is told by the next renewal.
                Err(error) => {
                    tracing::debug!(%error, "recalls can't be asked for");
                    tokio::time::sleep(waits.next()).await;
                }
            }
        }
    }

    async fn settle(&self, lease: &LeaseRef, settled: Settled) -> Result<(), SourceError> {
        let said = SettleRequest {
            worker: self.inner.options.worker.clone(),
            lease: lease.clone(),
            outcome: settled.outcome,
            usage: settled.usage,
            started_at: settled.started_at,
            start: settled.start.map(|start| start_text(start).to_owned()),
            wall: settled.wall,
        };
        match self.ask::<_, SettleAnswer>(Op::WorkerSettle, &said, SETTLE_WAIT).await {
            Ok(answer) => {
                if answer.settlement == Settlement::Stale {
                    tracing::info!(execution = %lease.execution, "the outcome was not needed any more");
                }
                self.held().remove(lease);
                Ok(())
            }
            Err(error) if may_pass(&error) => Err(failed(&error)),
            // Told again it would be refused again; the lease runs out, and the attempt is made anew.
            Err(error) => {
                tracing::error!(%error, execution = %lease.execution, "the outcome was refused");
                self.held().remove(lease);
                Ok(())
            }
        }
    }
}

impl Remote {
    /// Keeps what came with a lease, and fetches what did not. Its times become this machine's: a lease counts from
    /// when it was heard of, whatever the clocks of the two say.
    async fn take(&self, handed: Handed, versions: &HashMap<VersionId, Arc<Version>>) -> Lease {
        let Handed { mut lease, needs } = handed;
        let life = lease.expires_at.since(lease.leased_at);
        lease.leased_at = self.inner.clock.now();
        lease.expires_at = lease.leased_at.after(life);
        let version = versions.get(&lease.version).map(Arc::clone);
        let prepared = match (version, needs) {
            (Some(version), Some(needs)) => {
                self.understand(needs, &version).map(|prepared| (version, prepared))
            }
            _ => self.fetch(&mut lease).await,
        };
        let prepared = prepared
            .inspect_err(|error| tracing::error!(%error, execution = %lease.lease.execution, "an attempt can't be prepared"))
            .ok()
            .map(|(version, prepared)| (version, Arc::new(prepared)));
        self.hold(&lease.lease, prepared);
        lease
    }

    #[allow(clippy::disallowed_methods, reason = "tokio's clock, which tests can pause")]
    fn hold(&self, lease: &LeaseRef, prepared: Option<(Arc<Version>, Arc<Prepared>)>) {
        self.held().insert(lease.clone(), Held { since: Instant::now(), prepared });
    }

    /// What did not fit, or could not be prepared: asked for alone.
    async fn fetch(&self, lease: &mut Lease) -> Result<(Arc<Version>, Prepared), String> {
        let worker = self.inner.options.worker.clone();
        let about = About { worker, lease: lease.lease.clone() };
        let apart = self.ask::<_, Apart>(Op::WorkerPrepare, &about, APART_WAIT).await;
        let Apart { input, version, needs } = apart.map_err(|error| error.to_string())?;
        lease.input = input;
        let prepared = self.understand(needs, &version)?;
        Ok((Arc::new(version), prepared))
    }

    /// Lets go of what came with leases that are not held any more.
    fn forget_all_but(&self, leases: &[LeaseRef]) {
        let named: std::collections::HashSet<_> = leases.iter().collect();
        self.held()
            .retain(|lease, held| named.contains(lease) || held.since.elapsed() < HELD_UNNAMED);
    }
}

fn recall(recall: bulkhead_api::worker::Recall) -> Recall {
    let reason = match recall.reason {
        Reason::Cancelled => RecallReason::Cancelled,
        Reason::Lost => RecallReason::Lost,
    };
    Recall { lease: recall.lease, reason }
}

const fn start_text(start: StartKind) -> &'static str {
    match start {
        StartKind::Parked => "parked",
        StartKind::Forked => "forked",
        StartKind::Cold => "cold",
    }
}

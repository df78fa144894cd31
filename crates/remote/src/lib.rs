//! The worker's side of `docs/worker-protocol.md`: the seams of `bulkhead-worker` over HTTP.
//!
//! Layout: [`Remote`] is what a worker is given; `source` takes leases, renews and settles; `host` prepares attempts and
//! carries their calls; `stream` carries their requests whose bodies pass piece by piece; `egress` dials for them, from this machine, under the rules that came with the lease; `bundles`
//! keeps what is run; `again` decides whether what failed may be sent again.
//!
//! Invariant: nothing is decided here about executions, and nothing is kept that a restart would miss. Whatever the
//! server says is bounded before it is parsed; whatever is asked of it has a deadline.

mod again;
mod bundles;
mod egress;
mod host;
mod source;
mod stream;

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bulkhead_api::Op;
use bulkhead_api::worker::{LeaveRequest, Me, Needs, RenewRequest};
use bulkhead_client::{Client, ClientError, Request};
use bulkhead_egress::{Gateway, Policy, Rule};
use bulkhead_types::{Clock, Entropy, LeaseRef, Units, Version, WallKind, WorkerId};
use bulkhead_worker::Recall;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::time::Instant;

/// How long a greeting may take, and a farewell.
const GREET_WAIT: Duration = Duration::from_secs(10);
const LEAVE_WAIT: Duration = Duration::from_secs(5);

/// What the binary decides.
#[derive(Debug, Clone)]
pub struct RemoteOptions {
    /// The worker's name, after its token ([`WorkerId::of_token`]).
    pub worker: WorkerId,
    /// For people.
    pub name: String,
    /// This program's version.
    pub version: String,
    /// What there is for attempts.
    pub capacity: Units,
    /// Where bundles are kept: nobody else writes there.
    pub bundles: PathBuf,
    /// Where the server is: denied to functions whatever the rules say.
    pub server: Vec<SocketAddr>,
    /// This machine's addresses ([`bulkhead_egress::local_addresses`]).
    pub addresses: Vec<IpAddr>,
}

/// A server on another machine, as a worker's source of work, its host, and what tells where its sandboxes may connect.
/// Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Remote {
    inner: Arc<Inner>,
}

struct Inner {
    client: Client,
    gateway: Gateway,
    clock: Arc<dyn Clock>,
    options: RemoteOptions,
    bundles: bundles::Bundles,
    /// What came with the leases that are held.
    held: Mutex<HashMap<LeaseRef, Held>>,
    /// Told by the server, not yet taken by the worker.
    recalls: Mutex<VecDeque<Recall>>,
    draining: AtomicBool,
    /// Numbers of calls.
    calls: AtomicU64,
}

/// What came with a lease.
struct Held {
    since: Instant,
    /// `None` when preparing it failed, which the attempt will hear of.
    prepared: Option<(Arc<Version>, Arc<Prepared>)>,
}

/// What an attempt needs besides its build.
struct Prepared {
    context: Value,
    policy: Arc<Policy>,
    wall: WallKind,
}

impl Remote {
    /// A worker's side of the channel through `client`, whose key is the worker's token.
    ///
    /// # Errors
    /// When the directory of bundles can't be used.
    pub fn new(
        client: Client,
        gateway: Gateway,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
        options: RemoteOptions,
    ) -> std::io::Result<Self> {
        let bundles = bundles::Bundles::open(options.bundles.clone(), entropy)?;
        let inner = Inner {
            client,
            gateway,
            clock,
            options,
            bundles,
            held: Mutex::default(),
            recalls: Mutex::default(),
            draining: AtomicBool::new(false),
            calls: AtomicU64::new(0),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Says to the server that this worker is there, holding nothing.
    ///
    /// # Errors
    /// When the server refuses it, or can't be reached.
    pub async fn greet(&self) -> Result<(), ClientError> {
        let renew = RenewRequest { me: self.me(0), leases: Vec::new() };
        self.ask::<_, Value>(Op::WorkerRenew, &renew, GREET_WAIT).await.map(drop)
    }

    /// Says with the next message that this worker takes no more leases.
    pub fn drains(&self) {
        self.inner.draining.store(true, Ordering::Relaxed);
    }

    /// Takes leave, once nothing runs any more: what the server still counts as this worker's goes on elsewhere at
    /// once. A farewell that does not arrive costs the wait for the leases to run out.
    pub async fn leave(&self) {
        let leave = LeaveRequest { worker: self.inner.options.worker.clone() };
        if let Err(error) = self.ask::<_, Value>(Op::WorkerLeave, &leave, LEAVE_WAIT).await {
            tracing::warn!(%error, "the server was not told that this worker is gone");
        }
    }

    fn me(&self, running: usize) -> Me {
        let options = &self.inner.options;
        Me {
            worker: options.worker.clone(),
            name: options.name.clone(),
            version: options.version.clone(),
            capacity: options.capacity,
            running: running as u64,
            draining: self.inner.draining.load(Ordering::Relaxed),
        }
    }

    fn held(&self) -> MutexGuard<'_, HashMap<LeaseRef, Held>> {
        self.inner.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn recalled(&self) -> MutexGuard<'_, VecDeque<Recall>> {
        self.inner.recalls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends a message and reads the answer, within `wait`.
    async fn ask<T: Serialize, A: DeserializeOwned>(
        &self,
        op: Op,
        message: &T,
        wait: Duration,
    ) -> Result<A, ClientError> {
        let request = Request::new(op, &[]).json(message);
        match tokio::time::timeout(wait, self.inner.client.call(request)).await {
            Ok(answer) => answer,
            Err(_) => {
                let server = self.inner.client.server().to_owned();
                Err(ClientError::TimedOut { server, seconds: wait.as_secs() })
            }
        }
    }

    /// What a lease came with, understood. Rules that can't be read are no rules to dial by: an error.
    fn understand(&self, needs: Needs, version: &Version) -> Result<Prepared, String> {
        let rules = |rules: Vec<Value>| {
            let rule = |rule| serde_json::from_value::<Rule>(rule).map_err(|why| why.to_string());
            rules.into_iter().map(rule).collect::<Result<Vec<_>, _>>()
        };
        let options = &self.inner.options;
        let listeners = [needs.egress.listeners, options.server.clone()].concat();
        let policy = Policy::new()
            .with_own(listeners, options.addresses.clone())
            .with_operator_rules(rules(needs.egress.operator)?)
            .with_tenant_rules(rules(needs.egress.tenant)?)
            .with_function_rules(Rule::read_all(&version.spec.egress).map_err(|e| e.to_string())?);
        Ok(Prepared { context: needs.context, policy: Arc::new(policy), wall: needs.wall })
    }
}

impl std::fmt::Debug for Remote {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Remote").field("options", &self.inner.options).finish_non_exhaustive()
    }
}

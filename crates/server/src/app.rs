//! What every handler can reach.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bulkhead_api::routes::ROUTES;
use bulkhead_api::worker::Me;
use bulkhead_api::{Op, Route, Warmth};
use bulkhead_engine::Engine;
use bulkhead_platform::Platform;
use bulkhead_telemetry::metrics::{Histogram, Page};
use bulkhead_types::{Clock, Entropy, Limits, Timestamp, WallKind};
use sha2::{Digest as _, Sha256};
use tokio::sync::{Semaphore, watch};

use crate::turns::Turns;
use crate::worker::held::Held;
use crate::worker::seen::Seen;

/// What the binary decides.
#[derive(Clone)]
pub struct AppOptions {
    /// The operator's key.
    pub admin_key: String,
    /// How callers reach the server, without a slash at the end.
    pub public_url: String,
    /// What a function may ask for at most.
    pub ceilings: Limits,
    /// The walls that can be had; `None` where only workers elsewhere know.
    pub walls: Option<Vec<WallKind>>,
    /// Requests under way at the same time.
    pub requests_max: usize,
    /// Becomes true when the server stops: no new work is taken from then on.
    pub stopping: watch::Receiver<bool>,
    /// Tells the date.
    pub clock: Arc<dyn Clock>,
    /// The server's own worker, if it has one.
    pub own_worker: Arc<dyn Fn() -> Option<(Me, Warmth)> + Send + Sync>,
    /// Says what of the worker is not ready, for `/readyz`.
    pub worker_ready: Arc<dyn Fn() -> Result<(), String> + Send + Sync>,
    /// Adds what others count to `/metrics`.
    pub metrics: Arc<dyn Fn(&mut Page) + Send + Sync>,
}

/// What every handler can reach. Cheap to clone.
#[derive(Clone)]
pub struct App {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) engine: Engine,
    pub(crate) platform: Arc<Platform>,
    pub(crate) entropy: Arc<dyn Entropy>,
    pub(crate) admin_hash: [u8; 32],
    pub(crate) options: AppOptions,
    pub(crate) requests: Semaphore,
    /// Of those, what each tenant has.
    pub(crate) turns: Turns,
    /// Workers' messages under way: they neither take callers' places nor are kept out by them.
    pub(crate) messages: Semaphore,
    /// Calls of functions on workers elsewhere, likewise.
    pub(crate) calls: Semaphore,
    pub(crate) held: Held,
    pub(crate) seen: Seen,
    /// When the server started.
    pub(crate) since: Timestamp,
    pub(crate) followers: Arc<Semaphore>,
    /// Bodies that the proxy passes on.
    pub(crate) streams: Arc<Semaphore>,
    pub(crate) counts: RequestCounts,
}

/// Logs followed live at the same time, over all tenants: each holds a connection and a database reader now and
/// then.
const FOLLOWERS_MAX: usize = 256;

/// Bodies that are passed on at the same time, over all tenants: each has two connections and some pieces in memory.
const STREAMS_MAX: usize = 512;

/// Messages of workers under way at the same time, of which each worker has two that wait; and, apart, calls of their
/// functions.
const MESSAGES_MAX: usize = 10_000;

/// How often a stopping server looks whether requests are under way still.
const IDLE_LOOK: Duration = Duration::from_millis(20);

impl App {
    /// Puts it together.
    #[must_use]
    pub fn new(
        engine: Engine,
        platform: Arc<Platform>,
        entropy: Arc<dyn Entropy>,
        options: AppOptions,
    ) -> Self {
        let inner = Inner {
            engine,
            platform,
            entropy,
            admin_hash: Sha256::digest(options.admin_key.as_bytes()).into(),
            requests: Semaphore::new(options.requests_max),
            turns: Turns::new(options.requests_max),
            messages: Semaphore::new(MESSAGES_MAX),
            calls: Semaphore::new(MESSAGES_MAX),
            held: Held::default(),
            seen: Seen::default(),
            since: options.clock.now(),
            followers: Arc::new(Semaphore::new(FOLLOWERS_MAX)),
            streams: Arc::new(Semaphore::new(STREAMS_MAX)),
            counts: RequestCounts::default(),
            options,
        };
        Self { inner: Arc::new(inner) }
    }

    /// Returns when no caller's request and no function's call is under way any more. Other messages of workers are
    /// not waited for. Looks again and again, for as long as a stop lasts: to wait for all places would keep `/healthz`
    /// out of them.
    pub async fn idle(&self) {
        let inner = &self.inner;
        let busy = || {
            inner.requests.available_permits() < inner.options.requests_max
                || inner.calls.available_permits() < MESSAGES_MAX
        };
        while busy() {
            tokio::time::sleep(IDLE_LOOK).await;
        }
    }

    /// The URL under which callers find an execution.
    pub(crate) fn status_url(&self, execution: &str) -> String {
        format!("{}/v1/executions/{execution}", self.inner.options.public_url)
    }
}

/// Requests by route and class of status, and how long they took.
#[derive(Debug)]
pub struct RequestCounts {
    by_route: Vec<[AtomicU64; 6]>,
    took: Histogram,
}

impl Default for RequestCounts {
    fn default() -> Self {
        let by_route = ROUTES.iter().map(|_| Default::default()).collect();
        Self { by_route, took: Histogram::default() }
    }
}

impl RequestCounts {
    pub(crate) fn record(&self, op: Op, status: u16, took: Duration) {
        let class = usize::from(status / 100).min(5);
        self.by_route[op as usize][class].fetch_add(1, Ordering::Relaxed);
        self.took.record(took);
    }

    pub(crate) fn print(&self, page: &mut Page) {
        use bulkhead_telemetry::metrics::{Kind, as_f64};
        let mut samples = Vec::new();
        for (Route { op, .. }, classes) in ROUTES.iter().zip(&self.by_route) {
            for (class, count) in classes.iter().enumerate() {
                let count = count.load(Ordering::Relaxed);
                if count > 0 {
                    samples.push((format!("{op:?}"), format!("{class}xx"), as_f64(count)));
                }
            }
        }
        let labels: Vec<_> = samples
            .iter()
            .map(|(op, class, _)| [("route", op.as_str()), ("status", class.as_str())])
            .collect();
        let rows: Vec<_> = labels.iter().zip(&samples).map(|(l, s)| (l.as_slice(), s.2)).collect();
        page.add("bulkhead_http_requests_total", Kind::Counter, "Requests answered.", &rows);
        page.histogram("bulkhead_http_request_seconds", "Until the answer's head.", &self.took);
    }
}

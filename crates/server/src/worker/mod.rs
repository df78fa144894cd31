//! The server's side of `docs/worker-protocol.md`: workers on other machines take leases, renew them, hand in outcomes
//! (here), and have their functions' calls answered ([`host`]). Who holds which lease is looked up in [`held`], never
//! taken from the message.

mod handing;
pub(crate) mod held;
pub(crate) mod host;
pub(crate) mod seen;
pub(crate) mod stream;

use std::time::Duration;

use axum::extract::{FromRequestParts, State};
use bulkhead_api::worker::{
    LEASES_MAX, LeaseAnswer, LeaseRequest, LeaveRequest, Recall, RecallReason, Recalls,
    RecallsRequest, RenewRequest, SettleAnswer, SettleRequest, Settlement, WAIT_MS_MAX,
};
use bulkhead_engine::Settled;
use bulkhead_types::{Outcome, WorkerId};
use futures_util::FutureExt as _;
use http::request::Parts;

use crate::app::App;
use crate::error::ApiError;
use crate::extract::Json;

/// Recalls in one answer; what is left is told in the next.
const RECALLS_MAX: usize = 1_000;

/// How a sandbox may have come to be.
const STARTS: [&str; 3] = ["parked", "forked", "cold"];

/// The id of the token that came with a worker's message. Put there by the gate, for workers' routes only.
#[derive(Debug, Clone)]
pub(crate) struct Token(pub(crate) String);

impl Token {
    /// Holds a message's sender against the token that it came with.
    fn speaks_for(&self, worker: &WorkerId) -> Result<(), ApiError> {
        if worker.is_of_token(&self.0) {
            return Ok(());
        }
        let message = format!("worker {worker} is not one of token {}", self.0);
        Err(ApiError::new("wrong_worker", message))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Token {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let missing =
            || ApiError::internal(&"a worker's handler stands on a route that is no worker's");
        parts.extensions.get::<Self>().cloned().ok_or_else(missing)
    }
}

fn waiting(wait_ms: u64) -> Duration {
    Duration::from_millis(wait_ms.min(WAIT_MS_MAX))
}

/// Becomes ready when the server stops: nobody is kept waiting then.
async fn stopping(app: &App) {
    let mut stopping = app.inner.options.stopping.clone();
    // An error means that the server itself is gone, which is a stop as well.
    drop(stopping.wait_for(|stopping| *stopping).await);
}

pub(crate) async fn lease(
    State(app): State<App>,
    token: Token,
    Json(ask): Json<LeaseRequest>,
) -> Result<axum::Json<LeaseAnswer>, ApiError> {
    token.speaks_for(&ask.me.worker)?;
    let worker = ask.me.worker.clone();
    app.inner.seen.heard(&token.0, ask.me, app.inner.options.clock.now());
    // Given up in the middle, what was on its way is what this worker's next message gets.
    let mut room = ask.room;
    // Each takes a CPU unit at least, so this bounds how many there are.
    room.free.cpu = room.free.cpu.min(u32::try_from(LEASES_MAX).unwrap_or(u32::MAX));
    let taking = app.inner.engine.lease(&worker, room);
    let leases = tokio::select! {
        taken = tokio::time::timeout(waiting(ask.wait_ms), taking) => match taken {
            Ok(leases) => leases?,
            Err(_) => Vec::new(),
        },
        () = stopping(&app) => Vec::new(),
    };
    Ok(axum::Json(handing::hand(&app, &worker, leases).await))
}

pub(crate) async fn renew(
    State(app): State<App>,
    token: Token,
    Json(renew): Json<RenewRequest>,
) -> Result<axum::Json<Recalls>, ApiError> {
    token.speaks_for(&renew.me.worker)?;
    let recalls = app.inner.engine.renew(&renew.me.worker, &renew.leases).await?;
    app.inner.seen.heard(&token.0, renew.me, app.inner.options.clock.now());
    Ok(axum::Json(Recalls { recalls: recalls.into_iter().map(recall).collect() }))
}

pub(crate) async fn recalls(
    State(app): State<App>,
    token: Token,
    Json(ask): Json<RecallsRequest>,
) -> Result<axum::Json<Recalls>, ApiError> {
    token.speaks_for(&ask.worker)?;
    let engine = &app.inner.engine;
    let mut found = Vec::new();
    tokio::select! {
        first = tokio::time::timeout(waiting(ask.wait_ms), engine.recalls(&ask.worker)) => {
            found.extend(first);
        }
        () = stopping(&app) => {}
    }
    while !found.is_empty() && found.len() < RECALLS_MAX {
        let Some(more) = engine.recalls(&ask.worker).now_or_never() else { break };
        found.push(more);
    }
    Ok(axum::Json(Recalls { recalls: found.into_iter().map(recall).collect() }))
}

fn recall(recall: bulkhead_engine::Recall) -> Recall {
    let reason = match recall.reason {
        bulkhead_engine::RecallReason::Cancelled => RecallReason::Cancelled,
        bulkhead_engine::RecallReason::Lost => RecallReason::Lost,
    };
    Recall { lease: recall.lease, reason }
}

/// Takes an outcome from whom the lease was given to. Told twice, it is stale the second time: the engine takes one
/// outcome per lease.
pub(crate) async fn settle(
    State(app): State<App>,
    token: Token,
    Json(said): Json<SettleRequest>,
) -> Result<axum::Json<SettleAnswer>, ApiError> {
    token.speaks_for(&said.worker)?;
    if said.outcome == Outcome::Lost {
        return Err(ApiError::new("invalid_body", "that a lease is lost is not a worker's to say"));
    }
    let stale = axum::Json(SettleAnswer { settlement: Settlement::Stale });
    let Some(lease) = held::lease(&app, &said.worker, &said.lease).await? else {
        return Ok(stale);
    };
    let settled = Settled {
        outcome: app.inner.platform.presentable(&lease, said.outcome).await,
        usage: said.usage,
        started_at: said.started_at,
        start: said.start.filter(|start| STARTS.contains(&start.as_str())),
        wall: said.wall.map(|wall| wall.as_str().to_owned()),
    };
    let settlement = app.inner.engine.settle(&said.lease, settled).await?;
    app.inner.held.forget(&said.lease);
    match settlement {
        bulkhead_engine::Settlement::Accepted { .. } => {
            Ok(axum::Json(SettleAnswer { settlement: Settlement::Accepted }))
        }
        bulkhead_engine::Settlement::Stale => Ok(stale),
    }
}

/// What the worker still holds goes on elsewhere at once, without the wait for its leases to run out.
pub(crate) async fn leave(
    State(app): State<App>,
    token: Token,
    Json(leave): Json<LeaveRequest>,
) -> Result<axum::Json<serde_json::Value>, ApiError> {
    token.speaks_for(&leave.worker)?;
    let taken_back = app.inner.engine.recover(&leave.worker).await?;
    app.inner.seen.left(&leave.worker);
    Ok(axum::Json(serde_json::json!({"taken_back": taken_back})))
}

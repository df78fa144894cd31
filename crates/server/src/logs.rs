//! An execution's log: page by page, or followed live as server-sent events.

use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use bulkhead_api::LogPage;
use bulkhead_types::ExecutionId;
use futures_util::stream::{self, Stream};
use http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue};
use serde::Deserialize;
use tokio::sync::{OwnedSemaphorePermit, watch};

use crate::app::App;
use crate::error::ApiError;
use crate::executions::not_found;
use crate::extract::{Caller, Names, Query, page_length};
use crate::wire;

/// Lines read at a time while following.
const FOLLOW_LINES: usize = 500;

/// Proxies on the way cut quiet connections after a minute or so.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Part {
    #[serde(default)]
    after: i64,
    limit: Option<usize>,
}

pub(crate) async fn read(
    State(app): State<App>,
    Caller(tenant): Caller,
    names: Names,
    Query(part): Query<Part>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let id: ExecutionId = names.get("id")?;
    app.inner.engine.execution(&tenant, &id).await?.ok_or_else(|| not_found(&id))?;
    let accept = headers.get(ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    if accept.contains("text/event-stream") {
        return follow(app, id, part.after).await;
    }
    let length = page_length(part.limit, 200, 1_000)?;
    let page = app.inner.platform.logs(&id, part.after, length).await?;
    let logs = page.lines.into_iter().map(wire::log_line).collect();
    Ok(axum::Json(LogPage { logs, next_after: page.next_after }).into_response())
}

async fn follow(app: App, id: ExecutionId, after: i64) -> Result<Response, ApiError> {
    let slot = app.inner.followers.clone().try_acquire_owned().map_err(|_| {
        ApiError::new(
            "too_many_requests",
            "too many logs are being followed; read pages, or try again",
        )
    })?;
    let added = app.inner.platform.follow_logs(&id).await?;
    let follower = Follower { app, id, after, added, ended: false, _slot: slot };
    let mut response = Body::from_stream(events(follower)).into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

struct Follower {
    app: App,
    id: ExecutionId,
    after: i64,
    added: watch::Receiver<i64>,
    ended: bool,
    _slot: OwnedSemaphorePermit,
}

fn events(follower: Follower) -> impl Stream<Item = Result<String, std::convert::Infallible>> {
    stream::unfold(Some(follower), |follower| async {
        let mut follower = follower?;
        match follower.next().await {
            Ok(Some(text)) => Some((Ok(text), Some(follower))),
            Ok(None) => Some((Ok("event: end\ndata: {}\n\n".to_owned()), None)),
            Err(error) => {
                let body = serde_json::to_string(error.body()).unwrap_or_default();
                Some((Ok(format!("event: error\ndata: {body}\n\n")), None))
            }
        }
    })
}

impl Follower {
    /// The next events as text; `None` once the execution has ended and its last line was told.
    async fn next(&mut self) -> Result<Option<String>, ApiError> {
        loop {
            // Marked as seen before reading: a line that comes in between wakes us.
            self.added.mark_unchanged();
            let page = self.app.inner.platform.logs(&self.id, self.after, FOLLOW_LINES).await?;
            if let Some(last) = page.lines.last() {
                self.after = last.seq;
                let event = |line| {
                    let line = serde_json::to_string(&wire::log_line(line)).unwrap_or_default();
                    format!("event: log\ndata: {line}\n\n")
                };
                return Ok(Some(page.lines.into_iter().map(event).collect()));
            }
            if self.ended || *self.app.inner.options.stopping.borrow() {
                return Ok(None);
            }
            if self.wait().await? {
                return Ok(Some(": still here\n\n".to_owned()));
            }
        }
    }

    /// Waits for a line or for the end; true when nothing came for so long that a sign of life is due.
    async fn wait(&mut self) -> Result<bool, ApiError> {
        let engine = self.app.inner.engine.clone();
        let mut stopping = self.app.inner.options.stopping.clone();
        tokio::select! {
            changed = self.added.changed() => {
                if changed.is_err() {
                    self.ended = true;
                }
                Ok(false)
            }
            _ = stopping.changed() => Ok(false),
            ended = engine.wait(&self.id, KEEP_ALIVE) => {
                self.ended = ended?.is_some();
                Ok(!self.ended)
            }
        }
    }
}

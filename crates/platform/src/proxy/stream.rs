//! Bodies that pass through the proxy piece by piece, in both directions, so that their length is nobody's memory.
//!
//! An answer's body is read by a task of its own, at the pace of whoever takes it: one piece waits, no more are read
//! until it is taken, and the API is kept waiting meanwhile (its connection's window fills up). A taker that stands
//! still for [`IDLE_MAX`] is given up, and the connection to the API with it: for it, the body breaks off. Credentials
//! that the API reflects are taken out on the way, as they are of answers that are read as a whole, across the borders
//! of pieces as well.

use std::time::Duration;

use bulkhead_egress::{Body, BodyLimits, HttpClient, SendError, Upload};
use bulkhead_protocol::CallError;
use bulkhead_types::{ConnectionId, IntegrationId, Lease, TenantId};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;
use futures_util::stream::{self, BoxStream};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::answer::{REDACTED, headers, of, redacted_text};
use super::{Job, ProxyRequest, Taken, WaitLimits, no_response};
use crate::calls::Failure;
use crate::platform::Platform;

/// Bytes of a streamed answer.
const STREAM_BYTES_MAX: u64 = 5 << 30;

/// From one piece to the next, of the API's and of whoever takes them.
const IDLE_MAX: Duration = Duration::from_secs(60);

/// A streamed answer in all.
const STREAM_MAX: Duration = Duration::from_secs(60 * 60);

/// Bytes of an answer that is an error.
const ERROR_BYTES_MAX: usize = 1 << 20;

/// Pieces on the way: the one that waits to be taken.
const PIECES_MAX: usize = 1;

/// An answer whose body is still to come.
#[derive(Debug)]
pub struct Streamed {
    /// What it says.
    pub status: StatusCode,
    /// Without the connection's credentials.
    pub headers: HeaderMap,
    /// When it makes sense to come back, if it said so.
    pub retry_after: Option<Duration>,
    /// The body, likewise; an error is the last.
    pub body: mpsc::Receiver<Result<Bytes, StreamError>>,
}

/// Why a streamed body broke off.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    /// The API broke it off, or it is longer than it may be.
    #[error(transparent)]
    Send(#[from] SendError),
    /// Who takes it stood still for too long.
    #[error("the body was not taken for {} s", IDLE_MAX.as_secs())]
    NotTaken,
}

impl Taken for Body {
    async fn take(
        client: &HttpClient,
        request: Request<Bytes>,
        upload: Option<Upload>,
        deadline: Instant,
    ) -> Result<Response<Self>, SendError> {
        #[allow(
            clippy::disallowed_methods,
            reason = "tokio's clock: what its time-outs are measured by"
        )]
        let until = Instant::now() + STREAM_MAX;
        let limits = BodyLimits { bytes: STREAM_BYTES_MAX, idle: IDLE_MAX, until };
        client.open(request, upload, deadline, limits).await
    }
}

impl Platform {
    /// Calls an integration's API on behalf of a connection, as [`Platform::proxy`] does; the answer's body comes
    /// piece by piece, whatever its status. An `upload` is the request's body instead of `request`'s: it can be sent
    /// once only, so nothing is tried again then, and no redirect followed that would repeat it.
    ///
    /// # Errors
    /// As a function would see them.
    pub async fn proxy_stream(
        &self,
        tenant: &TenantId,
        integration: &IntegrationId,
        connection: Option<ConnectionId>,
        request: (ProxyRequest, Option<Upload>),
        patience: Duration,
    ) -> Result<Streamed, CallError> {
        let (request, upload) = request;
        let until = self.now().after(patience);
        let limits = WaitLimits { until, wait_until: until, hold: Duration::MAX };
        let streamed = async {
            let client = self.egress(tenant).await?.client;
            let connection = connection.as_ref();
            let job = self.job(tenant, integration, connection, &request, client, limits).await?;
            self.open_stream(job, &request, upload).await
        };
        streamed.await.map_err(|failure: Failure| failure.0)
    }

    /// The same for a function: an answer that is not 2xx is an error with its body, as it is of `proxy.request`.
    ///
    /// # Errors
    /// As the function shall see it.
    pub async fn proxy_stream_call(
        &self,
        lease: &Lease,
        request: Value,
        upload: Option<Upload>,
    ) -> Result<Streamed, CallError> {
        let streamed = async {
            let request: ProxyRequest = serde_json::from_value(request)
                .map_err(|error| Failure::new("call_invalid", error.to_string()))?;
            let (integration, connection, client, limits) = self.of_lease(lease, &request).await?;
            let (tenant, connection) = (&lease.function.tenant, connection.as_ref());
            let job = self.job(tenant, &integration, connection, &request, client, limits).await?;
            let streamed = self.open_stream(job, &request, upload).await?;
            if streamed.status.is_success() {
                return Ok(streamed);
            }
            Err(refused(streamed, &request).await)
        };
        streamed.await.map_err(|failure: Failure| failure.0)
    }

    async fn open_stream(
        &self,
        mut job: Job,
        request: &ProxyRequest,
        upload: Option<Upload>,
    ) -> Result<Streamed, Failure> {
        job.outgoing.streams();
        job.upload = upload;
        let ended = self.carry_out::<Body>(job, request).await?;
        let response = ended.result.map_err(|error| no_response(&error))?;
        let (head, body) = response.into_parts();
        let secrets = ended.attach.secrets();
        let headers = redacted_headers(&head.headers, &secrets);
        let (pieces, taken) = mpsc::channel(PIECES_MAX);
        tokio::spawn(pump(pieces_of(body), Scrubber::new(secrets), pieces));
        let (status, retry_after) = (head.status, ended.wait);
        Ok(Streamed { status, headers, retry_after, body: taken })
    }
}

impl Streamed {
    /// The head as functions get it.
    #[must_use]
    pub fn head(&self) -> Value {
        let text = self.status.canonical_reason().unwrap_or("");
        let headers = headers(&self.headers, &[]);
        json!({"status": self.status.as_u16(), "statusText": text, "headers": headers})
    }
}

/// The error that an answer is which is not 2xx, with as much of its body as an error has.
async fn refused(mut streamed: Streamed, request: &ProxyRequest) -> Failure {
    let mut said = BytesMut::new();
    while let Some(Ok(piece)) = streamed.body.recv().await {
        let room = ERROR_BYTES_MAX - said.len();
        said.extend_from_slice(&piece[..piece.len().min(room)]);
        if said.len() >= ERROR_BYTES_MAX {
            break;
        }
    }
    let mut response = Response::new(said.freeze());
    *response.status_mut() = streamed.status;
    *response.headers_mut() = streamed.headers;
    match of(Ok(response), request, &[], streamed.retry_after) {
        Err(failure) => failure,
        Ok(_) => Failure::new("upstream_error", "the API did not do it"),
    }
}

fn pieces_of(body: Body) -> BoxStream<'static, Result<Bytes, SendError>> {
    stream::unfold(body, |mut body| async { Some((body.piece().await?, body)) }).boxed()
}

/// Hands pieces over until the body ends, breaks off, or nobody takes them any more.
async fn pump(
    mut body: BoxStream<'static, Result<Bytes, SendError>>,
    mut scrubber: Scrubber,
    pieces: mpsc::Sender<Result<Bytes, StreamError>>,
) {
    loop {
        let piece = tokio::select! {
            piece = body.next() => piece,
            () = pieces.closed() => return,
        };
        let (piece, last) = match piece {
            Some(Ok(piece)) => (Ok(scrubber.feed(&piece)), false),
            Some(Err(error)) => (Err(error.into()), true),
            None => (Ok(scrubber.finish()), true),
        };
        let is_empty = matches!(&piece, Ok(piece) if piece.is_empty());
        if !is_empty && pieces.send_timeout(piece, IDLE_MAX).await.is_err() {
            tracing::debug!("a streamed answer was not taken");
            drop(body);
            // Who comes back for the rest must not take what came for the whole. Where nobody does, nobody misses it.
            drop(pieces.send(Err(StreamError::NotTaken)).await);
            return;
        }
        if last {
            return;
        }
    }
}

fn redacted_headers(headers: &HeaderMap, secrets: &[String]) -> HeaderMap {
    let clean = |value: &HeaderValue| {
        let text = String::from_utf8_lossy(value.as_bytes());
        let found = secrets.iter().any(|secret| text.contains(secret.as_str()));
        // What was taken out leaves text that a header can have.
        if found {
            HeaderValue::try_from(redacted_text(&text, secrets)).ok()
        } else {
            Some(value.clone())
        }
    };
    let kept = headers.iter().filter_map(|(name, value)| Some((name.clone(), clean(value)?)));
    let mut shown = HeaderMap::new();
    for (name, value) in kept {
        shown.append(name, value);
    }
    shown
}

/// Takes secrets out of a body that comes in pieces. What could be the beginning of one waits for the next piece.
struct Scrubber {
    secrets: Vec<Vec<u8>>,
    longest: usize,
    kept: BytesMut,
}

impl Scrubber {
    fn new(secrets: Vec<String>) -> Self {
        let secrets: Vec<_> = secrets.into_iter().map(String::into_bytes).collect();
        let longest = secrets.iter().map(Vec::len).max().unwrap_or(0);
        Self { secrets, longest, kept: BytesMut::new() }
    }

    fn feed(&mut self, piece: &Bytes) -> Bytes {
        if self.secrets.is_empty() {
            return piece.clone();
        }
        self.kept.extend_from_slice(piece);
        let safe = self.kept.len().saturating_sub(self.longest - 1);
        self.pass(safe)
    }

    fn finish(&mut self) -> Bytes {
        self.pass(self.kept.len())
    }

    /// Lets through what begins before `safe`: a secret that begins there is there as a whole.
    fn pass(&mut self, safe: usize) -> Bytes {
        let mut clean = BytesMut::with_capacity(safe);
        let mut at = 0;
        while at < safe {
            let rest = &self.kept[at..];
            let found = self.secrets.iter().filter_map(|secret| {
                memchr::memmem::find(rest, secret).map(|from| (from, secret.len()))
            });
            // The first, and of those that begin together the longest.
            match found.min_by_key(|(from, length)| (*from, usize::MAX - length)) {
                Some((from, length)) if at + from < safe => {
                    clean.extend_from_slice(&rest[..from]);
                    clean.extend_from_slice(REDACTED.as_bytes());
                    at += from + length;
                }
                _ => {
                    clean.extend_from_slice(&rest[..safe - at]);
                    at = safe;
                }
            }
        }
        drop(self.kept.split_to(at));
        clean.freeze()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed step is the test's failure")]
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_body_that_is_not_taken_in_time_ends_broken_off_and_lets_the_api_go() {
        let (api, came) = mpsc::channel(8);
        for piece in ["one", "two", "three"] {
            api.send(Ok(Bytes::from(piece))).await.unwrap();
        }
        let body = stream::unfold(came, |mut came| async { Some((came.recv().await?, came)) });
        let (pieces, mut taken) = mpsc::channel(PIECES_MAX);
        tokio::spawn(pump(body.boxed(), Scrubber::new(Vec::new()), pieces));
        // Time goes on when nothing else can: this is how long nobody takes the first piece.
        api.closed().await;
        assert_eq!(taken.recv().await.unwrap().unwrap(), "one");
        let end = taken.recv().await.expect("an end that is told from a whole body's");
        assert!(matches!(end, Err(StreamError::NotTaken)), "{end:?}");
        assert!(taken.recv().await.is_none());
    }

    fn scrubbed(text: &str, secrets: &[&str], piece: usize) -> String {
        let mut scrubber = Scrubber::new(secrets.iter().map(|&secret| secret.to_owned()).collect());
        let mut clean = Vec::new();
        for piece in text.as_bytes().chunks(piece) {
            clean.extend_from_slice(&scrubber.feed(&Bytes::copy_from_slice(piece)));
        }
        clean.extend_from_slice(&scrubber.finish());
        String::from_utf8_lossy(&clean).into_owned()
    }

    #[test]
    fn secrets_are_found_wherever_pieces_end() {
        let text = "a token-1 b token-12 token-1token-1 c token-";
        let secrets = ["token-1", "token-12"];
        let expected = "a [redacted] b [redacted] [redacted][redacted] c token-";
        for piece in 1..=text.len() {
            assert_eq!(scrubbed(text, &secrets, piece), expected, "pieces of {piece}");
        }
        assert_eq!(scrubbed(text, &[], 3), text);
    }
}

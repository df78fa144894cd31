//! Requests to external APIs whose bodies pass piece by piece (`docs/protocol.md`, "Streams"). The sandbox asks for each
//! piece of an answer, and is answered for each piece of a request when that was taken: it sets the pace of the one, the
//! API that of the other, and little of either is here at any moment. What is still open ends with the attempt.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bulkhead_egress::{Upload, UploadError};
use bulkhead_protocol::CallError;
use bulkhead_types::Lease;
use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::{self, BoxStream};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use crate::source::{Host, Streamed};

/// Streams of one attempt at the same time.
const STREAMS_MAX: usize = 8;

/// Bytes that one reply carries at most. As text in JSON it is still small enough for V8's young generation, which is
/// emptied at once; a mebibyte goes to the old one, and piles up to a sandbox's limit.
const PIECE_BYTES: usize = 64 << 10;

/// Calls that are answered here.
pub(super) const PREFIX: &str = "stream.";

/// The streams of one attempt. Dropping this breaks them all off.
pub(super) struct Streams {
    host: Arc<dyn Host>,
    lease: Arc<Lease>,
    open: Mutex<Open>,
}

#[derive(Default)]
struct Open {
    last: u64,
    streams: HashMap<u64, Arc<One>>,
}

/// One stream: what goes up, and what comes down.
struct One {
    /// `None` is the body's end: a function that is gone has not ended it.
    up: tokio::sync::Mutex<Option<mpsc::Sender<Option<Bytes>>>>,
    down: tokio::sync::Mutex<Down>,
    /// A call that waits holds the stream: this ends it.
    closed: watch::Sender<bool>,
}

impl One {
    /// What `work` leads to, unless the stream is closed meanwhile.
    async fn unless_closed(&self, work: impl Future<Output = Answer>) -> Answer {
        tokio::select! {
            answer = work => answer,
            () = self.until_closed() => Err(failure("call_invalid", "the stream was closed")),
        }
    }

    async fn until_closed(&self) {
        // The sender is here: it can't be gone.
        drop(self.closed.subscribe().wait_for(|closed| *closed).await);
    }
}

enum Down {
    /// The request is on its way.
    Asking(JoinSet<Result<Streamed, CallError>>),
    /// Its answer comes.
    Coming(Coming),
}

/// Pieces of an answer, as they came, and what is left of the one that is being handed over.
struct Coming {
    body: BoxStream<'static, Result<Bytes, String>>,
    rest: Bytes,
}

impl Coming {
    const fn new(body: BoxStream<'static, Result<Bytes, String>>) -> Self {
        Self { body, rest: Bytes::new() }
    }

    /// The next bytes, at most [`PIECE_BYTES`] of them; `None` at the end.
    async fn next(&mut self) -> Option<Result<Bytes, String>> {
        while self.rest.is_empty() {
            match self.body.next().await? {
                Ok(piece) => self.rest = piece,
                Err(why) => return Some(Err(why)),
            }
        }
        Some(Ok(self.rest.split_to(self.rest.len().min(PIECE_BYTES))))
    }
}

#[derive(Deserialize)]
struct Begin {
    request: Value,
    /// Whether the request's body comes by `stream.write`.
    #[serde(default)]
    upload: bool,
    /// How long it is in all, where that is known.
    #[serde(default)]
    length: Option<u64>,
}

#[derive(Deserialize)]
struct Piece {
    stream: u64,
    base64: String,
}

#[derive(Deserialize)]
struct Which {
    stream: u64,
}

type Answer = Result<Value, CallError>;

fn failure(code: &str, message: impl Into<String>) -> CallError {
    CallError { code: code.to_owned(), message: message.into(), payload: None }
}

fn read<T: DeserializeOwned>(params: Value) -> Result<T, CallError> {
    serde_json::from_value(params).map_err(|error| failure("call_invalid", error.to_string()))
}

impl Streams {
    pub(super) fn new(host: Arc<dyn Host>, lease: Arc<Lease>) -> Self {
        Self { host, lease, open: Mutex::default() }
    }

    /// Answers one of a stream's calls.
    pub(super) async fn answer(&self, method: &str, params: Value) -> Answer {
        match method {
            "stream.open" => self.begin(read(params)?).await,
            "stream.write" => {
                let Piece { stream, base64 } = read(params)?;
                let one = self.one(stream)?;
                one.unless_closed(write(&one, base64)).await
            }
            "stream.answer" => {
                let Which { stream } = read(params)?;
                let one = self.one(stream)?;
                one.unless_closed(self.head(&one, stream)).await
            }
            "stream.read" => {
                let Which { stream } = read(params)?;
                let one = self.one(stream)?;
                one.unless_closed(self.read(&one, stream)).await
            }
            "stream.close" => {
                let which: Which = read(params)?;
                let closed = self.open().streams.remove(&which.stream);
                if let Some(one) = closed {
                    one.closed.send_replace(true);
                }
                Ok(json!({}))
            }
            _ => Err(failure("unknown_method", "streams know no such call")),
        }
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn one(&self, stream: u64) -> Result<Arc<One>, CallError> {
        let one = self.open().streams.get(&stream).cloned();
        one.ok_or_else(|| failure("call_invalid", "there is no such stream, or it has ended"))
    }

    fn keep(&self, up: Option<mpsc::Sender<Option<Bytes>>>, down: Down) -> Result<u64, CallError> {
        let mut open = self.open();
        if open.streams.len() >= STREAMS_MAX {
            let message =
                format!("an attempt may have {STREAMS_MAX} streams open at the same time");
            return Err(failure("too_many_streams", message));
        }
        open.last += 1;
        let (number, up, down) = (open.last, up.into(), down.into());
        let closed = watch::Sender::new(false);
        open.streams.insert(number, Arc::new(One { up, down, closed }));
        Ok(number)
    }

    async fn begin(&self, begin: Begin) -> Answer {
        if !begin.upload {
            let Streamed { head, body } =
                self.host.stream(&self.lease, begin.request, None).await?;
            let stream = self.keep(None, Down::Coming(Coming::new(body)))?;
            return Ok(json!({"stream": stream, "head": head}));
        }
        let (pieces, taken) = mpsc::channel(1);
        let upload = Upload::new(until_the_end(taken), begin.length);
        let (host, lease) = (Arc::clone(&self.host), Arc::clone(&self.lease));
        let mut asking = JoinSet::new();
        asking.spawn(async move { host.stream(&lease, begin.request, Some(upload)).await });
        let stream = self.keep(Some(pieces), Down::Asking(asking))?;
        Ok(json!({"stream": stream}))
    }

    /// Ends the request's body, and waits for the answer's head.
    async fn head(&self, one: &One, stream: u64) -> Answer {
        if let Some(up) = one.up.lock().await.take() {
            // Who does not take the end has answered already.
            drop(up.send(None).await);
        }
        let mut down = one.down.lock().await;
        let Down::Asking(asking) = &mut *down else {
            return Err(failure("call_invalid", "the stream's answer was taken"));
        };
        let answered = match asking.join_next().await {
            Some(Ok(answered)) => answered,
            // It panicked, or it is the second time that the answer is asked for.
            Some(Err(_)) | None => Err(failure("internal_error", "the request's task has ended")),
        };
        match answered {
            Ok(Streamed { head, body }) => {
                *down = Down::Coming(Coming::new(body));
                Ok(json!({"head": head}))
            }
            Err(error) => {
                self.open().streams.remove(&stream);
                Err(error)
            }
        }
    }

    /// The next bytes, or `end`.
    async fn read(&self, one: &One, stream: u64) -> Answer {
        let mut down = one.down.lock().await;
        let Down::Coming(coming) = &mut *down else {
            return Err(failure("call_invalid", "the stream's answer is still to come"));
        };
        let next = coming.next().await;
        if !matches!(next, Some(Ok(_))) {
            self.open().streams.remove(&stream);
        }
        match next {
            Some(Ok(bytes)) => Ok(json!({"base64": STANDARD.encode(bytes)})),
            Some(Err(why)) => Err(broken_off(why)),
            None => Ok(json!({"end": true})),
        }
    }
}

/// `taken` is false when the API has answered without waiting for the rest, or can't be reached any more: what it said
/// is told by `stream.answer`.
async fn write(one: &One, base64: String) -> Answer {
    let bytes = STANDARD.decode(base64).map_err(|_| failure("call_invalid", "base64 is none"))?;
    let up = one.up.lock().await;
    let up = up.as_ref().ok_or_else(|| failure("call_invalid", "the stream's body has ended"))?;
    Ok(json!({"taken": up.send(Some(bytes.into())).await.is_ok()}))
}

/// The pieces of a request's body, with an error where it breaks off.
fn until_the_end(
    taken: mpsc::Receiver<Option<Bytes>>,
) -> BoxStream<'static, Result<Bytes, UploadError>> {
    let pieces = stream::unfold(Some(taken), |taken| async move {
        let mut taken = taken?;
        match taken.recv().await {
            Some(Some(piece)) => Some((Ok(piece), Some(taken))),
            Some(None) => None,
            None => Some((Err("the function is gone".into()), None)),
        }
    });
    pieces.boxed()
}

fn broken_off(why: String) -> CallError {
    let payload = Some(json!({"cause": "ECONNRESET"}));
    CallError { code: "upstream_unreachable".to_owned(), message: why, payload }
}

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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed step is the test's failure")]
    use bulkhead_protocol::LogLine;
    use bulkhead_types::{Clock as _, ExecutionId, Fence, LeaseRef, SystemClock, TimelineEvent};

    use super::*;
    use crate::source::{Prepared, SourceError};

    /// Has one stream, which comes from an API that the test is.
    struct Opens(Mutex<Option<BoxStream<'static, Result<Bytes, String>>>>);

    #[async_trait::async_trait]
    impl Host for Opens {
        async fn prepare(&self, _: &Lease) -> Result<Prepared, CallError> {
            Err(failure("internal_error", "nothing runs here"))
        }

        async fn call(&self, _: &Lease, method: &str, _: Value) -> Answer {
            Err(failure("unknown_method", method))
        }

        async fn stream(
            &self,
            _: &Lease,
            _: Value,
            _: Option<Upload>,
        ) -> Result<Streamed, CallError> {
            Ok(Streamed { head: json!({}), body: self.0.lock().unwrap().take().unwrap() })
        }

        async fn log(&self, _: &Lease, _: Vec<LogLine>) -> Result<(), SourceError> {
            Ok(())
        }

        async fn event(&self, _: &Lease, _: TimelineEvent) -> Result<(), SourceError> {
            Ok(())
        }
    }

    fn lease() -> Lease {
        let now = SystemClock.now();
        let version = json!({"id": "v", "tenant": "acme", "bundle": "00",
            "spec": {"integration": "github", "kind": "action", "name": "f"}});
        let version: bulkhead_types::Version = serde_json::from_value(version).unwrap();
        Lease {
            lease: LeaseRef { execution: ExecutionId::parse("exe_1").unwrap(), fence: Fence(1) },
            attempt: 1,
            function: version.function(),
            version: version.id,
            connection: None,
            trigger: bulkhead_types::Trigger::Api,
            input: Value::Null,
            limits: bulkhead_types::Limits::default(),
            leased_at: now,
            expires_at: now,
        }
    }

    /// One stream that has begun, and the API that sends it.
    async fn begun() -> (Arc<Streams>, mpsc::Sender<Bytes>) {
        let (api, came) = mpsc::channel::<Bytes>(1);
        let body = stream::unfold(came, |mut came| async { Some((Ok(came.recv().await?), came)) });
        let host = Opens(Mutex::new(Some(body.boxed())));
        let streams = Arc::new(Streams::new(Arc::new(host), Arc::new(lease())));
        let opened = streams.answer("stream.open", json!({"request": {}})).await.unwrap();
        assert_eq!(opened, json!({"stream": 1, "head": {}}));
        (streams, api)
    }

    #[tokio::test(start_paused = true)]
    async fn a_piece_of_the_apis_comes_in_as_many_as_are_asked_for() {
        let (streams, api) = begun().await;
        api.send(vec![7; PIECE_BYTES + 1].into()).await.unwrap();
        drop(api);
        for expected in [Some(PIECE_BYTES), Some(1), None] {
            let answer = streams.answer("stream.read", json!({"stream": 1})).await.unwrap();
            let piece = answer["base64"].as_str().map(|text| STANDARD.decode(text).unwrap().len());
            assert_eq!(
                (piece, answer["end"].as_bool()),
                (expected, expected.is_none().then_some(true))
            );
        }
        let over = streams.answer("stream.read", json!({"stream": 1})).await.unwrap_err();
        assert_eq!(over.code, "call_invalid");
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_that_is_closed_lets_the_api_go_whoever_waits_for_it() {
        let (streams, api) = begun().await;
        let reads = Arc::clone(&streams);
        let reading =
            tokio::spawn(async move { reads.answer("stream.read", json!({"stream": 1})).await });
        // It waits by now: nothing has come, and nothing else is to be done.
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        streams.answer("stream.close", json!({"stream": 1})).await.unwrap();
        // Time is the tests' own: for ever takes no time here.
        let let_go = tokio::time::timeout(std::time::Duration::from_secs(3_600), api.closed());
        let_go.await.expect("the connection to the API is closed");
        assert_eq!(reading.await.unwrap().unwrap_err().code, "call_invalid");
    }

    #[tokio::test]
    async fn an_attempts_end_lets_the_api_go() {
        let (streams, api) = begun().await;
        drop(streams);
        assert!(api.is_closed());
    }
}

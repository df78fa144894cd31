//! Sends requests and reads answers.

use std::time::Duration;

use bulkhead_api::routes::route;
use bulkhead_api::{ErrorBody, headers};
use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use http::{HeaderMap, Uri};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, Limited, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client as Pool;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use serde::de::DeserializeOwned;

use crate::error::ClientError;
use crate::events::LogFollower;
use crate::request::Request;

/// The largest answer that is read, in bytes: an output at its highest ceiling, and room.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// Beyond the server's own deadline: the way there and back.
const DEADLINE_SLACK: Duration = Duration::from_secs(10);

/// Why a body that is sent piece by piece broke off.
pub type BodyError = Box<dyn std::error::Error + Send + Sync>;

type Sent = UnsyncBoxBody<Bytes, BodyError>;

fn whole(body: Bytes) -> Sent {
    Full::new(body).map_err(|never| match never {}).boxed_unsync()
}

/// Talks to one server with one key. Cheap to clone; clones share connections.
#[derive(Clone)]
pub struct Client {
    pool: Pool<HttpsConnector<HttpConnector>, Sent>,
    server: String,
    key: Option<String>,
}

/// An answer that was a success.
#[derive(Debug, Clone)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
}

impl Answer {
    /// The body as JSON.
    ///
    /// # Errors
    /// When it is not `T`.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, ClientError> {
        serde_json::from_slice(&self.body)
            .map_err(|error| ClientError::Strange { status: self.status, why: error.to_string() })
    }

    /// A header as text.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

impl Client {
    /// A client of the server at `server`, such as `http://127.0.0.1:8686`.
    ///
    /// # Errors
    /// When that is no URL.
    pub fn new(server: &str, key: Option<&str>) -> Result<Self, ClientError> {
        let server = server.trim_end_matches('/').to_owned();
        match server.parse::<Uri>() {
            Ok(uri) if uri.scheme().is_some() && uri.host().is_some() => {}
            _ => return Err(ClientError::Url(server)),
        }
        let mut connector = HttpConnector::new();
        connector.enforce_http(false);
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(DEADLINE_SLACK));
        let provider = rustls::crypto::ring::default_provider();
        let builder = hyper_rustls::HttpsConnectorBuilder::new();
        // The machine's roots: a company's server often has a certificate of the company's own.
        let tls = builder
            .with_provider_and_native_roots(provider)
            .map_err(|error| ClientError::Tls(error.to_string()))?;
        let connector = tls.https_or_http().enable_http1().wrap_connector(connector);
        let pool =
            Pool::builder(TokioExecutor::new()).pool_timer(TokioTimer::new()).build(connector);
        Ok(Self { pool, server, key: key.map(str::to_owned) })
    }

    /// The same server with another key.
    #[must_use]
    pub fn with_key(&self, key: &str) -> Self {
        Self { key: Some(key.to_owned()), ..self.clone() }
    }

    /// The server's URL.
    #[must_use]
    pub fn server(&self) -> &str {
        &self.server
    }

    /// Sends and reads the whole answer.
    ///
    /// # Errors
    /// When there is no answer in time, it is no success, or it is too large.
    pub async fn send(&self, request: Request) -> Result<Answer, ClientError> {
        let answer = self.exchange(request).await?;
        if (200..300).contains(&answer.status) { Ok(answer) } else { Err(failure(&answer)) }
    }

    /// Sends and reads the whole answer, whatever its status.
    ///
    /// # Errors
    /// When there is no answer in time, or it is too large.
    pub async fn exchange(&self, request: Request) -> Result<Answer, ClientError> {
        let deadline = route(request.op).deadline + DEADLINE_SLACK;
        let whole = async {
            let body = whole(request.body.clone());
            let response = self.begin(&request, body, "application/json").await?;
            let (head, body) = response.into_parts();
            let status = head.status.as_u16();
            let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await;
            let body =
                body.map_err(|error| ClientError::Strange { status, why: error.to_string() })?;
            Ok(Answer { status, headers: head.headers, body: body.to_bytes() })
        };
        match tokio::time::timeout(deadline, whole).await {
            Ok(answer) => answer,
            Err(_) => {
                let server = self.server.clone();
                Err(ClientError::TimedOut { server, seconds: deadline.as_secs() })
            }
        }
    }

    /// Sends and reads the answer as JSON.
    ///
    /// # Errors
    /// As [`Self::send`], and when the answer is not `T`.
    pub async fn call<T: DeserializeOwned>(&self, request: Request) -> Result<T, ClientError> {
        self.send(request).await?.json()
    }

    /// Follows an execution's log live, beginning after the line `after`.
    ///
    /// # Errors
    /// When the server says no or can't be reached.
    pub async fn follow_logs(
        &self,
        execution: &str,
        after: Option<i64>,
    ) -> Result<LogFollower, ClientError> {
        let request = Request::new(bulkhead_api::Op::ExecutionLogs, &[execution])
            .query_maybe("after", after.map(|after| after.to_string()).as_deref());
        let response = self.begin(&request, whole(Bytes::new()), "text/event-stream").await?;
        let (head, body) = response.into_parts();
        if head.status.is_success() {
            return Ok(LogFollower::new(body));
        }
        Err(refused(head, body).await)
    }

    /// Sends a body piece by piece, and gives the answer's likewise, within the route's deadline until its head is there.
    ///
    /// # Errors
    /// When there is no answer in time, or it is no success.
    pub async fn pass(
        &self,
        request: Request,
        body: BoxStream<'static, Result<Bytes, BodyError>>,
    ) -> Result<Pieces, ClientError> {
        let deadline = route(request.op).deadline + DEADLINE_SLACK;
        let body = StreamBody::new(body.map(|piece| piece.map(Frame::data))).boxed_unsync();
        let begun = self.begin(&request, body, "application/octet-stream");
        let response = tokio::time::timeout(deadline, begun).await.map_err(|_| {
            ClientError::TimedOut { server: self.server.clone(), seconds: deadline.as_secs() }
        })??;
        let (head, body) = response.into_parts();
        if head.status.is_success() {
            return Ok(Pieces(body));
        }
        Err(refused(head, body).await)
    }

    async fn begin(
        &self,
        request: &Request,
        body: Sent,
        accept: &str,
    ) -> Result<http::Response<Incoming>, ClientError> {
        let url = format!("{}{}{}", self.server, request.path, request.query);
        let mut builder = http::Request::builder()
            .method(request.method.clone())
            .uri(url)
            .header(http::header::ACCEPT, accept)
            .header(http::header::USER_AGENT, concat!("bulkhead/", env!("CARGO_PKG_VERSION")));
        if request.json {
            builder = builder.header(http::header::CONTENT_TYPE, "application/json");
        }
        if let Some(key) = &self.key {
            builder = builder.header(http::header::AUTHORIZATION, format!("Bearer {key}"));
        }
        for (name, value) in &request.headers {
            builder = builder.header(name.as_ref(), value);
        }
        let built = builder.body(body).map_err(|error| {
            ClientError::Url(format!("{}{} ({error})", self.server, request.path))
        })?;
        self.pool.request(built).await.map_err(|error| ClientError::Unreachable {
            server: self.server.clone(),
            why: chain(&error),
            sent: !error.is_connect(),
        })
    }
}

/// An answer's body, as it comes.
#[derive(Debug)]
pub struct Pieces(Incoming);

impl Pieces {
    /// The next bytes; `None` at the end.
    ///
    /// # Errors
    /// When the body breaks off.
    pub async fn next(&mut self) -> Option<Result<Bytes, ClientError>> {
        loop {
            let frame = match self.0.frame().await? {
                Ok(frame) => frame,
                Err(error) => {
                    return Some(Err(ClientError::Strange { status: 200, why: chain(&error) }));
                }
            };
            if let Ok(data) = frame.into_data() {
                return Some(Ok(data));
            }
        }
    }
}

async fn refused(head: http::response::Parts, body: Incoming) -> ClientError {
    let status = head.status.as_u16();
    match Limited::new(body, ANSWER_BYTES_MAX).collect().await {
        Ok(body) => failure(&Answer { status, headers: head.headers, body: body.to_bytes() }),
        Err(error) => ClientError::Strange { status, why: error.to_string() },
    }
}

fn failure(answer: &Answer) -> ClientError {
    let status = answer.status;
    match serde_json::from_slice::<ErrorBody>(&answer.body) {
        Ok(body) => ClientError::Api {
            status,
            detail: Box::new(body.error),
            execution_id: answer.header(headers::EXECUTION_ID).map(str::to_owned),
        },
        Err(_) => {
            let text = String::from_utf8_lossy(&answer.body);
            let why = format!(
                "no error of the one shape, but {:?}",
                text.chars().take(200).collect::<String>()
            );
            ClientError::Strange { status, why }
        }
    }
}

/// An error with its causes, once.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
}

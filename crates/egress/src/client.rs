//! The platform's own HTTP requests on a tenant's behalf: dialled through the gateway, bounded in time and size,
//! decoded. Redirects are the caller's business, since each hop has to be decided anew.

use std::error::Error;
use std::io::Read;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Request, Response, header};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::time::{Instant, timeout_at};

use crate::body::{Body, BodyLimits, RequestBody, Upload, whole};
use crate::connector::{ConnectRefused, HttpsGatewayConnector, https_connector};
use crate::gateway::Gateway;
use crate::policy::Policy;

/// Connections kept open to one host, waiting for the next request.
const IDLE_PER_HOST: usize = 8;

/// How long they are kept.
const IDLE_MAX: Duration = Duration::from_secs(30);

/// An HTTP client under one policy. Cheap to clone.
#[derive(Clone)]
pub struct HttpClient {
    client: Client<HttpsGatewayConnector, RequestBody>,
}

/// Why there is no response.
#[derive(Debug, Clone, thiserror::Error)]
pub enum SendError {
    /// The policy denies the target.
    #[error("{message}")]
    Denied {
        /// By which rule.
        rule: String,
        /// For the author.
        message: String,
    },
    /// The API could not be reached, or broke off. `cause` is an errno name, such as `ECONNRESET`.
    #[error("{message}")]
    Unreachable {
        /// An errno name.
        cause: &'static str,
        /// For the author.
        message: String,
    },
    /// The response is longer than allowed, decoded or not.
    #[error("the response is longer than {0} bytes")]
    TooLarge(usize),
    /// The response's encoding is broken.
    #[error("the response's {0} encoding is broken")]
    Encoding(&'static str),
}

impl HttpClient {
    /// A client that dials under `policy`, with a pool of its own: connections made under one policy serve no
    /// other.
    #[must_use]
    pub fn new(gateway: Gateway, policy: Arc<Policy>) -> Self {
        Self::over(https_connector(gateway, policy))
    }

    fn over(connector: HttpsGatewayConnector) -> Self {
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_MAX)
            .pool_max_idle_per_host(IDLE_PER_HOST)
            .build(connector);
        Self { client }
    }

    /// Sends a request and reads the whole response, decoded, by `deadline`. No redirect is followed.
    ///
    /// # Errors
    /// When the target is denied or unreachable, or the response is larger than `bytes_max`.
    pub async fn send(
        &self,
        request: Request<Bytes>,
        deadline: Instant,
        bytes_max: usize,
    ) -> Result<Response<Bytes>, SendError> {
        let (mut head, body) = self.head(request.map(whole), deadline).await?.into_parts();
        let reading = collect(body, bytes_max);
        let raw = timeout_at(deadline, reading).await.map_err(|_| timed_out())??;
        let body = decode(&mut head.headers, raw, bytes_max)?;
        Ok(Response::from_parts(head, body))
    }

    /// Sends a request, and has the response's head by `deadline`; its body comes piece by piece, under limits of its
    /// own. An `upload` goes instead of the request's body. No redirect is followed.
    ///
    /// # Errors
    /// When the target is denied or unreachable, or the response is encoded in a way that can't be undone as it comes.
    pub async fn open(
        &self,
        request: Request<Bytes>,
        upload: Option<Upload>,
        deadline: Instant,
        limits: BodyLimits,
    ) -> Result<Response<Body>, SendError> {
        let request = request.map(|body| upload.map_or_else(|| whole(body), Upload::into_body));
        let (mut head, body) = self.head(request, deadline).await?.into_parts();
        let body = Body::new(body, &mut head.headers, limits)?;
        Ok(Response::from_parts(head, body))
    }

    async fn head(
        &self,
        request: Request<RequestBody>,
        deadline: Instant,
    ) -> Result<Response<Incoming>, SendError> {
        let sending = self.client.request(request);
        let response = timeout_at(deadline, sending).await.map_err(|_| timed_out())?;
        response.map_err(|error| unreachable(&error))
    }
}

fn timed_out() -> SendError {
    SendError::Unreachable {
        cause: "ETIMEDOUT",
        message: "the API did not answer in time".to_owned(),
    }
}

async fn collect(mut body: Incoming, bytes_max: usize) -> Result<Bytes, SendError> {
    let mut whole = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| unreachable(&error))?;
        let Ok(data) = frame.into_data() else { continue };
        if whole.len() + data.len() > bytes_max {
            return Err(SendError::TooLarge(bytes_max));
        }
        whole.extend_from_slice(&data);
    }
    Ok(whole.freeze())
}

/// Undoes `Content-Encoding`, never to more than `bytes_max`: a small bomb must not become a large body.
fn decode(headers: &mut HeaderMap, raw: Bytes, bytes_max: usize) -> Result<Bytes, SendError> {
    let encoding = headers.get(header::CONTENT_ENCODING).and_then(|value| value.to_str().ok());
    let encoding = encoding.map(str::trim).unwrap_or_default().to_ascii_lowercase();
    if raw.is_empty() {
        return Ok(raw);
    }
    let decoded = match encoding.as_str() {
        "gzip" | "x-gzip" => {
            read_all(flate2::read::MultiGzDecoder::new(&raw[..]), bytes_max, "gzip")?
        }
        "deflate" => read_all(flate2::read::ZlibDecoder::new(&raw[..]), bytes_max, "deflate")?,
        "br" => read_all(brotli::Decompressor::new(&raw[..], 16 * 1024), bytes_max, "br")?,
        _ => return Ok(raw),
    };
    headers.remove(header::CONTENT_ENCODING);
    headers.remove(header::CONTENT_LENGTH);
    Ok(decoded)
}

fn read_all(
    reader: impl Read,
    bytes_max: usize,
    encoding: &'static str,
) -> Result<Bytes, SendError> {
    let mut decoded = Vec::new();
    let limit = u64::try_from(bytes_max).unwrap_or(u64::MAX).saturating_add(1);
    reader.take(limit).read_to_end(&mut decoded).map_err(|_| SendError::Encoding(encoding))?;
    if decoded.len() > bytes_max {
        return Err(SendError::TooLarge(bytes_max));
    }
    Ok(decoded.into())
}

/// Finds, among what an error was caused by, what the gateway or the kernel said.
pub(crate) fn unreachable(error: &(dyn Error + 'static)) -> SendError {
    let found = causes(error).find_map(|cause| {
        if let Some(ConnectRefused(refused)) = cause.downcast_ref() {
            let message = refused.message.clone();
            return Some(match &refused.rule {
                Some(rule) => SendError::Denied { rule: rule.clone(), message },
                None => SendError::Unreachable { cause: errno(&refused.code), message },
            });
        }
        let error = cause.downcast_ref::<std::io::Error>()?;
        let cause = errno_of(error)?;
        Some(SendError::Unreachable { cause, message: format!("the connection failed: {error}") })
    });
    let message = || causes(error).last().map(ToString::to_string);
    found.unwrap_or_else(|| SendError::Unreachable {
        cause: "ECONNRESET",
        message: message().unwrap_or_else(|| "the connection broke off".to_owned()),
    })
}

fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |error| (*error).source())
}

fn errno_of(error: &std::io::Error) -> Option<&'static str> {
    use std::io::ErrorKind;
    // An I/O error hides what it wraps from `source()`, and TLS wraps twice.
    if let Some(inner) = error.get_ref() {
        if inner.is::<rustls::Error>() {
            return Some("EPROTO");
        }
        if let Some(inner) = inner.downcast_ref() {
            return errno_of(inner);
        }
    }
    match error.kind() {
        ErrorKind::ConnectionRefused => Some("ECONNREFUSED"),
        ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted | ErrorKind::UnexpectedEof => {
            Some("ECONNRESET")
        }
        ErrorKind::BrokenPipe => Some("EPIPE"),
        ErrorKind::TimedOut => Some("ETIMEDOUT"),
        ErrorKind::InvalidData => Some("EPROTO"),
        _ => None,
    }
}

fn errno(code: &str) -> &'static str {
    const KNOWN: [&str; 8] = [
        "ENOTFOUND",
        "EAI_AGAIN",
        "ECONNREFUSED",
        "ECONNRESET",
        "ETIMEDOUT",
        "EHOSTUNREACH",
        "ENETUNREACH",
        "EINVAL",
    ];
    KNOWN.into_iter().find(|known| *known == code).unwrap_or("EIO")
}

#[cfg(test)]
#[path = "client_tests.rs"]
mod tests;

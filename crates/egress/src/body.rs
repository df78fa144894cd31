//! Bodies that are too long to be held: of requests, as somebody else sends them, and of responses, as they come.
//! Whoever reads sets the pace; at no moment is more here than a piece.

use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use flate2::write::{MultiGzDecoder, ZlibDecoder};
use futures_util::stream::BoxStream;
use http::{HeaderMap, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::{Frame, Incoming, SizeHint};
use tokio::time::{Instant, timeout_at};

use crate::client::{SendError, unreachable};

/// Why a request's body broke off.
pub type UploadError = Box<dyn std::error::Error + Send + Sync>;

/// What the client sends.
pub(crate) type RequestBody = UnsyncBoxBody<Bytes, UploadError>;

/// Bytes that are decoded in one go: deflate makes at most 1,032 times as many of them.
const SLICE_BYTES: usize = 4 << 10;

/// A request's body that is sent while it comes.
pub struct Upload {
    /// Only ever used by who has all of it: the lock makes it one that can be looked at from elsewhere meanwhile.
    pieces: Mutex<BoxStream<'static, Result<Bytes, UploadError>>>,
    left: Option<u64>,
}

impl Upload {
    /// `length` is how long it is in all, where that is known.
    #[must_use]
    pub const fn new(
        pieces: BoxStream<'static, Result<Bytes, UploadError>>,
        length: Option<u64>,
    ) -> Self {
        Self { pieces: Mutex::new(pieces), left: length }
    }

    /// The pieces, for who does not send them over HTTP.
    #[must_use]
    pub fn into_pieces(self) -> BoxStream<'static, Result<Bytes, UploadError>> {
        self.pieces.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    /// How long it is in all, where that is known.
    #[must_use]
    pub const fn length(&self) -> Option<u64> {
        self.left
    }

    pub(crate) fn into_body(self) -> RequestBody {
        self.boxed_unsync()
    }
}

impl std::fmt::Debug for Upload {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Upload").field("left", &self.left).finish_non_exhaustive()
    }
}

impl hyper::body::Body for Upload {
    type Data = Bytes;
    type Error = UploadError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, UploadError>>> {
        let pieces = self.pieces.get_mut().unwrap_or_else(PoisonError::into_inner);
        let polled = pieces.as_mut().poll_next(context);
        if let Poll::Ready(Some(Ok(piece))) = &polled {
            let bytes = u64::try_from(piece.len()).unwrap_or(u64::MAX);
            self.left = self.left.map(|left| left.saturating_sub(bytes));
        }
        polled.map(|piece| piece.map(|piece| piece.map(Frame::data)))
    }

    fn size_hint(&self) -> SizeHint {
        self.left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

/// A body that is there as a whole.
pub(crate) fn whole(bytes: Bytes) -> RequestBody {
    Full::new(bytes).map_err(|never| match never {}).boxed_unsync()
}

/// How long a streamed response may be, and may take.
#[derive(Debug, Clone, Copy)]
pub struct BodyLimits {
    /// Bytes, decoded.
    pub bytes: u64,
    /// From one piece to the next.
    pub idle: Duration,
    /// In all.
    pub until: Instant,
}

/// A response's body as it comes, decoded.
pub struct Body {
    incoming: Incoming,
    limits: BodyLimits,
    decoder: Decoder,
    raw: Bytes,
    bytes: u64,
    ended: bool,
}

enum Decoder {
    Plain,
    Gzip(Box<MultiGzDecoder<Vec<u8>>>),
    Deflate(Box<ZlibDecoder<Vec<u8>>>),
}

impl Body {
    /// Takes what says how it was encoded, and how long it was then, out of `headers`.
    pub(crate) fn new(
        incoming: Incoming,
        headers: &mut HeaderMap,
        limits: BodyLimits,
    ) -> Result<Self, SendError> {
        let encoding = headers.get(header::CONTENT_ENCODING).and_then(|value| value.to_str().ok());
        let decoder = match encoding.map(|text| text.trim().to_ascii_lowercase()).as_deref() {
            Some("gzip" | "x-gzip") => Decoder::Gzip(Box::new(MultiGzDecoder::new(Vec::new()))),
            Some("deflate") => Decoder::Deflate(Box::new(ZlibDecoder::new(Vec::new()))),
            // Not asked for: a few bytes of it can be any number of bytes.
            Some("br") => return Err(SendError::Encoding("br")),
            _ => Decoder::Plain,
        };
        if !matches!(decoder, Decoder::Plain) {
            headers.remove(header::CONTENT_ENCODING);
            headers.remove(header::CONTENT_LENGTH);
        }
        Ok(Self { incoming, limits, decoder, raw: Bytes::new(), bytes: 0, ended: false })
    }

    /// The next piece; `None` at the end.
    ///
    /// # Errors
    /// When the API breaks off, is too slow, or sends more than is allowed. There is nothing more then.
    pub async fn piece(&mut self) -> Option<Result<Bytes, SendError>> {
        let piece = self.next().await.transpose()?;
        let piece = piece.and_then(|piece| {
            self.bytes = self.bytes.saturating_add(u64::try_from(piece.len()).unwrap_or(u64::MAX));
            let max = self.limits.bytes;
            let too_large = || SendError::TooLarge(usize::try_from(max).unwrap_or(usize::MAX));
            if self.bytes <= max { Ok(piece) } else { Err(too_large()) }
        });
        if piece.is_err() {
            (self.ended, self.raw) = (true, Bytes::new());
        }
        Some(piece)
    }

    async fn next(&mut self) -> Result<Option<Bytes>, SendError> {
        loop {
            if !self.raw.is_empty() {
                let slice = self.raw.split_to(self.raw.len().min(SLICE_BYTES));
                match self.decoder.feed(&slice)? {
                    decoded if decoded.is_empty() => continue,
                    decoded => return Ok(Some(decoded)),
                }
            }
            if self.ended {
                return Ok(None);
            }
            let Some(data) = self.read().await? else {
                self.ended = true;
                let rest = self.decoder.finish()?;
                return Ok((!rest.is_empty()).then_some(rest));
            };
            match self.decoder {
                Decoder::Plain if data.is_empty() => {}
                Decoder::Plain => return Ok(Some(data)),
                _ => self.raw = data,
            }
        }
    }

    async fn read(&mut self) -> Result<Option<Bytes>, SendError> {
        let too_slow = |_| SendError::Unreachable {
            cause: "ETIMEDOUT",
            message: "the API's answer did not go on in time".to_owned(),
        };
        #[allow(
            clippy::disallowed_methods,
            reason = "tokio's clock: what its time-outs are measured by"
        )]
        let until = (Instant::now() + self.limits.idle).min(self.limits.until);
        let frame = timeout_at(until, self.incoming.frame()).await.map_err(too_slow)?;
        let Some(frame) = frame.transpose().map_err(|error| unreachable(&error))? else {
            return Ok(None);
        };
        // Trailers tell nobody anything here.
        Ok(Some(frame.into_data().unwrap_or_default()))
    }
}

impl std::fmt::Debug for Body {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Body").field("bytes", &self.bytes).finish_non_exhaustive()
    }
}

impl Decoder {
    fn feed(&mut self, raw: &[u8]) -> Result<Bytes, SendError> {
        use std::io::Write as _;
        match self {
            Self::Plain => Ok(Bytes::copy_from_slice(raw)),
            Self::Gzip(decoder) => {
                decoder.write_all(raw).map_err(|_| SendError::Encoding("gzip"))?;
                Ok(std::mem::take(decoder.get_mut()).into())
            }
            Self::Deflate(decoder) => {
                decoder.write_all(raw).map_err(|_| SendError::Encoding("deflate"))?;
                Ok(std::mem::take(decoder.get_mut()).into())
            }
        }
    }

    /// What is left at the end.
    fn finish(&mut self) -> Result<Bytes, SendError> {
        match self {
            Self::Plain => Ok(Bytes::new()),
            Self::Gzip(decoder) => {
                decoder.try_finish().map_err(|_| SendError::Encoding("gzip"))?;
                Ok(std::mem::take(decoder.get_mut()).into())
            }
            Self::Deflate(decoder) => {
                decoder.try_finish().map_err(|_| SendError::Encoding("deflate"))?;
                Ok(std::mem::take(decoder.get_mut()).into())
            }
        }
    }
}

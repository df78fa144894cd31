//! A request's body, for whoever passes it on: whole when it is short, else piece by piece as it comes.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::{Body, BodyDataStream};
use bulkhead_api::Op;
use bulkhead_api::routes::route;
use bulkhead_platform::{Upload, UploadError};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;
use futures_util::stream::{self, BoxStream};
use http::HeaderMap;
use http::header::CONTENT_LENGTH;

use crate::error::ApiError;

/// A body that is held, so that it can be sent again.
const HELD_BYTES_MAX: usize = 1 << 20;

/// From one piece to the next: a slow sender holds a place, and a connection to an API.
const IDLE_MAX: Duration = Duration::from_secs(30);

/// What was sent.
pub(crate) enum Sent {
    /// All of it.
    Whole(Bytes),
    /// The rest is still coming.
    Coming(Upload, Broken),
}

/// Why a body broke off, if it did.
#[derive(Clone, Default)]
pub(crate) struct Broken(Arc<Mutex<Option<(&'static str, &'static str)>>>);

impl Broken {
    pub(crate) fn why(&self) -> Option<ApiError> {
        let why = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        why.map(|(code, message)| ApiError::new(code, message))
    }

    fn note(&self, code: &'static str, message: &'static str) -> UploadError {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((code, message));
        message.into()
    }
}

/// Reads a body until it ends or is too long to be held.
pub(crate) async fn read(headers: &HeaderMap, body: Body) -> Result<Sent, ApiError> {
    let length = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    let broken = Broken::default();
    let mut coming = Coming { body: body.into_data_stream(), bytes: 0, broken: broken.clone() };
    let mut held = BytesMut::new();
    while held.len() <= HELD_BYTES_MAX {
        match coming.piece().await {
            None => return Ok(Sent::Whole(held.freeze())),
            Some(Ok(piece)) => held.extend_from_slice(&piece),
            Some(Err(error)) => {
                return Err(broken.why().unwrap_or_else(|| ApiError::internal(&error)));
            }
        }
    }
    let first = stream::once(async move { Ok(held.freeze()) });
    let rest =
        stream::unfold(coming, |mut coming| async move { Some((coming.piece().await?, coming)) });
    Ok(Sent::Coming(Upload::new(first.chain(rest).boxed(), length), broken))
}

/// A body that begins with its head's length, in four bytes, and its head; and what follows that.
pub(crate) async fn read_after_head(
    body: Body,
    head_bytes_max: usize,
) -> Result<(Bytes, BoxStream<'static, Result<Bytes, UploadError>>), ApiError> {
    let invalid = |message: &'static str| ApiError::new("invalid_body", message);
    let broken = Broken::default();
    let mut coming = Coming { body: body.into_data_stream(), bytes: 0, broken: broken.clone() };
    let mut held = BytesMut::new();
    loop {
        if let Some(length) = held.first_chunk().map(|bytes| u32::from_le_bytes(*bytes) as usize) {
            if length > head_bytes_max {
                return Err(invalid("the head is longer than it may be"));
            }
            if held.len() >= 4 + length {
                let rest = held.split_off(4 + length).freeze();
                let head = held.split_off(4).freeze();
                let rest = stream::once(async move { Ok(rest) });
                let after = stream::unfold(coming, |mut coming| async move {
                    Some((coming.piece().await?, coming))
                });
                return Ok((head, rest.chain(after).boxed()));
            }
        }
        match coming.piece().await {
            Some(Ok(piece)) => held.extend_from_slice(&piece),
            Some(Err(error)) => {
                return Err(broken.why().unwrap_or_else(|| ApiError::internal(&error)));
            }
            None => return Err(invalid("the body ends before its head does")),
        }
    }
}

struct Coming {
    body: BodyDataStream,
    bytes: usize,
    broken: Broken,
}

impl Coming {
    async fn piece(&mut self) -> Option<Result<Bytes, UploadError>> {
        let piece = match tokio::time::timeout(IDLE_MAX, self.body.next()).await {
            Err(_) => {
                let message = "the body did not go on in time";
                return Some(Err(self.broken.note("request_timeout", message)));
            }
            Ok(None) => return None,
            Ok(Some(Err(_))) => {
                return Some(Err(self.broken.note("invalid_body", "the body broke off")));
            }
            Ok(Some(Ok(piece))) => piece,
        };
        self.bytes = self.bytes.saturating_add(piece.len());
        if self.bytes > route(Op::Proxy).body_bytes_max {
            let message = "the body is larger than this route allows";
            return Some(Err(self.broken.note("body_too_large", message)));
        }
        Some(Ok(piece))
    }
}

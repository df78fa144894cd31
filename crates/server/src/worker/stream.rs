//! Requests of running functions to external APIs whose bodies pass piece by piece. The message has the request's head and
//! its body, the answer the answer's head and its body, both as `bulkhead_api::worker::StreamRequest` tells.

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use bulkhead_api::worker::{CallAnswer, CallFailure, STREAM_HEAD_BYTES_MAX, StreamRequest};
use bulkhead_platform::{CallError, Streamed, Upload};
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http::HeaderValue;
use http::header::CONTENT_TYPE;

use super::{Token, held};
use crate::app::App;
use crate::error::ApiError;
use crate::upload;

pub(crate) async fn open(
    State(app): State<App>,
    token: Token,
    request: Request,
) -> Result<Response, ApiError> {
    let place = app.inner.streams.clone().try_acquire_owned().map_err(|_| {
        ApiError::new("overloaded", "the server passes on as many bodies as it takes")
    })?;
    let (head, rest) = upload::read_after_head(request.into_body(), STREAM_HEAD_BYTES_MAX).await?;
    let said: StreamRequest = serde_json::from_slice(&head)
        .map_err(|error| ApiError::new("invalid_body", error.to_string()))?;
    token.speaks_for(&said.worker)?;
    let upload = said.upload.then(|| Upload::new(rest, said.length));
    let answered = match held::lease(&app, &said.worker, &said.lease).await? {
        Some(lease) => app.inner.platform.proxy_stream_call(&lease, said.request, upload).await,
        None => Err(CallError {
            code: "lease_lost".to_owned(),
            message: "the lease is somebody else's by now".to_owned(),
            payload: None,
        }),
    };
    let (answer, body) = match answered {
        Ok(streamed) => (CallAnswer::Ok(streamed.head()), Some(streamed)),
        Err(CallError { code, message, payload }) => {
            (CallAnswer::Error(CallFailure { code, message, payload }), None)
        }
    };
    let head = serde_json::to_vec(&answer).map_err(|error| ApiError::internal(&error))?;
    let length = u32::try_from(head.len()).map_err(|error| ApiError::internal(&error))?;
    let head = Bytes::from([&length.to_le_bytes()[..], &head].concat());
    // Its place is taken until the last piece is passed on.
    let pieces = stream::unfold((body, place), |(mut body, place)| async move {
        let Streamed { body: pieces, .. } = body.as_mut()?;
        Some((pieces.recv().await?, (body, place)))
    });
    let first = stream::once(async move { Ok(head) });
    let mut response = Response::new(Body::from_stream(first.chain(pieces)));
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    Ok(response)
}

//! Requests whose bodies pass piece by piece: by way of the server, which has the credentials.

use std::time::Duration;

use bulkhead_api::Op;
use bulkhead_api::worker::{CallAnswer, STREAM_HEAD_BYTES_MAX, StreamRequest};
use bulkhead_client::{ClientError, Pieces, Request};
use bulkhead_egress::Upload;
use bulkhead_protocol::CallError;
use bulkhead_types::Lease;
use bulkhead_worker::Streamed;
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;
use futures_util::stream::{self, BoxStream};
use serde_json::Value;

use crate::Remote;
use crate::host::{cut_off, failure};

/// From one piece to the next: longer than the server waits for the API's.
const IDLE_MAX: Duration = Duration::from_secs(90);

impl Remote {
    pub(crate) async fn open_stream(
        &self,
        lease: &Lease,
        request: Value,
        upload: Option<Upload>,
    ) -> Result<Streamed, CallError> {
        let said = StreamRequest {
            worker: self.inner.options.worker.clone(),
            lease: lease.lease.clone(),
            request,
            upload: upload.is_some(),
            length: upload.as_ref().and_then(Upload::length),
        };
        let head = serde_json::to_vec(&said)
            .map_err(|error| failure("call_invalid", error.to_string()))?;
        let length = u32::try_from(head.len())
            .map_err(|_| failure("call_too_large", "the request's head is too long"))?;
        let head = Bytes::from([&length.to_le_bytes()[..], &head].concat());
        let first = stream::once(async move { Ok(head) });
        let body = match upload {
            Some(upload) => first.chain(upload.into_pieces()).boxed(),
            None => first.boxed(),
        };
        let passed = self.inner.client.pass(Request::new(Op::WorkerStream, &[]), body).await;
        let mut pieces = passed.map_err(|error| cut_off("stream.open", &error))?;
        let (answer, rest) = head_of(&mut pieces).await?;
        match answer {
            CallAnswer::Ok(head) => Ok(Streamed { head, body: carried(rest, pieces) }),
            CallAnswer::Error(error) => {
                let (code, message, payload) = (error.code, error.message, error.payload);
                Err(CallError { code, message, payload })
            }
        }
    }
}

/// What the server says first, and the beginning of the body.
async fn head_of(pieces: &mut Pieces) -> Result<(CallAnswer, Bytes), CallError> {
    let strange = |why: &str| failure("server_unreachable", format!("a stream's head: {why}"));
    let mut held = BytesMut::new();
    loop {
        if let Some(length) = held.first_chunk().map(|bytes| u32::from_le_bytes(*bytes) as usize) {
            if length > STREAM_HEAD_BYTES_MAX {
                return Err(strange("too long"));
            }
            if held.len() >= 4 + length {
                let rest = held.split_off(4 + length).freeze();
                let answer = serde_json::from_slice(&held[4..]);
                return Ok((answer.map_err(|error| strange(&error.to_string()))?, rest));
            }
        }
        match next(pieces).await {
            Some(Ok(piece)) => held.extend_from_slice(&piece),
            Some(Err(why)) => return Err(strange(&why)),
            None => return Err(strange("it broke off")),
        }
    }
}

async fn next(pieces: &mut Pieces) -> Option<Result<Bytes, String>> {
    match tokio::time::timeout(IDLE_MAX, pieces.next()).await {
        Ok(piece) => piece.map(|piece| piece.map_err(|error: ClientError| error.to_string())),
        Err(_) => Some(Err(format!("nothing came for {} s", IDLE_MAX.as_secs()))),
    }
}

/// What came with the head, and then what comes: no more is read from the server than is asked for here.
fn carried(first: Bytes, pieces: Pieces) -> BoxStream<'static, Result<Bytes, String>> {
    let rest = stream::unfold(Some(pieces), |pieces| async {
        let mut pieces = pieces?;
        let piece = next(&mut pieces).await?;
        // An error is the last.
        let pieces = piece.is_ok().then_some(pieces);
        Some((piece, pieces))
    });
    stream::iter([Ok(first)]).chain(rest).boxed()
}

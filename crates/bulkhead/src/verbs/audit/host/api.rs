//! Attacks on the HTTP API: with no key, a wrong one, somebody else's; and on webhooks.

use bulkhead_api::{Op, PutIntegration};
use bulkhead_client::Request;
use serde_json::{Value, json};

use super::super::inside::{CONNECTION, HONEST, INTEGRATION, Seen, Stage};
use super::{Refusals, raw};
use crate::verbs::embedded::TENANT;

/// Past the limit of a webhook's body, in bytes.
const HUGE: usize = 26 << 20;

/// How many deliveries with a wrong signature make a flood.
const FLOOD: usize = 200;

/// One tenant's key on everything that is not that tenant's.
pub(super) async fn others(stage: &Stage, mark: &str) -> Seen {
    let client = &stage.embedded.client;
    let (_, show) =
        stage.execute(client, HONEST, &json!({"phase": "beside", "ms": 1, "mark": mark})).await?;
    let id = show.execution.id;
    let mut refusals = Refusals::default();
    let other = format!("authorization: Bearer {}\r\n", stage.other_key);
    let tokens = [
        "authorization: Bearer bh_00000000\r\n",
        "authorization: Basic YTpi\r\n",
        "authorization: Bearer \r\n",
        "",
    ];
    for (method, path) in [
        ("GET", "/v1/tenants".to_owned()),
        ("PUT", format!("/v1/tenants/{TENANT}")),
        ("POST", format!("/v1/tenants/{TENANT}/keys")),
        ("GET", format!("/v1/tenants/{TENANT}/keys")),
        ("POST", format!("/v1/tenants/{TENANT}/pause")),
        ("GET", "/v1/workers".to_owned()),
        ("POST", "/v1/worker-tokens".to_owned()),
        ("POST", "/v1/worker/lease".to_owned()),
        ("POST", "/v1/worker/settle".to_owned()),
        ("POST", "/v1/worker/call".to_owned()),
        ("GET", format!("/v1/executions/{id}")),
        ("GET", format!("/v1/executions/{id}/logs")),
        ("POST", format!("/v1/executions/{id}/cancel")),
        ("POST", format!("/v1/executions/{id}/retry")),
        ("GET", format!("/v1/connections/{INTEGRATION}/{CONNECTION}")),
        ("GET", "/v1/executions/..%2f..%2fetc%2fpasswd".to_owned()),
        ("GET", "/v1/executions/../../etc/passwd".to_owned()),
        ("GET", "/v1/executions/%2e%2e/%2e%2e/etc/passwd/logs".to_owned()),
        ("GET", "/v1/executions/exe_%00/logs".to_owned()),
        ("GET", "/v1/worker/bundles/..%2f..%2fbulkhead.db".to_owned()),
    ] {
        for headers in tokens.iter().copied().chain([other.as_str()]) {
            let (status, body) = raw::request(stage, method, &path, headers, b"{}").await?;
            refusals.note(&format!("{method} {path}"), status, &body);
        }
    }
    for head in [
        "GET /v1/tenants HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n",
        "GET /v1/tenants HTTP/1.1\r\nhost: a\r\nx-a: b\r\n c\r\nconnection: close\r\n\r\n",
        "GET /v1/tenants HTTP/9.9\r\nhost: a\r\n\r\n",
        "\0\0\0\0 / HTTP/1.1\r\n\r\n",
    ] {
        let (status, body) = raw::send(stage, head, b"0\r\n\r\n").await?;
        // Hanging up without an answer is a refusal, too.
        refusals.note("a request that is none", if status == 0 { 400 } else { status }, &body);
    }
    refusals.seen()
}

/// Deliveries that no provider sent.
pub(super) async fn webhooks(stage: &Stage) -> Seen {
    let client = &stage.embedded.client;
    let put = PutIntegration {
        webhook: json!({"secret": "a-secret-of-the-provider"}),
        auth: json!({"mode": "none"}),
        ..PutIntegration::default()
    };
    let put = Request::new(Op::PutIntegration, &["hooks"]).json(&put);
    client.call::<Value>(put).await.map_err(|error| error.to_string())?;
    let path = format!("/v1/webhooks/{TENANT}/hooks");
    let mut refusals = Refusals::default();
    let zeros = "0".repeat(64);
    for (what, headers) in [
        ("no signature", String::new()),
        ("a wrong signature", format!("x-hub-signature-256: sha256={zeros}\r\n")),
        ("half a signature", "x-hub-signature-256: sha256=00\r\n".to_owned()),
        ("no hex", "x-hub-signature-256: sha256=zz\r\n".to_owned()),
        ("another algorithm", format!("x-hub-signature-256: none={zeros}\r\n")),
        ("two of them", format!("x-signature: {zeros}\r\nx-signature: {zeros}\r\n")),
        ("a packed body", format!("content-encoding: gzip\r\nx-signature: {zeros}\r\n")),
    ] {
        let (status, body) = raw::request(stage, "POST", &path, &headers, b"{\"id\":1}").await?;
        refusals.note(what, status, &body);
    }
    let flood =
        (0..FLOOD).map(|_| raw::request(stage, "POST", &path, "x-signature: 00\r\n", b"{}"));
    for answer in futures(flood).await {
        let (status, body) = answer?;
        refusals.note("one of a flood", status, &body);
    }
    let (status, body) = raw::request(stage, "POST", &path, "", &vec![b'x'; HUGE]).await?;
    refusals.note("26 MiB", if status == 0 { 413 } else { status }, &body);
    let said = format!(
        "POST {path} HTTP/1.1\r\nhost: a\r\ncontent-length: 99999999999\r\nconnection: close\r\n\r\n"
    );
    let (status, body) = raw::send(stage, &said, b"{}").await?;
    refusals.note("100 GB announced", if status == 0 { 413 } else { status }, &body);
    for missing in [
        "/v1/webhooks/nobody/hooks",
        &format!("/v1/webhooks/{TENANT}/nothing"),
        "/v1/webhooks/../tenants/hooks",
    ] {
        let (status, body) = raw::request(stage, "POST", missing, "", b"{}").await?;
        refusals.note("a webhook of nobody's", status, &body);
    }
    refusals.seen()
}

/// All at once.
async fn futures<T>(all: impl Iterator<Item = impl Future<Output = T>>) -> Vec<T> {
    let mut pending: Vec<_> = all.map(Box::pin).collect();
    let mut done = Vec::with_capacity(pending.len());
    std::future::poll_fn(|context| {
        pending.retain_mut(|it| match it.as_mut().poll(context) {
            std::task::Poll::Ready(value) => {
                done.push(value);
                false
            }
            std::task::Poll::Pending => true,
        });
        if pending.is_empty() { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
    done
}

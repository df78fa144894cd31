//! Providers that misbehave: each gets its clear error, and the next request is served as if nothing had been.
#![allow(clippy::unwrap_used, reason = "a failed step is the test's failure")]

mod common;

use std::io::Write as _;
use std::time::Duration;

use bulkhead_egress::Rule;
use bulkhead_platform::{CallError, Credentials, IntegrationSettings, ProxyRequest};
use common::{World, connection, demo, tenant, world_with};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// Far more than an answer takes that comes; what never comes is waited for so long.
const PATIENCE: Duration = Duration::from_secs(120);

/// For what never comes.
const SHORT: Duration = Duration::from_millis(400);

/// An API that answers by the path that it is asked for.
async fn provider() -> World {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer(stream));
        }
    });
    let world = world_with(vec![Rule::allow_loopback("test", address.port())]).await;
    let base_url = Some(format!("http://{address}"));
    let settings = IntegrationSettings { base_url, ..Default::default() };
    world.connect(settings, Credentials::default()).await;
    world
}

/// What breaks here is what whoever asked has given up.
async fn answer(mut stream: TcpStream) -> Option<()> {
    let mut request = vec![0; 16 << 10];
    let bytes = stream.read(&mut request).await.ok()?;
    let request = String::from_utf8_lossy(&request[..bytes]).into_owned();
    let path = request.split(' ').nth(1)?.to_owned();
    match path.as_str() {
        "/fine" => stream.write_all(&whole("200 OK", b"{\"fine\":true}")).await.ok()?,
        "/html" => {
            let page = b"<!doctype html><title>Maintenance</title>";
            stream.write_all(&whole("200 OK\r\ncontent-type: text/html", page)).await.ok()?;
        }
        "/html-error" => {
            let page = b"<html>Bad gateway</html>";
            stream
                .write_all(&whole("502 Bad Gateway\r\ncontent-type: text/html", page))
                .await
                .ok()?;
        }
        "/silent" => {
            // Until whoever asked hangs up.
            drop(stream.read_u8().await);
        }
        "/loris-head" => {
            stream.write_all(b"HTTP/1.1 200 OK\r\n").await.ok()?;
            loop {
                stream.write_all(b"x-a: b\r\n").await.ok()?;
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        "/loris-body" => {
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n").await.ok()?;
            loop {
                stream.write_all(b"x").await.ok()?;
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        // One that says so beforehand, and one whose end nobody knows.
        "/gigabyte" | "/endless" => {
            let length = b"HTTP/1.1 200 OK\r\ncontent-length: 1073741824\r\n\r\n".as_slice();
            let head = if path == "/gigabyte" { length } else { b"HTTP/1.1 200 OK\r\n\r\n" };
            stream.write_all(head).await.ok()?;
            let piece = vec![b'x'; 256 << 10];
            for _ in 0..4096 {
                stream.write_all(&piece).await.ok()?;
            }
        }
        "/bomb" => {
            let mut bomb = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
            for _ in 0..64 {
                bomb.write_all(&vec![0; 1 << 20]).ok()?;
            }
            let bomb = bomb.finish().ok()?;
            assert!(bomb.len() < 1 << 20);
            stream.write_all(&whole("200 OK\r\ncontent-encoding: gzip", &bomb)).await.ok()?;
        }
        path => stream.write_all(&broken(path)).await.ok()?,
    }
    stream.shutdown().await.ok()
}

/// An answer with a head.
fn whole(head: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head = format!("HTTP/1.1 {head}\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n");
    [head.as_bytes(), body].concat()
}

/// Answers that are none, or lead astray.
fn broken(path: &str) -> Vec<u8> {
    let many = || (0..20_000).map(|n| format!("x-{n}: {n}\r\n")).collect::<String>();
    match path {
        "/no-gzip" => whole("200 OK\r\ncontent-encoding: gzip", b"plain"),
        "/no-http" => b"220 mail.example ESMTP\r\n".to_vec(),
        "/bad-header" => b"HTTP/1.1 200 OK\r\nbad header: \x01\r\n\r\n".to_vec(),
        "/many-headers" => whole(&format!("200 OK\r\n{}", many().trim_end()), b""),
        "/two-lengths" => {
            b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nabc".to_vec()
        }
        "/half" => b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf".to_vec(),
        "/private" => whole("302 Found\r\nlocation: http://10.0.0.1/admin", b""),
        "/metadata" => {
            whole("307 Temporary Redirect\r\nlocation: http://169.254.169.254/latest", b"")
        }
        _ => whole("404 Not Found", b""),
    }
}

async fn ask(world: &World, path: &str, patience: Duration) -> Result<Value, CallError> {
    let request: ProxyRequest = serde_json::from_value(json!({ "endpoint": path })).unwrap();
    world.platform.proxy(&tenant(), &demo(), Some(connection()), request, patience).await
}

#[tokio::test]
async fn each_misbehaviour_has_its_error_and_the_next_request_is_served() {
    let world = provider().await;
    for (path, patience, code, detail) in [
        ("/html-error", PATIENCE, "upstream_error", "502"),
        ("/silent", SHORT, "upstream_unreachable", "ETIMEDOUT"),
        ("/loris-head", SHORT, "upstream_unreachable", "ETIMEDOUT"),
        ("/loris-body", SHORT, "upstream_unreachable", "ETIMEDOUT"),
        ("/gigabyte", PATIENCE, "response_too_large", ""),
        ("/endless", PATIENCE, "response_too_large", ""),
        ("/bomb", PATIENCE, "response_too_large", ""),
        ("/no-gzip", PATIENCE, "upstream_unreachable", "EPROTO"),
        ("/no-http", PATIENCE, "upstream_unreachable", "cause"),
        ("/bad-header", PATIENCE, "upstream_unreachable", "cause"),
        ("/many-headers", PATIENCE, "upstream_unreachable", "cause"),
        ("/two-lengths", PATIENCE, "upstream_unreachable", "cause"),
        ("/half", PATIENCE, "upstream_unreachable", "cause"),
        ("/private", PATIENCE, "egress_denied", "default.private"),
        ("/metadata", PATIENCE, "egress_denied", "default.link_local"),
    ] {
        let error = ask(&world, path, patience).await.unwrap_err();
        assert_eq!(error.code, code, "{path}: {error:?}");
        let payload = error.payload.unwrap_or_default().to_string();
        assert!(payload.contains(detail), "{path}: {payload}");
        let fine = ask(&world, "/fine", PATIENCE).await.unwrap();
        assert_eq!(fine["json"], json!({"fine": true}), "after {path}");
    }
}

#[tokio::test]
async fn a_page_where_json_was_asked_for_comes_as_text() {
    let world = provider().await;
    let page = ask(&world, "/html", PATIENCE).await.unwrap();
    assert_eq!(page["headers"]["content-type"], "text/html");
    assert!(page["json"].is_null() && page["text"].as_str().unwrap().contains("Maintenance"));
    let error = ask(&world, "/html-error", PATIENCE).await.unwrap_err();
    assert!(error.payload.unwrap()["text"].as_str().unwrap().contains("Bad gateway"));
}

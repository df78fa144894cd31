#![allow(clippy::unwrap_used, reason = "a failed step is the test's failure")]
use std::io::Write;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;
use crate::gateway::GatewayLimits;
use crate::policy::Rule;
use crate::resolve::FixedResolver;

/// A server that answers each connection with the same bytes, then closes it.
async fn server(answer: Vec<u8>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 4096];
            assert!(stream.read(&mut request).await.unwrap() > 0);
            stream.write_all(&answer).await.unwrap();
            stream.shutdown().await.unwrap();
        }
    });
    address
}

fn with_body(encoding: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-encoding: {encoding}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

async fn get(address: SocketAddr, allowed: bool, bytes_max: usize) -> Result<Bytes, SendError> {
    let rules = if allowed { vec![Rule::allow_loopback("test", address.port())] } else { vec![] };
    let policy = Arc::new(Policy::new().with_operator_rules(rules));
    let gateway = Gateway::new(Arc::new(FixedResolver::default()), GatewayLimits::default());
    let client = HttpClient::new(gateway, policy);
    let request = Request::get(format!("http://{address}/")).body(Bytes::new()).unwrap();
    let deadline = Instant::now() + Duration::from_secs(5);
    Ok(client.send(request, deadline, bytes_max).await?.into_body())
}

fn gzip(plain: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(plain).unwrap();
    encoder.finish().unwrap()
}

#[tokio::test]
async fn encodings_are_undone() {
    let plain = b"hello ".repeat(100);
    let mut br = Vec::new();
    brotli::CompressorWriter::new(&mut br, 4096, 5, 22).write_all(&plain).unwrap();
    let mut zlib = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
    zlib.write_all(&plain).unwrap();
    for (encoding, body) in [
        ("identity", plain.clone()),
        ("gzip", gzip(&plain)),
        ("br", br),
        ("deflate", zlib.finish().unwrap()),
    ] {
        let address = server(with_body(encoding, &body)).await;
        assert_eq!(get(address, true, 10_000).await.unwrap(), plain, "{encoding}");
    }
}

#[tokio::test]
async fn a_response_over_its_limit_is_refused_before_and_after_decoding() {
    let long = server(with_body("identity", &[b'x'; 2_000])).await;
    assert!(matches!(get(long, true, 1_000).await, Err(SendError::TooLarge(1_000))));
    let bomb = gzip(&vec![0; 1 << 20]);
    assert!(bomb.len() < 2_000);
    let bomb = server(with_body("gzip", &bomb)).await;
    assert!(matches!(get(bomb, true, 2_000).await, Err(SendError::TooLarge(2_000))));
    let broken = server(with_body("gzip", b"not gzip")).await;
    assert!(matches!(get(broken, true, 2_000).await, Err(SendError::Encoding("gzip"))));
}

#[tokio::test]
async fn the_reason_of_a_failure_is_named() {
    let address = server(b"HTTP/1.1 200 OK\r\n\r\n".to_vec()).await;
    let denied = get(address, false, 10).await.unwrap_err();
    assert!(
        matches!(&denied, SendError::Denied { rule, .. } if rule == "default.loopback"),
        "{denied:?}"
    );
    let cut = server(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc".to_vec()).await;
    let cut = get(cut, true, 100).await.unwrap_err();
    assert!(matches!(cut, SendError::Unreachable { cause: "ECONNRESET", .. }), "{cut:?}");
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let refused = get(closed, true, 10).await.unwrap_err();
    assert!(matches!(refused, SendError::Unreachable { cause: "ECONNREFUSED", .. }), "{refused:?}");
}

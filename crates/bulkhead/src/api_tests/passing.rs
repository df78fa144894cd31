//! Long bodies through `/v1/proxy`, both ways.

use bulkhead_egress::Rule;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::harness::Harness;

/// More than is ever held of a body, in either direction.
const LONG: usize = 40 << 20;

/// Answers with how many bytes it was sent, or with [`LONG`] bytes.
async fn answer(mut stream: TcpStream) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    let head = String::from_utf8_lossy(&head).to_ascii_lowercase();
    if head.starts_with("get /fast") {
        return stream
            .write_all(b"HTTP/1.1 429 Slow\r\nretry-after: 600\r\ncontent-length: 0\r\n\r\n")
            .await;
    }
    if head.starts_with("get") {
        let head = format!(
            "HTTP/1.1 206 Partial Content\r\ncontent-length: {LONG}\r\ncontent-range: bytes 0-1/2\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await?;
        return stream.write_all(&vec![b'x'; LONG]).await;
    }
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
    let (mut read, mut piece) = (0, vec![0; 64 << 10]);
    while read < length.unwrap_or(usize::MAX) {
        match stream.read(&mut piece).await? {
            0 => break,
            bytes => read += bytes,
        }
    }
    let body = read.to_string();
    let head = format!("HTTP/1.1 201 Created\r\ncontent-length: {}\r\n\r\n", body.len());
    stream.write_all(&[head.as_bytes(), body.as_bytes()].concat()).await
}

async fn reaching() -> (Harness, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer(stream));
        }
    });
    let rule = Rule::allow_loopback("test", address.port());
    let server = Harness::start_reaching(100, vec![rule]).await;
    let key = server.furnished("acme").await;
    let put = json!({"base_url": format!("http://{address}")});
    let put = server.call(&key, "PUT", "/v1/integrations/crm", put).await;
    assert_eq!(put.status, 200, "{}", put.text);
    (server, format!("Bearer {key}"))
}

#[tokio::test]
async fn bodies_pass_that_nobody_holds() {
    let (server, key) = reaching().await;
    let headers =
        [("authorization", key.as_str()), ("integration", "crm"), ("connection-id", "c1")];
    let down = server.send("GET", "/v1/proxy/file", &headers, "").await;
    assert_eq!((down.status, down.header("upstream-status")), (206, "206"));
    assert_eq!((down.text.len(), down.header("content-range")), (LONG, "bytes 0-1/2"));
    let up = server.send("PUT", "/v1/proxy/file", &headers, vec![b'x'; LONG]).await;
    assert_eq!((up.status, up.text), (201, LONG.to_string()));
    let small = server.send("POST", "/v1/proxy/file", &headers, "abc").await;
    assert_eq!((small.status, small.text.as_str()), (201, "3"));
    let nobody = server.send("GET", "/v1/proxy/file", &[("authorization", &key)], "").await;
    assert_eq!((nobody.status, nobody.code()), (400, "invalid_header"));
}

#[tokio::test]
async fn a_request_that_its_api_would_refuse_is_told_when_to_come_back() {
    let (server, key) = reaching().await;
    let headers =
        [("authorization", key.as_str()), ("integration", "crm"), ("connection-id", "c1")];
    let refused = server.send("GET", "/v1/proxy/fast", &headers, "").await;
    assert_eq!((refused.status, refused.header("upstream-status")), (429, "429"));
    // Not asked again: we know what it would say.
    let kept = server.send("GET", "/v1/proxy/file", &headers, "").await;
    assert_eq!((kept.status, kept.header("upstream-status")), (429, ""));
    assert!(kept.header("retry-after").parse::<u64>().unwrap() > 500);
}

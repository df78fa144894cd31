//! HTTP as an attacker writes it: bytes, without a client that would keep to the rules.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::super::inside::Stage;

/// The server's own deadline for a body, and room.
const ANSWER_WAIT: Duration = Duration::from_secs(40);

/// An answer is read up to here.
const ANSWER_BYTES_MAX: u64 = 1 << 20;

/// Status and body of the answer; status 0 when the server hung up without one.
pub(super) async fn send(stage: &Stage, head: &str, body: &[u8]) -> Result<(u16, String), String> {
    let exchange = async {
        let mut stream = TcpStream::connect(("127.0.0.1", stage.port())).await?;
        stream.write_all(head.as_bytes()).await?;
        // A server that has seen enough may answer and hang up before it has taken all of it.
        drop(stream.write_all(body).await);
        let mut answer = Vec::new();
        // Likewise: what was read until then counts.
        drop((&mut stream).take(ANSWER_BYTES_MAX).read_to_end(&mut answer).await);
        std::io::Result::Ok(answer)
    };
    let answer = tokio::time::timeout(ANSWER_WAIT, exchange).await;
    let answer = answer.map_err(|_| "no answer in time".to_owned())?.map_err(|e| e.to_string())?;
    let text = String::from_utf8_lossy(&answer);
    let status = text.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    let body = text.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    Ok((status, body.to_owned()))
}

/// A request as it should be; `headers` are lines with their ends.
pub(super) async fn request(
    stage: &Stage,
    method: &str,
    path: &str,
    headers: &str,
    body: &[u8],
) -> Result<(u16, String), String> {
    let length = body.len();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: {length}\r\n{headers}\r\n"
    );
    send(stage, &head, body).await
}

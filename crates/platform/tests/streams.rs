//! Bodies that pass through the proxy piece by piece: however long they are, little of them is here at any moment.
#![allow(clippy::unwrap_used, reason = "a failed step is the test's failure")]

mod common;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bulkhead_egress::Rule;
use bulkhead_platform::{
    AuthMode, AuthSettings, CallError, Credentials, IntegrationSettings, ProxyRequest, Streamed,
    Upload, UploadError,
};
use bytes::Bytes;
use common::{World, connection, demo, tenant, world_with};
use futures_util::{StreamExt as _, stream};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

const TOKEN: &str = "token-which-is-secret";

const MIB: u64 = 1 << 20;

/// What may be on its way between two ends: the kernel's buffers of two sockets, the client's, and a piece or two.
const ON_THE_WAY: u64 = 24 * MIB;

/// An API that is `talk`, once per connection; the world that reaches it; and what `talk` says in the end.
async fn api<T, F>(talk: impl Fn(TcpStream) -> F + Send + 'static) -> (World, mpsc::Receiver<T>)
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (ends, ended) = mpsc::channel(8);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (talking, ends) = (talk(stream), ends.clone());
            tokio::spawn(async move { ends.send(talking.await).await });
        }
    });
    (world_of(address).await, ended)
}

async fn world_of(address: SocketAddr) -> World {
    let world = world_with(vec![Rule::allow_loopback("test", address.port())]).await;
    let auth = AuthSettings { mode: AuthMode::Bearer, ..AuthSettings::default() };
    let base_url = Some(format!("http://{address}"));
    let settings = IntegrationSettings { base_url, auth, ..Default::default() };
    world.connect(settings, Credentials { token: Some(TOKEN.into()), ..Default::default() }).await;
    world
}

/// Reads a request's head.
async fn head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => break,
        }
    }
    String::from_utf8(head).unwrap().to_ascii_lowercase()
}

async fn open(
    world: &World,
    request: Value,
    upload: Option<Upload>,
) -> Result<Streamed, CallError> {
    let request: ProxyRequest = serde_json::from_value(request).unwrap();
    let (patience, connection) = (Duration::from_secs(600), Some(connection()));
    let sending = (request, upload);
    world.platform.proxy_stream(&tenant(), &demo(), connection, sending, patience).await
}

#[tokio::test]
async fn a_long_answer_is_read_at_the_pace_of_whoever_takes_it() {
    let sent = Arc::new(AtomicU64::new(0));
    let counting = Arc::clone(&sent);
    let (world, mut ended) = api(move |mut stream| {
        let sent = Arc::clone(&counting);
        async move {
            head(&mut stream).await;
            // A gigabyte, if anybody takes it.
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", 1024 * MIB);
            stream.write_all(head.as_bytes()).await.unwrap();
            let piece = vec![b'x'; 64 << 10];
            while stream.write_all(&piece).await.is_ok() {
                sent.fetch_add(piece.len() as u64, Ordering::SeqCst);
            }
        }
    })
    .await;
    let mut answer = open(&world, json!({"endpoint": "/file"}), None).await.unwrap();
    assert_eq!(answer.status.as_u16(), 200);
    let mut taken = 0;
    while taken < 96 * MIB {
        let piece = answer.body.recv().await.unwrap().unwrap();
        taken += piece.len() as u64;
        let ahead = sent.load(Ordering::SeqCst).saturating_sub(taken);
        assert!(ahead <= ON_THE_WAY, "{ahead} bytes are somewhere in between");
    }
    // Nobody takes the rest: the API is let go.
    drop(answer);
    ended.recv().await.unwrap();
}

#[tokio::test]
async fn a_long_body_is_sent_at_the_pace_of_whoever_takes_it() {
    let read = Arc::new(AtomicU64::new(0));
    let counting = Arc::clone(&read);
    let (world, mut ended) = api(move |mut stream| {
        let read = Arc::clone(&counting);
        async move {
            let head = head(&mut stream).await;
            let mut buffer = vec![0; 64 << 10];
            while read.load(Ordering::SeqCst) < 64 * MIB {
                let bytes = stream.read(&mut buffer).await.unwrap();
                read.fetch_add(bytes as u64, Ordering::SeqCst);
            }
            stream.write_all(b"HTTP/1.1 201 Created\r\ncontent-length: 2\r\n\r\nok").await.unwrap();
            head
        }
    })
    .await;
    let made = Arc::new(AtomicU64::new(0));
    let (making, reading) = (Arc::clone(&made), Arc::clone(&read));
    let pieces = stream::iter(0..64).map(move |_| {
        let made = making.fetch_add(MIB, Ordering::SeqCst) + MIB;
        let ahead = made.saturating_sub(reading.load(Ordering::SeqCst));
        assert!(ahead <= ON_THE_WAY, "{ahead} bytes are somewhere in between");
        Ok(Bytes::from(vec![b'x'; 1 << 20]))
    });
    let upload = Upload::new(pieces.boxed(), Some(64 * MIB));
    let request = json!({"method": "PUT", "endpoint": "/file", "retries": 3});
    let mut answer = open(&world, request, Some(upload)).await.unwrap();
    assert_eq!(answer.status.as_u16(), 201);
    assert_eq!(answer.body.recv().await.unwrap().unwrap(), "ok");
    let head = ended.recv().await.unwrap();
    assert!(head.contains("content-length: 67108864"), "{head}");
    assert!(head.contains(&format!("authorization: bearer {TOKEN}")), "{head}");
}

#[tokio::test]
async fn a_body_that_breaks_off_is_no_whole_one() {
    let (world, mut ended) = api(|mut stream| async move {
        head(&mut stream).await;
        let mut all = Vec::new();
        // An error or an early end: either way it is not all that was announced.
        drop(stream.read_to_end(&mut all).await);
        all.len()
    })
    .await;
    let broken = || UploadError::from("the sender is gone");
    let pieces = stream::iter([Ok(Bytes::from_static(b"half")), Err(broken())]);
    let upload = Upload::new(pieces.boxed(), Some(8));
    let request = json!({"method": "PUT", "endpoint": "/file"});
    let refused = open(&world, request, Some(upload)).await.unwrap_err();
    assert_eq!(refused.code, "upstream_unreachable");
    assert!(ended.recv().await.unwrap() < 8);
}

#[tokio::test]
async fn what_the_api_reflects_of_credentials_is_taken_out_of_pieces_too() {
    let (world, _ended) = api(|mut stream| async move {
        let request = head(&mut stream).await;
        let authorization = request.lines().find(|line| line.starts_with("authorization")).unwrap();
        let head = "HTTP/1.1 400 Bad Request\r\nx-echo: Bearer token-which-is-secret\r\nconnection: close\r\n\r\n";
        stream.write_all(head.as_bytes()).await.unwrap();
        for byte in authorization.as_bytes() {
            stream.write_all(&[*byte]).await.unwrap();
            stream.flush().await.unwrap();
        }
    })
    .await;
    let mut answer = open(&world, json!({"endpoint": "/mirror"}), None).await.unwrap();
    assert_eq!(answer.headers["x-echo"], "Bearer [redacted]");
    let mut text = Vec::new();
    while let Some(piece) = answer.body.recv().await {
        text.extend_from_slice(&piece.unwrap());
    }
    assert_eq!(String::from_utf8(text).unwrap(), "authorization: bearer [redacted]");
}

#[tokio::test]
async fn a_body_that_the_api_breaks_off_ends_with_an_error() {
    let (world, _ended) = api(|mut stream| async move {
        head(&mut stream).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf").await.unwrap();
    })
    .await;
    let mut answer = open(&world, json!({"endpoint": "/file"}), None).await.unwrap();
    let mut pieces = Vec::new();
    while let Some(piece) = answer.body.recv().await {
        pieces.push(piece);
    }
    // What came before may have been passed on by then.
    assert!(pieces.len() <= 2 && pieces.pop().unwrap().is_err(), "{pieces:?}");
}

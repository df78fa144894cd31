#![allow(clippy::unwrap_used, reason = "a failed step is the test's failure")]
use std::io::Write;
use std::net::SocketAddr;

use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;
use crate::connector::{GatewayConnector, with_tls};
use crate::gateway::GatewayLimits;
use crate::resolve::FixedResolver;
use crate::rule::Rule;

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

/// A TLS server for `api.test` with a certificate that nobody but these tests trusts.
async fn tls_server() -> SocketAddr {
    let certificate = CertificateDer::from(CERTIFICATE.to_vec());
    let key = PrivateKeyDer::Pkcs8(include_bytes!("../testdata/key.der").to_vec().into());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            // A client that does not trust us breaks off here.
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            let mut request = [0; 4096];
            assert!(stream.read(&mut request).await.unwrap() > 0);
            stream.write_all(&with_body("identity", b"over TLS")).await.unwrap();
            stream.shutdown().await.unwrap();
        }
    });
    address
}

const CERTIFICATE: &[u8] = include_bytes!("../testdata/cert.der");

#[tokio::test]
async fn a_certificate_has_to_verify_for_the_name_that_was_asked_for() {
    let address = tls_server().await;
    let here = vec![address.ip()];
    let table = [("api.test".to_owned(), here.clone()), ("other.test".to_owned(), here)];
    let gateway = Gateway::new(Arc::new(FixedResolver(table.into())), GatewayLimits::default());
    let rules = vec![Rule::allow_loopback("test", address.port())];
    let policy = Arc::new(Policy::new().with_operator_rules(rules));
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from(CERTIFICATE.to_vec())).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let trusting = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let connector = GatewayConnector::new(gateway.clone(), Arc::clone(&policy));
    let trusting = HttpClient::over(with_tls(trusting, connector));
    let usual = HttpClient::new(gateway, policy);
    let get = async |client: &HttpClient, host: &str| {
        let url = format!("https://{host}:{}/", address.port());
        let request = Request::get(url).body(Bytes::new()).unwrap();
        client.send(request, Instant::now() + Duration::from_secs(5), 100).await
    };
    assert_eq!(get(&trusting, "api.test").await.unwrap().into_body(), "over TLS");
    for (client, host) in [(&usual, "api.test"), (&trusting, "other.test")] {
        let refused = get(client, host).await.unwrap_err();
        assert!(
            matches!(refused, SendError::Unreachable { cause: "EPROTO", .. }),
            "{host}: {refused:?}"
        );
    }
}

//! What attacks aim at on the network, all of it on loopback and served by the audit itself: an API that the operator's
//! rule allows, and a listener that nobody may reach.

use std::net::TcpListener as StdListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// A request's head is read up to here.
const HEAD_BYTES_MAX: usize = 64 << 10;

/// How long a client may take to send a head.
const HEAD_WAIT: Duration = Duration::from_secs(10);

/// Connections that the API serves at the same time; more wait.
const CONNECTIONS_MAX: usize = 512;

/// Bound, not yet served: before the process has a second thread.
pub(super) struct Bound {
    allowed: StdListener,
    forbidden: StdListener,
}

/// Served.
pub(super) struct Targets {
    /// Port of the API that may be reached.
    pub(super) allowed: u16,
    /// Port of the listener that may not.
    pub(super) forbidden: u16,
    seen: Arc<AtomicUsize>,
}

impl Bound {
    pub(super) fn new() -> anyhow::Result<Self> {
        let bind = || {
            let listener = StdListener::bind("127.0.0.1:0")?;
            listener.set_nonblocking(true)?;
            anyhow::Ok(listener)
        };
        Ok(Self { allowed: bind()?, forbidden: bind()? })
    }

    /// The API's port.
    pub(super) fn allowed(&self) -> anyhow::Result<u16> {
        Ok(self.allowed.local_addr()?.port())
    }

    /// Serves both, as long as the runtime lives.
    pub(super) fn serve(self) -> anyhow::Result<Targets> {
        let (allowed, forbidden) =
            (self.allowed.local_addr()?.port(), self.forbidden.local_addr()?.port());
        let seen = Arc::new(AtomicUsize::new(0));
        let (api, trap) =
            (TcpListener::from_std(self.allowed)?, TcpListener::from_std(self.forbidden)?);
        tokio::spawn(serve_api(api));
        let counter = Arc::clone(&seen);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = trap.accept().await {
                counter.fetch_add(1, Ordering::Relaxed);
                drop(stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\ntrap").await);
            }
        });
        Ok(Targets { allowed, forbidden, seen })
    }
}

impl Targets {
    /// How often somebody reached the listener that nobody may reach, since this was last asked.
    pub(super) fn trapped(&self) -> usize {
        self.seen.swap(0, Ordering::Relaxed)
    }
}

async fn serve_api(listener: TcpListener) {
    let room = Arc::new(tokio::sync::Semaphore::new(CONNECTIONS_MAX));
    while let Ok((stream, _)) = listener.accept().await {
        let Ok(permit) = Arc::clone(&room).acquire_owned().await else { return };
        tokio::spawn(async move {
            drop(tokio::time::timeout(HEAD_WAIT, answer(stream)).await);
            drop(permit);
        });
    }
}

/// `/hop/URL` redirects there; `/hops/N` redirects to itself N times; anything else answers with the head that came
/// in, so that a function sees what was sent for it.
async fn answer(mut stream: TcpStream) -> std::io::Result<()> {
    let mut head = Vec::new();
    let mut piece = [0_u8; 4096];
    while !head.windows(4).any(|end| end == b"\r\n\r\n") && head.len() < HEAD_BYTES_MAX {
        match stream.read(&mut piece).await? {
            0 => return Ok(()),
            count => head.extend_from_slice(&piece[..count]),
        }
    }
    let text = String::from_utf8_lossy(&head);
    let target = text.split(' ').nth(1).unwrap_or("/");
    let location = match (target.strip_prefix("/hop/"), target.strip_prefix("/hops/")) {
        (Some(url), _) => Some(url.to_owned()),
        (None, Some(count)) => {
            count.parse().ok().filter(|n| *n > 0).map(|n: u32| format!("/hops/{}", n - 1))
        }
        (None, None) => None,
    };
    let answer = match location {
        Some(location) => format!(
            "HTTP/1.1 302 Found\r\nlocation: {location}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
        ),
        None => format!(
            "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{text}",
            text.len()
        ),
    };
    stream.write_all(answer.as_bytes()).await?;
    stream.shutdown().await
}

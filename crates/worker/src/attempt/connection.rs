//! One egress connection of a sandbox: from `Open` to the end of both directions.
//!
//! What the sandbox sends waits in an [`Inbox`], as bytes, so that many small frames cost no more than few large
//! ones; it never holds more than the connection's window.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bulkhead_egress::{HELLO_WAIT, NameCheck};
use bulkhead_protocol::{
    CONNECTION_WINDOW_BYTES, Kind, OpenRequest, Opened, PAYLOAD_BYTES_MAX, Refused,
};
use bulkhead_types::{Lease, Version};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{Notify, Semaphore};
use tokio::time::{Instant, timeout_at};

use super::budget::Traffic;
use crate::egress::Egress;
use crate::mux::Outgoing;
use crate::text::cut;

/// How long a connection may take to be made.
const CONNECT_WAIT: Duration = Duration::from_secs(10);

/// The window is granted back in pieces of at least this size, unless all of it was taken.
const GRANT_BYTES: usize = CONNECTION_WINDOW_BYTES as usize / 4;

/// The longest message about a refused connection, bytes: with the rest it fits into its frame's limit.
const MESSAGE_BYTES_MAX: usize = 1024;

/// What a sandbox sends on a connection.
#[derive(Default)]
pub(super) struct Inbox {
    state: Mutex<Incoming>,
    changed: Notify,
    broken_off: Notify,
    /// Bytes that the sandbox lets us send.
    window: Arc<Window>,
}

#[derive(Default)]
struct Incoming {
    bytes: VecDeque<u8>,
    /// Taken and not granted back yet.
    owed: usize,
    end: bool,
}

struct Window(Semaphore);

impl Default for Window {
    fn default() -> Self {
        Self(Semaphore::new(CONNECTION_WINDOW_BYTES as usize))
    }
}

/// What came for the upstream.
enum Piece {
    Bytes(Vec<u8>),
    End,
}

impl Inbox {
    fn lock(&self) -> MutexGuard<'_, Incoming> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a frame of the connection's channel.
    ///
    /// # Errors
    /// When the sandbox breaks the rules.
    pub(super) fn push(&self, kind: Kind, payload: &[u8]) -> Result<(), String> {
        let mut state = self.lock();
        match kind {
            Kind::Data => {
                let held = state.bytes.len() + state.owed + payload.len();
                if held > CONNECTION_WINDOW_BYTES as usize {
                    return Err("more data on a connection than its window".to_owned());
                }
                if state.end {
                    return Err("data after the end of a connection".to_owned());
                }
                state.bytes.extend(payload);
            }
            Kind::End => state.end = true,
            Kind::Reset => {
                self.broken_off.notify_one();
                return Ok(());
            }
            Kind::Window => {
                let bytes = <[u8; 4]>::try_from(payload).map(u32::from_le_bytes);
                let bytes = bytes.map_err(|_| "a window of no four bytes".to_owned())?;
                let granted = self.window.0.available_permits() + bytes as usize;
                if granted > CONNECTION_WINDOW_BYTES as usize {
                    return Err("a larger window than there is".to_owned());
                }
                self.window.0.add_permits(bytes as usize);
            }
            other => return Err(format!("{other:?} on a connection")),
        }
        drop(state);
        self.changed.notify_one();
        Ok(())
    }

    /// What is to be done next for the upstream. May be dropped: nothing is lost.
    async fn next(&self) -> Piece {
        loop {
            {
                let mut state = self.lock();
                if !state.bytes.is_empty() {
                    let length = state.bytes.len().min(PAYLOAD_BYTES_MAX);
                    let bytes: Vec<u8> = state.bytes.drain(..length).collect();
                    state.owed += bytes.len();
                    return Piece::Bytes(bytes);
                }
                if state.end {
                    return Piece::End;
                }
            }
            self.changed.notified().await;
        }
    }

    /// How much to grant back now, all that was taken so far being written.
    fn grant(&self) -> u32 {
        let mut state = self.lock();
        if state.owed < GRANT_BYTES && !state.bytes.is_empty() {
            return 0;
        }
        u32::try_from(std::mem::take(&mut state.owed)).unwrap_or(0)
    }
}

/// How a connection ended, for the attempt's log and timeline.
pub(super) struct Ended {
    pub(super) channel: u32,
    /// Where it was to go, when it was refused, and why.
    pub(super) refused: Option<(OpenRequest, Refused)>,
}

/// What a connection needs.
pub(super) struct Connection {
    pub(super) channel: u32,
    pub(super) out: Outgoing,
    pub(super) inbox: Arc<Inbox>,
    pub(super) traffic: Traffic,
}

impl Connection {
    /// Connects, and carries bytes until both sides have ended or one broke off.
    pub(super) async fn run(
        self,
        egress: Arc<dyn Egress>,
        lease: Arc<Lease>,
        version: Arc<Version>,
        request: OpenRequest,
    ) -> Ended {
        let connecting = egress.connect(&lease, &version, &request);
        let connected = tokio::time::timeout(CONNECT_WAIT, connecting).await.unwrap_or_else(|_| {
            let message = format!("{}: no connection in time", request.host);
            Err(Refused { code: "ETIMEDOUT".to_owned(), message, rule: None })
        });
        match connected {
            Ok(connected) => {
                let address = connected.address;
                let opened = Opened { address: address.ip().to_string(), port: address.port() };
                self.send_json(Kind::Opened, &opened).await;
                match self.splice(connected.stream, connected.check).await {
                    Some(refused) => self.refuse(request, refused).await,
                    None => Ended { channel: self.channel, refused: None },
                }
            }
            Err(refused) => self.refuse(request, refused).await,
        }
    }

    /// Tells both sides, whether the connection was open or not.
    async fn refuse(&self, request: OpenRequest, mut refused: Refused) -> Ended {
        refused.message = cut(&refused.message, MESSAGE_BYTES_MAX);
        self.send_json(Kind::Refused, &refused).await;
        Ended { channel: self.channel, refused: Some((request, refused)) }
    }

    /// Carries bytes. What is returned refuses the rest of them.
    async fn splice(&self, stream: TcpStream, check: NameCheck) -> Option<Refused> {
        let (read, write) = stream.into_split();
        // Either direction's failure breaks the whole off; an end only ends its direction.
        let both = async { tokio::try_join!(self.upstream(write, check), self.downstream(read)) };
        tokio::select! {
            done = both => match done {
                Ok(_) => None,
                Err(BrokenOff::Denied(refused)) => Some(refused),
                Err(BrokenOff::Lost) => {
                    self.send(Kind::Reset, &[]).await;
                    None
                }
            },
            () = self.inbox.broken_off.notified() => None,
        }
    }

    /// Sandbox → upstream, through the check of names.
    async fn upstream(
        &self,
        mut write: OwnedWriteHalf,
        mut check: NameCheck,
    ) -> Result<(), BrokenOff> {
        let mut held_until = None;
        loop {
            let piece = match held_until {
                None => self.inbox.next().await,
                Some(until) => match timeout_at(until, self.inbox.next()).await {
                    Ok(piece) => piece,
                    Err(_) => return Err(BrokenOff::Denied(check.too_slow())),
                },
            };
            match piece {
                Piece::Bytes(bytes) => {
                    self.traffic.take(bytes.len()).map_err(BrokenOff::Denied)?;
                    let bytes = check.take(bytes).map_err(BrokenOff::Denied)?;
                    held_until = check.holds().then(|| held_until.unwrap_or_else(hello_deadline));
                    write.write_all(&bytes).await.map_err(|_| BrokenOff::Lost)?;
                    let granted = self.inbox.grant();
                    if granted > 0 {
                        self.send(Kind::Window, &granted.to_le_bytes()).await;
                    }
                }
                Piece::End if check.holds() => return Err(BrokenOff::Denied(check.cut_short())),
                Piece::End => return write.shutdown().await.map_err(|_| BrokenOff::Lost),
            }
        }
    }

    /// Upstream → sandbox, no faster than the sandbox grants.
    async fn downstream(&self, mut read: OwnedReadHalf) -> Result<(), BrokenOff> {
        let mut buffer = vec![0; PAYLOAD_BYTES_MAX];
        loop {
            let window = self.window().await;
            let read = read.read(&mut buffer[..window]).await;
            let length = read.map_err(|_| BrokenOff::Lost)?;
            self.traffic.take(length).map_err(BrokenOff::Denied)?;
            if length == 0 {
                self.send(Kind::End, &[]).await;
                return Ok(());
            }
            self.inbox.window.0.forget_permits(length);
            self.send(Kind::Data, &buffer[..length]).await;
        }
    }

    /// Waits until something may be sent; how much, at most a frame.
    async fn window(&self) -> usize {
        // Only this task takes permits: what is available stays so until it takes them. The semaphore is never
        // closed.
        drop(self.inbox.window.0.acquire().await);
        self.inbox.window.0.available_permits().clamp(1, PAYLOAD_BYTES_MAX)
    }

    async fn send_json<T: serde::Serialize>(&self, kind: Kind, message: &T) {
        let json = serde_json::to_vec(message).unwrap_or_default();
        self.send(kind, &json).await;
    }

    async fn send(&self, kind: Kind, message: &[u8]) {
        self.out.send(self.channel, kind, message).await;
    }
}

/// Why a connection ends before both sides have come to their ends.
enum BrokenOff {
    /// One side broke it off.
    Lost,
    /// What the sandbox does with it is denied.
    Denied(Refused),
}

#[allow(clippy::disallowed_methods, reason = "tokio's clock: what its time-outs are measured by")]
fn hello_deadline() -> Instant {
    Instant::now() + HELLO_WAIT
}

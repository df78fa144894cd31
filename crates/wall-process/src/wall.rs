//! The asynchronous side: asks the launcher, and matches its answers to who asked.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bulkhead_wall::{Capability, Compartment, CompartmentSpec, Wall, WallError};
use rustix::net::RecvFlags;
use tokio::io::Interest;
use tokio::net::UnixStream;
use tokio::sync::oneshot;

use crate::launcher::{Found, LauncherHandle};
use crate::wire::{Done, Op, PACKET_BYTES_MAX, Reply, Request};

type Answer = Result<(Done, Vec<OwnedFd>), WallError>;

/// The most bytes of what process 1 wrote that are passed on.
const WORDS_BYTES_MAX: usize = 4 * 1024;

/// Every wall that a started launcher can build, whether this machine can do it or not; within a tokio runtime.
///
/// # Errors
/// When the socket can't be watched.
pub fn walls(handle: LauncherHandle) -> Result<Vec<LaunchedWall>, WallError> {
    let socket =
        adopt(handle.socket).map_err(|error| WallError::new("launcher", error.to_string()))?;
    let launcher = Arc::new(Launcher { socket, waiting: Mutex::default() });
    let reader = Arc::new(Reader(tokio::spawn(read_answers(Arc::clone(&launcher)))));
    let wall = |found: Found| LaunchedWall {
        name: found.name,
        launcher: Arc::clone(&launcher),
        capability: found.capability,
        patience: found.patience,
        _reader: Arc::clone(&reader),
    };
    Ok(handle.walls.into_iter().map(wall).collect())
}

/// A wall whose compartments the launcher builds.
#[derive(Debug)]
pub struct LaunchedWall {
    name: &'static str,
    launcher: Arc<Launcher>,
    capability: Capability,
    patience: Duration,
    _reader: Arc<Reader>,
}

/// Reads the launcher's answers as long as a wall of it is in use.
#[derive(Debug)]
struct Reader(tokio::task::JoinHandle<()>);

impl Drop for Reader {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[derive(Debug)]
struct Launcher {
    /// A packet socket: only its readiness is tokio's, packets with descriptors go through `sendmsg`.
    socket: UnixStream,
    waiting: Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    last: u64,
    by_id: HashMap<u64, oneshot::Sender<Answer>>,
    gone: bool,
}

#[async_trait::async_trait]
impl Wall for LaunchedWall {
    fn name(&self) -> &'static str {
        self.name
    }

    async fn probe(&self) -> Capability {
        self.capability.clone()
    }

    async fn create(&self, spec: CompartmentSpec) -> Result<Box<dyn Compartment>, WallError> {
        let op = Op::Create { wall: self.name.to_owned(), spec };
        let (done, fds) = self.launcher.ask(op).await?;
        let (Done::Created { compartment: id }, Ok([stream, words])) =
            (done, <[OwnedFd; 2]>::try_from(fds))
        else {
            return Err(WallError::new("launcher", "it answered something else"));
        };
        let launcher = Arc::clone(&self.launcher);
        // From here on an error drops `built`, which destroys the compartment.
        let mut built =
            Box::new(LaunchedCompartment { launcher, id, stream: None, destroyed: false });
        let stream = adopt(stream).map_err(|error| WallError::new("stream", error.to_string()))?;
        first_sign(&stream, &words, self.patience).await?;
        built.stream = Some(stream);
        Ok(built)
    }
}

/// Waits until the guest says something. What lies between the launcher's word and that, such as a program that
/// builds the compartment's own kernel, has only its output to say why it left.
async fn first_sign(
    stream: &UnixStream,
    words: &OwnedFd,
    patience: Duration,
) -> Result<(), WallError> {
    let mut first = [0_u8; 1];
    let peek = || Ok(rustix::net::recv(stream, &mut first, RecvFlags::PEEK)?.0);
    let sign = stream.async_io(Interest::READABLE, peek);
    match tokio::time::timeout(patience, sign).await {
        Ok(Ok(1..)) => Ok(()),
        Ok(_) => Err(WallError::new("guest", format!("it left at once: {}", said(words)))),
        Err(_) => {
            let waited = patience.as_secs();
            let message = format!("no sign of life within {waited} s: {}", said(words));
            Err(WallError::new("guest", message))
        }
    }
}

/// The beginning of what process 1 wrote.
fn said(words: &OwnedFd) -> String {
    let mut buffer = [0_u8; WORDS_BYTES_MAX];
    let count = rustix::io::read(words, &mut buffer).unwrap_or(0);
    match String::from_utf8_lossy(&buffer[..count]).trim() {
        "" => "it said nothing".to_owned(),
        text => text.to_owned(),
    }
}

fn adopt(stream: OwnedFd) -> io::Result<UnixStream> {
    let stream = std::os::unix::net::UnixStream::from(stream);
    stream.set_nonblocking(true)?;
    UnixStream::from_std(stream)
}

#[derive(Debug)]
struct LaunchedCompartment {
    launcher: Arc<Launcher>,
    id: u64,
    stream: Option<UnixStream>,
    destroyed: bool,
}

#[async_trait::async_trait]
impl Compartment for LaunchedCompartment {
    fn id(&self) -> u64 {
        self.id
    }

    fn take_stream(&mut self) -> Option<UnixStream> {
        self.stream.take()
    }

    async fn memory_bytes(&self) -> Option<u64> {
        match self.launcher.ask(Op::Memory { compartment: self.id }).await {
            Ok((Done::Memory { bytes }, _)) => bytes,
            _ => None,
        }
    }

    async fn destroy(mut self: Box<Self>) -> Result<(), WallError> {
        self.destroyed = true;
        match self.launcher.ask(Op::Destroy { compartment: self.id }).await? {
            (Done::Destroyed, _) => Ok(()),
            _ => Err(WallError::new("launcher", "it answered something else")),
        }
    }
}

impl Drop for LaunchedCompartment {
    fn drop(&mut self) {
        if self.destroyed {
            return;
        }
        let (launcher, compartment) = (Arc::clone(&self.launcher), self.id);
        // Without a runtime the process is ending, and with it the launcher, which removes everything.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move { launcher.ask(Op::Destroy { compartment }).await.map(drop) });
        }
    }
}

impl Launcher {
    async fn ask(&self, op: Op) -> Answer {
        let (sender, receiver) = oneshot::channel();
        let id = self.expect_answer(sender)?;
        let failed = |error: String| WallError::new("launcher", error);
        let bytes =
            serde_json::to_vec(&Request { id, op }).map_err(|error| failed(error.to_string()))?;
        if bytes.len() > PACKET_BYTES_MAX {
            return Err(failed(format!("a request of {} bytes", bytes.len())));
        }
        self.send(&bytes).await.map_err(|error| failed(error.to_string()))?;
        receiver.await.map_err(|_| failed("the launcher has gone".to_owned()))?
    }

    fn expect_answer(&self, sender: oneshot::Sender<Answer>) -> Result<u64, WallError> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.gone {
            return Err(WallError::new("launcher", "the launcher has gone; restart the server"));
        }
        waiting.last += 1;
        let id = waiting.last;
        waiting.by_id.insert(id, sender);
        Ok(id)
    }

    async fn send(&self, bytes: &[u8]) -> io::Result<()> {
        let packet = || Ok(bulkhead_guest::send(self.socket.as_fd(), bytes, &[])?);
        self.socket.async_io(Interest::WRITABLE, packet).await
    }

    async fn receive(&self) -> io::Result<Option<(Reply, Vec<OwnedFd>)>> {
        let mut buffer = vec![0_u8; PACKET_BYTES_MAX];
        let packet = || Ok(bulkhead_guest::receive(self.socket.as_fd(), &mut buffer)?);
        let received = self.socket.async_io(Interest::READABLE, packet).await?;
        if received.bytes == 0 {
            return Ok(None);
        }
        let reply = serde_json::from_slice(&buffer[..received.bytes])?;
        Ok(Some((reply, received.fds)))
    }
}

async fn read_answers(launcher: Arc<Launcher>) {
    while let Ok(Some((Reply { id, result }, fds))) = launcher.receive().await {
        let asked = {
            let mut waiting = launcher.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            waiting.by_id.remove(&id)
        };
        // Who asked may have stopped waiting: a compartment nobody takes is then destroyed.
        let compartment = match &result {
            Ok(Done::Created { compartment }) => Some(*compartment),
            _ => None,
        };
        let answer = result.map(|done| (done, fds));
        let untaken = asked.is_none_or(|asked| asked.send(answer).is_err());
        if let Some(compartment) = compartment.filter(|_| untaken) {
            let launcher = Arc::clone(&launcher);
            tokio::spawn(async move { launcher.ask(Op::Destroy { compartment }).await.map(drop) });
        }
    }
    let mut waiting = launcher.waiting.lock().unwrap_or_else(PoisonError::into_inner);
    waiting.gone = true;
    waiting.by_id.clear();
}

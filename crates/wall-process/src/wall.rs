//! The asynchronous side: asks the launcher, and matches its answers to who asked.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};

use bulkhead_wall::{Capability, Compartment, CompartmentSpec, Wall, WallError};
use tokio::io::Interest;
use tokio::net::UnixStream;
use tokio::sync::oneshot;

use crate::launcher::LauncherHandle;
use crate::wire::{Done, Op, PACKET_BYTES_MAX, Reply, Request};

type Answer = Result<(Done, Option<OwnedFd>), WallError>;

/// The process wall of this machine.
#[derive(Debug)]
pub struct ProcessWall {
    launcher: Arc<Launcher>,
    capability: Capability,
    reader: tokio::task::JoinHandle<()>,
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

impl ProcessWall {
    /// From a started launcher; within a tokio runtime.
    ///
    /// # Errors
    /// When the socket can't be watched.
    pub fn new(handle: LauncherHandle) -> Result<Self, WallError> {
        let socket =
            adopt(handle.socket).map_err(|error| WallError::new("launcher", error.to_string()))?;
        let launcher = Arc::new(Launcher { socket, waiting: Mutex::default() });
        let reader = tokio::spawn(read_answers(Arc::clone(&launcher)));
        Ok(Self { launcher, capability: handle.capability, reader })
    }
}

impl Drop for ProcessWall {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

#[async_trait::async_trait]
impl Wall for ProcessWall {
    fn name(&self) -> &'static str {
        "process"
    }

    async fn probe(&self) -> Capability {
        self.capability.clone()
    }

    async fn create(&self, spec: CompartmentSpec) -> Result<Box<dyn Compartment>, WallError> {
        let (done, stream) = self.launcher.ask(Op::Create(spec)).await?;
        let (Done::Created { compartment: id }, Some(stream)) = (done, stream) else {
            return Err(WallError::new("launcher", "it answered something else"));
        };
        let launcher = Arc::clone(&self.launcher);
        // From here on an error drops `built`, which destroys the compartment.
        let mut built =
            Box::new(ProcessCompartment { launcher, id, stream: None, destroyed: false });
        let stream = adopt(stream).map_err(|error| WallError::new("stream", error.to_string()))?;
        built.stream = Some(stream);
        Ok(built)
    }
}

fn adopt(stream: OwnedFd) -> io::Result<UnixStream> {
    let stream = std::os::unix::net::UnixStream::from(stream);
    stream.set_nonblocking(true)?;
    UnixStream::from_std(stream)
}

#[derive(Debug)]
struct ProcessCompartment {
    launcher: Arc<Launcher>,
    id: u64,
    stream: Option<UnixStream>,
    destroyed: bool,
}

#[async_trait::async_trait]
impl Compartment for ProcessCompartment {
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

impl Drop for ProcessCompartment {
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

    async fn receive(&self) -> io::Result<Option<(Reply, Option<OwnedFd>)>> {
        let mut buffer = vec![0_u8; PACKET_BYTES_MAX];
        let packet = || Ok(bulkhead_guest::receive(self.socket.as_fd(), &mut buffer)?);
        let received = self.socket.async_io(Interest::READABLE, packet).await?;
        if received.bytes == 0 {
            return Ok(None);
        }
        let reply = serde_json::from_slice(&buffer[..received.bytes])?;
        Ok(Some((reply, received.fds.into_iter().next())))
    }
}

async fn read_answers(launcher: Arc<Launcher>) {
    while let Ok(Some((Reply { id, result }, stream))) = launcher.receive().await {
        let asked = {
            let mut waiting = launcher.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            waiting.by_id.remove(&id)
        };
        // Who asked may have stopped waiting: a compartment nobody takes is then destroyed.
        let compartment = match &result {
            Ok(Done::Created { compartment }) => Some(*compartment),
            _ => None,
        };
        let answer = result.map(|done| (done, stream));
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

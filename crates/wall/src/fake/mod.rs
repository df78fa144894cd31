//! A wall of nothing, for tests: its "guest" is an in-process task at the other end of a socket pair that speaks
//! the real protocol, and its sandboxes are scripts, plain async functions.
//!
//! ```
//! use bulkhead_wall::fake::FakeWall;
//!
//! // Every execution returns its input.
//! let wall = FakeWall::handler(|start, _sandbox| async move { Ok(start.input) });
//! // Every execution is told step by step.
//! use bulkhead_protocol::SandboxGone;
//! let wall = FakeWall::new(|mut sandbox| async move {
//!     let Some(start) = sandbox.start().await else { return SandboxGone::Killed };
//!     sandbox.started().await;
//!     sandbox.log("info", "hello").await;
//!     sandbox.complete(start.input).await;
//!     SandboxGone::Exited { status: 0 }
//! });
//! ```
//!
//! It protects nothing and must never be offered to an operator.

mod guest;
mod sandbox;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bulkhead_protocol::{GuestError, ResultError, SandboxGone, SandboxResult, Start};
use serde_json::Value;
use tokio::net::UnixStream;
use tokio::task::JoinSet;

use crate::{Capability, Compartment, CompartmentSpec, Wall, WallError};

pub use sandbox::{FakeSandbox, FakeSender};

type Script = Arc<dyn Fn(FakeSandbox) -> ScriptFuture + Send + Sync>;
type ScriptFuture = Pin<Box<dyn Future<Output = SandboxGone> + Send>>;
type ZygoteScript = Arc<dyn Fn(&CompartmentSpec) -> Result<(), ZygoteFailure> + Send + Sync>;

/// How a zygote fails to load: what the guest reports, and what it wrote to its standard error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ZygoteFailure {
    /// Stage and message.
    pub error: GuestError,
    /// The end of its standard error.
    pub output: String,
}

/// What the fake does differently from a well-behaved wall.
#[derive(Clone)]
pub struct FakeOptions {
    /// Sandboxes at a time per compartment; `None` takes the number asked for.
    pub slots: Option<u32>,
    /// The version that the guest says it speaks.
    pub version: u32,
    /// Whether the guest says hello at all.
    pub says_hello: bool,
    /// Whether the guest obeys `KillSandbox`.
    pub obeys_kill: bool,
    /// Whether the machine says that forks can be kept apart.
    pub fork_isolation: bool,
    /// Zygotes with bundles of their own that a compartment has room for; 0 as for most walls.
    pub zygotes_max: u32,
    /// What each compartment says that it uses, bytes.
    pub memory_bytes: Option<u64>,
    /// How long a compartment takes to build.
    pub build_delay: Duration,
    /// How long a fork takes.
    pub fork_delay: Duration,
    /// When set, no compartment can be built.
    pub build_error: Option<WallError>,
    /// Decides how a zygote loads.
    pub zygote: ZygoteScript,
}

impl Default for FakeOptions {
    fn default() -> Self {
        Self {
            slots: None,
            version: bulkhead_protocol::VERSION,
            says_hello: true,
            obeys_kill: true,
            fork_isolation: true,
            zygotes_max: 0,
            memory_bytes: None,
            build_delay: Duration::ZERO,
            fork_delay: Duration::ZERO,
            build_error: None,
            zygote: Arc::new(|_| Ok(())),
        }
    }
}

/// What a fake wall has done so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FakeCounts {
    /// Compartments built.
    pub built: u64,
    /// Compartments not destroyed yet.
    pub live: u64,
    /// Zygotes started.
    pub zygotes: u64,
    /// Zygotes ended on request, in compartments that go on.
    pub zygotes_ended: u64,
    /// Sandboxes forked.
    pub sandboxes: u64,
    /// Sandboxes that got a `Start`.
    pub started: u64,
    /// Sandboxes killed on request.
    pub killed: u64,
}

#[derive(Debug, Default)]
struct Counters {
    built: AtomicU64,
    destroyed: AtomicU64,
    zygotes: AtomicU64,
    zygotes_ended: AtomicU64,
    sandboxes: AtomicU64,
    started: AtomicU64,
    killed: AtomicU64,
}

/// The fake. Cheap to make; counts what happens to it.
pub struct FakeWall {
    options: FakeOptions,
    script: Script,
    counters: Arc<Counters>,
}

impl FakeWall {
    /// A well-behaved wall whose sandboxes run `script`.
    pub fn new<F, Fut>(script: F) -> Arc<Self>
    where
        F: Fn(FakeSandbox) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = SandboxGone> + Send + 'static,
    {
        Self::with(FakeOptions::default(), script)
    }

    /// A wall that differs from a well-behaved one in `options`.
    pub fn with<F, Fut>(options: FakeOptions, script: F) -> Arc<Self>
    where
        F: Fn(FakeSandbox) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = SandboxGone> + Send + 'static,
    {
        let script: Script = Arc::new(move |sandbox| Box::pin(script(sandbox)));
        Arc::new(Self { options, script, counters: Arc::default() })
    }

    /// A wall whose sandboxes run `handler` as a function: started, called with its input, its result sent, exited.
    pub fn handler<F, Fut>(handler: F) -> Arc<Self>
    where
        F: Fn(Start, FakeSandbox) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Value, ResultError>> + Send + 'static,
    {
        let handler = Arc::new(handler);
        Self::new(move |mut sandbox| {
            let handler = Arc::clone(&handler);
            async move {
                let Some(start) = sandbox.start().await else {
                    return SandboxGone::Killed;
                };
                sandbox.started().await;
                let sender = sandbox.sender();
                let result = match handler(start, sandbox).await {
                    Ok(output) => SandboxResult::Completed { output },
                    Err(error) => SandboxResult::Failed { error },
                };
                sender.result(&result).await;
                SandboxGone::Exited { status: 0 }
            }
        })
    }

    /// What happened so far.
    #[must_use]
    pub fn counts(&self) -> FakeCounts {
        let read = |counter: &AtomicU64| counter.load(Ordering::SeqCst);
        let counters = &self.counters;
        FakeCounts {
            built: read(&counters.built),
            live: read(&counters.built).saturating_sub(read(&counters.destroyed)),
            zygotes: read(&counters.zygotes),
            zygotes_ended: read(&counters.zygotes_ended),
            sandboxes: read(&counters.sandboxes),
            started: read(&counters.started),
            killed: read(&counters.killed),
        }
    }
}

#[async_trait::async_trait]
impl Wall for FakeWall {
    fn name(&self) -> &'static str {
        "fake"
    }

    async fn probe(&self) -> Capability {
        Capability {
            available: self.options.build_error.is_none(),
            fork_isolation: self.options.fork_isolation,
            requirements: Vec::new(),
            differences: Vec::new(),
        }
    }

    fn zygotes_max(&self) -> u32 {
        self.options.zygotes_max
    }

    async fn create(&self, spec: CompartmentSpec) -> Result<Box<dyn Compartment>, WallError> {
        tokio::time::sleep(self.options.build_delay).await;
        if let Some(error) = &self.options.build_error {
            return Err(error.clone());
        }
        let (ours, theirs) = UnixStream::pair()
            .map_err(|error| WallError::new("stream", format!("socketpair: {error}")))?;
        let id = self.counters.built.fetch_add(1, Ordering::SeqCst);
        let guest = guest::Guest::new(
            spec,
            self.options.clone(),
            Arc::clone(&self.script),
            Arc::clone(&self.counters),
        );
        let mut tasks = JoinSet::new();
        tasks.spawn(guest.run(theirs));
        let counters = Arc::clone(&self.counters);
        let memory_bytes = self.options.memory_bytes;
        Ok(Box::new(FakeCompartment { id, stream: Some(ours), tasks, memory_bytes, counters }))
    }
}

struct FakeCompartment {
    id: u64,
    stream: Option<UnixStream>,
    /// The guest; aborted with all its sandboxes when this is dropped.
    tasks: JoinSet<()>,
    memory_bytes: Option<u64>,
    counters: Arc<Counters>,
}

impl Drop for FakeCompartment {
    fn drop(&mut self) {
        self.counters.destroyed.fetch_add(1, Ordering::SeqCst);
    }
}

#[async_trait::async_trait]
impl Compartment for FakeCompartment {
    fn id(&self) -> u64 {
        self.id
    }

    fn take_stream(&mut self) -> Option<UnixStream> {
        self.stream.take()
    }

    async fn memory_bytes(&self) -> Option<u64> {
        self.memory_bytes
    }

    async fn destroy(mut self: Box<Self>) -> Result<(), WallError> {
        self.tasks.shutdown().await;
        Ok(())
    }
}

//! What a wall is. A wall builds a closed place (a *compartment*), starts the guest in it and hands over one
//! byte stream; everything else (zygotes, sandboxes, limits, logs) is written once, inside.
//!
//! Invariant: a wall knows no tenants, no queues, no executions, and nothing of Node.js.

#[cfg(feature = "conformance")]
pub mod conformance;
pub mod fake;

use std::path::PathBuf;
use std::sync::Arc;

use bulkhead_types::WallKind;
use serde::{Deserialize, Serialize};

/// What to build.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CompartmentSpec {
    /// Directories that appear read-only inside, beside the runtime image: host path → path inside. Paths
    /// inside must be below `/bundle`.
    pub mounts: Vec<Mount>,
    /// Sandboxes that can exist at the same time.
    pub slots: u32,
    /// Scratch space of each slot, MiB.
    pub scratch_mib: u64,
    /// Files and directories of each slot's scratch.
    pub scratch_inodes: u64,
    /// The largest memory limit, in MiB, that a sandbox in it will have.
    pub memory_mib: u64,
    /// The largest number of processes beyond the runtime's own that a sandbox in it will have.
    pub processes: u32,
    /// Zygotes that can exist at the same time, each kept from the others, with bundles that come over the stream; at
    /// most [`Wall::zygotes_max`]. 0 is one zygote, whose bundle is among the mounts.
    #[serde(default)]
    pub zygotes: u32,
}

/// A read-only directory inside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// On the host.
    pub source: PathBuf,
    /// Inside, absolute.
    pub target: PathBuf,
}

/// A kind of wall.
#[async_trait::async_trait]
pub trait Wall: Send + Sync + 'static {
    /// `process`, `gvisor`, `microvm`, `fake`.
    fn name(&self) -> &'static str;

    /// What this machine can do, by trying.
    async fn probe(&self) -> Capability;

    /// How many versions of functions of one tenant a compartment may serve, each by a zygote of its own, kept from the
    /// others by what keeps forks apart, and more; 0 where each version has compartments to itself.
    fn zygotes_max(&self) -> u32 {
        0
    }

    /// Builds a compartment and starts the guest in it. On an error, whatever was built is undone.
    ///
    /// # Errors
    /// When any part can't be built or restricted; the error names the stage.
    async fn create(&self, spec: CompartmentSpec) -> Result<Box<dyn Compartment>, WallError>;
}

/// A closed place with a guest running in it. Dropping it destroys it in the background.
#[async_trait::async_trait]
pub trait Compartment: Send + Sync {
    /// A number for logs; unique within the wall.
    fn id(&self) -> u64;

    /// Takes the byte stream to the guest; `None` the second time.
    fn take_stream(&mut self) -> Option<tokio::net::UnixStream>;

    /// Memory, in bytes, that the whole compartment uses now; `None` where it can't be told.
    async fn memory_bytes(&self) -> Option<u64>;

    /// Kills everything inside and removes every trace. Returns when nothing is left.
    ///
    /// # Errors
    /// When something could not be removed; the error names it.
    async fn destroy(self: Box<Self>) -> Result<(), WallError>;
}

/// A shared wall.
pub type DynWall = Arc<dyn Wall>;

/// The walls that a worker has.
#[derive(Clone)]
pub enum Walls {
    /// One that stands for every name: tests, and benchmarks without sandboxes.
    Any(DynWall),
    /// Each under its own name.
    Named(Vec<DynWall>),
}

impl Walls {
    /// The wall of this kind, if there is one.
    #[must_use]
    pub fn get(&self, kind: WallKind) -> Option<&DynWall> {
        match self {
            Self::Any(wall) => Some(wall),
            Self::Named(walls) => walls.iter().find(|wall| wall.name() == kind.as_str()),
        }
    }

    /// Which kinds there are.
    #[must_use]
    pub fn kinds(&self) -> Vec<WallKind> {
        WallKind::ALL.into_iter().filter(|kind| self.get(*kind).is_some()).collect()
    }
}

impl From<DynWall> for Walls {
    fn from(wall: DynWall) -> Self {
        Self::Any(wall)
    }
}

/// What a machine can do for a wall.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capability {
    /// Whether compartments can be built at all.
    pub available: bool,
    /// Whether forks of one zygote can be kept apart at full strength.
    pub fork_isolation: bool,
    /// One line per requirement.
    pub requirements: Vec<Requirement>,
    /// What is done in another way behind this wall than the design of sandboxes has it.
    #[serde(default)]
    pub differences: Vec<Difference>,
}

/// Something that a wall's kernel does not offer, declared: shown to operators, told to the guest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    /// What is missing, such as `landlock`.
    pub name: String,
    /// What takes its place, and what of it is weaker.
    pub instead: String,
}

/// One thing a wall needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Requirement {
    /// What, such as `landlock`.
    pub name: String,
    /// Whether it is there.
    pub met: bool,
    /// Whether the wall can't do without it.
    pub required: bool,
    /// What was found, and how it was checked.
    pub found: String,
    /// How to get it, when it is not there.
    pub remedy: String,
}

/// Why a compartment could not be built, used or removed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("wall stage {stage}: {message}")]
pub struct WallError {
    /// The restriction or step that failed, such as `mounts`, `cgroup`, `namespaces`.
    pub stage: String,
    /// What went wrong, and what to do.
    pub message: String,
}

impl WallError {
    /// An error of `stage`.
    #[must_use]
    pub fn new(stage: &str, message: impl Into<String>) -> Self {
        Self { stage: stage.to_owned(), message: message.into() }
    }
}

//! What server and launcher say to each other: one JSON object per packet of a `SOCK_SEQPACKET` pair. The launcher
//! trusts the server no further than this: it builds what it was started for, from its own runtime image.

use bulkhead_wall::{CompartmentSpec, WallError};
use serde::{Deserialize, Serialize};

/// The most bytes of one packet.
pub(crate) const PACKET_BYTES_MAX: usize = 64 * 1024;

/// Server → launcher.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Request {
    /// The server's number, for the answer.
    pub(crate) id: u64,
    pub(crate) op: Op,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Op {
    /// Build a compartment behind the wall of this name.
    Create { wall: String, spec: CompartmentSpec },
    /// Kill everything of one and remove every trace.
    Destroy { compartment: u64 },
    /// How much memory one uses.
    Memory { compartment: u64 },
}

/// Launcher → server. `Created` comes with two descriptors: the stream, and what process 1 writes.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Reply {
    pub(crate) id: u64,
    pub(crate) result: Result<Done, WallError>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Done {
    Created { compartment: u64 },
    Destroyed,
    Memory { bytes: Option<u64> },
}

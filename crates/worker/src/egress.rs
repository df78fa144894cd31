//! The second door of a sandbox, as the worker sees it: somebody who decides and dials.

use std::net::SocketAddr;

use bulkhead_protocol::{OpenRequest, Refused};
use bulkhead_types::{Lease, Version};
use tokio::net::TcpStream;

/// Decides whether an attempt may connect somewhere, and connects. The binary joins the gateway to the policy of
/// the attempt's tenant here.
#[async_trait::async_trait]
pub trait Egress: Send + Sync + 'static {
    /// Resolves, checks every address, and dials exactly the one it checked. Called at most
    /// `Limits::connections` times at once for one attempt, and given up after ten seconds.
    ///
    /// # Errors
    /// `egress_denied` with the rule, or an errno name.
    async fn connect(
        &self,
        lease: &Lease,
        version: &Version,
        request: &OpenRequest,
    ) -> Result<Connected, Refused>;
}

/// A connection that policy allowed.
#[derive(Debug)]
pub struct Connected {
    /// To the other side.
    pub stream: TcpStream,
    /// The address that was checked and dialled.
    pub address: SocketAddr,
}

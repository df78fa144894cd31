//! The second door of a sandbox, as the worker sees it: somebody who decides and dials.

use std::net::SocketAddr;

use bulkhead_egress::{Dialled, NameCheck};
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

/// What a version that declared no connections of its own is refused by.
const NOT_DECLARED: &str = "version.outbound_not_declared";

/// Whether a version declares connections of its own; asked before any policy.
///
/// # Errors
/// `egress_denied` when it does not.
pub fn declared(version: &Version) -> Result<(), Refused> {
    if version.spec.uses.outbound {
        return Ok(());
    }
    Err(Refused {
        code: "egress_denied".to_owned(),
        message: "this version declares no connections of its own: deploy it again".to_owned(),
        rule: Some(NOT_DECLARED.to_owned()),
    })
}

/// A connection that policy allowed.
#[derive(Debug)]
pub struct Connected {
    /// To the other side.
    pub stream: TcpStream,
    /// The address that was checked and dialled.
    pub address: SocketAddr,
    /// What the sandbox sends goes through this.
    pub check: NameCheck,
}

impl From<Dialled> for Connected {
    fn from(dialled: Dialled) -> Self {
        let Dialled { stream, address, check } = dialled;
        Self { stream, address, check }
    }
}

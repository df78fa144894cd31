//! Connections of sandboxes, dialled from this machine.
//!
//! Not through the server: the bytes of a download would go through it twice, one server would carry the traffic of
//! every worker, and a connection would end with a restart of a machine that has nothing to do with it. So the rules
//! travel, and the gateway stands where the sandbox is, with this machine's addresses among those that are denied.

use async_trait::async_trait;
use bulkhead_protocol::{OpenRequest, Refused};
use bulkhead_types::{Lease, Version};
use bulkhead_worker::{Connected, Egress, declared};

use crate::Remote;

#[async_trait]
impl Egress for Remote {
    async fn connect(
        &self,
        lease: &Lease,
        version: &Version,
        request: &OpenRequest,
    ) -> Result<Connected, Refused> {
        declared(version)?;
        let held = self.held().get(&lease.lease).and_then(|held| held.prepared.clone());
        let Some((_, prepared)) = held else {
            return Err(Refused {
                code: "egress_denied".to_owned(),
                message: "the policy could not be read".to_owned(),
                rule: Some("platform.policy_unknown".to_owned()),
            });
        };
        self.inner.gateway.connect(&prepared.policy, request).await.map(Connected::from)
    }
}

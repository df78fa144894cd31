//! How many executions of a function run at the same time: what its author declared is what the engine holds.

use std::collections::BTreeMap;

use bulkhead_engine::{GateChange, GateOf};
use bulkhead_types::TenantId;

use crate::error::PlatformError;
use crate::platform::Platform;

impl Platform {
    /// Brings the limits of a tenant's functions in line with what is live. Doing it twice does nothing more. Pauses
    /// stay as they are.
    pub(crate) async fn align_limits(&self, tenant: &TenantId) -> Result<(), PlatformError> {
        let gates = self.engine.gates(tenant).await?;
        let held: BTreeMap<String, Option<u32>> =
            gates.into_iter().map(|gate| (gate.key, gate.running_max)).collect();
        for function in self.functions(tenant).await? {
            let of = GateOf::Function(function.version.function());
            let declared = function.version.spec.concurrency.max;
            if held.get(&of.key()).copied().flatten() != declared {
                let change = GateChange { running_max: Some(declared), paused: None };
                self.engine.set_gate(of, change).await?;
            }
        }
        Ok(())
    }
}

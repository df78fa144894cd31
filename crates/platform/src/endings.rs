//! What a product is told of executions that nobody waited for: syncs, and actions whose caller did not stay.
//!
//! The step that ends an execution keeps that it did, in the same transaction (`bulkhead-store`, "endings"). Here a
//! notification is made of it, under the execution's own name, and only then it is forgotten: whatever crashes in
//! between, it is found again, and told once.

use bulkhead_types::{Execution, FunctionKind};
use serde_json::{Value, json};

use crate::error::PlatformError;
use crate::platform::Platform;
use crate::records::TimestampText as _;

/// Made into notifications in one go.
pub(crate) const ENDINGS_AT_ONCE: usize = 100;

/// The longest output, as JSON, that goes along; a longer one is to be had at the `status_url`.
const OUTPUT_BYTES_MAX: usize = 256 << 10;

impl Platform {
    /// Makes notifications of executions that ended; says how many were looked at.
    ///
    /// # Errors
    /// When the store fails; what was not made is found again.
    pub async fn tell_of_endings(&self) -> Result<usize, PlatformError> {
        let endings = self.engine.endings(ENDINGS_AT_ONCE).await?;
        let count = endings.len();
        let mut told = Vec::with_capacity(count);
        for (id, execution) in endings {
            // One that is gone already is too old to tell of.
            if let Some(execution) = execution {
                self.tell_of(&execution).await?;
            }
            told.push(id);
        }
        self.engine.forget_endings(told).await?;
        Ok(count)
    }

    /// Keeps what there is to tell of an execution that ended, unless that was done.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn tell_of(&self, execution: &Execution) -> Result<(), PlatformError> {
        let event = match execution.function.kind {
            FunctionKind::Sync => "sync.finished",
            _ => "action.finished",
        };
        let name = format!("execution_{}", execution.id);
        self.notify(&execution.function.tenant, event, name, self.ending(execution)).await
    }

    fn ending(&self, execution: &Execution) -> Value {
        let public_url = self.config.public_url.trim_end_matches('/');
        let function = &execution.function;
        let mut data = json!({
            "execution_id": execution.id,
            "status_url": format!("{public_url}/v1/executions/{}", execution.id),
            "integration": function.integration,
            "function": function.name,
            "connection_id": execution.connection,
            "state": execution.state.as_str(),
            "started_at": execution.started_at.map(|at| at.to_text()),
            "ended_at": execution.ended_at.map(|at| at.to_text()),
        });
        if let Some(error) = &execution.error {
            data["error"] =
                json!({ "code": error.code, "message": error.message, "payload": error.payload });
        }
        if function.kind == FunctionKind::Sync {
            // Records that it saved have changed since then.
            data["modified_after"] = json!(execution.started_at.map(|at| at.to_text()));
        }
        if let Some(output) = execution.output.as_ref().filter(|output| fits(output)) {
            data["output"] = output.clone();
        }
        data
    }
}

fn fits(output: &Value) -> bool {
    output.to_string().len() <= OUTPUT_BYTES_MAX
}

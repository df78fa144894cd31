//! Ends: outcomes lead where they may, usage is counted once, and a final execution never changes.

use bulkhead_engine::Settled;
use bulkhead_types::{Execution, ExecutionId, ExecutionState, Outcome, Timestamp};

use super::{Known, Ledger, Violation, demand};

impl Known {
    /// An outcome was taken, and led to `state`.
    pub(super) fn take(
        &mut self,
        settled: &Settled,
        state: ExecutionState,
    ) -> Result<(), Violation> {
        let number = self.number;
        self.held = None;
        self.usage.wall_ms += settled.usage.wall_ms;
        self.usage.cpu_us += settled.usage.cpu_us;
        if let Outcome::Completed(output) = &settled.outcome {
            self.output = Some(output.clone());
        }
        let completed = self.output.is_some();
        let fits = match state {
            ExecutionState::Succeeded => completed,
            ExecutionState::Cancelled => !completed && self.cancel_asked,
            ExecutionState::Failed => !completed,
            ExecutionState::Queued | ExecutionState::Waiting => !completed && !self.cancel_asked,
            ExecutionState::Running | ExecutionState::Expired => false,
        };
        let outcome = settled.outcome.as_str();
        demand!(fits, "ends", "e{number}: the outcome {outcome} led to {}", state.as_str());
        Ok(())
    }

    /// Looks at the row of this execution.
    pub(super) fn check_end(&self, row: &Execution) -> Result<(), Violation> {
        let number = self.number;
        if let Some(ended) = &self.ended {
            demand!(ended == row, "ends", "e{number} was final, and changed: {ended:?} → {row:?}");
            return Ok(());
        }
        let running = row.state == ExecutionState::Running;
        demand!(
            running == self.held.is_some(),
            "leases",
            "e{number} is {} and its lease {}",
            row.state.as_str(),
            if self.held.is_some() { "lives" } else { "does not live" }
        );
        demand!(
            (row.usage.wall_ms, row.usage.cpu_us) == (self.usage.wall_ms, self.usage.cpu_us),
            "usage",
            "e{number} is told to have used {:?}, and its outcomes say {:?}",
            row.usage,
            self.usage
        );
        let succeeded = row.state == ExecutionState::Succeeded;
        demand!(
            !succeeded || row.output == self.output,
            "ends",
            "e{number} returned {:?}, and is told to have returned {:?}",
            self.output,
            row.output
        );
        demand!(
            row.state.is_final() == row.ended_at.is_some(),
            "ends",
            "e{number} is {} and ended at {:?}",
            row.state.as_str(),
            row.ended_at
        );
        Ok(())
    }
}

impl Ledger {
    /// These were ended because they did not begin in time.
    pub(super) fn check_expired(
        &self,
        ended: &[ExecutionId],
        now: Timestamp,
    ) -> Result<(), Violation> {
        for id in ended {
            let number = self.number(id);
            let Some(known) = self.executions.get(id) else { continue };
            let late = known.start_by.is_some_and(|start_by| start_by <= now);
            demand!(
                late && known.fence.0 == 0 && known.state == ExecutionState::Expired,
                "ends",
                "{number} was ended as {} at {now:?}; it had to begin by {:?}, attempts {}",
                known.state.as_str(),
                known.start_by,
                known.fence.0
            );
        }
        Ok(())
    }

    /// So many were forgotten.
    pub(crate) fn forgot(&mut self, before: Timestamp, count: usize) -> Result<(), Violation> {
        let old =
            |known: &Known| known.ended.as_ref().is_some_and(|ended| ended.created_at < before);
        let may = self.executions.values().filter(|known| old(known)).count();
        demand!(count <= may, "ends", "{count} executions were forgotten; {may} may be");
        Ok(())
    }
}

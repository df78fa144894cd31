//! At the end: everything has ended, and nothing is left. What a store looks like then is held by
//! [`crate::after`].

use bulkhead_store::hot::mem::Census;
use bulkhead_types::{ExecutionId, Timestamp};

use super::{Ledger, Violation, demand};
use crate::server::RETENTION;

impl Ledger {
    /// Executions that have not ended, at most a few of them.
    pub(crate) fn unended(&self) -> Vec<String> {
        let live = self.executions.values().filter(|known| known.ended.is_none());
        let told = live.map(|known| {
            let told =
                if known.acknowledged { ", and its caller was told it was accepted" } else { "" };
            format!("e{} ({}{told})", known.number, known.state.as_str())
        });
        told.take(5).collect()
    }

    /// An execution that is not there any more: it must have been final, and old.
    pub(crate) fn may_be_forgotten(
        &self,
        id: &ExecutionId,
        now: Timestamp,
    ) -> Result<(), Violation> {
        let ended = self.executions.get(id).and_then(|known| known.ended.as_ref());
        demand!(
            ended.is_some_and(|ended| ended.created_at.after(RETENTION) <= now),
            "accepted",
            "{} is not there any more; it ended as {ended:?}",
            self.number(id)
        );
        Ok(())
    }
}

/// What is left once everything is old and forgotten: no trace of any execution.
pub(crate) fn nothing(census: &Census) -> Result<(), Violation> {
    demand!(*census == Census::default(), "left", "all is forgotten, and this is left: {census:?}");
    Ok(())
}

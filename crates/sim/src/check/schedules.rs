//! A schedule fires when it is due, once for that time, and is due again within its interval.

use std::time::Duration;

use bulkhead_store::hot::model::{Fire, Fired};

use super::{Ledger, Violation, demand};

/// The longest time between two firings of any schedule here, jitter included.
pub(crate) const INTERVAL_MAX: Duration = Duration::from_secs(80);

impl Ledger {
    /// A schedule was fired, or somebody else was faster.
    pub(crate) fn fired(
        &mut self,
        fire: &Fire,
        paused: bool,
        done: Option<&Fired>,
    ) -> Result<(), Violation> {
        let Some(done) = done else { return Ok(()) };
        let name = &fire.key.function.name;
        demand!(!paused, "schedules", "{name} fired while it rests");
        demand!(fire.due_at <= fire.now, "schedules", "{name} fired before it was due");
        demand!(
            fire.next_at > fire.now && fire.next_at.since(fire.now) <= INTERVAL_MAX,
            "schedules",
            "{name} fired at {:?} and is due again at {:?}",
            fire.now,
            fire.next_at
        );
        self.counts.fired += 1;
        let (Fired::Submitted(submitted), Ok((_, submit))) = (done, &fire.what) else {
            return Ok(());
        };
        self.submitted(submit, fire.now, &Ok(submitted.clone()))
    }
}

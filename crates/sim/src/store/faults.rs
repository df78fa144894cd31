//! What goes wrong around a store call.

use std::time::Duration;

use bulkhead_store::StoreError;

use super::SimStore;

impl SimStore {
    /// A call takes its time; it may fail with nothing done, or its server dies.
    pub(super) async fn before(&self, call: &str) -> Result<(), StoreError> {
        let faults = self.world.faults();
        self.takes(faults.store_ms_max).await;
        self.alive().await;
        if self.gate.dice.strikes(faults.death_before) {
            self.world.tell(&format!("s{} dies before {call}", self.gate.server));
            self.gate.kill();
        }
        self.alive().await;
        if self.gate.dice.strikes(faults.call_refused) {
            self.world.tell(&format!("s{} {call} is refused", self.gate.server));
            return Err(StoreError::NotCommitted("as the seed says".to_owned()));
        }
        Ok(())
    }

    /// A call is done; its answer may be lost, or its server dies before anybody has heard it.
    pub(super) async fn after(&self, call: &str) -> Result<(), StoreError> {
        let faults = self.world.faults();
        self.takes(faults.store_ms_max).await;
        if self.gate.dice.strikes(faults.death_after) {
            self.world.tell(&format!("s{} dies after {call}", self.gate.server));
            self.gate.kill();
        }
        self.alive().await;
        if self.gate.dice.strikes(faults.answer_lost) {
            self.world.tell(&format!("s{} {call} is done, its answer lost", self.gate.server));
            return Err(StoreError::Panicked);
        }
        Ok(())
    }

    async fn takes(&self, ms_max: u64) {
        let ms = self.gate.dice.between(0, ms_max);
        if ms > 0 {
            tokio::time::sleep(Duration::from_millis(ms)).await;
        }
    }

    /// A dead server's call goes no further.
    async fn alive(&self) {
        if self.gate.is_over() {
            std::future::pending::<()>().await;
        }
    }
}

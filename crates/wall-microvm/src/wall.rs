//! One wall of two ways to run machines: with KVM where that boots the guest, emulated where it does not.
//!
//! A `/dev/kvm` that opens may still not run an ordinary kernel. So the first compartment is the probe: it boots the real
//! guest with KVM and has [`crate::KVM_BOOT_MAX`] for a sign of life. What came of it holds until the server ends.

use bulkhead_wall::{Capability, Compartment, CompartmentSpec, DynWall, Wall, WallError};
use bulkhead_wall_process::LaunchedWall;
use std::sync::Arc;
use tokio::sync::Mutex;

use crate::{KVM_BOOT_MAX, NAME, NAME_KVM, ZYGOTES_MAX};

/// The walls of a launcher, with the two ways of this one made into one.
#[must_use]
pub fn join(walls: Vec<LaunchedWall>) -> Vec<DynWall> {
    let (mut kvm, mut emulated) = (None, None);
    let mut all: Vec<DynWall> = Vec::new();
    for wall in walls {
        match wall.name() {
            NAME_KVM => kvm = Some(wall),
            NAME => emulated = Some(wall),
            _ => all.push(Arc::new(wall)),
        }
    }
    if let Some(emulated) = emulated {
        if kvm.is_none() {
            tracing::debug!("no /dev/kvm: microVMs are emulated (tcg)");
        }
        all.push(Arc::new(Joined { kvm, emulated, boots: Mutex::new(None) }));
    }
    all
}

struct Joined<W> {
    kvm: Option<W>,
    emulated: W,
    /// Whether KVM has booted a guest; nothing until somebody has tried.
    boots: Mutex<Option<bool>>,
}

impl<W: Wall> Joined<W> {
    /// With KVM, unless that is known not to work; `None` then.
    async fn with_kvm(
        &self,
        spec: &CompartmentSpec,
    ) -> Option<Result<Box<dyn Compartment>, WallError>> {
        let kvm = self.kvm.as_ref()?;
        // Whoever comes while the first one tries waits for what it finds out.
        let mut boots = self.boots.lock().await;
        match *boots {
            Some(false) => return None,
            Some(true) => {
                drop(boots);
                return Some(kvm.create(spec.clone()).await);
            }
            None => {}
        }
        match kvm.create(spec.clone()).await {
            Ok(compartment) => {
                *boots = Some(true);
                tracing::info!("microVMs run with KVM");
                Some(Ok(compartment))
            }
            Err(error) if error.stage == "guest" => {
                *boots = Some(false);
                tracing::warn!(
                    %error,
                    seconds = KVM_BOOT_MAX.as_secs(),
                    "KVM is there but did not boot the guest: microVMs are emulated (tcg) from here on, which is slower"
                );
                None
            }
            Err(error) => Some(Err(error)),
        }
    }
}

#[async_trait::async_trait]
impl<W: Wall> Wall for Joined<W> {
    fn name(&self) -> &'static str {
        NAME
    }

    async fn probe(&self) -> Capability {
        self.emulated.probe().await
    }

    fn zygotes_max(&self) -> u32 {
        ZYGOTES_MAX
    }

    async fn create(&self, spec: CompartmentSpec) -> Result<Box<dyn Compartment>, WallError> {
        match self.with_kvm(&spec).await {
            Some(created) => created,
            None => self.emulated.create(spec).await,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    /// Fails with a stage, and counts.
    struct Failing(&'static str, AtomicU32);

    #[async_trait::async_trait]
    impl Wall for Failing {
        fn name(&self) -> &'static str {
            "failing"
        }

        async fn probe(&self) -> Capability {
            Capability {
                available: true,
                fork_isolation: true,
                requirements: Vec::new(),
                differences: Vec::new(),
            }
        }

        async fn create(&self, _: CompartmentSpec) -> Result<Box<dyn Compartment>, WallError> {
            self.1.fetch_add(1, Ordering::Relaxed);
            Err(WallError::new(self.0, "no"))
        }
    }

    fn spec() -> CompartmentSpec {
        CompartmentSpec {
            mounts: Vec::new(),
            slots: 1,
            scratch_mib: 1,
            scratch_inodes: 1,
            memory_mib: 1,
            processes: 1,
            zygotes: 0,
        }
    }

    async fn tries(stage: &'static str) -> (u32, u32, Vec<String>) {
        let kvm = Failing(stage, AtomicU32::new(0));
        let emulated = Failing("emulated", AtomicU32::new(0));
        let wall = Joined { kvm: Some(kvm), emulated, boots: Mutex::new(None) };
        let mut stages = Vec::new();
        for _ in 0..2 {
            stages.push(wall.create(spec()).await.err().unwrap().stage);
        }
        let count = |it: &Failing| it.1.load(Ordering::Relaxed);
        (count(wall.kvm.as_ref().unwrap()), count(&wall.emulated), stages)
    }

    #[tokio::test]
    async fn a_kvm_that_boots_nothing_is_tried_once() {
        let (kvm, emulated, stages) = tries("guest").await;
        assert_eq!((kvm, emulated), (1, 2));
        assert_eq!(stages, ["emulated", "emulated"]);
    }

    #[tokio::test]
    async fn a_failed_restriction_is_no_reason_to_emulate() {
        let (kvm, emulated, stages) = tries("mounts").await;
        assert_eq!((kvm, emulated), (2, 0));
        assert_eq!(stages, ["mounts", "mounts"]);
    }
}

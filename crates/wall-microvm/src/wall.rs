//! One wall of two ways to run machines: with KVM where that boots the guest, emulated where it does not.
//!
//! A `/dev/kvm` that opens may still not run an ordinary kernel. So the first compartment is the probe: it boots the real
//! guest with KVM and has [`crate::KVM_BOOT_MAX`] for a sign of life. What came of it holds until the server ends; that it
//! did not boot, longer ([`crate::remembered`]).

use bulkhead_wall::{Capability, Compartment, CompartmentSpec, DynWall, Wall, WallError};
use bulkhead_wall_process::LaunchedWall;
use std::sync::Arc;
use tokio::sync::Mutex;

use crate::remembered::{Answer, Remembered};
use crate::{KVM_BOOT_MAX, NAME, NAME_KVM, ZYGOTES_MAX};

/// The walls of a launcher, with the two ways of this one made into one. What came of KVM is kept in `remembered`.
#[must_use]
pub fn join(walls: Vec<LaunchedWall>, remembered: Option<Remembered>) -> Vec<DynWall> {
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
        all.push(Arc::new(Joined { kvm, emulated, boots: Mutex::new(None), remembered }));
    }
    all
}

struct Joined<W> {
    kvm: Option<W>,
    emulated: W,
    /// Whether KVM has booted a guest; nothing until somebody has tried.
    boots: Mutex<Option<bool>>,
    remembered: Option<Remembered>,
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
            None if self.is_known_not_to_boot() => {
                *boots = Some(false);
                return None;
            }
            None => {}
        }
        match kvm.create(spec.clone()).await {
            Ok(compartment) => {
                *boots = Some(true);
                self.remember(true, "KVM booted the guest");
                tracing::info!("microVMs run with KVM");
                Some(Ok(compartment))
            }
            Err(error) if error.stage == "guest" => {
                *boots = Some(false);
                self.remember(false, &error.message);
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

    /// By a server before this one, on this very machine.
    fn is_known_not_to_boot(&self) -> bool {
        let Some(remembered) = &self.remembered else { return false };
        let Some(Answer { boots: false, why }) = remembered.recall() else { return false };
        let file = remembered.path().display();
        tracing::warn!(
            %why, %file,
            "KVM is there and did not boot a guest when it was tried: microVMs are emulated (tcg), which is slower; \
             to have it tried again, remove the file and start anew"
        );
        true
    }

    fn remember(&self, boots: bool, why: &str) {
        if let Some(remembered) = &self.remembered {
            remembered.keep(Answer { boots, why: why.to_owned() });
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

    /// How often each way was tried by a server that is asked twice, and what came of it.
    async fn tries(stage: &'static str, remembered: Option<Remembered>) -> (u32, u32, Vec<String>) {
        let kvm = Failing(stage, AtomicU32::new(0));
        let emulated = Failing("emulated", AtomicU32::new(0));
        let wall = Joined { kvm: Some(kvm), emulated, boots: Mutex::new(None), remembered };
        let mut stages = Vec::new();
        for _ in 0..2 {
            stages.push(wall.create(spec()).await.err().unwrap().stage);
        }
        let count = |it: &Failing| it.1.load(Ordering::Relaxed);
        (count(wall.kvm.as_ref().unwrap()), count(&wall.emulated), stages)
    }

    #[tokio::test]
    async fn a_kvm_that_boots_nothing_is_tried_once() {
        let (kvm, emulated, stages) = tries("guest", None).await;
        assert_eq!((kvm, emulated), (1, 2));
        assert_eq!(stages, ["emulated", "emulated"]);
    }

    #[tokio::test]
    async fn a_failed_restriction_is_no_reason_to_emulate() {
        let (kvm, emulated, stages) = tries("mounts", None).await;
        assert_eq!((kvm, emulated), (2, 0));
        assert_eq!(stages, ["mounts", "mounts"]);
    }

    #[tokio::test]
    async fn the_next_server_knows_that_it_boots_nothing_until_the_file_is_gone() {
        let data = tempfile::tempdir().unwrap();
        let remembered = || Some(Remembered::for_test(data.path()));
        assert_eq!(tries("guest", remembered()).await.0, 1);
        assert_eq!(tries("guest", remembered()).await, (0, 2, vec!["emulated".to_owned(); 2]));
        std::fs::remove_file(remembered().unwrap().path()).unwrap();
        assert_eq!(tries("guest", remembered()).await.0, 1);
    }

    #[tokio::test]
    async fn that_it_boots_is_not_relied_on_and_a_failed_restriction_is_no_answer() {
        let data = tempfile::tempdir().unwrap();
        let remembered = || Some(Remembered::for_test(data.path()));
        remembered().unwrap().keep(Answer { boots: true, why: "it did".to_owned() });
        assert_eq!(tries("mounts", remembered()).await.0, 2);
        assert!(remembered().unwrap().recall().unwrap().boots, "nothing was learned");
        assert_eq!(tries("guest", remembered()).await.0, 1);
        assert!(!remembered().unwrap().recall().unwrap().boots);
    }
}

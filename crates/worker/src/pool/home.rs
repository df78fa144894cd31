//! A zygote in a compartment, as its version has it: ready to be forked from, until nobody uses it any more.

use std::path::Path;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use bulkhead_protocol::{BUNDLES_BYTES_MAX, BundleHead, ZygoteSpec};

use super::house::{House, Lodging, unavailable};
use super::{Pool, TakeError};
use crate::mux::{Guest, ZygoteLost};

/// Stages at which a zygote fails for reasons of the bundle's: it threw, or while it loaded the zygote left or was busy for
/// too long. At all others it is the platform's failure.
const BUNDLE_STAGES: [&str; 2] = ["bundle", "zygote"];

/// The longest message about a failed bundle that is passed on, bytes.
const MESSAGE_BYTES_MAX: usize = 8 * 1024;

/// A zygote. When the last who uses it lets go, it ends; with the last one of a compartment, that goes too.
pub(super) struct Home {
    lodging: Lodging,
    pool: Weak<Pool>,
    /// When it was ready.
    pub(super) born_us: u64,
    /// When the last attempt in it ended.
    used_us: AtomicU64,
    running: AtomicU32,
    /// Forks in a row that came to nothing.
    failures: AtomicU32,
}

impl Home {
    /// Starts the zygote, with a bundle that goes over the stream or is there already.
    pub(super) async fn start(
        pool: &Arc<Pool>,
        lodging: Lodging,
        zygote: ZygoteSpec,
        bundle: Option<(BundleHead, Vec<u8>)>,
    ) -> Result<Arc<Self>, TakeError> {
        let started = lodging.house.guest.start_zygote(lodging.zygote, zygote, bundle).await;
        started.map_err(zygote_failed)?;
        let now_us = pool.monotonic.micros();
        Ok(Arc::new(Self {
            lodging,
            pool: Arc::downgrade(pool),
            born_us: now_us,
            used_us: AtomicU64::new(now_us),
            running: AtomicU32::new(0),
            failures: AtomicU32::new(0),
        }))
    }

    pub(super) fn guest(&self) -> &Arc<Guest> {
        &self.lodging.house.guest
    }

    pub(super) fn house(&self) -> &Arc<House> {
        &self.lodging.house
    }

    pub(super) fn zygote(&self) -> u32 {
        self.lodging.zygote
    }

    /// Whether it can fork.
    pub(super) fn is_alive(&self) -> bool {
        self.lodging.is_alive()
    }

    /// In its compartment, for whichever zygote asks first.
    pub(super) fn free_slots(&self) -> usize {
        self.house().free_slots()
    }

    pub(super) fn is_running(&self) -> bool {
        self.running.load(Ordering::Acquire) > 0
    }

    pub(super) fn used_us(&self) -> u64 {
        self.used_us.load(Ordering::Acquire)
    }

    pub(super) fn fork_succeeded(&self) {
        self.failures.store(0, Ordering::Release);
    }

    /// How many forks in a row have failed now.
    pub(super) fn fork_failed(&self) -> u32 {
        self.failures.fetch_add(1, Ordering::AcqRel) + 1
    }

    /// It is expected to be used soon.
    pub(super) fn touch(&self, now_us: u64) {
        self.used_us.fetch_max(now_us, Ordering::AcqRel);
    }
}

/// Reads a bundle, to be sent; `sha256` is its name, by which the guest sees that all of it came.
pub(super) async fn read_bundle(
    path: &Path,
    sha256: &str,
) -> Result<(BundleHead, Vec<u8>), TakeError> {
    let failed = |error: std::io::Error| {
        unavailable("bundle_transfer", &format!("{}: {error}", path.display()))
    };
    let bytes = tokio::fs::metadata(path).await.map_err(failed)?.len();
    if bytes > BUNDLES_BYTES_MAX {
        let message = format!("a bundle of more than {} MiB", BUNDLES_BYTES_MAX >> 20);
        return Err(unavailable("bundle_transfer", &message));
    }
    let content = tokio::fs::read(path).await.map_err(failed)?;
    let bytes = content.len() as u64;
    Ok((BundleHead { bytes, sha256: sha256.to_owned() }, content))
}

/// An attempt's hold on its compartment.
pub(super) struct InUse {
    home: Arc<Home>,
}

impl InUse {
    pub(super) fn new(home: Arc<Home>) -> Self {
        home.running.fetch_add(1, Ordering::AcqRel);
        Self { home }
    }

    pub(super) fn home(&self) -> &Arc<Home> {
        &self.home
    }

    /// Lets go, and keeps the compartment all the same.
    pub(super) fn release(self) -> Arc<Home> {
        Arc::clone(&self.home)
    }
}

impl Drop for InUse {
    fn drop(&mut self) {
        self.home.running.fetch_sub(1, Ordering::AcqRel);
        if let Some(pool) = self.home.pool.upgrade() {
            self.home.used_us.store(pool.monotonic.micros(), Ordering::Release);
            pool.idle.notify_one();
        }
    }
}

fn zygote_failed(lost: ZygoteLost) -> TakeError {
    match lost {
        ZygoteLost::Broken(broken) => unavailable("guest", &broken.to_string()),
        ZygoteLost::Failed { error, output } => {
            if !BUNDLE_STAGES.contains(&error.stage.as_str()) {
                return TakeError::Unavailable { stage: error.stage, message: error.message };
            }
            let output = output.trim();
            let mut message = error.message;
            if !output.is_empty() && !message.contains(output) {
                message = format!("{message}\n{output}");
            }
            TakeError::Bundle { message: crate::text::cut(&message, MESSAGE_BYTES_MAX) }
        }
    }
}

//! A compartment with a zygote in it, from built to destroyed.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use bulkhead_protocol::ZygoteSpec;
use bulkhead_wall::{Compartment, CompartmentSpec, Wall};
use tokio::sync::Mutex;

use super::places::Place;
use super::{Pool, TakeError};
use crate::mux::{Change, Guest, OnChange, ZygoteLost};
use crate::stats::Stats;

/// The one zygote of a compartment: each function version has compartments of its own.
pub(super) const ZYGOTE: u32 = 1;

/// Stages at which a zygote fails for reasons of the bundle's: it threw, or while it loaded the zygote left or was busy for
/// too long. At all others it is the platform's failure.
const BUNDLE_STAGES: [&str; 2] = ["bundle", "zygote"];

/// The longest message about a failed bundle that is passed on, bytes.
const MESSAGE_BYTES_MAX: usize = 8 * 1024;

/// A compartment. When the last who uses it lets go, it is destroyed.
pub(super) struct Home {
    pub(super) guest: Arc<Guest>,
    /// Taken out by drop only.
    held: Mutex<Option<Held>>,
    zygote_died: Arc<AtomicBool>,
    pool: Weak<Pool>,
    /// When it was ready.
    pub(super) born_us: u64,
    /// When the last attempt in it ended.
    used_us: AtomicU64,
    running: AtomicU32,
    /// Forks in a row that came to nothing.
    failures: AtomicU32,
    /// What it kept when it was last looked at, bytes, and when that was; 0 is never.
    memory_bytes: AtomicU64,
    measured_us: AtomicU64,
}

/// What is idle changes little: its memory is looked at again after this long, microseconds, or after it was used.
const MEASURED_FOR_US: u64 = 30_000_000;

impl Home {
    /// Builds a compartment and starts the zygote in it. Whatever was built before a failure is destroyed.
    pub(super) async fn build(
        pool: &Arc<Pool>,
        place: Place,
        (wall, spec): (&dyn Wall, CompartmentSpec),
        zygote: ZygoteSpec,
        on_change: OnChange,
    ) -> Result<Arc<Self>, TakeError> {
        let wall_failed = |error: bulkhead_wall::WallError| TakeError::Unavailable {
            stage: error.stage,
            message: error.message,
        };
        let mut compartment = wall.create(spec).await.map_err(wall_failed)?;
        Stats::count(&pool.stats.compartments_built);
        let stream = compartment.take_stream();
        // From here on the compartment is in somebody's hands who destroys it.
        let built = Unfinished { pool: Arc::downgrade(pool), held: Some((compartment, place)) };
        let stream = stream.ok_or_else(|| unavailable("stream", "the wall gave no stream"))?;
        let zygote_died = Arc::new(AtomicBool::new(false));
        let died = Arc::clone(&zygote_died);
        let notice: OnChange = Box::new(move |change| {
            if change == Change::ZygoteDied {
                died.store(true, Ordering::Release);
            }
            on_change(change);
        });
        let guest = Guest::connect(stream, Arc::clone(&pool.monotonic), &pool.tasks, notice)
            .await
            .map_err(|broken| unavailable("guest", &broken.to_string()))?;
        if let Err(lost) = guest.start_zygote(ZYGOTE, zygote).await {
            guest.close();
            return Err(zygote_failed(lost));
        }
        let now_us = pool.monotonic.micros();
        Ok(Arc::new(Self {
            guest,
            held: Mutex::new(built.finish()),
            zygote_died,
            pool: Arc::downgrade(pool),
            born_us: now_us,
            used_us: AtomicU64::new(now_us),
            running: AtomicU32::new(0),
            failures: AtomicU32::new(0),
            memory_bytes: AtomicU64::new(0),
            measured_us: AtomicU64::new(0),
        }))
    }

    /// Whether it can fork.
    pub(super) fn is_alive(&self) -> bool {
        !self.zygote_died.load(Ordering::Acquire) && !self.guest.is_broken()
    }

    pub(super) fn free_slots(&self) -> usize {
        self.guest.slots().saturating_sub(self.guest.slots_used()) as usize
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

    /// The compartment's memory, bytes, when it was last measured; 0 where it can't be told.
    pub(super) fn memory_bytes(&self) -> u64 {
        self.memory_bytes.load(Ordering::Acquire)
    }

    /// Measures its memory, unless it was measured since it was last used.
    pub(super) async fn measure(&self, now_us: u64) {
        let measured_us = self.measured_us.load(Ordering::Acquire);
        let fresh = now_us.saturating_sub(measured_us) < MEASURED_FOR_US;
        if measured_us > 0 && fresh && measured_us > self.used_us() {
            return;
        }
        let bytes = match self.held.lock().await.as_ref() {
            Some((compartment, _)) => compartment.memory_bytes().await.unwrap_or(0),
            None => 0,
        };
        self.memory_bytes.store(bytes, Ordering::Release);
        self.measured_us.store(now_us, Ordering::Release);
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        self.guest.close();
        if let Some(held) = self.held.get_mut().take() {
            destroy(&self.pool, held);
        }
    }
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

/// A compartment, and the place it takes until nothing of it is left.
type Held = (Box<dyn Compartment>, Place);

/// A compartment that is not a home yet.
struct Unfinished {
    pool: Weak<Pool>,
    held: Option<Held>,
}

impl Unfinished {
    fn finish(mut self) -> Option<Held> {
        self.held.take()
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if let Some(held) = self.held.take() {
            destroy(&self.pool, held);
        }
    }
}

/// Destroys in the background.
fn destroy(pool: &Weak<Pool>, (compartment, place): Held) {
    // Without a pool there is nobody to run the background task: dropping destroys too.
    let Some(pool) = pool.upgrade() else { return };
    place.leave();
    let stats = Arc::clone(&pool.stats);
    pool.tasks.spawn(async move {
        let id = compartment.id();
        if let Err(error) = compartment.destroy().await {
            tracing::error!(compartment = id, %error, "a compartment was not removed whole");
        }
        Stats::count(&stats.compartments_gone);
        drop(place);
    });
}

fn unavailable(stage: &str, message: &str) -> TakeError {
    TakeError::Unavailable { stage: stage.to_owned(), message: message.to_owned() }
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

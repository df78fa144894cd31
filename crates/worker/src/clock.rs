//! A clock that never goes back, as an argument: what durations are measured with.

/// Microseconds that only grow, from an origin of its own.
pub trait Monotonic: Send + Sync + 'static {
    /// Now.
    fn micros(&self) -> u64;
}

/// The machine's monotonic clock, or the paused one of a test's runtime.
#[derive(Debug, Clone, Copy)]
pub struct SystemMonotonic(tokio::time::Instant);

impl SystemMonotonic {
    /// Begins at zero.
    #[must_use]
    #[allow(clippy::disallowed_methods, reason = "this is the one place that reads this clock")]
    #[allow(clippy::new_without_default, reason = "a clock's origin is no default")]
    pub fn new() -> Self {
        Self(tokio::time::Instant::now())
    }
}

impl Monotonic for SystemMonotonic {
    fn micros(&self) -> u64 {
        u64::try_from(self.0.elapsed().as_micros()).unwrap_or(u64::MAX)
    }
}

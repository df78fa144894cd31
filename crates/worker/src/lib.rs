//! One attempt from lease to outcome; the pool of compartments and zygotes.
//!
//! Invariant: a worker knows no database and no HTTP. Work comes from a [`WorkSource`], a function's calls are
//! answered by a [`Host`], and sandboxes live behind any `Wall`.

mod source;

pub use source::{Host, Prepared, Recall, RecallReason, Settled, SourceError, WorkSource};

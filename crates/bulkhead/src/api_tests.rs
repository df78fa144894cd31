//! The API over a real port, with a real engine and a real platform on a temporary database. What a worker does is
//! done by the test: it leases and settles. Here and not in `bulkhead-server`, which must not know the store.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod harness;
mod limits;
mod passing;
mod refusals;
mod walk;
mod workers;

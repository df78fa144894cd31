//! Typed HTTP client for the CLI, the demo and the benchmarks.
//!
//! Layout: [`Client`] sends a [`Request`] made from the route table of `bulkhead-api` and reads the answer under a
//! size limit; `events` reads a log that is followed live.
//!
//! Invariant: it knows the API and nothing of what is behind it; whatever a server answers, it allocates no more
//! than its limits.

mod client;
mod error;
mod events;
mod request;

pub use client::{Answer, BodyError, Client, Pieces};
pub use error::ClientError;
pub use events::LogFollower;
pub use request::Request;

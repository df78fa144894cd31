//! The whole engine, simulated: `bulkhead-engine` over the in-memory store, with servers, workers and callers that
//! come and go, a virtual clock, and every random choice from one seed. What goes wrong with a seed goes wrong with
//! it every time.
//!
//! A run has three parts. In the **storm**, callers submit, cancel and pause while servers and workers die, answers
//! are lost, come late or twice, and clocks jump; which of these happen, and how often, is drawn per seed
//! ([swarm testing](https://users.cs.utah.edu/~regehr/papers/swarm12.pdf): a run with few kinds of faults goes deeper
//! than one with all). All along, checkers watch every commit. Then comes the **calm**: no more faults, and all that
//! was accepted must end. What is left at the **end** is counted: nothing may be.
//!
//! Layout, in reading order:
//! - [`run`] (`run.rs`): one seed, from storm to end.
//! - `swarm.rs`: what a seed draws: how many of everything, and which faults.
//! - `world.rs`: what all actors of a run share; `time.rs`: its clocks; `trace.rs`: what happened.
//! - `server.rs`: a server that lives, dies and comes back; `network.rs`: how others reach it.
//! - `actor/`: callers, workers, and what the functions that they run do.
//! - `store/`: stands between engine and store: calls fail or never return, each commit is shown to the checkers, and
//!   other servers hear of it late or never.
//! - `check/`: the checkers: a naive model of what the engine promises.
//! - [`after`]: what a store looks like once all has ended.
//! - [`Canary`] (`canary.rs`): broken stores, to see that each checker can find something.
//! - [`many`]: many seeds, on several threads.
//!
//! Determinism: one thread, `tokio`'s paused clock, which moves to the next timer when nothing else can run; no
//! `select!` that is not `biased`; maps are ordered wherever their order could be seen. A test runs seeds twice and
//! compares all that happened.
//!
//! Invariant: the simulator has no idea of its own of what the engine should decide; it checks promises, not
//! choices. Nothing of the product depends on it, and no code of the product knows that it is simulated.

mod actor;
pub mod after;
mod canary;
mod check;
pub mod many;
mod network;
mod run;
mod server;
mod store;
mod swarm;
mod time;
mod trace;
mod world;

pub use canary::Canary;
pub use check::{Counts, Violation};
pub use run::{Report, run};

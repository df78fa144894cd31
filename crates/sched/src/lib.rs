//! The deciding code. Plain functions over plain values: what runs next, what follows the end of an attempt, when
//! a lease is dead, when a schedule is due.
//!
//! Layout, in reading order:
//! - [`share`]: whose turn it is: fair queueing between tenants, and admission.
//! - [`rank`]: which of a tenant's executions comes first.
//! - [`gate`]: limits per function, connection and concurrency key, and pauses.
//! - [`room`]: whether an execution fits into a worker.
//! - [`settle`]: an attempt ended; what now?
//! - [`retry`]: how long to wait before trying again.
//! - [`lease`]: when a lease is dead.
//! - [`frequency`]: `every 5m` and `cron: 0 6 * * 1-5 Europe/Paris`.
//! - [`schedule`]: jitter, and what becomes of runs that were missed.
//!
//! Invariant: this crate knows no clock, no database and no async. Time and randomness are arguments, so that
//! SQLite, the in-memory store and a seeded simulator run the same code.

pub mod frequency;
pub mod gate;
pub mod lease;
pub mod rank;
pub mod retry;
pub mod room;
pub mod schedule;
pub mod settle;
pub mod share;

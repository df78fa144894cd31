//! The deciding code. Plain functions over plain values: what runs next, what follows the end of an attempt, when
//! a lease is dead, when a schedule is due.
//!
//! Layout, in reading order:
//! - [`share`]: whose turn it is: fair queueing between tenants, and admission.
//! - [`rank`]: which of a tenant's executions comes first.
//! - [`settle`]: an attempt ended; what now?
//! - [`retry`]: how long to wait before trying again.
//! - [`lease`]: when a lease is dead.
//! - [`frequency`]: `every 5m` and `cron: 0 6 * * 1-5 Europe/Paris`.
//!
//! Invariant: this crate knows no clock, no database and no async. Time and randomness are arguments, so that
//! SQLite, the in-memory store and a seeded simulator run the same code.

pub mod frequency;
pub mod lease;
pub mod rank;
pub mod retry;
pub mod settle;
pub mod share;

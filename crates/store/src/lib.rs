//! Durable state: one database, SQLite or PostgreSQL, and over it what the rest of Bulkhead keeps.
//!
//! Layout, in reading order:
//! - [`db`]: the database itself: one writer that commits in groups, a pool of readers, migrations.
//! - [`hot`]: executions from accepted to final, leases, schedules: the [`hot::Store`] seam of the engine, over
//!   SQL and in memory.
//! - [`fence`]: refuses writes of an attempt whose lease is lost.
//! - [`checkpoints`]: from where the next attempt goes on.
//! - [`catalog`]: what tenants deploy and set up.
//! - [`records`], [`logs`], [`locks`]: what executions leave and hold.
//!
//! Invariant: this crate keeps and finds; it decides nothing. What runs next, what is retried and what ends is
//! asked of `bulkhead-sched`, inside the transaction that carries it out. Nobody outside this crate writes SQL.

pub mod catalog;
pub mod checkpoints;
pub mod db;
pub mod fence;
pub mod hot;
pub mod locks;
pub mod logs;
pub mod records;
mod rows;
#[cfg(test)]
mod test_databases;

pub use db::{Conn, Db, DbOptions, Dialect, Durability, StoreError};

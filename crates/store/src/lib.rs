//! Durable state: one SQLite database, and over it what the rest of Bulkhead keeps.
//!
//! Layout, in reading order:
//! - [`db`]: the database itself: one writer that commits in groups, a pool of readers, migrations.
//!
//! Invariant: this crate keeps and finds; it decides nothing. What runs next, what is retried and what ends is
//! asked of `bulkhead-sched`, inside the transaction that carries it out. Nobody outside this crate writes SQL.

pub mod db;

pub use db::{Db, DbOptions, Durability, StoreError};

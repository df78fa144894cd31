//! Durable state: the Store trait, SQLite, and an in-memory store.

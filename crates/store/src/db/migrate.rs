//! Migrations: numbered SQL files, applied at start, each in a transaction of its own, forward only.
//!
//! They are written for SQLite; PostgreSQL gets the same with its own types ([`postgres::schema`]), so that the two
//! schemas can't drift apart, and what only PostgreSQL has beside them.

use super::conn::{Conn, Dialect};
use super::{StoreError, params, postgres};

/// One step of the schema.
struct Migration {
    /// For both databases.
    sql: &'static str,
    /// For PostgreSQL besides.
    postgres: &'static str,
}

const fn both(sql: &'static str) -> Migration {
    Migration { sql, postgres: "" }
}

/// Every migration, oldest first. Numbers are positions from 1. Add at the end, never change one that was released.
const MIGRATIONS: &[Migration] = &[
    Migration {
        sql: include_str!("../../migrations/0001_executions.sql"),
        postgres: include_str!("../../migrations/postgres/0001_executions.sql"),
    },
    both(include_str!("../../migrations/0002_catalog.sql")),
    both(include_str!("../../migrations/0003_records.sql")),
    both(include_str!("../../migrations/0004_sync_settings.sql")),
    both(include_str!("../../migrations/0005_worker_tokens.sql")),
    both(include_str!("../../migrations/0006_gates.sql")),
    both(include_str!("../../migrations/0007_wall.sql")),
    both(include_str!("../../migrations/0008_told.sql")),
];

/// Brings the schema up to what this program knows.
pub(super) fn migrate(conn: &Conn) -> Result<(), StoreError> {
    let known = u32::try_from(MIGRATIONS.len()).unwrap_or(u32::MAX);
    if conn.dialect() == Dialect::Postgres {
        // In turn: two that create the same table at the same time would trip over each other.
        conn.begin(true)?;
        conn.batch("CREATE TABLE IF NOT EXISTS migrations (number BIGINT PRIMARY KEY)")?;
        conn.commit()?;
    }
    let found = applied(conn)?;
    if found > known {
        return Err(StoreError::Newer { found, known });
    }
    for (number, migration) in (1..).zip(MIGRATIONS).skip_while(|(number, _)| *number <= found) {
        apply(conn, number, migration).map_err(|source| {
            drop(conn.rollback());
            StoreError::Migration { number, source: Box::new(source) }
        })?;
    }
    Ok(())
}

/// The newest migration of a PostgreSQL database that may be no database of ours yet.
pub(super) fn found(conn: &Conn) -> Result<u32, StoreError> {
    let sql = "SELECT to_regclass('migrations') IS NOT NULL";
    if conn.only(sql, params![], |row| row.get::<bool>(0))? { applied(conn) } else { Ok(0) }
}

/// The newest migration that was applied; 0 in an empty database.
fn applied(conn: &Conn) -> Result<u32, StoreError> {
    if conn.dialect() == Dialect::Sqlite {
        return Ok(conn.one("PRAGMA user_version", params![], |row| row.get(0))?.unwrap_or(0));
    }
    let newest = conn.one("SELECT max(number) FROM migrations", params![], |row| row.get(0))?;
    Ok(newest.flatten().unwrap_or(0))
}

/// Applies one, unless another server did while this one waited for its turn.
fn apply(conn: &Conn, number: u32, migration: &Migration) -> Result<(), StoreError> {
    conn.begin(true)?;
    if applied(conn)? >= number {
        return conn.rollback();
    }
    match conn.dialect() {
        Dialect::Sqlite => {
            conn.batch(migration.sql)?;
            conn.batch(&format!("PRAGMA user_version = {number}"))?;
        }
        Dialect::Postgres => {
            conn.batch(&postgres::schema(migration.sql))?;
            conn.batch(migration.postgres)?;
            conn.execute("INSERT INTO migrations (number) VALUES (?)", params![number])?;
        }
    }
    conn.commit()?;
    tracing::info!(number, "migration applied");
    Ok(())
}

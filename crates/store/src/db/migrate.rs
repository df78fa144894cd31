//! Migrations: numbered SQL files, applied at start, each in a transaction of its own, forward only.

use rusqlite::Connection;

use super::StoreError;

/// Every migration, oldest first. Numbers are positions from 1; `PRAGMA user_version` is the newest applied.
/// Add at the end, never change one that was released.
const MIGRATIONS: &[&str] = &[
    include_str!("../../migrations/0001_executions.sql"),
    include_str!("../../migrations/0002_catalog.sql"),
    include_str!("../../migrations/0003_records.sql"),
    include_str!("../../migrations/0004_sync_settings.sql"),
];

pub(super) fn migrate(connection: &mut Connection) -> Result<(), StoreError> {
    let found: u32 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let known = u32::try_from(MIGRATIONS.len()).unwrap_or(u32::MAX);
    if found > known {
        return Err(StoreError::Newer { found, known });
    }
    for (number, sql) in (1..).zip(MIGRATIONS).skip_while(|(number, _)| *number <= found) {
        apply(connection, number, sql)
            .map_err(|source| StoreError::Migration { number, source })?;
        tracing::info!(number, "migration applied");
    }
    Ok(())
}

fn apply(connection: &mut Connection, number: u32, sql: &str) -> Result<(), rusqlite::Error> {
    let tx = connection.transaction()?;
    tx.execute_batch(sql)?;
    tx.pragma_update(None, "user_version", number)?;
    tx.commit()
}

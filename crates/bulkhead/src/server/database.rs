//! The database of a server: a file of its own, or one that several servers share.

use std::fmt::Display;
use std::time::Duration;

use anyhow::Context as _;
use bulkhead_config::{Config, Synchronous};
use bulkhead_store::{Db, DbOptions, Durability, StoreError};

/// A start waits for a database that starts or recovers: a minute.
const TRIES: u32 = 120;
const PAUSE: Duration = Duration::from_millis(500);

pub(super) async fn open(config: &Config) -> anyhow::Result<Db> {
    if let Some(url) = &config.database_url {
        // It may have been started with us, or recover from what stopped us.
        let connect = || Db::connect(url.reveal(), DbOptions::default());
        return once_ready(connect, StoreError::is_restarting)
            .await
            .context("can't use the database that database_url names");
    }
    let durability = match config.synchronous {
        Synchronous::Normal => Durability::Normal,
        Synchronous::Full => Durability::Full,
    };
    let path = config.data_dir.join("bulkhead.db");
    let options = DbOptions { durability, ..DbOptions::default() };
    Db::open_with(&path, options).with_context(|| format!("can't open {}", path.display()))
}

/// Tries again as long as the error is one that passes by itself.
async fn once_ready<T, E: Display>(
    mut connect: impl AsyncFnMut() -> Result<T, E>,
    passes: impl Fn(&E) -> bool,
) -> Result<T, E> {
    let mut tries = TRIES;
    loop {
        match connect().await {
            Err(error) if passes(&error) && tries > 1 => {
                tracing::warn!(%error, "the database is not ready yet; trying again");
                tokio::time::sleep(PAUSE).await;
                tries -= 1;
            }
            connected => return connected,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How often it was tried, and how that ended, where the first `restarting` tries meet a database that restarts.
    async fn tried(
        restarting: u32,
        then: Result<(), &'static str>,
    ) -> (u32, Result<(), &'static str>) {
        let mut count = 0;
        let connect = async || {
            count += 1;
            if count <= restarting { Err("restarting") } else { then }
        };
        let ended = once_ready(connect, |error| *error == "restarting").await;
        (count, ended)
    }

    #[tokio::test(start_paused = true)]
    async fn a_start_waits_for_a_database_that_restarts_and_for_nothing_else() {
        assert_eq!(tried(0, Ok(())).await, (1, Ok(())));
        assert_eq!(tried(7, Ok(())).await, (8, Ok(())));
        assert_eq!(tried(0, Err("wrong password")).await, (1, Err("wrong password")));
        assert_eq!(tried(2, Err("wrong password")).await, (3, Err("wrong password")));
        assert_eq!(tried(u32::MAX, Ok(())).await, (TRIES, Err("restarting")), "not for ever");
    }
}

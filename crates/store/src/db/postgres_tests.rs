//! What only PostgreSQL can do wrong.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use bulkhead_testkit::postgres::{Cluster, Database};

use super::*;

async fn open() -> (Database, Db) {
    let database = bulkhead_testkit::postgres();
    let db = Db::connect(database.url(), DbOptions::default()).await.unwrap();
    db.write(|tx| tx.batch("CREATE TABLE t (n BIGINT UNIQUE)")).await.unwrap();
    (database, db)
}

async fn insert(db: &Db, n: i64) -> Result<usize, StoreError> {
    db.write(move |tx| tx.execute("INSERT INTO t VALUES (?)", params![n])).await
}

async fn insert_hot(db: &Db, n: i64) -> Result<usize, StoreError> {
    db.write_whole(Need::Unknown, move |tx| tx.execute("INSERT INTO t VALUES (?)", params![n]))
        .await
}

async fn all(db: &Db) -> Vec<i64> {
    let sql = "SELECT n FROM t ORDER BY n";
    db.read(|conn| conn.all(sql, params![], |row| row.get(0))).await.unwrap()
}

#[tokio::test]
async fn a_write_that_fails_or_panics_takes_back_its_own_writes() {
    let (_database, db) = open().await;
    let halfway = db.write(|tx| {
        tx.execute("INSERT INTO t VALUES (100)", params![])?;
        Err::<(), _>(StoreError::Closed)
    });
    let panicked = db.write(|tx| {
        tx.execute("INSERT INTO t VALUES (101)", params![])?;
        if true { panic!("as a test") } else { Ok::<_, StoreError>(()) }
    });
    let (one, halfway, panicked) = tokio::join!(insert(&db, 1), halfway, panicked);
    one.unwrap();
    assert!(matches!(halfway, Err(StoreError::Closed)), "{halfway:?}");
    assert!(matches!(panicked, Err(StoreError::Panicked)), "{panicked:?}");
    insert(&db, 2).await.unwrap();
    assert_eq!(all(&db).await, [1, 2]);
}

/// PostgreSQL answers the commit of a transaction in which a statement failed with a rollback, and no error.
#[tokio::test]
async fn a_failed_statement_that_the_work_overlooks_is_not_taken_for_a_commit() {
    let (_database, db) = open().await;
    let overlooked = |tx: &Conn| {
        tx.execute("INSERT INTO t VALUES (1)", params![])?;
        assert!(tx.execute("INSERT INTO t VALUES (1)", params![]).is_err());
        Ok::<_, StoreError>(())
    };
    let pooled = db.write(overlooked).await;
    assert!(matches!(pooled, Err(StoreError::NotCommitted(_))), "{pooled:?}");
    let hot = db.write_whole(Need::Unknown, overlooked).await;
    assert!(matches!(hot, Err(StoreError::NotCommitted(_))), "{hot:?}");
    assert!(all(&db).await.is_empty());
    insert_hot(&db, 1).await.unwrap();
    assert_eq!(all(&db).await, [1]);
}

#[tokio::test]
async fn a_reader_cannot_write() {
    let (_database, db) = open().await;
    let refused = db.read(|conn| conn.execute("INSERT INTO t VALUES (1)", params![])).await;
    assert!(matches!(refused, Err(StoreError::Postgres(_))), "{refused:?}");
}

#[tokio::test]
async fn servers_that_start_together_migrate_once_and_a_newer_database_is_refused() {
    let database = bulkhead_testkit::postgres();
    let connect = || Db::connect(database.url(), DbOptions::default());
    let (a, b, c) = tokio::join!(connect(), connect(), connect());
    let (db, _, _) = (a.unwrap(), b.unwrap(), c.unwrap());
    db.write(|tx| tx.batch("INSERT INTO migrations VALUES (9999)")).await.unwrap();
    let newer = connect().await;
    assert!(matches!(newer, Err(StoreError::Newer { found: 9_999, .. })), "{newer:?}");
}

#[tokio::test]
async fn text_with_a_nul_is_kept_with_a_picture_of_it() {
    let (_database, db) = open().await;
    let said = db
        .write(|tx| tx.only("SELECT CAST(? AS TEXT)", params!["a\0b"], |row| row.get::<String>(0)));
    assert_eq!(said.await.unwrap(), "a\u{2400}b");
}

/// The groups of two servers' hot paths see each other's work as if there were one writer.
#[tokio::test]
async fn groups_of_two_servers_do_not_mix() {
    let (database, a) = open().await;
    let b = Db::connect(database.url(), DbOptions::default()).await.unwrap();
    let count_up = |tx: &Conn| {
        let next: i64 =
            tx.only("SELECT coalesce(max(n), 0) + 1 FROM t", params![], |row| row.get(0))?;
        tx.execute("INSERT INTO t VALUES (?)", params![next])
    };
    let turns = (0..60).map(|n| if n % 2 == 0 { a.clone() } else { b.clone() });
    let turns: Vec<_> = turns
        .map(|db| tokio::spawn(async move { db.write_whole(Need::Unknown, count_up).await }))
        .collect();
    for turn in turns {
        turn.await.unwrap().unwrap();
    }
    assert_eq!(all(&a).await, (1..=60).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_restart_of_the_database_everything_goes_on() {
    let cluster = Cluster::start();
    let database = cluster.database();
    let db = Db::connect(database.url(), DbOptions::default()).await.unwrap();
    db.write(|tx| tx.batch("CREATE TABLE t (n BIGINT UNIQUE)")).await.unwrap();
    insert_hot(&db, 1).await.unwrap();
    insert(&db, 2).await.unwrap();
    cluster.kill();
    let down = insert(&db, 3).await.unwrap_err();
    assert_eq!(down.retry(), bulkhead_types::Retry::Policy, "{down:?}");
    // The hot path waits for the database to come back, and says so when that takes too long.
    let (waited, ()) = tokio::join!(insert_hot(&db, 4), async {
        tokio::task::block_in_place(|| cluster.start_again());
    });
    if let Err(error) = waited {
        assert_eq!(error.retry(), bulkhead_types::Retry::Policy, "{error:?}");
        insert_hot(&db, 4).await.unwrap();
    }
    // What rested in a pool over the restart may fail once each, and is then replaced.
    let mut tries = 0;
    while insert(&db, 5).await.is_err() {
        tries += 1;
        assert!(tries < 8, "the pool does not recover");
    }
    assert_eq!(all(&db).await, [1, 2, 4, 5]);
}

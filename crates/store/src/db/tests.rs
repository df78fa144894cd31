#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::os::unix::fs::PermissionsExt;

use super::*;

fn open() -> (tempfile::TempDir, Db) {
    let dir = tempfile::tempdir().unwrap();
    let db = Db::open(&dir.path().join("bulkhead.db")).unwrap();
    (dir, db)
}

async fn table(db: &Db) {
    db.write(|tx| tx.batch("CREATE TABLE t (n INTEGER UNIQUE)")).await.unwrap();
}

async fn insert(db: &Db, n: i64) -> Result<usize, StoreError> {
    db.write(move |tx| tx.execute("INSERT INTO t VALUES (?)", params![n])).await
}

async fn all(db: &Db) -> Vec<i64> {
    let sql = "SELECT n FROM t ORDER BY n";
    db.read(|conn| conn.all(sql, params![], |row| row.get(0))).await.unwrap()
}

#[tokio::test]
async fn what_was_answered_is_there_after_a_reopen() {
    let (dir, db) = open();
    table(&db).await;
    insert(&db, 1).await.unwrap();
    drop(db);
    let db = Db::open(&dir.path().join("bulkhead.db")).unwrap();
    assert_eq!(all(&db).await, [1]);
}

#[tokio::test]
async fn a_write_that_fails_takes_back_its_own_writes_and_nobody_elses() {
    let (_dir, db) = open();
    table(&db).await;
    let halfway = db.write(|tx| {
        tx.execute("INSERT INTO t VALUES (100)", params![])?;
        tx.execute("INSERT INTO t VALUES (100)", params![])?;
        Ok::<_, StoreError>(())
    });
    let (a, failed, b) = tokio::join!(insert(&db, 1), halfway, insert(&db, 2));
    a.unwrap();
    b.unwrap();
    assert!(matches!(failed, Err(StoreError::Sqlite(_))));
    assert_eq!(all(&db).await, [1, 2]);
}

#[tokio::test]
async fn a_panic_takes_back_its_own_writes_and_the_writer_goes_on() {
    let (_dir, db) = open();
    table(&db).await;
    let panicked: Result<(), StoreError> = db
        .write(|tx| {
            tx.execute("INSERT INTO t VALUES (7)", params![])?;
            panic!("as a test");
        })
        .await;
    assert!(matches!(panicked, Err(StoreError::Panicked)));
    insert(&db, 8).await.unwrap();
    assert_eq!(all(&db).await, [8]);
}

#[tokio::test]
async fn many_writers_at_once_are_all_kept() {
    let (_dir, db) = open();
    table(&db).await;
    let writes = (0..1_000).map(|n| {
        let db = db.clone();
        tokio::spawn(async move { insert(&db, n).await.unwrap() })
    });
    for write in writes.collect::<Vec<_>>() {
        write.await.unwrap();
    }
    assert_eq!(all(&db).await, (0..1_000).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_reader_cannot_write() {
    let (_dir, db) = open();
    table(&db).await;
    let refused: Result<usize, StoreError> =
        db.read(|conn| conn.execute("INSERT INTO t VALUES (1)", params![])).await;
    assert!(matches!(refused, Err(StoreError::Sqlite(_))));
}

#[tokio::test]
async fn a_second_server_on_the_same_database_is_refused() {
    let (dir, db) = open();
    let again = Db::open(&dir.path().join("bulkhead.db"));
    assert!(matches!(again, Err(StoreError::InUse(_))));
    drop(db);
}

#[tokio::test]
async fn only_the_owner_may_read_the_files() {
    let (dir, db) = open();
    table(&db).await;
    for entry in std::fs::read_dir(dir.path()).unwrap() {
        let entry = entry.unwrap();
        let mode = entry.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{:?}", entry.path());
    }
}

#[tokio::test]
async fn a_database_of_a_newer_version_is_refused() {
    let (dir, db) = open();
    db.write(|tx| tx.batch("PRAGMA user_version = 9999")).await.unwrap();
    drop(db);
    let newer = Db::open(&dir.path().join("bulkhead.db"));
    assert!(matches!(newer, Err(StoreError::Newer { found: 9_999, .. })));
}

#[tokio::test]
async fn durability_full_is_what_sqlite_then_uses() {
    let dir = tempfile::tempdir().unwrap();
    let options = DbOptions { durability: Durability::Full, ..DbOptions::default() };
    let db = Db::open_with(&dir.path().join("bulkhead.db"), options).unwrap();
    let read = db.write(|tx| tx.only("PRAGMA synchronous", params![], |row| row.get::<i64>(0)));
    assert_eq!(read.await.unwrap(), 2);
}

#[tokio::test]
async fn without_a_savepoint_a_failure_halfway_takes_back_its_whole_group() {
    let (_dir, db) = open();
    table(&db).await;
    // Holds the writer, in a group of its own, until those below have piled up into the next one.
    let (go, wait) = std::sync::mpsc::sync_channel::<()>(1);
    let (begun, begins) = tokio::sync::oneshot::channel();
    let holding = db.clone();
    let holder = tokio::spawn(async move {
        let hold = move |_: &Conn| {
            begun.send(()).unwrap();
            wait.recv().unwrap();
            Ok::<_, StoreError>(())
        };
        holding.write(hold).await
    });
    begins.await.unwrap();
    let halfway = db.write_whole(Need::Unknown, |tx| {
        tx.execute("INSERT INTO t VALUES (100)", params![])?;
        tx.execute("INSERT INTO t VALUES (100)", params![])?;
        Ok::<_, StoreError>(())
    });
    let refused = db.write_whole(Need::Unknown, |_| Err::<(), _>(StoreError::Closed));
    let release = async { go.send(()).unwrap() };
    let (held, before, refused, failed, after, ()) =
        tokio::join!(holder, insert(&db, 1), refused, halfway, insert(&db, 2), release);
    held.unwrap().unwrap();
    assert!(
        matches!(refused, Err(StoreError::Closed)),
        "a refusal that wrote nothing harms nobody"
    );
    assert!(matches!(before, Err(StoreError::NotCommitted(_))), "{before:?}");
    assert!(failed.is_err());
    after.unwrap();
    assert_eq!(all(&db).await, [2]);
}

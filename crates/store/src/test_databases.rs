//! For tests: a database of each kind.
#![allow(clippy::unwrap_used, reason = "a test without its database fails")]

use bulkhead_testkit::postgres::Database;

use crate::db::{Db, DbOptions};

/// An empty database, gone with this value.
pub(crate) struct TestDb {
    pub(crate) db: Db,
    _dir: Option<tempfile::TempDir>,
    _database: Option<Database>,
}

/// One of each kind.
pub(crate) async fn both() -> [TestDb; 2] {
    let dir = tempfile::tempdir().unwrap();
    let sqlite = Db::open(&dir.path().join("bulkhead.db")).unwrap();
    let database = bulkhead_testkit::postgres();
    let postgres = Db::connect(database.url(), DbOptions::default()).await.unwrap();
    [
        TestDb { db: sqlite, _dir: Some(dir), _database: None },
        TestDb { db: postgres, _dir: None, _database: Some(database) },
    ]
}

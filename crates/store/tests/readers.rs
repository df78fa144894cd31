//! Readers of records beside writers: whoever goes on from the last cursor of a page sees every change that is not
//! overtaken by a later one of the same record, each once, in order — while syncs and webhooks write.
//!
//! A cursor is handed out inside of the transaction that writes, so two writers could commit in another order than they
//! took their cursors in; a reader in between would pass over the later commit for good. The stream's row is locked to
//! keep that from happening, and this is what shows that it does.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bulkhead_store::records::{
    Filter, InClear, PageOf, RecordRow, StreamKey, delete, open_run, save, since,
};
use bulkhead_store::{Conn, Db, DbOptions, StoreError};
use bulkhead_types::{ConnectionId, ExecutionId, IntegrationId, TenantId, Timestamp};
use serde_json::json;

const WRITERS: usize = 4;
const BATCHES: usize = 25;
const READERS: usize = 2;
/// Ids are few, so that writers meet at the same records.
const IDS: usize = 17;

fn key() -> StreamKey {
    StreamKey {
        tenant: TenantId::parse("a").unwrap(),
        integration: IntegrationId::parse("demo").unwrap(),
        connection: ConnectionId::parse("c1").unwrap(),
        model: "Item".to_owned(),
    }
}

/// Saves and deletes, as the number of the batch says.
async fn write(db: Db, writer: usize) {
    let execution = ExecutionId::parse(&format!("e{writer}")).unwrap();
    for batch in 0..BATCHES {
        let execution = execution.clone();
        let work = move |tx: &Conn| {
            let run = open_run(tx, &key(), &format!("w{writer}"), &execution, false)?;
            let at = Timestamp::from_millis(1);
            let id = |step: usize| ((writer * 5 + batch * 3 + step) % IDS).to_string();
            let some: Vec<_> = (0..4)
                .map(|step| (id(step), json!({"id": id(step), "by": writer, "batch": batch})))
                .collect();
            save(tx, &run, &InClear, &some, at)?;
            if batch % 3 == 0 {
                delete(tx, &run, &[id(1)], at)?;
            }
            Ok::<_, StoreError>(())
        };
        db.write(work).await.unwrap();
    }
}

async fn page(db: &Db, after: i64) -> Vec<RecordRow> {
    let of = PageOf { after, limit: 5, bytes_max: usize::MAX };
    let read = move |db: &Conn| since(db, &key(), &InClear, &Filter::default(), of);
    db.read(read).await.unwrap().0
}

/// Reads until the writers are done and nothing is left; returns what it knows of each record then.
async fn follow(db: Db, writing: Arc<AtomicUsize>) -> BTreeMap<String, (i64, String, String)> {
    let (mut known, mut cursor) = (BTreeMap::new(), 0);
    loop {
        // Asked before the page is read: what is committed until here is in it.
        let last = writing.load(Ordering::SeqCst) == 0;
        let rows = page(&db, cursor).await;
        for row in &rows {
            assert!(row.cursor > cursor, "{} comes again or out of order", row.cursor);
            cursor = row.cursor;
            let change = (row.cursor, row.action.clone(), row.body.clone());
            let before = known.insert(row.id.clone(), change);
            assert!(before.is_none_or(|before: (i64, _, _)| before.0 < row.cursor));
        }
        if rows.is_empty() {
            if last {
                return known;
            }
            tokio::task::yield_now().await;
        }
    }
}

async fn readers_miss_nothing(writers: [Db; WRITERS], readers: [Db; READERS]) {
    let writing = Arc::new(AtomicUsize::new(WRITERS));
    let following: Vec<_> =
        readers.iter().map(|db| tokio::spawn(follow(db.clone(), Arc::clone(&writing)))).collect();
    let written: Vec<_> = writers
        .into_iter()
        .enumerate()
        .map(|(number, db)| {
            let writing = Arc::clone(&writing);
            tokio::spawn(async move {
                write(db, number).await;
                writing.fetch_sub(1, Ordering::SeqCst);
            })
        })
        .collect();
    for writer in written {
        writer.await.unwrap();
    }
    // What somebody who comes afterwards sees is what those who followed know.
    let afterwards = follow(readers[0].clone(), writing).await;
    assert_eq!(afterwards.len(), IDS);
    for reader in following {
        assert_eq!(reader.await.unwrap(), afterwards);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn on_sqlite() {
    let dir = tempfile::tempdir().unwrap();
    let db = Db::open(&dir.path().join("bulkhead.db")).unwrap();
    let each = || db.clone();
    readers_miss_nothing([each(), each(), each(), each()], [each(), each()]).await;
}

/// Each writer is a server of its own, with connections of its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn on_postgres() {
    let database = bulkhead_testkit::postgres();
    let mut all = Vec::new();
    for _ in 0..WRITERS + READERS {
        all.push(Db::connect(database.url(), DbOptions::default()).await.unwrap());
    }
    let readers = [all.pop().unwrap(), all.pop().unwrap()];
    readers_miss_nothing(all.try_into().unwrap_or_else(|_| unreachable!()), readers).await;
}

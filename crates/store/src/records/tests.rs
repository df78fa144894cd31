#![allow(clippy::unwrap_used, reason = "a failed step is the test's failure")]
use bulkhead_types::{ConnectionId, ExecutionId, IntegrationId, TenantId, Timestamp};
use serde_json::{Value, json};

use super::*;
use crate::db::Conn;

fn key() -> StreamKey {
    StreamKey {
        tenant: TenantId::parse("a").unwrap(),
        integration: IntegrationId::parse("demo").unwrap(),
        connection: ConnectionId::parse("c1").unwrap(),
        model: "Item".to_owned(),
    }
}

fn exe(text: &str) -> ExecutionId {
    ExecutionId::parse(text).unwrap()
}

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis)
}

fn records(pairs: &[(&str, Value)]) -> Vec<(String, Value)> {
    pairs.iter().map(|(id, value)| ((*id).to_owned(), value.clone())).collect()
}

fn ids(pairs: &[&str]) -> Vec<String> {
    pairs.iter().map(|id| (*id).to_owned()).collect()
}

/// The stream as text: `id action cursor body`, in cursor order.
fn shown(db: &Conn, after: i64) -> Vec<String> {
    let rows = since(db, &key(), after, &Filter::default(), 100, usize::MAX).unwrap().0;
    let show = |row: &RecordRow| format!("{} {} {} {}", row.id, row.action, row.cursor, row.body);
    rows.iter().map(show).collect()
}

/// Runs the same on a database of each kind.
async fn in_db(work: fn(&Conn)) {
    for test in crate::test_databases::both().await {
        let in_transaction = move |tx: &Conn| {
            work(tx);
            Ok::<_, crate::StoreError>(())
        };
        test.db.write(in_transaction).await.unwrap();
    }
}

#[tokio::test]
async fn each_change_takes_the_next_cursor_and_saving_again_changes_nothing() {
    in_db(|tx| {
        let run = open_run(tx, &key(), "sync", &exe("e1"), false).unwrap();
        let first =
            records(&[("1", json!({"id": "1", "v": 1})), ("2", json!({"id": "2", "v": 1}))]);
        let counts = save(tx, &run, &first, at(10)).unwrap();
        assert_eq!(counts, Counts { added: 2, ..Counts::default() });
        assert_eq!(
            save(tx, &run, &first, at(20)).unwrap(),
            Counts { unchanged: 2, ..Counts::default() }
        );
        let changed =
            records(&[("1", json!({"v": 2, "id": "1"})), ("2", json!({"v": 1, "id": "2"}))]);
        let counts = save(tx, &run, &changed, at(30)).unwrap();
        assert_eq!(counts, Counts { updated: 1, unchanged: 1, ..Counts::default() });
        assert_eq!(
            shown(tx, 0),
            [r#"2 added 2 {"id":"2","v":1}"#, r#"1 updated 3 {"id":"1","v":2}"#,]
        );
        let row = &by_ids(tx, &key(), &ids(&["1"])).unwrap()[0];
        assert_eq!((row.first_seen_at, row.modified_at, row.deleted_at), (at(10), at(30), None));
        assert_eq!(delete(tx, &run, &ids(&["1", "9"]), at(40)).unwrap().deleted, 1);
        assert_eq!(delete(tx, &run, &ids(&["1"]), at(50)).unwrap().deleted, 0);
        assert_eq!(shown(tx, 3), [r#"1 deleted 4 {"id":"1","v":2}"#]);
        // Back again with the same content: a reader has to hear of it.
        assert_eq!(save(tx, &run, &changed[..1], at(60)).unwrap().added, 1);
        assert_eq!(shown(tx, 4), [r#"1 added 5 {"id":"1","v":2}"#]);
    })
    .await;
}

#[tokio::test]
async fn updates_merge_deeply_and_leave_alone_what_is_not_there() {
    in_db(|tx| {
        let run = open_run(tx, &key(), "sync", &exe("e1"), false).unwrap();
        save(tx, &run, &records(&[("1", json!({"id": "1", "a": {"b": 1, "c": [1, 2]}}))]), at(1))
            .unwrap();
        let patches =
            records(&[("1", json!({"a": {"c": [3], "d": null}})), ("2", json!({"a": 1}))]);
        let counts = update(tx, &run, patches, at(2)).unwrap();
        assert_eq!(counts, Counts { updated: 1, unchanged: 1, ..Counts::default() });
        assert_eq!(shown(tx, 0), [r#"1 updated 2 {"a":{"b":1,"c":[3],"d":null},"id":"1"}"#]);
        assert_eq!(
            update(tx, &run, records(&[("1", json!({"a": {"b": 1}}))]), at(3)).unwrap().unchanged,
            1
        );
    })
    .await;
}

#[tokio::test]
async fn what_an_interrupted_run_saw_is_not_deleted_by_the_attempt_that_goes_on() {
    in_db(|tx| {
        let old = open_run(tx, &key(), "sync", &exe("e0"), false).unwrap();
        save(
            tx,
            &old,
            &records(&[("gone", json!(1)), ("kept", json!(1)), ("early", json!(1))]),
            at(1),
        )
        .unwrap();

        let mut run = open_run(tx, &key(), "sync", &exe("e1"), false).unwrap();
        track_start(tx, &mut run).unwrap();
        save(tx, &run, &records(&[("early", json!(1))]), at(2)).unwrap();

        // The next attempt of the same execution repeats the start.
        let mut run = open_run(tx, &key(), "sync", &exe("e1"), false).unwrap();
        track_start(tx, &mut run).unwrap();
        save(tx, &run, &records(&[("kept", json!(1))]), at(3)).unwrap();
        let since = run.tracking().unwrap();
        assert_eq!(delete_unseen(tx, &run, since, 100, at(4)).unwrap(), ["gone"]);
        track_end(tx, &mut run).unwrap();

        // The next execution starts anew, so what it does not see is gone.
        let mut run = open_run(tx, &key(), "sync", &exe("e2"), false).unwrap();
        assert_eq!(run.tracking(), None);
        track_start(tx, &mut run).unwrap();
        save(tx, &run, &records(&[("early", json!(1))]), at(5)).unwrap();
        let since = run.tracking().unwrap();
        assert_eq!(delete_unseen(tx, &run, since, 100, at(6)).unwrap(), ["kept"]);
    })
    .await;
}

#[tokio::test]
async fn an_execution_that_resumes_from_a_checkpoint_goes_on_with_the_run() {
    in_db(|tx| {
        let mut run = open_run(tx, &key(), "sync", &exe("e1"), false).unwrap();
        track_start(tx, &mut run).unwrap();
        save(tx, &run, &records(&[("early", json!(1))]), at(1)).unwrap();
        // e1 failed after its checkpoint; e2 begins there.
        let mut resumed = open_run(tx, &key(), "sync", &exe("e2"), true).unwrap();
        track_start(tx, &mut resumed).unwrap();
        assert_eq!((resumed.tracking(), resumed.began()), (run.tracking(), run.began()));
        let since = resumed.tracking().unwrap();
        assert!(delete_unseen(tx, &resumed, since, 100, at(2)).unwrap().is_empty());
        // Without a checkpoint the same call starts anew.
        let fresh = open_run(tx, &key(), "sync", &exe("e3"), false).unwrap();
        assert_eq!(fresh.tracking(), None);
        assert_eq!(delete_unseen(tx, &fresh, fresh.began(), 100, at(3)).unwrap(), ["early"]);
    })
    .await;
}

#[tokio::test]
async fn what_others_changed_since_is_left_alone_if_asked() {
    in_db(|tx| {
        let mut slow = open_run(tx, &key(), "full", &exe("e1"), false).unwrap();
        save(tx, &slow, &records(&[("1", json!("old")), ("2", json!("old"))]), at(1)).unwrap();
        set_keep_after(tx, &mut slow, true).unwrap();
        let hook = open_run(tx, &key(), "hook", &exe("e2"), false).unwrap();
        save(tx, &hook, &records(&[("1", json!("newest"))]), at(2)).unwrap();
        // Repeated by the next attempt: the line stays where it was.
        let mut slow = open_run(tx, &key(), "full", &exe("e1"), false).unwrap();
        set_keep_after(tx, &mut slow, true).unwrap();
        let counts =
            save(tx, &slow, &records(&[("1", json!("stale")), ("2", json!("fresh"))]), at(3))
                .unwrap();
        assert_eq!(counts, Counts { updated: 1, unchanged: 1, ..Counts::default() });
        assert_eq!(delete(tx, &slow, &ids(&["1"]), at(4)).unwrap().deleted, 0);
        // Its own changes it may change again.
        assert_eq!(
            save(tx, &slow, &records(&[("2", json!("fresher"))]), at(5)).unwrap().updated,
            1
        );
        assert_eq!(shown(tx, 0), [r#"1 updated 3 "newest""#, r#"2 updated 5 "fresher""#]);
        set_keep_after(tx, &mut slow, false).unwrap();
        assert_eq!(save(tx, &slow, &records(&[("1", json!("stale"))]), at(6)).unwrap().updated, 1);
    })
    .await;
}

#[tokio::test]
async fn pages_are_bounded_by_count_and_by_bytes() {
    in_db(|tx| {
        let run = open_run(tx, &key(), "sync", &exe("e1"), false).unwrap();
        let many: Vec<_> = (0..10).map(|i| (format!("{i}"), json!("x".repeat(98)))).collect();
        save(tx, &run, &many, at(1)).unwrap();
        let page = |limit, bytes| {
            let (rows, more) = since(tx, &key(), 0, &Filter::default(), limit, bytes).unwrap();
            (rows.len(), more)
        };
        assert_eq!(
            (page(4, usize::MAX), page(100, 250), page(100, 1)),
            ((4, true), (2, true), (1, true))
        );
        assert_eq!(page(10, usize::MAX), (10, false));
        let only = Filter { actions: vec!["deleted".into()], modified_after: None };
        assert!(since(tx, &key(), 0, &only, 100, usize::MAX).unwrap().0.is_empty());
        delete(tx, &run, &ids(&["3"]), at(2)).unwrap();
        assert_eq!(since(tx, &key(), 0, &only, 100, usize::MAX).unwrap().0[0].id, "3");
        let late = Filter { modified_after: Some(at(1)), ..Filter::default() };
        assert_eq!(since(tx, &key(), 0, &late, 100, usize::MAX).unwrap().0.len(), 1);
        assert_eq!(remove_sync_records(tx, &key(), 4).unwrap(), 4);
        let (tenant, integration) = (key().tenant, key().integration);
        assert_eq!(
            remove_connection_records(tx, &tenant, &integration, &key().connection, 100).unwrap(),
            6
        );
        // The cursor goes on where it was.
        save(tx, &run, &many[..1], at(3)).unwrap();
        assert_eq!(since(tx, &key(), 0, &Filter::default(), 1, 1).unwrap().0[0].cursor, 12);
    })
    .await;
}

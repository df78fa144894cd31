#![allow(clippy::unwrap_used, reason = "a failed step is the test's failure")]
use bulkhead_types::{ConnectionId, ExecutionId, IntegrationId, TenantId, Timestamp};
use serde_json::{Value, json};

use super::*;
use crate::db::{Conn, StoreError, params};

fn key() -> StreamKey {
    StreamKey {
        tenant: TenantId::parse("a").unwrap(),
        integration: IntegrationId::parse("demo").unwrap(),
        connection: ConnectionId::parse("c1").unwrap(),
        model: "Item".to_owned(),
    }
}

fn save(
    tx: &Conn,
    run: &Run,
    batch: &[(String, Value)],
    now: Timestamp,
) -> Result<Counts, StoreError> {
    super::save(tx, run, &InClear, batch, now)
}

fn update(
    tx: &Conn,
    run: &Run,
    patches: Vec<(String, Value)>,
    now: Timestamp,
) -> Result<Counts, StoreError> {
    super::update(tx, run, &InClear, patches, now)
}

fn since(
    db: &Conn,
    key: &StreamKey,
    after: i64,
    filter: &Filter,
    limit: usize,
    bytes_max: usize,
) -> Result<(Vec<RecordRow>, bool), StoreError> {
    super::since(db, key, &InClear, filter, PageOf { after, limit, bytes_max })
}

fn by_ids(db: &Conn, key: &StreamKey, ids: &[String]) -> Result<Vec<RecordRow>, StoreError> {
    super::by_ids(db, key, &InClear, ids)
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
            Ok::<_, StoreError>(())
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

/// What the counts say, and what counting says: present, deleted, sealed.
fn counted(tx: &Conn) -> [(i64, i64, i64); 2] {
    let three = |row: &crate::db::Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?));
    let kept = tx.only("SELECT present, deleted, sealed FROM streams", params![], three).unwrap();
    let sql = "SELECT coalesce(sum(CASE WHEN deleted_at IS NULL THEN 1 ELSE 0 END), 0),
                 coalesce(sum(CASE WHEN deleted_at IS NULL THEN 0 ELSE 1 END), 0),
                 coalesce(sum(CASE WHEN sealed IS NULL THEN 0 ELSE 1 END), 0) FROM records";
    [kept, tx.only(sql, params![], three).unwrap()]
}

/// Seals by turning bytes around, for as long as it is told to.
struct Turned(bool);

impl Bodies for Turned {
    fn seal(&self, place: Place<'_>, body: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let turned = || format!("{} {}", place.id, body).bytes().map(|byte| !byte).collect();
        Ok(self.0.then(turned))
    }

    fn open(&self, place: Place<'_>, sealed: &[u8]) -> Result<String, StoreError> {
        let text = String::from_utf8(sealed.iter().map(|byte| !byte).collect()).unwrap();
        let body = text.strip_prefix(&format!("{} ", place.id));
        body.map(str::to_owned).ok_or_else(|| does_not_open(place))
    }
}

#[tokio::test]
async fn counts_are_what_counting_says_after_whatever_happened() {
    in_db(|tx| {
        let run = open_run(tx, &key(), "sync", &exe("e1"), false).unwrap();
        let mut dice = 7_u32;
        let mut throw = move |sides: u32| {
            dice = dice.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (dice >> 16) % sides
        };
        for turn in 0..300 {
            let now = at(turn * 10);
            let id = throw(12).to_string();
            let one = records(&[(&id, json!({"id": id, "v": throw(2)}))]);
            let bodies = Turned(throw(2) == 0);
            match throw(9) {
                0..=3 => {
                    super::save(tx, &run, &bodies, &one, now).unwrap();
                }
                4 => drop(super::update(tx, &run, &bodies, one, now).unwrap()),
                5 => drop(delete(tx, &run, &[id], now).unwrap()),
                6 => drop(reseal(tx, run.stream, &bodies, bodies.0, 3).unwrap()),
                7 => {
                    let before = Some(at((turn - 60) * 10));
                    let expired = Expired { unchanged_since: before, deleted_before: before };
                    remove_expired(tx, run.stream, expired, 2).unwrap();
                }
                _ => drop(remove_sync_records(tx, &key(), 1).unwrap()),
            }
            let [kept, there] = counted(tx);
            assert_eq!(kept, there, "turn {turn}");
        }
        let counts = stream_counts(tx, &key().tenant, &key().integration, &key().connection, 9);
        let (counts, [kept, _]) = (counts.unwrap(), counted(tx));
        assert_eq!((counts[0].present as i64, counts[0].deleted as i64), (kept.0, kept.1));
        assert!(kept.0 > 0 && kept.2 > 0, "{kept:?}: not much of a test");
    })
    .await;
}

#[tokio::test]
async fn a_sealed_body_is_as_any_other_to_syncs_and_readers() {
    in_db(|tx| {
        let run = open_run(tx, &key(), "sync", &exe("e1"), false).unwrap();
        let sealing = Turned(true);
        let first = records(&[("1", json!({"id": "1", "secret": "hunter2"}))]);
        super::save(tx, &run, &sealing, &first, at(1)).unwrap();
        let (body, hash): (String, Vec<u8>) = tx
            .only("SELECT body, hash FROM records", params![], |row| Ok((row.get(0)?, row.get(1)?)))
            .unwrap();
        assert_eq!(
            (body.as_str(), hash.len()),
            ("", 0),
            "neither the text nor a hash to guess with"
        );
        // The same again is no change, whether it would be sealed now or not.
        for bodies in [Turned(true), Turned(false)] {
            assert_eq!(super::save(tx, &run, &bodies, &first, at(2)).unwrap().unchanged, 1);
        }
        let patch = records(&[("1", json!({"more": true}))]);
        assert_eq!(super::update(tx, &run, &sealing, patch, at(3)).unwrap().updated, 1);
        let body = |bodies: &dyn Bodies| {
            super::by_ids(tx, &key(), bodies, &ids(&["1"])).map(|rows| rows[0].body.clone())
        };
        assert_eq!(body(&sealing).unwrap(), r#"{"id":"1","more":true,"secret":"hunter2"}"#);
        assert!(body(&InClear).is_err(), "nobody is shown an empty record instead");
        // Opened again, when the tenant wants that; readers hear of no change.
        assert_eq!(reseal(tx, run.stream, &Turned(false), false, 10).unwrap(), 1);
        assert_eq!(reseal(tx, run.stream, &Turned(false), false, 10).unwrap(), 0);
        assert_eq!(shown(tx, 1), [r#"1 updated 2 {"id":"1","more":true,"secret":"hunter2"}"#]);
        // A body that was put into another row does not open there.
        reseal(tx, run.stream, &sealing, true, 10).unwrap();
        tx.execute("UPDATE records SET id = '2'", params![]).unwrap();
        assert!(super::by_ids(tx, &key(), &sealing, &ids(&["2"])).is_err());
    })
    .await;
}

#[tokio::test]
async fn records_go_for_good_when_they_have_had_their_time_and_no_earlier() {
    in_db(|tx| {
        let run = open_run(tx, &key(), "sync", &exe("e1"), false).unwrap();
        let all = |ids: &[&str]| -> Vec<(String, Value)> {
            ids.iter().map(|id| ((*id).to_owned(), json!({ "id": id }))).collect()
        };
        save(tx, &run, &all(&["a", "b", "c", "d"]), at(10)).unwrap();
        delete(tx, &run, &ids(&["a"]), at(20)).unwrap();
        delete(tx, &run, &ids(&["b"]), at(30)).unwrap();
        let deleted = |before| Expired { deleted_before: Some(at(before)), ..Expired::default() };
        assert_eq!(remove_expired(tx, run.stream, deleted(20), 10).unwrap(), 0);
        assert_eq!(remove_expired(tx, run.stream, deleted(30), 10).unwrap(), 1);
        assert_eq!(remove_expired(tx, run.stream, deleted(30), 10).unwrap(), 0, "once");
        let left = |tx: &Conn| -> Vec<String> {
            since(tx, &key(), 0, &Filter::default(), 9, usize::MAX)
                .unwrap()
                .0
                .into_iter()
                .map(|r| r.id)
                .collect()
        };
        assert_eq!(left(tx), ["c", "d", "b"]);
        let unchanged =
            |before| Expired { unchanged_since: Some(at(before)), ..Expired::default() };
        assert_eq!(remove_expired(tx, run.stream, unchanged(11), 1).unwrap(), 1, "bounded");
        assert_eq!(left(tx), ["d", "b"]);
        assert_eq!(remove_expired(tx, run.stream, unchanged(11), 9).unwrap(), 1);
        // One that comes back is new, and the cursor goes on.
        assert_eq!(save(tx, &run, &all(&["c"]), at(40)).unwrap().added, 1);
        assert_eq!(shown(tx, 6), [r#"c added 7 {"id":"c"}"#]);
    })
    .await;
}

#[tokio::test]
async fn a_webhook_between_two_saves_of_a_sync_does_not_end_its_tracking() {
    in_db(|tx| {
        let (sync, hook) = (exe("e1"), exe("e2"));
        let name = |execution: &'static str, scope| {
            runner("items", Box::leak(Box::new(exe(execution))), scope)
        };
        assert_eq!((name("e1", "acme/demo/sync/items/c1"), name("e2", "e2")), ("items", "e2"));
        let old = open_run(tx, &key(), "items", &exe("e0"), false).unwrap();
        save(tx, &old, &records(&[("gone", json!(1)), ("kept", json!(1))]), at(1)).unwrap();
        let mut run = open_run(tx, &key(), "items", &sync, false).unwrap();
        track_start(tx, &mut run).unwrap();
        save(tx, &run, &records(&[("kept", json!(1))]), at(2)).unwrap();
        let other = open_run(tx, &key(), "e2", &hook, false).unwrap();
        save(tx, &other, &records(&[("new", json!(1))]), at(3)).unwrap();
        let run = open_run(tx, &key(), "items", &sync, false).unwrap();
        let since = run.tracking().expect("the tracking goes on");
        assert_eq!(delete_unseen(tx, &run, since, 100, at(4)).unwrap(), ["gone"]);
        // The webhook's execution is not there any more: nobody asks for its run again.
        assert_eq!(forget_ended_runs(tx, 10).unwrap(), 1);
        assert_eq!(forget_ended_runs(tx, 10).unwrap(), 0);
        assert_eq!(open_run(tx, &key(), "items", &sync, false).unwrap(), run);
    })
    .await;
}

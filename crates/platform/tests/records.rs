//! Records as tenants keep them: sealed, for a time, over interruptions at every moment.
#![allow(clippy::unwrap_used, reason = "a failed step is the test's failure")]

mod common;

use std::path::Path;

use bulkhead_platform::{
    Credentials, Incoming, IntegrationSettings, Platform, RecordQuery, RecordRetention,
    RecordSettings, SyncTrigger, TenantSettings, Upkeep, WebhookMatch, WebhookSettings,
};
use bulkhead_types::{Cause, ErrorInfo, Fault, FunctionName, Lease, Outcome, Retry, Trigger};
use common::{World, another, connection, demo, postgres_world, sync, tenant, world};
use serde_json::{Value, json};

const SECRET: &str = "hunter2-of-a-record";

async fn syncing(specs: &[Value]) -> World {
    ready(world().await, specs).await
}

async fn ready(world: World, specs: &[Value]) -> World {
    world.connect(IntegrationSettings::default(), Credentials::default()).await;
    world.deploy(specs).await;
    world
}

async fn run(world: &World) -> Lease {
    let trigger = SyncTrigger {
        integration: demo(),
        name: FunctionName::parse("items").unwrap(),
        connection: connection(),
        reset: false,
        empty_cache: false,
        idempotency_key: None,
    };
    world.platform.trigger_sync(&tenant(), trigger).await.unwrap();
    world.lease().await
}

async fn save(world: &World, lease: &Lease, model: &str, records: &[(&str, &str)]) {
    let records: Vec<_> = records.iter().map(|(id, text)| json!({"id": id, "v": text})).collect();
    world.ok(lease, "records.save", json!({"model": model, "records": records})).await;
}

async fn all(platform: &Platform, model: &str) -> Vec<Value> {
    let query = RecordQuery {
        integration: None,
        connection: connection(),
        model: model.into(),
        cursor: None,
        limit: 1_000,
        actions: vec![],
        modified_after: None,
        ids: vec![],
    };
    platform.records(&tenant(), query).await.unwrap().records
}

async fn keep(world: &World, records: RecordSettings) {
    let settings = TenantSettings { records, ..TenantSettings::default() };
    world.platform.put_tenant(&tenant(), settings).await.unwrap();
}

/// Rounds until one finds nothing to do: removed, resealed.
async fn upkeep(platform: &Platform) -> (usize, usize) {
    let mut sum = (0, 0);
    loop {
        let Upkeep { removed, resealed, more } = platform.records_upkeep().await.unwrap();
        sum = (sum.0 + removed, sum.1 + resealed);
        if !more {
            return sum;
        }
    }
}

/// Whether the database, its log included, has the text anywhere.
fn on_disk(dir: &Path, text: &str) -> bool {
    let files = std::fs::read_dir(dir).unwrap().map(|file| file.unwrap().path());
    let ours = files.filter(|path| path.to_string_lossy().contains("bulkhead.db"));
    let bytes: Vec<Vec<u8>> = ours.map(|path| std::fs::read(path).unwrap()).collect();
    assert!(!bytes.is_empty());
    bytes.iter().any(|file| file.windows(text.len()).any(|part| part == text.as_bytes()))
}

#[tokio::test]
async fn sealed_bodies_are_nowhere_in_the_database_and_as_they_were_to_readers() {
    let world = syncing(&[sync("items")]).await;
    keep(&world, RecordSettings { encrypted: true, ..RecordSettings::default() }).await;
    let lease = run(&world).await;
    save(&world, &lease, "Item", &[("1", SECRET), ("2", "other")]).await;
    let patch = json!({"model": "Item", "records": [{"id": "2", "more": SECRET}]});
    world.ok(&lease, "records.update", patch).await;
    assert!(!on_disk(world.dir.path(), SECRET), "not in the file, not in its log");

    let read = all(&world.platform, "Item").await;
    assert_eq!((&read[0]["v"], &read[1]["more"]), (&json!(SECRET), &json!(SECRET)));
    let got = json!({"model": "Item", "ids": ["1"]});
    assert_eq!(world.ok(&lease, "records.get", got).await["records"][0]["v"], SECRET);
    let listed = world.ok(&lease, "records.list", json!({"model": "Item"})).await;
    assert_eq!(listed["records"].as_array().unwrap().len(), 2);
    let again = json!({"model": "Item", "records": [{"id": "1", "v": SECRET}]});
    assert_eq!(world.ok(&lease, "records.save", again).await["unchanged"], 1);
}

#[tokio::test]
async fn sealed_bodies_are_sealed_anew_when_the_key_is_replaced() {
    let database = bulkhead_testkit::postgres();
    let world = ready(postgres_world(&database, vec![]).await, &[sync("items")]).await;
    keep(&world, RecordSettings { encrypted: true, ..RecordSettings::default() }).await;
    let lease = run(&world).await;
    save(&world, &lease, "Item", &[("1", SECRET), ("2", "other")]).await;
    assert!(world.platform.begin_rotation().await.unwrap());
    let (mut cursor, mut resealed) = (None, 0);
    loop {
        let batch = world.platform.rotate(cursor.as_deref()).await.unwrap();
        resealed += batch.resealed;
        cursor = batch.cursor;
        if cursor.is_none() {
            std::fs::remove_file(batch.old_key_file.unwrap()).unwrap();
            break;
        }
    }
    assert_eq!(resealed, 3, "two records, and the connection's credentials");
    let platform = another(&world, &database, vec![]).await;
    assert_eq!(all(&platform, "Item").await[0]["v"], SECRET, "nothing needs the old key");
}

#[tokio::test]
async fn what_there_was_is_sealed_and_opened_as_the_tenant_wants() {
    let world = syncing(&[sync("items")]).await;
    let lease = run(&world).await;
    let many: Vec<_> = (0..120).map(|n| json!({"id": n, "v": SECRET})).collect();
    world.ok(&lease, "records.save", json!({"model": "Item", "records": many})).await;
    let before = all(&world.platform, "Item").await;
    assert_eq!(upkeep(&world.platform).await, (0, 0));

    keep(&world, RecordSettings { encrypted: true, ..RecordSettings::default() }).await;
    assert_eq!(upkeep(&world.platform).await, (0, 120));
    assert_eq!(upkeep(&world.platform).await, (0, 0), "once");
    assert_eq!(all(&world.platform, "Item").await, before, "readers hear of no change");
    save(&world, &lease, "Item", &[("0", "new")]).await;

    keep(&world, RecordSettings::default()).await;
    assert_eq!(upkeep(&world.platform).await, (0, 120));
    assert_eq!(all(&world.platform, "Item").await.len(), 120);
}

#[tokio::test]
async fn records_are_kept_for_as_long_as_the_tenant_says_by_model() {
    let mut spec = sync("items");
    spec["models"] = json!({"Item": {}, "Event": {}});
    let world = syncing(&[spec]).await;
    let days = |unchanged_days, deleted_days| RecordRetention { unchanged_days, deleted_days };
    for bad in [days(Some(0), None), days(None, Some(40_000))] {
        let records = RecordSettings { retention: bad, ..RecordSettings::default() };
        let settings = TenantSettings { records, ..TenantSettings::default() };
        let refused = world.platform.put_tenant(&tenant(), settings).await.unwrap_err();
        assert_eq!(refused.code(), "invalid_body");
    }
    let retention = days(None, Some(30));
    let models = [("demo/Event".to_owned(), days(Some(7), None))].into();
    keep(&world, RecordSettings { retention, models, ..RecordSettings::default() }).await;

    let lease = run(&world).await;
    for model in ["Item", "Event"] {
        save(&world, &lease, model, &[("old", "1"), ("gone", "1")]).await;
        let gone = json!({"model": model, "records": [{"id": "gone"}]});
        world.ok(&lease, "records.delete", gone).await;
    }
    assert_eq!(upkeep(&world.platform).await, (0, 0));
    let day = 24 * 60 * 60 * 1_000;
    world.pass(8 * day);
    assert_eq!(upkeep(&world.platform).await, (2, 0), "events, deleted or not");
    world.pass(23 * day);
    assert_eq!(upkeep(&world.platform).await, (1, 0), "the deleted item");
    assert_eq!(upkeep(&world.platform).await, (0, 0));
    let counts = world.platform.record_counts(&tenant(), None, &connection()).await.unwrap();
    let counts: Vec<_> = counts.iter().map(|c| (c.model.as_str(), c.present, c.deleted)).collect();
    assert_eq!(counts, [("Event", 0, 0), ("Item", 1, 0)]);
}

#[tokio::test]
async fn a_webhook_between_two_saves_of_a_sync_does_not_end_its_tracking() {
    let mut spec = sync("items");
    spec["webhook_subscriptions"] = json!(["*"]);
    let world = world().await;
    let by_header = WebhookMatch { header: Some("X-Account".into()), ..WebhookMatch::default() };
    let webhook = WebhookSettings { connection: Some(by_header), ..WebhookSettings::default() };
    let settings = IntegrationSettings { webhook, ..IntegrationSettings::default() };
    world.connect(settings, Credentials::default()).await;
    world.deploy(&[spec]).await;
    let before = run(&world).await;
    save(&world, &before, "Item", &[("gone", "old"), ("early", "old"), ("late", "old")]).await;
    world.settle(&before, Outcome::Completed(Value::Null)).await;

    let lease = run(&world).await;
    let model = json!({"model": "Item"});
    world.ok(&lease, "records.trackDeletesStart", model.clone()).await;
    save(&world, &lease, "Item", &[("early", "new")]).await;
    let headers = vec![("X-Account".to_owned(), "c1".to_owned())];
    let incoming = Incoming { headers, body: b"{}".to_vec(), ..Incoming::default() };
    world.platform.ingest_webhook(&tenant(), &demo(), incoming).await.unwrap();
    let hook = world.lease().await;
    assert_eq!(hook.trigger, Trigger::Webhook);
    save(&world, &hook, "Item", &[("hook", "new")]).await;
    save(&world, &lease, "Item", &[("late", "new")]).await;
    world.settle(&hook, Outcome::Completed(Value::Null)).await;
    let ended = world.ok(&lease, "records.trackDeletesEnd", model).await;
    assert_eq!(ended["deletedKeys"], json!(["gone"]));
}

/// How an attempt ends early.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// Asked to stop at a checkpoint.
    Interrupted,
    /// The worker dies without a word.
    Killed,
    /// The function fails; the next execution goes on from the checkpoint.
    Failed,
}

/// A provider's pages, and what each save is of.
const PAGES: [&[&str]; 5] = [&["a", "b"], &["c"], &["d", "e"], &["a", "f"], &["g"]];

/// What a checkpointing sync with delete tracking does, until it has made its `k`-th save since `saves` began. A save is
/// of records or of a checkpoint. Says whether it came to its end.
async fn attempt(world: &World, lease: &Lease, saves: &mut usize, stop: Option<usize>) -> bool {
    let model = json!({"model": "Item"});
    let found = world.ok(lease, "checkpoint.get", json!({})).await;
    let mut version = found["version"].as_u64().unwrap();
    let first = found["checkpoint"]["page"].as_u64().unwrap_or(0);
    world.ok(lease, "records.trackDeletesStart", model.clone()).await;
    for (page, ids) in (0..).zip(PAGES).skip(usize::try_from(first).unwrap()) {
        let records: Vec<_> = ids.iter().map(|id| json!({"id": id, "page": page})).collect();
        world.ok(lease, "records.save", json!({"model": "Item", "records": records})).await;
        *saves += 1;
        if Some(*saves) == stop {
            return false;
        }
        let checkpoint = json!({"checkpoint": {"page": page + 1}, "version": version});
        version = world.ok(lease, "checkpoint.save", checkpoint).await["version"].as_u64().unwrap();
        *saves += 1;
        if Some(*saves) == stop {
            return false;
        }
    }
    world.ok(lease, "records.trackDeletesEnd", model).await;
    world.ok(lease, "checkpoint.clear", json!({ "version": version })).await;
    true
}

/// The records after a sync that was interrupted after its `stop`-th save, and every so many again.
async fn synced(every: Option<usize>, end: End) -> Vec<Value> {
    let world = syncing(&[sync("items")]).await;
    let before = run(&world).await;
    save(&world, &before, "Item", &[("a", "old"), ("gone", "old"), ("g", "old")]).await;
    world.settle(&before, Outcome::Completed(Value::Null)).await;

    let mut lease = run(&world).await;
    let (mut saves, mut stop) = (0, every);
    while !attempt(&world, &lease, &mut saves, stop).await {
        // Without progress from attempt to attempt nothing would ever come to its end: the next stop is further on.
        stop = stop.map(|stop| stop + every.unwrap_or(0).max(2));
        lease = match end {
            End::Interrupted => {
                world.settle(&lease, Outcome::Interrupted).await;
                next(&world).await
            }
            End::Killed => {
                assert_eq!(world.engine.recover(&world.worker).await.unwrap(), 1);
                next(&world).await
            }
            End::Failed => {
                let error = ErrorInfo::new("function_error", "no");
                let cause = Cause { error, fault: Fault::Tenant, retry: Retry::Never };
                world.settle(&lease, Outcome::Failed(cause)).await;
                run(&world).await
            }
        };
    }
    world.settle(&lease, Outcome::Completed(Value::Null)).await;
    let mut records = all(&world.platform, "Item").await;
    for record in &mut records {
        // When and in which order things changed may differ; what there is may not.
        let deleted = !record["_metadata"]["deleted_at"].is_null();
        record["_metadata"] = json!({ "deleted": deleted });
    }
    records.sort_by_key(|record| record["id"].to_string());
    records
}

/// The next attempt, when its time has come.
async fn next(world: &World) -> Lease {
    world.pass(60_000);
    world.lease().await
}

#[tokio::test]
async fn interrupting_after_every_kth_save_leaves_the_same_records() {
    let whole = synced(None, End::Interrupted).await;
    let kept = whole.iter().filter(|record| record["_metadata"]["deleted"] == false).count();
    assert_eq!((whole.len(), kept), (8, 7), "{whole:?}");
    for end in [End::Interrupted, End::Killed, End::Failed] {
        for every in 1..=PAGES.len() * 2 {
            assert_eq!(synced(Some(every), end).await, whole, "{end:?} after every {every}");
        }
    }
}

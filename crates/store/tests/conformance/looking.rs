//! Lists, payloads, timelines.

use std::time::Duration;

use bulkhead_store::hot::model::{ExecutionFilter, Forgotten, TIMELINE_EVENTS_MAX};
use bulkhead_types::{
    ConnectionId, ExecutionId, ExecutionState, FunctionKind, FunctionName, Outcome, TimelineEvent,
};
use serde_json::json;

use crate::world::{World, action, done, failed, null, submit, tenant};

async fn ids(world: &World, filter: ExecutionFilter) -> Vec<ExecutionId> {
    let page = world.store.executions(tenant("acme"), filter).await.unwrap();
    page.executions.into_iter().map(|execution| execution.id).collect()
}

crate::cases! {
    async fn long_inputs_and_outputs_come_back_whole_and_lists_do_not_carry_them(world: World) {
        let long = json!({"text": "x".repeat(100_000)});
        let mut asked = action("acme");
        asked.input = long.clone();
        let id = world.submit(asked).await;
        let lease = world.lease_one().await;
        assert_eq!(lease.input, long);
        world.settle(&lease.lease, Outcome::Completed(long.clone())).await;
        let whole = world.look(&id).await;
        assert_eq!((whole.input, whole.output), (long.clone(), Some(long)));
        let page = world.store.executions(tenant("acme"), ExecutionFilter::default()).await.unwrap();
        assert_eq!((&page.executions[0].input, &page.executions[0].output), (&null(), &None));
    }

    async fn a_list_holds_what_was_asked_for_newest_first(world: World) {
        let old = world.submit(submit("acme", FunctionKind::Action, "a")).await;
        let lease = world.lease_one().await.lease;
        world.settle(&lease, failed()).await;
        world.pass(Duration::from_secs(60));
        let since = world.now();
        let mut asked = submit("acme", FunctionKind::Sync, "b");
        asked.connection = Some(ConnectionId::parse("c1").unwrap());
        let new = world.submit(asked).await;
        world.submit(action("globex")).await;

        let all = ExecutionFilter::default();
        assert_eq!(ids(&world, all.clone()).await, [new.clone(), old.clone()]);
        let name = Some(FunctionName::parse("a").unwrap());
        assert_eq!(ids(&world, ExecutionFilter { name, ..all.clone() }).await, [old.clone()]);
        let kind = Some(FunctionKind::Sync);
        assert_eq!(ids(&world, ExecutionFilter { kind, ..all.clone() }).await, [new.clone()]);
        let connection = Some(ConnectionId::parse("c1").unwrap());
        assert_eq!(ids(&world, ExecutionFilter { connection, ..all.clone() }).await, [new.clone()]);
        assert_eq!(ids(&world, ExecutionFilter { since: Some(since), ..all.clone() }).await, [new.clone()]);
        for (state, expected) in [(ExecutionState::Failed, old), (ExecutionState::Queued, new)] {
            assert_eq!(ids(&world, ExecutionFilter { state: Some(state), ..all.clone() }).await, [expected]);
        }
        let state = Some(ExecutionState::Running);
        assert_eq!(ids(&world, ExecutionFilter { state, ..all }).await, []);
    }

    async fn pages_go_on_where_the_last_one_ended(world: World) {
        let mut submitted = Vec::new();
        for _ in 0..7 {
            submitted.push(world.submit(action("acme")).await);
        }
        let mut seen = Vec::new();
        let mut cursor = None;
        for _ in 0..9 {
            let filter = ExecutionFilter { limit: 3, cursor, ..ExecutionFilter::default() };
            let page = world.store.executions(tenant("acme"), filter).await.unwrap();
            assert!(page.executions.len() <= 3);
            seen.extend(page.executions.into_iter().map(|execution| execution.id));
            cursor = page.next_cursor;
            if cursor.is_none() {
                break;
            }
        }
        seen.reverse();
        assert_eq!(seen, submitted);
    }

    async fn a_timeline_tells_the_story_in_order(world: World) {
        let mut asked = action("acme");
        asked.retry.max = 1;
        let id = world.submit(asked).await;
        world.pass(Duration::from_millis(5));
        let lease = world.lease_one().await.lease;
        let denied = TimelineEvent { at: world.now(), what: "denied".to_owned(), attempt: 1, detail: json!({"rule": "private"}) };
        world.store.append_event(id.clone(), denied).await.unwrap();
        world.pass(Duration::from_millis(5));
        world.settle(&lease, failed()).await;
        let story = |events: Vec<TimelineEvent>| {
            events.into_iter().map(|event| event.what).collect::<Vec<_>>().join(" ")
        };
        let waiting = story(world.store.timeline(id.clone()).await.unwrap());
        assert_eq!(waiting, "accepted leased denied outcome waiting");
        world.pass(Duration::from_secs(600));
        world.tick().await;
        let lease = world.lease_one().await.lease;
        world.settle(&lease, done()).await;
        let ended = story(world.store.timeline(id).await.unwrap());
        assert_eq!(ended, "accepted leased denied outcome leased outcome ended");
    }

    async fn a_timeline_is_bounded_and_of_nothing_is_empty(world: World) {
        let id = world.submit(action("acme")).await;
        let event = TimelineEvent { at: world.now(), what: "denied".to_owned(), attempt: 1, detail: null() };
        for _ in 0..TIMELINE_EVENTS_MAX + 10 {
            world.store.append_event(id.clone(), event.clone()).await.unwrap();
        }
        let kept = u64::try_from(world.store.timeline(id).await.unwrap().len()).unwrap();
        assert_eq!(kept, TIMELINE_EVENTS_MAX + 1);
        let nobody = world.next_id();
        world.store.append_event(nobody.clone(), event).await.unwrap();
        assert_eq!(world.store.timeline(nobody.clone()).await.unwrap(), []);
        assert_eq!(world.store.execution(nobody).await.unwrap(), None);
    }

    async fn what_is_old_and_final_is_forgotten_with_all_it_left(world: World) {
        let mut asked = action("acme");
        asked.input = json!("x".repeat(100_000));
        let old = world.submit(asked).await;
        let lease = world.lease_one().await.lease;
        let event = TimelineEvent { at: world.now(), what: "denied".to_owned(), attempt: 1, detail: null() };
        world.store.append_event(old.clone(), event).await.unwrap();
        world.settle(&lease, done()).await;
        let live = world.submit(action("acme")).await;
        world.pass(Duration::from_secs(1));
        let before = world.now();
        let young = world.submit(action("acme")).await;
        let lease = world.lease(2).await.into_iter().find(|lease| lease.lease.execution == young).unwrap();
        world.settle(&lease.lease, done()).await;

        let first = world.store.forget(before, 0, 2).await.unwrap();
        assert_eq!(first.count, 1);
        let rest = world.store.forget(before, first.cursor.unwrap(), 2).await.unwrap();
        assert_eq!(rest, Forgotten { count: 0, cursor: None });
        assert_eq!(ids(&world, ExecutionFilter::default()).await, [young, live]);
        assert_eq!(world.store.attempts(old.clone()).await.unwrap(), []);
        assert_eq!(world.store.timeline(old).await.unwrap(), []);
    }
}

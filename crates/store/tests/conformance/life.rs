//! From accepted to final.

use std::time::Duration;

use bulkhead_sched::share::ShareLimits;
use bulkhead_store::hot::model::{CancelResult, Idempotency, Settled, SubmitError};
use bulkhead_types::{
    ConnectionId, ErrorInfo, ExecutionId, ExecutionState, Fault, Fence, FunctionKind, RetryPolicy,
    Timestamp, Trigger, Usage,
};
use serde_json::json;

use crate::world::{World, accepted, action, done, failed, submit, sync, tenant, worker};

fn sorted(mut ids: Vec<ExecutionId>) -> Vec<ExecutionId> {
    ids.sort();
    ids
}

crate::cases! {
    async fn what_was_submitted_is_what_runs_and_what_it_returned_is_kept(world: World) {
        let mut asked = action("acme");
        asked.connection = Some(ConnectionId::parse("c1").unwrap());
        asked.limits.memory_mib = 99;
        let id = world.submit(asked.clone()).await;
        assert_eq!(world.state(&id).await, ExecutionState::Queued);

        let lease = world.lease_one().await;
        assert_eq!((&lease.lease.execution, lease.lease.fence, lease.attempt), (&id, Fence(1), 1));
        assert_eq!((&lease.function, &lease.version, lease.trigger), (&asked.function, &asked.version, Trigger::Api));
        assert_eq!((&lease.connection, &lease.input, &lease.limits), (&asked.connection, &asked.input, &asked.limits));
        assert_eq!(world.state(&id).await, ExecutionState::Running);

        world.pass(Duration::from_millis(40));
        let usage = Usage { wall_ms: 30, cpu_us: 9_000, memory_bytes_peak: 5, start_us: 900 };
        let started_at = Some(lease.leased_at.after(Duration::from_millis(2)));
        let settled = Settled { outcome: done(), usage, started_at, start: Some("parked".to_owned()), wall: Some("gvisor".to_owned()) };
        let settlement = world.store.settle(lease.lease.clone(), settled, world.now(), 0).await.unwrap();
        assert_eq!(settlement, accepted(ExecutionState::Succeeded));

        let ended = world.look(&id).await;
        assert_eq!((ended.output, ended.error, ended.fault), (Some(json!("ok")), None, None));
        assert_eq!((ended.started_at, ended.ended_at, ended.usage), (Some(lease.leased_at), Some(world.now()), usage));
        let attempts = world.store.attempts(id.clone()).await.unwrap();
        assert_eq!(attempts.len(), 1);
        assert_eq!(attempts[0].started_at, started_at);
        assert_eq!((attempts[0].outcome.as_deref(), attempts[0].start.as_deref()), (Some("completed"), Some("parked")));
        assert_eq!(world.counts("acme").await, "0/0/0");
    }

    async fn ends_that_are_to_be_told_are_kept_until_they_were(world: World) {
        let mut asked = action("acme");
        asked.told = true;
        let (told, not_told) = (world.submit(asked.clone()).await, world.submit(action("acme")).await);
        let (cancelled, synced) = (world.submit(asked.clone()).await, world.submit(sync("acme")).await);
        asked.start_by = Some(world.now().after(Duration::from_secs(1)));
        asked.function.tenant = tenant("late");
        let expired = world.submit(asked).await;
        world.store.cancel(tenant("acme"), cancelled.clone(), world.now()).await.unwrap();
        world.pass(Duration::from_secs(2));
        world.tick().await;
        let leases = world.lease(9_usize).await;
        assert_eq!(leases.len(), 3);
        assert_eq!(sorted(world.store.endings(9).await.unwrap()), sorted(vec![cancelled.clone(), expired.clone()]));
        for lease in &leases {
            world.settle(&lease.lease, done()).await;
        }
        assert_eq!(world.state(&not_told).await, ExecutionState::Succeeded);
        let all = sorted(vec![told.clone(), cancelled.clone(), synced.clone(), expired.clone()]);
        assert_eq!(sorted(world.store.endings(9).await.unwrap()), all);
        assert_eq!(world.store.endings(3).await.unwrap().len(), 3);
        world.store.forget_endings(vec![told, cancelled, expired]).await.unwrap();
        assert_eq!(world.store.endings(9).await.unwrap(), [synced]);
    }

    async fn an_attempt_that_is_followed_by_another_is_no_end(world: World) {
        world.submit(sync("acme")).await;
        let lease = world.lease_one().await.lease;
        world.settle(&lease, bulkhead_types::Outcome::Interrupted).await;
        assert!(world.store.endings(9).await.unwrap().is_empty());
    }

    async fn a_final_execution_never_changes(world: World) {
        let id = world.submit(action("acme")).await;
        let lease = world.lease_one().await.lease;
        world.settle(&lease, done()).await;
        let ended = world.look(&id).await;
        assert_eq!(world.settle(&lease, failed()).await, bulkhead_store::hot::model::Settlement::Stale);
        let cancel = world.store.cancel(tenant("acme"), id.clone(), world.now()).await.unwrap();
        assert_eq!(cancel, CancelResult::Final(ExecutionState::Succeeded));
        world.pass(Duration::from_secs(3_600));
        world.tick().await;
        assert_eq!(world.look(&id).await, ended);
    }

    async fn a_failure_tells_why_and_whose_fault_it_was(world: World) {
        let id = world.submit(action("acme")).await;
        let lease = world.lease_one().await.lease;
        assert_eq!(world.settle(&lease, failed()).await, accepted(ExecutionState::Failed));
        let ended = world.look(&id).await;
        assert_eq!(ended.error, Some(ErrorInfo::new("boom", "It broke.")));
        assert_eq!((ended.fault, ended.output), (Some(Fault::Upstream), None));
    }

    async fn a_retry_waits_its_time_and_then_runs_again(world: World) {
        let mut asked = action("acme");
        asked.retry = RetryPolicy { max: 1, backoff_ms: 5_000, backoff_ms_max: 5_000, jitter: false };
        let id = world.submit(asked).await;
        let first = world.lease_one().await.lease;
        world.settle(&first, failed()).await;
        assert_eq!(world.state(&id).await, ExecutionState::Waiting);
        assert_eq!(world.counts("acme").await, "0/1/0");

        world.pass(Duration::from_millis(4_999));
        let tick = world.tick().await;
        assert!(!tick.runnable);
        assert!(world.lease(9).await.is_empty());

        world.pass(Duration::from_millis(1));
        assert_eq!(tick.next_at, Some(world.now()));
        assert!(world.tick().await.runnable);
        let second = world.lease_one().await;
        assert_eq!((second.attempt, second.lease.fence), (2, Fence(2)));
        world.settle(&second.lease, failed()).await;
        assert_eq!(world.state(&id).await, ExecutionState::Failed);
    }

    async fn an_idempotency_key_names_one_execution_of_its_function_until_it_is_forgotten(world: World) {
        let keyed = |of: &str, name: &str| {
            let mut asked = submit(of, FunctionKind::Action, name);
            asked.idempotency = Some(Idempotency { key: "k".to_owned(), ttl: Duration::from_secs(60) });
            asked
        };
        let first = world.try_submit(keyed("acme", "a")).await.unwrap();
        let again = world.try_submit(keyed("acme", "a")).await.unwrap();
        assert_eq!((again.execution, again.duplicate), (first.execution.clone(), true));
        for other in [keyed("acme", "b"), keyed("globex", "a")] {
            assert!(!world.try_submit(other).await.unwrap().duplicate);
        }
        let lease = world.lease_one().await.lease;
        world.settle(&lease, done()).await;
        assert_eq!(world.try_submit(keyed("acme", "a")).await.unwrap().execution, first.execution);
        world.pass(Duration::from_secs(60));
        world.tick().await;
        assert!(!world.try_submit(keyed("acme", "a")).await.unwrap().duplicate);
    }

    async fn a_bad_key_and_a_long_input_are_refused_and_nothing_is_kept(world: World) {
        for key in [String::new(), "k".repeat(256)] {
            let mut asked = action("acme");
            asked.idempotency = Some(Idempotency { key, ttl: Duration::from_secs(1) });
            assert!(matches!(world.try_submit(asked).await, Err(SubmitError::BadIdempotencyKey)));
        }
        let mut asked = action("acme");
        asked.limits.input_bytes = 10;
        let refused = world.try_submit(asked).await;
        assert!(matches!(refused, Err(SubmitError::InputTooLarge { bytes: 21, bytes_max: 10 })), "{refused:?}");
        assert_eq!(world.counts("acme").await, "-");
    }

    async fn a_sync_never_overlaps_itself_for_a_connection(world: World) {
        let of = |connection: &str| {
            let mut asked = sync("acme");
            asked.connection = Some(ConnectionId::parse(connection).unwrap());
            asked
        };
        let first = world.submit(of("c1")).await;
        assert_eq!(world.submit(of("c1")).await, first);
        let lease = world.lease_one().await.lease;
        assert_eq!(world.submit(of("c1")).await, first);
        assert_ne!(world.submit(of("c2")).await, first);
        world.settle(&lease, done()).await;
        assert_ne!(world.submit(of("c1")).await, first);
    }

    async fn every_webhook_of_a_sync_is_handled(world: World) {
        let mut asked = sync("acme");
        asked.overlap = bulkhead_store::hot::model::Submit::new(
            asked.function.clone(), asked.version.clone(), Trigger::Webhook, json!(1),
        ).overlap;
        let first = world.submit(asked.clone()).await;
        assert_ne!(world.submit(asked).await, first);
    }

    async fn a_full_queue_refuses_and_says_when_to_come_back(world: World) {
        let limits = ShareLimits { queued_max: 2, ..ShareLimits::default() };
        world.store.set_share(tenant("acme"), limits).await.unwrap();
        let first = world.submit(action("acme")).await;
        world.submit(action("acme")).await;
        let refused = world.try_submit(action("acme")).await;
        let Err(SubmitError::QueueFull { retry_after }) = refused else { panic!("{refused:?}") };
        assert!(retry_after > Duration::ZERO);
        world.submit(action("globex")).await;
        world.store.cancel(tenant("acme"), first, world.now()).await.unwrap();
        world.submit(action("acme")).await;
        assert_eq!(world.counts("acme").await, "2/0/0");
    }

    async fn what_does_not_run_is_cancelled_at_once(world: World) {
        let id = world.submit(action("acme")).await;
        let stranger = world.store.cancel(tenant("globex"), id.clone(), world.now()).await.unwrap();
        assert_eq!(stranger, CancelResult::NotFound);
        let cancel = world.store.cancel(tenant("acme"), id.clone(), world.now()).await.unwrap();
        assert_eq!(cancel, CancelResult::Cancelled);
        assert_eq!(world.state(&id).await, ExecutionState::Cancelled);
        assert!(world.lease(9).await.is_empty());
        assert_eq!(world.counts("acme").await, "0/0/0");
    }

    async fn what_runs_is_marked_and_cancelled_when_its_attempt_ends(world: World) {
        let id = world.submit(action("acme")).await;
        let lease = world.lease_one().await.lease;
        for _ in 0..2 {
            let cancel = world.store.cancel(tenant("acme"), id.clone(), world.now()).await.unwrap();
            assert_eq!(cancel, CancelResult::Asked { worker: worker("w"), lease: lease.clone() });
        }
        assert_eq!(world.state(&id).await, ExecutionState::Running);
        let settlement = world.settle(&lease, bulkhead_types::Outcome::Cancelled).await;
        assert_eq!(settlement, accepted(ExecutionState::Cancelled));
        let timeline = world.store.timeline(id).await.unwrap();
        assert_eq!(timeline.iter().filter(|event| event.what == "cancel_asked").count(), 1);
    }

    async fn what_does_not_begin_in_time_expires(world: World) {
        let by = |at: Timestamp| { let mut asked = action("acme"); asked.start_by = Some(at); asked };
        let deadline = world.now().after(Duration::from_secs(10));
        let late = world.submit(by(deadline)).await;
        let also_late = world.submit(by(deadline)).await;
        assert_eq!(world.tick().await.next_at, Some(deadline));
        world.pass(Duration::from_secs(10));
        assert!(world.lease(1).await.is_empty(), "a worker must not get what is too late");
        assert_eq!(world.tick().await.ended, []);
        for id in [late, also_late] {
            let ended = world.look(&id).await;
            assert_eq!((ended.state, ended.error.unwrap().code.as_str()), (ExecutionState::Expired, "expired"));
        }
        let in_time = world.submit(by(world.now().after(Duration::from_secs(10)))).await;
        let lease = world.lease_one().await;
        world.pass(Duration::from_secs(10));
        assert_eq!(world.tick().await.ended, []);
        assert_eq!(lease.lease.execution, in_time);
        assert_eq!(world.state(&in_time).await, ExecutionState::Running);
    }

    async fn what_expires_by_the_clock_is_told(world: World) {
        let mut asked = action("acme");
        asked.start_by = Some(world.now().after(Duration::from_secs(1)));
        let id = world.submit(asked).await;
        world.pass(Duration::from_secs(1));
        assert_eq!(world.tick().await.ended, [id]);
        assert_eq!(world.counts("acme").await, "0/0/0");
    }

    async fn what_ended_can_be_submitted_again(world: World) {
        let asked = sync("acme");
        let id = world.submit(asked.clone()).await;
        let again = world.store.again(tenant("acme"), id.clone()).await.unwrap().unwrap();
        let mut expected = asked;
        expected.retry_of = Some(id.clone());
        assert_eq!(again, expected);
        assert_eq!(world.store.again(tenant("globex"), id).await.unwrap(), None);
    }
}

//! Checkpoints, and going on from them.

use std::time::Duration;

use bulkhead_sched::lease::LEASE;
use bulkhead_store::checkpoints::CheckpointError;
use bulkhead_types::{ExecutionState, LeaseRef, Outcome};

use crate::world::{World, accepted, action, done, sync, too_long};

async fn save(
    world: &World,
    lease: &LeaseRef,
    expected: u64,
    body: &str,
) -> Result<u64, CheckpointError> {
    world.store.save_checkpoint(lease.clone(), expected, Some(body.to_owned()), world.now()).await
}

async fn clear(world: &World, lease: &LeaseRef, expected: u64) -> Result<u64, CheckpointError> {
    world.store.save_checkpoint(lease.clone(), expected, None, world.now()).await
}

async fn kept(world: &World, scope: &str) -> Option<(Option<String>, u64)> {
    let found = world.store.checkpoint(scope.to_owned()).await.unwrap();
    found.map(|checkpoint| (checkpoint.body, checkpoint.version))
}

const SYNC_SCOPE: &str = "acme/github/sync/issues/";

crate::cases! {
    async fn a_save_is_compare_and_set(world: World) {
        world.submit(sync("acme")).await;
        let lease = world.lease_one().await.lease;
        assert_eq!(save(&world, &lease, 0, "1").await.unwrap(), 1);
        assert_eq!(save(&world, &lease, 1, "2").await.unwrap(), 2);
        let late = save(&world, &lease, 1, "3").await;
        assert!(matches!(late, Err(CheckpointError::Conflict { found: 2 })), "{late:?}");
        assert_eq!(kept(&world, SYNC_SCOPE).await, Some((Some("2".to_owned()), 2)));
    }

    async fn clearing_keeps_the_version_and_clearing_nothing_is_fine(world: World) {
        world.submit(sync("acme")).await;
        let lease = world.lease_one().await.lease;
        assert_eq!(clear(&world, &lease, 0).await.unwrap(), 0);
        save(&world, &lease, 0, "1").await.unwrap();
        assert_eq!(clear(&world, &lease, 1).await.unwrap(), 2);
        assert_eq!(clear(&world, &lease, 2).await.unwrap(), 2);
        assert_eq!(kept(&world, SYNC_SCOPE).await, Some((None, 2)));
    }

    async fn who_lost_its_lease_saves_nothing(world: World) {
        world.submit(sync("acme")).await;
        let lost = world.lease_one().await.lease;
        save(&world, &lost, 0, "1").await.unwrap();
        world.pass(LEASE);
        world.tick().await;
        let held = world.lease_one().await.lease;
        for refused in [save(&world, &lost, 1, "2").await, clear(&world, &lost, 1).await] {
            assert!(matches!(refused, Err(CheckpointError::Stale(_))), "{refused:?}");
        }
        save(&world, &held, 1, "2").await.unwrap();
        world.settle(&held, done()).await;
        let after_the_end = save(&world, &held, 2, "3").await;
        assert!(matches!(after_the_end, Err(CheckpointError::Stale(_))), "{after_the_end:?}");
    }

    async fn at_the_cap_it_goes_on_at_once_as_long_as_the_checkpoint_moves(world: World) {
        let id = world.submit(sync("acme")).await;
        for version in 0..6 {
            let lease = world.lease_one().await;
            assert_eq!(u64::from(lease.attempt), version + 1);
            save(&world, &lease.lease, version, "{}").await.unwrap();
            let outcome = if version % 2 == 0 { too_long() } else { Outcome::Interrupted };
            assert_eq!(world.settle(&lease.lease, outcome).await, accepted(ExecutionState::Queued));
        }
        for last in [false, false, true] {
            let lease = world.lease_one().await.lease;
            let state = if last { ExecutionState::Failed } else { ExecutionState::Queued };
            assert_eq!(world.settle(&lease, too_long()).await, accepted(state));
        }
        assert_eq!(world.look(&id).await.error.unwrap().code, "no_progress");
        let moved = world.store.timeline(id).await.unwrap();
        assert_eq!(moved.iter().filter(|event| event.what == "checkpoint").count(), 6);
    }

    async fn at_the_cap_without_a_checkpoint_it_ends_with_its_limit(world: World) {
        let id = world.submit(action("acme")).await;
        let lease = world.lease_one().await.lease;
        assert_eq!(world.settle(&lease, too_long()).await, accepted(ExecutionState::Failed));
        assert_eq!(world.look(&id).await.error.unwrap().code, "time_limit");
    }

    async fn a_sync_hands_its_checkpoint_on_and_an_action_takes_it_along(world: World) {
        world.submit(sync("acme")).await;
        let lease = world.lease_one().await.lease;
        save(&world, &lease, 0, "\"page 3\"").await.unwrap();
        world.settle(&lease, done()).await;
        assert_eq!(kept(&world, SYNC_SCOPE).await, Some((Some("\"page 3\"".to_owned()), 1)));

        world.pass(Duration::from_secs(1));
        world.submit(sync("acme")).await;
        let next = world.lease_one().await.lease;
        save(&world, &next, 1, "\"page 4\"").await.unwrap();

        let id = world.submit(action("acme")).await;
        let lease = world.lease_one().await.lease;
        save(&world, &lease, 0, "1").await.unwrap();
        assert_eq!(kept(&world, id.as_str()).await, Some((Some("1".to_owned()), 1)));
        world.settle(&lease, done()).await;
        assert_eq!(kept(&world, id.as_str()).await, None, "nobody can go on from it");
    }
}

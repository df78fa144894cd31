//! Leases: fenced, renewed, lost.

use bulkhead_sched::lease::LEASE;
use bulkhead_store::hot::model::{CancelResult, RecallReason, Settlement};
use bulkhead_types::{ExecutionState, LeaseRef, Outcome};

use crate::world::{World, accepted, action, done, tenant, worker};

async fn renew(world: &World, who: &str, leases: &[LeaseRef]) -> Vec<(LeaseRef, RecallReason)> {
    world.store.renew(worker(who), leases.to_vec(), world.now(), LEASE).await.unwrap().0
}

crate::cases! {
    async fn at_most_one_worker_holds_an_execution(world: World) {
        world.submit(action("acme")).await;
        assert_eq!(world.lease_as(&worker("a"), 5).await.len(), 1);
        assert!(world.lease_as(&worker("b"), 5).await.is_empty());
    }

    async fn a_dead_workers_execution_runs_again_and_the_dead_one_is_refused(world: World) {
        let id = world.submit(action("acme")).await;
        let dead = world.lease_as(&worker("dead"), 1).await.remove(0);
        assert_eq!(world.tick().await.lost, []);
        world.pass(LEASE);
        let tick = world.tick().await;
        assert_eq!(tick.lost, [(worker("dead"), dead.lease.clone())]);
        assert!(tick.runnable);
        assert_eq!(tick.next_at, None);

        assert_eq!(world.settle(&dead.lease, done()).await, Settlement::Stale);
        let alive = world.lease_as(&worker("alive"), 1).await.remove(0);
        assert_eq!(alive.attempt, 2);
        assert!(alive.lease.fence > dead.lease.fence);
        assert_eq!(world.settle(&dead.lease, done()).await, Settlement::Stale);
        assert_eq!(world.state(&id).await, ExecutionState::Running);
        assert_eq!(world.settle(&alive.lease, done()).await, accepted(ExecutionState::Succeeded));
        let outcomes: Vec<_> = world.store.attempts(id).await.unwrap().into_iter().map(|a| a.outcome).collect();
        assert_eq!(outcomes, [Some("lost".to_owned()), Some("completed".to_owned())]);
        assert_eq!(world.counts("acme").await, "0/0/0");
    }

    async fn what_is_renewed_lives(world: World) {
        world.submit(action("acme")).await;
        let lease = world.lease_one().await.lease;
        for _ in 0..10 {
            world.pass(LEASE / 3);
            assert_eq!(renew(&world, "w", &[lease.clone()]).await, []);
            assert_eq!(world.tick().await.lost, []);
        }
        assert_eq!(world.settle(&lease, done()).await, accepted(ExecutionState::Succeeded));
    }

    async fn a_lease_the_worker_does_not_know_of_is_lost_after_its_time(world: World) {
        for _ in 0..2 {
            world.submit(action("acme")).await;
        }
        let leases = world.lease(2).await;
        let (known, unknown) = (leases[0].lease.clone(), leases[1].lease.clone());
        world.pass(LEASE / 2);
        renew(&world, "w", &[known.clone()]).await;
        assert_eq!(world.state(&unknown.execution).await, ExecutionState::Running);
        world.pass(LEASE / 2);
        let renewed = world.store.renew(worker("w"), vec![known.clone()], world.now(), LEASE).await.unwrap();
        assert_eq!(renewed.1.lost, [(worker("w"), unknown.clone())]);
        assert_eq!(world.state(&unknown.execution).await, ExecutionState::Queued);
        assert_eq!(world.state(&known.execution).await, ExecutionState::Running);
    }

    async fn a_renewal_tells_what_is_lost_and_what_is_cancelled(world: World) {
        let id = world.submit(action("acme")).await;
        let lease = world.lease_as(&worker("slow"), 1).await.remove(0).lease;
        let cancel = world.store.cancel(tenant("acme"), id, world.now()).await.unwrap();
        assert!(matches!(cancel, CancelResult::Asked { .. }));
        assert_eq!(renew(&world, "slow", &[lease.clone()]).await, [(lease.clone(), RecallReason::Cancelled)]);
        world.pass(LEASE);
        let tick = world.tick().await;
        assert_eq!(tick.ended, [lease.execution.clone()], "a cancelled execution does not run again");
        assert_eq!(renew(&world, "slow", &[lease.clone()]).await, [(lease, RecallReason::Lost)]);
    }

    async fn another_workers_lease_is_not_renewed(world: World) {
        world.submit(action("acme")).await;
        let lease = world.lease_as(&worker("a"), 1).await.remove(0).lease;
        assert_eq!(renew(&world, "b", &[lease.clone()]).await, [(lease, RecallReason::Lost)]);
    }

    async fn an_execution_that_loses_every_worker_is_given_up(world: World) {
        let id = world.submit(action("acme")).await;
        for n in 0..5 {
            assert_eq!(world.lease_as(&worker(&format!("w{n}")), 1).await.len(), 1, "attempt {n}");
            world.pass(LEASE);
            world.tick().await;
        }
        let ended = world.look(&id).await;
        assert_eq!((ended.state, ended.error.unwrap().code.as_str()), (ExecutionState::Failed, "worker_lost"));
        assert_eq!(world.counts("acme").await, "0/0/0");
    }

    async fn a_new_server_takes_back_what_the_old_one_held(world: World) {
        for _ in 0..3 {
            world.submit(action("acme")).await;
        }
        world.lease_as(&worker("old"), 2).await;
        let elsewhere = world.lease_as(&worker("elsewhere"), 1).await.remove(0).lease;
        let tick = world.store.recover(worker("old"), world.now()).await.unwrap();
        assert_eq!(tick.lost.len(), 2);
        assert!(tick.runnable);
        assert_eq!(world.counts("acme").await, "2/0/1");
        assert_eq!(world.settle(&elsewhere, done()).await, accepted(ExecutionState::Succeeded));
        let again = world.store.recover(worker("old"), world.now()).await.unwrap();
        assert_eq!(again.lost, []);
    }

    async fn a_turn_moves_at_most_as_many_as_asked(world: World) {
        for _ in 0..5 {
            world.submit(action("acme")).await;
        }
        assert_eq!(world.lease(5).await.len(), 5);
        world.pass(LEASE);
        let mut lost = Vec::new();
        for _ in 0..3 {
            let tick = world.store.tick(world.now(), 2).await.unwrap();
            assert!(tick.lost.len() <= 2);
            lost.push((tick.lost.len(), tick.more));
        }
        assert_eq!(lost, [(2, true), (2, true), (1, false)]);
    }

    async fn the_engine_alone_says_lost(world: World) {
        let id = world.submit(action("acme")).await;
        let lease = world.lease_one().await.lease;
        assert_eq!(world.settle(&lease, Outcome::Lost).await, accepted(ExecutionState::Queued));
        assert_eq!(world.state(&id).await, ExecutionState::Queued);
    }
}

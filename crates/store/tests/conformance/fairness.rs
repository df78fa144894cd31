//! Who goes first.

use std::time::Duration;

use bulkhead_sched::share::ShareLimits;
use bulkhead_store::hot::model::Submit;
use bulkhead_types::{FunctionKind, Lease};

use crate::world::{World, action, done, submit, tenant};

fn names(leases: &[Lease]) -> String {
    let names: Vec<&str> = leases.iter().map(|lease| lease.function.tenant.as_str()).collect();
    names.join(" ")
}

crate::cases! {
    async fn a_noisy_tenant_does_not_keep_the_others_waiting(world: World) {
        for _ in 0..200 {
            world.submit(action("noisy")).await;
        }
        world.lease(20).await;
        for name in ["a", "b", "c"] {
            world.submit(action(name)).await;
        }
        let next = names(&world.lease(4).await);
        for name in ["a", "b", "c"] {
            assert!(next.contains(name), "{next}");
        }
    }

    async fn turns_follow_what_attempts_used(world: World) {
        for _ in 0..40 {
            world.submit(action("long")).await;
            world.submit(action("short")).await;
        }
        let mut longs = 0;
        for _ in 0..22 {
            let lease = world.lease_one().await;
            let long = lease.function.tenant == tenant("long");
            longs += u32::from(long);
            world.pass(Duration::from_millis(if long { 1_000 } else { 100 }));
            world.settle(&lease.lease, done()).await;
        }
        assert!((2..=3).contains(&longs), "a tenant whose attempts take ten times as long got {longs} of 22");
    }

    async fn urgent_classes_go_first_and_the_old_are_not_forgotten(world: World) {
        use FunctionKind::{Action, Event, Sync, Webhook};
        for kind in [Sync, Event, Webhook, Action] {
            world.submit(submit("acme", kind, "f")).await;
        }
        world.pass(Duration::from_secs(29));
        world.submit(submit("acme", Action, "later")).await;
        world.pass(Duration::from_secs(2));
        world.submit(submit("acme", Action, "latest")).await;
        let order: Vec<String> = world.lease(9).await.iter()
            .map(|lease| format!("{}/{}", lease.function.kind.as_str(), lease.function.name))
            .collect();
        assert_eq!(order.join(" "), "action/f webhook/f event/f action/later sync/f action/latest");
    }

    async fn of_one_class_the_oldest_goes_first(world: World) {
        let mut submitted = Vec::new();
        for _ in 0..5 {
            submitted.push(world.submit(action("acme")).await);
        }
        let order: Vec<_> = world.lease(5).await.into_iter().map(|lease| lease.lease.execution).collect();
        assert_eq!(order, submitted);
    }

    async fn a_tenant_runs_no_more_than_it_may_and_others_go_on(world: World) {
        let limits = ShareLimits { running_max: 2, ..ShareLimits::default() };
        world.store.set_share(tenant("a"), limits).await.unwrap();
        for name in ["a", "a", "a", "b"] {
            world.submit(action(name)).await;
        }
        let leases = world.lease(9).await;
        assert_eq!(names(&leases).matches('a').count(), 2);
        assert_eq!(names(&leases).matches('b').count(), 1);
        assert!(world.lease(9).await.is_empty());
        let of_a = leases.iter().find(|lease| lease.function.tenant == tenant("a")).unwrap();
        world.settle(&of_a.lease, done()).await;
        assert_eq!(names(&world.lease(9).await), "a");
    }

    async fn more_says_that_there_may_be_more(world: World) {
        for _ in 0..3 {
            world.submit(action("acme")).await;
        }
        let ask = |max| bulkhead_store::hot::model::Dispatch {
            worker: crate::world::worker("w"), room: bulkhead_types::Room::from(max), now: world.now(), lease: Duration::from_secs(9),
        };
        assert!(world.store.dispatch(ask(2)).await.unwrap().more);
        assert!(!world.store.dispatch(ask(2)).await.unwrap().more);
    }

    async fn a_look_in_vain_gives_nobody_a_second_turn(world: World) {
        let now = world.now();
        world.submit(action("a")).await;
        world.submit(action("a")).await;
        world.submit(Submit { start_by: Some(now.after(Duration::from_secs(1))), ..action("b") }).await;
        world.submit(action("c")).await;
        world.pass(Duration::from_secs(2));
        let given = names(&world.lease(2).await);
        assert_eq!(given, "a c", "for two leases two tenants were loaded, and one of them was too late");
    }
}

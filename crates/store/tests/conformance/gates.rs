//! Limits per function, connection and concurrency key; pauses; what fits into a worker.

use std::time::Duration;

use bulkhead_store::hot::model::{GateChange, GateOf, Submit};
use bulkhead_types::{
    ConcurrencyKey, ConnectionId, ExecutionState, FunctionKind, IntegrationId, Lease, Room, Units,
};

use crate::world::{World, action, done, failed, function, submit, tenant, worker};

pub(crate) fn at_most(max: u32) -> GateChange {
    GateChange { running_max: Some(Some(max)), paused: None }
}

fn paused(paused: bool) -> GateChange {
    GateChange { running_max: None, paused: Some(paused) }
}

fn of_function(name: &str) -> GateOf {
    GateOf::Function(function("acme", FunctionKind::Action, name))
}

pub(crate) fn of_connection(of: &str, id: &str) -> GateOf {
    let github = IntegrationId::parse("github").unwrap();
    GateOf::Connection(tenant(of), github, ConnectionId::parse(id).unwrap())
}

pub(crate) fn call(name: &str, connection: &str) -> Submit {
    let mut call = submit("acme", FunctionKind::Action, name);
    call.connection = Some(ConnectionId::parse(connection).unwrap());
    call
}

fn keyed(name: &str, key: &str, max: u32) -> Submit {
    let concurrency = Some(ConcurrencyKey { name: key.to_owned(), max });
    Submit { concurrency, ..submit("acme", FunctionKind::Action, name) }
}

fn names(leases: &[Lease]) -> String {
    let names: Vec<&str> = leases.iter().map(|lease| lease.function.name.as_str()).collect();
    names.join(" ")
}

async fn held(world: &World) -> u64 {
    world.store.share(tenant("acme")).await.unwrap().unwrap().held
}

crate::cases! {
    async fn a_function_runs_no_more_than_its_limit_and_others_go_on(world: World) {
        world.store.set_gate(of_function("f"), at_most(2)).await.unwrap();
        for _ in 0..300 {
            world.submit(call("f", "c1")).await;
        }
        world.submit(call("g", "c1")).await;
        let first = world.lease(100).await;
        assert_eq!(names(&first), "f f g");
        assert_eq!(held(&world).await, 298, "who can't begin is not looked at");
        assert!(world.lease(100).await.is_empty());
        for lease in &first[..2] {
            world.settle(&lease.lease, done()).await;
        }
        assert_eq!(names(&world.lease(100).await), "f f");
    }

    async fn of_one_lane_the_oldest_goes_first(world: World) {
        world.store.set_gate(of_function("f"), at_most(1)).await.unwrap();
        let mut submitted = Vec::new();
        for _ in 0..5 {
            submitted.push(world.submit(call("f", "c1")).await);
        }
        let mut order = Vec::new();
        while let Some(lease) = world.lease(9).await.pop() {
            order.push(lease.lease.execution.clone());
            world.settle(&lease.lease, done()).await;
        }
        assert_eq!(order, submitted);
    }

    async fn a_limit_that_comes_later_holds_for_what_is_queued_already(world: World) {
        for _ in 0..10 {
            world.submit(call("f", "c1")).await;
        }
        world.store.set_gate(of_connection("acme", "c1"), at_most(3)).await.unwrap();
        assert_eq!(world.lease(100).await.len(), 3);
        world.store.set_gate(of_connection("acme", "c1"), at_most(5)).await.unwrap();
        assert_eq!(world.lease(100).await.len(), 2, "a raised limit wakes who is held");
        let any = GateChange { running_max: Some(None), paused: None };
        world.store.set_gate(of_connection("acme", "c1"), any).await.unwrap();
        assert_eq!(world.lease(100).await.len(), 5, "without a limit all may");
        assert_eq!(held(&world).await, 0);
    }

    async fn a_pause_of_a_key_makes_no_limit_of_what_was_said_last(world: World) {
        world.submit(keyed("f", "account", 5)).await;
        let first = world.lease(9).await;
        let account = GateOf::Key(tenant("acme"), "account".to_owned());
        for pause in [true, false] {
            world.store.set_gate(account.clone(), paused(pause)).await.unwrap();
        }
        for _ in 0..3 {
            world.submit(keyed("f", "account", 1)).await;
        }
        assert!(world.lease(9).await.is_empty(), "the 5 of the one before was nobody's limit");
        world.settle(&first[0].lease, done()).await;
        assert_eq!(world.lease(9).await.len(), 1);
    }

    async fn two_limits_at_once_are_both_kept_and_nobody_is_forgotten(world: World) {
        world.store.set_gate(of_function("f"), at_most(3)).await.unwrap();
        for connection in ["c1", "c2", "c3"] {
            world.store.set_gate(of_connection("acme", connection), at_most(1)).await.unwrap();
        }
        for n in 0..30 {
            world.submit(call(["f", "g"][n % 2], ["c1", "c2", "c3"][n % 3])).await;
        }
        let mut left = 30;
        while left > 0 {
            let leases = world.lease(100).await;
            assert_eq!(leases.len(), 3.min(left), "each connection has one, whatever the function");
            left -= leases.len();
            for lease in leases {
                world.settle(&lease.lease, done()).await;
            }
        }
        assert_eq!(world.counts("acme").await, "0/0/0");
    }

    async fn a_paused_function_waits_and_goes_on_when_it_is_resumed(world: World) {
        let gate = world.store.set_gate(of_function("f"), paused(true)).await.unwrap();
        assert!(gate.paused && gate.set);
        for _ in 0..10 {
            world.submit(call("f", "c1")).await;
            world.submit(call("f", "c2")).await;
        }
        world.submit(call("g", "c1")).await;
        assert_eq!(names(&world.lease(100).await), "g");
        assert_eq!(world.store.gates(tenant("acme")).await.unwrap().len(), 1);
        world.store.set_gate(of_function("f"), paused(false)).await.unwrap();
        assert_eq!(world.lease(100).await.len(), 20);
        assert_eq!(held(&world).await, 0);
        assert!(world.store.gates(tenant("acme")).await.unwrap().iter().all(|gate| !gate.set));
    }

    async fn a_paused_tenant_begins_nothing(world: World) {
        world.submit(action("acme")).await;
        world.submit(action("globex")).await;
        world.store.pause_tenant(tenant("acme"), true).await.unwrap();
        assert_eq!(world.lease(9).await.len(), 1);
        assert!(world.lease(9).await.is_empty());
        world.store.pause_tenant(tenant("acme"), false).await.unwrap();
        assert_eq!(world.lease(9).await.len(), 1);
    }

    async fn a_key_limits_whoever_names_it_and_leaves_nothing_behind(world: World) {
        for n in 0..6 {
            world.submit(keyed(["f", "g"][n % 2], "account-7", 2)).await;
        }
        world.submit(keyed("f", "account-8", 1)).await;
        let first = world.lease(100).await;
        assert_eq!(first.len(), 3);
        let gates = world.store.gates(tenant("acme")).await.unwrap();
        let gates: Vec<_> = gates.iter().map(|gate| (gate.key.as_str(), gate.running)).collect();
        assert_eq!(gates, [("k/account-7", 2), ("k/account-8", 1)]);
        for lease in first {
            world.settle(&lease.lease, done()).await;
        }
        while let Some(lease) = world.lease(1).await.pop() {
            world.settle(&lease.lease, done()).await;
        }
        assert_eq!(world.counts("acme").await, "0/0/0");
        assert_eq!(world.store.gates(tenant("acme")).await.unwrap(), []);
        let share = world.store.share(tenant("acme")).await.unwrap().unwrap();
        assert_eq!((share.gates, share.held), (0, 0));
        for bad in [("", 1), ("a\nb", 1), ("a", 0)] {
            let refused = world.try_submit(keyed("f", bad.0, bad.1)).await.unwrap_err();
            assert_eq!(refused.code(), "invalid_concurrency_key");
        }
    }

    async fn who_goes_away_leaves_its_place_to_the_next(world: World) {
        world.store.set_gate(of_function("f"), at_most(1)).await.unwrap();
        let mut ids = Vec::new();
        for _ in 0..4 {
            let mut call = call("f", "c1");
            call.start_by = (ids.len() == 2).then(|| world.now().after(Duration::from_secs(5)));
            ids.push(world.submit(call).await);
        }
        let running = world.lease(9).await.remove(0);
        // The front, held, is cancelled; the next of its lane expires behind it.
        world.store.cancel(tenant("acme"), ids[1].clone(), world.now()).await.unwrap();
        world.pass(Duration::from_secs(6));
        world.tick().await;
        assert_eq!(world.state(&ids[2]).await, ExecutionState::Expired);
        assert_eq!(held(&world).await, 1);
        world.settle(&running.lease, done()).await;
        assert_eq!(world.lease(9).await.remove(0).lease.execution, ids[3]);
        assert_eq!(held(&world).await, 0);
    }

    /// Once the second of them was taken away as if it still stood behind the first, and the third stayed where it was.
    async fn two_of_one_lane_that_go_away_in_one_turn_leave_their_place_to_the_third(world: World) {
        world.store.set_gate(of_function("f"), at_most(1)).await.unwrap();
        world.submit(call("f", "c1")).await;
        let begun = world.lease_one().await;
        let soon = Some(world.now().after(Duration::from_secs(5)));
        for start_by in [soon, soon, None] {
            world.submit(Submit { start_by, ..call("f", "c1") }).await;
        }
        world.pass(Duration::from_secs(6));
        assert_eq!(world.tick().await.ended.len(), 2);
        world.settle(&begun.lease, done()).await;
        assert_eq!(names(&world.lease(9).await), "f");
        assert_eq!(held(&world).await, 0);
    }

    async fn who_was_woken_and_goes_away_wakes_another(world: World) {
        world.store.set_gate(of_function("f"), at_most(1)).await.unwrap();
        for connection in ["c1", "c2", "c3"] {
            world.submit(call("f", connection)).await;
        }
        let running = world.lease(9).await.remove(0);
        world.settle(&running.lease, done()).await;
        // Of the two that were held one is ready now: it is cancelled before its turn.
        let woken = world.store.executions(tenant("acme"), Default::default()).await.unwrap().executions;
        let second = woken.iter().rev().find(|e| e.state == ExecutionState::Queued).unwrap().id.clone();
        world.store.cancel(tenant("acme"), second, world.now()).await.unwrap();
        assert_eq!(world.lease(9).await.len(), 1, "the third is not forgotten");
    }

    async fn a_retry_and_a_lost_lease_go_out_of_their_gates(world: World) {
        world.store.set_gate(of_function("f"), at_most(1)).await.unwrap();
        let mut first = call("f", "c1");
        first.retry.max = 1;
        let first = world.submit(first).await;
        world.submit(call("f", "c2")).await;
        let lease = world.lease(9).await.remove(0);
        world.settle(&lease.lease, failed()).await;
        assert_eq!(world.state(&first).await, ExecutionState::Waiting);
        assert_eq!(world.lease(9).await.len(), 1, "its place is free while it waits");
        world.pass(Duration::from_secs(60));
        world.tick().await;
        let again = world.lease(9).await;
        assert_eq!(again.len(), 1, "the lease that was lost and the retry take turns");
    }

    async fn what_does_not_fit_is_passed_over_and_in_the_end_waited_for(world: World) {
        let mut large = call("large", "c1");
        large.limits.cpu_units = 6;
        world.submit(large).await;
        let small = |of: &str| submit(of, FunctionKind::Action, "small");
        for _ in 0..20 {
            world.submit(small("globex")).await;
        }
        let total = Units { cpu: 8, memory_mib: 10_000 };
        let busy = Room { free: Units { cpu: 4, memory_mib: 10_000 }, ..Room::idle(total) };
        assert_eq!(names(&world.lease_as(&worker("w"), busy).await), "small small small small");
        world.pass(Duration::from_secs(29));
        assert_eq!(world.lease_as(&worker("w"), busy).await.len(), 4);
        world.pass(Duration::from_secs(1));
        assert!(world.lease_as(&worker("w"), busy).await.is_empty(), "room is kept for it");
        let leases = world.lease_as(&worker("w"), Room::idle(total)).await;
        assert_eq!((leases.len(), names(&leases).matches("large").count()), (3, 1));
    }

    async fn memory_is_room_too_and_who_asks_for_too_much_gets_a_whole_worker(world: World) {
        for memory_reserved_mib in [600, 600, 9_000] {
            let mut hungry = call("f", "c1");
            (hungry.limits.memory_mib, hungry.limits.memory_reserved_mib) = (10_000, memory_reserved_mib);
            world.submit(hungry).await;
        }
        let room = Room::idle(Units { cpu: 8, memory_mib: 1_000 });
        for _ in 0..3 {
            assert_eq!(world.lease_as(&worker("w"), room).await.len(), 1);
        }
    }

    async fn who_runs_nothing_finds_room_however_much_others_have_filled(world: World) {
        for name in ["a", "b"] {
            for _ in 0..200 {
                world.submit(action(name)).await;
            }
        }
        let mut room = Room { headroom: 4, ..Room::from(32) };
        let filled = world.lease_as(&worker("w"), room).await;
        assert_eq!(filled.len(), 28, "the headroom is left");
        room.free.cpu = 4;
        assert!(world.lease_as(&worker("w"), room).await.is_empty());
        for name in ["c", "c", "d"] {
            world.submit(action(name)).await;
        }
        let quiet = world.lease_as(&worker("w"), room).await;
        assert_eq!(quiet.len(), 2, "one of each: who has begun is like everybody else");
        room.free.cpu = 5;
        assert_eq!(world.lease_as(&worker("w"), room).await.len(), 1, "above the headroom all may");
    }

    async fn one_dispatch_goes_on_into_the_headroom(world: World) {
        for name in ["a", "a", "a", "a", "b"] {
            world.submit(action(name)).await;
        }
        world.lease(1).await;
        let room = Room { headroom: 2, ..Room::from(4) };
        let names: Vec<String> =
            world.lease_as(&worker("w"), room).await.iter().map(|l| l.function.tenant.to_string()).collect();
        assert_eq!(names.len(), 2, "{names:?}");
        assert!(names.contains(&"b".to_owned()), "{names:?}");
    }
}

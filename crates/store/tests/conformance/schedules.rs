//! Schedules.

use std::time::Duration;

use bulkhead_sched::share::ShareLimits;
use bulkhead_store::hot::model::{Fire, Fired, Schedule, ScheduleKey};
use bulkhead_types::{ConnectionId, FunctionKind, MissedRuns, ScheduleOptions};

use crate::world::{World, done, function, sync, tenant};

fn key() -> ScheduleKey {
    let connection = Some(ConnectionId::parse("c1").unwrap());
    ScheduleKey { function: function("acme", FunctionKind::Sync, "issues"), connection }
}

fn schedule(world: &World) -> Schedule {
    Schedule {
        key: key(),
        frequency: "every 1m".to_owned(),
        options: ScheduleOptions::default(),
        anchor: world.now(),
        paused: false,
        next_at: world.now().after(Duration::from_secs(60)),
        last_at: None,
        last_execution: None,
        last_error: None,
    }
}

fn fire(world: &World, due: &Schedule) -> Fire {
    let what = Ok((world.next_id(), Box::new(sync("acme"))));
    let next_at = due.next_at.after(Duration::from_secs(60));
    Fire { key: due.key.clone(), due_at: due.next_at, next_at, now: world.now(), what }
}

async fn due(world: &World) -> Vec<Schedule> {
    world.store.due(world.now(), 10).await.unwrap().0
}

crate::cases! {
    async fn a_schedule_is_kept_as_it_is(world: World) {
        let put = schedule(&world);
        world.store.put_schedule(put.clone(), None).await.unwrap();
        assert_eq!(world.store.schedule(key()).await.unwrap(), Some(put.clone()));
        assert_eq!(world.store.schedules(tenant("acme")).await.unwrap(), [put]);
        assert_eq!(world.store.schedules(tenant("globex")).await.unwrap(), []);
        let without = ScheduleKey { connection: None, ..key() };
        assert_eq!(world.store.schedule(without.clone()).await.unwrap(), None);
        assert!(!world.store.remove_schedule(without).await.unwrap());
        assert!(world.store.remove_schedule(key()).await.unwrap());
        assert_eq!(world.store.schedule(key()).await.unwrap(), None);
    }

    async fn a_schedule_fires_once_when_it_is_due(world: World) {
        world.store.put_schedule(schedule(&world), None).await.unwrap();
        let (none, next) = world.store.due(world.now(), 10).await.unwrap();
        assert!(none.is_empty());
        world.pass(Duration::from_secs(60));
        assert_eq!(next, Some(world.now()));

        let found = due(&world).await.remove(0);
        let (first, second) = (fire(&world, &found), fire(&world, &found));
        let fired = world.store.fire(first).await.unwrap();
        let Some(Fired::Submitted(submitted)) = fired else { panic!("{fired:?}") };
        assert!(!submitted.duplicate);
        assert!(world.store.fire(second).await.unwrap().is_none(), "another server was faster");
        assert!(due(&world).await.is_empty());
        let kept = world.store.schedule(key()).await.unwrap().unwrap();
        assert_eq!(kept.last_execution, Some(submitted.execution));
        assert_eq!(kept.last_at, Some(world.now()));
    }

    async fn a_sync_that_still_runs_is_joined(world: World) {
        let running = world.submit(sync("acme")).await;
        let lease = world.lease_one().await.lease;
        world.store.put_schedule(schedule(&world), None).await.unwrap();
        world.pass(Duration::from_secs(60));
        let found = due(&world).await.remove(0);
        let fired = world.store.fire(fire(&world, &found)).await.unwrap();
        let Some(Fired::Submitted(submitted)) = fired else { panic!("{fired:?}") };
        assert_eq!((submitted.execution, submitted.duplicate), (running, true));
        world.settle(&lease, done()).await;
        assert!(world.lease(1).await.is_empty(), "what was joined does not run a second time");
    }

    async fn a_schedule_that_rests_is_never_due(world: World) {
        world.store.put_schedule(schedule(&world), None).await.unwrap();
        assert!(world.store.pause_schedule(key(), true).await.unwrap().unwrap().paused);
        world.pass(Duration::from_secs(600));
        let (found, next) = world.store.due(world.now(), 10).await.unwrap();
        assert!(found.is_empty() && next.is_none());
        let paused = world.store.schedule(key()).await.unwrap().unwrap();
        assert!(world.store.fire(fire(&world, &paused)).await.unwrap().is_none());
    }

    async fn what_can_not_run_is_skipped_with_the_reason_and_due_again(world: World) {
        world.store.put_schedule(schedule(&world), None).await.unwrap();
        let none = ShareLimits { queued_max: 0, ..ShareLimits::default() };
        world.store.set_share(tenant("acme"), none).await.unwrap();
        for why in ["not deployed", "queue is full"] {
            world.pass(Duration::from_secs(60));
            let found = due(&world).await.remove(0);
            let mut firing = fire(&world, &found);
            if why == "not deployed" {
                firing.what = Err(why.to_owned());
            }
            let fired = world.store.fire(firing).await.unwrap();
            assert!(matches!(&fired, Some(Fired::Skipped(told)) if told.contains(why)), "{fired:?}");
            let kept = world.store.schedule(key()).await.unwrap().unwrap();
            assert!(kept.last_error.unwrap().contains(why));
        }
        assert_eq!(world.counts("acme").await, "0/0/0");
    }

    async fn putting_it_again_changes_nothing_but_its_frequency(world: World) {
        let first = schedule(&world);
        let first_at = world.now().after(Duration::from_secs(1));
        let made = world.store.put_schedule(first.clone(), Some(first_at)).await.unwrap();
        assert_eq!(made, Schedule { next_at: first_at, ..first.clone() });
        world.store.pause_schedule(key(), true).await.unwrap();
        world.pass(Duration::from_secs(5));
        let same = world.store.put_schedule(schedule(&world), Some(world.now())).await.unwrap();
        assert_eq!(same, Schedule { paused: true, ..made });
        let other = Schedule { frequency: "every 2m".to_owned(), ..schedule(&world) };
        let changed = world.store.put_schedule(other.clone(), Some(world.now())).await.unwrap();
        assert_eq!(changed, Schedule { paused: true, ..other });
        let options = ScheduleOptions { jitter_ms: 500, missed: MissedRuns::Skip };
        let spread = Schedule { options, ..schedule(&world) };
        assert_eq!(world.store.put_schedule(spread, None).await.unwrap().options, options);
        assert_eq!(world.store.schedule(key()).await.unwrap().unwrap().options, options);
        let nobody = ScheduleKey { connection: None, ..key() };
        assert_eq!(world.store.pause_schedule(nobody, true).await.unwrap(), None);
    }
}

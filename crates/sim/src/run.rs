//! One seed, from storm to end.

use std::sync::Arc;
use std::time::Duration;

use bulkhead_store::hot::Store;
use bulkhead_types::Clock;
use tokio::task::JoinSet;

use crate::Canary;
use crate::actor::caller::Caller;
use crate::actor::functions::tenant;
use crate::actor::worker;
use crate::after;
use crate::check::{Counts, INTERVAL_MAX, Violation, left};
use crate::network::Link;
use crate::server::RETENTION;
use crate::swarm::{KEY_TTL_MAX, Swarm};
use crate::time::Dice;
use crate::trace::Trace;
use crate::world::World;

/// In the calm, everything ends in this time: the longest backlog there is, one attempt at a time, each tried as often
/// as it may be.
const CALM_MAX: Duration = Duration::from_secs(12 * 60 * 60);

/// How one seed went.
#[derive(Debug, Clone)]
pub struct Report {
    /// Which.
    pub seed: u64,
    /// What was broken, if anything.
    pub violation: Option<Violation>,
    /// A hash over all that happened: the same for the same seed.
    pub hash: u64,
    /// Lines of the trace.
    pub lines: u64,
    /// The last of them.
    pub last: Vec<String>,
    /// How much of what there was.
    pub counts: Counts,
    /// Virtual time that went by.
    pub lasted: Duration,
}

/// Runs one seed; with a canary if wanted, and with its trace on standard error as it goes if `aloud`.
///
/// # Panics
/// When no runtime can be made.
#[must_use]
pub fn run(seed: u64, canary: Option<Canary>, aloud: bool) -> Report {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    #[allow(clippy::expect_used, reason = "it needs nothing but memory")]
    let runtime = builder.enable_time().start_paused(true).build().expect("a runtime without I/O");
    runtime.block_on(async {
        let dice = Dice::new(seed);
        let world = World::new(Swarm::draw(&dice), canary, Trace::new(aloud));
        world.tell(&format!("seed {seed}: {:?}", world.swarm));
        tokio::select! {
            biased;
            () = world.broken() => {}
            () = whole(&world, &dice) => {}
        };
        // A life has the world, and the world its servers' lives.
        world.servers.iter().for_each(|server| server.forget_life());
        let book = world.book();
        Report {
            seed,
            violation: book.violation.clone(),
            hash: book.trace.hash(),
            lines: book.trace.lines(),
            last: book.trace.last(),
            counts: book.ledger.counts,
            lasted: world.start.elapsed(),
        }
    })
}

async fn whole(world: &Arc<World>, dice: &Dice) {
    // All that lives ends with this.
    let mut actors = JoinSet::new();
    for server in &world.servers {
        actors.spawn(Arc::clone(server).run(Arc::clone(world), dice.fork()));
    }
    for _ in 0..world.swarm.workers {
        let link = Link::far(world, dice.fork());
        actors.spawn(worker::run(Arc::clone(world), link, dice.fork()));
    }
    let acts = async {
        storm(world, dice).await;
        world.becalm();
        for at in 0..world.swarm.tenants.len() {
            Caller::new(world, at, dice.fork()).let_go().await;
        }
        all_ends(world).await;
        nothing_is_left(world).await;
    };
    tokio::select! {
        biased;
        ended = actors.join_next() => {
            let what = format!("an actor came to an end: {ended:?}");
            world.check(|_| Err(Violation::new("panics", what)));
            std::future::pending::<()>().await;
        }
        () = acts => {}
    }
}

/// Callers do what they do, until their time is up.
async fn storm(world: &Arc<World>, dice: &Dice) {
    let mut callers = JoinSet::new();
    for (at, plan) in world.swarm.tenants.iter().enumerate() {
        let first = Caller::new(world, at, dice.fork());
        let more: Vec<_> = (1..plan.callers).map(|_| Caller::new(world, at, dice.fork())).collect();
        callers.spawn(async move {
            first.set_up().await;
            let mut all = JoinSet::new();
            std::iter::once(first).chain(more).for_each(|caller| drop(all.spawn(caller.run())));
            all.join_all().await;
        });
    }
    tokio::select! {
        biased;
        () = async { while let Some(done) = callers.join_next().await { done.unwrap_or_else(rethrow); } } => {}
        () = tokio::time::sleep(world.swarm.storm) => {}
    }
}

fn rethrow(error: tokio::task::JoinError) {
    if let Ok(panic) = error.try_into_panic() {
        std::panic::resume_unwind(panic);
    }
}

/// Schedules still fire; then they are removed, and everything ends.
async fn all_ends(world: &Arc<World>) {
    let clock = &world.servers[0].clock;
    let calm_since = clock.now();
    tokio::time::sleep(INTERVAL_MAX * 3).await;
    for at in 0..world.swarm.tenants.len() {
        let schedules = world.store.schedules(tenant(at)).await.unwrap_or_default();
        for schedule in schedules {
            let fired = schedule.last_at.is_some_and(|last_at| last_at > calm_since);
            let name = schedule.key.function.name.clone();
            world.check(|_| {
                let what = format!("{name} of t{at} does not fire any more: {schedule:?}");
                if fired || schedule.paused {
                    Ok(())
                } else {
                    Err(Violation::new("schedules", what))
                }
            });
            drop(world.store.remove_schedule(schedule.key).await);
        }
    }
    let ended = || world.book().ledger.unended().is_empty();
    if !world.until(CALM_MAX, ended).await {
        world.check(|book| {
            let what = format!("these never ended: {}", book.ledger.unended().join(", "));
            Err(Violation::new("ends", what))
        });
    }
}

/// Everything has ended: the counters are at zero; and once it is old, nothing of it is there.
async fn nothing_is_left(world: &Arc<World>) {
    let ids: Vec<_> = world.book().ledger.known().map(|(id, _)| id.clone()).collect();
    for id in ids {
        let row = world.store.execution(id.clone()).await.ok().flatten();
        let now = world.servers[0].clock.now();
        world.check(|book| match &row {
            None => book.ledger.may_be_forgotten(&id, now),
            Some(row) => book.ledger.rows(std::slice::from_ref(row)),
        });
    }
    for at in 0..world.swarm.tenants.len() {
        let looked = after::tenant(&world.store, &tenant(at)).await;
        world.check(|_| looked.map(drop));
    }
    // Longer than history and keys are kept, and than outcomes are late.
    tokio::time::sleep(RETENTION + KEY_TTL_MAX + Duration::from_secs(300)).await;
    let census = world.store.census();
    world.check(|_| left::nothing(&census));
    world.tell("the end");
}

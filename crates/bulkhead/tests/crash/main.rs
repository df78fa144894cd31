//! Real processes, killed at random moments in the middle of a mixed load: servers, workers and PostgreSQL, or one of
//! its backends, by SIGKILL; a worker also stopped for longer than its leases live, after which it goes on writing.
//! Afterwards the checkers go over the database that they left.
//!
//! - `load.rs`: actions, webhooks and syncs, each called until it is accepted, then watched until it ends.
//! - `machines.rs`: the processes, and how each is killed and started again. `storm.rs`: who is hit, and when.
//! - `judge.rs`: nothing accepted is lost, nothing ended twice, nobody wrote under a lost lease, and what interrupted
//!   syncs saved is what an uninterrupted one saves.
//!
//! The moments are counted in executions that have ended, drawn from a seed, and so as many on a slow machine. Small
//! among all the other tests; `cargo xtask crash --executions 5000` is the large one.
#![allow(clippy::unwrap_used, reason = "tests")]
#![allow(clippy::print_stdout, reason = "a long run tells how far it is")]

mod judge;
mod load;
mod machines;
mod storm;
#[path = "../support/mod.rs"]
mod support;

use load::Load;
use machines::Machines;

/// Of a run among all the other tests.
const EXECUTIONS: usize = 80;

/// What `cargo xtask crash` passes on. Not `BULKHEAD_…`: those are settings of the servers that are started here.
const EXECUTIONS_SAID: &str = "CRASH_EXECUTIONS";
const SEED_SAID: &str = "CRASH_SEED";

/// How much of everything.
#[derive(Debug, Clone, Copy)]
struct Plan {
    executions: usize,
    /// How often something is hit.
    blows: usize,
    seed: u64,
}

impl Plan {
    #[allow(clippy::disallowed_methods, reason = "how a command passes a number on to a test")]
    fn said() -> Self {
        let said = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
        let executions = said(EXECUTIONS_SAID).map_or(EXECUTIONS, |n| usize::try_from(n).unwrap());
        // Each kind once at least; then one for every hundred executions.
        let blows = (executions / 100).clamp(5, 80);
        Self { executions, blows, seed: said(SEED_SAID).unwrap_or(1) }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sqlite() {
    survive(Machines::on_sqlite().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres() {
    survive(Machines::on_postgres().await).await;
}

async fn survive(machines: Machines) {
    let plan = Plan::said();
    println!("{plan:?}");
    let control = load::uninterrupted(&machines.clients[0]).await;
    let load = Load::new(plan, machines.clients.clone());
    let (dice, progress) = (load.dice(), load.progress());
    let storm = tokio::task::spawn_blocking(move || storm::rage(machines, plan, dice, progress));
    let told = load.run().await;
    let machines = storm.await.unwrap();

    // All that was called has ended; what the syncs saved is read over the API, all else in the database.
    for told in &told {
        let records = judge::records(&machines.clients[0], told).await;
        judge::saved(told, &records, &control);
    }
    let left = machines.stop().await;
    let found = judge::everything(left.store.as_ref(), &told, &control).await;
    println!("{found:?}");
}

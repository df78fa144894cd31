//! One suite for all walls, with the real runtime image behind each: a zygote, forked sandboxes, and what they may not
//! do. What a wall declares as a difference (`Capability::differences`) changes what is expected of it, by name; nothing
//! else does.
//!
//! A wall's own test is a program of its own that calls [`run`]: a launcher has to be started before the process has a
//! second thread.
#![allow(clippy::unwrap_used, clippy::panic, reason = "these are tests: they fail by panicking")]
#![allow(missing_docs, reason = "a test's name is its documentation")]

mod cases;
mod place;
mod several;

use std::future::Future;
use std::pin::Pin;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use libtest_mimic::{Arguments, Failed, Trial};

use crate::DynWall;

pub use place::{Place, action};
pub use several::several;

/// Generous: the machine may be busy, and a wall's own machine emulated; nothing here measures time.
const PATIENCE: Duration = Duration::from_secs(300);

/// A test of a wall.
pub type Case = fn(DynWall) -> Pin<Box<dyn Future<Output = ()> + Send>>;

/// Names tests of the form `async fn name(wall: DynWall)`.
#[macro_export]
macro_rules! wall_cases {
    ($($name:ident),* $(,)?) => {
        vec![$((stringify!($name), (|wall| Box::pin($name(wall))) as $crate::conformance::Case)),*]
    };
}

/// Runs the suite and `more`. `start` comes first, while there is one thread; `wall` within a runtime.
pub fn run<H>(
    start: impl FnOnce() -> H,
    wall: impl FnOnce(H) -> DynWall,
    more: Vec<(&'static str, Case)>,
) -> ExitCode {
    // One after the other: some of them count what is on the machine.
    let arguments = Arguments { test_threads: Some(1), ..Arguments::from_args() };
    let mut all = cases::all();
    all.extend(more);
    if arguments.list {
        return libtest_mimic::run(&arguments, trials(all, None)).exit_code();
    }
    let handle = start();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let wall = runtime.block_on(async { wall(handle) });
    let shared = Arc::new((runtime, wall));
    libtest_mimic::run(&arguments, trials(all, Some(&shared))).exit_code()
}

type Shared = Arc<(tokio::runtime::Runtime, DynWall)>;

fn trials(cases: Vec<(&'static str, Case)>, shared: Option<&Shared>) -> Vec<Trial> {
    let trial = |(name, case): (&'static str, Case)| {
        let shared = shared.cloned();
        Trial::test(name, move || {
            let Some(shared) = shared else { return Err(Failed::from("no wall")) };
            let timed = async { tokio::time::timeout(PATIENCE, case(Arc::clone(&shared.1))).await };
            shared.0.block_on(timed).map_err(|_| Failed::from("took too long"))
        })
    };
    cases.into_iter().map(trial).collect()
}

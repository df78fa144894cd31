//! Warm before anybody calls: what was just deployed, and what a schedule is about to run.
//!
//! All of it is a guess that costs CPU and memory, so it is little at a time, behind whoever waits for a compartment, and
//! within the tenant's share of what may be kept warm (`crates/worker/src/pool/warmth.rs`). A guess that fails is no
//! error: the first attempt finds out, and says so where its author looks.

use std::sync::Arc;
use std::time::Duration;

use bulkhead_engine::Engine;
use bulkhead_platform::Platform;
use bulkhead_types::{Clock, FunctionKey, FunctionKind, Limits};
use bulkhead_worker::{Prepared, Prewarmed, Runner};
use tokio::sync::broadcast::error::RecvError;

/// Functions of one deployment that nothing of was warm before. More would keep the machine busy with what may never be
/// called; what replaces a warm version is made warm however many there are.
const NEW_AT_ONCE: usize = 4;

/// How long before a schedule is due its function is made warm: several times what that takes, so that it is ready on a
/// busy machine too.
const AHEAD: Duration = Duration::from_secs(5);

/// Schedules looked at in one turn. Where more are due at the same moment, the others build when they run.
const DUE_AT_ONCE: usize = 32;

/// Between two looks at what is due.
const LOOK_EVERY: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(60)];

/// What is made warm, and by whom.
pub(super) struct Prewarm {
    pub(super) engine: Engine,
    pub(super) platform: Arc<Platform>,
    pub(super) runner: Runner,
    /// Hold for every attempt: a sandbox is parked under the limits it will run with.
    pub(super) ceilings: Limits,
    pub(super) clock: Arc<dyn Clock>,
}

impl Prewarm {
    /// Goes on until it is dropped.
    pub(super) async fn run(self) {
        tokio::join!(self.what_is_deployed(), self.what_is_due());
    }

    async fn what_is_deployed(&self) {
        let mut deployed = self.platform.deployed();
        loop {
            match deployed.recv().await {
                Ok(deployed) => {
                    let is_warm = |function: &FunctionKey| self.runner.is_warm(function);
                    for function in choose(&deployed.functions, is_warm) {
                        self.warm(function).await;
                    }
                }
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return,
            }
        }
    }

    async fn what_is_due(&self) {
        loop {
            let [least, most] = LOOK_EVERY;
            let sleep = match self.engine.due_within(AHEAD, DUE_AT_ONCE).await {
                Ok((due, next_at)) => {
                    for key in due {
                        self.warm(&key.function).await;
                    }
                    let next = next_at.map(|at| at.since(self.clock.now()).saturating_sub(AHEAD));
                    next.unwrap_or(most).clamp(least, most)
                }
                Err(error) => {
                    tracing::warn!(%error, "what is due soon is not known");
                    most
                }
            };
            tokio::time::sleep(sleep).await;
        }
    }

    async fn warm(&self, function: &FunctionKey) {
        let prepared = match self.platform.prepare_ahead(function).await {
            Ok(prepared) => prepared,
            Err(error) => return tracing::debug!(%error, "not made warm"),
        };
        let bulkhead_platform::Prepared { version, bundle, context, wall } = prepared;
        let limits = version.spec.limits.within(&self.ceilings);
        let prepared = Prepared { version, bundle, context, wall };
        match self.runner.prewarm(&prepared, &limits).await {
            Ok(Prewarmed::Built) => tracing::debug!(?function, "made warm"),
            Ok(Prewarmed::Already | Prewarmed::Never) => {}
            Ok(Prewarmed::NoRoom) => tracing::debug!(?function, "no room to make it warm"),
            Err(error) => tracing::debug!(%error, ?function, "not made warm"),
        }
    }
}

/// Which of the functions that became live: all that replace a warm version, and the first of those that somebody waits
/// for when they are called. Syncs come by schedule.
fn choose(functions: &[FunctionKey], is_warm: impl Fn(&FunctionKey) -> bool) -> Vec<&FunctionKey> {
    let (mut chosen, others): (Vec<_>, Vec<_>) = functions.iter().partition(|it| is_warm(it));
    let waited_for = others.into_iter().filter(|it| it.kind != FunctionKind::Sync);
    chosen.extend(waited_for.take(NEW_AT_ONCE));
    chosen
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use bulkhead_types::{FunctionName, IntegrationId, TenantId};

    use super::*;

    #[test]
    fn what_was_warm_comes_first_and_of_the_rest_a_few_actions() {
        let function = |kind, name: &str| FunctionKey {
            tenant: TenantId::parse("t").unwrap(),
            integration: IntegrationId::parse("i").unwrap(),
            kind,
            name: FunctionName::parse(name).unwrap(),
        };
        let mut functions: Vec<_> =
            (0..9).map(|n| function(FunctionKind::Action, &format!("a{n}"))).collect();
        functions.push(function(FunctionKind::Sync, "s0"));
        functions.push(function(FunctionKind::Sync, "s1"));
        let names = |warm: &[&str]| {
            let chosen = choose(&functions, |it| warm.contains(&it.name.as_str()));
            chosen.iter().map(|it| it.name.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(names(&[]), ["a0", "a1", "a2", "a3"]);
        assert_eq!(names(&["a8", "s1"]), ["a8", "s1", "a0", "a1", "a2", "a3"]);
    }
}

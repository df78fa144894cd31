//! How callers and workers reach a server: messages are lost, come late, and servers are not there.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::server::Life;
use crate::swarm::LATE_MS_MAX;
use crate::time::Dice;
use crate::world::World;

/// How long one waits for an answer to a message that was lost, until one takes it for lost.
const PATIENCE: Duration = Duration::from_secs(3);

/// No answer. What was asked may have been done or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NoAnswer;

/// A way to a server, whichever is there.
pub(crate) struct Link {
    world: Arc<World>,
    dice: Dice,
    /// Which server was reached last.
    server: AtomicUsize,
    /// Whether there is a network in between.
    far: bool,
}

impl Link {
    /// Over the network.
    pub(crate) fn far(world: &Arc<World>, dice: Dice) -> Self {
        let server = AtomicUsize::new(dice.below(world.servers.len()));
        Self { world: Arc::clone(world), dice, server, far: true }
    }

    /// In the server's own process.
    pub(crate) fn within(world: &Arc<World>, server: usize, dice: Dice) -> Self {
        Self { world: Arc::clone(world), dice, server: AtomicUsize::new(server), far: false }
    }

    /// Another one, to the same server.
    pub(crate) fn again(&self) -> Self {
        Self {
            world: Arc::clone(&self.world),
            dice: self.dice.fork(),
            server: AtomicUsize::new(self.server.load(Ordering::Relaxed)),
            far: self.far,
        }
    }

    pub(crate) fn is_far(&self) -> bool {
        self.far
    }

    fn life(&self) -> Option<Arc<Life>> {
        self.world.servers[self.server.load(Ordering::Relaxed)].life()
    }

    /// Asks.
    pub(crate) async fn ask<T, F>(&self, ask: impl FnOnce(Arc<Life>) -> F) -> Result<T, NoAnswer>
    where
        F: Future<Output = T>,
    {
        self.travel().await?;
        let Some(life) = self.life() else { return Err(self.elsewhere().await) };
        let answer = tokio::select! {
            biased;
            answer = ask(Arc::clone(&life)) => answer,
            () = life.gate.over() => return Err(self.elsewhere().await),
        };
        self.travel().await?;
        Ok(answer)
    }

    /// One message, one way.
    async fn travel(&self) -> Result<(), NoAnswer> {
        if !self.far {
            return Ok(());
        }
        let faults = self.world.faults();
        let late = self.dice.span(1, LATE_MS_MAX);
        if self.dice.strikes(faults.message_late) {
            tokio::time::sleep(late).await;
        }
        if self.dice.strikes(faults.message_lost) {
            tokio::time::sleep(PATIENCE).await;
            return Err(NoAnswer);
        }
        Ok(())
    }

    /// The next server, after a moment: nobody is asked in a tight loop.
    async fn elsewhere(&self) -> NoAnswer {
        let next = (self.server.load(Ordering::Relaxed) + 1) % self.world.servers.len();
        self.server.store(next, Ordering::Relaxed);
        tokio::time::sleep(Duration::from_millis(100)).await;
        NoAnswer
    }
}

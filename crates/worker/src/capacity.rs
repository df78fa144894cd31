//! What a worker has and what its attempts take: told to the source of work, which gives leases for it.

use std::sync::Arc;

use bulkhead_types::{Room, Units};
use tokio::sync::watch;

/// A worker's capacity.
#[derive(Debug)]
pub(crate) struct Capacity {
    total: Units,
    headroom: u32,
    taken: watch::Sender<Units>,
}

impl Capacity {
    pub(crate) fn new(total: Units, headroom: u32) -> Self {
        Self { total, headroom, taken: watch::Sender::new(Units::default()) }
    }

    fn room_beside(&self, taken: Units) -> Room {
        Room { free: self.total.minus(taken), total: self.total, headroom: self.headroom }
    }

    /// Waits until a CPU unit is free; returns what is.
    pub(crate) async fn room(&self) -> Room {
        self.until(|room| room.free.cpu > 0).await
    }

    /// Waits until there is so much more room than `asked` that what did not fit may fit now: twice as much, or all,
    /// or no longer only what is kept for tenants that run nothing.
    pub(crate) async fn grown(&self, asked: Room) {
        let twice = asked.free.plus(asked.free);
        self.until(|room| {
            let larger = room.free == room.total || room.free.covers(twice);
            let open = asked.is_for_the_idle() && !room.is_for_the_idle();
            room.free != asked.free && (larger || open)
        })
        .await;
    }

    async fn until(&self, enough: impl Fn(Room) -> bool) -> Room {
        let mut taken = self.taken.subscribe();
        loop {
            let room = self.room_beside(*taken.borrow_and_update());
            if enough(room) {
                return room;
            }
            // The sender is our own: it is not gone while we are here.
            if taken.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// Takes units until the guard is dropped. Whoever gave a lease has seen that they are free; were they not, there
    /// is no more room until they are.
    pub(crate) fn take(self: &Arc<Self>, asked: Units) -> Taken {
        let units = self.room_beside(Units::default()).taken_by(asked);
        self.taken.send_modify(|taken| *taken = taken.plus(units));
        Taken { capacity: Arc::clone(self), units }
    }
}

/// Units that an attempt takes.
#[derive(Debug)]
pub(crate) struct Taken {
    capacity: Arc<Capacity>,
    units: Units,
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.capacity.taken.send_modify(|taken| *taken = taken.minus(self.units));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn units(cpu: u32, memory_mib: u64) -> Units {
        Units { cpu, memory_mib }
    }

    #[tokio::test]
    async fn what_is_taken_is_no_room_until_it_is_given_back() {
        let capacity = Arc::new(Capacity::new(units(4, 100), 0));
        let all = capacity.take(units(9, 50));
        tokio::select! {
            biased;
            room = capacity.room() => panic!("no CPU unit is free: {room:?}"),
            () = std::future::ready(()) => {}
        }
        drop(all);
        let first = capacity.take(units(1, 60));
        let asked = capacity.room().await;
        assert_eq!(asked.free, units(3, 40));
        let grown = tokio::join!(capacity.grown(asked), async { drop(first) });
        assert_eq!((grown.1, capacity.room().await.free), ((), units(4, 100)));
    }

    #[tokio::test]
    async fn room_that_is_no_longer_kept_for_the_idle_is_worth_asking_again() {
        let capacity = Arc::new(Capacity::new(units(16, 1_000), 2));
        let [_others, last] = [13, 1].map(|cpu| capacity.take(units(cpu, 1)));
        let asked = capacity.room().await;
        assert!(asked.is_for_the_idle() && asked.free.cpu == 2);
        tokio::join!(capacity.grown(asked), async { drop(last) });
        assert!(!capacity.room().await.is_for_the_idle());
    }
}

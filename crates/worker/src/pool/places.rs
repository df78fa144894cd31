//! Places for compartments, and turns to build one: handed out to whoever has fewest, not to whoever asks most.
//!
//! A queue would be fair to askers only: behind a tenant with a thousand functions everybody else would wait for a
//! thousand compartments.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bulkhead_types::TenantId;
use tokio::sync::{Notify, oneshot};

/// All of them.
#[derive(Debug)]
pub(super) struct Places {
    compartments_max: usize,
    builds_max: usize,
    state: Mutex<State>,
    /// The last one came back.
    all_back: Notify,
}

#[derive(Debug, Default)]
struct State {
    taken: HashMap<TenantId, usize>,
    taken_in_all: usize,
    /// Of those, how many come back soon: their compartment is being destroyed.
    leaving: usize,
    building: usize,
    waiting: VecDeque<Ask>,
    closed: bool,
}

#[derive(Debug)]
struct Ask {
    tenant: TenantId,
    urgent: Urgent,
    give: oneshot::Sender<Granted>,
}

/// Whether an attempt waits for what is being built; it may come after the building was asked for.
#[derive(Debug, Clone, Default)]
pub(super) struct Urgent(Arc<AtomicBool>);

impl Urgent {
    pub(super) fn new(urgent: bool) -> Self {
        Self(Arc::new(AtomicBool::new(urgent)))
    }

    pub(super) fn set(&self, urgent: bool) {
        self.0.store(urgent, Ordering::Relaxed);
    }

    pub(super) fn get(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// A place, and the turn to build there.
pub(super) type Granted = (Place, Turn);

/// Somebody who waits for a place while all are taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Lacking {
    pub(super) tenant: TenantId,
    pub(super) urgent: bool,
}

impl Places {
    pub(super) fn new(compartments_max: usize, builds_max: usize) -> Arc<Self> {
        let (state, all_back) = (Mutex::default(), Notify::new());
        Arc::new(Self { compartments_max, builds_max, state, all_back })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks for a place and a turn. What is received fails once this is closed.
    pub(super) fn ask(
        self: &Arc<Self>,
        tenant: &TenantId,
        urgent: Urgent,
    ) -> oneshot::Receiver<Granted> {
        let (give, granted) = oneshot::channel();
        self.change(|state| {
            if !state.closed {
                state.waiting.push_back(Ask { tenant: tenant.clone(), urgent, give });
            }
        });
        granted
    }

    /// How many wait.
    pub(super) fn wanted(&self) -> usize {
        self.lock().waiting.len()
    }

    /// Who waits although it might build, if it had a place that nobody is about to give back: in the order in which
    /// they are served, each tenant once.
    pub(super) fn lacking(&self) -> Vec<Lacking> {
        let mut state = self.lock();
        state.waiting.retain(|ask| !ask.give.is_closed());
        if self.compartments_max > state.taken_in_all || state.leaving >= state.waiting.len() {
            return Vec::new();
        }
        let mut order: Vec<usize> = (0..state.waiting.len()).collect();
        order.sort_by_key(|place| state.rank(*place));
        let mut lacking: Vec<Lacking> = Vec::new();
        for place in order {
            let Ask { tenant, urgent, .. } = &state.waiting[place];
            if !lacking.iter().any(|it| it.tenant == *tenant) {
                lacking.push(Lacking { tenant: tenant.clone(), urgent: urgent.get() });
            }
        }
        lacking
    }

    /// Hands out no more, and waits until all are back.
    pub(super) async fn close(&self) {
        let waiting = {
            let mut state = self.lock();
            state.closed = true;
            std::mem::take(&mut state.waiting)
        };
        drop(waiting);
        loop {
            let all_back = self.all_back.notified();
            if self.lock().taken_in_all == 0 {
                return;
            }
            all_back.await;
        }
    }

    /// Changes the state, and hands out what is free then. What nobody takes any more comes back after the lock is let
    /// go of: giving back takes it again.
    fn change<T>(self: &Arc<Self>, change: impl FnOnce(&mut State) -> T) -> T {
        let mut untaken = Vec::new();
        let mut state = self.lock();
        let changed = change(&mut state);
        while state.taken_in_all < self.compartments_max && state.building < self.builds_max {
            let Some(ask) = state.next() else { break };
            *state.taken.entry(ask.tenant.clone()).or_default() += 1;
            state.taken_in_all += 1;
            state.building += 1;
            let place = Place {
                places: Arc::clone(self),
                tenant: ask.tenant,
                leaving: AtomicBool::new(false),
            };
            let turn = Turn { places: Arc::clone(self) };
            untaken.extend(ask.give.send((place, turn)).err());
        }
        drop(state);
        drop(untaken);
        changed
    }
}

impl State {
    /// Attempts before what is only to be warm; then who has fewest; then who came first.
    fn rank(&self, place: usize) -> (bool, usize, usize) {
        let ask = &self.waiting[place];
        let has = self.taken.get(&ask.tenant).copied().unwrap_or(0);
        (!ask.urgent.get(), has, place)
    }

    fn next(&mut self) -> Option<Ask> {
        self.waiting.retain(|ask| !ask.give.is_closed());
        let first = (0..self.waiting.len()).min_by_key(|place| self.rank(*place))?;
        self.waiting.remove(first)
    }
}

/// The right to have one compartment. Comes back when it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    places: Arc<Places>,
    tenant: TenantId,
    leaving: AtomicBool,
}

impl Place {
    /// The compartment is being destroyed: whoever waits need not look for another to give up.
    pub(super) fn leave(&self) {
        if !self.leaving.swap(true, Ordering::Relaxed) {
            self.places.lock().leaving += 1;
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let left = self.leaving.load(Ordering::Relaxed);
        let none_left = self.places.change(|state| {
            state.leaving -= usize::from(left);
            state.taken_in_all -= 1;
            if let Some(taken) = state.taken.get_mut(&self.tenant) {
                *taken -= 1;
                if *taken == 0 {
                    state.taken.remove(&self.tenant);
                }
            }
            state.taken_in_all == 0
        });
        if none_left {
            self.places.all_back.notify_waiters();
        }
    }
}

/// The right to build now. Ends when it is dropped.
#[derive(Debug)]
pub(super) struct Turn {
    places: Arc<Places>,
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.places.change(|state| state.building -= 1);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    fn tenant(name: &str) -> TenantId {
        TenantId::parse(name).unwrap()
    }

    fn ask(places: &Arc<Places>, name: &str, urgent: bool) -> oneshot::Receiver<Granted> {
        places.ask(&tenant(name), Urgent::new(urgent))
    }

    #[test]
    fn a_free_place_goes_to_an_attempt_of_who_has_fewest() {
        let places = Places::new(2, 2);
        let mut first = ask(&places, "flood", true);
        let (place, turn) = first.try_recv().unwrap();
        let (other, _) = ask(&places, "flood", true).try_recv().unwrap();
        let mut third = ask(&places, "flood", true);
        let mut ahead = ask(&places, "new", false);
        let mut late = ask(&places, "late", true);
        let lacking = places.lacking();
        let order: Vec<_> = lacking.iter().map(|it| (it.tenant.as_str(), it.urgent)).collect();
        assert_eq!(order, [("late", true), ("flood", true), ("new", false)]);
        drop((place, turn));
        let late = late.try_recv().unwrap();
        assert!(third.try_recv().is_err() && ahead.try_recv().is_err());
        other.leave();
        // One comes back, two wait: for one of them somebody has to go.
        assert_eq!(places.lacking().len(), 2);
        late.0.leave();
        assert!(places.lacking().is_empty());
        drop(other);
        let third = third.try_recv().unwrap();
        assert!(ahead.try_recv().is_err());
        drop((late, third));
        assert!(ahead.try_recv().is_ok());
    }

    #[test]
    fn who_stopped_waiting_takes_nothing_and_builds_are_few() {
        let places = Places::new(9, 1);
        let (_place, turn) = ask(&places, "a", true).try_recv().unwrap();
        drop(ask(&places, "a", true));
        let mut waits = ask(&places, "b", true);
        assert!(waits.try_recv().is_err());
        // There are places: nobody has to go for a turn.
        assert!(places.lacking().is_empty());
        drop(turn);
        assert!(waits.try_recv().is_ok());
        assert_eq!(places.lock().taken_in_all, 1, "what was received and dropped is back");
    }

    #[test]
    fn what_is_only_to_be_warm_becomes_urgent_when_an_attempt_comes() {
        let places = Places::new(1, 1);
        let held = ask(&places, "a", true).try_recv().unwrap();
        let urgent = Urgent::new(false);
        let mut ahead = places.ask(&tenant("b"), urgent.clone());
        let mut attempt = ask(&places, "a", true);
        urgent.set(true);
        drop(held);
        let _held = ahead.try_recv().unwrap();
        assert!(attempt.try_recv().is_err());
    }

    #[tokio::test]
    async fn closing_waits_for_all_and_refuses_the_rest() {
        let places = Places::new(1, 1);
        let held = ask(&places, "a", true).try_recv().unwrap();
        let waits = ask(&places, "b", true);
        let (closed, refused, ()) = tokio::join!(places.close(), waits, async { drop(held) });
        assert!(refused.is_err());
        assert_eq!(closed, ());
        assert!(ask(&places, "c", true).await.is_err());
    }
}

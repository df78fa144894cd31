//! What one tenant may have under way at the same time, so that a flood of it is felt by nobody else.
//!
//! - Of the places for requests it gets [`SHARE`] at most: others are not told that the server is overloaded.
//! - Its webhooks, which anybody may send, keep a line of their own: only [`AT_ONCE`] of them are at the database, and
//!   the rest wait here. A write waits for those that came before it, so without this a tenant that calls once would
//!   stand behind all that another was sent.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use bulkhead_types::TenantId;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::error::ApiError;

/// One tenant's share of all places for requests: a half.
const SHARE: usize = 2;

/// Webhooks of one tenant at the database at the same time. Enough that commits are shared (a group of so many costs
/// little more than one), few enough that a write which comes after them waits some milliseconds.
const AT_ONCE: usize = 32;

/// Who has how much under way. Only who has something is kept.
#[derive(Debug)]
pub(crate) struct Turns {
    places: usize,
    lines: Mutex<HashMap<TenantId, Line>>,
}

#[derive(Debug)]
struct Line {
    under_way: usize,
    turns: Arc<Semaphore>,
}

/// A request under way. Its place is free again when this is dropped.
#[derive(Debug)]
pub(crate) struct Place<'a> {
    all: &'a Turns,
    tenant: TenantId,
    turns: Arc<Semaphore>,
}

impl Turns {
    /// For a server that takes `requests_max` requests at the same time.
    pub(crate) fn new(requests_max: usize) -> Self {
        Self { places: requests_max.div_ceil(SHARE), lines: Mutex::default() }
    }

    /// A place for one more request of this tenant.
    pub(crate) fn place(&self, tenant: &TenantId) -> Result<Place<'_>, ApiError> {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let line = lines
            .entry(tenant.clone())
            .or_insert_with(|| Line { under_way: 0, turns: Arc::new(Semaphore::new(AT_ONCE)) });
        if line.under_way >= self.places {
            return Err(ApiError::new(
                "overloaded",
                "the tenant has as many requests under way as the server takes of one",
            ));
        }
        line.under_way += 1;
        let turns = Arc::clone(&line.turns);
        Ok(Place { all: self, tenant: tenant.clone(), turns })
    }
}

impl Place<'_> {
    /// Waits for its turn at the database, which ends with what is returned.
    pub(crate) async fn turn(&self) -> Option<OwnedSemaphorePermit> {
        // It is never closed.
        Arc::clone(&self.turns).acquire_owned().await.ok()
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut lines = self.all.lines.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(line) = lines.get_mut(&self.tenant) {
            line.under_way -= 1;
            if line.under_way == 0 {
                lines.remove(&self.tenant);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    fn tenant(name: &str) -> TenantId {
        TenantId::parse(name).unwrap()
    }

    /// Whether it is its turn now.
    fn has_turn(place: &Place<'_>) -> Option<OwnedSemaphorePermit> {
        match pin!(place.turn()).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(turn) => turn,
            Poll::Pending => None,
        }
    }

    #[test]
    fn a_flood_stands_in_its_own_line_and_nobody_else_does() {
        let turns = Turns::new(2_000);
        let (noisy, quiet) = (tenant("noisy"), tenant("quiet"));
        let flood: Vec<_> = (0..1_000).map(|_| turns.place(&noisy).unwrap()).collect();
        let mut at_database: Vec<_> = flood.iter().filter_map(has_turn).collect();
        assert_eq!(at_database.len(), AT_ONCE);

        // Half of the places are its own; the others have theirs, and their turns.
        assert!(turns.place(&noisy).is_err(), "more than its share");
        let one = turns.place(&quiet).unwrap();
        assert!(has_turn(&one).is_some(), "it waits for the flood");

        // One that is done lets one more.
        drop(at_database.pop());
        let next: Vec<_> = flood.iter().filter_map(has_turn).collect();
        assert_eq!(next.len(), 1);
    }

    #[test]
    fn who_has_nothing_under_way_is_not_kept() {
        let turns = Turns::new(10);
        let place = turns.place(&tenant("once")).unwrap();
        assert_eq!(turns.lines.lock().unwrap().len(), 1);
        drop(place);
        assert!(turns.lines.lock().unwrap().is_empty());
    }
}

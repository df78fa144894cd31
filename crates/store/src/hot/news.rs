//! What one server brings about and others have to hear of: those that share a PostgreSQL database wait for work, for
//! the end of executions and for moments, and look again when they are told to. So an idle server asks for nothing.
//!
//! News go with the transaction that makes them true (`NOTIFY`), so nobody hears of what was not kept. They may get
//! lost with a connection; whoever connects again is told [`News::Missed`] and looks at everything.

use bulkhead_types::{ExecutionId, Fence, LeaseRef, WorkerId};

use super::model::{CancelResult, Settlement, Tick};

/// Something that happened elsewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum News {
    /// There may have been others that nobody heard.
    Missed,
    /// Something may be runnable.
    Runnable,
    /// The next moment of the background may be earlier than it was.
    Sooner,
    /// The next moment of the schedules may be earlier than it was.
    Schedules,
    /// An execution is final.
    Ended(ExecutionId),
    /// What tenants deploy and set up has changed.
    Catalog,
    /// A worker must stop an execution because somebody cancelled it.
    Cancelled(WorkerId, LeaseRef),
    /// A worker must stop an execution because its lease is lost.
    Lost(WorkerId, LeaseRef),
}

impl News {
    /// As a line.
    pub(crate) fn to_line(&self) -> String {
        let recall = |word: &str, worker: &WorkerId, lease: &LeaseRef| {
            format!("{word} {worker} {} {}", lease.execution, lease.fence.0)
        };
        match self {
            Self::Missed => "missed".to_owned(),
            Self::Runnable => "runnable".to_owned(),
            Self::Sooner => "sooner".to_owned(),
            Self::Schedules => "schedules".to_owned(),
            Self::Catalog => "catalog".to_owned(),
            Self::Ended(id) => format!("ended {id}"),
            Self::Cancelled(worker, lease) => recall("cancelled", worker, lease),
            Self::Lost(worker, lease) => recall("lost", worker, lease),
        }
    }

    /// From a line. What a newer server says and this one does not know is [`News::Missed`].
    pub(crate) fn from_line(line: &str) -> Self {
        let mut words = line.split(' ');
        let word = words.next().unwrap_or_default();
        let mut recall = |make: fn(WorkerId, LeaseRef) -> Self| {
            let worker = WorkerId::parse(words.next()?).ok()?;
            let execution = ExecutionId::parse(words.next()?).ok()?;
            let fence = Fence(words.next()?.parse().ok()?);
            Some(make(worker, LeaseRef { execution, fence }))
        };
        let known = match word {
            "runnable" => Some(Self::Runnable),
            "sooner" => Some(Self::Sooner),
            "schedules" => Some(Self::Schedules),
            "catalog" => Some(Self::Catalog),
            "cancelled" => recall(Self::Cancelled),
            "lost" => recall(Self::Lost),
            "ended" => words.next().and_then(|id| ExecutionId::parse(id).ok()).map(Self::Ended),
            _ => None,
        };
        known.unwrap_or(Self::Missed)
    }
}

/// What a turn of the clock brought about.
#[must_use]
pub fn of_tick(tick: &Tick) -> Vec<News> {
    let ended = tick.ended.iter().cloned().map(News::Ended);
    let lost = tick.lost.iter().cloned().map(|(worker, lease)| News::Lost(worker, lease));
    ended.chain(lost).chain(tick.runnable.then_some(News::Runnable)).collect()
}

/// What an outcome brought about: its slot is free.
#[must_use]
pub fn of_settlement(id: &ExecutionId, settlement: Settlement) -> Vec<News> {
    match settlement {
        Settlement::Stale => Vec::new(),
        Settlement::Accepted { state, .. } if state.is_final() => {
            vec![News::Runnable, News::Ended(id.clone())]
        }
        Settlement::Accepted { ready_at, .. } => {
            let sooner = ready_at.map(|_| News::Sooner);
            [Some(News::Runnable), sooner].into_iter().flatten().collect()
        }
    }
}

/// What a cancel brought about.
#[must_use]
pub fn of_cancel(id: &ExecutionId, cancel: &CancelResult) -> Vec<News> {
    match cancel {
        CancelResult::NotFound | CancelResult::Final(_) => Vec::new(),
        // What was behind it at a gate may be runnable now.
        CancelResult::Cancelled => vec![News::Ended(id.clone()), News::Runnable],
        CancelResult::Asked { worker, lease } => {
            vec![News::Cancelled(worker.clone(), lease.clone())]
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
    use super::*;

    #[test]
    fn what_is_told_is_what_is_heard() {
        let worker = WorkerId::parse("wrk_1").unwrap();
        let id = ExecutionId::parse("exe_1").unwrap();
        let lease = LeaseRef { execution: id.clone(), fence: Fence(7) };
        for news in [
            News::Missed,
            News::Runnable,
            News::Sooner,
            News::Schedules,
            News::Catalog,
            News::Ended(id),
            News::Cancelled(worker.clone(), lease.clone()),
            News::Lost(worker, lease),
        ] {
            assert_eq!(News::from_line(&news.to_line()), news);
        }
        for odd in ["", "ended", "lost wrk_1 exe_1", "lost wrk_1 exe_1 x", "a word of tomorrow"] {
            assert_eq!(News::from_line(odd), News::Missed, "{odd}");
        }
    }
}

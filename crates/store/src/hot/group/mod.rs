//! The hot path over PostgreSQL, a whole group of steps at a time.
//!
//! A statement that waits for its answer costs PostgreSQL little and the round trip much, and a step of the flow
//! makes about ten. So the steps of a group (those that wait for the writer at the same moment) run over a desk in
//! memory: what they will look at is fetched beforehand in a few statements over arrays, sent together
//! (`load.rs`); the steps read and write the desk (`rows.rs`); and what they changed is put away in a few
//! statements over arrays, once per row however many steps changed it (`flush.rs`).
//!
//! What was not foreseen is fetched when it is asked for. What needs the database to look over many rows (a list, a
//! gate) puts the desk away first, so that the database answers with all that the group has done.
//!
//! Invariants:
//! - A row that is not on the desk is in the database as the group sees it; one that is on the desk is newer there.
//! - The desk lives within one transaction, which has the hot path's turn: nobody else changes these tables meanwhile.
//! - An execution that a worker holds is locked when it is fetched, so that writes under its lease come before or after
//!   ([`crate::fence`]).

mod flush;
mod load;
mod rows;

use std::collections::{BTreeSet, HashMap, HashSet};

use bulkhead_sched::share::{Share, VirtualClock};
use bulkhead_types::{Attempt, ExecutionId, ExecutionState, TenantId, Timestamp, WorkerId};

use super::rows::{AttemptRow, Place, Result, Row};
use crate::db::Conn;
pub(crate) use rows::GroupRows;

/// What a step will look at.
#[derive(Debug, Clone, Default)]
pub(crate) enum Need {
    /// Nothing that can be told.
    #[default]
    Unknown,
    /// A tenant's share, and an idempotency key: scope and key.
    Submit(TenantId, Option<(String, String)>),
    /// An execution, with its tenant's share and its checkpoint.
    Execution(ExecutionId),
    /// The tenants whose turn it is and what they have ready, for so many leases.
    Dispatch(usize),
}

/// What a group has fetched and changed.
#[derive(Debug, Default)]
pub(crate) struct Desk {
    executions: HashMap<ExecutionId, Kept>,
    /// New executions in the order that they were accepted in.
    accepted: Vec<ExecutionId>,
    shares: HashMap<TenantId, (Option<Share>, bool)>,
    eligible: Option<Eligible>,
    ready: HashMap<TenantId, Ready>,
    clock: Option<(VirtualClock, bool)>,
    /// By scope and key.
    keys: HashMap<(String, String), (Option<Remembered>, bool)>,
    /// Live executions by what they exclude.
    exclusive: HashMap<String, Option<ExecutionId>>,
    /// Versions of checkpoints.
    versions: HashMap<String, u64>,
    workers: HashMap<WorkerId, Timestamp>,
    begun: Vec<Attempt>,
    ended: Vec<AttemptRow>,
    /// Executions that ended and are told of.
    endings: Vec<ExecutionId>,
}

/// What an idempotency key names, and until when.
type Remembered = (ExecutionId, Timestamp);

/// An execution on the desk.
#[derive(Debug)]
struct Kept {
    row: Row,
    changed: bool,
    /// Not in the database yet.
    new: bool,
}

/// The eligible shares as they were in the database, the smallest virtual time first.
#[derive(Debug)]
struct Eligible {
    shares: Vec<Share>,
    /// There are no others.
    complete: bool,
    /// Kept since: what `shares` says of them is old.
    stale: HashSet<TenantId>,
}

/// A tenant's ready executions, as far as they are known.
#[derive(Debug, Default)]
struct Ready {
    turns: BTreeSet<Turn>,
    /// Up to here they are known; `None`: all.
    known_to: Option<(Timestamp, i64)>,
}

/// The order in which a tenant's executions start. New ones have no number yet and come last, as accepted.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Turn {
    rank: Timestamp,
    seq: i64,
    id: ExecutionId,
}

impl Turn {
    /// `None` when the execution is not ready.
    fn of(row: &Row) -> Option<Self> {
        let ready = row.state == ExecutionState::Queued && row.place == Place::Ready;
        let seq = if row.seq == 0 { i64::MAX } else { row.seq };
        ready.then(|| Self { rank: row.rank, seq, id: row.id.clone() })
    }
}

impl Desk {
    /// Puts away all that was changed.
    pub(crate) fn flush(&mut self, conn: &Conn) -> Result<()> {
        flush::flush(self, conn)
    }

    /// Fetches what the steps of a group will look at.
    pub(crate) fn load(&mut self, conn: &Conn, needs: &[Need]) -> Result<()> {
        load::load(self, conn, needs)
    }

    /// Lays a row as it is in the database on the desk, unless a newer one lies there. Returns the one that lies there.
    fn lay(&mut self, row: Row) -> &Row {
        if let Some(exclusive) = &row.exclusive
            && !row.state.is_final()
        {
            self.exclusive.entry(exclusive.clone()).or_insert_with(|| Some(row.id.clone()));
        }
        let id = row.id.clone();
        &self.executions.entry(id).or_insert(Kept { row, changed: false, new: false }).row
    }

    /// A step has changed a row, or made it.
    fn keep(&mut self, row: &Row, new: bool) {
        if let Some(exclusive) = &row.exclusive {
            let live = self.exclusive.entry(exclusive.clone()).or_default();
            if !row.state.is_final() {
                *live = Some(row.id.clone());
            } else if live.as_ref() == Some(&row.id) {
                *live = None;
            }
        }
        if let (Some(turn), Some(ready)) = (Turn::of(row), self.ready.get_mut(&row.function.tenant))
        {
            ready.turns.insert(turn);
        }
        match self.executions.get_mut(&row.id) {
            Some(kept) => {
                // A step may have taken the input out of its copy.
                let (input, seq) = (kept.row.input.take(), kept.row.seq);
                kept.row.clone_from(row);
                kept.row.input = kept.row.input.take().or(input);
                kept.row.seq = kept.row.seq.max(seq);
                kept.changed = true;
            }
            None => {
                let kept = Kept { row: row.clone(), changed: true, new };
                self.executions.insert(row.id.clone(), kept);
            }
        }
        if new {
            self.accepted.push(row.id.clone());
            if row.scope == row.id.as_str() {
                // Nobody can have saved one.
                self.versions.insert(row.scope.clone(), 0);
            }
        }
    }
}

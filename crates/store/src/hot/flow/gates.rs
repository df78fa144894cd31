//! Where queued executions stand: ready, held at a gate, or behind their lane's front. What must hold, and why it is
//! done in this way, is told in `bulkhead_sched::gate`.

use bulkhead_sched::gate::{self, Gate};
use bulkhead_sched::share::Share;
use bulkhead_types::{ConnectionId, ExecutionState, FunctionKey, Timestamp};

use super::super::model::{GateChange, GateOf};
use super::super::rows::{Place, Result, Row, Rows};
use super::share_of;

/// Fronts moved on to another closed gate in search of one that can begin, before one is woken that may not.
const MOVED_ON_MAX: usize = 8;

/// Finds the place of an execution that is queued from now on. It is still to be kept.
pub(super) fn enter(rows: &mut dyn Rows, share: &mut Share, row: &mut Row) -> Result<()> {
    (row.place, row.gate, row.lane) = (Place::Ready, None, None);
    let gates = gates_of(rows, share, row)?;
    if gates.is_empty() {
        return Ok(());
    }
    let closed = gate::closed(&gates).map(|gate| gate.key.clone());
    line_up(rows, share, row, closed)
}

/// Puts a ready execution into its lane: as its front, at a gate if one is closed, or behind the front there is.
fn line_up(
    rows: &mut dyn Rows,
    share: &mut Share,
    row: &mut Row,
    closed: Option<String>,
) -> Result<()> {
    let lane = lane_of(row);
    let front = rows.front(&row.function.tenant, &lane)?;
    row.lane = Some(lane);
    match front {
        None => {
            if closed.is_some() {
                (row.place, row.gate) = (Place::Held, closed);
                share.held += 1;
            }
        }
        Some(front) if turn(&front) <= turn(row) => {
            row.place = Place::Behind;
            share.held += 1;
        }
        Some(mut front) => {
            (row.place, row.gate) = (front.place, front.gate.take());
            front.place = Place::Behind;
            share.held += 1;
            rows.update(&front)?;
        }
    }
    Ok(())
}

/// The order within a lane. One that has not been kept yet is the youngest.
fn turn(row: &Row) -> (Timestamp, i64) {
    (row.rank, if row.seq == 0 { i64::MAX } else { row.seq })
}

/// The gates of an execution that there are. Its key's always is: if nobody is inside, as it would be.
pub(super) fn gates_of(rows: &mut dyn Rows, share: &Share, row: &Row) -> Result<Vec<Gate>> {
    if share.gates == 0 && row.concurrency.is_none() {
        return Ok(Vec::new());
    }
    let mut gates = match share.gates {
        0 => Vec::new(),
        _ => rows.gates(&row.function.tenant, &keys(row))?,
    };
    if let Some(key) = &row.concurrency {
        let name = key_gate(&key.name);
        match gates.iter_mut().find(|gate| gate.key == name) {
            // Who begins last says how many may, unless somebody set it.
            Some(gate) if !gate.set => gate.running_max = Some(key.max),
            Some(_) => {}
            None => gates.push(Gate::new(name, Some(key.max))),
        }
    }
    Ok(gates)
}

/// Names of the gates that an execution would have.
fn keys(row: &Row) -> Vec<String> {
    let FunctionKey { integration, kind, name, .. } = &row.function;
    let mut keys = vec![format!("f/{integration}/{}/{name}", kind.as_str())];
    keys.extend(row.connection.as_ref().map(|id| format!("c/{integration}/{id}")));
    keys.extend(row.concurrency.as_ref().map(|key| key_gate(&key.name)));
    keys
}

fn key_gate(name: &str) -> String {
    format!("k/{name}")
}

/// What it shares with all that have the same gates.
fn lane_of(row: &Row) -> String {
    let FunctionKey { integration, kind, name, .. } = &row.function;
    let connection = row.connection.as_ref().map_or("", ConnectionId::as_str);
    let key = row.concurrency.as_ref().map_or("", |key| key.name.as_str());
    format!("{integration}/{}/{name}/{connection}/{key}", kind.as_str())
}

/// A ready execution whose turn it is has found `gate` closed: it waits there.
pub(super) fn hold(
    rows: &mut dyn Rows,
    share: &mut Share,
    row: &mut Row,
    gates: &[Gate],
    gate: &Gate,
) -> Result<()> {
    if row.lane.is_some() {
        (row.place, row.gate) = (Place::Held, Some(gate.key.clone()));
        share.held += 1;
    } else {
        // It was queued before there was any gate.
        line_up(rows, share, row, Some(gate.key.clone()))?;
    }
    rows.update(row)?;
    wake_at_open(rows, share, row, gates)
}

/// An execution begins: it goes in, and its lane steps forward. `row` is kept as running already.
pub(super) fn begun(
    rows: &mut dyn Rows,
    share: &mut Share,
    row: &Row,
    stood: Option<Stood>,
    gates: &[Gate],
) -> Result<()> {
    let tenant = &row.function.tenant;
    if let Some(key) = &row.concurrency {
        // All but a key's were there before.
        let key = key_gate(&key.name);
        let known = rows.gates(tenant, std::slice::from_ref(&key))?;
        share.gates += u32::from(known.is_empty());
    }
    for gate in gates {
        rows.put_gate(tenant, gate)?;
    }
    if let Some(next) = next_of(rows, row, stood)? {
        step_forward(rows, share, next, gate::closed(gates).map(|gate| gate.key.clone()))?;
    }
    wake_at_open(rows, share, row, gates)
}

/// Makes the next of a lane its front.
fn step_forward(
    rows: &mut dyn Rows,
    share: &mut Share,
    mut next: Row,
    closed: Option<String>,
) -> Result<()> {
    if closed.is_some() {
        next.place = Place::Held;
    } else {
        next.place = Place::Ready;
        share.held = share.held.saturating_sub(1);
    }
    next.gate = closed;
    rows.update(&next)
}

/// An attempt ended: it goes out of its gates, and one that is held at each may go in.
pub(super) fn release(rows: &mut dyn Rows, share: &mut Share, row: &mut Row) -> Result<()> {
    let passed = std::mem::take(&mut row.passed);
    if passed.is_empty() {
        return Ok(());
    }
    let gates = rows.gates(&row.function.tenant, &passed)?;
    for mut gate in gates {
        gate.running = gate.running.saturating_sub(1);
        keep(rows, share, &gate)?;
        wake(rows, share, &gate)?;
    }
    Ok(())
}

/// Keeps a gate, unless nobody needs it any more.
fn keep(rows: &mut dyn Rows, share: &mut Share, gate: &Gate) -> Result<()> {
    if gate.set || gate.running > 0 || rows.held(&share.tenant, &gate.key)?.is_some() {
        return rows.put_gate(&share.tenant, gate);
    }
    share.gates = share.gates.saturating_sub(1);
    rows.remove_gate(&share.tenant, &gate.key)
}

/// Wakes one of those that are held at `gate`, if it is open.
fn wake(rows: &mut dyn Rows, share: &mut Share, gate: &Gate) -> Result<()> {
    if !gate.is_open() {
        return Ok(());
    }
    for tries in 0.. {
        let Some(mut front) = rows.held(&share.tenant, &gate.key)? else { return Ok(()) };
        let gates = gates_of(rows, share, &front)?;
        match gate::closed(&gates) {
            Some(other) if other.key != gate.key && tries < MOVED_ON_MAX => {
                front.gate = Some(other.key.clone());
                rows.update(&front)?;
            }
            _ => {
                (front.place, front.gate) = (Place::Ready, None);
                share.held = share.held.saturating_sub(1);
                return rows.update(&front);
            }
        }
    }
    Ok(())
}

fn wake_at_open(rows: &mut dyn Rows, share: &mut Share, row: &Row, gates: &[Gate]) -> Result<()> {
    debug_assert!(row.function.tenant == share.tenant);
    gates.iter().try_for_each(|gate| wake(rows, share, gate))
}

/// Where an execution stood that is not queued any more.
#[derive(Debug)]
pub(super) struct Stood {
    place: Place,
    gate: Option<String>,
    lane: Option<String>,
}

impl Stood {
    /// Takes a queued execution out of its place.
    pub(super) fn of(row: &mut Row) -> Option<Self> {
        let queued = row.state == ExecutionState::Queued;
        let place = std::mem::replace(&mut row.place, Place::Ready);
        let stood = Self { place, gate: row.gate.take(), lane: row.lane.take() };
        queued.then_some(stood)
    }
}

/// The one that stands behind a front that is gone.
fn next_of(rows: &mut dyn Rows, row: &Row, stood: Option<Stood>) -> Result<Option<Row>> {
    match stood.and_then(|stood| stood.lane) {
        Some(lane) => rows.behind(&row.function.tenant, &lane),
        None => Ok(None),
    }
}

/// A queued execution went away without having begun. `row` is kept as what it is now.
pub(super) fn leave(rows: &mut dyn Rows, share: &mut Share, row: &Row, stood: Stood) -> Result<()> {
    let place = stood.place;
    if place != Place::Ready {
        share.held = share.held.saturating_sub(1);
    }
    if place == Place::Behind {
        return Ok(());
    }
    let gate = stood.gate.clone();
    if let Some(next) = next_of(rows, row, Some(stood))? {
        return step_forward(rows, share, next, gate);
    }
    if place == Place::Ready && share.gates > 0 {
        for gate in rows.gates(&row.function.tenant, &keys(row))? {
            keep(rows, share, &gate)?;
            wake(rows, share, &gate)?;
        }
    }
    Ok(())
}

/// Sets a limit or a pause. Returns the gate as it is then.
pub(crate) fn set(rows: &mut dyn Rows, of: &GateOf, change: GateChange) -> Result<Gate> {
    let mut share = share_of(rows, of.tenant())?;
    let key = of.key();
    let known = rows.gates(of.tenant(), std::slice::from_ref(&key))?.pop();
    if known.is_none() {
        share.gates += 1;
    }
    let mut gate = known.unwrap_or_else(|| Gate::new(key, None));
    if !gate.set {
        // What whoever began last said of a key is no limit that somebody set: a pause must not make it one.
        gate.running_max = None;
    }
    gate.running_max = change.running_max.unwrap_or(gate.running_max);
    gate.paused = change.paused.unwrap_or(gate.paused);
    gate.set = gate.running_max.is_some() || gate.paused;
    keep(rows, &mut share, &gate)?;
    wake(rows, &mut share, &gate)?;
    rows.put_share(&share)?;
    Ok(gate)
}

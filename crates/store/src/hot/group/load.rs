//! Fetching what a group will look at, in statements that are sent together.

use std::collections::HashSet;

use bulkhead_types::{ExecutionId, TenantId, Timestamp};

use super::super::rows::{Result, Row};
use super::super::sqlite::columns::{self, select_executions, select_shares};
use super::{Desk, Eligible, Need, Ready, Turn};
use crate::db::{Ask, Conn, Row as SqlRow, StoreError};

/// Those that steps will settle or cancel. Locked: a write under a lease comes before or after all that follows.
const EXECUTIONS: &str =
    select_executions!(whole, "WHERE id = ANY ($1) ORDER BY id FOR NO KEY UPDATE");

/// Their checkpoints. A statement of its own, after the one that locked them, so that it sees what was saved until then.
const CHECKPOINTS: &str = "SELECT scope, version FROM checkpoints
     WHERE scope IN (SELECT scope FROM executions WHERE id = ANY ($1))";

const SHARES: &str = select_shares!(
    "WHERE tenant = ANY ($1) OR tenant IN (SELECT tenant FROM executions WHERE id = ANY ($2))"
);

const KEYS: &str = "SELECT scope, key, execution, expires_at FROM idempotency
     WHERE (scope, key) IN (SELECT * FROM unnest(CAST($1 AS TEXT[]), CAST($2 AS TEXT[])))";

const ELIGIBLE: &str = select_shares!(
    "WHERE queued > held AND running < running_max AND paused = 0 ORDER BY vtime_us, tenant LIMIT $1"
);

/// Of each tenant whose turn it is, what it has ready.
const HEADS: &str = select_executions!(
    whole_of,
    "(SELECT tenant AS whose FROM shares WHERE queued > held AND running < running_max AND paused = 0
       ORDER BY vtime_us, tenant LIMIT $1) AS next
     CROSS JOIN LATERAL (SELECT * FROM executions WHERE tenant = next.whose AND state = 'queued' AND place = 0
       ORDER BY rank, seq LIMIT (SELECT CAST($2 AS BIGINT) + 2 * CAST($3 AS BIGINT) / greatest(count(*), 1) FROM (SELECT 1 FROM shares
         WHERE queued > held AND running < running_max AND paused = 0 LIMIT $1) AS all_next)) AS executions"
);

const CHECKPOINTS_OF: &str = "SELECT scope, version FROM checkpoints WHERE scope = ANY ($1)";

const HEADS_OF: &str = select_executions!(
    whole,
    "WHERE tenant = $1 AND state = 'queued' AND place = 0 ORDER BY rank, seq LIMIT $2"
);

const CLOCK: &str = "SELECT vtime_us FROM virtual_clock";

/// The most leases that a group's dispatches are prepared for; those beyond fetch what they need.
const LEASES_MAX: usize = 512;

/// Ready executions fetched of each tenant, besides twice its even share of the leases.
const HEADS_MIN: usize = 2;

/// Ready executions fetched of a tenant that had more of them than its share.
const HEADS_MAX: usize = 128;

/// What a group needs, by kind.
#[derive(Debug, Default)]
struct Needs<'a> {
    executions: Vec<&'a str>,
    tenants: Vec<&'a str>,
    scopes: Vec<&'a str>,
    keys: Vec<&'a str>,
    leases: usize,
}

impl<'a> Needs<'a> {
    fn of(needs: &'a [Need]) -> Self {
        let mut all = Self::default();
        for need in needs {
            match need {
                Need::Unknown => {}
                Need::Execution(id) => all.executions.push(id.as_str()),
                Need::Dispatch(leases) => all.leases += leases,
                Need::Submit(tenant, key) => {
                    all.tenants.push(tenant.as_str());
                    if let Some((scope, key)) = key {
                        all.scopes.push(scope);
                        all.keys.push(key);
                    }
                }
            }
        }
        all.tenants.sort_unstable();
        all.tenants.dedup();
        all
    }
}

pub(super) fn load(desk: &mut Desk, conn: &Conn, needs: &[Need]) -> Result<()> {
    let needs = Needs::of(needs);
    let leases = needs.leases.min(LEASES_MAX);
    let (leases_limit, heads_min) = (limit(leases), limit(HEADS_MIN));
    let mut asks: Vec<(What, Ask<'_>)> = Vec::new();
    if !needs.executions.is_empty() {
        asks.push((What::Executions, Ask::new(EXECUTIONS, vec![&needs.executions])));
        asks.push((What::Checkpoints, Ask::new(CHECKPOINTS, vec![&needs.executions])));
    }
    if !needs.executions.is_empty() || !needs.tenants.is_empty() {
        asks.push((What::Shares, Ask::new(SHARES, vec![&needs.tenants, &needs.executions])));
    }
    if !needs.keys.is_empty() {
        asks.push((What::Keys, Ask::new(KEYS, vec![&needs.scopes, &needs.keys])));
    }
    if needs.leases > 0 {
        asks.push((What::Clock, Ask::new(CLOCK, Vec::new())));
        asks.push((What::Eligible, Ask::new(ELIGIBLE, vec![&leases_limit])));
        asks.push((What::Heads, Ask::new(HEADS, vec![&leases_limit, &heads_min, &leases_limit])));
    }
    let (whats, asks): (Vec<What>, Vec<Ask<'_>>) = asks.into_iter().unzip();
    let answers = conn.ask_all(&asks)?;
    let mut heads = Vec::new();
    for (what, rows) in whats.into_iter().zip(&answers) {
        let rows = rows.iter().map(SqlRow::of_postgres);
        match what {
            What::Executions => rows.map(|row| columns::execution(&row)).try_for_each(|row| {
                desk.lay(row?);
                Ok::<_, StoreError>(())
            })?,
            What::Checkpoints => versions(desk, rows)?,
            What::Shares => shares(desk, &needs, rows)?,
            What::Keys => keys(desk, &needs, rows)?,
            What::Clock => {
                for row in rows {
                    desk.clock = Some((bulkhead_sched::share::VirtualClock(row.get(0)?), false));
                }
            }
            What::Eligible => eligible(desk, rows, leases)?,
            What::Heads => {
                heads = rows.map(|row| columns::execution(&row)).collect::<Result<_>>()?
            }
        }
    }
    for id in &needs.executions {
        absent_checkpoint(desk, id);
    }
    put_heads(desk, conn, heads, leases)
}

#[derive(Debug, Clone, Copy)]
enum What {
    Executions,
    Checkpoints,
    Shares,
    Keys,
    Clock,
    Eligible,
    Heads,
}

fn limit(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

fn versions<'a>(desk: &mut Desk, rows: impl Iterator<Item = SqlRow<'a>>) -> Result<()> {
    for row in rows {
        desk.versions.insert(row.get(0)?, row.get(1)?);
    }
    Ok(())
}

/// What was asked for and is not there has version 0.
fn absent_checkpoint(desk: &mut Desk, id: &str) {
    let Ok(id) = ExecutionId::parse(id) else { return };
    if let Some(kept) = desk.executions.get(&id) {
        desk.versions.entry(kept.row.scope.clone()).or_insert(0);
    }
}

fn shares<'a>(
    desk: &mut Desk,
    needs: &Needs<'_>,
    rows: impl Iterator<Item = SqlRow<'a>>,
) -> Result<()> {
    for row in rows {
        let share = columns::share(&row)?;
        desk.shares.insert(share.tenant.clone(), (Some(share), false));
    }
    for tenant in &needs.tenants {
        if let Ok(tenant) = TenantId::parse(tenant) {
            desk.shares.entry(tenant).or_insert((None, false));
        }
    }
    Ok(())
}

fn keys<'a>(
    desk: &mut Desk,
    needs: &Needs<'_>,
    rows: impl Iterator<Item = SqlRow<'a>>,
) -> Result<()> {
    for row in rows {
        let id: String = row.get(2)?;
        let id = ExecutionId::parse(&id).map_err(|error| StoreError::Corrupt {
            table: "idempotency",
            what: error.to_string(),
        })?;
        let kept = Some((id, Timestamp::from_millis(row.get(3)?)));
        desk.keys.insert((row.get(0)?, row.get(1)?), (kept, false));
    }
    for (scope, key) in needs.scopes.iter().zip(&needs.keys) {
        desk.keys.entry(((*scope).to_owned(), (*key).to_owned())).or_insert((None, false));
    }
    Ok(())
}

fn eligible<'a>(
    desk: &mut Desk,
    rows: impl Iterator<Item = SqlRow<'a>>,
    limit: usize,
) -> Result<()> {
    let shares = rows.map(|row| columns::share(&row)).collect::<Result<Vec<_>>>()?;
    let complete = shares.len() < limit;
    desk.eligible = Some(Eligible { shares, complete, stale: HashSet::new() });
    Ok(())
}

/// Lays ready executions on the desk, of the tenants that were asked for: those found eligible.
fn put_heads(desk: &mut Desk, conn: &Conn, heads: Vec<Row>, leases: usize) -> Result<()> {
    let Some(eligible) = &desk.eligible else { return Ok(()) };
    // As in the statement.
    let limit = HEADS_MIN + 2 * leases / eligible.shares.len().max(1);
    let mut ready: std::collections::HashMap<TenantId, Vec<Row>> =
        eligible.shares.iter().map(|share| (share.tenant.clone(), Vec::new())).collect();
    for row in heads {
        ready.entry(row.function.tenant.clone()).or_default().push(row);
    }
    let scopes: Vec<&str> = ready
        .values()
        .flatten()
        .filter(|row| may_have_checkpoint(row))
        .map(|row| row.scope.as_str())
        .collect();
    if !scopes.is_empty() {
        for row in &conn.ask_all(&[Ask::new(CHECKPOINTS_OF, vec![&scopes])])?[0] {
            let row = SqlRow::of_postgres(row);
            desk.versions.insert(row.get(0)?, row.get(1)?);
        }
    }
    for (tenant, rows) in ready {
        put_ready(desk, tenant, rows, limit);
    }
    Ok(())
}

/// One that never ran, and whose checkpoint is its own, has none.
fn may_have_checkpoint(row: &Row) -> bool {
    row.attempts > 0 || row.scope != row.id.as_str()
}

fn put_ready(desk: &mut Desk, tenant: TenantId, rows: Vec<Row>, limit: usize) {
    let full = rows.len() >= limit;
    let mut ready = Ready::default();
    for row in rows {
        // While it is queued nobody saves one under its lease.
        desk.versions.entry(row.scope.clone()).or_insert(0);
        let row = desk.lay(row);
        if let Some(turn) = Turn::of(row) {
            ready.known_to = Some((turn.rank, turn.seq));
            ready.turns.insert(turn);
        }
    }
    if !full {
        ready.known_to = None;
    }
    desk.ready.insert(tenant, ready);
}

/// Fetches what a tenant has ready, once the desk is put away.
pub(super) fn heads_of(desk: &mut Desk, conn: &Conn, tenant: &TenantId) -> Result<()> {
    let (name, most) = (tenant.as_str(), limit(HEADS_MAX));
    let rows = &conn.ask_all(&[Ask::new(HEADS_OF, vec![&name, &most])])?[0];
    let rows = rows.iter().map(|row| columns::execution(&SqlRow::of_postgres(row)));
    let rows = rows.collect::<Result<Vec<Row>>>()?;
    for row in &rows {
        // New ones have their number now.
        if let Some(kept) = desk.executions.get_mut(&row.id) {
            kept.row.seq = row.seq;
        }
    }
    let scopes: Vec<&str> =
        rows.iter().filter(|row| may_have_checkpoint(row)).map(|row| row.scope.as_str()).collect();
    for row in &conn.ask_all(&[Ask::new(CHECKPOINTS_OF, vec![&scopes])])?[0] {
        let row = SqlRow::of_postgres(row);
        desk.versions.insert(row.get(0)?, row.get(1)?);
    }
    put_ready(desk, tenant.clone(), rows, HEADS_MAX);
    Ok(())
}

//! Looking, on the readers' connections.

use bulkhead_sched::gate::Gate;
use bulkhead_sched::share::Share;
use bulkhead_types::{Execution, ExecutionId, ExecutionState, TenantId, TimelineEvent, Timestamp};
use serde_json::Value;

use super::super::flow;
use super::super::model::{ExecutionFilter, Page, Schedule, ScheduleKey, Submit};
use super::super::rows::{AttemptRow, Payload, Result, Row};
use super::columns::{self, ATTEMPT, GATE, SCHEDULE, select_executions};
use super::rows::{find_schedule, id_of, payload};
use super::statements as sql;
use crate::db::{Conn, Params, Row as SqlRow, Value as SqlValue, from_json, params};

fn row(conn: &Conn, id: &ExecutionId) -> Result<Option<Row>> {
    conn.one(sql::BY_ID, params![id.as_str()], columns::execution)
}

fn input(conn: &Conn, row: &mut Row) -> Result<Value> {
    let text = match row.input.take() {
        Some(text) => Some(text),
        None => payload(conn, &row.id, Payload::Input)?,
    };
    text.map_or(Ok(Value::Null), |text| from_json("executions", &text))
}

pub(super) fn execution(conn: &Conn, id: &ExecutionId) -> Result<Option<Execution>> {
    let Some(mut row) = row(conn, id)? else { return Ok(None) };
    let input = input(conn, &mut row)?;
    let output = match row.output.take() {
        Some(text) => Some(text),
        None if row.state == ExecutionState::Succeeded => payload(conn, id, Payload::Output)?,
        None => None,
    };
    let output = output.map(|text| from_json("executions", &text)).transpose()?;
    Ok(Some(row.into_execution(input, output)))
}

pub(super) fn again(conn: &Conn, tenant: &TenantId, id: &ExecutionId) -> Result<Option<Submit>> {
    let Some(mut row) = row(conn, id)?.filter(|row| row.function.tenant == *tenant) else {
        return Ok(None);
    };
    let input = input(conn, &mut row)?;
    flow::submit::again(row, input).map(Some)
}

pub(super) fn executions(conn: &Conn, tenant: &TenantId, filter: &ExecutionFilter) -> Result<Page> {
    let limit = filter.page_length();
    // An error is written with its code first.
    let code = filter.error_code.as_ref().map(|code| crate::db::to_json("executions", code));
    let error = code.transpose()?.map(|code| format!("{{\"code\":{code}"));
    let mut wheres = Wheres::default();
    wheres.add("tenant = ?", Some(tenant.as_str()));
    wheres.add("integration = ?", filter.integration.as_ref().map(|id| id.as_str()));
    wheres.add("kind = ?", filter.kind.map(|kind| kind.as_str()));
    wheres.add("name = ?", filter.name.as_ref().map(|name| name.as_str()));
    wheres.add("connection = ?", filter.connection.as_ref().map(|id| id.as_str()));
    wheres.add("created_at >= ?", filter.since.map(Timestamp::as_millis));
    wheres.add("created_at < ?", filter.until.map(Timestamp::as_millis));
    if let Some(error) = &error {
        wheres.add("substr(error, 1, ?) = ?", Some(error.chars().count()));
        wheres.values.push(error.into());
    }
    wheres.add("id < ?", filter.cursor.as_ref().map(|id| id.as_str()));
    if filter.dead || filter.state == Some(ExecutionState::Failed) {
        // Written out, so that SQLite sees that the index of failed ones will do.
        wheres.clauses.push("state = 'failed'");
        if filter.dead {
            wheres.clauses.push(sql::NOT_REPEATED);
        }
    } else {
        wheres.add("state = ?", filter.state.map(|state| state.as_str()));
    }
    let clauses = wheres.clauses.join(" AND ");
    wheres.values.push((limit + 1).into());
    let select = select_executions!(briefly, "WHERE");
    let sql = format!("{select} {clauses} ORDER BY id DESC LIMIT ?");
    let mut rows = conn.all(&sql, Params::Placed(&wheres.values), columns::execution)?;
    let more = rows.len() > limit;
    rows.truncate(limit);
    let next_cursor = rows.last().filter(|_| more).map(|row| row.id.clone());
    let executions = rows.into_iter().map(|row| row.into_execution(Value::Null, None)).collect();
    Ok(Page { executions, next_cursor })
}

/// Conditions and their values, of those that are given.
#[derive(Default)]
struct Wheres<'a> {
    clauses: Vec<&'static str>,
    values: Vec<SqlValue<'a>>,
}

impl<'a> Wheres<'a> {
    fn add(&mut self, clause: &'static str, value: Option<impl Into<SqlValue<'a>>>) {
        if let Some(value) = value {
            self.clauses.push(clause);
            self.values.push(value.into());
        }
    }
}

pub(super) fn attempts(conn: &Conn, id: &ExecutionId) -> Result<Vec<AttemptRow>> {
    let sql = format!("SELECT {ATTEMPT} FROM attempts WHERE execution = ? ORDER BY number");
    conn.all(&sql, params![id.as_str()], columns::attempt)
}

pub(super) fn endings(conn: &Conn, limit: usize) -> Result<Vec<ExecutionId>> {
    conn.all(sql::ENDINGS, params![limit], |row| id_of(row, 0))
}

pub(super) fn timeline(conn: &Conn, id: &ExecutionId) -> Result<Vec<TimelineEvent>> {
    let Some(row) = row(conn, id)? else { return Ok(Vec::new()) };
    let sql = "SELECT at, what, attempt, detail FROM timeline WHERE execution = ? ORDER BY seq";
    let events = conn.all(sql, params![id.as_str()], event)?;
    Ok(flow::timeline::compose(&row, &attempts(conn, id)?, events))
}

fn event(row: &SqlRow<'_>) -> Result<TimelineEvent> {
    let detail: String = row.get(3)?;
    Ok(TimelineEvent {
        at: Timestamp::from_millis(row.get(0)?),
        what: row.get(1)?,
        attempt: row.get(2)?,
        detail: from_json("timeline", &detail)?,
    })
}

pub(super) fn share(conn: &Conn, tenant: &TenantId) -> Result<Option<Share>> {
    conn.one(sql::SHARE, params![tenant.as_str()], columns::share)
}

pub(super) fn schedule(conn: &Conn, key: &ScheduleKey) -> Result<Option<Schedule>> {
    find_schedule(conn, key)
}

pub(super) fn schedules(conn: &Conn, tenant: &TenantId) -> Result<Vec<Schedule>> {
    let sql = format!(
        "SELECT {SCHEDULE} FROM schedules WHERE tenant = ? ORDER BY integration, kind, name, connection"
    );
    conn.all(&sql, params![tenant.as_str()], columns::schedule)
}

pub(super) fn due(
    conn: &Conn,
    now: Timestamp,
    limit: usize,
) -> Result<(Vec<Schedule>, Option<Timestamp>)> {
    let due = conn.all(sql::DUE, params![now.as_millis(), limit], columns::schedule)?;
    let at = |row: &SqlRow<'_>| Ok(Timestamp::from_millis(row.get(0)?));
    let next = conn.one(sql::NEXT_DUE, params![now.as_millis()], at)?;
    Ok((due, next))
}

pub(super) fn gates(conn: &Conn, tenant: &TenantId) -> Result<Vec<Gate>> {
    let sql = format!("SELECT {GATE} FROM gates WHERE tenant = ? ORDER BY key");
    conn.all(&sql, params![tenant.as_str()], columns::gate)
}

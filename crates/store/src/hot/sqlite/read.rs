//! Looking, on the readers' connections.

use bulkhead_sched::share::Share;
use bulkhead_types::{Execution, ExecutionId, ExecutionState, TenantId, TimelineEvent, Timestamp};
use rusqlite::types::Value as SqlValue;
use rusqlite::{Connection, Row as SqlRow, params_from_iter};
use serde_json::Value;

use super::super::flow;
use super::super::model::{ExecutionFilter, Page, Schedule, ScheduleKey, Submit};
use super::super::rows::{AttemptRow, Payload, Result, Row};
use super::columns::{self, ATTEMPT, SCHEDULE, select_executions};
use super::rows::{all, find_schedule, one, payload};
use super::statements as sql;
use crate::db::from_json;

fn row(conn: &Connection, id: &ExecutionId) -> Result<Option<Row>> {
    one(conn, sql::BY_ID, [id.as_str()], columns::execution)
}

fn input(conn: &Connection, row: &mut Row) -> Result<Value> {
    let text = match row.input.take() {
        Some(text) => Some(text),
        None => payload(conn, &row.id, Payload::Input)?,
    };
    text.map_or(Ok(Value::Null), |text| from_json("executions", &text))
}

pub(super) fn execution(conn: &Connection, id: &ExecutionId) -> Result<Option<Execution>> {
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

pub(super) fn again(
    conn: &Connection,
    tenant: &TenantId,
    id: &ExecutionId,
) -> Result<Option<Submit>> {
    let Some(mut row) = row(conn, id)?.filter(|row| row.function.tenant == *tenant) else {
        return Ok(None);
    };
    let input = input(conn, &mut row)?;
    flow::submit::again(row, input).map(Some)
}

pub(super) fn executions(
    conn: &Connection,
    tenant: &TenantId,
    filter: &ExecutionFilter,
) -> Result<Page> {
    let limit = filter.page_length();
    let mut wheres = Wheres::default();
    wheres.add("tenant = ?", Some(tenant.as_str()));
    wheres.add("integration = ?", filter.integration.as_ref().map(|id| id.as_str()));
    wheres.add("kind = ?", filter.kind.map(|kind| kind.as_str()));
    wheres.add("name = ?", filter.name.as_ref().map(|name| name.as_str()));
    wheres.add("connection = ?", filter.connection.as_ref().map(|id| id.as_str()));
    wheres.add("created_at >= ?", filter.since.map(Timestamp::as_millis));
    wheres.add("id < ?", filter.cursor.as_ref().map(|id| id.as_str()));
    if filter.state == Some(ExecutionState::Failed) {
        // Written out, so that SQLite sees that the index of failed ones will do.
        wheres.clauses.push("state = 'failed'");
    } else {
        wheres.add("state = ?", filter.state.map(|state| state.as_str()));
    }
    let clauses = wheres.clauses.join(" AND ");
    wheres.values.push(SqlValue::Integer(i64::try_from(limit + 1).unwrap_or(i64::MAX)));
    let select = select_executions!(briefly, "WHERE");
    let sql = format!("{select} {clauses} ORDER BY id DESC LIMIT ?");
    let mut rows = all(conn, &sql, params_from_iter(wheres.values), columns::execution)?;
    let more = rows.len() > limit;
    rows.truncate(limit);
    let next_cursor = rows.last().filter(|_| more).map(|row| row.id.clone());
    let executions = rows.into_iter().map(|row| row.into_execution(Value::Null, None)).collect();
    Ok(Page { executions, next_cursor })
}

/// Conditions and their values, of those that are given.
#[derive(Default)]
struct Wheres {
    clauses: Vec<&'static str>,
    values: Vec<SqlValue>,
}

/// A text or a number.
struct Given(SqlValue);

impl From<&str> for Given {
    fn from(text: &str) -> Self {
        Self(SqlValue::Text(text.to_owned()))
    }
}

impl From<i64> for Given {
    fn from(number: i64) -> Self {
        Self(SqlValue::Integer(number))
    }
}

impl Wheres {
    fn add(&mut self, clause: &'static str, value: Option<impl Into<Given>>) {
        if let Some(value) = value {
            self.clauses.push(clause);
            self.values.push(value.into().0);
        }
    }
}

pub(super) fn attempts(conn: &Connection, id: &ExecutionId) -> Result<Vec<AttemptRow>> {
    let sql = format!("SELECT {ATTEMPT} FROM attempts WHERE execution = ? ORDER BY number");
    all(conn, &sql, [id.as_str()], columns::attempt)
}

pub(super) fn timeline(conn: &Connection, id: &ExecutionId) -> Result<Vec<TimelineEvent>> {
    let Some(row) = row(conn, id)? else { return Ok(Vec::new()) };
    let sql = "SELECT at, what, attempt, detail FROM timeline WHERE execution = ? ORDER BY seq";
    let events = all(conn, sql, [id.as_str()], event)?;
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

pub(super) fn share(conn: &Connection, tenant: &TenantId) -> Result<Option<Share>> {
    one(conn, sql::SHARE, [tenant.as_str()], columns::share)
}

pub(super) fn schedule(conn: &Connection, key: &ScheduleKey) -> Result<Option<Schedule>> {
    find_schedule(conn, key)
}

pub(super) fn schedules(conn: &Connection, tenant: &TenantId) -> Result<Vec<Schedule>> {
    let sql = format!(
        "SELECT {SCHEDULE} FROM schedules WHERE tenant = ? ORDER BY integration, kind, name, connection"
    );
    all(conn, &sql, [tenant.as_str()], columns::schedule)
}

pub(super) fn due(
    conn: &Connection,
    now: Timestamp,
    limit: usize,
) -> Result<(Vec<Schedule>, Option<Timestamp>)> {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let sql = format!(
        "SELECT {SCHEDULE} FROM schedules WHERE paused = 0 AND next_at <= ? ORDER BY next_at LIMIT ?"
    );
    let due = all(conn, &sql, (now.as_millis(), limit), columns::schedule)?;
    let sql =
        "SELECT next_at FROM schedules WHERE paused = 0 AND next_at > ? ORDER BY next_at LIMIT 1";
    let next = one(conn, sql, [now.as_millis()], |row| Ok(Timestamp::from_millis(row.get(0)?)))?;
    Ok((due, next))
}

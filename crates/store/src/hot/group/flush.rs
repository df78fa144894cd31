//! Putting away what a group changed: one statement per table over arrays, sent together.

use std::fmt::Write as _;

use bulkhead_types::{ErrorInfo, ExecutionState, Timestamp, WorkerId};

use super::super::rows::{Place, Result, Row};
use super::Desk;
use crate::db::{Ask, Conn, Value, to_json};

/// A column of an array of rows: its name, its type, and its values.
struct Column<'a> {
    name: &'static str,
    kind: &'static str,
    values: Vec<Value<'a>>,
}

/// A statement over arrays.
type Batch<'a> = (String, Vec<Column<'a>>);

pub(super) fn flush(desk: &mut Desk, conn: &Conn) -> Result<()> {
    let changed = Changed::of(desk)?;
    let mut batches: Vec<Batch<'_>> = Vec::new();
    // Indexes that let one live execution in per value let the next in only once the one before it is out.
    for rows in [&changed.leaving, &changed.entering] {
        if !rows.is_empty() {
            let (mut sql, columns) = update("executions", &["id"], changing(rows));
            // What has ended never changes: only the partition of what is live is looked at.
            sql.push_str(" AND executions.state IN ('queued', 'running', 'waiting')");
            batches.push((sql, columns));
        }
    }
    if !changed.new.is_empty() {
        let columns = new(&changed.new).into_iter().chain(changing(&changed.new)).collect();
        batches.push(insert("executions", columns, ""));
    }
    batches.extend(attempts(desk, &changed.attempt_errors));
    batches.extend(others(desk));
    if batches.is_empty() {
        return Ok(());
    }
    let asks = batches.iter().map(|(sql, columns)| {
        Ask::new(sql, columns.iter().map(|column| &column.values as _).collect())
    });
    conn.ask_all(&asks.collect::<Vec<_>>())?;
    drop(batches);
    desk.put_away();
    Ok(())
}

impl Desk {
    /// All that is on the desk is in the database now.
    fn put_away(&mut self) {
        self.accepted.clear();
        self.begun.clear();
        self.ended.clear();
        self.endings.clear();
        self.workers.clear();
        self.shares.values_mut().for_each(|(_, changed)| *changed = false);
        self.keys.values_mut().for_each(|(_, changed)| *changed = false);
        if let Some((_, changed)) = &mut self.clock {
            *changed = false;
        }
        for kept in self.executions.values_mut() {
            (kept.changed, kept.new) = (false, false);
        }
    }
}

/// A row, with what of it is kept as text.
struct Written<'a> {
    row: &'a Row,
    error: Option<String>,
    passed: Option<String>,
}

impl<'a> Written<'a> {
    fn of(row: &'a Row) -> Result<Self> {
        let passed = (!row.passed.is_empty()).then(|| row.passed.join("\n"));
        Ok(Self { row, error: error_json(row.error.as_ref())?, passed })
    }
}

fn error_json(error: Option<&ErrorInfo>) -> Result<Option<String>> {
    error.map(|error| to_json("executions", error)).transpose()
}

/// The executions that were changed.
struct Changed<'a> {
    /// Not the front of a lane, now.
    leaving: Vec<Written<'a>>,
    /// The front of a lane, now.
    entering: Vec<Written<'a>>,
    new: Vec<Written<'a>>,
    /// Of the attempts that ended.
    attempt_errors: Vec<Option<String>>,
}

impl<'a> Changed<'a> {
    fn of(desk: &'a Desk) -> Result<Self> {
        let (mut leaving, mut entering) = (Vec::new(), Vec::new());
        for kept in desk.executions.values().filter(|kept| kept.changed && !kept.new) {
            let into = if is_front(&kept.row) { &mut entering } else { &mut leaving };
            into.push(Written::of(&kept.row)?);
        }
        let new = desk.accepted.iter().filter_map(|id| desk.executions.get(id));
        let new = new.map(|kept| Written::of(&kept.row)).collect::<Result<_>>()?;
        let errors = desk.ended.iter().map(|row| error_json(row.attempt.error.as_ref()));
        Ok(Self { leaving, entering, new, attempt_errors: errors.collect::<Result<_>>()? })
    }
}

fn is_front(row: &Row) -> bool {
    row.state == ExecutionState::Queued && row.lane.is_some() && row.place != Place::Behind
}

/// One column of `items`.
fn column<'a, T, V: Into<Value<'a>>>(
    (name, kind): (&'static str, &'static str),
    items: &'a [T],
    value: impl Fn(&'a T) -> V,
) -> Column<'a> {
    Column { name, kind, values: items.iter().map(|item| value(item).into()).collect() }
}

const fn text(name: &'static str) -> (&'static str, &'static str) {
    (name, "TEXT")
}

const fn int(name: &'static str) -> (&'static str, &'static str) {
    (name, "BIGINT")
}

/// What is said once, when an execution is accepted.
fn new<'a>(rows: &'a [Written<'a>]) -> Vec<Column<'a>> {
    vec![
        column(text("tenant"), rows, |new| new.row.function.tenant.as_str()),
        column(text("integration"), rows, |new| new.row.function.integration.as_str()),
        column(text("kind"), rows, |new| new.row.function.kind.as_str()),
        column(text("name"), rows, |new| new.row.function.name.as_str()),
        column(text("version"), rows, |new| new.row.version.as_str()),
        column(text("connection"), rows, |new| new.row.connection.as_ref().map(|id| id.as_str())),
        column(text("\"trigger\""), rows, |new| new.row.trigger.as_str()),
        column(text("retry_of"), rows, |new| new.row.retry_of.as_ref().map(|id| id.as_str())),
        column(text("input"), rows, |new| &new.row.input),
        column(text("limits"), rows, |new| &new.row.limits),
        column(text("retry"), rows, |new| &new.row.retry),
        column(text("scope"), rows, |new| &new.row.scope),
        column(text("exclusive"), rows, |new| &new.row.exclusive),
        column(int("start_by"), rows, |new| new.row.start_by.map(Timestamp::as_millis)),
        column(text("concurrency_key"), rows, |new| {
            new.row.concurrency.as_ref().map(|key| &key.name)
        }),
        column(int("concurrency_max"), rows, |new| new.row.concurrency.as_ref().map(|key| key.max)),
        column(int("told"), rows, |new| new.row.told),
        column(int("cpu_units"), rows, |new| new.row.units.cpu),
        column(int("memory_units"), rows, |new| new.row.units.memory_mib),
        column(int("created_at"), rows, |new| new.row.created_at.as_millis()),
    ]
}

/// What changes as an execution goes on, and which it is.
fn changing<'a>(rows: &'a [Written<'a>]) -> Vec<Column<'a>> {
    vec![
        column(text("id"), rows, |new| new.row.id.as_str()),
        column(text("state"), rows, |new| new.row.state.as_str()),
        column(int("ready_at"), rows, |new| new.row.ready_at.as_millis()),
        column(int("rank"), rows, |new| new.row.rank.as_millis()),
        column(int("place"), rows, |new| new.row.place.as_number()),
        column(text("gate"), rows, |new| &new.row.gate),
        column(text("lane"), rows, |new| &new.row.lane),
        column(text("passed"), rows, |new| &new.passed),
        column(int("attempts"), rows, |new| new.row.attempts),
        column(int("fence"), rows, |new| new.row.fence.0),
        column(text("worker"), rows, |new| new.row.worker.as_ref().map(WorkerId::as_str)),
        column(int("leased_at"), rows, |new| new.row.leased_at.map(Timestamp::as_millis)),
        column(int("charged_us"), rows, |new| new.row.charged_us),
        column(int("checkpoint_at_start"), rows, |new| new.row.checkpoint_at_start),
        column(int("failures"), rows, |new| new.row.counts.failures),
        column(int("stalls"), rows, |new| new.row.counts.stalls),
        column(int("losses"), rows, |new| new.row.counts.losses),
        column(int("cancel_asked"), rows, |new| new.row.cancel_asked),
        column(int("started_at"), rows, |new| new.row.started_at.map(Timestamp::as_millis)),
        column(int("ended_at"), rows, |new| new.row.ended_at.map(Timestamp::as_millis)),
        column(text("output"), rows, |new| &new.row.output),
        column(text("error"), rows, |new| &new.error),
        column(text("fault"), rows, |new| new.row.fault.map(|fault| fault.as_str())),
        column(int("wall_ms"), rows, |new| new.row.usage.wall_ms),
        column(int("cpu_us"), rows, |new| new.row.usage.cpu_us),
        column(int("memory_peak"), rows, |new| new.row.usage.memory_bytes_peak),
        column(int("start_us"), rows, |new| new.row.usage.start_us),
    ]
}

/// Attempts that began, and then those that ended: one may have done both.
fn attempts<'a>(desk: &'a Desk, errors: &'a [Option<String>]) -> Vec<Batch<'a>> {
    let mut batches = Vec::new();
    let begun = &desk.begun;
    if !begun.is_empty() {
        let columns = vec![
            column(text("execution"), begun, |attempt| attempt.execution.as_str()),
            column(int("number"), begun, |attempt| attempt.number),
            column(int("fence"), begun, |attempt| attempt.fence.0),
            column(text("worker"), begun, |attempt| attempt.worker.as_str()),
            column(int("leased_at"), begun, |attempt| attempt.leased_at.as_millis()),
        ];
        batches.push(insert("attempts", columns, ""));
    }
    let ended = &desk.ended;
    if !ended.is_empty() {
        let columns = vec![
            column(text("execution"), ended, |row| row.attempt.execution.as_str()),
            column(int("number"), ended, |row| row.attempt.number),
            column(int("started_at"), ended, |row| {
                row.attempt.started_at.map(Timestamp::as_millis)
            }),
            column(int("ended_at"), ended, |row| row.attempt.ended_at.map(Timestamp::as_millis)),
            column(text("outcome"), ended, |row| &row.attempt.outcome),
            column(text("error"), errors, Option::as_deref),
            column(text("start"), ended, |row| &row.attempt.start),
            column(text("wall"), ended, |row| &row.attempt.wall),
            column(int("checkpoint"), ended, |row| row.checkpoint),
            column(int("wall_ms"), ended, |row| row.attempt.usage.wall_ms),
            column(int("cpu_us"), ended, |row| row.attempt.usage.cpu_us),
            column(int("memory_peak"), ended, |row| row.attempt.usage.memory_bytes_peak),
            column(int("start_us"), ended, |row| row.attempt.usage.start_us),
        ];
        batches.push(update("attempts", &["execution", "number"], columns));
    }
    batches
}

/// Shares, idempotency keys, workers, endings and the virtual clock.
fn others(desk: &Desk) -> Vec<Batch<'_>> {
    let mut batches = vec![shares(desk), keys(desk), workers(desk), endings(desk)];
    if let Some((clock, true)) = &desk.clock {
        let sql = "UPDATE virtual_clock SET vtime_us = new.vtime_us FROM unnest(CAST($1 AS BIGINT[])) AS new(vtime_us)";
        let columns = vec![column(int("vtime_us"), std::slice::from_ref(clock), |clock| clock.0)];
        batches.push((sql.to_owned(), columns));
    }
    batches.retain(|(_, columns)| columns.iter().any(|column| !column.values.is_empty()));
    batches
}

/// A column of what an iterator gives.
fn gathered<'a, T, V: Into<Value<'a>>>(
    (name, kind): (&'static str, &'static str),
    items: &[T],
    value: impl Fn(&T) -> V,
) -> Column<'a> {
    Column { name, kind, values: items.iter().map(|item| value(item).into()).collect() }
}

fn shares(desk: &Desk) -> Batch<'_> {
    let changed = desk.shares.values().filter(|(_, changed)| *changed);
    let shares: Vec<_> = changed.filter_map(|(share, _)| share.as_ref()).collect();
    let columns = vec![
        gathered(text("tenant"), &shares, |share| share.tenant.as_str()),
        gathered(int("weight"), &shares, |share| share.limits.weight),
        gathered(int("running_max"), &shares, |share| share.limits.running_max),
        gathered(int("queued_max"), &shares, |share| share.limits.queued_max),
        gathered(int("vtime_us"), &shares, |share| share.vtime_us),
        gathered(int("queued"), &shares, |share| share.queued),
        gathered(int("held"), &shares, |share| share.held),
        gathered(int("waiting"), &shares, |share| share.waiting),
        gathered(int("running"), &shares, |share| share.running),
        gathered(int("gates"), &shares, |share| share.gates),
        gathered(int("paused"), &shares, |share| share.paused),
    ];
    insert("shares", columns, "(tenant)")
}

fn keys(desk: &Desk) -> Batch<'_> {
    let changed = desk.keys.iter().filter(|(_, (_, changed))| *changed);
    let keys: Vec<_> = changed
        .filter_map(|((scope, key), (kept, _))| kept.as_ref().map(|(id, at)| (scope, key, id, at)))
        .collect();
    let columns = vec![
        gathered(text("scope"), &keys, |(scope, ..)| scope.as_str()),
        gathered(text("key"), &keys, |(_, key, ..)| key.as_str()),
        gathered(text("execution"), &keys, |(_, _, id, _)| id.as_str()),
        gathered(int("expires_at"), &keys, |(.., at)| at.as_millis()),
    ];
    insert("idempotency", columns, "(scope, key)")
}

fn workers(desk: &Desk) -> Batch<'_> {
    let workers: Vec<_> = desk.workers.iter().collect();
    let columns = vec![
        gathered(text("id"), &workers, |(id, _)| id.as_str()),
        gathered(int("expires_at"), &workers, |(_, at)| at.as_millis()),
    ];
    let (mut sql, columns) = insert("workers", columns, "(id)");
    sql.push_str(" WHERE workers.expires_at < excluded.expires_at");
    (sql, columns)
}

fn endings(desk: &Desk) -> Batch<'_> {
    let columns = vec![column(text("execution"), &desk.endings, |id| id.as_str())];
    let (mut sql, columns) = insert("endings", columns, "");
    sql.push_str(" ON CONFLICT (execution) DO NOTHING");
    (sql, columns)
}

/// `INSERT` over arrays; `key`, unless it is empty, is what an older row is replaced by.
fn insert<'a>(table: &str, columns: Vec<Column<'a>>, key: &str) -> Batch<'a> {
    let names: Vec<_> = columns.iter().map(|column| column.name).collect();
    let arrays = arrays(&columns);
    let mut sql =
        format!("INSERT INTO {table} ({}) SELECT * FROM unnest({arrays})", names.join(", "));
    if !key.is_empty() {
        let set: Vec<_> = names.iter().map(|name| format!("{name} = excluded.{name}")).collect();
        push(&mut sql, format_args!(" ON CONFLICT {key} DO UPDATE SET {}", set.join(", ")));
    }
    (sql, columns)
}

/// `UPDATE` over arrays, of the rows whose `keys` are the same.
fn update<'a>(table: &str, keys: &[&str], columns: Vec<Column<'a>>) -> Batch<'a> {
    let names: Vec<_> = columns.iter().map(|column| column.name).collect();
    let set = names.iter().filter(|name| !keys.contains(name));
    let set: Vec<_> = set.map(|name| format!("{name} = new.{name}")).collect();
    let same: Vec<_> = keys.iter().map(|key| format!("{table}.{key} = new.{key}")).collect();
    let sql = format!(
        "UPDATE {table} SET {} FROM unnest({}) AS new({}) WHERE {}",
        set.join(", "),
        arrays(&columns),
        names.join(", "),
        same.join(" AND "),
    );
    (sql, columns)
}

fn arrays(columns: &[Column<'_>]) -> String {
    let mut arrays = String::new();
    for (number, column) in (1..).zip(columns) {
        let comma = if number == 1 { "" } else { ", " };
        push(&mut arrays, format_args!("{comma}CAST(${number} AS {}[])", column.kind));
    }
    arrays
}

fn push(to: &mut String, what: std::fmt::Arguments<'_>) {
    // Writing to a string does not fail.
    #[allow(clippy::let_underscore_must_use, reason = "see above")]
    let _ = to.write_fmt(what);
}

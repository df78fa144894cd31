//! Columns to values and back.

use bulkhead_sched::gate::Gate;
use bulkhead_sched::settle::Counts;
use bulkhead_sched::share::{Share, ShareLimits};
use bulkhead_types::{
    Attempt, ConcurrencyKey, ConnectionId, ErrorInfo, ExecutionId, ExecutionState, Fault, Fence,
    FunctionKey, FunctionKind, FunctionName, IdError, IntegrationId, MissedRuns, ScheduleOptions,
    TenantId, Timestamp, Trigger, Units, Usage, VersionId, WorkerId,
};

use super::super::model::{Schedule, ScheduleKey};
use super::super::rows::{Aged, AttemptRow, Place, Result, Row};
use crate::db::{Column, Row as SqlRow, StoreError, Value, from_json};

/// A statement that selects executions, in the order of columns that [`execution`] reads them.
macro_rules! select_executions {
    (whole, $rest:literal) => {
        select_executions!(@ "input, output", "executions ", $rest)
    };
    (whole_of, $from:literal) => {
        select_executions!(@ "input, output", $from)
    };
    (briefly, $rest:literal) => {
        // Without what it was called with and what it returned: for lists.
        select_executions!(@ "NULL AS input, NULL AS output", "executions ", $rest)
    };
    (@ $payloads:literal, $($from:literal),+) => {
        concat!(
            "SELECT seq, id, tenant, integration, kind, name, version, connection, \"trigger\", \
             retry_of, limits, retry, scope, exclusive, start_by, concurrency_key, concurrency_max, told, \
             cpu_units, memory_units, created_at, state, ready_at, rank, place, gate, lane, passed, \
             attempts, fence, worker, leased_at, charged_us, checkpoint_at_start, failures, stalls, \
             losses, cancel_asked, started_at, ended_at, error, fault, wall_ms, cpu_us, memory_peak, \
             start_us, ",
            $payloads,
            " FROM ",
            $($from),+
        )
    };
}
pub(in crate::hot) use select_executions;

/// Reads an execution.
pub(in crate::hot) fn execution(row: &SqlRow<'_>) -> Result<Row> {
    let mut next = Columns { row, place: 0, table: "executions" };
    Ok(Row {
        seq: next.get()?,
        id: next.id(ExecutionId::parse)?,
        function: FunctionKey {
            tenant: next.id(TenantId::parse)?,
            integration: next.id(IntegrationId::parse)?,
            kind: next.word(FunctionKind::parse)?,
            name: next.id(FunctionName::parse)?,
        },
        version: next.id(VersionId::parse)?,
        connection: next.maybe_id(ConnectionId::parse)?,
        trigger: next.word(Trigger::parse)?,
        retry_of: next.maybe_id(ExecutionId::parse)?,
        limits: next.get()?,
        retry: next.get()?,
        scope: next.get()?,
        exclusive: next.get()?,
        start_by: next.maybe_time()?,
        concurrency: next.concurrency()?,
        told: next.get()?,
        units: Units { cpu: next.get()?, memory_mib: next.get()? },
        created_at: next.time()?,
        state: next.word(ExecutionState::parse)?,
        ready_at: next.time()?,
        rank: next.time()?,
        place: next.place()?,
        gate: next.get()?,
        lane: next.get()?,
        passed: next.passed()?,
        attempts: next.get()?,
        fence: Fence(next.get()?),
        worker: next.maybe_id(WorkerId::parse)?,
        leased_at: next.maybe_time()?,
        charged_us: next.get()?,
        checkpoint_at_start: next.get()?,
        counts: Counts { failures: next.get()?, stalls: next.get()?, losses: next.get()? },
        cancel_asked: next.get()?,
        started_at: next.maybe_time()?,
        ended_at: next.maybe_time()?,
        error: next.error()?,
        fault: match next.get::<Option<String>>()? {
            Some(text) => Some(Fault::parse(&text).ok_or_else(|| next.corrupt(&text))?),
            None => None,
        },
        usage: next.usage()?,
        input: next.get()?,
        output: next.get()?,
    })
}

/// Reads `seq, id, created_at, state` of an execution.
pub(in crate::hot) fn aged(row: &SqlRow<'_>) -> Result<Aged> {
    let mut next = Columns { row, place: 0, table: "executions" };
    Ok(Aged {
        seq: next.get()?,
        id: next.id(ExecutionId::parse)?,
        created_at: next.time()?,
        state: next.word(ExecutionState::parse)?,
    })
}

/// The columns of an attempt, in the order that [`attempt`] reads them.
pub(in crate::hot) const ATTEMPT: &str = "execution, number, fence, worker, leased_at, started_at, ended_at, outcome, error, \
                                  start, wall, checkpoint, wall_ms, cpu_us, memory_peak, start_us";

pub(in crate::hot) fn attempt(row: &SqlRow<'_>) -> Result<AttemptRow> {
    let mut next = Columns { row, place: 0, table: "attempts" };
    let mut attempt = Attempt {
        execution: next.id(ExecutionId::parse)?,
        number: next.get()?,
        fence: Fence(next.get()?),
        worker: next.id(WorkerId::parse)?,
        leased_at: next.time()?,
        started_at: next.maybe_time()?,
        ended_at: next.maybe_time()?,
        outcome: next.get()?,
        error: next.error()?,
        start: next.get()?,
        wall: next.get()?,
        usage: Usage::default(),
    };
    let checkpoint = next.get()?;
    attempt.usage = next.usage()?;
    Ok(AttemptRow { attempt, checkpoint })
}

/// A statement that selects shares, in the order of columns that [`share`] reads them.
macro_rules! select_shares {
    ($rest:literal) => {
        concat!(
            "SELECT tenant, weight, running_max, queued_max, vtime_us, queued, held, waiting, running, \
             gates, paused FROM shares ",
            $rest
        )
    };
}
pub(in crate::hot) use select_shares;

pub(in crate::hot) fn share(row: &SqlRow<'_>) -> Result<Share> {
    let mut next = Columns { row, place: 0, table: "shares" };
    Ok(Share {
        tenant: next.id(TenantId::parse)?,
        limits: ShareLimits {
            weight: next.get()?,
            running_max: next.get()?,
            queued_max: next.get()?,
        },
        vtime_us: next.get()?,
        queued: next.get()?,
        held: next.get()?,
        waiting: next.get()?,
        running: next.get()?,
        gates: next.get()?,
        paused: next.get()?,
    })
}

/// The columns of a schedule, in the order that [`schedule`] reads them.
macro_rules! schedule_columns {
    () => {
        "tenant, integration, kind, name, connection, frequency, anchor, jitter_ms, missed, paused, \
         next_at, last_at, last_execution, last_error"
    };
}

pub(in crate::hot) const SCHEDULE: &str = schedule_columns!();

/// A statement that selects schedules.
macro_rules! select_schedules {
    ($rest:literal) => {
        concat!("SELECT ", schedule_columns!(), " FROM schedules ", $rest)
    };
}
pub(in crate::hot) use {schedule_columns, select_schedules};

pub(in crate::hot) fn schedule(row: &SqlRow<'_>) -> Result<Schedule> {
    let mut next = Columns { row, place: 0, table: "schedules" };
    let function = FunctionKey {
        tenant: next.id(TenantId::parse)?,
        integration: next.id(IntegrationId::parse)?,
        kind: next.word(FunctionKind::parse)?,
        name: next.id(FunctionName::parse)?,
    };
    let connection: String = next.get()?;
    let connection = match connection.as_str() {
        "" => None,
        text => Some(ConnectionId::parse(text).map_err(|error| next.corrupt(&error.to_string()))?),
    };
    Ok(Schedule {
        key: ScheduleKey { function, connection },
        frequency: next.get()?,
        anchor: next.time()?,
        options: ScheduleOptions { jitter_ms: next.get()?, missed: next.word(MissedRuns::parse)? },
        paused: next.get()?,
        next_at: next.time()?,
        last_at: next.maybe_time()?,
        last_execution: next.maybe_id(ExecutionId::parse)?,
        last_error: next.get()?,
    })
}

/// The columns of a gate, in the order that [`gate`] reads them.
pub(in crate::hot) const GATE: &str = "key, running_max, running, paused, is_set";

pub(in crate::hot) fn gate(row: &SqlRow<'_>) -> Result<Gate> {
    let mut next = Columns { row, place: 0, table: "gates" };
    Ok(Gate {
        key: next.get()?,
        running_max: next.get()?,
        running: next.get()?,
        paused: next.get()?,
        set: next.get()?,
    })
}

/// Reads columns one after the other.
struct Columns<'a> {
    row: &'a SqlRow<'a>,
    place: usize,
    table: &'static str,
}

impl Columns<'_> {
    fn get<T: Column>(&mut self) -> Result<T> {
        let value = self.row.get(self.place)?;
        self.place += 1;
        Ok(value)
    }

    fn text(&mut self) -> Result<&str> {
        let place = self.place;
        self.place += 1;
        match self.row.value(place)? {
            Value::Text(text) => Ok(text),
            other => Err(self.corrupt(&format!("{other:?} where text should be"))),
        }
    }

    fn id<T>(&mut self, parse: fn(&str) -> std::result::Result<T, IdError>) -> Result<T> {
        let table = self.table;
        parse(self.text()?).map_err(|error| StoreError::Corrupt { table, what: error.to_string() })
    }

    fn maybe_id<T>(
        &mut self,
        parse: fn(&str) -> std::result::Result<T, IdError>,
    ) -> Result<Option<T>> {
        match self.row.value(self.place)? {
            Value::Null => {
                self.place += 1;
                Ok(None)
            }
            _ => self.id(parse).map(Some),
        }
    }

    fn word<T>(&mut self, parse: fn(&str) -> Option<T>) -> Result<T> {
        let table = self.table;
        let text = self.text()?;
        parse(text)
            .ok_or_else(|| StoreError::Corrupt { table, what: format!("unknown word {text:?}") })
    }

    fn time(&mut self) -> Result<Timestamp> {
        Ok(Timestamp::from_millis(self.get()?))
    }

    fn maybe_time(&mut self) -> Result<Option<Timestamp>> {
        Ok(self.get::<Option<i64>>()?.map(Timestamp::from_millis))
    }

    fn concurrency(&mut self) -> Result<Option<ConcurrencyKey>> {
        let (name, max): (Option<String>, Option<u32>) = (self.get()?, self.get()?);
        Ok(name.zip(max).map(|(name, max)| ConcurrencyKey { name, max }))
    }

    fn place(&mut self) -> Result<Place> {
        let number: u32 = self.get()?;
        Place::of_number(number).ok_or_else(|| self.corrupt("unknown place"))
    }

    fn passed(&mut self) -> Result<Vec<String>> {
        let text: Option<String> = self.get()?;
        Ok(text.map_or_else(Vec::new, |text| text.lines().map(str::to_owned).collect()))
    }

    fn error(&mut self) -> Result<Option<ErrorInfo>> {
        let text: Option<String> = self.get()?;
        text.map(|text| from_json(self.table, &text)).transpose()
    }

    fn usage(&mut self) -> Result<Usage> {
        Ok(Usage {
            wall_ms: self.get()?,
            cpu_us: self.get()?,
            memory_bytes_peak: self.get()?,
            start_us: self.get()?,
        })
    }

    fn corrupt(&self, what: &str) -> StoreError {
        StoreError::Corrupt { table: self.table, what: what.to_owned() }
    }
}

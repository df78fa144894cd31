//! Logs of executions.

use bulkhead_protocol::LogLine;
use bulkhead_store::fence::{self, FenceError};
use bulkhead_store::logs::{self, LogRow};
use bulkhead_types::{Cause, ErrorInfo, ExecutionId, Lease, Outcome, Timestamp};
use tokio::sync::watch;

use crate::error::PlatformError;
use crate::model::{LogEntry, LogPage};
use crate::platform::Platform;
use crate::redact::Redaction;

/// Lines on one page.
const PAGE_LENGTH_MAX: usize = 1_000;

/// The longest level; a sandbox says what it likes.
const LEVELS: [&str; 4] = ["debug", "info", "warn", "error"];

impl Platform {
    /// Keeps log lines of an attempt; the worker has cut them to its limits. Lines of an attempt that lost its
    /// lease are dropped: another one writes by now.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn log(&self, lease: &Lease, lines: Vec<LogLine>) -> Result<(), PlatformError> {
        if lines.is_empty() {
            return Ok(());
        }
        let attempt = lease.attempt;
        let redaction = self.redaction_for(lease).await?;
        let clean = |line: LogLine| LogLine { message: redaction.apply(line.message), ..line };
        let rows: Vec<_> = lines.into_iter().map(|line| row_of(clean(line), attempt)).collect();
        let held = lease.lease.clone();
        let kept = self
            .db
            .write(move |tx| {
                fence::check_fence(tx, &held)?;
                Ok::<_, FenceError>(logs::append(tx, &held.execution, &rows)?)
            })
            .await;
        match kept {
            Ok(newest) => {
                self.followers.added(&lease.lease.execution, newest);
                Ok(())
            }
            Err(FenceError::Stale(stale)) => Err(PlatformError::Conflict {
                code: "lease_lost",
                message: stale.to_string(),
                payload: None,
            }),
            Err(FenceError::Store(error)) => Err(error.into()),
        }
    }

    /// How an attempt ended, as it may be kept and shown: what its function says of that is searched for credentials, as
    /// its log is.
    pub async fn presentable(&self, lease: &Lease, outcome: Outcome) -> Outcome {
        match outcome {
            Outcome::Failed(cause) => {
                let error = self.clean(lease, cause.error).await;
                Outcome::Failed(Cause { error, ..cause })
            }
            Outcome::Limit(kind, error) => Outcome::Limit(kind, self.clean(lease, error).await),
            Outcome::Crashed(error) => Outcome::Crashed(self.clean(lease, error).await),
            other => other,
        }
    }

    async fn clean(&self, lease: &Lease, error: ErrorInfo) -> ErrorInfo {
        match self.redaction_for(lease).await {
            Ok(redaction) => redaction.apply_to_error(error),
            Err(why) => {
                tracing::error!(error = %why, "an attempt's error could not be searched for credentials");
                ErrorInfo::new(
                    &error.code,
                    "what the function said could not be searched for credentials: it is not kept",
                )
            }
        }
    }

    /// What must not be in the log of an execution, nor in its error: the credentials of its connection, if its version can
    /// have them. Those that it fetched of another connection, or that were renewed since, are not known here.
    async fn redaction_for(&self, lease: &Lease) -> Result<Redaction, PlatformError> {
        let (tenant, integration) = (&lease.function.tenant, &lease.function.integration);
        let Some(connection) = &lease.connection else { return Ok(Redaction::default()) };
        if !self.version(tenant, &lease.version).await?.spec.uses.secrets {
            return Ok(Redaction::default());
        }
        match self.open_connection(tenant, integration, connection).await {
            Ok(open) => Ok(Redaction::of(&open.credentials)),
            // Deleted since: what nobody can look up is not looked for.
            Err(PlatformError::NotFound { .. }) => Ok(Redaction::default()),
            Err(error) => Err(error),
        }
    }

    /// Lines with `seq > after`: at most `limit`, at most 1,000. The caller has checked whose execution it is.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn logs(
        &self,
        execution: &ExecutionId,
        after: i64,
        limit: usize,
    ) -> Result<LogPage, PlatformError> {
        let limit = limit.clamp(1, PAGE_LENGTH_MAX);
        let id = execution.clone();
        let rows = self.db.read(move |db| logs::after(db, &id, after, limit)).await?;
        let more = rows.len() == limit;
        let lines: Vec<_> = rows.into_iter().map(entry_of).collect();
        let next_after = lines.last().filter(|_| more).map(|line| line.seq);
        Ok(LogPage { lines, next_after })
    }

    /// Changes whenever lines were added, to the newest `seq`: read [`Self::logs`] again then. Subscribe first, then
    /// read, and nothing is missed.
    ///
    /// # Errors
    /// None today; a follower on another machine may fail.
    pub async fn follow_logs(
        &self,
        execution: &ExecutionId,
    ) -> Result<watch::Receiver<i64>, PlatformError> {
        Ok(self.followers.follow(execution))
    }
}

fn row_of(line: LogLine, attempt: u32) -> LogRow {
    let level = LEVELS.into_iter().find(|level| *level == line.level).unwrap_or("info");
    let at = Timestamp::from_millis(line.at);
    LogRow { seq: 0, at, attempt, level: level.to_owned(), message: line.message }
}

fn entry_of(row: LogRow) -> LogEntry {
    let LogRow { seq, at, attempt, level, message } = row;
    LogEntry { seq, at, attempt, level, message }
}

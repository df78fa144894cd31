//! Submits: what is accepted is kept, a key names one execution, and a sync does not overlap itself.

use bulkhead_engine::{Overlap, ScheduleKey, Submit, SubmitError, Submitted};
use bulkhead_types::{
    ExecutionState, Fence, FunctionKey, FunctionKind, FunctionName, IntegrationId, TenantId,
    Timestamp, Usage,
};

use super::{Known, Ledger, Violation, demand};

impl Ledger {
    /// A submit was answered.
    pub(crate) fn submitted(
        &mut self,
        submit: &Submit,
        now: Timestamp,
        done: &Result<Submitted, SubmitError>,
    ) -> Result<(), Violation> {
        let Ok(done) = done else { return Ok(()) };
        let id = &done.execution;
        let key = submit
            .idempotency
            .as_ref()
            .map(|key| ((submit.function.clone(), key.key.clone()), now.after(key.ttl)));
        let named = key.as_ref().and_then(|(key, _)| self.keys.get(key));
        let repeats = named.filter(|(_, until)| *until > now).map(|(named, _)| named);
        if let Some(named) = repeats {
            demand!(
                done.duplicate && id == named,
                "idempotency",
                "a key names {}, and its submit was answered with {done:?}",
                self.number(named)
            );
            self.counts.duplicates += 1;
            return Ok(());
        }
        let exclusive = (submit.overlap == Overlap::Join).then(|| ScheduleKey {
            function: submit.function.clone(),
            connection: submit.connection.clone(),
        });
        let live = exclusive.as_ref().and_then(|exclusive| self.exclusive.get(exclusive));
        demand!(
            live.is_none_or(|live| live == id && done.duplicate),
            "overlap",
            "{live:?} is live, and its sync's submit was answered with {done:?}"
        );
        demand!(
            live.is_some() || !done.duplicate,
            "idempotency",
            "a submit was answered as a repetition of {}, which nothing says",
            self.number(id)
        );
        if done.duplicate {
            self.counts.duplicates += 1;
        } else {
            demand!(!self.executions.contains_key(id), "accepted", "{id} was accepted twice");
            self.counts.executions += 1;
            if let Some(exclusive) = &exclusive {
                self.exclusive.insert(exclusive.clone(), id.clone());
            }
            let known = Known::new(self.counts.executions, submit, exclusive);
            self.executions.insert(id.clone(), known);
        }
        if let Some((key, until)) = key {
            self.keys.insert(key, (id.clone(), until));
        }
        Ok(())
    }
}

impl Known {
    fn new(number: u64, submit: &Submit, exclusive: Option<ScheduleKey>) -> Self {
        Self {
            number,
            function: submit.function.clone(),
            connection: submit.connection.clone(),
            concurrency: submit.concurrency.clone(),
            exclusive,
            start_by: submit.start_by,
            held: None,
            state: ExecutionState::Queued,
            fence: Fence(0),
            cancel_asked: false,
            usage: Usage::default(),
            output: None,
            ended: None,
            acknowledged: false,
        }
    }

    /// One that a caller was told of and that is nowhere.
    #[allow(clippy::unwrap_used, reason = "made of letters")]
    pub(super) fn phantom(number: u64) -> Self {
        let function = FunctionKey {
            tenant: TenantId::parse("nobody").unwrap(),
            integration: IntegrationId::parse("none").unwrap(),
            kind: FunctionKind::Action,
            name: FunctionName::parse("lost").unwrap(),
        };
        Self {
            number,
            function,
            connection: None,
            concurrency: None,
            exclusive: None,
            start_by: None,
            held: None,
            state: ExecutionState::Queued,
            fence: Fence(0),
            cancel_asked: false,
            usage: Usage::default(),
            output: None,
            ended: None,
            acknowledged: true,
        }
    }
}

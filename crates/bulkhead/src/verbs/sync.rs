//! `bulkhead sync`

use bulkhead_api as api;
use bulkhead_api::Op;
use bulkhead_client::Request;

use crate::cli::{Sync, WhichSync};
use crate::context::{Context, block_on};
use crate::{exit, output};

pub(crate) fn run(typed: Sync, context: &Context) -> anyhow::Result<u8> {
    let client = context.tenant()?;
    let call = |op, which: &WhichSync, reset, empty_cache| {
        let connection_id = which.connection.clone();
        let body = api::SyncCall { connection_id, reset, empty_cache };
        Request::new(op, &[&which.function.0, &which.function.1]).json(&body)
    };
    let one = |request| block_on(async { Ok(client.call::<api::Sync>(request).await?) });
    let syncs = match typed {
        Sync::List => {
            let request = Request::new(Op::ListSyncs, &[]);
            block_on(async { Ok(client.call::<api::SyncList>(request).await?) })?.syncs
        }
        Sync::Trigger { which, reset, empty_cache } => {
            let request = call(Op::TriggerSync, &which, reset, empty_cache);
            let accepted: api::Accepted = block_on(async { Ok(client.call(request).await?) })?;
            if accepted.duplicate {
                output::say("it runs already");
            }
            if context.json {
                output::json(&accepted)?
            } else {
                output::line(&accepted.execution_id)?
            }
            return Ok(exit::DONE);
        }
        Sync::Pause { which } => vec![one(call(Op::PauseSync, &which, false, false))?],
        Sync::Resume { which } => vec![one(call(Op::ResumeSync, &which, false, false))?],
        Sync::Frequency { which, frequency } => {
            let body = api::SetFrequency { connection_id: which.connection.clone(), frequency };
            let path = [which.function.0.as_str(), which.function.1.as_str()];
            vec![one(Request::new(Op::SetFrequency, &path).json(&body))?]
        }
    };
    if context.json {
        output::json(&syncs)?;
        return Ok(exit::DONE);
    }
    let row = |sync: &api::Sync| {
        vec![
            format!("{}/{}", sync.integration, sync.name),
            output::or_dash(sync.connection_id.as_deref()),
            output::or_dash(sync.frequency.as_deref()),
            schedule(sync).to_owned(),
            output::or_dash(sync.next_at.as_deref()),
            output::or_dash(sync.last_execution_id.as_deref()),
        ]
    };
    let rows: Vec<_> = syncs.iter().map(row).collect();
    output::table(
        &["sync", "connection", "frequency", "schedule", "next", "last execution"],
        &rows,
    )?;
    Ok(exit::DONE)
}

/// Whether it runs by itself: without a connection or a next time nothing makes it run.
fn schedule(sync: &api::Sync) -> &'static str {
    match (&sync.connection_id, sync.paused) {
        (None, _) => "none",
        (Some(_), true) => "paused",
        (Some(_), false) => "active",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sync_without_a_schedule_does_not_run_by_itself() {
        let sync = |connection: Option<&str>, paused| api::Sync {
            integration: "github".to_owned(),
            name: "issues".to_owned(),
            connection_id: connection.map(str::to_owned),
            frequency: Some("every 1h".to_owned()),
            paused,
            next_at: None,
            last_execution_id: None,
        };
        assert_eq!(schedule(&sync(None, false)), "none");
        assert_eq!(schedule(&sync(Some("c1"), false)), "active");
        assert_eq!(schedule(&sync(Some("c1"), true)), "paused");
    }
}

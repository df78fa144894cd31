//! `bulkhead dead-letters`

use bulkhead_api::{ExecutionList, Op, Replay, Replayed};
use bulkhead_client::Request;

use crate::cli::{DeadLetters, Executions};
use crate::context::{Context, block_on};
use crate::verbs::executions;
use crate::{exit, output};

pub(crate) fn run(typed: DeadLetters, context: &Context) -> anyhow::Result<u8> {
    match typed {
        DeadLetters::List { which, cursor, limit } => {
            let limit = limit.map(|limit| limit.to_string());
            let request = Request::new(Op::ListDeadLetters, &[])
                .query_maybe("function", which.function.as_deref())
                .query_maybe("kind", which.kind.as_deref())
                .query_maybe("error", which.error.as_deref())
                .query_maybe("connection", which.connection.as_deref())
                .query_maybe("since", which.since.as_deref())
                .query_maybe("until", which.until.as_deref())
                .query_maybe("cursor", cursor.as_deref())
                .query_maybe("limit", limit.as_deref());
            let client = context.tenant()?;
            let list: ExecutionList = block_on(async { Ok(client.call(request).await?) })?;
            executions::print_list(&list, context)?;
            Ok(exit::DONE)
        }
        DeadLetters::Show { execution } => executions::run(Executions::Show { execution }, context),
        DeadLetters::Replay { execution: Some(execution), .. } => {
            executions::run(Executions::Retry { execution }, context)
        }
        DeadLetters::Replay { execution: None, which, max } => {
            let body = Replay {
                function: which.function,
                kind: which.kind,
                error: which.error,
                connection: which.connection,
                since: which.since,
                until: which.until,
                max,
            };
            let client = context.tenant()?;
            let request = Request::new(Op::ReplayDeadLetters, &[]).json(&body);
            print(&block_on(async { Ok(client.call(request).await?) })?, context)
        }
    }
}

fn print(replayed: &Replayed, context: &Context) -> anyhow::Result<u8> {
    if context.json {
        output::json(replayed)?;
        return Ok(exit::DONE);
    }
    let rows: Vec<_> = replayed
        .replayed
        .iter()
        .map(|one| vec![one.dead.clone(), one.execution_id.clone()])
        .collect();
    output::table(&["dead letter", "repeated by"], &rows)?;
    if let Some(seconds) = replayed.queue_full_retry_after_s {
        output::say(&format!("the tenant's queue is full: go on in {seconds} s"));
    } else if replayed.more {
        output::say("there are more: call it again");
    }
    Ok(exit::DONE)
}

//! `bulkhead executions`

use bulkhead_api::{Accepted, Execution, ExecutionList, ExecutionShow, Op};
use bulkhead_client::Request;

use crate::cli::Executions;
use crate::context::{Context, block_on};
use crate::{exit, output};

pub(crate) fn run(typed: Executions, context: &Context) -> anyhow::Result<u8> {
    let client = context.tenant()?;
    match typed {
        Executions::List { function, state, connection, since, cursor, limit } => {
            let limit = limit.map(|limit| limit.to_string());
            let request = Request::new(Op::ListExecutions, &[])
                .query_maybe("function", function.as_deref())
                .query_maybe("state", state.as_deref())
                .query_maybe("connection", connection.as_deref())
                .query_maybe("since", since.as_deref())
                .query_maybe("cursor", cursor.as_deref())
                .query_maybe("limit", limit.as_deref());
            let list: ExecutionList = block_on(async { Ok(client.call(request).await?) })?;
            print_list(&list, context)?;
        }
        Executions::Show { execution } => {
            let request = Request::new(Op::ShowExecution, &[&execution]);
            let show: ExecutionShow = block_on(async { Ok(client.call(request).await?) })?;
            if context.json {
                output::json(&show)?
            } else {
                output::raw(&output::plain(&in_words(&show)))?
            }
        }
        Executions::Cancel { execution } => {
            let request = Request::new(Op::CancelExecution, &[&execution]);
            print_accepted(&block_on(async { Ok(client.call(request).await?) })?, context)?;
        }
        Executions::Retry { execution } => {
            let request = Request::new(Op::RetryExecution, &[&execution]);
            print_accepted(&block_on(async { Ok(client.call(request).await?) })?, context)?;
        }
    }
    Ok(exit::DONE)
}

fn print_accepted(accepted: &Accepted, context: &Context) -> anyhow::Result<()> {
    if context.json { output::json(accepted) } else { output::line(&accepted.execution_id) }
}

pub(crate) fn print_list(list: &ExecutionList, context: &Context) -> anyhow::Result<()> {
    if context.json {
        return output::json(list);
    }
    let row = |execution: &Execution| {
        vec![
            execution.id.clone(),
            format!("{}/{}", execution.integration, execution.function),
            execution.kind.clone(),
            execution.state.clone(),
            execution.attempts.to_string(),
            output::or_dash(execution.connection_id.as_deref()),
            execution.created_at.clone(),
            execution.error.as_ref().map_or_else(String::new, |error| error.code.clone()),
        ]
    };
    let rows: Vec<_> = list.executions.iter().map(row).collect();
    let head =
        ["execution", "function", "kind", "state", "attempts", "connection", "created", "error"];
    output::table(&head, &rows)?;
    if let Some(cursor) = &list.next_cursor {
        output::say(&format!("there is more: --cursor {cursor}"));
    }
    Ok(())
}

fn in_words(show: &ExecutionShow) -> String {
    let execution = &show.execution;
    let mut text = format!(
        "{}  {}/{} ({})  {}\n",
        execution.id, execution.integration, execution.function, execution.kind, execution.state
    );
    if let Some(error) = &execution.error {
        text.push_str(&format!("error    {}: {}\n", error.code, error.message));
    }
    text.push_str(&format!("input    {}\n", show.input));
    if let Some(value) = &show.output {
        text.push_str(&format!("output   {value}\n"));
    }
    let usage = &execution.usage;
    let (cpu_ms, peak_mib) = (usage.cpu_us / 1_000, usage.memory_bytes_peak >> 20);
    text.push_str(&format!("used     {} ms, {cpu_ms} ms CPU, {peak_mib} MiB\n\n", usage.wall_ms));
    let attempt = |a: &bulkhead_api::Attempt| {
        vec![
            a.number.to_string(),
            output::or_dash(a.outcome.as_deref()),
            a.leased_at.clone(),
            output::or_dash(a.ended_at.as_deref()),
            start_of(a.usage.start_us),
            output::or_dash(a.start.as_deref()),
            output::or_dash(a.wall.as_deref()),
            a.error.as_ref().map_or_else(String::new, |e| format!("{}: {}", e.code, e.message)),
        ]
    };
    let rows: Vec<_> = show.attempt_list.iter().map(attempt).collect();
    text.push_str(&output::lay_out(
        &["attempt", "outcome", "leased", "ended", "start", "sandbox", "wall", "error"],
        &rows,
    ));
    text.push('\n');
    let event = |e: &bulkhead_api::TimelineEvent| {
        let detail = if e.detail.is_null() { String::new() } else { e.detail.to_string() };
        vec![e.at.clone(), e.attempt.to_string(), e.what.clone(), detail]
    };
    let rows: Vec<_> = show.timeline.iter().map(event).collect();
    text.push_str(&output::lay_out(&["when", "attempt", "what", "detail"], &rows));
    for stack in show.attempt_list.iter().filter_map(|attempt| attempt.stack.as_ref()) {
        text.push_str(&format!("\n{stack}\n"));
    }
    text
}

/// From the lease to the handler's first line, which not every attempt reaches.
fn start_of(start_us: u64) -> String {
    if start_us == 0 {
        return "-".to_owned();
    }
    format!("{}.{:03} ms", start_us / 1_000, start_us % 1_000)
}

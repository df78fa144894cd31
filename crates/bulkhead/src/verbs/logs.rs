//! `bulkhead logs`

use anyhow::Context as _;
use bulkhead_api::{ExecutionList, LogLine, LogPage, Op};
use bulkhead_client::{Client, Request};

use crate::cli::Logs;
use crate::context::{Context, block_on};
use crate::{exit, output};

/// Lines asked for at a time.
const PAGE: &str = "1000";

pub(crate) fn run(typed: &Logs, context: &Context) -> anyhow::Result<u8> {
    let client = context.tenant()?;
    block_on(async {
        let execution = match &typed.execution {
            Some(execution) => execution.clone(),
            None => newest(&client).await?,
        };
        if typed.follow {
            follow(&client, &execution, context).await
        } else {
            print_all(&client, &execution, context).await
        }
    })?;
    Ok(exit::DONE)
}

async fn newest(client: &Client) -> anyhow::Result<String> {
    let request = Request::new(Op::ListExecutions, &[]).query("limit", "1");
    let list: ExecutionList = client.call(request).await?;
    let newest = list.executions.into_iter().next().context("there is no execution yet")?;
    output::say(&format!("{} ({}/{})", newest.id, newest.integration, newest.function));
    Ok(newest.id)
}

async fn print_all(client: &Client, execution: &str, context: &Context) -> anyhow::Result<()> {
    let mut after = None::<i64>;
    loop {
        let request = Request::new(Op::ExecutionLogs, &[execution])
            .query("limit", PAGE)
            .query_maybe("after", after.map(|after| after.to_string()).as_deref());
        let page: LogPage = client.call(request).await?;
        for line in &page.logs {
            print(line, context)?;
        }
        after = page.next_after;
        if after.is_none() {
            return Ok(());
        }
    }
}

async fn follow(client: &Client, execution: &str, context: &Context) -> anyhow::Result<()> {
    let mut follower = client.follow_logs(execution, None).await?;
    while let Some(line) = follower.next().await? {
        print(&line, context)?;
    }
    Ok(())
}

fn print(line: &LogLine, context: &Context) -> anyhow::Result<()> {
    if context.json {
        return output::line(&serde_json::to_string(line)?);
    }
    output::line(&format!("{} {:<5} {}", line.at, line.level, output::plain(&line.message)))
}

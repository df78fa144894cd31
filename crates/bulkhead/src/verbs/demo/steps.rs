//! What the demo shows, and how each claim is checked: from outside, over HTTP, like any caller.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::Context as _;
use bulkhead_api::{Accepted, Execution, ExecutionList, ExecutionShow, Op, RecordPage};
use bulkhead_client::{Client, ClientError, Request};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::output;
use crate::verbs::embedded::{Embedded, TENANT};

/// The integration of the examples.
pub(super) const INTEGRATION: &str = "demo";
/// The connection that is made to it.
pub(super) const CONNECTION: &str = "customer-1";

/// What the demo's API has.
const ITEMS: usize = 5_000;
/// Deliveries sent at once.
const DELIVERIES: usize = 500;
/// Of those, sent a second time.
const REPEATED: usize = 50;
/// How long anything here may take.
const PATIENCE: Duration = Duration::from_secs(120);
/// How often an execution is asked for while it is waited for.
const LOOK: Duration = Duration::from_millis(100);

/// One thing to show. An `Err` inside means that a claim does not hold; an error outside, that it could not be
/// tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Action,
    Refusal,
    Sync,
    Webhooks,
    BreakOut,
    Sandboxes,
}

type Checked = anyhow::Result<Result<String, String>>;

impl Step {
    pub(super) const fn what(self) -> &'static str {
        match self {
            Self::Action => "an action: input, API call with credentials, axios, output",
            Self::Refusal => "an action that refuses: its error reaches the caller",
            Self::Sync => "a sync of 5,000 items, cut by its cap, that goes on by itself",
            Self::Webhooks => "500 webhook deliveries at once, 50 of them twice",
            Self::BreakOut => "a function that tries to get out",
            Self::Sandboxes => "a fresh sandbox for every attempt",
        }
    }

    pub(super) async fn run(self, embedded: &Embedded) -> Checked {
        match self {
            Self::Action => action(&embedded.client).await,
            Self::Refusal => refusal(&embedded.client).await,
            Self::Sync => sync(&embedded.client).await,
            Self::Webhooks => webhooks(&embedded.client).await,
            Self::BreakOut => break_out(&embedded.client).await,
            Self::Sandboxes => sandboxes(embedded).await,
        }
    }
}

/// `Err` with what came instead, unless it is so.
fn claim(holds: bool, otherwise: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(otherwise()) }
}

fn run(name: &str, input: &Value) -> Request {
    Request::new(Op::RunAction, &[INTEGRATION, name]).connection(Some(CONNECTION)).json(input)
}

async fn action(client: &Client) -> Checked {
    let input = json!({"message": "hello", "direct": true});
    let output: Value = client.call(run("echo", &input)).await?;
    let expected = json!({"message": "hello", "direct": "hello", "authorized": true});
    let same = claim(output == expected, || format!("{input} gave {output}"));
    Ok(same.map(|()| format!("{input} → {output}")))
}

async fn refusal(client: &Client) -> Checked {
    match client.send(run("echo", &json!({"message": "refuse me"}))).await {
        Err(ClientError::Api { status, detail, .. }) => {
            let asked =
                detail.payload.as_ref().is_some_and(|payload| payload["asked"] == "refuse me");
            let as_claimed = detail.code == "action_error" && asked;
            let told =
                format!("HTTP {status}, {}: {}", detail.code, detail.payload.unwrap_or_default());
            Ok(if as_claimed { Ok(told) } else { Err(told) })
        }
        Err(error) => Err(error.into()),
        Ok(answer) => Ok(Err(format!("HTTP {}", answer.status))),
    }
}

async fn show(client: &Client, id: &str) -> anyhow::Result<ExecutionShow> {
    Ok(client.call(Request::new(Op::ShowExecution, &[id])).await?)
}

fn is_final(execution: &Execution) -> bool {
    matches!(execution.state.as_str(), "succeeded" | "failed" | "cancelled" | "expired")
}

async fn ended(client: &Client, id: &str) -> anyhow::Result<ExecutionShow> {
    let deadline = Instant::now() + PATIENCE;
    let mut attempts = 0;
    loop {
        let show = show(client, id).await?;
        if show.execution.attempts != attempts {
            attempts = show.execution.attempts;
            output::say(&format!("  attempt {attempts}"));
        }
        if is_final(&show.execution) {
            return Ok(show);
        }
        anyhow::ensure!(Instant::now() < deadline, "{id} did not end in time");
        tokio::time::sleep(LOOK).await;
    }
}

async fn sync(client: &Client) -> Checked {
    let call = json!({"connection_id": CONNECTION});
    let request = Request::new(Op::TriggerSync, &[INTEGRATION, "items"]).json(&call);
    let accepted: Accepted = client.call(request).await?;
    let show = ended(client, &accepted.execution_id).await?;
    let (records, ids) = records(client).await?;
    let attempts = show.attempt_list.len();
    let outcomes: Vec<_> = show.attempt_list.iter().filter_map(|a| a.outcome.as_deref()).collect();
    let outcomes = outcomes.join(", ");
    let check = || {
        let state = &show.execution.state;
        claim(state == "succeeded", || format!("it {state}: {:?}", show.execution.error))?;
        claim(attempts >= 2, || format!("{attempts} attempt: the cap did not cut it"))?;
        claim(records == ITEMS, || format!("{records} records of {ITEMS}"))?;
        claim(ids.len() == ITEMS, || format!("{} different records of {ITEMS}", ids.len()))
    };
    Ok(check().map(|()| format!("{records} records, each once; {attempts} attempts: {outcomes}")))
}

async fn records(client: &Client) -> anyhow::Result<(usize, BTreeSet<String>)> {
    let (mut count, mut ids, mut cursor) = (0, BTreeSet::new(), None::<String>);
    loop {
        let request = Request::new(Op::ListRecords, &[])
            .query("connection_id", CONNECTION)
            .query("model", "Item")
            .query("limit", "1000")
            .query_maybe("cursor", cursor.as_deref());
        let page: RecordPage = client.call(request).await?;
        count += page.records.len();
        ids.extend(
            page.records.iter().filter_map(|record| record["id"].as_str()).map(str::to_owned),
        );
        cursor = page.next_cursor;
        if cursor.is_none() {
            return Ok((count, ids));
        }
    }
}

fn delivery(number: usize) -> Request {
    let id = format!("delivery-{number:04}");
    let body = json!({"id": id, "event": "item.changed"});
    Request::new(Op::Webhook, &[TENANT, INTEGRATION]).json(&body).header("x-delivery-id", &id)
}

async fn webhooks(client: &Client) -> Checked {
    let mut sending = JoinSet::new();
    for number in (0..DELIVERIES).chain(0..REPEATED) {
        let client = client.clone();
        sending.spawn(async move { client.call::<Value>(delivery(number)).await });
    }
    let began = Instant::now();
    let (mut executions, mut duplicates) = (BTreeSet::new(), 0);
    while let Some(sent) = sending.join_next().await {
        let answer = sent??;
        duplicates += usize::from(answer["duplicate"] == true);
        let ids = answer["executions"].as_array().context("the answer names no executions")?;
        executions.extend(ids.iter().filter_map(Value::as_str).map(str::to_owned));
    }
    let acknowledged = began.elapsed();
    let mut handled = BTreeSet::new();
    for id in &executions {
        let show = ended_quietly(client, id).await?;
        let output = show.output.unwrap_or_default();
        handled.extend(output["handled"].as_str().map(str::to_owned));
    }
    let all_done = began.elapsed();
    let check = || {
        let made = executions.len();
        claim(made == DELIVERIES, || format!("{made} executions for {DELIVERIES} deliveries"))?;
        claim(duplicates == REPEATED, || {
            format!("{duplicates} of {REPEATED} repetitions were seen")
        })?;
        claim(handled.len() == DELIVERIES, || {
            format!("{} of {DELIVERIES} were handled", handled.len())
        })
    };
    Ok(check().map(|()| {
        format!(
            "durable after {} ms, handled after {} ms, each once; {duplicates} repetitions dropped",
            acknowledged.as_millis(),
            all_done.as_millis()
        )
    }))
}

async fn ended_quietly(client: &Client, id: &str) -> anyhow::Result<ExecutionShow> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let show = show(client, id).await?;
        if is_final(&show.execution) {
            return Ok(show);
        }
        anyhow::ensure!(Instant::now() < deadline, "{id} did not end in time");
        tokio::time::sleep(LOOK).await;
    }
}

async fn break_out(client: &Client) -> Checked {
    let output: Value = client.call(run("break-out", &json!({}))).await?;
    let attempts = output["attempts"].as_array().context("it tells no attempts")?;
    for attempt in attempts {
        let text = |field: &str| attempt[field].as_str().unwrap_or("?").to_owned();
        let verdict = if attempt["refused"] == true { "refused" } else { "SUCCEEDED" };
        output::say(&format!("  {verdict}: {} ({})", text("attempt"), text("why")));
    }
    let succeeded = output["succeeded"].as_array().map_or(0, Vec::len);
    let tried = attempts.len();
    let check = claim(tried > 0 && succeeded == 0, || format!("{succeeded} of {tried} succeeded"));
    Ok(check.map(|()| format!("{tried} ways tried, {tried} refused")))
}

async fn sandboxes(embedded: &Embedded) -> Checked {
    let (mut executions, mut attempts, mut cursor) = (0_u64, 0_u64, None::<String>);
    loop {
        let request = Request::new(Op::ListExecutions, &[])
            .query("limit", "200")
            .query_maybe("cursor", cursor.as_deref());
        let page: ExecutionList = embedded.client.call(request).await?;
        executions += page.executions.len() as u64;
        attempts += page.executions.iter().map(|e| u64::from(e.attempts)).sum::<u64>();
        cursor = page.next_cursor;
        if cursor.is_none() {
            break;
        }
    }
    let now = embedded.runner.snapshot();
    let same = claim(now.sandboxes_used == attempts, || {
        format!("{attempts} attempts, but {} sandboxes", now.sandboxes_used)
    });
    let ms = |us: u64| format!("{}.{:02}", us / 1_000, us % 1_000 / 10);
    Ok(same.map(|()| {
        format!(
            "{executions} executions, {attempts} attempts, {} sandboxes; start p50 {} ms, p95 {} ms, p99 {} ms \
             ({} parked, {} forked, {} cold)",
            now.sandboxes_used,
            ms(now.start_us.p50),
            ms(now.start_us.p95),
            ms(now.start_us.p99),
            now.parked,
            now.forked,
            now.cold
        )
    }))
}

//! What must hold of what they left. The checks that any ended execution has to pass are the simulator's.

use std::collections::BTreeSet;

use bulkhead_api::{Op, RecordPage};
use bulkhead_client::{Client, Request};
use bulkhead_sim::after;
use bulkhead_store::hot::Store;
use bulkhead_types::{Execution, ExecutionState, Fault, TenantId};
use serde_json::Value;

use crate::load::{Control, Kind, TENANT, Told, connection_id};

/// Attempts of an execution that may end as failed through no fault of its own: three repetitions after the first.
const ATTEMPTS_UNLUCKY: u32 = 4;

/// What a sync saved.
#[derive(Default)]
pub(crate) struct Records {
    pub(crate) links: Vec<Value>,
    /// In the order in which they were written.
    traces: Vec<Value>,
}

/// Reads what it saved, if it is a sync.
pub(crate) async fn records(client: &Client, told: &Told) -> Records {
    if told.kind != Kind::Sync {
        return Records::default();
    }
    let mut links = of_model(client, told, "Link").await;
    links.sort_by_key(|link| link["n"].as_u64());
    Records { links, traces: of_model(client, told, "Trace").await }
}

/// Records in the order of their last change, which is the order of commits.
async fn of_model(client: &Client, told: &Told, model: &str) -> Vec<Value> {
    let request = Request::new(Op::ListRecords, &[])
        .query("connection_id", &connection_id(told.n))
        .query("model", model)
        .query("limit", "1000");
    let page: RecordPage = client.call(request).await.unwrap();
    assert!(page.next_cursor.is_none(), "a page holds them all");
    page.records.into_iter().map(content).collect()
}

/// A record without what is told of it.
fn content(mut record: Value) -> Value {
    let fields = record.as_object_mut().unwrap();
    fields.retain(|name, _| !name.starts_with('_'));
    record
}

/// An interrupted sync saved what an uninterrupted one saves, and no attempt wrote after one that came later.
pub(crate) fn saved(told: &Told, records: &Records, control: &Control) {
    if told.kind != Kind::Sync {
        return;
    }
    let id = &told.id;
    let whole = told.end["state"] == "succeeded";
    let expected = if whole { &control.links[..] } else { &control.links[..records.links.len()] };
    assert_eq!(records.links, expected, "{id} saved something else than one that runs through");
    let mut newest = 0;
    for trace in &records.traces {
        let attempt = trace["attempt"].as_u64().unwrap();
        assert!(
            attempt >= newest,
            "{id}: a write under a lost lease was taken: {:?}",
            records.traces
        );
        newest = attempt;
    }
    let attempts = told.end["attempts"].as_u64().unwrap();
    assert!(newest <= attempts, "{id}: attempt {newest} wrote, of {attempts}");
}

/// How it went.
#[derive(Debug, Default)]
#[allow(dead_code, reason = "printed")]
pub(crate) struct Found {
    executions: usize,
    attempts: u64,
    /// Attempts beyond the first.
    repeated: u64,
    /// Executions that failed because too much was killed around them.
    unlucky: usize,
}

/// Goes over all that the database has.
pub(crate) async fn everything(store: &dyn Store, told: &[Told], control: &Control) -> Found {
    let tenant = TenantId::parse(TENANT).unwrap();
    let all = after::tenant(store, &tenant).await.unwrap_or_else(|broken| panic!("{broken}"));
    let kept: BTreeSet<&str> = all.iter().map(|execution| execution.id.as_str()).collect();
    let accepted: BTreeSet<&str> =
        told.iter().map(|told| told.id.as_str()).chain([control.id.as_str()]).collect();
    assert_eq!(accepted.len(), told.len() + 1, "two calls were given one execution");
    // Neither lost, nor accepted twice because a call was repeated.
    assert_eq!(kept, accepted);
    let mut found = Found { executions: all.len(), ..Found::default() };
    for execution in &all {
        found.attempts += u64::from(execution.attempts);
        found.repeated += u64::from(execution.attempts.saturating_sub(1));
        found.unlucky += usize::from(execution.state == ExecutionState::Failed);
        if let Some(told) = told.iter().find(|told| told.id == execution.id.as_str()) {
            one(told, execution);
        }
    }
    found
}

/// One execution is what its caller was told, and did what it was asked to.
fn one(told: &Told, execution: &Execution) {
    let (id, state) = (&told.id, execution.state.as_str());
    assert_eq!(told.end["state"], state, "{id} had ended, and ended again as {state}");
    assert_eq!(told.end["attempts"], execution.attempts, "{id} ran on after its end");
    let output = execution.output.clone().unwrap_or_default();
    assert_eq!(told.end["output"], output, "{id} had ended with another output");
    if execution.state == ExecutionState::Failed {
        let unlucky = execution.fault == Some(Fault::Platform);
        let tried = execution.attempts >= ATTEMPTS_UNLUCKY;
        assert!(unlucky && tried, "{id} failed: {execution:?}");
    } else if told.kind != Kind::Sync {
        assert_eq!(output["n"], told.n, "{id} did what another was asked to");
    }
}

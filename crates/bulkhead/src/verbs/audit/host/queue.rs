//! Attacks on the engine: one tenant against another's share, and a worker against leases that are not its own.

use std::time::Duration;

use bulkhead_api::{Accepted, ExecutionShow, KeyCreated, LogPage, Op};
use bulkhead_client::{ClientError, Request};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::super::inside::{HONEST, INTEGRATION, Seen, Stage, ended};
use super::super::judge::Ended;
use super::{Refusals, raw};

/// What one tenant queues.
const GREEDY: usize = 300;

/// Within this time the other tenant's run is through, with a machine that is busy with something else besides.
const PATIENCE: Duration = Duration::from_secs(10);

fn call(input: &Value) -> Request {
    Request::new(Op::RunAction, &[INTEGRATION, HONEST])
        .header("Prefer", "respond-async")
        .json(input)
}

/// One tenant queues hundreds of runs; another wants one, and gets it long before those are through.
pub(super) async fn starvation(stage: &Stage, mark: &str) -> Seen {
    let client = &stage.embedded.client;
    let input = json!({"phase": "beside", "ms": 500, "mark": mark});
    let mut last = None;
    for _ in 0..GREEDY {
        let accepted: Result<Accepted, ClientError> = client.call(call(&input)).await;
        last = Some(accepted.map_err(|error| error.to_string())?.execution_id);
    }
    let began = Instant::now();
    let (seen, _) = stage.execute(&stage.other, HONEST, &json!({"phase": "well"})).await?;
    let took = began.elapsed();
    let last = last.unwrap_or_default();
    let show: Result<ExecutionShow, ClientError> =
        client.call(Request::new(Op::ShowExecution, &[&last])).await;
    let state = show.map_err(|error| error.to_string())?.execution.state;
    // The queue is emptied before the next case, whatever is the verdict.
    ended(client, &last, stage.patience).await.map_err(|error| error.to_string())?;
    match seen {
        Ended::Returned(_) if took > PATIENCE => Err(format!("the other waited {took:?}")),
        Ended::Returned(_) if state == "succeeded" => {
            Err("the greedy one was through first".to_owned())
        }
        Ended::Returned(_) => {
            Ok(format!("the other's run took {} ms beside {GREEDY} queued", took.as_millis()))
        }
        ended => Err(format!("the other's run gave {ended:?}")),
    }
}

/// A worker with a token of its own writes, calls and settles under leases that its server's own worker holds.
pub(super) async fn zombie(stage: &Stage, mark: &str) -> Seen {
    let text = |error: ClientError| error.to_string();
    let create = Request::new(Op::CreateWorkerToken, &[]).json(&json!({"label": "audit"}));
    let token: KeyCreated = stage.admin.call(create).await.map_err(text)?;
    let id = token.secret.strip_prefix("bhw_").and_then(|rest| rest.split('_').next());
    let id = id.ok_or("the token has another form")?;
    let client = &stage.embedded.client;
    let input = json!({"phase": "beside", "ms": 1_500, "mark": mark});
    let accepted: Accepted = client.call(call(&input)).await.map_err(text)?;
    let execution = accepted.execution_id;
    let worker = format!("wrk_{}.{id}", "0".repeat(26));
    let stranger = format!("wrk_{}.00000000", "0".repeat(26));
    let headers =
        format!("authorization: Bearer {}\r\ncontent-type: application/json\r\n", token.secret);
    let mut refusals = Refusals::default();
    for worker in [&worker, &stranger] {
        for fence in 0..4 {
            let lease = json!({"execution": execution, "fence": fence});
            let usage = json!({"wall_ms": 0, "cpu_us": 0, "memory_bytes_peak": 0, "start_us": 0});
            let about = |more: Value| {
                let mut body = json!({"worker": worker, "lease": lease});
                if let (Some(body), Some(more)) = (body.as_object_mut(), more.as_object()) {
                    body.extend(more.clone());
                }
                body.to_string()
            };
            let forged = json!({"completed": {"mark": "forged"}});
            for (route, body) in [
                (
                    "settle",
                    about(
                        json!({"outcome": forged, "usage": usage, "started_at": null, "start": null}),
                    ),
                ),
                (
                    "call",
                    about(
                        json!({"number": 1, "method": "metadata.set", "params": {"metadata": {"forged": true}}}),
                    ),
                ),
                ("prepare", about(json!({}))),
                ("log", about(json!({"lines": [{"at": 0, "level": "info", "message": "forged"}]}))),
            ] {
                let path = format!("/v1/worker/{route}");
                let (status, body) =
                    raw::request(stage, "POST", &path, &headers, body.as_bytes()).await?;
                // `stale` and an error in the answer say that nothing was done. Whether lines were kept all the same,
                // the log tells in the end.
                let refused = body.contains("stale") || body.contains("lease_lost");
                refusals.note(
                    &format!("{route} with fence {fence}"),
                    if refused { 409 } else { status },
                    &body,
                );
            }
        }
    }
    let (seen, _) = ended(client, &execution, stage.patience).await.map_err(text)?;
    let logs: LogPage =
        client.call(Request::new(Op::ExecutionLogs, &[&execution])).await.map_err(text)?;
    if logs.logs.iter().any(|line| line.message.contains("forged")) {
        return Err("a line was logged under somebody else's lease".to_owned());
    }
    match seen {
        Ended::Returned(value) if value["mark"] == json!(mark) => refusals.seen(),
        other => Err(format!("the execution gave {other:?}")),
    }
}

//! `bulkhead workers`

use bulkhead_api::{KeyCreated, KeyList, Op, PutKey, Worker, WorkerList};
use bulkhead_client::Request;

use crate::cli::Workers;
use crate::context::{Context, block_on};
use crate::{exit, output};

pub(crate) fn run(typed: Workers, context: &Context) -> anyhow::Result<u8> {
    let client = context.admin()?;
    match typed {
        Workers::List => {
            let request = Request::new(Op::ListWorkers, &[]);
            let list = block_on(async { Ok(client.call::<WorkerList>(request).await?) })?.workers;
            if context.json {
                output::json(&list)?;
            } else {
                let head = [
                    "worker",
                    "name",
                    "token",
                    "version",
                    "running",
                    "units",
                    "memory",
                    "state",
                    "since",
                    "parked/forked/cold",
                    "warm",
                ];
                output::table(&head, &list.iter().map(row).collect::<Vec<_>>())?;
            }
        }
        Workers::Token { label } => {
            let request = Request::new(Op::CreateWorkerToken, &[]).json(&PutKey { label });
            let made = block_on(async { Ok(client.call::<KeyCreated>(request).await?) })?;
            if context.json {
                output::json(&made)?;
            } else {
                output::say(&format!("token {}: it is shown this once", made.id));
                output::line(&made.secret)?;
            }
        }
        Workers::Tokens => {
            let request = Request::new(Op::ListWorkerTokens, &[]);
            let keys = block_on(async { Ok(client.call::<KeyList>(request).await?) })?.keys;
            if context.json {
                output::json(&keys)?;
            } else {
                let row = |key: &bulkhead_api::Key| {
                    vec![key.id.clone(), key.label.clone(), key.created_at.clone()]
                };
                let rows: Vec<_> = keys.iter().map(row).collect();
                output::table(&["token", "label", "since"], &rows)?;
            }
        }
        Workers::Revoke { token } => {
            let request = Request::new(Op::DeleteWorkerToken, &[&token]);
            block_on(async { Ok(client.send(request).await?) })?;
            let words = format!("{token} is revoked; what its workers run ends with their leases");
            output::said("revoked", &token, &words, context.json)?;
        }
    }
    Ok(exit::DONE)
}

fn row(worker: &Worker) -> Vec<String> {
    let starts = worker.warmth.map(|it| format!("{}/{}/{}", it.parked, it.forked, it.cold));
    let warm = worker
        .warmth
        .map(|it| format!("{} of {} MiB in {}", it.memory_mib, it.memory_mib_max, it.compartments));
    vec![
        worker.id.clone(),
        worker.name.clone(),
        output::or_dash(worker.token.as_deref()),
        worker.version.clone(),
        worker.running.to_string(),
        worker.capacity.to_string(),
        format!("{} MiB", worker.memory_mib),
        if worker.draining { "draining" } else { "working" }.to_owned(),
        worker.since.clone(),
        output::or_dash(starts.as_deref()),
        output::or_dash(warm.as_deref()),
    ]
}

//! `bulkhead run`

use bulkhead_api::headers::{EXECUTION_ID, IDEMPOTENCY_KEY};
use bulkhead_api::{Accepted, Op};
use bulkhead_client::{ClientError, Request};
use serde_json::Value;

use crate::cli::Run;
use crate::context::{Context, block_on};
use crate::verbs::argument;
use crate::{exit, output};

pub(crate) fn run(typed: &Run, context: &Context) -> anyhow::Result<u8> {
    let client = context.tenant()?;
    let (integration, name) = &typed.function;
    let mut request = Request::new(Op::RunAction, &[integration, name])
        .connection(typed.connection.as_deref())
        .json(&argument(&typed.input)?);
    if let Some(key) = &typed.idempotency_key {
        request = request.header(IDEMPOTENCY_KEY, key);
    }
    if typed.detach {
        request = request.header("prefer", "respond-async");
    }
    let answer = match block_on(async { Ok(client.send(request).await) })? {
        Ok(answer) => answer,
        Err(error) => return failed(error, context),
    };
    if let Some(execution) = answer.header(EXECUTION_ID) {
        output::say(&format!("execution {execution}"));
    }
    if answer.status == 202 {
        let accepted: Accepted = answer.json()?;
        if context.json { output::json(&accepted)? } else { output::line(&accepted.execution_id)? }
    } else {
        output::json(&answer.json::<Value>()?)?;
    }
    Ok(exit::DONE)
}

/// What the author attached to a failure is data.
fn failed(error: ClientError, context: &Context) -> anyhow::Result<u8> {
    let ClientError::Api { detail, execution_id, .. } = &error else { return Err(error.into()) };
    if context.json {
        output::json(detail)?;
    } else if let Some(payload) = &detail.payload {
        output::json(payload)?;
    }
    if let Some(execution) = execution_id {
        output::say(&format!(
            "execution {execution}: `bulkhead executions show {execution}` tells more"
        ));
    }
    Err(error.into())
}

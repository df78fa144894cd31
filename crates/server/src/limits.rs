//! Limits on what runs at the same time, pauses, and repeating dead letters.

use axum::extract::State;
use bulkhead_api as api;
use bulkhead_engine::{Gate, GateChange, GateOf, REPLAYED_MAX};
use bulkhead_types::{
    ConnectionId, FunctionKey, FunctionKind, FunctionName, IdError, IntegrationId, TenantId,
};

use crate::app::App;
use crate::error::ApiError;
use crate::executions::Filter;
use crate::extract::{Caller, Json};

/// The longest name of a key, in bytes.
const KEY_BYTES_MAX: usize = 255;

pub(crate) async fn list(
    State(app): State<App>,
    Caller(tenant): Caller,
) -> Result<axum::Json<api::LimitList>, ApiError> {
    let gates = app.inner.engine.gates(&tenant).await?;
    Ok(axum::Json(api::LimitList { limits: gates.into_iter().map(limit).collect() }))
}

pub(crate) async fn set(
    State(app): State<App>,
    Caller(tenant): Caller,
    Json(set): Json<api::SetLimit>,
) -> Result<axum::Json<api::Limit>, ApiError> {
    let of = gate_of(&tenant, &set.of, &set.name)?;
    if matches!(of, GateOf::Function(_)) && set.running_max.is_some() {
        let message = "how many of a function run at the same time is what its author declares: \
                       `concurrency: { max: … }`; here it can be paused and resumed";
        return Err(ApiError::new("invalid_body", message));
    }
    let running_max = set.running_max.map(api::RunningMax::number);
    let change = GateChange { running_max, paused: set.paused };
    Ok(axum::Json(limit(app.inner.engine.set_gate(of, change).await?)))
}

pub(crate) async fn replay(
    State(app): State<App>,
    Caller(tenant): Caller,
    Json(replay): Json<Option<api::Replay>>,
) -> Result<axum::Json<api::Replayed>, ApiError> {
    let api::Replay { function, kind, error, connection, since, until, max } =
        replay.unwrap_or_default();
    let max = max.unwrap_or(REPLAYED_MAX);
    if !(1..=REPLAYED_MAX).contains(&max) {
        let message = format!("max is a number from 1 to {REPLAYED_MAX}");
        return Err(ApiError::new("invalid_body", message));
    }
    let filter = Filter { function, kind, error, connection, since, until, ..Filter::default() };
    let replayed = app.inner.engine.replay(&tenant, filter.resolve()?, max).await?;
    let one = |(dead, execution): (_, _)| api::ReplayedOne {
        dead: String::from(dead),
        execution_id: String::from(execution),
    };
    Ok(axum::Json(api::Replayed {
        replayed: replayed.executions.into_iter().map(one).collect(),
        more: replayed.more,
        queue_full_retry_after_s: replayed.queue_full.map(|after| after.as_secs()),
    }))
}

/// What `of` and `name` are about.
fn gate_of(tenant: &TenantId, of: &str, name: &str) -> Result<GateOf, ApiError> {
    let invalid = |what: &str| ApiError::new("invalid_body", what.to_owned());
    let bad_name = |error: IdError| invalid(&format!("name: {error}"));
    let parts: Vec<&str> = name.split('/').collect();
    match (of, &parts[..]) {
        ("function", _) => {
            function_named(tenant, name).map(GateOf::Function).map_err(|why| invalid(&why))
        }
        ("connection", [integration, connection]) => Ok(GateOf::Connection(
            tenant.clone(),
            IntegrationId::parse(integration).map_err(bad_name)?,
            ConnectionId::parse(connection).map_err(bad_name)?,
        )),
        ("connection", _) => Err(invalid("a connection's name is INTEGRATION/CONNECTION")),
        ("key", _) if (1..=KEY_BYTES_MAX).contains(&name.len()) => {
            Ok(GateOf::Key(tenant.clone(), name.to_owned()))
        }
        ("key", _) => Err(invalid("a key's name has 1 to 255 bytes")),
        _ => Err(invalid("of is function, connection or key")),
    }
}

/// The function of a tenant that `INTEGRATION/KIND/NAME` names, or why it names none.
pub(crate) fn function_named(tenant: &TenantId, name: &str) -> Result<FunctionKey, String> {
    let parts: Vec<&str> = name.split('/').collect();
    let [integration, kind, name] = parts[..] else {
        return Err("a function's name is INTEGRATION/KIND/NAME".to_owned());
    };
    let bad_name = |error: IdError| format!("name: {error}");
    Ok(FunctionKey {
        tenant: tenant.clone(),
        integration: IntegrationId::parse(integration).map_err(bad_name)?,
        kind: FunctionKind::parse(kind).ok_or("kind is action, sync, webhook or event")?,
        name: FunctionName::parse(name).map_err(bad_name)?,
    })
}

fn limit(gate: Gate) -> api::Limit {
    let (of, name) = match gate.key.split_once('/') {
        Some(("f", name)) => ("function", name),
        Some(("c", name)) => ("connection", name),
        Some((_, name)) => ("key", name),
        None => ("key", gate.key.as_str()),
    };
    api::Limit {
        of: of.to_owned(),
        name: name.to_owned(),
        running_max: gate.running_max,
        running: gate.running,
        paused: gate.paused,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    #[test]
    fn a_limit_is_named_on_the_wire_as_it_is_set() {
        let acme = TenantId::parse("acme").unwrap();
        for (of, name) in
            [("function", "github/sync/issues"), ("connection", "github/c1"), ("key", "a/b")]
        {
            let key = gate_of(&acme, of, name).unwrap().key();
            let told = limit(Gate::new(key, None));
            assert_eq!((told.of.as_str(), told.name.as_str()), (of, name));
        }
        for (of, name) in
            [("function", "issues"), ("connection", "c1"), ("key", ""), ("tenant", "x")]
        {
            assert!(gate_of(&acme, of, name).is_err(), "{of} {name}");
        }
        assert!(gate_of(&acme, "function", "github/dance/issues").is_err());
    }
}

//! Looking at executions, cancelling and repeating them.

use axum::extract::State;
use axum::response::Response;
use bulkhead_api::{ExecutionList, ExecutionShow};
use bulkhead_engine::{CancelOutcome, ExecutionFilter};
use bulkhead_types::{
    ExecutionId, ExecutionState, FunctionKind, FunctionName, IntegrationId, TenantId,
};
use serde::Deserialize;

use crate::actions::accepted_response;
use crate::app::App;
use crate::error::ApiError;
use crate::extract::{Caller, Names, Query, page_length, query_id, query_time};
use crate::wire;

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Filter {
    pub(crate) function: Option<String>,
    pub(crate) kind: Option<String>,
    pub(crate) state: Option<String>,
    pub(crate) connection: Option<String>,
    pub(crate) since: Option<String>,
    pub(crate) until: Option<String>,
    pub(crate) error: Option<String>,
    pub(crate) cursor: Option<String>,
    pub(crate) limit: Option<usize>,
}

impl Filter {
    pub(crate) fn resolve(self) -> Result<ExecutionFilter, ApiError> {
        let invalid = |what: &str| ApiError::new("invalid_query", what.to_owned());
        let (integration, name) = match self.function.as_deref().map(|text| text.split_once('/')) {
            Some(Some((integration, name))) => {
                (Some(integration.to_owned()), Some(name.to_owned()))
            }
            Some(None) => (None, self.function),
            None => (None, None),
        };
        let kind = self.kind.as_deref().map(|text| {
            FunctionKind::parse(text)
                .ok_or_else(|| invalid("kind is action, sync, webhook or event"))
        });
        let state = self.state.as_deref().map(|text| {
            let all = ExecutionState::ALL.map(ExecutionState::as_str).join(", ");
            ExecutionState::parse(text).ok_or_else(|| invalid(&format!("state is one of {all}")))
        });
        let cursor = query_id::<ExecutionId>(self.cursor);
        Ok(ExecutionFilter {
            integration: query_id::<IntegrationId>(integration)?,
            kind: kind.transpose()?,
            name: query_id::<FunctionName>(name)?,
            state: state.transpose()?,
            connection: query_id(self.connection)?,
            since: query_time(self.since.as_deref())?,
            until: query_time(self.until.as_deref())?,
            dead: false,
            error_code: self.error,
            cursor: cursor
                .map_err(|_| ApiError::new("invalid_cursor", "no page gave this cursor"))?,
            limit: page_length(self.limit, 50, 200)?,
        })
    }
}

pub(crate) async fn list(
    State(app): State<App>,
    Caller(tenant): Caller,
    Query(filter): Query<Filter>,
) -> Result<axum::Json<ExecutionList>, ApiError> {
    page(&app, &tenant, filter.resolve()?).await
}

pub(crate) async fn list_dead(
    State(app): State<App>,
    Caller(tenant): Caller,
    Query(filter): Query<Filter>,
) -> Result<axum::Json<ExecutionList>, ApiError> {
    page(&app, &tenant, ExecutionFilter { dead: true, ..filter.resolve()? }).await
}

async fn page(
    app: &App,
    tenant: &TenantId,
    filter: ExecutionFilter,
) -> Result<axum::Json<ExecutionList>, ApiError> {
    let page = app.inner.engine.executions(tenant, filter).await?;
    Ok(axum::Json(ExecutionList {
        executions: page.executions.iter().map(wire::execution).collect(),
        next_cursor: page.next_cursor.map(String::from),
    }))
}

pub(crate) async fn show(
    State(app): State<App>,
    Caller(tenant): Caller,
    names: Names,
) -> Result<axum::Json<ExecutionShow>, ApiError> {
    let id: ExecutionId = names.get("id")?;
    let engine = &app.inner.engine;
    let execution = engine.execution(&tenant, &id).await?.ok_or_else(|| not_found(&id))?;
    let attempts = engine.attempts(&tenant, &id).await?;
    let timeline = engine.timeline(&tenant, &id).await?;
    Ok(axum::Json(ExecutionShow {
        attempt_list: attempts.into_iter().map(wire::attempt).collect(),
        timeline: timeline.into_iter().map(wire::event).collect(),
        input: execution.input.clone(),
        output: execution.output.clone(),
        execution: wire::execution(&execution),
    }))
}

pub(crate) async fn cancel(
    State(app): State<App>,
    Caller(tenant): Caller,
    names: Names,
) -> Result<Response, ApiError> {
    let id: ExecutionId = names.get("id")?;
    match app.inner.engine.cancel(&tenant, &id).await? {
        CancelOutcome::Cancelled | CancelOutcome::Asked => Ok(accepted_response(&app, &id, false)),
        CancelOutcome::AlreadyFinal(state) => {
            let message = format!("the execution has ended already: it {}", state.as_str());
            Err(ApiError::new("execution_final", message).about(&id))
        }
    }
}

pub(crate) async fn retry(
    State(app): State<App>,
    Caller(tenant): Caller,
    names: Names,
) -> Result<Response, ApiError> {
    let id: ExecutionId = names.get("id")?;
    let again = app.inner.engine.retry(&tenant, &id).await?;
    Ok(accepted_response(&app, &again, false))
}

pub(crate) fn not_found(id: &ExecutionId) -> ApiError {
    ApiError::new("execution_not_found", format!("there is no execution {id}"))
}

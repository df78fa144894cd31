//! Records that syncs saved.

use axum::extract::State;
use bulkhead_api::{ModelList, RecordPage};
use bulkhead_platform::RecordQuery;
use serde::Deserialize;

use crate::app::App;
use crate::error::ApiError;
use crate::extract::{Caller, Query, page_length, query_id, query_time};
use crate::wire;

/// Ids in one question; longer ones make URLs that proxies cut.
const IDS_MAX: usize = 100;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Which {
    connection_id: Option<String>,
    integration: Option<String>,
    model: Option<String>,
    cursor: Option<String>,
    limit: Option<usize>,
    filter: Option<String>,
    modified_after: Option<String>,
    ids: Option<String>,
}

pub(crate) async fn list(
    State(app): State<App>,
    Caller(tenant): Caller,
    Query(which): Query<Which>,
) -> Result<axum::Json<RecordPage>, ApiError> {
    let page = app.inner.platform.records(&tenant, which.resolve()?).await?;
    Ok(axum::Json(RecordPage { records: page.records, next_cursor: page.next_cursor }))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Whose {
    connection_id: Option<String>,
    integration: Option<String>,
}

pub(crate) async fn counts(
    State(app): State<App>,
    Caller(tenant): Caller,
    Query(whose): Query<Whose>,
) -> Result<axum::Json<ModelList>, ApiError> {
    let missing = || ApiError::new("invalid_query", "connection_id is missing");
    let connection = query_id(whose.connection_id)?.ok_or_else(missing)?;
    let integration = query_id(whose.integration)?;
    let counts =
        app.inner.platform.record_counts(&tenant, integration.as_ref(), &connection).await?;
    Ok(axum::Json(ModelList { models: counts.into_iter().map(wire::model_count).collect() }))
}

impl Which {
    fn resolve(self) -> Result<RecordQuery, ApiError> {
        let missing = |what| ApiError::new("invalid_query", format!("{what} is missing"));
        let parts = |text: Option<String>| -> Vec<String> {
            let text = text.unwrap_or_default();
            let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
            parts.map(str::to_owned).collect()
        };
        let ids = parts(self.ids);
        if ids.len() > IDS_MAX {
            return Err(ApiError::new("invalid_query", format!("at most {IDS_MAX} ids")));
        }
        let actions: Vec<_> = parts(self.filter).iter().map(|part| part.to_lowercase()).collect();
        if let Some(odd) =
            actions.iter().find(|a| !["added", "updated", "deleted"].contains(&a.as_str()))
        {
            let message = format!("filter knows added, updated and deleted, not {odd:?}");
            return Err(ApiError::new("invalid_query", message));
        }
        Ok(RecordQuery {
            integration: query_id(self.integration)?,
            connection: query_id(self.connection_id)?.ok_or_else(|| missing("connection_id"))?,
            model: self.model.ok_or_else(|| missing("model"))?,
            cursor: self.cursor,
            limit: page_length(self.limit, 100, 1_000)?,
            actions,
            modified_after: query_time(self.modified_after.as_deref())?,
            ids,
        })
    }
}

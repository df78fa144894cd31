//! What handlers take: bodies, queries, names in the path, headers, and whose request it is.

use std::time::Duration;

use axum::extract::rejection::BytesRejection;
use axum::extract::{FromRequest, FromRequestParts, Query as AxumQuery, RawPathParams, Request};
use bulkhead_types::{IdError, TenantId, Timestamp};
use bytes::Bytes;
use http::HeaderMap;
use http::request::Parts;
use serde::de::DeserializeOwned;

use crate::error::ApiError;

/// How long a body may take to arrive; a slow sender holds one of the request slots.
const BODY_DEADLINE: Duration = Duration::from_secs(60);

/// The tenant whose key came with the request. Put there by the gate, for tenants' routes only.
#[derive(Debug, Clone)]
pub(crate) struct Caller(pub(crate) TenantId);

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let missing =
            || ApiError::internal(&"a tenant's handler stands on a route that is no tenant's");
        parts.extensions.get::<Self>().cloned().ok_or_else(missing)
    }
}

/// A body as it came.
pub(crate) struct RawBody(pub(crate) Bytes);

impl<S: Send + Sync> FromRequest<S> for RawBody {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let body = tokio::time::timeout(BODY_DEADLINE, Bytes::from_request(request, state)).await;
        let seconds = BODY_DEADLINE.as_secs();
        let body = body.map_err(|_| {
            ApiError::new("request_timeout", format!("the body did not arrive within {seconds} s"))
        })?;
        body.map(Self).map_err(|rejection| match rejection {
            BytesRejection::FailedToBufferBody(inner) if inner.status().as_u16() == 413 => {
                ApiError::new("body_too_large", "the body is larger than this route allows")
            }
            _ => ApiError::new("invalid_body", "the body broke off"),
        })
    }
}

/// A JSON body. An empty one is `null`.
pub(crate) struct Json<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Json<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let RawBody(body) = RawBody::from_request(request, state).await?;
        let text: &[u8] = if body.is_empty() { b"null" } else { &body };
        serde_json::from_slice(text).map(Self).map_err(|error| match error.classify() {
            serde_json::error::Category::Data => ApiError::new("invalid_body", error.to_string()),
            _ => ApiError::new("invalid_json", format!("the body is not JSON: {error}")),
        })
    }
}

/// A query string. Unknown parameters are refused where `T` refuses them.
pub(crate) struct Query<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let query = AxumQuery::<T>::from_request_parts(parts, state).await;
        query
            .map(|AxumQuery(query)| Self(query))
            .map_err(|rejection| ApiError::new("invalid_query", rejection.body_text()))
    }
}

/// The names in the path.
pub(crate) struct Names(Vec<(String, String)>);

impl<S: Send + Sync> FromRequestParts<S> for Names {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let params =
            RawPathParams::from_request_parts(parts, state).await.map_err(|rejection| {
                ApiError::new(
                    "invalid_name",
                    format!("a name in the path can't be read: {rejection}"),
                )
            })?;
        Ok(Self(params.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()))
    }
}

impl Names {
    /// The text at a place of the path.
    pub(crate) fn text(&self, place: &str) -> String {
        self.0.iter().find(|(name, _)| name == place).map_or_else(String::new, |(_, v)| v.clone())
    }

    /// The id at a place of the path.
    pub(crate) fn get<T: TryFrom<String, Error = IdError>>(
        &self,
        place: &str,
    ) -> Result<T, ApiError> {
        T::try_from(self.text(place)).map_err(ApiError::from)
    }
}

/// A header as text, if it is there.
pub(crate) fn header<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a str>, ApiError> {
    let Some(value) = headers.get(name) else { return Ok(None) };
    let readable = value.to_str().map(str::trim);
    readable
        .map(Some)
        .map_err(|_| ApiError::new("invalid_header", format!("{name} is not ASCII text")))
}

/// A header as an id, if it is there.
pub(crate) fn header_id<T: TryFrom<String, Error = IdError>>(
    headers: &HeaderMap,
    name: &str,
) -> Result<Option<T>, ApiError> {
    let id = header(headers, name)?.map(|text| T::try_from(text.to_owned())).transpose();
    id.map_err(|error| ApiError::new("invalid_header", format!("{name}: {error}")))
}

/// An id in a query, if it is there.
pub(crate) fn query_id<T: TryFrom<String, Error = IdError>>(
    value: Option<String>,
) -> Result<Option<T>, ApiError> {
    let id = value.map(T::try_from).transpose();
    id.map_err(|error| ApiError::new("invalid_query", error.to_string()))
}

/// A time in a query: RFC 3339, or milliseconds since 1970.
pub(crate) fn query_time(value: Option<&str>) -> Result<Option<Timestamp>, ApiError> {
    let Some(text) = value else { return Ok(None) };
    let millis = text
        .parse::<i64>()
        .ok()
        .or_else(|| text.parse::<jiff::Timestamp>().ok().map(jiff::Timestamp::as_millisecond));
    let why = || format!("{text:?} is no time: write 2026-01-31T12:00:00Z or milliseconds");
    let millis = millis.ok_or_else(|| ApiError::new("invalid_query", why()))?;
    Ok(Some(Timestamp::from_millis(millis)))
}

/// How long a page is: `asked`, within 1 and `max`.
pub(crate) fn page_length(
    asked: Option<usize>,
    usual: usize,
    max: usize,
) -> Result<usize, ApiError> {
    match asked {
        None => Ok(usual),
        Some(length) if (1..=max).contains(&length) => Ok(length),
        Some(_) => Err(ApiError::new("invalid_query", format!("limit must be from 1 to {max}"))),
    }
}

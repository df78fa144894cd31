//! The proxy: a request to an external API with a connection's credentials added.

use axum::response::Response;

use crate::error::ApiError;

pub(crate) async fn forward() -> Result<Response, ApiError> {
    Err(ApiError::new("not_supported", "the proxy route is not there yet"))
}

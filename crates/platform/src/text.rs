//! Values that the store keeps as the text of their JSON.

use bulkhead_store::StoreError;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::PlatformError;

pub(crate) fn to_text(value: &impl Serialize) -> Result<String, PlatformError> {
    let unwritable = |error: serde_json::Error| StoreError::Corrupt {
        table: "settings",
        what: error.to_string(),
    };
    Ok(serde_json::to_string(value).map_err(unwritable)?)
}

pub(crate) fn from_text<T: DeserializeOwned>(
    table: &'static str,
    text: &str,
) -> Result<T, PlatformError> {
    Ok(serde_json::from_str(text)
        .map_err(|error| StoreError::Corrupt { table, what: error.to_string() })?)
}

//! The catalogue of providers: what is known about well-known APIs, so that a tenant need only name one. One TOML
//! file per provider in `providers/`, compiled into the program and read once.
//!
//! An integration that names a provider takes from it what its tenant did not say, when it is made: what was made
//! stays as it is when the catalogue changes.
//!
//! Layout: `files` is the table of files, `template` fills in URLs, `pagination` is what the SDK pages by.

mod files;
mod template;

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde::{Deserialize, Serialize};

use crate::auth::AuthSettings;
use crate::webhooks::WebhookSettings;

pub(crate) use template::{Template, TemplateError, Variables};

/// One well-known API.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Provider {
    /// For people.
    pub display_name: String,
    /// Where its API is described.
    pub docs: String,
    /// Where its API is; `${name}` stands for a variable of the connection's `config`.
    pub base_url: String,
    /// Variables of the connection that URLs need.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub config: BTreeMap<String, ConfigVariable>,
    /// Sent with every request, unless the function says otherwise. Names in lower case.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// How requests are authorised.
    pub auth: AuthSettings,
    /// How its lists are paged through, where most of them are in one way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pagination: Option<Pagination>,
    /// Headers of its responses that say when to come back.
    #[serde(default)]
    pub retry: RetryHints,
    /// How its webhooks are signed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub webhook: Option<WebhookSettings>,
}

/// What a connection has to say so that its URLs are known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConfigVariable {
    /// What to put there, for people.
    pub what: String,
    /// What it may be.
    #[serde(default)]
    pub kind: VariableKind,
    /// Used when the connection says nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<String>,
}

/// What a variable may be. Credentials go to the host that a URL names: nothing that could move the end of the host
/// (`/`, `@`, `#`, `:`, …) gets through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VariableKind {
    /// Letters, digits, `-` and `_`: one label of a host name, or one segment of a path.
    #[default]
    Label,
    /// A host name, without a port.
    Host,
}

/// How a list is paged through: the defaults of the SDK's `paginate`, in its words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pagination {
    /// How.
    #[serde(rename = "type")]
    pub kind: PaginationKind,
    /// Where the next cursor goes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor_name_in_request: Option<String>,
    /// Where the next cursor is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor_path_in_response: Option<String>,
    /// The relation of the `Link` header.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link_rel_in_response_header: Option<String>,
    /// Where the next link is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link_path_in_response_body: Option<String>,
    /// Where the offset goes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offset_name_in_request: Option<String>,
    /// The first offset.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offset_start_value: Option<u32>,
    /// `by-response-size` or `per-page`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offset_calculation_method: Option<String>,
    /// Where the items are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response_path: Option<String>,
    /// Where the size of a page goes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit_name_in_request: Option<String>,
    /// The size of a page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}

/// Ways of paging.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PaginationKind {
    /// The response has a cursor for the next page.
    Cursor,
    /// The response has the next page's URL.
    Link,
    /// The request counts.
    Offset,
}

/// Headers of responses that say when to come back, names in lower case.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RetryHints {
    /// A wait: seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    /// A moment: seconds since the epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<String>,
    /// Requests left until then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remaining: Option<String>,
}

static PROVIDERS: LazyLock<BTreeMap<&'static str, Provider>> = LazyLock::new(|| {
    let read = |(name, text): &(&'static str, &str)| match toml::from_str(text) {
        Ok(provider) => Some((*name, provider)),
        // A test reads every file: this is said by a program that was built without it.
        Err(error) => {
            tracing::error!(provider = name, %error, "a provider's file can't be read");
            None
        }
    };
    files::FILES.iter().filter_map(read).collect()
});

/// Every provider, by name.
#[must_use]
pub fn providers() -> &'static BTreeMap<&'static str, Provider> {
    &PROVIDERS
}

/// The provider called `name`.
#[must_use]
pub fn provider(name: &str) -> Option<&'static Provider> {
    PROVIDERS.get(name)
}

#[cfg(test)]
mod tests;

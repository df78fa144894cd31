//! How an integration's API is told who asks, and what a connection has for that.

use std::collections::BTreeMap;

use bulkhead_egress::HostPattern;
use bulkhead_types::Timestamp;
use serde::{Deserialize, Serialize};

/// How an integration's API wants to be told who asks. Credentials are the connection's; this says where they go.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(tag = "mode", rename_all = "snake_case")]
pub enum AuthMode {
    /// Nothing is added.
    #[default]
    None,
    /// `Authorization: Bearer TOKEN`; the connection has `token`.
    Bearer,
    /// `Authorization: Basic …`; the connection has `username` and `password`.
    Basic,
    /// A key in a header or a query parameter; the connection has `api_key`.
    ApiKey {
        /// Header that gets it, such as `X-Api-Key`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        header: Option<String>,
        /// Query parameter that gets it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        query: Option<String>,
        /// Goes before the key, such as `Token `.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        prefix: String,
    },
    /// Headers of the connection's own: it has `headers`, name → value.
    Headers,
    /// OAuth2's authorization code flow with PKCE (RFC 6749, 7636): the connection has `token` and, mostly,
    /// `refresh_token` and `expires_at`, from the connect page or from elsewhere.
    Oauth2(OAuth2),
    /// OAuth2's client credentials flow: the client is the integration's, or the connection's own with `client_id`
    /// and `client_secret`.
    Oauth2ClientCredentials(OAuth2),
}

impl AuthMode {
    /// What it says about OAuth2.
    #[must_use]
    pub const fn oauth2(&self) -> Option<&OAuth2> {
        match self {
            Self::Oauth2(oauth) | Self::Oauth2ClientCredentials(oauth) => Some(oauth),
            _ => None,
        }
    }
}

/// An OAuth2 server and our client there. The client's secret is apart, sealed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OAuth2 {
    /// Where the user is sent; may have `${variables}`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub authorization_url: String,
    /// Where tokens are from; may have `${variables}`.
    pub token_url: String,
    /// Our client there.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub client_id: String,
    /// Asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub scopes: Vec<String>,
    /// Between scopes: a space, for some a comma.
    #[serde(skip_serializing_if = "is_space")]
    pub scope_separator: String,
    /// Whether a proof key goes along.
    #[serde(skip_serializing_if = "is_true")]
    pub pkce: bool,
    /// Where the client's id and secret go.
    #[serde(skip_serializing_if = "is_body")]
    pub token_auth: TokenAuth,
    /// Go along when the user is sent to `authorization_url`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub authorization_params: BTreeMap<String, String>,
    /// Go along to `token_url`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub token_params: BTreeMap<String, String>,
    /// Header that gets the token as it is, where `Authorization: Bearer` is not it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_header: Option<String>,
    /// How long a token lives, in seconds, when the server does not say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_in_s: Option<u64>,
}

impl Default for OAuth2 {
    fn default() -> Self {
        Self {
            authorization_url: String::new(),
            token_url: String::new(),
            client_id: String::new(),
            scopes: Vec::new(),
            scope_separator: " ".to_owned(),
            pkce: true,
            token_auth: TokenAuth::Body,
            authorization_params: BTreeMap::new(),
            token_params: BTreeMap::new(),
            token_header: None,
            expires_in_s: None,
        }
    }
}

fn is_space(text: &str) -> bool {
    text == " "
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
const fn is_true(value: &bool) -> bool {
    *value
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
const fn is_body(auth: &TokenAuth) -> bool {
    matches!(auth, TokenAuth::Body)
}

/// How a client says who it is to the token endpoint (RFC 6749, section 2.3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TokenAuth {
    /// `client_id` and `client_secret` in the form.
    #[default]
    Body,
    /// `Authorization: Basic`.
    Basic,
}

/// How credentials are added to requests, and where they may go.
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct AuthSettings {
    /// How.
    #[serde(flatten)]
    pub mode: AuthMode,
    /// Hosts that get credentials besides that of `base_url`, such as `*.googleapis.com`; over TLS only.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<HostPattern>,
    /// Secret of our OAuth2 client. Write-only: never given back, and kept apart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_secret: Option<String>,
}

impl std::fmt::Debug for AuthSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AuthSettings")
            .field("mode", &self.mode)
            .field("hosts", &self.hosts)
            .field("client_secret", &self.client_secret.as_ref().map(|_| "…"))
            .finish()
    }
}

/// One end user's credentials, shaped by the integration's [`AuthMode`]. Not printable by mistake.
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Credentials {
    /// For [`AuthMode::Bearer`] and OAuth2.
    #[serde(skip_serializing_if = "Option::is_none", alias = "access_token")]
    pub token: Option<String>,
    /// For [`AuthMode::Basic`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// For [`AuthMode::Basic`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password: Option<String>,
    /// For [`AuthMode::ApiKey`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api_key: Option<String>,
    /// For [`AuthMode::Headers`].
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// For [`AuthMode::Oauth2`]: renews `token`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refresh_token: Option<String>,
    /// For OAuth2: when `token` ends, in milliseconds since 1970; absent if it does not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<i64>,
    /// For OAuth2: what was granted, as the server said it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
    /// For [`AuthMode::Oauth2ClientCredentials`]: the connection's own client.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    /// Its secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_secret: Option<String>,
}

impl Credentials {
    /// The field that `auth` needs and these credentials lack.
    #[must_use]
    pub fn missing(&self, auth: &AuthMode) -> Option<&'static str> {
        match auth {
            AuthMode::Bearer if self.token.is_none() => Some("token"),
            AuthMode::Basic if self.username.is_none() => Some("username"),
            AuthMode::Basic if self.password.is_none() => Some("password"),
            AuthMode::ApiKey { .. } if self.api_key.is_none() => Some("api_key"),
            AuthMode::Headers if self.headers.is_empty() => Some("headers"),
            AuthMode::Oauth2(_) if self.token.is_none() && self.refresh_token.is_none() => {
                Some("token")
            }
            AuthMode::Oauth2ClientCredentials(oauth)
                if oauth.client_id.is_empty() && self.client_id.is_none() =>
            {
                Some("client_id")
            }
            _ => None,
        }
    }

    /// When the token ends.
    #[must_use]
    pub fn ends(&self) -> Option<Timestamp> {
        self.expires_at.map(Timestamp::from_millis)
    }
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Credentials(…)")
    }
}

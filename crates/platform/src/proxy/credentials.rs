//! What credentials are added to a request, and to which requests. Pure.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bulkhead_egress::{Host, HostPattern};
use http::{HeaderMap, HeaderName, HeaderValue, header};
use url::{Origin, Url};

use crate::auth::{AuthMode, Credentials};
use crate::model::IntegrationSettings;

/// Shorter secrets are not looked for in responses: they would be found everywhere.
const SECRET_BYTES_MIN: usize = 8;

/// What is added, and where.
pub(super) struct Attach {
    origin: Option<Origin>,
    hosts: Vec<HostPattern>,
    headers: Vec<(String, String)>,
    query: Option<(String, String)>,
}

impl Attach {
    /// `base_url` is the integration's for this connection: its origin gets the credentials.
    pub(super) fn new(
        settings: Option<&IntegrationSettings>,
        base_url: Option<&str>,
        credentials: Option<&Credentials>,
    ) -> Self {
        let mut attach = Self { origin: None, hosts: vec![], headers: vec![], query: None };
        let base = base_url.and_then(|base| Url::parse(base).ok());
        attach.origin = base.map(|base| base.origin());
        let (Some(settings), Some(credentials)) = (settings, credentials) else { return attach };
        attach.hosts.clone_from(&settings.auth.hosts);
        let text = |field: &Option<String>| field.clone().unwrap_or_default();
        let authorization = header::AUTHORIZATION.as_str().to_owned();
        match &settings.auth.mode {
            AuthMode::None => {}
            AuthMode::Bearer => {
                attach.headers.push((authorization, format!("Bearer {}", text(&credentials.token))))
            }
            AuthMode::Basic => {
                let pair =
                    format!("{}:{}", text(&credentials.username), text(&credentials.password));
                attach.headers.push((authorization, format!("Basic {}", STANDARD.encode(pair))));
            }
            AuthMode::ApiKey { header, query, prefix } => {
                let value = format!("{prefix}{}", text(&credentials.api_key));
                attach.query = query.clone().map(|name| (name, value.clone()));
                attach.headers.extend(header.clone().map(|name| (name, value)));
            }
            AuthMode::Headers => attach.headers.extend(credentials.headers.clone()),
            AuthMode::Oauth2(oauth) | AuthMode::Oauth2ClientCredentials(oauth) => {
                let token = text(&credentials.token);
                attach.headers.push(match &oauth.token_header {
                    Some(name) => (name.clone(), token),
                    None => (authorization, format!("Bearer {token}")),
                });
            }
        }
        attach
    }

    /// Adds the credentials, if they may go to `url`.
    pub(super) fn to(&self, url: &mut Url, headers: &mut HeaderMap) -> Result<(), String> {
        if !self.may_go_to(url) {
            return Ok(());
        }
        for (name, value) in &self.headers {
            let name = HeaderName::try_from(name.as_str())
                .map_err(|_| "a credential's header name is none")?;
            let mut value = HeaderValue::try_from(value)
                .map_err(|_| "a credential can't be sent in a header")?;
            value.set_sensitive(true);
            headers.insert(name, value);
        }
        if let Some((name, value)) = &self.query {
            let kept: Vec<(String, String)> =
                url.query_pairs().into_owned().filter(|(key, _)| key != name).collect();
            url.query_pairs_mut().clear().extend_pairs(kept).append_pair(name, value);
        }
        Ok(())
    }

    /// Whether anything would be added at all.
    pub(super) fn is_empty(&self) -> bool {
        self.headers.is_empty() && self.query.is_none()
    }

    /// Whether it is the integration's own origin.
    pub(super) fn is_home(&self, url: &Url) -> bool {
        self.origin.as_ref() == Some(&url.origin())
    }

    /// The integration's own origin; or a host that it names, over TLS only.
    pub(super) fn may_go_to(&self, url: &Url) -> bool {
        if self.is_empty() {
            return false;
        }
        if self.origin.as_ref() == Some(&url.origin()) {
            return true;
        }
        let host = url.host_str().and_then(|host| Host::parse(host).ok());
        url.scheme() == "https"
            && host.is_some_and(|host| self.hosts.iter().any(|pattern| pattern.matches(&host)))
    }

    /// What must not come back in a response: each secret as it was sent, and as a URL has it.
    pub(super) fn secrets(&self) -> Vec<String> {
        let mut secrets = Vec::new();
        for (_, value) in self.headers.iter().chain(&self.query) {
            // "Bearer x" and "Basic x" are looked for without their scheme.
            let bare = value.split_once(' ').map_or(value.as_str(), |(_, bare)| bare);
            secrets.push(bare.to_owned());
            let decoded =
                STANDARD.decode(bare).ok().and_then(|bytes| String::from_utf8(bytes).ok());
            if let Some((_, password)) = decoded.as_deref().and_then(|pair| pair.split_once(':')) {
                secrets.push(password.to_owned());
            }
        }
        secrets.retain(|secret| secret.len() >= SECRET_BYTES_MIN);
        // A URL has it encoded, and APIs like to say what they were asked for.
        let encoded = secrets
            .iter()
            .map(|secret| url::form_urlencoded::byte_serialize(secret.as_bytes()).collect());
        let encoded: Vec<String> = encoded.filter(|encoded| !secrets.contains(encoded)).collect();
        secrets.extend(encoded);
        secrets
    }
}

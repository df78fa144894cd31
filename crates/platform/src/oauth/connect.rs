//! Connecting: a product makes a session, its user opens the session's page, is sent to the provider or fills in a
//! form, and comes back with a connection.
//!
//! The page's URL is what its user shows; it counts for a while, and until there is a connection. What the provider
//! gives back (`state`) counts once, and only in the browser that was sent there, which shows a cookie: nobody can be
//! made to finish another's way, or have theirs finished. What a connection says of itself (`config`) comes with the
//! session, from the product, never from the page: the client's secret may go where it says.

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bulkhead_store::catalog::{self, ConnectRow};
use bulkhead_types::{ConnectionId, IntegrationId, TenantId, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use url::Url;

use super::token::Grant;
use crate::auth::{AuthMode, Credentials};
use crate::catalogue::Variables;
use crate::connections::NewConnection;
use crate::error::PlatformError;
use crate::integrations::KnownIntegration;
use crate::platform::Platform;
use crate::text::{from_text, to_text};

/// How long a session counts, unless its product says: 1 minute to 1 day.
const TTL: Duration = Duration::from_secs(30 * 60);
const TTL_MAX: Duration = Duration::from_secs(24 * 60 * 60);
const TTL_MIN: Duration = Duration::from_secs(60);

/// Bytes of what a page or a provider gives; longer is nothing of ours.
const GIVEN_BYTES_MAX: usize = 8 * 1024;

/// A way into a connection, to be opened for a user.
#[derive(Debug, Clone, Default)]
pub struct NewConnectSession {
    /// The connection's metadata.
    pub metadata: Value,
    /// Values of the variables in the integration's URLs.
    pub config: Variables,
    /// Asked for besides the integration's own.
    pub scopes: Vec<String>,
    /// Where the user goes in the end, with `connection_id` and `integration`, or `error`, added to its query.
    pub redirect_url: Option<String>,
    /// How long it counts: 1 minute to 1 day, 30 minutes unless said.
    pub ttl: Option<Duration>,
}

/// A session just made: the only time that its URL is told.
#[derive(Clone)]
pub struct ConnectSession {
    /// Where its user goes.
    pub url: String,
    /// It counts until then.
    pub expires_at: Timestamp,
}

/// What a session's page shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectPage {
    /// The integration's name, for people.
    pub display_name: String,
    /// What to fill in; empty sends the user to the provider.
    pub fields: Vec<&'static str>,
}

/// The user goes to the provider.
#[derive(Clone)]
pub struct ConnectStart {
    /// Where to.
    pub url: String,
    /// What the browser keeps and shows at its return.
    pub cookie: String,
    /// How long it is good for.
    pub lives: Duration,
}

/// There is a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connected {
    /// To what.
    pub integration: IntegrationId,
    /// Its name.
    pub connection: ConnectionId,
    /// Where the user goes now.
    pub redirect_url: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct Settings {
    metadata: Value,
    config: Variables,
    scopes: Vec<String>,
    redirect_url: Option<String>,
}

/// What is kept of a user's way through the provider, sealed.
#[derive(Serialize, Deserialize)]
struct Way {
    verifier: String,
    browser: String,
}

/// A session, as it is found again.
struct Found {
    row: ConnectRow,
    settings: Settings,
    known: std::sync::Arc<KnownIntegration>,
}

impl Platform {
    /// Makes a session.
    ///
    /// # Errors
    /// `integration_not_found`, `invalid_body`; when the store fails.
    pub async fn create_connect_session(
        &self,
        tenant: &TenantId,
        integration: &IntegrationId,
        connection: &ConnectionId,
        session: NewConnectSession,
    ) -> Result<ConnectSession, PlatformError> {
        let known = self.known_integration(tenant, integration).await?;
        let settings = &known.integration.settings;
        settings.check_config(&session.config)?;
        fields(&settings.auth.mode)?;
        let invalid = |message: &str| PlatformError::invalid("invalid_body", message);
        if let Some(text) = &session.redirect_url {
            let url = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
            url.ok_or_else(|| invalid("redirect_url has to be an http or https URL"))?;
        }
        let ttl = session.ttl.unwrap_or(TTL);
        if !(TTL_MIN..=TTL_MAX).contains(&ttl) {
            return Err(invalid("a session counts for 1 minute to 1 day"));
        }
        let (token, now) = (self.random_hex(32), self.now());
        let NewConnectSession { metadata, config, scopes, redirect_url, .. } = session;
        let kept = Settings { metadata, config, scopes, redirect_url };
        let expires_at = now.after(ttl);
        let row = ConnectRow {
            token: digest(&token),
            tenant: tenant.clone(),
            integration: integration.clone(),
            connection: connection.clone(),
            settings: to_text(&kept)?,
            verifier: None,
            expires_at,
        };
        let work = move |tx: &_| {
            catalog::remove_expired_connect_sessions(tx, now)?;
            catalog::insert_connect_session(tx, &row)
        };
        self.db.write(move |tx| work(tx)).await?;
        Ok(ConnectSession { url: self.public(&format!("/connect/{token}")), expires_at })
    }

    /// What a session's page shows.
    ///
    /// # Errors
    /// `connect_session_not_found`; when the store fails.
    pub async fn connect_page(&self, token: &str) -> Result<ConnectPage, PlatformError> {
        let found = self.connect_session(token).await?;
        let settings = &found.known.integration.settings;
        Ok(ConnectPage {
            display_name: settings.display_name.clone(),
            fields: fields(&settings.auth.mode)?,
        })
    }

    /// Begins the way through the provider.
    ///
    /// # Errors
    /// `connect_session_not_found`, `invalid_body` when the integration is filled in, not gone through; when the store fails.
    pub async fn start_connect(&self, token: &str) -> Result<ConnectStart, PlatformError> {
        let found = self.connect_session(token).await?;
        let settings = &found.known.integration.settings;
        let AuthMode::Oauth2(oauth) = &settings.auth.mode else {
            return Err(PlatformError::invalid(
                "invalid_body",
                "this connection is made with a form",
            ));
        };
        let (state, browser) = (self.random_hex(32), self.random_hex(32));
        // 43 to 128 characters (RFC 7636, section 4.1).
        let way = Way { verifier: self.random_hex(32), browser };
        let url = settings.url(&oauth.authorization_url, &found.settings.config)?;
        let mut url = Url::parse(&url).map_err(|_| {
            PlatformError::invalid("invalid_body", "auth.authorization_url is no URL")
        })?;
        let scopes: Vec<&str> =
            oauth.scopes.iter().chain(&found.settings.scopes).map(String::as_str).collect();
        {
            let mut query = url.query_pairs_mut();
            query.append_pair("response_type", "code");
            query.append_pair("client_id", &oauth.client_id);
            query.append_pair("redirect_uri", &self.callback_url());
            query.append_pair("state", &state);
            if !scopes.is_empty() {
                query.append_pair("scope", &scopes.join(&oauth.scope_separator));
            }
            if oauth.pkce {
                let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(way.verifier.as_bytes()));
                query.append_pair("code_challenge", &challenge);
                query.append_pair("code_challenge_method", "S256");
            }
            query.extend_pairs(&oauth.authorization_params);
        }
        let sealed = self.sealer.seal(
            &way_purpose(&found.row.token),
            to_text(&way)?.as_bytes(),
            self.entropy.as_ref(),
        )?;
        let (token, state, now) = (found.row.token, digest(&state), self.now());
        let work = move |tx: &_| catalog::start_connect_session(tx, &token, &state, &sealed, now);
        if !self.db.write(move |tx| work(tx)).await? {
            return Err(no_session());
        }
        let lives = found.row.expires_at.since(now);
        Ok(ConnectStart { url: url.into(), cookie: way.browser, lives })
    }

    /// The user is back from the provider. `query` is what came along, `cookie` what the browser showed.
    ///
    /// # Errors
    /// `connect_session_not_found` when the state is unknown, was used before, or has expired;
    /// `connect_refused` when the provider or its user said no, or this is another browser; when the store fails.
    pub async fn finish_connect(
        &self,
        query: &BTreeMap<String, String>,
        cookie: Option<&str>,
    ) -> Result<Connected, PlatformError> {
        let given = |name: &str| query.get(name).filter(|value| value.len() <= GIVEN_BYTES_MAX);
        let state = digest(given("state").ok_or_else(no_session)?);
        let now = self.now();
        let taken = self.db.write(move |tx| catalog::take_connect_session(tx, &state, now)).await?;
        let row = taken.ok_or_else(no_session)?;
        let sealed = row.verifier.as_deref().ok_or_else(no_session)?;
        let plain = self.sealer.open_sealed(&way_purpose(&row.token), sealed)?;
        let way: Way = serde_json::from_slice(&plain).map_err(|_| PlatformError::Unsealable)?;
        let same = cookie.unwrap_or_default().as_bytes().ct_eq(way.browser.as_bytes());
        if !bool::from(same) {
            return Err(refused(
                "this is not the browser in which connecting began; begin again in one",
            ));
        }
        if let Some(error) = given("error") {
            let said = given("error_description").unwrap_or(error);
            let said: String = said.chars().filter(|c| !c.is_control()).take(300).collect();
            return Err(refused(&format!("the provider said: {said}")));
        }
        let code = given("code").ok_or_else(|| refused("the provider sent no code"))?;
        let found = self.found(row).await?;
        let oauth = found.known.integration.settings.auth.mode.oauth2();
        let verifier = oauth.is_some_and(|oauth| oauth.pkce).then_some(way.verifier.as_str());
        let redirect_uri = self.callback_url();
        let grant = Grant::Code { code, redirect_uri: &redirect_uri, verifier };
        self.connect(found, Credentials::default(), Some(grant)).await
    }

    /// The user filled in the page's form.
    ///
    /// # Errors
    /// `connect_session_not_found`, `invalid_body`, `connect_refused`; when the store fails.
    pub async fn fill_in_connect(
        &self,
        token: &str,
        given: &BTreeMap<String, String>,
    ) -> Result<Connected, PlatformError> {
        let found = self.connect_session(token).await?;
        let mode = &found.known.integration.settings.auth.mode;
        let wanted = fields(mode)?;
        let mut filled = serde_json::Map::new();
        for name in wanted {
            let value =
                given.get(name).filter(|value| !value.is_empty() && value.len() <= GIVEN_BYTES_MAX);
            let value = value.ok_or_else(|| {
                PlatformError::invalid("invalid_body", format!("{name} is missing or too long"))
            })?;
            filled.insert(name.to_owned(), Value::String(value.clone()));
        }
        let credentials = serde_json::from_value(Value::Object(filled))
            .map_err(|_| PlatformError::invalid("invalid_body", "the form can't be read"))?;
        // A client that gets no token now would get none later.
        let grant = matches!(mode, AuthMode::Oauth2ClientCredentials(_)).then_some(Grant::Client);
        self.connect(found, credentials, grant).await
    }

    /// Makes the connection, with a token where there is one to be had, and ends the session.
    async fn connect(
        &self,
        found: Found,
        credentials: Credentials,
        grant: Option<Grant<'_>>,
    ) -> Result<Connected, PlatformError> {
        let Found { row, settings, known } = found;
        let credentials = match grant {
            None => credentials,
            Some(grant) => {
                let asked =
                    self.ask(&row.tenant, &known, (&credentials, &settings.config), grant).await;
                asked.map_err(|why| refused(&format!("{}: {}", why.code, why.message)))?
            }
        };
        let Settings { metadata, config, redirect_url, .. } = settings;
        let made = NewConnection { credentials, metadata, config };
        self.put_connection(&row.tenant, &row.integration, &row.connection, made).await?;
        let token = row.token;
        self.db.write(move |tx| catalog::remove_connect_session(tx, &token)).await?;
        Ok(Connected { integration: row.integration, connection: row.connection, redirect_url })
    }

    async fn connect_session(&self, token: &str) -> Result<Found, PlatformError> {
        let (token, now) = (digest(token), self.now());
        let row = self.db.read(move |db| catalog::connect_session(db, &token, now)).await?;
        self.found(row.ok_or_else(no_session)?).await
    }

    async fn found(&self, row: ConnectRow) -> Result<Found, PlatformError> {
        let known = self.known_integration(&row.tenant, &row.integration).await?;
        let settings = from_text("connect_sessions", &row.settings)?;
        Ok(Found { row, settings, known })
    }

    fn callback_url(&self) -> String {
        self.public("/connect/callback")
    }

    fn public(&self, path: &str) -> String {
        format!("{}{path}", self.config.public_url.trim_end_matches('/'))
    }
}

/// What a user fills in; empty when the provider is gone through.
fn fields(mode: &AuthMode) -> Result<Vec<&'static str>, PlatformError> {
    Ok(match mode {
        AuthMode::Oauth2(_) => vec![],
        AuthMode::Bearer => vec!["token"],
        AuthMode::Basic => vec!["username", "password"],
        AuthMode::ApiKey { .. } => vec!["api_key"],
        AuthMode::Oauth2ClientCredentials(oauth) if oauth.client_id.is_empty() => {
            vec!["client_id", "client_secret"]
        }
        AuthMode::None | AuthMode::Headers | AuthMode::Oauth2ClientCredentials(_) => {
            let message = "there is nothing that a user could say: make the connection with POST /v1/connections";
            return Err(PlatformError::invalid("invalid_body", message));
        }
    })
}

/// Tokens and states are random, so there is nothing to guess from their digests.
fn digest(secret: &str) -> String {
    hex::encode(Sha256::digest(secret.as_bytes()))
}

pub(crate) fn way_purpose(token: &str) -> String {
    format!("connect/{token}")
}

fn no_session() -> PlatformError {
    let message = "this link has expired, or was used; ask for another one";
    PlatformError::not_found("connect_session_not_found", message)
}

fn refused(why: &str) -> PlatformError {
    PlatformError::Upstream { code: "connect_refused", message: why.to_owned() }
}

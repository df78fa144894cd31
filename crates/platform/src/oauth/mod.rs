//! OAuth2: tokens for connections, and new ones before they end.
//!
//! A token is renewed by one at a time, over all servers: whoever needs it takes a right in the connection's row, which
//! ends by itself should its holder die, asks the server, and writes what came of it only while the right is still its
//! own. Who comes meanwhile looks again until the row has changed. A connection whose token could not be renewed says
//! why, and who asks is told so without the server being asked each time.
//!
//! Layout: `token` is what goes to the token endpoint and comes from it (pure), `connect` an end user's way through
//! the provider's page and back; this file renews.

mod connect;
mod token;

use std::time::Duration;

use bulkhead_egress::SendError;
use bulkhead_store::catalog;
use bulkhead_types::{ConnectionId, IntegrationId, TenantId, Timestamp};
use serde_json::json;
use tokio::time::Instant;

pub(crate) use connect::way_purpose;
pub use connect::{ConnectPage, ConnectSession, ConnectStart, Connected, NewConnectSession};
use token::{Client, Grant, Refused};

use crate::auth::{AuthMode, Credentials, OAuth2};
use crate::connections::OpenConnection;
use crate::error::PlatformError;
use crate::integrations::KnownIntegration;
use crate::model::Failure;
use crate::platform::Platform;
use crate::text::to_text;

/// A token that ends this soon is renewed: what it is used for may take a while.
const MARGIN: Duration = Duration::from_secs(60);

/// For one request to a token endpoint.
const TOKEN_DEADLINE: Duration = Duration::from_secs(20);

/// Bytes of a token endpoint's answer.
const ANSWER_BYTES_MAX: usize = 128 * 1024;

/// How long the right to renew is one's own: longer than the request may take.
const RIGHT: Duration = Duration::from_secs(30);

/// How long to wait for another's renewal, and how often to look.
const OTHERS_WAIT: Duration = Duration::from_secs(35);
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// How long a failure counts before the server is asked again: one that will not go away by itself is asked about now
/// and then only, since servers err, too.
const LASTING_PAUSE: Duration = Duration::from_secs(600);
const PASSING_PAUSE: Duration = Duration::from_secs(5);

/// What is to be done about a connection's token. Pure.
#[derive(Debug, PartialEq, Eq)]
enum Need {
    /// It can be used.
    Nothing,
    /// It can be used, but not for long.
    Soon,
    /// There is none that can.
    Now,
}

fn need(mode: &AuthMode, credentials: &Credentials, refused: Option<&str>, now: Timestamp) -> Need {
    let renewable = match mode {
        AuthMode::Oauth2(_) => credentials.refresh_token.is_some(),
        AuthMode::Oauth2ClientCredentials(_) => true,
        _ => return Need::Nothing,
    };
    let Some(token) = &credentials.token else { return Need::Now };
    if !renewable {
        return Need::Nothing;
    }
    if refused == Some(token) {
        return Need::Now;
    }
    match credentials.ends() {
        Some(ends) if ends <= now => Need::Now,
        Some(ends) if ends <= now.after(MARGIN) => Need::Soon,
        _ => Need::Nothing,
    }
}

/// Whether a failure still stands for an answer. Pure.
fn stands(failure: &Failure, now: Timestamp) -> bool {
    let pause = if failure.lasting {
        LASTING_PAUSE
    } else {
        PASSING_PAUSE.saturating_mul(1 << failure.times.min(6))
    };
    now < Timestamp::from_millis(failure.at).after(pause)
}

/// Whose token.
type Which<'a> = (&'a TenantId, &'a IntegrationId, &'a ConnectionId);

impl Platform {
    /// One connection with credentials that can be used now: a token that ends soon is renewed first.
    ///
    /// # Errors
    /// `connection_not_found`; `credentials_refused` when there is no token that can be used and none to be had, with
    /// the reason; when the store fails.
    pub(crate) async fn fresh_connection(
        &self,
        tenant: &TenantId,
        integration: &IntegrationId,
        connection: &ConnectionId,
    ) -> Result<OpenConnection, PlatformError> {
        self.usable((tenant, integration, connection), None).await
    }

    /// As [`Self::fresh_connection`], after the API refused `token`: another one, if one is to be had.
    pub(crate) async fn renew_refused(
        &self,
        tenant: &TenantId,
        integration: &IntegrationId,
        connection: &ConnectionId,
        token: &str,
    ) -> Result<OpenConnection, PlatformError> {
        self.usable((tenant, integration, connection), Some(token)).await
    }

    async fn usable(
        &self,
        which: Which<'_>,
        refused: Option<&str>,
    ) -> Result<OpenConnection, PlatformError> {
        let (tenant, integration, connection) = which;
        let known = self.known_integration(tenant, integration).await?;
        let mode = &known.integration.settings.auth.mode;
        let patience = self.now().after(OTHERS_WAIT);
        loop {
            let open = self.open_connection(tenant, integration, connection).await?;
            let need = need(mode, &open.credentials, refused, self.now());
            if need == Need::Nothing {
                return Ok(open);
            }
            if let Some(failure) = open.connection.failure.clone().filter(|f| stands(f, self.now()))
            {
                return usable_still(open, &need, refused, &failure);
            }
            let renewer = self.random_hex(8);
            if self.claim(which, &renewer).await? {
                return self.renew(which, &known, &renewer, refused).await;
            }
            if need == Need::Soon {
                // Somebody is at it, and what there is can be used.
                return Ok(open);
            }
            if self.now() >= patience {
                return Err(no_token("the renewal of its token takes too long; try again"));
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    async fn claim(&self, which: Which<'_>, renewer: &str) -> Result<bool, PlatformError> {
        let (of, to, id) = (which.0.clone(), which.1.clone(), which.2.clone());
        let (now, renewer) = (self.now(), renewer.to_owned());
        let until = now.after(RIGHT);
        self.db
            .write(move |tx| catalog::claim_renewal(tx, &of, (&to, &id), &renewer, (now, until)))
            .await
            .map_err(|error: bulkhead_store::StoreError| error.into())
    }

    /// Renews with the right to. Looks once more first: the right may have come from one who just had done it.
    async fn renew(
        &self,
        which: Which<'_>,
        known: &KnownIntegration,
        renewer: &str,
        refused: Option<&str>,
    ) -> Result<OpenConnection, PlatformError> {
        let (tenant, integration, connection) = which;
        let open = self.open_connection(tenant, integration, connection).await?;
        let mode = &known.integration.settings.auth.mode;
        let need = need(mode, &open.credentials, refused, self.now());
        let asked = match need {
            Need::Nothing => Ok(open.credentials.clone()),
            _ => self.ask_again(tenant, known, &open).await,
        };
        let times = open.connection.failure.as_ref().map_or(0, |failure| failure.times);
        let result = match asked {
            Ok(credentials) => {
                let auth = &known.integration.settings.auth;
                Ok(self.seal_credentials(tenant, integration, connection, auth, &credentials)?)
            }
            Err(refused) => Err(failure_of(refused, times, self.now())),
        };
        self.finish(which, renewer, &result).await?;
        match result {
            Ok(_) => self.open_connection(tenant, integration, connection).await,
            Err(failure) => {
                tracing::warn!(%tenant, %integration, %connection, code = failure.code, "a token could not be renewed");
                usable_still(open, &need, refused, &failure)
            }
        }
    }

    async fn finish(
        &self,
        which: Which<'_>,
        renewer: &str,
        result: &Result<Vec<u8>, Failure>,
    ) -> Result<(), PlatformError> {
        let (of, to, id) = (which.0.clone(), which.1.clone(), which.2.clone());
        let (now, renewer) = (self.now(), renewer.to_owned());
        let kept = match result {
            Ok(sealed) => Ok(sealed.clone()),
            Err(failure) => Err(to_text(failure)?),
        };
        let work = move |tx: &_| {
            let result = kept.as_ref().map(Vec::as_slice).map_err(String::as_str);
            catalog::finish_renewal(tx, &of, (&to, &id), &renewer, result, now)
        };
        let failed = result.as_ref().err().cloned();
        let written = self.db.write(move |tx| work(tx)).await?;
        if let Some(failure) =
            failed.filter(|failure| written && failure.lasting && failure.times == 1)
        {
            let data =
                json!({ "integration": which.1, "connection_id": which.2, "failure": failure });
            let id = format!("failed_{}_{}_{}", which.1, which.2, failure.at);
            self.notify(which.0, "connection.failed", id, data).await?;
        }
        if !written {
            // Somebody replaced the credentials meanwhile: theirs count.
            tracing::debug!("a renewal came too late");
        }
        Ok(())
    }

    async fn ask_again(
        &self,
        tenant: &TenantId,
        known: &KnownIntegration,
        open: &OpenConnection,
    ) -> Result<Credentials, Refused> {
        let before = &open.credentials;
        let grant = match (&known.integration.settings.auth.mode, &before.refresh_token) {
            (AuthMode::Oauth2(_), Some(token)) => Grant::Refresh(token),
            (AuthMode::Oauth2(_), None) => {
                let message = "its token has ended, and there is no refresh token: connect anew";
                let (code, message) = ("no_refresh_token".to_owned(), message.to_owned());
                return Err(Refused { code, message, lasting: true });
            }
            _ => Grant::Client,
        };
        self.ask(tenant, known, (before, &open.connection.config), grant).await
    }

    /// Asks the token endpoint.
    async fn ask(
        &self,
        tenant: &TenantId,
        known: &KnownIntegration,
        (before, config): (&Credentials, &crate::catalogue::Variables),
        grant: Grant<'_>,
    ) -> Result<Credentials, Refused> {
        let passing = |code: &str, message: String| Refused {
            code: code.to_owned(),
            message,
            lasting: false,
        };
        let settings = &known.integration.settings;
        let Some(oauth) = settings.auth.mode.oauth2() else {
            return Err(passing("no_oauth2", "the integration's auth mode was changed".to_owned()));
        };
        let ours = |error: PlatformError| passing("misconfigured", error.to_string());
        let url = settings.url(&oauth.token_url, config).map_err(ours)?;
        let client = client(oauth, known, before);
        let request = token::request(oauth, &url, client, grant);
        let request = request.ok_or_else(|| {
            passing("misconfigured", "auth.token_url can't be requested".to_owned())
        })?;
        let egress = self.egress(tenant).await.map_err(ours)?;
        #[allow(
            clippy::disallowed_methods,
            reason = "tokio's clock: what its time-outs are measured by"
        )]
        let deadline = Instant::now() + TOKEN_DEADLINE;
        // A redirect is not followed: a token endpoint has no reason to send secrets elsewhere.
        let answer = egress.client.send(request, deadline, ANSWER_BYTES_MAX).await;
        let answer = answer.map_err(|error| match error {
            SendError::Denied { message, .. } => passing("egress_denied", message),
            error => passing("unreachable", error.to_string()),
        })?;
        let mut read =
            token::read(answer.status().as_u16(), answer.body(), before, oauth, self.now());
        if let Err(refused) = &mut read {
            // A server that echoes what it was sent must not get it into our database and logs.
            for secret in secrets(client, before, grant) {
                refused.message = refused.message.replace(secret, "[redacted]");
                refused.code = refused.code.replace(secret, "[redacted]");
            }
        }
        read
    }
}

/// The connection's own client, else the integration's.
fn client<'a>(oauth: &'a OAuth2, known: &'a KnownIntegration, own: &'a Credentials) -> Client<'a> {
    if let Some(id) = &own.client_id {
        return Client { id, secret: own.client_secret.as_deref() };
    }
    let secret = known.client_secret.as_deref().and_then(|secret| std::str::from_utf8(secret).ok());
    Client { id: &oauth.client_id, secret }
}

fn secrets<'a>(client: Client<'a>, before: &'a Credentials, grant: Grant<'a>) -> Vec<&'a str> {
    let granted = match grant {
        Grant::Code { code, verifier, .. } => [Some(code), verifier],
        Grant::Refresh(token) => [Some(token), None],
        Grant::Client => [None, None],
    };
    let kept = [client.secret, before.token.as_deref(), before.refresh_token.as_deref()];
    let all = granted.into_iter().chain(kept).flatten();
    all.filter(|secret| !secret.is_empty()).collect()
}

fn failure_of(refused: Refused, times_before: u32, now: Timestamp) -> Failure {
    let Refused { code, message, lasting } = refused;
    let (at, times) = (now.as_millis(), times_before.saturating_add(1));
    Failure { code, message, at, lasting, times }
}

/// What could not be renewed can be used as long as it has not ended.
fn usable_still(
    open: OpenConnection,
    need: &Need,
    refused: Option<&str>,
    failure: &Failure,
) -> Result<OpenConnection, PlatformError> {
    let usable = *need == Need::Soon || refused.is_some() && open.credentials.token.is_some();
    if usable {
        return Ok(open);
    }
    let what = if failure.lasting { "connect anew" } else { "try again" };
    Err(no_token(&format!("{}: {}; {what}", failure.code, failure.message)))
}

fn no_token(why: &str) -> PlatformError {
    PlatformError::Upstream {
        code: "credentials_refused",
        message: format!("the connection has no token that can be used: {why}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_renewed_before_it_ends() {
        let (code, client) = (
            AuthMode::Oauth2(OAuth2::default()),
            AuthMode::Oauth2ClientCredentials(OAuth2::default()),
        );
        let now = Timestamp::from_millis(1_000_000);
        let of = |token: Option<&str>, refresh: Option<&str>, left_s: Option<i64>| Credentials {
            token: token.map(str::to_owned),
            refresh_token: refresh.map(str::to_owned),
            expires_at: left_s.map(|left| now.as_millis() + left * 1_000),
            ..Credentials::default()
        };
        let table = [
            (&code, of(Some("t"), Some("r"), Some(61)), None, Need::Nothing),
            (&code, of(Some("t"), Some("r"), Some(60)), None, Need::Soon),
            (&code, of(Some("t"), Some("r"), Some(0)), None, Need::Now),
            (&code, of(Some("t"), Some("r"), None), None, Need::Nothing),
            (&code, of(Some("t"), Some("r"), None), Some("t"), Need::Now),
            (&code, of(Some("t"), Some("r"), None), Some("older"), Need::Nothing),
            (&code, of(Some("t"), None, Some(-5)), None, Need::Nothing),
            (&code, of(None, Some("r"), None), None, Need::Now),
            (&client, of(None, None, None), None, Need::Now),
            (&client, of(Some("t"), None, Some(5)), None, Need::Soon),
            (&AuthMode::Bearer, of(Some("t"), None, Some(-5)), Some("t"), Need::Nothing),
        ];
        for (mode, credentials, refused, expected) in table {
            let found = need(mode, &credentials, refused, now);
            assert_eq!(found, expected, "{mode:?} {refused:?} {:?}", credentials.expires_at);
        }
    }

    #[test]
    fn a_failure_stands_for_a_while() {
        let failure = |lasting, times| Failure {
            code: String::new(),
            message: String::new(),
            at: 0,
            lasting,
            times,
        };
        let at = Timestamp::from_millis;
        assert!(stands(&failure(true, 1), at(599_999)) && !stands(&failure(true, 1), at(600_000)));
        assert!(stands(&failure(false, 1), at(9_999)) && !stands(&failure(false, 1), at(10_000)));
        assert!(
            stands(&failure(false, 99), at(319_999)) && !stands(&failure(false, 99), at(320_000))
        );
    }
}

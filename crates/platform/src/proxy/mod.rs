//! The proxy: a provider's API called on a function's behalf, with the connection's credentials added **here**, so
//! that they never enter the sandbox.
//!
//! Credentials go to the integration's own API and nowhere else: to the origin of its `base_url`, or over TLS to a
//! host that the integration names. A function can ask for any URL, and may follow redirects anywhere it may
//! connect to, but what goes elsewhere goes without credentials.
//!
//! Layout: `request` builds a request from what the function gave (pure), `credentials` says what is added and where
//! (pure), `retry` decides whether and when to try again (pure), `pace` keeps a connection's requests to what its API
//! lets through, `turns` to a rate limit (pure), `answer` puts the response into the shape that
//! functions get and takes reflected secrets out of it (pure); this file carries out.

mod answer;
mod credentials;
mod pace;
mod request;
mod retry;
mod stream;
mod turns;

use std::time::Duration;

use bulkhead_egress::{HttpClient, SendError, Upload};
use bulkhead_types::{ConnectionId, FunctionKind, IntegrationId, Lease, TenantId, Timestamp};
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use serde_json::{Value, json};
use tokio::time::Instant;
use url::Url;

use crate::calls::{Failure, deadline, soft_deadline};
use crate::catalogue::RetryHints;
use crate::error::PlatformError;
use crate::model::IntegrationSettings;
use crate::platform::Platform;

use credentials::Attach;
pub(crate) use pace::{ConnectionKey, Paces};
use request::Outgoing;
pub use request::{ProxyRequest, RetryHeader};
use retry::{Outcome, Told};
pub use stream::{StreamError, Streamed};
use turns::Spacing;

/// Redirects followed for one request.
const REDIRECTS_MAX: u32 = 10;

/// Bytes of a decoded response. In base64 it has to fit into a reply.
const RESPONSE_BYTES_MAX: usize = 32 << 20;

/// For one try, redirects included.
const TRY_MAX: Duration = Duration::from_secs(120);

/// From a sync that goes on from its checkpoint, a sandbox is not kept for longer waits than this: the attempt ends,
/// and another goes on when the wait is over.
const HOLD_MAX: Duration = Duration::from_secs(60);

/// How long a request may wait. What is longer is handed to whoever asked instead.
#[derive(Clone, Copy)]
struct WaitLimits {
    /// No try goes past it.
    until: Timestamp,
    /// No wait goes past it.
    wait_until: Timestamp,
    /// No single wait is longer.
    hold: Duration,
}

/// What of a response's body is taken: all of it at once, or the way to it.
trait Taken: Sized + Send {
    fn take(
        client: &HttpClient,
        request: Request<Bytes>,
        upload: Option<Upload>,
        deadline: Instant,
    ) -> impl Future<Output = Result<Response<Self>, SendError>> + Send;
}

impl Taken for Bytes {
    async fn take(
        client: &HttpClient,
        request: Request<Self>,
        _: Option<Upload>,
        deadline: Instant,
    ) -> Result<Response<Self>, SendError> {
        client.send(request, deadline, RESPONSE_BYTES_MAX).await
    }
}

/// How a request ended, its last try.
struct Ended<T> {
    result: Result<Response<T>, SendError>,
    /// What must not come back.
    attach: Attach,
    /// When it makes sense to come back.
    wait: Option<Duration>,
}

/// What holds for all tries of one request.
struct Job {
    client: HttpClient,
    attach: Attach,
    outgoing: Outgoing,
    /// The body, when it comes while it is sent: it is gone after the first try.
    upload: Option<Upload>,
    limits: WaitLimits,
    /// What the provider's headers are called.
    hints: Option<&'static RetryHints>,
    /// On whose behalf.
    of: Option<ConnectionKey>,
    /// The integration's limit.
    rate: Option<Spacing>,
    /// The token that goes along, if it can be renewed. Taken when it was.
    token: Option<String>,
}

impl Platform {
    pub(crate) async fn proxy_call(
        &self,
        lease: &Lease,
        request: ProxyRequest,
    ) -> Result<Value, Failure> {
        let (integration, connection, client, limits) = self.of_lease(lease, &request).await?;
        let tenant = &lease.function.tenant;
        self.proxy_until(tenant, &integration, connection, request, client, limits).await
    }

    /// On whose behalf a function's request is made, how it gets there, and how long that may take.
    async fn of_lease(
        &self,
        lease: &Lease,
        request: &ProxyRequest,
    ) -> Result<(IntegrationId, Option<ConnectionId>, HttpClient, WaitLimits), Failure> {
        let named = (request.provider_config_key.clone(), request.connection_id.clone());
        let (integration, connection) = Self::target(lease, named.0, named.1);
        let tenant = &lease.function.tenant;
        let version = self.version(tenant, &lease.version).await?;
        // Where a function may not go itself it may not send the proxy either.
        let client = self.egress_of(tenant, &version).await?.client;
        let goes_on =
            lease.function.kind == FunctionKind::Sync && version.spec.checkpoint_schema.is_some();
        let limits = WaitLimits {
            until: deadline(lease),
            wait_until: soft_deadline(lease),
            hold: if goes_on { HOLD_MAX } else { Duration::MAX },
        };
        Ok((integration, connection, client, limits))
    }

    /// Calls an integration's API on behalf of a connection, for at most `patience`. The answer is that of
    /// `proxy.request` (`docs/protocol.md`); a response that is not 2xx is the error `upstream_error`.
    ///
    /// # Errors
    /// As a function would see them.
    pub async fn proxy(
        &self,
        tenant: &TenantId,
        integration: &IntegrationId,
        connection: Option<ConnectionId>,
        request: ProxyRequest,
        patience: Duration,
    ) -> Result<Value, bulkhead_protocol::CallError> {
        let until = self.now().after(patience);
        let client = self.egress(tenant).await.map_err(|error| Failure::from(error).0)?.client;
        let limits = WaitLimits { until, wait_until: until, hold: Duration::MAX };
        let answer =
            self.proxy_until(tenant, integration, connection, request, client, limits).await;
        answer.map_err(|failure| failure.0)
    }

    async fn proxy_until(
        &self,
        tenant: &TenantId,
        integration: &IntegrationId,
        connection: Option<ConnectionId>,
        request: ProxyRequest,
        client: HttpClient,
        limits: WaitLimits,
    ) -> Result<Value, Failure> {
        let connection = connection.as_ref();
        let job = self.job(tenant, integration, connection, &request, client, limits).await?;
        let Ended { result, attach, wait } = self.carry_out::<Bytes>(job, &request).await?;
        answer::of(result, &request, &attach.secrets(), wait)
    }

    /// Everything that a request needs, with credentials that count now.
    async fn job(
        &self,
        tenant: &TenantId,
        integration: &IntegrationId,
        connection: Option<&ConnectionId>,
        request: &ProxyRequest,
        client: HttpClient,
        limits: WaitLimits,
    ) -> Result<Job, Failure> {
        let settings = match self.integration(tenant, integration).await {
            Ok(integration) => Some(integration.settings),
            // Without an integration there are no credentials either: only absolute URLs can be asked for.
            Err(PlatformError::NotFound { .. }) if connection.is_none() => None,
            Err(error) => return Err(error.into()),
        };
        let opened = match connection {
            Some(id) => Some(self.fresh_connection(tenant, integration, id).await?),
            None => None,
        };
        let config = opened.as_ref().map(|open| open.connection.config.clone()).unwrap_or_default();
        let template =
            settings.as_ref().and_then(|settings| Some((settings, settings.base_url.as_ref()?)));
        // An absolute URL needs no base: one that lacks a variable is an error only if it is used.
        let base_url = template.map(|(settings, template)| settings.url(template, &config));
        let known = settings.as_ref().and_then(IntegrationSettings::known_provider);
        let mut outgoing = match base_url.as_ref() {
            Some(Err(_)) | None => Outgoing::build(request, None),
            Some(Ok(base_url)) => Outgoing::build(request, Some(base_url)),
        };
        if let (Err(_), Some(Err(_))) = (&outgoing, &base_url)
            && let Some(Err(error)) = base_url
        {
            return Err(error.into());
        }
        let base_url = base_url.and_then(Result::ok);
        let credentials = opened.as_ref().map(|open| &open.credentials);
        let attach = Attach::new(settings.as_ref(), base_url.as_deref(), credentials);
        if let (Ok(outgoing), Some(known)) = (&mut outgoing, known)
            && attach.is_home(&outgoing.url)
        {
            outgoing.add_headers(&known.headers);
        }
        let hints = known.map(|known| &known.retry);
        let of = connection.map(|id| (tenant.clone(), integration.clone(), id.clone()));
        let rate = settings.as_ref().and_then(|settings| settings.rate_limit).map(Spacing::of);
        let renewable = settings.is_some_and(|settings| settings.auth.mode.oauth2().is_some());
        let token =
            credentials.and_then(|credentials| credentials.token.clone()).filter(|_| renewable);
        Ok(Job {
            client,
            attach,
            outgoing: outgoing?,
            upload: None,
            hints,
            of,
            rate,
            token,
            limits,
        })
    }

    /// Whether there is another token than the one that was refused; then `job` has it.
    async fn renewed(&self, job: &mut Job) -> Result<bool, Failure> {
        let (Some((tenant, integration, id)), Some(refused)) = (&job.of, job.token.take()) else {
            return Ok(false);
        };
        let open = match self.renew_refused(tenant, integration, id, &refused).await {
            Ok(open) => open,
            // The API's own answer says more than that we could not get another token.
            Err(error) => {
                tracing::debug!(%error, "credentials that were refused could not be renewed");
                return Ok(false);
            }
        };
        if open.credentials.token.as_ref() == Some(&refused) {
            return Ok(false);
        }
        let settings = self.integration(tenant, integration).await?.settings;
        let template = settings.base_url.as_deref();
        let base_url =
            template.and_then(|template| settings.url(template, &open.connection.config).ok());
        job.attach = Attach::new(Some(&settings), base_url.as_deref(), Some(&open.credentials));
        Ok(true)
    }

    async fn carry_out<T: Taken>(
        &self,
        mut job: Job,
        request: &ProxyRequest,
    ) -> Result<Ended<T>, Failure> {
        let mut tries = 0;
        let repeatable = job.upload.is_none();
        loop {
            if let Some(wait) = self.pace(&job, request).await? {
                return Err(too_fast(wait));
            }
            let result: Result<Response<T>, _> = self.one_try(&mut job).await;
            if let Ok(response) = &result {
                self.note_pace(&job, response.status(), response.headers()).await;
            }
            if matches!(&result, Ok(response) if response.status() == StatusCode::UNAUTHORIZED)
                && repeatable
                && self.renewed(&mut job).await?
            {
                continue;
            }
            let told = Told::of(&result, request, job.hints, self.now());
            let outcome = match &result {
                Ok(response) => Outcome::Status(response.status().as_u16()),
                Err(SendError::Unreachable { .. }) => Outcome::Unreachable,
                Err(_) => Outcome::Final,
            };
            let wait = retry::decide(request, outcome, tries, told, self.random_fraction());
            match wait.filter(|_| repeatable) {
                Some(wait)
                    if wait <= job.limits.hold
                        && self.now().after(wait) < job.limits.wait_until =>
                {
                    tokio::time::sleep(wait).await;
                }
                // Too long to hold a sandbox for: the function hears when it makes sense to come back.
                wait => {
                    let wait = wait.or(told.wait());
                    return Ok(Ended { result, attach: job.attach, wait });
                }
            }
            tries += 1;
        }
    }

    /// One request with its redirects, each decided anew.
    async fn one_try<T: Taken>(&self, job: &mut Job) -> Result<Response<T>, SendError> {
        let mut left = job.limits.until.since(self.now());
        let streams_up = job.upload.is_some();
        if !streams_up {
            left = left.min(TRY_MAX);
        }
        #[allow(
            clippy::disallowed_methods,
            reason = "tokio's clock: what its time-outs are measured by"
        )]
        let deadline = Instant::now() + left;
        let mut hop = job.outgoing.clone();
        for _ in 0..=REDIRECTS_MAX {
            let request = hop
                .request(&job.attach)
                .map_err(|message| SendError::Unreachable { cause: "EINVAL", message })?;
            let response = T::take(&job.client, request, job.upload.take(), deadline).await?;
            match next_hop(&hop, &response) {
                // Without its body it would be another request.
                Some(next) if !streams_up || next.method == Method::GET => hop = next,
                _ => return Ok(response),
            }
        }
        let message = format!("more than {REDIRECTS_MAX} redirects");
        Err(SendError::Unreachable { cause: "ERR_FR_TOO_MANY_REDIRECTS", message })
    }

    /// Between 0 and 1.
    fn random_fraction(&self) -> f64 {
        let mut bytes = [0; 4];
        self.entropy.fill(&mut bytes);
        f64::from(u32::from_le_bytes(bytes)) / f64::from(u32::MAX)
    }
}

/// Where a response sends the request on to; `None` when it is the answer.
fn next_hop<T>(hop: &Outgoing, response: &Response<T>) -> Option<Outgoing> {
    let status = response.status();
    if !status.is_redirection()
        || status == StatusCode::NOT_MODIFIED
        || status == StatusCode::MULTIPLE_CHOICES
    {
        return None;
    }
    let location = response.headers().get(header::LOCATION)?.to_str().ok()?;
    let url = hop.url.join(location).ok().filter(|url| matches!(url.scheme(), "http" | "https"))?;
    let mut next = hop.clone();
    // As browsers do: 303 always becomes GET, 301 and 302 do for POST; 307 and 308 repeat the request.
    let becomes_get = status == StatusCode::SEE_OTHER && hop.method != Method::HEAD
        || matches!(status.as_u16(), 301 | 302) && hop.method == Method::POST;
    if becomes_get {
        next.method = Method::GET;
        next.drop_body();
    }
    if url.origin() != hop.url.origin() {
        next.leave_origin();
    }
    next.url = without_user_info(url);
    Some(next)
}

fn without_user_info(mut url: Url) -> Url {
    // Neither fails for http and https.
    if url.set_username("").is_err() || url.set_password(None).is_err() {
        tracing::debug!("a redirect whose user info can't be removed");
    }
    url
}

/// The error of a request that would have to wait longer than may be waited.
fn too_fast(wait: Duration) -> Failure {
    let millis = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
    let message = "the connection's API lets no more requests through for now; come back later";
    Failure::with(
        "upstream_error",
        message,
        json!({ "status": 429, "statusText": "Too Many Requests", "headers": {}, "text": "", "retryAfterMs": millis }),
    )
}

/// The error of a request that got no usable response.
fn no_response(error: &SendError) -> Failure {
    match error {
        SendError::Denied { rule, message } => {
            Failure::with("egress_denied", message.clone(), json!({ "rule": rule }))
        }
        SendError::Unreachable { cause, message } => {
            Failure::with("upstream_unreachable", message.clone(), json!({ "cause": cause }))
        }
        SendError::TooLarge(_) => {
            Failure::new("response_too_large", format!("{error}; ask for less at once"))
        }
        SendError::Encoding(_) => {
            Failure::with("upstream_unreachable", error.to_string(), json!({ "cause": "EPROTO" }))
        }
    }
}

#[cfg(test)]
mod tests;

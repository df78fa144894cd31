//! Lets an HTTP client dial through the gateway: the platform's own requests on a tenant's behalf go where that
//! tenant may go, and nowhere else.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll};

use bulkhead_protocol::{OpenRequest, Refused};
use http::Uri;
use hyper_rustls::{ConfigBuilderExt, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use tokio::net::TcpStream;

use crate::gateway::Gateway;
use crate::policy::Policy;

/// The gateway as a connector for hyper's client, under one policy. Connections are pooled by the client: use one
/// client per policy.
#[derive(Clone)]
pub struct GatewayConnector {
    gateway: Gateway,
    policy: Arc<Policy>,
}

/// [`GatewayConnector`] with TLS for `https` targets.
pub type HttpsGatewayConnector = HttpsConnector<GatewayConnector>;

impl GatewayConnector {
    /// Dials under `policy`.
    #[must_use]
    pub const fn new(gateway: Gateway, policy: Arc<Policy>) -> Self {
        Self { gateway, policy }
    }
}

/// A refused connection as the error of a request; the client wraps it, `source()` leads to it.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{}", .0.message)]
pub struct ConnectRefused(pub Refused);

impl tower::Service<Uri> for GatewayConnector {
    type Response = TokioIo<TcpStream>;
    type Error = ConnectRefused;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let this = self.clone();
        Box::pin(async move {
            let request = target(&uri).map_err(ConnectRefused)?;
            let connected = this.gateway.connect(&this.policy, &request).await;
            // The hello that follows is our own, and names the URL's host.
            connected.map(|dialled| TokioIo::new(dialled.stream)).map_err(ConnectRefused)
        })
    }
}

fn target(uri: &Uri) -> Result<OpenRequest, Refused> {
    let invalid =
        |message: &str| Refused { code: "EINVAL".into(), message: message.into(), rule: None };
    let default_port = match uri.scheme_str() {
        Some("http") => 80,
        Some("https") => 443,
        _ => return Err(invalid("only http and https can be requested")),
    };
    let host = uri.host().ok_or_else(|| invalid("the URL has no host"))?;
    Ok(OpenRequest { host: host.to_owned(), port: uri.port_u16().unwrap_or(default_port) })
}

/// TLS on top, verified against the system's certificates, or the bundled Mozilla roots where there are none.
#[must_use]
pub fn https_connector(gateway: Gateway, policy: Arc<Policy>) -> HttpsGatewayConnector {
    with_tls(TLS.clone(), GatewayConnector::new(gateway, policy))
}

/// Read once: the system's certificates are some hundred files, and every tenant has a client.
static TLS: LazyLock<ClientConfig> = LazyLock::new(|| {
    let builder = || {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        #[allow(clippy::expect_used, reason = "ring has every version that rustls knows")]
        ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("the provider knows the default versions")
    };
    match builder().with_native_roots() {
        Ok(roots) => roots.with_no_client_auth(),
        Err(error) => {
            tracing::warn!(%error, "no system certificates; using the bundled roots");
            builder().with_webpki_roots().with_no_client_auth()
        }
    }
});

pub(crate) fn with_tls(config: ClientConfig, connector: GatewayConnector) -> HttpsGatewayConnector {
    let builder = HttpsConnectorBuilder::new().with_tls_config(config);
    builder.https_or_http().enable_all_versions().wrap_connector(connector)
}

//! Resolve, judge every address, dial exactly one that was judged.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bulkhead_protocol::{OpenRequest, Refused};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::host::{Host, HostError};
use crate::policy::{Policy, Verdict};
use crate::resolve::{Resolve, ResolveError};
use crate::tls::NameCheck;

/// Which addresses to look up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Family {
    /// Both.
    #[default]
    Any,
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// From Node's numbering: 0, 4, 6.
    #[must_use]
    pub const fn from_number(number: u64) -> Option<Self> {
        match number {
            0 => Some(Self::Any),
            4 => Some(Self::V4),
            6 => Some(Self::V6),
            _ => None,
        }
    }

    const fn has(self, address: IpAddr) -> bool {
        match self {
            Self::Any => true,
            Self::V4 => address.is_ipv4(),
            Self::V6 => address.is_ipv6(),
        }
    }
}

/// Bounds of the gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GatewayLimits {
    /// From the request until connected, resolving included.
    pub connect_max: Duration,
    /// For one name lookup.
    pub lookup_max: Duration,
    /// Lookups under way at the same time, over all sandboxes; more wait, within their deadline.
    pub lookups_concurrent: usize,
    /// Addresses of one name that are looked at; a name server that answers with thousands gains nothing.
    pub addresses_max: usize,
}

impl Default for GatewayLimits {
    fn default() -> Self {
        Self {
            connect_max: Duration::from_secs(10),
            lookup_max: Duration::from_secs(5),
            lookups_concurrent: 256,
            addresses_max: 16,
        }
    }
}

/// A connection that the policy allowed.
#[derive(Debug)]
pub struct Dialled {
    /// To the other side.
    pub stream: TcpStream,
    /// The address that was judged and dialled.
    pub address: SocketAddr,
    /// What a sandbox sends goes through this.
    pub check: NameCheck,
}

/// Dials on behalf of sandboxes. Cheap to clone.
#[derive(Clone)]
pub struct Gateway {
    resolver: Arc<dyn Resolve>,
    limits: GatewayLimits,
    lookups: Arc<Semaphore>,
}

impl Gateway {
    /// Over a resolver.
    #[must_use]
    pub fn new(resolver: Arc<dyn Resolve>, limits: GatewayLimits) -> Self {
        Self { resolver, limits, lookups: Arc::new(Semaphore::new(limits.lookups_concurrent)) }
    }

    pub(crate) const fn limits(&self) -> &GatewayLimits {
        &self.limits
    }

    /// Connects to a host that the policy allows.
    ///
    /// # Errors
    /// `egress_denied` with the rule's name, or an errno name: `ENOTFOUND`, `EAI_AGAIN`, `ECONNREFUSED`,
    /// `ETIMEDOUT`, `ENETUNREACH`, `EINVAL`.
    pub async fn connect(
        &self,
        policy: &Arc<Policy>,
        request: &OpenRequest,
    ) -> Result<Dialled, Refused> {
        let connecting = self.connect_unbounded(policy, request);
        match timeout(self.limits.connect_max, connecting).await {
            Ok(done) => done,
            Err(_) => Err(refused("ETIMEDOUT", format!("{}: no connection in time", request.host))),
        }
    }

    async fn connect_unbounded(
        &self,
        policy: &Arc<Policy>,
        request: &OpenRequest,
    ) -> Result<Dialled, Refused> {
        let host = Host::parse(&request.host).map_err(|error| not_a_host(&error))?;
        let port = request.port;
        if port == 0 {
            return Err(refused("EINVAL", "port 0 can't be connected to".to_owned()));
        }
        let addresses = self.judged_addresses(policy, &host, Some(port)).await?;
        // Each address gets its share of what is left, so that one black hole does not eat the whole deadline.
        let share =
            self.limits.connect_max / u32::try_from(addresses.len().max(1)).unwrap_or(u32::MAX);
        let mut last = refused("ENOTFOUND", format!("{host} has no address"));
        for address in addresses {
            let target = SocketAddr::new(address, port);
            match timeout(share, TcpStream::connect(target)).await {
                Ok(Ok(stream)) => {
                    stream.set_nodelay(true).map_err(|error| dial_failed(target, &error))?;
                    let check = NameCheck::new(host, target, Arc::clone(policy));
                    return Ok(Dialled { stream, address: target, check });
                }
                Ok(Err(error)) => last = dial_failed(target, &error),
                Err(_) => last = refused("ETIMEDOUT", format!("{target}: no connection in time")),
            }
        }
        Err(last)
    }

    /// Looks a name up and returns the addresses that may be connected to on some port.
    ///
    /// # Errors
    /// `egress_denied` when the policy allows none of them, `ENOTFOUND`, `EAI_AGAIN`, `EINVAL`.
    pub async fn lookup(
        &self,
        policy: &Policy,
        host: &str,
        family: Family,
    ) -> Result<Vec<IpAddr>, Refused> {
        let host = Host::parse(host).map_err(|error| not_a_host(&error))?;
        let looking = self.judged_addresses(policy, &host, None);
        let mut addresses = match timeout(self.limits.connect_max, looking).await {
            Ok(done) => done?,
            Err(_) => return Err(refused("EAI_AGAIN", format!("{host}: no answer in time"))),
        };
        addresses.retain(|address| family.has(*address));
        if addresses.is_empty() {
            return Err(refused("ENOTFOUND", format!("{host} has no address of this family")));
        }
        Ok(addresses)
    }

    /// The addresses of `host` that the policy allows; refused when it allows none. Without a port the question
    /// is for a name only, and what is open on a common port counts as open.
    async fn judged_addresses(
        &self,
        policy: &Policy,
        host: &Host,
        port: Option<u16>,
    ) -> Result<Vec<IpAddr>, Refused> {
        if let Some(Verdict::Denied { rule }) = policy.judge_host(host, port) {
            return Err(denied(host, port, &rule));
        }
        let addresses = match host {
            Host::Address(address) => vec![*address],
            Host::Name(name) => self.resolve(name).await?,
        };
        let mut allowed = Vec::new();
        let mut denial = None;
        for address in addresses.into_iter().take(self.limits.addresses_max) {
            let address = address.to_canonical();
            let verdict = match port {
                Some(port) => policy.judge(host, address, port),
                None => policy.judge_any_port(host, address),
            };
            match verdict {
                Verdict::Allowed { .. } => allowed.push(address),
                Verdict::Denied { rule } => denial = denial.or(Some(rule)),
            }
        }
        match (allowed.is_empty(), denial) {
            (true, Some(rule)) => Err(denied(host, port, &rule)),
            (true, None) => Err(refused("ENOTFOUND", format!("{host} has no address"))),
            (false, _) => Ok(allowed),
        }
    }

    pub(crate) async fn resolve(&self, name: &str) -> Result<Vec<IpAddr>, Refused> {
        let asking = async {
            // The semaphore is never closed.
            let _permit = self.lookups.acquire().await.map_err(|_| ResolveError::Unavailable)?;
            self.resolver.resolve(name).await
        };
        match timeout(self.limits.lookup_max, asking).await {
            Ok(Ok(addresses)) => Ok(addresses),
            Ok(Err(ResolveError::NotFound)) => {
                Err(refused("ENOTFOUND", format!("{name} has no address: check its spelling")))
            }
            Ok(Err(ResolveError::Unavailable)) | Err(_) => {
                Err(refused("EAI_AGAIN", format!("the name servers gave no answer for {name}")))
            }
        }
    }
}

fn refused(code: &str, message: String) -> Refused {
    Refused { code: code.to_owned(), message, rule: None }
}

fn not_a_host(error: &HostError) -> Refused {
    refused("EINVAL", error.to_string())
}

fn denied(host: &Host, port: Option<u16>, rule: &str) -> Refused {
    let target = port.map_or_else(|| host.to_string(), |port| format!("{host}:{port}"));
    Refused {
        code: "egress_denied".to_owned(),
        message: format!(
            "connecting to {target} is denied by rule {rule}; an operator can allow it"
        ),
        rule: Some(rule.to_owned()),
    }
}

fn dial_failed(target: SocketAddr, error: &std::io::Error) -> Refused {
    use std::io::ErrorKind;
    let code = match error.kind() {
        ErrorKind::ConnectionRefused => "ECONNREFUSED",
        ErrorKind::ConnectionReset => "ECONNRESET",
        ErrorKind::TimedOut => "ETIMEDOUT",
        ErrorKind::HostUnreachable => "EHOSTUNREACH",
        ErrorKind::NetworkUnreachable => "ENETUNREACH",
        ErrorKind::AddrNotAvailable => "EADDRNOTAVAIL",
        _ => "EIO",
    };
    refused(code, format!("{target}: {code}"))
}

#[cfg(test)]
#[path = "gateway_tests.rs"]
mod tests;

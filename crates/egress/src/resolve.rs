//! Names to addresses: the system's resolver, or a fixed table.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use hickory_resolver::TokioResolver;
use hickory_resolver::config::LookupIpStrategy;

/// Why a name has no address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ResolveError {
    /// The name does not exist, or has no address.
    #[error("the name has no address")]
    NotFound,
    /// The name servers did not answer usefully.
    #[error("the name servers do not answer")]
    Unavailable,
}

/// Asks for all addresses of a name. A real seam: the system's name servers, and the fixed table that tests and
/// replayed runs use.
#[async_trait::async_trait]
pub trait Resolve: Send + Sync + 'static {
    /// All addresses of a name in normal form ([`crate::Host::Name`]).
    ///
    /// # Errors
    /// When there are none, or nobody answers.
    async fn resolve(&self, name: &str) -> Result<Vec<IpAddr>, ResolveError>;
}

/// The system's configuration: `/etc/resolv.conf` and `/etc/hosts`. Names under `localhost` are loopback without
/// asking (RFC 6761). Names are taken as complete: search domains are not tried.
pub struct SystemResolver {
    resolver: TokioResolver,
}

impl SystemResolver {
    /// Reads the system's configuration.
    ///
    /// # Errors
    /// When `/etc/resolv.conf` is missing or can't be read.
    pub fn new() -> Result<Self, std::io::Error> {
        let mut builder = TokioResolver::builder_tokio().map_err(std::io::Error::other)?;
        builder.options_mut().ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
        Ok(Self { resolver: builder.build() })
    }
}

#[async_trait::async_trait]
impl Resolve for SystemResolver {
    async fn resolve(&self, name: &str) -> Result<Vec<IpAddr>, ResolveError> {
        let complete = format!("{name}.");
        let answer =
            self.resolver.lookup_ip(complete).await.map_err(|error| match error.proto() {
                Some(proto) if proto.is_no_records_found() => ResolveError::NotFound,
                _ => ResolveError::Unavailable,
            })?;
        Ok(answer.iter().collect())
    }
}

/// A fixed table.
#[derive(Debug, Clone, Default)]
pub struct FixedResolver(pub HashMap<String, Vec<IpAddr>>);

#[async_trait::async_trait]
impl Resolve for FixedResolver {
    async fn resolve(&self, name: &str) -> Result<Vec<IpAddr>, ResolveError> {
        self.0.get(name).cloned().ok_or(ResolveError::NotFound)
    }
}

/// The addresses of this machine's interfaces, as the kernel lists them, for [`crate::Policy::with_own`].
///
/// # Errors
/// When `/proc/net` can't be read: the caller must not go on as if there were none.
pub fn local_addresses() -> std::io::Result<Vec<IpAddr>> {
    let mut addresses = parse_fib_trie(&std::fs::read_to_string("/proc/net/fib_trie")?);
    // Absent where the kernel has no IPv6, and then there are no addresses to list.
    match std::fs::read_to_string("/proc/net/if_inet6") {
        Ok(text) => addresses.extend(parse_if_inet6(&text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    addresses.sort_unstable();
    addresses.dedup();
    Ok(addresses)
}

/// In the routing trie, a leaf `|-- a.b.c.d` followed by `/32 host LOCAL` is an address of this machine.
fn parse_fib_trie(text: &str) -> Vec<IpAddr> {
    let mut leaf: Option<Ipv4Addr> = None;
    let mut found = Vec::new();
    for line in text.lines().map(str::trim) {
        if let Some(address) = line.strip_prefix("|-- ") {
            leaf = address.parse().ok();
        } else if line.contains("host LOCAL") {
            found.extend(leaf.map(IpAddr::V4));
        }
    }
    found
}

/// Each line begins with 32 hexadecimal digits of address.
fn parse_if_inet6(text: &str) -> Vec<IpAddr> {
    let address = |line: &str| u128::from_str_radix(line.split_whitespace().next()?, 16).ok();
    text.lines().filter_map(address).map(|bits| Ipv6Addr::from(bits).into()).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed step is the test's failure")]
    use super::*;

    #[test]
    fn the_kernels_tables_are_read() {
        let trie = "Main:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 10.0.0.0\n        /24 link UNICAST\n     |-- 10.0.0.7\n        /32 host LOCAL\n     |-- 10.0.0.255\n        /32 link BROADCAST\n     |-- 127.0.0.1\n        /32 host LOCAL\n";
        let expected: Vec<IpAddr> = vec!["10.0.0.7".parse().unwrap(), "127.0.0.1".parse().unwrap()];
        assert_eq!(parse_fib_trie(trie), expected);
        let inet6 = "00000000000000000000000000000001 01 80 10 80       lo\nfe80000000000000024201fffe000001 02 40 20 80     eth0\n";
        let expected: Vec<IpAddr> =
            vec!["::1".parse().unwrap(), "fe80::242:1ff:fe00:1".parse().unwrap()];
        assert_eq!(parse_if_inet6(inet6), expected);
    }

    #[tokio::test]
    async fn localhost_is_loopback_without_asking_anybody() {
        let resolver = SystemResolver::new().unwrap();
        for name in ["localhost", "x.localhost"] {
            let addresses = resolver.resolve(name).await.unwrap();
            assert!(
                !addresses.is_empty() && addresses.iter().all(IpAddr::is_loopback),
                "{name}: {addresses:?}"
            );
        }
    }
}

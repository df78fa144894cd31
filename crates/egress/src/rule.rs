//! One rule: which hosts, networks and ports, and what becomes of them. Read strictly: a pattern that means something
//! else than it looks like is refused.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bulkhead_types::EgressRule;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::host::Host;

/// What a rule does with what it matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// Lets it through.
    Allow,
    /// Refuses it.
    Deny,
}

/// Which host names: `example.com`, `*.example.com` (any depth below, not itself) or `*`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HostPattern {
    text: String,
}

/// Ports from the first to the last, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PortRange {
    pub(crate) first: u16,
    last: u16,
}

/// A named rule. It matches when each of its lists matches; an empty list matches anything.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// What denials are logged with.
    pub name: String,
    /// What it does.
    pub effect: Effect,
    /// Host names. Never matches a target given as an address, `*` excepted.
    #[serde(default)]
    pub hosts: Vec<HostPattern>,
    /// Networks of the address that would be dialled.
    #[serde(default)]
    pub networks: Vec<IpNet>,
    /// Ports: `443` or `8000-8999`.
    #[serde(default)]
    pub ports: Vec<PortRange>,
}

/// Why a pattern or a range can't be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// Not a host pattern.
    #[error("{0:?} is no host pattern: write example.com, *.example.com or *")]
    Pattern(String),
    /// Not a port or range of ports.
    #[error("{0:?} is no port: write 443 or 8000-8999")]
    Ports(String),
    /// Not a network.
    #[error("{0:?} is no network: write 10.0.0.0/8 or 2001:db8::/32")]
    Network(String),
    /// A name that a log could not show, or that is taken for a rule of ours.
    #[error(
        "{0:?} is no name for a rule: at most 100 printable characters, not beginning like a built-in rule's"
    )]
    Name(String),
    /// Too many.
    #[error("{0} {1}; at most {2} are possible")]
    TooMany(usize, &'static str, usize),
}

/// Rules of a tenant, or of a function.
pub const RULES_MAX: usize = 256;

/// Entries of one list of a rule.
const ENTRIES_MAX: usize = 256;

/// Characters of a rule's name: it stands in logs.
const NAME_LENGTH_MAX: usize = 100;

/// How the names of built-in rules begin.
const BUILT_IN: [&str; 7] =
    ["default.", "function.", "limit.", "platform.", "tenant.", "tls.", "version."];

impl Rule {
    /// Reads rules that an author declared.
    ///
    /// # Errors
    /// When one can't be read, or as [`Self::check_all`].
    pub fn read_all(declared: &[EgressRule]) -> Result<Vec<Self>, PolicyError> {
        let rules = declared.iter().map(Self::read).collect::<Result<Vec<_>, _>>()?;
        Self::check_all(&rules)?;
        Ok(rules)
    }

    fn read(declared: &EgressRule) -> Result<Self, PolicyError> {
        let EgressRule { name, allow, hosts, networks, ports } = declared;
        let network = |text: &String| {
            text.parse().map_err(|_| PolicyError::Network(text.chars().take(80).collect()))
        };
        Ok(Self {
            name: name.clone(),
            effect: if *allow { Effect::Allow } else { Effect::Deny },
            hosts: hosts.iter().map(|text| HostPattern::parse(text)).collect::<Result<_, _>>()?,
            networks: networks.iter().map(network).collect::<Result<_, _>>()?,
            ports: ports.iter().map(|text| PortRange::parse(text)).collect::<Result<_, _>>()?,
        })
    }

    /// Whether rules of a tenant or function are within bounds and have names that logs can show.
    ///
    /// # Errors
    /// Names the first thing that is wrong.
    pub fn check_all(rules: &[Self]) -> Result<(), PolicyError> {
        let bounded = |count: usize, what, max| {
            if count > max { Err(PolicyError::TooMany(count, what, max)) } else { Ok(()) }
        };
        bounded(rules.len(), "rules", RULES_MAX)?;
        for Self { name, hosts, networks, ports, .. } in rules {
            let length = name.chars().count();
            let shown = (1..=NAME_LENGTH_MAX).contains(&length)
                && !name.chars().any(char::is_control)
                && !BUILT_IN.iter().any(|prefix| name.starts_with(prefix));
            if !shown {
                return Err(PolicyError::Name(name.chars().take(NAME_LENGTH_MAX).collect()));
            }
            bounded(hosts.len(), "hosts", ENTRIES_MAX)?;
            bounded(networks.len(), "networks", ENTRIES_MAX)?;
            bounded(ports.len(), "ports", ENTRIES_MAX)?;
        }
        Ok(())
    }

    /// A rule that matches everything.
    #[must_use]
    pub fn new(name: &str, effect: Effect) -> Self {
        Self { name: name.to_owned(), effect, hosts: vec![], networks: vec![], ports: vec![] }
    }

    /// Why a target is none of this rule's; `None` when it is one.
    pub(crate) fn mismatch(&self, host: &Host, address: IpAddr, port: u16) -> Option<&'static str> {
        let network =
            self.networks.is_empty() || self.networks.iter().any(|net| net.contains(&address));
        match (self.matches_host(host), network, self.matches_port(Some(port))) {
            (false, ..) => Some("other hosts"),
            (_, false, _) => Some("other networks"),
            (.., false) => Some("other ports"),
            (true, true, true) => None,
        }
    }

    pub(crate) fn matches_host(&self, host: &Host) -> bool {
        self.hosts.is_empty() || self.hosts.iter().any(|pattern| pattern.matches(host))
    }

    pub(crate) fn matches_port(&self, port: Option<u16>) -> bool {
        let Some(port) = port else { return true };
        self.ports.is_empty()
            || self.ports.iter().any(|range| range.first <= port && port <= range.last)
    }
}

impl HostPattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// When it is neither a name, nor `*.` and a name, nor `*`.
    pub fn parse(text: &str) -> Result<Self, PolicyError> {
        let error = || PolicyError::Pattern(text.chars().take(80).collect());
        if text == "*" {
            return Ok(Self { text: text.to_owned() });
        }
        let (prefix, name) = text.strip_prefix("*.").map_or(("", text), |name| ("*.", name));
        match Host::parse(name) {
            Ok(Host::Name(name)) => Ok(Self { text: format!("{prefix}{name}") }),
            _ => Err(error()),
        }
    }

    /// Whether a host is one of those.
    #[must_use]
    pub fn matches(&self, host: &Host) -> bool {
        if self.text == "*" {
            return true;
        }
        let Host::Name(name) = host else { return false };
        match self.text.strip_prefix('*') {
            Some(suffix) => name.len() > suffix.len() && name.ends_with(suffix),
            None => *name == self.text,
        }
    }
}

impl TryFrom<String> for HostPattern {
    type Error = PolicyError;
    fn try_from(text: String) -> Result<Self, PolicyError> {
        Self::parse(&text)
    }
}

impl From<HostPattern> for String {
    fn from(pattern: HostPattern) -> Self {
        pattern.text
    }
}

impl PortRange {
    /// One port.
    #[must_use]
    pub const fn one(port: u16) -> Self {
        Self { first: port, last: port }
    }

    /// Reads `443` or `8000-8999`.
    ///
    /// # Errors
    /// When it is neither, or the first is above the last.
    pub fn parse(text: &str) -> Result<Self, PolicyError> {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        match (first.trim().parse(), last.trim().parse()) {
            (Ok(first), Ok(last)) if first <= last => Ok(Self { first, last }),
            _ => Err(PolicyError::Ports(text.chars().take(80).collect())),
        }
    }
}

impl TryFrom<String> for PortRange {
    type Error = PolicyError;
    fn try_from(text: String) -> Result<Self, PolicyError> {
        Self::parse(&text)
    }
}

impl From<PortRange> for String {
    fn from(range: PortRange) -> Self {
        if range.first == range.last {
            range.first.to_string()
        } else {
            format!("{}-{}", range.first, range.last)
        }
    }
}

/// Loopback in both families, for a rule that opens a local test server.
impl Rule {
    /// Allows one port of this machine's loopback addresses.
    #[must_use]
    pub fn allow_loopback(name: &str, port: u16) -> Self {
        Self {
            networks: vec![
                IpNet::from(IpAddr::V4(Ipv4Addr::LOCALHOST)),
                IpNet::from(IpAddr::V6(Ipv6Addr::LOCALHOST)),
            ],
            ports: vec![PortRange::one(port)],
            ..Self::new(name, Effect::Allow)
        }
    }
}

//! Who may connect where: plain values in, a verdict with the name of the rule out.
//!
//! Order of judgement, first hit counts:
//! 1. the platform's own listeners: denied, and nothing lifts that;
//! 2. the tenant's rules, which can only narrow: a deny rule that matches denies; if there are allow rules, one
//!    of them has to match;
//! 3. the operator's rules, in their order. An allow rule lifts the built-in denials only for addresses in the
//!    networks it names: a name alone never opens a private address, because whoever controls its DNS zone
//!    decides where it points;
//! 4. the built-in denials by class of address, then port 25;
//! 5. the public internet: allowed.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::class::{AddressClass, class, embedded};
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
    first: u16,
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
}

/// What a policy says about one target, with the rule that decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It may be dialled.
    Allowed {
        /// By which rule.
        rule: String,
    },
    /// It may not.
    Denied {
        /// By which rule.
        rule: String,
    },
}

/// The rules that hold for one tenant.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Policy {
    own_listeners: Vec<SocketAddr>,
    own_addresses: Vec<IpAddr>,
    operator: Vec<Rule>,
    tenant: Vec<Rule>,
}

impl Policy {
    /// The default policy: the public internet on any port but 25.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The platform's own listeners, which nothing opens. One that listens on every address (`0.0.0.0`) is denied
    /// on each of `addresses` and on loopback.
    #[must_use]
    pub fn with_own(mut self, listeners: Vec<SocketAddr>, addresses: Vec<IpAddr>) -> Self {
        self.own_listeners = listeners;
        self.own_addresses = addresses.into_iter().map(|a| a.to_canonical()).collect();
        self
    }

    /// The operator's rules, in order.
    #[must_use]
    pub fn with_operator_rules(mut self, rules: Vec<Rule>) -> Self {
        self.operator = rules;
        self
    }

    /// The tenant's rules. They can only narrow what the operator's leave open.
    #[must_use]
    pub fn with_tenant_rules(mut self, rules: Vec<Rule>) -> Self {
        self.tenant = rules;
        self
    }

    /// The operator's rules, in order.
    #[must_use]
    pub fn operator_rules(&self) -> &[Rule] {
        &self.operator
    }

    /// The tenant's rules.
    #[must_use]
    pub fn tenant_rules(&self) -> &[Rule] {
        &self.tenant
    }

    /// What can be said before the name is resolved: a name that no address could make allowed is not even asked
    /// for, since the question itself carries data out.
    #[must_use]
    pub fn judge_host(&self, host: &Host, port: Option<u16>) -> Option<Verdict> {
        let names_it = |rule: &Rule| rule.matches_host(host) && rule.matches_port(port);
        let whole =
            |rule: &&Rule| rule.networks.is_empty() && (port.is_some() || rule.ports.is_empty());
        let denied = |rule: &Rule| Verdict::Denied { rule: rule.name.clone() };
        let tenant_denies =
            |rule: &&Rule| rule.effect == Effect::Deny && whole(rule) && names_it(rule);
        if let Some(rule) = self.tenant.iter().find(tenant_denies) {
            return Some(denied(rule));
        }
        let mut allows = self.tenant.iter().filter(|rule| rule.effect == Effect::Allow).peekable();
        if allows.peek().is_some() && !allows.any(names_it) {
            return Some(Verdict::Denied { rule: "tenant.not_allowed".to_owned() });
        }
        // An operator's denial counts before resolving only if no allow rule stands before it.
        let first = self.operator.iter().find(|rule| names_it(rule))?;
        (first.effect == Effect::Deny && whole(&first)).then(|| denied(first))
    }

    /// Judges one address that `host` resolved to. Forms that embed an IPv4 address are judged by both.
    #[must_use]
    pub fn judge(&self, host: &Host, address: IpAddr, port: u16) -> Verdict {
        let address = address.to_canonical();
        let verdict = self.judge_plain(host, address, port);
        let IpAddr::V6(wrapper) = address else { return verdict };
        let inside = embedded(wrapper).unwrap_or_default().into_iter();
        let judged = inside.map(|inner| self.judge_plain(host, inner.into(), port));
        judged.fold(
            verdict,
            |so_far, next| if matches!(so_far, Verdict::Denied { .. }) { so_far } else { next },
        )
    }

    /// Judges an address for a name lookup, where no port is known: allowed if HTTPS to it is, or if an operator's
    /// rule allows some port of it.
    #[must_use]
    pub fn judge_any_port(&self, host: &Host, address: IpAddr) -> Verdict {
        let first_ports =
            self.operator.iter().flat_map(|rule| rule.ports.iter().map(|range| range.first));
        let https = self.judge(host, address, HTTPS);
        let other = first_ports.map(|port| self.judge(host, address, port));
        other.fold(
            https,
            |so_far, next| if matches!(so_far, Verdict::Allowed { .. }) { so_far } else { next },
        )
    }

    fn judge_plain(&self, host: &Host, address: IpAddr, port: u16) -> Verdict {
        let denied = |rule: &str| Verdict::Denied { rule: rule.to_owned() };
        if self.is_own_listener(address, port) {
            return denied("platform.own_listener");
        }
        if let Some(rule) = self.tenant_denial(host, address, port) {
            return denied(rule);
        }
        let kind = class(address);
        let lifts = |rule: &&Rule| {
            rule.matches(host, address, port)
                && (rule.effect == Effect::Deny
                    || !rule.networks.is_empty()
                    || kind == AddressClass::Public)
        };
        if let Some(rule) = self.operator.iter().find(lifts) {
            return match rule.effect {
                Effect::Allow => Verdict::Allowed { rule: rule.name.clone() },
                Effect::Deny => denied(&rule.name),
            };
        }
        if self.own_addresses.contains(&address) {
            return denied("default.own_address");
        }
        match kind {
            AddressClass::Public if port == SMTP => denied("default.smtp"),
            AddressClass::Public => Verdict::Allowed { rule: kind.rule().to_owned() },
            _ => denied(kind.rule()),
        }
    }

    fn tenant_denial(&self, host: &Host, address: IpAddr, port: u16) -> Option<&str> {
        let matching = |effect| {
            let hit =
                move |rule: &&Rule| rule.effect == effect && rule.matches(host, address, port);
            self.tenant.iter().find(hit)
        };
        if let Some(rule) = matching(Effect::Deny) {
            return Some(&rule.name);
        }
        let narrows = self.tenant.iter().any(|rule| rule.effect == Effect::Allow);
        (narrows && matching(Effect::Allow).is_none()).then_some("tenant.not_allowed")
    }

    fn is_own_listener(&self, address: IpAddr, port: u16) -> bool {
        let here = address.is_loopback()
            || matches!(class(address), AddressClass::Unspecified)
            || self.own_addresses.contains(&address);
        let hits = |own: &SocketAddr| {
            let ip = own.ip().to_canonical();
            // 0.0.0.0 as a target means this machine, so it reaches whatever listens on loopback.
            own.port() == port
                && (ip == address || here && (ip.is_unspecified() || ip.is_loopback()))
        };
        self.own_listeners.iter().any(hits)
    }
}

/// Denied by default: a sandbox that can send mail directly is a spam cannon, and mail APIs are HTTP.
const SMTP: u16 = 25;

const HTTPS: u16 = 443;

impl Rule {
    /// A rule that matches everything.
    #[must_use]
    pub fn new(name: &str, effect: Effect) -> Self {
        Self { name: name.to_owned(), effect, hosts: vec![], networks: vec![], ports: vec![] }
    }

    fn matches(&self, host: &Host, address: IpAddr, port: u16) -> bool {
        let network =
            self.networks.is_empty() || self.networks.iter().any(|net| net.contains(&address));
        network && self.matches_host(host) && self.matches_port(Some(port))
    }

    fn matches_host(&self, host: &Host) -> bool {
        self.hosts.is_empty() || self.hosts.iter().any(|pattern| pattern.matches(host))
    }

    fn matches_port(&self, port: Option<u16>) -> bool {
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

#[cfg(test)]
#[path = "policy_tests.rs"]
mod tests;

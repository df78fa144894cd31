//! Who may connect where: plain values in, a verdict with the name of the rule out.
//!
//! Order of judgement, first hit counts:
//! 1. the platform's own listeners: denied, and nothing lifts that;
//! 2. the tenant's rules, then the function's, which can only narrow: a deny rule that matches denies; if there are
//!    allow rules, one of them has to match;
//! 3. the operator's rules, in their order. An allow rule lifts the built-in denials only for addresses in the
//!    networks it names: a name alone never opens a private address, because whoever controls its DNS zone
//!    decides where it points;
//! 4. the built-in denials by class of address, then port 25;
//! 5. the public internet: allowed.
//!
//! Whoever wants to know why gets each rule that was looked at ([`Look`]): told by the code that decides, not by
//! another that could say something else.

use std::net::{IpAddr, SocketAddr};

use crate::class::{AddressClass, class, embedded};
use crate::host::Host;
use crate::rule::{Effect, Rule};

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

impl Verdict {
    /// The rule that decided.
    #[must_use]
    pub fn rule(&self) -> &str {
        match self {
            Self::Allowed { rule } | Self::Denied { rule } => rule,
        }
    }

    /// Whether it may be dialled.
    #[must_use]
    pub const fn is_allowed(&self) -> bool {
        matches!(self, Self::Allowed { .. })
    }
}

/// Whose rule it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Level {
    /// The platform's, which nothing lifts.
    Platform,
    /// The tenant's.
    Tenant,
    /// The function's.
    Function,
    /// The operator's.
    Operator,
    /// What holds where no rule says anything.
    Default,
}

/// A rule that was looked at on the way to a verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Look<'a> {
    /// Whose.
    pub level: Level,
    /// Its name.
    pub rule: &'a str,
    /// What it does with what it matches.
    pub effect: Effect,
    /// Why it did not decide; `None` for the one that did.
    pub passed: Option<&'static str>,
}

/// Who is told of each rule that is looked at.
pub type Seen<'s> = &'s mut dyn FnMut(Look<'_>);

/// The rules that hold for one tenant, or one function of it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Policy {
    own_listeners: Vec<SocketAddr>,
    own_addresses: Vec<IpAddr>,
    operator: Vec<Rule>,
    tenant: Vec<Rule>,
    function: Vec<Rule>,
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

    /// A function's rules. They can only narrow what the tenant's leave open.
    #[must_use]
    pub fn with_function_rules(mut self, rules: Vec<Rule>) -> Self {
        self.function = rules;
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

    fn narrowing(&self) -> [(Level, &[Rule], &'static str); 2] {
        [
            (Level::Tenant, &self.tenant, "tenant.not_allowed"),
            (Level::Function, &self.function, "function.not_allowed"),
        ]
    }

    /// What can be said before the name is resolved: a name that no address could make allowed is not even asked
    /// for, since the question itself carries data out.
    #[must_use]
    pub fn judge_host(&self, host: &Host, port: Option<u16>) -> Option<Verdict> {
        self.judge_host_telling(host, port, &mut |_| {})
    }

    /// The same; `seen` is told of each rule that decides something here.
    pub fn judge_host_telling(
        &self,
        host: &Host,
        port: Option<u16>,
        seen: Seen<'_>,
    ) -> Option<Verdict> {
        let names_it = |rule: &Rule| rule.matches_host(host) && rule.matches_port(port);
        let whole =
            |rule: &Rule| rule.networks.is_empty() && (port.is_some() || rule.ports.is_empty());
        let mut deny = |level, rule: &str| {
            seen(Look { level, rule, effect: Effect::Deny, passed: None });
            Some(Verdict::Denied { rule: rule.to_owned() })
        };
        for (level, rules, not_allowed) in self.narrowing() {
            let denies =
                |rule: &&Rule| rule.effect == Effect::Deny && whole(rule) && names_it(rule);
            if let Some(rule) = rules.iter().find(denies) {
                return deny(level, &rule.name);
            }
            let mut allows = rules.iter().filter(|rule| rule.effect == Effect::Allow).peekable();
            if allows.peek().is_some() && !allows.any(names_it) {
                return deny(level, not_allowed);
            }
        }
        // An operator's denial counts before resolving only if no allow rule stands before it.
        let first = self.operator.iter().find(|rule| names_it(rule))?;
        if first.effect == Effect::Deny && whole(first) {
            return deny(Level::Operator, &first.name);
        }
        None
    }

    /// Judges one address that `host` resolved to. Forms that embed an IPv4 address are judged by both.
    #[must_use]
    pub fn judge(&self, host: &Host, address: IpAddr, port: u16) -> Verdict {
        self.judge_telling(host, address, port, &mut |_| {})
    }

    /// The same; `seen` is told of each rule that is looked at, in order.
    pub fn judge_telling(
        &self,
        host: &Host,
        address: IpAddr,
        port: u16,
        seen: Seen<'_>,
    ) -> Verdict {
        let address = address.to_canonical();
        let mut verdict = self.judge_plain(host, address, port, seen);
        let IpAddr::V6(wrapper) = address else { return verdict };
        for inner in embedded(wrapper).unwrap_or_default() {
            if verdict.is_allowed() {
                verdict = self.judge_plain(host, inner.into(), port, seen);
            }
        }
        verdict
    }

    /// Judges an address for a name lookup, where no port is known: allowed if HTTPS to it is, or if an operator's
    /// rule allows some port of it.
    #[must_use]
    pub fn judge_any_port(&self, host: &Host, address: IpAddr) -> Verdict {
        let first_ports =
            self.operator.iter().flat_map(|rule| rule.ports.iter().map(|range| range.first));
        let https = self.judge(host, address, HTTPS);
        let other = first_ports.map(|port| self.judge(host, address, port));
        other.fold(https, |so_far, next| if so_far.is_allowed() { so_far } else { next })
    }

    fn judge_plain(&self, host: &Host, address: IpAddr, port: u16, seen: Seen<'_>) -> Verdict {
        let own = self.is_own_listener(address, port);
        let rule = "platform.own_listener";
        let passed = (!own).then_some("not one of the platform's own listeners");
        seen(Look { level: Level::Platform, rule, effect: Effect::Deny, passed });
        if own {
            return Verdict::Denied { rule: rule.to_owned() };
        }
        self.narrowed(host, address, port, seen)
            .or_else(|| self.operator_says(host, address, port, seen))
            .unwrap_or_else(|| self.default_says(address, port, seen))
    }

    /// A denial of the tenant's or the function's.
    fn narrowed(&self, host: &Host, address: IpAddr, port: u16, seen: Seen<'_>) -> Option<Verdict> {
        for (level, rules, not_allowed) in self.narrowing() {
            for effect in [Effect::Deny, Effect::Allow] {
                let mut last = None;
                for rule in rules.iter().filter(|rule| rule.effect == effect) {
                    let passed = rule.mismatch(host, address, port);
                    seen(Look { level, rule: &rule.name, effect, passed });
                    last = Some((rule, passed));
                    if passed.is_none() {
                        break;
                    }
                }
                match (effect, last) {
                    (Effect::Deny, Some((rule, None))) => {
                        return Some(Verdict::Denied { rule: rule.name.clone() });
                    }
                    (Effect::Allow, Some((_, Some(_)))) => {
                        let effect = Effect::Deny;
                        seen(Look { level, rule: not_allowed, effect, passed: None });
                        return Some(Verdict::Denied { rule: not_allowed.to_owned() });
                    }
                    _ => {}
                }
            }
        }
        None
    }

    fn operator_says(
        &self,
        host: &Host,
        address: IpAddr,
        port: u16,
        seen: Seen<'_>,
    ) -> Option<Verdict> {
        for rule in &self.operator {
            let opens_nothing = rule.effect == Effect::Allow
                && rule.networks.is_empty()
                && class(address) != AddressClass::Public;
            let passed = rule
                .mismatch(host, address, port)
                .or(opens_nothing.then_some("a name alone opens no address that is not public"));
            let (effect, name) = (rule.effect, &rule.name);
            seen(Look { level: Level::Operator, rule: name, effect, passed });
            if passed.is_none() {
                return Some(match effect {
                    Effect::Allow => Verdict::Allowed { rule: name.clone() },
                    Effect::Deny => Verdict::Denied { rule: name.clone() },
                });
            }
        }
        None
    }

    fn default_says(&self, address: IpAddr, port: u16, seen: Seen<'_>) -> Verdict {
        let kind = class(address);
        let (effect, rule) = match kind {
            _ if self.own_addresses.contains(&address) => (Effect::Deny, "default.own_address"),
            AddressClass::Public if port == SMTP => (Effect::Deny, "default.smtp"),
            AddressClass::Public => (Effect::Allow, kind.rule()),
            _ => (Effect::Deny, kind.rule()),
        };
        seen(Look { level: Level::Default, rule, effect, passed: None });
        match effect {
            Effect::Allow => Verdict::Allowed { rule: rule.to_owned() },
            Effect::Deny => Verdict::Denied { rule: rule.to_owned() },
        }
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

#[cfg(test)]
#[path = "policy_tests.rs"]
mod tests;

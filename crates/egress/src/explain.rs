//! What would happen if a function connected somewhere, and why: the gateway's own steps, told instead of carried out
//! to the end. Names are resolved as for a connection, so the answer is that of this moment; nothing is dialled.

use std::net::IpAddr;

use tokio::time::timeout;

use crate::class::{AddressClass, class};
use crate::gateway::Gateway;
use crate::host::{Host, HostError};
use crate::policy::{Level, Look, Policy, Verdict};
use crate::rule::Effect;

/// The whole answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    /// The host in its one normal form.
    pub host: String,
    /// The port asked about.
    pub port: u16,
    /// Whether a connection would be tried.
    pub allowed: bool,
    /// The rule that decides: of the first address that is allowed, else of the first that is not.
    pub rule: Option<String>,
    /// What came of the name.
    pub resolved: Resolved,
    /// Rules that decided before the name was resolved; then it is not even asked for.
    pub before_resolving: Vec<Step>,
    /// Each address, in the order in which they would be dialled.
    pub addresses: Vec<AddressExplained>,
}

/// What came of a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resolved {
    /// It is an address already.
    Literal,
    /// It has addresses.
    Addresses,
    /// It was not asked for: a rule denies it whatever it resolves to.
    NotAsked,
    /// It has no address.
    NotFound,
    /// The name servers did not answer.
    Unavailable,
}

impl Resolved {
    /// The stable text.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Literal => "literal",
            Self::Addresses => "addresses",
            Self::NotAsked => "not_asked",
            Self::NotFound => "not_found",
            Self::Unavailable => "unavailable",
        }
    }
}

/// One address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddressExplained {
    /// It.
    pub address: IpAddr,
    /// What kind it is: `public`, `private`, …
    pub class: String,
    /// Whether it may be dialled.
    pub allowed: bool,
    /// The rule that decides.
    pub rule: String,
    /// Every rule that was looked at, in order; the last one decided.
    pub rules: Vec<Step>,
}

/// A rule that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Whose: `platform`, `tenant`, `function`, `operator`, `default`.
    pub level: &'static str,
    /// Its name.
    pub rule: String,
    /// `allow` or `deny`.
    pub effect: &'static str,
    /// Whether it decided.
    pub decides: bool,
    /// Why it did not.
    pub passed: Option<&'static str>,
}

impl Step {
    fn of(look: Look<'_>) -> Self {
        Self {
            level: match look.level {
                Level::Platform => "platform",
                Level::Tenant => "tenant",
                Level::Function => "function",
                Level::Operator => "operator",
                Level::Default => "default",
            },
            rule: look.rule.to_owned(),
            effect: match look.effect {
                Effect::Allow => "allow",
                Effect::Deny => "deny",
            },
            decides: look.passed.is_none(),
            passed: look.passed,
        }
    }
}

impl Gateway {
    /// What would happen to a connection to `host`, and why.
    ///
    /// # Errors
    /// When `host` is none.
    pub async fn explain(
        &self,
        policy: &Policy,
        host: &str,
        port: u16,
    ) -> Result<Explanation, HostError> {
        let host = Host::parse(host)?;
        let mut told = Explanation {
            host: host.to_string(),
            port,
            allowed: false,
            rule: None,
            resolved: Resolved::NotAsked,
            before_resolving: Vec::new(),
            addresses: Vec::new(),
        };
        let seen = &mut |look: Look<'_>| told.before_resolving.push(Step::of(look));
        if let Some(verdict @ Verdict::Denied { .. }) =
            policy.judge_host_telling(&host, Some(port), seen)
        {
            told.rule = Some(verdict.rule().to_owned());
            return Ok(told);
        }
        let (resolved, addresses) = self.addresses_of(&host).await;
        told.resolved = resolved;
        let explained = addresses.into_iter().map(|it| explain(policy, &host, it, port));
        told.addresses = explained.collect();
        let deciding = told.addresses.iter().find(|it| it.allowed).or(told.addresses.first());
        told.allowed = deciding.is_some_and(|it| it.allowed);
        told.rule = deciding.map(|it| it.rule.clone());
        Ok(told)
    }

    async fn addresses_of(&self, host: &Host) -> (Resolved, Vec<IpAddr>) {
        let name = match host {
            Host::Address(address) => return (Resolved::Literal, vec![*address]),
            Host::Name(name) => name,
        };
        match timeout(self.limits().connect_max, self.resolve(name)).await {
            Ok(Ok(mut addresses)) => {
                addresses.truncate(self.limits().addresses_max);
                (Resolved::Addresses, addresses.iter().map(IpAddr::to_canonical).collect())
            }
            Ok(Err(refused)) if refused.code == "ENOTFOUND" => (Resolved::NotFound, Vec::new()),
            Ok(Err(_)) | Err(_) => (Resolved::Unavailable, Vec::new()),
        }
    }
}

fn explain(policy: &Policy, host: &Host, address: IpAddr, port: u16) -> AddressExplained {
    let mut rules = Vec::new();
    let verdict = policy.judge_telling(host, address, port, &mut |look| rules.push(Step::of(look)));
    AddressExplained {
        address,
        class: class_name(class(address)),
        allowed: verdict.is_allowed(),
        rule: verdict.rule().to_owned(),
        rules,
    }
}

fn class_name(class: AddressClass) -> String {
    class.rule().trim_start_matches("default.").to_owned()
}

#[cfg(test)]
#[path = "explain_tests.rs"]
mod tests;

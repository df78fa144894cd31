//! What would happen to a connection, and why.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What would happen if a function connected somewhere now, and why. Nothing is dialled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EgressExplanation {
    /// The host in its one normal form.
    pub host: String,
    /// The port.
    pub port: u16,
    /// Whether a connection would be tried.
    pub allowed: bool,
    /// The rule that decides; absent when the name has no address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// `literal`, `addresses`, `not_asked` (a rule denies the name whatever it resolves to), `not_found`, `unavailable`.
    pub resolved: String,
    /// The rule that decided before the name was resolved.
    pub before_resolving: Vec<EgressStep>,
    /// Each address, in the order in which they would be dialled.
    pub addresses: Vec<EgressAddress>,
}

/// One address of the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EgressAddress {
    /// It.
    pub address: String,
    /// What kind it is: `public`, `private`, `loopback`, …
    pub class: String,
    /// Whether it may be dialled.
    pub allowed: bool,
    /// The rule that decides.
    pub rule: String,
    /// Every rule that was looked at, in order; the last one decided.
    pub rules: Vec<EgressStep>,
}

/// A rule that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EgressStep {
    /// Whose: `platform`, `tenant`, `function`, `operator`, `default`.
    pub level: String,
    /// Its name.
    pub rule: String,
    /// `allow` or `deny`.
    pub effect: String,
    /// Whether it decided.
    pub decides: bool,
    /// Why it did not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub passed: Option<String>,
}

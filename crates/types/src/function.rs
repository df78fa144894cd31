//! Functions and their versions, as deployed.

use serde::{Deserialize, Serialize};

use crate::ids::{FunctionName, IntegrationId, TenantId, VersionId};
use crate::limits::Limits;
use crate::wall::WallKind;

/// What makes a function run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FunctionKind {
    /// On demand: request and response.
    Action,
    /// On a schedule, long, writes records.
    Sync,
    /// When a provider's webhook arrives.
    Webhook,
    /// When something happens to a connection.
    Event,
}

impl FunctionKind {
    /// The stable text, as on the wire and in the database.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Action => "action",
            Self::Sync => "sync",
            Self::Webhook => "webhook",
            Self::Event => "event",
        }
    }

    /// The kind that [`Self::as_str`] names.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Action, Self::Sync, Self::Webhook, Self::Event]
            .into_iter()
            .find(|k| k.as_str() == text)
    }
}

/// What names a function for good, whatever its version.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct FunctionKey {
    /// Whose.
    pub tenant: TenantId,
    /// For which external API.
    pub integration: IntegrationId,
    /// What makes it run.
    pub kind: FunctionKind,
    /// Its name there.
    pub name: FunctionName,
}

/// Whether executions share a zygote's memory image at birth. The order is that of strength.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Isolation {
    /// Each execution is a fork of the version's zygote.
    #[default]
    Fork,
    /// Each execution gets a compartment of its own.
    Compartment,
}

/// A rule that narrows where a function may connect. What it says is read by the gateway's crate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "EgressRuleText", into = "EgressRuleText")]
pub struct EgressRule {
    /// What denials are logged with.
    pub name: String,
    /// Whether it allows or denies what it matches.
    pub allow: bool,
    /// `example.com`, `*.example.com`, `*`; none is any.
    pub hosts: Vec<String>,
    /// `192.0.2.0/24`, `2001:db8::/32`; none is any.
    pub networks: Vec<String>,
    /// `443`, `8000-8999`; none is any.
    pub ports: Vec<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct EgressRuleText {
    name: String,
    effect: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    hosts: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    networks: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    ports: Vec<String>,
}

impl TryFrom<EgressRuleText> for EgressRule {
    type Error = String;
    fn try_from(text: EgressRuleText) -> Result<Self, String> {
        let EgressRuleText { name, effect, hosts, networks, ports } = text;
        let allow = match effect.as_str() {
            "allow" => true,
            "deny" => false,
            _ => return Err(format!("the effect of rule {name:?} must be allow or deny")),
        };
        Ok(Self { name, allow, hosts, networks, ports })
    }
}

impl From<EgressRule> for EgressRuleText {
    fn from(rule: EgressRule) -> Self {
        let EgressRule { name, allow, hosts, networks, ports } = rule;
        let effect = if allow { "allow" } else { "deny" }.to_owned();
        Self { name, effect, hosts, networks, ports }
    }
}

/// What a version's sandbox is given beyond the bare minimum, known at deploy time.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Uses {
    /// It calls `getConnection`/`getToken`: credentials may enter its sandbox.
    pub secrets: bool,
    /// It opens connections of its own, past the credential-adding proxy.
    pub outbound: bool,
}

/// How failures of a function are tried again. Waits grow as `backoff_ms · 2ⁿ`, with full jitter if asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RetryPolicy {
    /// Attempts after the first failed one.
    pub max: u32,
    /// The first wait, in milliseconds.
    pub backoff_ms: u64,
    /// The longest wait, in milliseconds.
    pub backoff_ms_max: u64,
    /// Spread the waits randomly between half and the whole.
    pub jitter: bool,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self { max: 0, backoff_ms: 3_000, backoff_ms_max: 600_000, jitter: true }
    }
}

/// How many attempts may run at the same time.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Concurrency {
    /// Of this function, over all connections; `None` is as many as the tenant may.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max: Option<u32>,
    /// A key that it shares with whatever else names it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<ConcurrencyKey>,
}

/// A name for something that only so many attempts of a tenant may use at the same time, such as an API account.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConcurrencyKey {
    /// 1 to 255 bytes, of the author's or caller's choosing; within the tenant.
    pub name: String,
    /// Attempts that may run at the same time, at least 1. Where several say different, the one that begins says.
    pub max: u32,
}

/// What becomes of runs that a schedule missed: while the server was down, or the schedule paused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MissedRuns {
    /// They are made up for once, at once, however many were missed.
    #[default]
    CatchUp,
    /// They are left out; the schedule goes on at its next time.
    Skip,
}

impl MissedRuns {
    /// The stable text.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::CatchUp => "catch_up",
            Self::Skip => "skip",
        }
    }

    /// The policy that [`Self::as_str`] names.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::CatchUp, Self::Skip].into_iter().find(|policy| policy.as_str() == text)
    }
}

/// How a schedule keeps its times.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ScheduleOptions {
    /// Each connection runs up to this much later than the frequency says, in milliseconds, always by the same
    /// amount: so that all of them do not begin on the stroke of the hour.
    pub jitter_ms: u64,
    /// What becomes of missed runs.
    pub missed: MissedRuns,
}

impl ScheduleOptions {
    fn is_usual(&self) -> bool {
        *self == Self::default()
    }
}

impl Concurrency {
    fn is_usual(&self) -> bool {
        *self == Self::default()
    }
}

/// What an author declared about a function; part of the version.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FunctionSpec {
    /// For which external API.
    pub integration: IntegrationId,
    /// What makes it run.
    pub kind: FunctionKind,
    /// Its name.
    pub name: FunctionName,
    /// For people.
    #[serde(default)]
    pub description: String,
    /// Syncs: `every 5m`, or `cron: …`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frequency: Option<String>,
    /// Syncs: how the schedule keeps its times.
    #[serde(default, skip_serializing_if = "ScheduleOptions::is_usual")]
    pub schedule: ScheduleOptions,
    /// How many attempts may run at the same time.
    #[serde(default, skip_serializing_if = "Concurrency::is_usual")]
    pub concurrency: Concurrency,
    /// Syncs: whether a new connection starts it by itself.
    #[serde(default)]
    pub auto_start: bool,
    /// Events: which.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event: Option<String>,
    /// Syncs: the provider's webhook types that `onWebhook` wants.
    #[serde(default)]
    pub webhook_subscriptions: Vec<String>,
    /// Models a sync may write: name → JSON Schema.
    #[serde(default)]
    pub models: std::collections::BTreeMap<String, serde_json::Value>,
    /// JSON Schema of the input.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input_schema: Option<serde_json::Value>,
    /// JSON Schema of the output.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_schema: Option<serde_json::Value>,
    /// JSON Schema of the checkpoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpoint_schema: Option<serde_json::Value>,
    /// Limits, within the operator's ceilings.
    #[serde(default)]
    pub limits: Limits,
    /// Retries of failed attempts.
    #[serde(default)]
    pub retry: RetryPolicy,
    /// What its sandbox is given.
    #[serde(default)]
    pub uses: Uses,
    /// Narrows where it may connect, within what operator and tenant leave open.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub egress: Vec<EgressRule>,
    /// Whether its executions share a zygote.
    #[serde(default)]
    pub isolation: Isolation,
    /// The wall that it asks for; it gets that or a stronger one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wall: Option<WallKind>,
}

/// One immutable build of a function.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Version {
    /// The SHA-256 of bundle and spec.
    pub id: VersionId,
    /// Whose.
    pub tenant: TenantId,
    /// What the author declared.
    pub spec: FunctionSpec,
    /// SHA-256 of the bundle, in hex: its name in blob storage.
    pub bundle: String,
    /// SHA-256 of the source map, in hex, when there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_map: Option<String>,
}

impl Version {
    /// The function this is a version of.
    #[must_use]
    pub fn function(&self) -> FunctionKey {
        FunctionKey {
            tenant: self.tenant.clone(),
            integration: self.spec.integration.clone(),
            kind: self.spec.kind,
            name: self.spec.name.clone(),
        }
    }
}

//! Whose fault a failure is, and whether to try again. Retry policy, HTTP status, alerting and metering read
//! these two and nothing else.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Whose fault a failure is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// Whoever called us: bad input, unknown name, wrong key.
    Caller,
    /// The author of the function: it threw, it broke a limit, it hung.
    Tenant,
    /// The external API the function talks to.
    Upstream,
    /// We.
    Platform,
}

impl Fault {
    /// Every fault.
    pub const ALL: [Self; 4] = [Self::Caller, Self::Tenant, Self::Upstream, Self::Platform];

    /// The stable text, as on the wire and in the database.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Caller => "caller",
            Self::Tenant => "tenant",
            Self::Upstream => "upstream",
            Self::Platform => "platform",
        }
    }

    /// The fault that [`Self::as_str`] names.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|fault| fault.as_str() == text)
    }
}

/// Whether the same work may be tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Retry {
    /// Trying again would end the same way.
    Never,
    /// May be tried again, not before this long from now.
    After(Duration),
    /// May be tried again; how long to wait is the function's retry policy.
    Policy,
}

//! What functions do in a run: each input is a script of it.

use std::time::Duration;

use async_trait::async_trait;
use bulkhead_engine::{Live, Resolve};
use bulkhead_types::{
    Cause, ConnectionId, ErrorInfo, Fault, FunctionKey, FunctionKind, FunctionName, IntegrationId,
    LimitKind, Limits, Outcome, Retry, RetryPolicy, TenantId, VersionId,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::time::Dice;

/// The longest attempt of any function here.
pub(crate) const TIME_MS_MAX: u64 = 8_000;

/// What an execution does, as its input tells.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Script {
    /// How long it takes, or each page does, milliseconds.
    pub(crate) ms: u64,
    /// Pages that a sync saves, each with its checkpoint.
    pub(crate) pages: u64,
    /// Attempts that end badly before one ends well.
    pub(crate) bad: u32,
    /// How these end.
    pub(crate) how: How,
}

/// How an attempt ends that ends badly.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum How {
    ByPolicy,
    ForGood,
    Later,
    Crashed,
    OutOfMemory,
    AtTheCap,
    OurFault,
}

const HOW: [How; 7] = [
    How::ByPolicy,
    How::ForGood,
    How::Later,
    How::Crashed,
    How::OutOfMemory,
    How::AtTheCap,
    How::OurFault,
];

impl Script {
    pub(crate) fn draw(dice: &Dice, kind: FunctionKind) -> Self {
        let ms = u64::try_from(dice.span(1, 4_000).as_millis()).unwrap_or(1);
        let pages = if kind == FunctionKind::Sync { dice.between(0, 12) } else { 0 };
        let bad = *dice.one_of(&[0, 0, 0, 1, 2, 9]);
        Self { ms: if pages > 0 { ms.min(1_500) } else { ms }, pages, bad, how: *dice.one_of(&HOW) }
    }

    /// An action that ends well, and takes at least as long as the scheduler takes it to.
    pub(crate) fn plain(dice: &Dice) -> Self {
        Self { ms: dice.between(200, 2_000), pages: 0, bad: 0, how: How::ByPolicy }
    }

    pub(crate) fn of(input: &Value) -> Option<Self> {
        serde_json::from_value(input.clone()).ok()
    }

    pub(crate) fn input(&self) -> Value {
        json!({"ms": self.ms, "pages": self.pages, "bad": self.bad, "how": self.how})
    }

    /// How an attempt ends that nothing cuts short.
    pub(crate) fn outcome(&self, attempt: u32) -> Outcome {
        if attempt > self.bad {
            return Outcome::Completed(json!({"attempt": attempt}));
        }
        match self.how {
            How::ByPolicy => failed(Fault::Tenant, Retry::Policy),
            How::ForGood => failed(Fault::Tenant, Retry::Never),
            How::Later => failed(Fault::Upstream, Retry::After(Duration::from_secs(20))),
            How::OurFault => failed(Fault::Platform, Retry::Policy),
            How::Crashed => Outcome::Crashed(error("crashed")),
            How::OutOfMemory => Outcome::Limit(LimitKind::OutOfMemory, error("out_of_memory")),
            How::AtTheCap => at_the_cap(),
        }
    }
}

/// Killed at the cap.
pub(crate) fn at_the_cap() -> Outcome {
    Outcome::Limit(LimitKind::TimeLimit, error("time_limit"))
}

pub(crate) fn failed(fault: Fault, retry: Retry) -> Outcome {
    Outcome::Failed(Cause { error: error("failed"), fault, retry })
}

fn error(code: &str) -> ErrorInfo {
    ErrorInfo::new(code, "as its script says")
}

/// The tenant at this place.
#[allow(clippy::unwrap_used, reason = "made of letters and digits")]
pub(crate) fn tenant(at: usize) -> TenantId {
    TenantId::parse(&format!("t{at}")).unwrap()
}

/// A function of the tenant at this place.
#[allow(clippy::unwrap_used, reason = "made of letters and digits")]
pub(crate) fn function(at: usize, kind: FunctionKind, name: &str) -> FunctionKey {
    FunctionKey {
        tenant: tenant(at),
        integration: IntegrationId::parse("api").unwrap(),
        kind,
        name: FunctionName::parse(name).unwrap(),
    }
}

/// One of three connections.
#[allow(clippy::unwrap_used, reason = "made of letters and digits")]
pub(crate) fn connection(at: usize) -> ConnectionId {
    ConnectionId::parse(&format!("c{at}")).unwrap()
}

/// The one version of everything.
#[allow(clippy::unwrap_used, reason = "made of letters and digits")]
pub(crate) fn version() -> VersionId {
    VersionId::parse("v1").unwrap()
}

pub(crate) fn limits() -> Limits {
    Limits { time_ms: TIME_MS_MAX, ..Limits::default() }
}

/// The name of the function that schedules have and no deployment.
pub(crate) const UNDEPLOYED: &str = "undeployed";

/// What schedules run: each function's script follows from its name.
pub(crate) struct Deployed;

#[async_trait]
impl Resolve for Deployed {
    async fn live(
        &self,
        function: &FunctionKey,
        _connection: Option<&ConnectionId>,
    ) -> Result<Live, String> {
        let name = function.name.as_str();
        if name == UNDEPLOYED {
            return Err("not deployed".to_owned());
        }
        let length = u64::try_from(name.len()).unwrap_or(1);
        let script = Script { ms: 400, pages: length, bad: 0, how: How::ByPolicy };
        Ok(Live {
            version: version(),
            limits: limits(),
            retry: RetryPolicy::default(),
            concurrency: None,
            input: script.input(),
        })
    }
}

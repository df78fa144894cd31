//! Runs of functions in real sandboxes before anything is deployed: recorded mocks are replayed (`bulkhead test`), or a
//! real connection is used without anything being written (`bulkhead dryrun`).
//!
//! Layout: [`mocks`] is the file format, [`files`] where files are; [`matching`] finds a request's answer and [`compare`] tells differences (both
//! pure); [`scene`] answers what a function asks for and keeps what it did; [`live`] is a real connection, by way of its
//! server; [`stage`] puts scenes between the worker and the platform; this file runs a function on an embedded server.

pub(crate) mod compare;
pub(crate) mod files;
pub(crate) mod live;
pub(crate) mod matching;
pub(crate) mod mocks;
pub(crate) mod scene;
pub(crate) mod stage;

use std::sync::Arc;

use anyhow::Context as _;
use bulkhead_api::{DeployFunction, Execution, ExecutionShow, Function, FunctionList, LogPage, Op};
use bulkhead_client::Request;
use bulkhead_engine::Submit;
use bulkhead_types::{
    ConnectionId, FunctionKey, FunctionKind, FunctionName, IntegrationId, Limits, TenantId,
    Trigger, VersionId,
};
use serde_json::Value;

use crate::verbs::embedded::{Embedded, Ready, TENANT};
use scene::Scene;
use stage::Stage;

/// The connection of a run that names none.
const CONNECTION: &str = "test";

/// Log lines of one run that are shown.
const LOG_LINES: &str = "1000";

/// A server on which functions are live, whose platform is a stage.
pub(crate) struct Rehearsal {
    embedded: Embedded,
    stage: Arc<Stage>,
    functions: Vec<Function>,
}

/// One run.
pub(crate) struct Run<'a> {
    pub(crate) function: &'a Function,
    pub(crate) scene: Arc<Scene>,
    pub(crate) input: Value,
    pub(crate) connection: Option<String>,
    /// Runs a sync's `onWebhook` with the input as the webhook's body.
    pub(crate) on_webhook: bool,
}

/// How a run ended.
pub(crate) struct Ended {
    pub(crate) execution: ExecutionShow,
    /// Level and text.
    pub(crate) log: Vec<(String, String)>,
}

impl Ended {
    pub(crate) fn stack(&self) -> Option<&str> {
        self.execution.attempt_list.last().and_then(|attempt| attempt.stack.as_deref())
    }

    pub(crate) fn succeeded(&self) -> bool {
        self.summary().state == "succeeded"
    }

    pub(crate) fn summary(&self) -> &Execution {
        &self.execution.execution
    }
}

impl Rehearsal {
    /// Makes functions live. `offline`: sandboxes reach no network.
    pub(crate) async fn start(
        ready: Ready,
        functions: Vec<DeployFunction>,
        offline: bool,
    ) -> anyhow::Result<Self> {
        let stage = Arc::new(Stage::default());
        let before = Arc::clone(&stage);
        let embedded = ready.start_with(|parts| before.before(parts, offline)).await?;
        embedded.deploy(functions).await?;
        let list = Request::new(Op::ListFunctions, &[]);
        let FunctionList { functions } = embedded.client.call(list).await?;
        Ok(Self { embedded, stage, functions })
    }

    pub(crate) fn functions(&self) -> &[Function] {
        &self.functions
    }

    /// Runs a function to its end, however many attempts that takes.
    pub(crate) async fn run(&self, run: Run<'_>) -> anyhow::Result<Ended> {
        let function = run.function;
        let kind = kind_of(&function.kind)?;
        self.stage.set((function.integration.clone(), kind, function.name.clone()), run.scene);
        let trigger = match kind {
            FunctionKind::Webhook => Trigger::Webhook,
            FunctionKind::Sync if run.on_webhook => Trigger::Webhook,
            FunctionKind::Event => Trigger::Event,
            _ => Trigger::Api,
        };
        let key = FunctionKey {
            tenant: TenantId::parse(TENANT)?,
            integration: IntegrationId::parse(&function.integration)?,
            kind,
            name: FunctionName::parse(&function.name)?,
        };
        let input = match run.on_webhook {
            true => {
                serde_json::json!({"headers": {}, "body": run.input, "raw": run.input.to_string()})
            }
            false => run.input,
        };
        let mut submit = Submit::new(key, VersionId::parse(&function.version)?, trigger, input);
        submit.limits = serde_json::from_value::<Limits>(function.spec["limits"].clone())?;
        let connection = run.connection.as_deref().unwrap_or(CONNECTION);
        submit.connection = Some(ConnectionId::parse(connection)?);
        let execution = self.embedded.server.run(submit).await?;
        self.ended(&execution).await
    }

    async fn ended(&self, execution: &str) -> anyhow::Result<Ended> {
        let client = &self.embedded.client;
        let show: ExecutionShow =
            client.call(Request::new(Op::ShowExecution, &[execution])).await?;
        let request = Request::new(Op::ExecutionLogs, &[execution]).query("limit", LOG_LINES);
        let page: LogPage = client.call(request).await?;
        let log = page.logs.into_iter().map(|line| (line.level, line.message)).collect();
        Ok(Ended { execution: show, log })
    }

    /// Ends everything; nothing is left behind.
    pub(crate) async fn stop(self) -> anyhow::Result<()> {
        self.embedded.stop().await
    }
}

/// A kind by its name.
pub(crate) fn kind_of(name: &str) -> anyhow::Result<FunctionKind> {
    FunctionKind::parse(name).with_context(|| format!("{name:?} is no kind of function"))
}

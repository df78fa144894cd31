//! The table of routes. The server serves exactly these, the OpenAPI document lists exactly these.

use std::time::Duration;

/// Who may call a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Anybody.
    Open,
    /// Whoever has a key of the tenant.
    Tenant,
    /// Whoever has the operator's key.
    Admin,
    /// A worker with a token (`docs/worker-protocol.md`). Not part of the API for people.
    Worker,
}

/// An HTTP method that a route is called with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// GET (and HEAD).
    Get,
    /// POST.
    Post,
    /// PUT.
    Put,
    /// PATCH.
    Patch,
    /// DELETE.
    Delete,
    /// Any of them.
    Any,
}

/// Which schema a body has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Body {
    /// None.
    None,
    /// Any JSON.
    Json,
    /// Any bytes.
    Bytes,
    /// A page for browsers.
    Html,
    /// Text.
    Text,
    /// What an external API says, of whatever type and with whatever status.
    Foreign,
    /// The named wire type.
    Named(&'static str),
}

/// One route.
#[derive(Debug, Clone, Copy)]
pub struct Route {
    /// What it does.
    pub op: Op,
    /// How it is called.
    pub verb: Verb,
    /// Where; `{name}` is one segment, `{*rest}` is the rest.
    pub path: &'static str,
    /// Who may call it.
    pub access: Access,
    /// The most bytes of its body.
    pub body_bytes_max: usize,
    /// How long a request may take in all, body and answer's head included. Bodies that stream on are not counted.
    pub deadline: Duration,
    /// What it takes.
    pub takes: Body,
    /// What it answers when all is well, with which status.
    pub gives: (u16, Body),
    /// Query parameters and headers it reads: (place, name, what).
    pub reads: &'static [(Place, &'static str, &'static str)],
    /// One line for people.
    pub summary: &'static str,
}

/// Where a parameter stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// In the query.
    Query,
    /// In a header.
    Header,
}

/// Bodies that carry a few names.
const SMALL: usize = 64 << 10;
/// Inputs of functions: their default limit is 6 MiB; the rest is room for a raised one.
const INPUT: usize = 16 << 20;
/// Deployments: every bundle and source map of a project.
const DEPLOY: usize = 256 << 20;
/// Files on their way to an API: the largest object of most storage APIs that takes one request.
const STREAM: usize = 5 << 30;
/// Provider webhooks: the largest common provider limit (GitHub) is 25 MiB.
const WEBHOOK: usize = 25 << 20;

/// Ordinary requests.
const QUICK: Duration = Duration::from_secs(30);
/// Messages of workers that wait for something to happen: the longest wait that is granted, and room.
const POLLS: Duration = Duration::from_secs(45);
/// Messages of workers that can't wait: a lease lives 15 s.
const PROMPT: Duration = Duration::from_secs(10);
/// A worker's list of leases, at 80 bytes or so each.
const LEASES: usize = 1 << 20;
/// Uploads.
const UPLOAD: Duration = Duration::from_secs(120);
/// Requests that wait for an execution: the cap of one attempt and some room for queueing.
const WAITS: Duration = Duration::from_secs(15 * 60);

macro_rules! ops {
    ($(#[doc = $doc:literal] $op:ident: $verb:ident $path:literal $access:ident, $bytes:expr, $deadline:expr,
        $takes:expr => $status:literal $gives:expr, [$($place:ident $name:literal $what:literal),*];)*) => {
        /// What a route does; one variant per route.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Op { $(#[doc = $doc] $op,)* }

        /// Every route.
        pub const ROUTES: &[Route] = &[$(Route {
            op: Op::$op,
            verb: Verb::$verb,
            path: $path,
            access: Access::$access,
            body_bytes_max: $bytes,
            deadline: $deadline,
            takes: $takes,
            gives: ($status, $gives),
            reads: &[$((Place::$place, $name, $what)),*],
            summary: $doc,
        }),*];
    };
}

use Body::{Bytes, Foreign, Html, Json, Named, None, Text};

ops! {
    #[doc = "Runs an action and answers with its output, or with 202 when asked not to wait."]
    RunAction: Post "/v1/actions/{integration}/{name}" Tenant, INPUT, WAITS, Json => 200 Json,
        [Header "Connection-Id" "the connection", Header "Idempotency-Key" "at most 255 characters",
         Header "Prefer" "`respond-async`, `wait=SECONDS`",
         Header "Concurrency-Key" "`NAME` or `NAME; max=N`: at most so many with this name run at the same time, else 1",
         Header "Start-Within" "seconds; expires unless it began by then"];

    #[doc = "Lists executions, newest first."]
    ListExecutions: Get "/v1/executions" Tenant, 0, QUICK, None => 200 Named("ExecutionList"),
        [Query "function" "`name`, or `integration/name`", Query "kind" "`action`, `sync`, `webhook`, `event`",
         Query "state" "a state", Query "error" "an error code", Query "connection" "a connection",
         Query "since" "RFC 3339 or milliseconds", Query "until" "RFC 3339 or milliseconds",
         Query "cursor" "from the page before", Query "limit" "1 to 200, else 50"];
    #[doc = "Lists dead letters, newest first: failed executions that nobody has repeated."]
    ListDeadLetters: Get "/v1/dead-letters" Tenant, 0, QUICK, None => 200 Named("ExecutionList"),
        [Query "function" "`name`, or `integration/name`", Query "kind" "`action`, `sync`, `webhook`, `event`",
         Query "error" "an error code", Query "connection" "a connection",
         Query "since" "RFC 3339 or milliseconds", Query "until" "RFC 3339 or milliseconds",
         Query "cursor" "from the page before", Query "limit" "1 to 200, else 50"];
    #[doc = "Repeats the dead letters that match, newest first, each once."]
    ReplayDeadLetters: Post "/v1/dead-letters/replay" Tenant, SMALL, UPLOAD, Named("Replay") => 200 Named("Replayed"), [];
    #[doc = "Shows an execution with its attempts and its timeline."]
    ShowExecution: Get "/v1/executions/{id}" Tenant, 0, QUICK, None => 200 Named("ExecutionShow"), [];
    #[doc = "Cancels an execution."]
    CancelExecution: Post "/v1/executions/{id}/cancel" Tenant, SMALL, QUICK, None => 202 Named("Accepted"), [];
    #[doc = "Runs a finished execution's function again, on the same input."]
    RetryExecution: Post "/v1/executions/{id}/retry" Tenant, SMALL, QUICK, None => 202 Named("Accepted"), [];
    #[doc = "Reads an execution's log; with `Accept: text/event-stream` follows it to the execution's end."]
    ExecutionLogs: Get "/v1/executions/{id}/logs" Tenant, 0, QUICK, None => 200 Named("LogPage"),
        [Query "after" "the last seen `seq`", Query "limit" "1 to 1000, else 200", Header "Accept" "`text/event-stream`"];

    #[doc = "Makes a set of functions live, all or none."]
    Deploy: Post "/v1/deployments" Tenant, DEPLOY, UPLOAD, Named("Deploy") => 201 Named("Deployment"), [];
    #[doc = "Lists deployments, newest first."]
    ListDeployments: Get "/v1/deployments" Tenant, 0, QUICK, None => 200 Named("DeploymentList"), [];
    #[doc = "Makes an earlier deployment's versions live again, as a new deployment."]
    Rollback: Post "/v1/deployments/{id}/rollback" Tenant, SMALL, QUICK, None => 201 Named("Deployment"), [];
    #[doc = "Lists live functions."]
    ListFunctions: Get "/v1/functions" Tenant, 0, QUICK, None => 200 Named("FunctionList"), [];
    #[doc = "Shows a live function."]
    ShowFunction: Get "/v1/functions/{integration}/{kind}/{name}" Tenant, 0, QUICK, None => 200 Named("Function"), [];

    #[doc = "Lists syncs and their schedules."]
    ListSyncs: Get "/v1/syncs" Tenant, 0, QUICK, None => 200 Named("SyncList"), [];
    #[doc = "Runs a sync of a connection now."]
    TriggerSync: Post "/v1/syncs/{integration}/{name}/trigger" Tenant, SMALL, QUICK, Named("SyncCall") => 202 Named("Accepted"),
        [Header "Idempotency-Key" "at most 255 characters"];
    #[doc = "Stops a sync of a connection from running by schedule."]
    PauseSync: Post "/v1/syncs/{integration}/{name}/pause" Tenant, SMALL, QUICK, Named("SyncCall") => 200 Named("Sync"), [];
    #[doc = "Lets a sync of a connection run by schedule; makes the schedule when there is none."]
    ResumeSync: Post "/v1/syncs/{integration}/{name}/resume" Tenant, SMALL, QUICK, Named("SyncCall") => 200 Named("Sync"), [];
    #[doc = "Says how often a sync of a connection runs."]
    SetFrequency: Put "/v1/syncs/{integration}/{name}/frequency" Tenant, SMALL, QUICK, Named("SetFrequency") => 200 Named("Sync"), [];

    #[doc = "Lists limits on what runs at the same time, and what is paused."]
    ListLimits: Get "/v1/limits" Tenant, 0, QUICK, None => 200 Named("LimitList"), [];
    #[doc = "Limits what runs at the same time of a connection or a concurrency key; pauses or resumes a function, a connection or a key."]
    SetLimit: Put "/v1/limits" Tenant, SMALL, QUICK, Named("SetLimit") => 200 Named("Limit"), [];

    #[doc = "Says what would happen if a function connected to a host now, and why: each address, each rule."]
    ExplainEgress: Get "/v1/egress" Tenant, 0, QUICK, None => 200 Named("EgressExplanation"),
        [Query "host" "a name or an address", Query "port" "443 where it is absent",
         Query "function" "`integration/kind/name`; absent is a function without rules of its own"];

    #[doc = "Reads records that syncs saved, in the order in which they last changed."]
    ListRecords: Get "/v1/records" Tenant, 0, QUICK, None => 200 Named("RecordPage"),
        [Query "connection_id" "the connection", Query "integration" "when the connection's name is not unique",
         Query "model" "the model", Query "cursor" "from the page before", Query "limit" "1 to 1000, else 100",
         Query "filter" "`added`, `updated`, `deleted`, or several with commas",
         Query "modified_after" "RFC 3339 or milliseconds", Query "ids" "at most 100, with commas"];

    #[doc = "Says how many records a connection has of each model."]
    CountRecords: Get "/v1/records/counts" Tenant, 0, QUICK, None => 200 Named("ModelList"),
        [Query "connection_id" "the connection", Query "integration" "when the connection's name is not unique"];

    #[doc = "Lists integrations."]
    ListIntegrations: Get "/v1/integrations" Tenant, 0, QUICK, None => 200 Named("IntegrationList"), [];
    #[doc = "Shows an integration."]
    ShowIntegration: Get "/v1/integrations/{integration}" Tenant, 0, QUICK, None => 200 Named("Integration"), [];
    #[doc = "Creates or replaces an integration."]
    PutIntegration: Put "/v1/integrations/{integration}" Tenant, SMALL, QUICK, Named("PutIntegration") => 200 Named("Integration"), [];
    #[doc = "Removes an integration and its connections."]
    DeleteIntegration: Delete "/v1/integrations/{integration}" Tenant, 0, QUICK, None => 204 None, [];

    #[doc = "Lists the well-known APIs of the catalogue."]
    ListProviders: Get "/v1/providers" Tenant, 0, QUICK, None => 200 Named("ProviderList"), [];
    #[doc = "Shows what the catalogue knows about an API."]
    ShowProvider: Get "/v1/providers/{provider}" Tenant, 0, QUICK, None => 200 Json, [];

    #[doc = "Opens a way into a connection, for an end user to go."]
    CreateConnectSession: Post "/v1/connect/sessions" Tenant, 1 << 20, QUICK, Named("PutConnectSession") => 201 Named("ConnectSession"), [];
    #[doc = "The page that an end user connects on."]
    ConnectPage: Get "/connect/{token}" Open, 0, QUICK, None => 200 Html, [];
    #[doc = "An end user filled in the page, or goes on to the provider."]
    ConnectGo: Post "/connect/{token}" Open, SMALL, QUICK, Bytes => 303 Html, [];
    #[doc = "Where providers send end users back to."]
    ConnectCallback: Get "/connect/callback" Open, 0, QUICK, None => 303 Html,
        [Query "state" "as it was sent", Query "code" "from the provider", Query "error" "from the provider"];

    #[doc = "Lists connections."]
    ListConnections: Get "/v1/connections" Tenant, 0, QUICK, None => 200 Named("ConnectionList"),
        [Query "integration" "of one integration", Query "cursor" "from the page before",
         Query "limit" "1 to 1000, else 100"];
    #[doc = "Creates or replaces a connection."]
    PutConnection: Post "/v1/connections" Tenant, 1 << 20, QUICK, Named("PutConnection") => 200 Named("Connection"), [];
    #[doc = "Shows a connection, without credentials."]
    ShowConnection: Get "/v1/connections/{integration}/{id}" Tenant, 0, QUICK, None => 200 Named("Connection"), [];
    #[doc = "Changes a connection's credentials or merges fields into its metadata."]
    PatchConnection: Patch "/v1/connections/{integration}/{id}" Tenant, 1 << 20, QUICK, Named("PatchConnection") => 200 Named("Connection"), [];
    #[doc = "Removes a connection."]
    DeleteConnection: Delete "/v1/connections/{integration}/{id}" Tenant, 0, QUICK, None => 204 None, [];
    #[doc = "Reads a connection's metadata."]
    GetMetadata: Get "/v1/connections/{integration}/{id}/metadata" Tenant, 0, QUICK, None => 200 Json, [];
    #[doc = "Replaces a connection's metadata."]
    SetMetadata: Put "/v1/connections/{integration}/{id}/metadata" Tenant, 1 << 20, QUICK, Json => 200 Json, [];
    #[doc = "Merges fields into a connection's metadata."]
    MergeMetadata: Patch "/v1/connections/{integration}/{id}/metadata" Tenant, 1 << 20, QUICK, Json => 200 Json, [];

    #[doc = "Sends a request to an external API with a connection's credentials, and answers with what it answers."]
    Proxy: Any "/v1/proxy/{*path}" Tenant, STREAM, WAITS, Bytes => 200 Foreign,
        [Header "Connection-Id" "the connection", Header "Integration" "the integration",
         Header "Retries" "0 to 10", Header "Base-Url-Override" "another base URL"];

    #[doc = "Takes a provider's webhook; durable once answered."]
    Webhook: Post "/v1/webhooks/{tenant}/{integration}" Open, WEBHOOK, QUICK, Bytes => 202 Json, [];

    #[doc = "As the one above, with a connection named by the path."]
    WebhookAt: Post "/v1/webhooks/{tenant}/{integration}/{segment}" Open, WEBHOOK, QUICK, Bytes => 202 Json, [];
    #[doc = "Answers a provider that asks whether the webhook address is ours."]
    WebhookChallenge: Get "/v1/webhooks/{tenant}/{integration}" Open, 0, QUICK, None => 200 Text, [];

    #[doc = "Shows where the tenant's product listens."]
    ShowNotificationTarget: Get "/v1/notifications/target" Tenant, 0, QUICK, None => 200 Named("NotificationTarget"), [];
    #[doc = "Sets where the tenant's product listens. The secret of the signatures is in this answer and nowhere else."]
    PutNotificationTarget: Put "/v1/notifications/target" Tenant, SMALL, QUICK, Named("NotificationTarget") => 200 Named("NotificationTarget"), [];
    #[doc = "The tenant's product is told nothing more."]
    DeleteNotificationTarget: Delete "/v1/notifications/target" Tenant, 0, QUICK, None => 204 None, [];
    #[doc = "Lists what the tenant's product is told, by id; dead letters unless another state is asked for."]
    ListNotifications: Get "/v1/notifications" Tenant, 0, QUICK, None => 200 Named("NotificationList"),
        [Query "state" "`waiting`, `delivered`, `dead`", Query "after" "the last id of the page before",
         Query "limit" "1 to 200, else 50"];
    #[doc = "Tells it again, at once."]
    RetryNotification: Post "/v1/notifications/{id}/retry" Tenant, SMALL, QUICK, None => 202 Named("Notification"), [];

    #[doc = "Seals a batch of secrets anew, under the key that seals now."]
    RotateSecrets: Post "/v1/secrets/rotate" Admin, SMALL, UPLOAD, Named("Rotate") => 200 Named("Rotated"), [];

    #[doc = "Lists tenants."]
    ListTenants: Get "/v1/tenants" Admin, 0, QUICK, None => 200 Named("TenantList"), [];
    #[doc = "Creates a tenant, or changes it."]
    PutTenant: Put "/v1/tenants/{tenant}" Admin, SMALL, QUICK, Named("PutTenant") => 200 Named("Tenant"), [];
    #[doc = "Says what would happen if a function of the tenant connected to a host now, and why."]
    ExplainTenantEgress: Get "/v1/tenants/{tenant}/egress" Admin, 0, QUICK, None => 200 Named("EgressExplanation"),
        [Query "host" "a name or an address", Query "port" "443 where it is absent",
         Query "function" "`integration/kind/name`; absent is a function without rules of its own"];
    #[doc = "Lets nothing of a tenant begin; what comes in is accepted and waits."]
    PauseTenant: Post "/v1/tenants/{tenant}/pause" Admin, SMALL, QUICK, None => 200 Named("Tenant"), [];
    #[doc = "Lets a tenant go on."]
    ResumeTenant: Post "/v1/tenants/{tenant}/resume" Admin, SMALL, QUICK, None => 200 Named("Tenant"), [];
    #[doc = "Lists a tenant's keys, without secrets."]
    ListKeys: Get "/v1/tenants/{tenant}/keys" Admin, 0, QUICK, None => 200 Named("KeyList"), [];
    #[doc = "Makes a key for a tenant. Its secret is in this answer and nowhere else."]
    CreateKey: Post "/v1/tenants/{tenant}/keys" Admin, SMALL, QUICK, Named("PutKey") => 201 Named("KeyCreated"), [];
    #[doc = "Revokes a key."]
    DeleteKey: Delete "/v1/tenants/{tenant}/keys/{id}" Admin, 0, QUICK, None => 204 None, [];

    #[doc = "Lists the workers that this server has heard of lately."]
    ListWorkers: Get "/v1/workers" Admin, 0, QUICK, None => 200 Named("WorkerList"), [];
    #[doc = "Lists the tokens that workers join with, without secrets."]
    ListWorkerTokens: Get "/v1/worker-tokens" Admin, 0, QUICK, None => 200 Named("KeyList"), [];
    #[doc = "Makes a token for workers. It is in this answer and nowhere else."]
    CreateWorkerToken: Post "/v1/worker-tokens" Admin, SMALL, QUICK, Named("PutKey") => 201 Named("KeyCreated"), [];
    #[doc = "Revokes a worker token."]
    DeleteWorkerToken: Delete "/v1/worker-tokens/{id}" Admin, 0, QUICK, None => 204 None, [];

    #[doc = "Gives a worker leases, waiting until there is work."]
    WorkerLease: Post "/v1/worker/lease" Worker, SMALL, POLLS, Json => 200 Json, [];
    #[doc = "Renews a worker's leases, all in one message."]
    WorkerRenew: Post "/v1/worker/renew" Worker, LEASES, PROMPT, Json => 200 Json, [];
    #[doc = "Tells a worker what to stop, waiting until there is something."]
    WorkerRecalls: Post "/v1/worker/recalls" Worker, SMALL, POLLS, Json => 200 Json, [];
    #[doc = "Takes the outcome of an attempt."]
    WorkerSettle: Post "/v1/worker/settle" Worker, INPUT, QUICK, Json => 200 Json, [];
    #[doc = "Gives what an attempt needs, when it did not fit into the lease."]
    WorkerPrepare: Post "/v1/worker/prepare" Worker, SMALL, QUICK, Json => 200 Json, [];
    #[doc = "Gives a bundle by the hash of its content."]
    WorkerBundle: Get "/v1/worker/bundles/{digest}" Worker, 0, UPLOAD, None => 200 Bytes, [];
    #[doc = "Answers a call of a running function."]
    WorkerCall: Post "/v1/worker/call" Worker, INPUT, WAITS, Json => 200 Json, [];
    #[doc = "Makes a request to an external API whose bodies pass piece by piece."]
    WorkerStream: Post "/v1/worker/stream" Worker, STREAM, WAITS, Bytes => 200 Bytes, [];
    #[doc = "Keeps log lines of an attempt."]
    WorkerLog: Post "/v1/worker/log" Worker, INPUT, PROMPT, Json => 200 Json, [];
    #[doc = "Keeps an event on an execution's timeline."]
    WorkerEvent: Post "/v1/worker/event" Worker, SMALL, PROMPT, Json => 200 Json, [];
    #[doc = "A worker takes its leave: what it still holds is run again at once."]
    WorkerLeave: Post "/v1/worker/leave" Worker, SMALL, PROMPT, Json => 200 Json, [];

    #[doc = "Says whether the process lives."]
    Healthz: Get "/healthz" Open, 0, QUICK, None => 200 Json, [];
    #[doc = "Says whether the server can take work."]
    Readyz: Get "/readyz" Open, 0, QUICK, None => 200 Json, [];
    #[doc = "Metrics in Prometheus' text format."]
    Metrics: Get "/metrics" Open, 0, QUICK, None => 200 Text, [];
    #[doc = "This document."]
    OpenApi: Get "/openapi.json" Open, 0, QUICK, None => 200 Json, [];
}

/// The route of `op`.
#[must_use]
pub fn route(op: Op) -> &'static Route {
    // The macro above makes one route per variant, in the same order.
    &ROUTES[op as usize]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_op_finds_its_own_route() {
        assert!(ROUTES.iter().all(|r| route(r.op).op == r.op));
    }
}

//! Every error code that a caller can see, with its HTTP status and what to do. `docs/errors/README.md` is printed
//! from this table, and a test holds the two together.

use bulkhead_types::Fault;

/// One error code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Code {
    /// The stable text.
    pub code: &'static str,
    /// The HTTP status it is answered with, when a request ends with it.
    pub status: u16,
    /// Whose fault it is.
    pub fault: Fault,
    /// What happened.
    pub meaning: &'static str,
    /// What to do.
    pub remedy: &'static str,
}

const fn code(
    code: &'static str,
    status: u16,
    fault: Fault,
    meaning: &'static str,
    remedy: &'static str,
) -> Code {
    Code { code, status, fault, meaning, remedy }
}

use Fault::{Caller, Platform, Tenant, Upstream};

/// The table, by group. Codes are never re-used for something else.
#[rustfmt::skip]
pub const CODES: &[Code] = &[
    // The request itself.
    code("invalid_json", 400, Caller, "The body is not JSON; the message has line and column.", "Send valid JSON."),
    code("invalid_body", 400, Caller, "The body is JSON, but a field is missing, unknown or of the wrong type.", "See the message and /openapi.json."),
    code("invalid_query", 400, Caller, "A query parameter is unknown or can't be read.", "See the message and /openapi.json."),
    code("invalid_header", 400, Caller, "A header is missing or can't be read.", "See the message and /openapi.json."),
    code("invalid_name", 400, Caller, "A name or id has characters that names can't have.", "Use letters, digits, '-', '_' and '.'."),
    code("invalid_input", 400, Caller, "The function refused its input.", "The payload lists what its schema says."),
    code("invalid_idempotency_key", 400, Caller, "The idempotency key is empty or too long.", "Use 1 to 255 characters, such as a UUID."),
    code("invalid_concurrency_key", 400, Caller, "The concurrency key is empty, too long, or lets nobody through.", "Use 1 to 255 characters, and a limit of at least 1."),
    code("limit_above_ceiling", 400, Caller, "A function asks for more than the operator allows.", "Ask for less, or have the operator raise the ceiling."),
    code("invalid_frequency", 400, Caller, "The frequency of a sync can't be read.", "Use `every 5m` or `cron: 0 6 * * *`."),
    code("invalid_cursor", 400, Caller, "The cursor is none that an earlier page gave.", "Begin again without a cursor."),
    code("invalid_spec", 400, Caller, "What a deployed function declares can't be read.", "Deploy with the `bulkhead deploy` of the server's version."),
    code("invalid_record", 400, Tenant, "A record has no id, or the id stands twice in one batch.", "Give each record of a batch an id of its own."),
    code("model_unknown", 400, Tenant, "The model is none that the sync declared.", "Declare it in `models`, or correct the name."),
    code("missing_key", 401, Caller, "There is no `Authorization: Bearer KEY` header.", "Send the tenant's key, or the admin key for operator routes."),
    code("wrong_key", 401, Caller, "The key is unknown or was revoked.", "Check the key; `bulkhead keys create` makes a new one."),
    code("admin_key_needed", 403, Caller, "The route is for the operator.", "Send the admin key (DATA_DIR/admin.key)."),
    code("tenant_key_needed", 403, Caller, "The route belongs to a tenant, and the admin key is none.", "Send a tenant's key; `bulkhead keys create TENANT` makes one."),
    code("wrong_worker", 403, Caller, "The worker that the message names is not one of the token that came with it.", "A worker names itself after its token: see docs/worker-protocol.md."),
    code("webhook_signature_wrong", 401, Caller, "The signature of a webhook is missing or wrong.", "Compare the secret at the provider with the integration's."),
    code("route_not_found", 404, Caller, "There is no such route.", "See /openapi.json."),
    code("tenant_not_found", 404, Caller, "There is no such tenant.", "`bulkhead tenants list` lists them."),
    code("key_not_found", 404, Caller, "There is no such key.", "`bulkhead keys list TENANT` lists them."),
    code("function_not_found", 404, Caller, "No live function has this name and kind.", "`bulkhead functions` lists them; deploy it first."),
    code("integration_not_found", 404, Caller, "There is no such integration.", "`bulkhead integrations list` lists them."),
    code("connection_not_found", 404, Caller, "There is no such connection.", "`bulkhead connections list` lists them."),
    code("provider_not_found", 404, Caller, "The catalogue has no such provider.", "`bulkhead providers list` lists them; an integration can do without one."),
    code("connect_session_not_found", 404, Caller, "The link to connect with has expired or was used.", "Make another one with POST /v1/connect/sessions."),
    code("notification_not_found", 404, Caller, "There is no such notification, or no target for any.", "GET /v1/notifications lists them; PUT /v1/notifications/target sets the target."),
    code("execution_not_found", 404, Caller, "There is no such execution.", "`bulkhead executions list` lists them."),
    code("deployment_not_found", 404, Caller, "There is no such deployment.", "GET /v1/deployments lists them."),
    code("version_not_found", 404, Caller, "There is no such version.", "Deploy again."),
    code("schedule_not_found", 404, Caller, "The function has no schedule for this connection.", "Set one with PUT …/frequency, or trigger it once."),
    code("function_not_live", 404, Caller, "The function is not deployed any more.", "Deploy it again."),
    code("sync_not_scheduled", 404, Caller, "The sync has no schedule for this connection.", "Set one with PUT …/frequency, or trigger it once."),
    code("method_not_allowed", 405, Caller, "The route does not know this method.", "The `Allow` header lists those it knows."),
    code("request_timeout", 408, Caller, "The body did not arrive in time.", "Send it faster, or in smaller pieces."),
    code("deployment_destructive", 409, Caller, "The deployment would remove functions.", "Look at the payload; then send `allow_destructive`."),
    code("execution_final", 409, Caller, "The execution has ended already.", "Retry it to run it again."),
    code("execution_not_retryable", 409, Caller, "Only an execution that ended badly can be retried.", "Wait for its end, or call the function anew."),
    code("execution_not_final", 409, Caller, "The execution has not ended yet.", "Wait for its end, or cancel it first."),
    code("idempotency_conflict", 409, Caller, "The idempotency key was used with another input.", "Use a new key for a new call."),
    code("already_exists", 409, Caller, "There is one of that name.", "Choose another name, or change the existing one."),
    code("cancelled", 409, Caller, "Somebody cancelled the execution.", "Retry it if that was a mistake."),
    code("body_too_large", 413, Caller, "The body is larger than the route allows.", "The message has the limit."),
    code("input_too_large", 413, Caller, "The input is larger than the function's limit.", "Send less, or raise `limits.input_bytes`."),
    code("too_many_requests", 429, Caller, "More requests than allowed.", "Wait as long as `Retry-After` says."),
    code("queue_full", 429, Caller, "The tenant has as many executions waiting as it may.", "Wait as long as `Retry-After` says."),
    code("headers_too_large", 431, Caller, "The request's headers are too large.", "Send fewer or shorter headers."),
    code("connection_invalid", 422, Caller, "A function of the event `validate-connection` found the new connection not valid.", "The message has why; connect with other credentials."),
    // What a function did.
    code("action_error", 422, Tenant, "The function threw an ActionError.", "The payload is what its author attached."),
    code("script_error", 422, Tenant, "The function threw.", "See the execution's log; the attempt has the stack."),
    code("invalid_output", 422, Tenant, "The function returned what its schema does not allow, or what is not JSON.", "The payload lists what its schema says."),
    code("bundle_error", 422, Tenant, "The bundle failed to load.", "The message has what it threw at the top level."),
    code("out_of_memory", 422, Tenant, "The attempt used more memory than allowed.", "Use less, or raise `limits.memory_mib`."),
    code("cpu_limit", 422, Tenant, "The attempt used more CPU time than allowed.", "Use less, or raise `limits.cpu_ms`."),
    code("time_limit", 422, Tenant, "The attempt ran longer than allowed.", "Save checkpoints, or raise `limits.time_ms`."),
    code("disk_limit", 422, Tenant, "The attempt filled its scratch directory.", "Write less, or raise `limits.scratch_mib`."),
    code("process_limit", 422, Tenant, "The attempt wanted more processes or threads than allowed.", "Start fewer, or raise `limits.processes`."),
    code("output_too_large", 422, Tenant, "The result is larger than allowed.", "Return less; save records instead."),
    code("no_progress", 422, Tenant, "Three attempts in a row reached the cap without moving the checkpoint.", "Save checkpoints more often."),
    code("crashed", 422, Tenant, "The sandbox died without a result.", "The message has the signal or status."),
    code("protocol_violation", 422, Tenant, "The sandbox sent what a sandbox may not send.", "A package may be writing to the runtime's own descriptors."),
    code("egress_denied", 422, Tenant, "A connection was refused by the egress policy; the message names the rule.", "Ask the operator for a rule that allows the host."),
    code("secrets_not_declared", 422, Tenant, "The function asked for credentials without declaring it.", "Call `getConnection` or `getToken` directly so that the compiler sees it, or use the proxy."),
    code("checkpoint_conflict", 422, Tenant, "Another attempt saved a newer checkpoint.", "Read the checkpoint again."),
    code("checkpoint_invalid", 422, Tenant, "The checkpoint is not a flat object of at most 16 short fields.", "Keep a cursor or a date in it, nothing larger."),
    code("unknown_method", 422, Tenant, "The function asked for what the platform does not offer.", "Deploy with the server's SDK version."),
    code("call_invalid", 422, Tenant, "The parameters of a platform call can't be read.", "See the message."),
    code("too_many_streams", 422, Tenant, "An attempt has as many streamed requests open as it may have.", "Read a stream to its end, or destroy it, before the next."),
    code("response_too_large", 422, Tenant, "An API's response is larger than the proxy takes.", "Ask for less at once, such as smaller pages, or for a stream."),
    code("depth_limit", 422, Tenant, "Actions called one another too deeply or too often.", "Call fewer from one another."),
    // The external API.
    code("upstream_error", 424, Upstream, "The external API answered with an error; `upstream` has it.", "See the API's documentation."),
    code("upstream_unreachable", 424, Upstream, "The external API gave no answer.", "Try again; the message has the cause."),
    code("credentials_refused", 424, Upstream, "The connection has no credentials that can be used; the message says why.", "Connect anew; `bulkhead connections show` has the reason."),
    code("connect_refused", 424, Upstream, "The provider, or its user, did not let the connection be made.", "The message has what was said; begin again with the link."),
    // We.
    code("wall_unavailable", 503, Platform, "No machine at hand has the wall that the function or the operator asks for; nothing runs behind a weaker one.", "`bulkhead doctor` on the workers' machines tells how to get it; else ask for another wall."),
    code("internal", 500, Platform, "A fault of the server's own.", "The server's log has it under the answer's `Request-Id`."),
    code("sandbox_failed", 500, Platform, "No sandbox could be made.", "`bulkhead doctor` says what the machine lacks."),
    code("lost", 500, Platform, "The worker that ran the execution is gone, and it may not be retried.", "Retry it if its effects allow."),
    code("lease_lost", 409, Platform, "The attempt wrote after its lease was given to another.", "Nothing: the other attempt goes on."),
    code("not_supported", 501, Platform, "This version of Bulkhead does not do that.", "Upgrade, or do without."),
    code("store_unavailable", 503, Platform, "The database could not do what was asked.", "Try again; see the server's log."),
    code("shutting_down", 503, Platform, "The server is stopping.", "Try again as `Retry-After` says."),
    code("overloaded", 503, Platform, "The server has as much under way as it takes.", "Try again as `Retry-After` says."),
    code("not_ready", 503, Platform, "A part of the server is not ready; the payload says which.", "Wait; see the server's log."),
    code("expired", 504, Platform, "The execution did not start by its deadline.", "Try again; add workers if it repeats."),
    code("deadline_exceeded", 504, Platform, "The server did not finish the request in time.", "Try again."),
    code("still_running", 504, Platform, "The execution goes on, but the request waited long enough.", "Ask at the payload's `status_url`, or send `Prefer: respond-async`."),
];

/// The entry of `code`, if it is one of the table.
#[must_use]
pub fn find(code: &str) -> Option<&'static Code> {
    CODES.iter().find(|entry| entry.code == code)
}

/// The HTTP status for an execution that ended with `code`. Codes that are not in the table come from functions
/// (`ENOSPC` and other errno names): the function's fault.
#[must_use]
pub fn status(code: &str) -> u16 {
    find(code).map_or(422, |entry| entry.status)
}

/// The page that lists every code, as `docs/errors/README.md` has it.
#[must_use]
pub fn page() -> String {
    use std::fmt::Write as _;
    let mut page = String::from(
        "# Error codes\n\n\
         Every error has the shape `{\"error\": {\"code\", \"message\", \"payload\"?, \"upstream\"?}}`. The code is stable; \
         the message is for people and may change.\n\
         This page is printed from the table in `crates/api/src/codes.rs`.\n\n\
         | code | status | fault | what happened | what to do |\n|---|---|---|---|---|\n",
    );
    for Code { code, status, fault, meaning, remedy } in CODES {
        let fault = format!("{fault:?}").to_lowercase();
        // Writing to a String can't fail.
        if writeln!(page, "| `{code}` | {status} | {fault} | {meaning} | {remedy} |").is_err() {
            break;
        }
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_lists_what_the_table_has() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/errors/README.md");
        let kept = std::fs::read_to_string(path).unwrap_or_default();
        assert!(
            kept == page(),
            "docs/errors/README.md is behind the table: run `cargo run -p bulkhead-api --example errors-page`"
        );
    }

    #[test]
    fn codes_are_unique_and_well_formed() {
        let mut codes: Vec<_> = CODES.iter().map(|c| c.code).collect();
        assert!(codes.iter().all(|c| c.chars().all(|c| c.is_ascii_lowercase() || c == '_')));
        codes.sort_unstable();
        codes.dedup();
        assert_eq!(codes.len(), CODES.len());
        assert!(CODES.iter().all(|c| (400..600).contains(&c.status)));
    }
}

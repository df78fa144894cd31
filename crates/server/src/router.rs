//! The router, made from the API's table: a route without a handler does not compile.

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::handler::Handler;
use axum::middleware::from_fn_with_state;
use axum::routing::{MethodFilter, MethodRouter, any, on};
use bulkhead_api::routes::{ROUTES, Verb};
use bulkhead_api::{Op, Route};

use crate::app::App;
use crate::error::ApiError;
use crate::gate::{Gate, pass};
use crate::{
    actions, connect, connections, deployments, egress, executions, integrations, limits, logs,
    notifications, ops, proxy, records, syncs, tenants, webhooks, worker, workers,
};

/// Serves every route of the table.
pub fn router(app: App) -> Router {
    let mut router = Router::new();
    for route in ROUTES {
        let gate = Gate { app: app.clone(), route };
        let guarded = handler(route)
            .layer(DefaultBodyLimit::max(route.body_bytes_max))
            .layer(from_fn_with_state(gate, pass));
        router = router.route(route.path, guarded);
    }
    router.fallback(no_route).method_not_allowed_fallback(no_method).with_state(app)
}

async fn no_route(uri: http::Uri) -> ApiError {
    ApiError::new("route_not_found", format!("there is no route {}", uri.path()))
}

async fn no_method(method: http::Method, uri: http::Uri) -> ApiError {
    let message =
        format!("{} does not know {method}; the Allow header lists what it knows", uri.path());
    ApiError::new("method_not_allowed", message)
}

fn at<H, T>(route: &Route, handler: H) -> MethodRouter<App>
where
    H: Handler<T, App>,
    T: 'static,
{
    match route.verb {
        Verb::Get => on(MethodFilter::GET, handler),
        Verb::Post => on(MethodFilter::POST, handler),
        Verb::Put => on(MethodFilter::PUT, handler),
        Verb::Patch => on(MethodFilter::PATCH, handler),
        Verb::Delete => on(MethodFilter::DELETE, handler),
        Verb::Any => any(handler),
    }
}

#[rustfmt::skip]
fn handler(route: &Route) -> MethodRouter<App> {
    match route.op {
        Op::RunAction => at(route, actions::run),
        Op::ListExecutions => at(route, executions::list),
        Op::ListDeadLetters => at(route, executions::list_dead),
        Op::ReplayDeadLetters => at(route, limits::replay),
        Op::ShowExecution => at(route, executions::show),
        Op::CancelExecution => at(route, executions::cancel),
        Op::RetryExecution => at(route, executions::retry),
        Op::ExecutionLogs => at(route, logs::read),
        Op::Deploy => at(route, deployments::deploy),
        Op::ListDeployments => at(route, deployments::list),
        Op::Rollback => at(route, deployments::rollback),
        Op::ListFunctions => at(route, deployments::functions),
        Op::ShowFunction => at(route, deployments::function),
        Op::ListSyncs => at(route, syncs::list),
        Op::TriggerSync => at(route, syncs::trigger),
        Op::PauseSync => at(route, syncs::pause),
        Op::ResumeSync => at(route, syncs::resume),
        Op::SetFrequency => at(route, syncs::set_frequency),
        Op::ListLimits => at(route, limits::list),
        Op::SetLimit => at(route, limits::set),
        Op::ExplainEgress => at(route, egress::explain),
        Op::ExplainTenantEgress => at(route, egress::explain_tenants),
        Op::ListRecords => at(route, records::list),
        Op::CountRecords => at(route, records::counts),
        Op::ListIntegrations => at(route, integrations::list),
        Op::ShowIntegration => at(route, integrations::show),
        Op::PutIntegration => at(route, integrations::put),
        Op::DeleteIntegration => at(route, integrations::delete),
        Op::ListProviders => at(route, integrations::list_providers),
        Op::ShowProvider => at(route, integrations::show_provider),
        Op::CreateConnectSession => at(route, connect::create),
        Op::ConnectPage => at(route, connect::page),
        Op::ConnectGo => at(route, connect::go),
        Op::ConnectCallback => at(route, connect::callback),
        Op::ListConnections => at(route, connections::list),
        Op::PutConnection => at(route, connections::put),
        Op::ShowConnection => at(route, connections::show),
        Op::PatchConnection => at(route, connections::patch),
        Op::DeleteConnection => at(route, connections::delete),
        Op::GetMetadata => at(route, connections::get_metadata),
        Op::SetMetadata => at(route, connections::set_metadata),
        Op::MergeMetadata => at(route, connections::merge_metadata),
        Op::Proxy => at(route, proxy::forward),
        Op::Webhook => at(route, webhooks::ingest),
        Op::WebhookAt => at(route, webhooks::ingest),
        Op::WebhookChallenge => at(route, webhooks::challenge),
        Op::ShowNotificationTarget => at(route, notifications::target),
        Op::PutNotificationTarget => at(route, notifications::put_target),
        Op::DeleteNotificationTarget => at(route, notifications::delete_target),
        Op::ListNotifications => at(route, notifications::list),
        Op::RetryNotification => at(route, notifications::retry),
        Op::RotateSecrets => at(route, notifications::rotate),
        Op::ListTenants => at(route, tenants::list),
        Op::PutTenant => at(route, tenants::put),
        Op::PauseTenant => at(route, tenants::pause),
        Op::ResumeTenant => at(route, tenants::resume),
        Op::ListKeys => at(route, tenants::keys),
        Op::CreateKey => at(route, tenants::create_key),
        Op::DeleteKey => at(route, tenants::revoke_key),
        Op::ListWorkers => at(route, workers::list),
        Op::ListWorkerTokens => at(route, workers::tokens),
        Op::CreateWorkerToken => at(route, workers::create_token),
        Op::DeleteWorkerToken => at(route, workers::revoke_token),
        Op::WorkerLease => at(route, worker::lease),
        Op::WorkerRenew => at(route, worker::renew),
        Op::WorkerRecalls => at(route, worker::recalls),
        Op::WorkerSettle => at(route, worker::settle),
        Op::WorkerPrepare => at(route, worker::host::prepare),
        Op::WorkerBundle => at(route, worker::host::bundle),
        Op::WorkerCall => at(route, worker::host::call),
        Op::WorkerStream => at(route, worker::stream::open),
        Op::WorkerLog => at(route, worker::host::log),
        Op::WorkerEvent => at(route, worker::host::event),
        Op::WorkerLeave => at(route, worker::leave),
        Op::Healthz => at(route, ops::healthz),
        Op::Readyz => at(route, ops::readyz),
        Op::Metrics => at(route, ops::metrics),
        Op::OpenApi => at(route, ops::openapi),
    }
}

//! The OpenAPI document, made from the route table.

use utoipa::openapi::content::ContentBuilder;
use utoipa::openapi::path::{
    HttpMethod, OperationBuilder, ParameterBuilder, ParameterIn, PathsBuilder,
};
use utoipa::openapi::request_body::RequestBodyBuilder;
use utoipa::openapi::schema::{ComponentsBuilder, Object, ObjectBuilder, Schema, SchemaType, Type};
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{
    InfoBuilder, OpenApi, OpenApiBuilder, PathItem, Ref, RefOr, Required, ResponseBuilder,
};
use utoipa::{PartialSchema, ToSchema};

use crate::routes::{Access, Body, Op, Place, ROUTES, Route, Verb};

type Schemas = Vec<(String, RefOr<Schema>)>;

fn add<T: ToSchema + PartialSchema>(schemas: &mut Schemas) {
    schemas.push((T::name().into_owned(), T::schema()));
    T::schemas(schemas);
}

/// The document that `/openapi.json` answers with.
#[must_use]
pub fn document() -> OpenApi {
    let mut schemas = Schemas::new();
    add::<crate::ErrorBody>(&mut schemas);
    add::<crate::Accepted>(&mut schemas);
    add::<crate::ExecutionList>(&mut schemas);
    add::<crate::ExecutionShow>(&mut schemas);
    add::<crate::LogPage>(&mut schemas);
    add::<crate::Deploy>(&mut schemas);
    add::<crate::Deployment>(&mut schemas);
    add::<crate::DeploymentList>(&mut schemas);
    add::<crate::Function>(&mut schemas);
    add::<crate::FunctionList>(&mut schemas);
    add::<crate::Sync>(&mut schemas);
    add::<crate::SyncList>(&mut schemas);
    add::<crate::SyncCall>(&mut schemas);
    add::<crate::SetFrequency>(&mut schemas);
    add::<crate::Limit>(&mut schemas);
    add::<crate::LimitList>(&mut schemas);
    add::<crate::SetLimit>(&mut schemas);
    add::<crate::EgressExplanation>(&mut schemas);
    add::<crate::Replay>(&mut schemas);
    add::<crate::Replayed>(&mut schemas);
    add::<crate::RecordPage>(&mut schemas);
    add::<crate::ModelList>(&mut schemas);
    add::<crate::ModelCount>(&mut schemas);
    add::<crate::RecordSettings>(&mut schemas);
    add::<crate::RecordRetention>(&mut schemas);
    add::<crate::Integration>(&mut schemas);
    add::<crate::IntegrationList>(&mut schemas);
    add::<crate::PutIntegration>(&mut schemas);
    add::<crate::RateLimit>(&mut schemas);
    add::<crate::Connection>(&mut schemas);
    add::<crate::ConnectionList>(&mut schemas);
    add::<crate::PutConnection>(&mut schemas);
    add::<crate::PatchConnection>(&mut schemas);
    add::<crate::PutConnectSession>(&mut schemas);
    add::<crate::ConnectSession>(&mut schemas);
    add::<crate::ProviderList>(&mut schemas);
    add::<crate::NotificationTarget>(&mut schemas);
    add::<crate::Notification>(&mut schemas);
    add::<crate::NotificationList>(&mut schemas);
    add::<crate::Rotate>(&mut schemas);
    add::<crate::Rotated>(&mut schemas);
    add::<crate::Tenant>(&mut schemas);
    add::<crate::TenantList>(&mut schemas);
    add::<crate::PutTenant>(&mut schemas);
    add::<crate::KeyCreated>(&mut schemas);
    add::<crate::KeyList>(&mut schemas);
    add::<crate::PutKey>(&mut schemas);
    add::<crate::WorkerList>(&mut schemas);
    let bearer = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
    let components = ComponentsBuilder::new()
        .schemas_from_iter(schemas)
        .security_scheme("tenant_key", bearer.clone())
        .security_scheme("admin_key", bearer)
        .build();
    let mut paths = PathsBuilder::new();
    for route in ROUTES.iter().filter(|route| is_public(route)) {
        for method in methods(route.verb) {
            paths = paths.path(document_path(route.path), PathItem::new(method, operation(route)));
        }
    }
    OpenApiBuilder::new()
        .info(InfoBuilder::new().title("Bulkhead").version(env!("CARGO_PKG_VERSION")).build())
        .paths(paths.build())
        .components(Some(components))
        .build()
}

/// What workers and servers say to each other is told in `docs/worker-protocol.md`.
fn is_public(route: &Route) -> bool {
    route.access != Access::Worker
}

fn methods(verb: Verb) -> Vec<HttpMethod> {
    match verb {
        Verb::Get => vec![HttpMethod::Get],
        Verb::Post => vec![HttpMethod::Post],
        Verb::Put => vec![HttpMethod::Put],
        Verb::Patch => vec![HttpMethod::Patch],
        Verb::Delete => vec![HttpMethod::Delete],
        Verb::Any => {
            vec![
                HttpMethod::Get,
                HttpMethod::Post,
                HttpMethod::Put,
                HttpMethod::Patch,
                HttpMethod::Delete,
            ]
        }
    }
}

/// OpenAPI has no `{*rest}`.
fn document_path(path: &str) -> String {
    path.replace("{*", "{")
}

fn operation(route: &Route) -> utoipa::openapi::path::Operation {
    let mut operation = OperationBuilder::new()
        .operation_id(Some(format!("{:?}", route.op)))
        .summary(Some(route.summary.trim()));
    for name in route.path.split('{').skip(1).filter_map(|part| part.split('}').next()) {
        let name = name.trim_start_matches('*');
        operation =
            operation.parameter(parameter(ParameterIn::Path, name, "").required(Required::True));
    }
    for (place, name, what) in route.reads {
        let place = match place {
            Place::Query => ParameterIn::Query,
            Place::Header => ParameterIn::Header,
        };
        operation = operation.parameter(parameter(place, name, what).required(Required::False));
    }
    if route.takes != Body::None {
        let body = RequestBodyBuilder::new().content(media_type(route.takes), content(route.takes));
        operation = operation.request_body(Some(body.build()));
    }
    let (status, gives) = route.gives;
    let mut good = ResponseBuilder::new().description("All is well.");
    if gives != Body::None {
        good = good.content(media_type(gives), content(gives));
    }
    let error = Body::Named("ErrorBody");
    let mut bad =
        ResponseBuilder::new().description("An error.").content(media_type(error), content(error));
    // Errors of a page are a page, and those of an API are its own.
    if matches!(gives, Body::Html | Body::Foreign) {
        bad = bad.content(media_type(gives), content(gives));
    }
    operation =
        operation.response(status.to_string(), good.build()).response("default", bad.build());
    if let Some((status, gives, what)) = otherwise(route.op) {
        let also =
            ResponseBuilder::new().description(what).content(media_type(gives), content(gives));
        operation = operation.response(status, also.build());
    }
    match route.access {
        Access::Open | Access::Worker => operation,
        Access::Tenant => operation.security(SecurityRequirement::new("tenant_key", [""; 0])),
        Access::Admin => operation.security(SecurityRequirement::new("admin_key", [""; 0])),
    }
    .build()
}

/// What some operations answer with when all is well in another way.
fn otherwise(op: Op) -> Option<(&'static str, Body, &'static str)> {
    match op {
        Op::RunAction => Some((
            "202",
            Body::Named("Accepted"),
            "It runs on: so it was asked for, or it takes longer than was waited for.",
        )),
        Op::Deploy => Some(("200", Body::Named("Deployment"), "What would change; nothing did.")),
        _ => None,
    }
}

fn parameter(place: ParameterIn, name: &str, what: &str) -> ParameterBuilder {
    let text = ObjectBuilder::new().schema_type(Type::String).build();
    let what = (!what.is_empty()).then_some(what);
    ParameterBuilder::new().name(name).parameter_in(place).description(what).schema(Some(text))
}

fn media_type(body: Body) -> &'static str {
    match body {
        Body::Bytes => "application/octet-stream",
        Body::Html => "text/html",
        Body::Text => "text/plain",
        Body::Foreign => "*/*",
        Body::None | Body::Json | Body::Named(_) => "application/json",
    }
}

fn content(body: Body) -> utoipa::openapi::Content {
    let schema: RefOr<Schema> = match body {
        Body::Named(name) => Ref::from_schema_name(name).into(),
        Body::Json | Body::Foreign => anything().into(),
        Body::Bytes | Body::Html | Body::Text | Body::None => {
            ObjectBuilder::new().schema_type(Type::String).build().into()
        }
    };
    ContentBuilder::new().schema(Some(schema)).build()
}

fn anything() -> Object {
    ObjectBuilder::new().schema_type(SchemaType::AnyValue).build()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    #[test]
    fn every_reference_has_its_schema_and_every_route_its_operation() {
        let document = document();
        let json = serde_json::to_value(&document).unwrap();
        let schemas = json["components"]["schemas"].as_object().unwrap();
        let text = json.to_string();
        for name in text.split("#/components/schemas/").skip(1) {
            let name = name.split('"').next().unwrap();
            assert!(schemas.contains_key(name), "{name} has no schema");
        }
        for route in ROUTES {
            for method in methods(route.verb) {
                assert_eq!(
                    document.paths.get_path_operation(document_path(route.path), method).is_some(),
                    is_public(route)
                );
            }
        }
    }
}

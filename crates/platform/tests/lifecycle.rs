//! Functions that want to know of a connection's life. A test is the worker here: it takes their leases and ends them.
#![allow(clippy::unwrap_used, reason = "a failed step is the test's failure")]

mod common;

use bulkhead_engine::ExecutionFilter;
use bulkhead_platform::{Credentials, IntegrationSettings, NewConnection, PlatformError};
use bulkhead_types::{Cause, ErrorInfo, ExecutionState, Fault, Outcome, Retry};
use common::{World, connection, demo, tenant, world};
use serde_json::{Value, json};

fn listener(event: &str) -> Value {
    json!({"integration": "demo", "kind": "event", "name": event, "event": event})
}

async fn with(events: &[&str]) -> World {
    let world = world().await;
    world
        .platform
        .put_integration(&tenant(), &demo(), IntegrationSettings::default())
        .await
        .unwrap();
    let specs: Vec<Value> = events.iter().map(|event| listener(event)).collect();
    world.deploy(&specs).await;
    world
}

async fn connect(world: &World) -> Result<(), PlatformError> {
    let made = NewConnection { credentials: Credentials::default(), ..NewConnection::default() };
    world.platform.put_connection(&tenant(), &demo(), &connection(), made).await.map(|_| ())
}

/// Runs the next execution to this end, once it is there; returns its function's name.
async fn run(world: &World, outcome: Outcome) -> String {
    loop {
        if let Some(lease) = world.engine.lease(&world.worker, 1).await.unwrap().pop() {
            assert_eq!(lease.connection, Some(connection()));
            let name = lease.function.name.to_string();
            world.settle(&lease, outcome).await;
            return name;
        }
        tokio::task::yield_now().await;
    }
}

/// How many executions were made and have not begun. Events are told before whoever brought them about has an answer,
/// so that nothing comes later.
async fn queued(world: &World) -> usize {
    let queued = ExecutionFilter { state: Some(ExecutionState::Queued), ..Default::default() };
    world.engine.executions(&tenant(), queued).await.unwrap().executions.len()
}

fn done() -> Outcome {
    Outcome::Completed(Value::Null)
}

#[tokio::test]
async fn a_new_connection_is_validated_then_told_of_once() {
    let world = with(&["validate-connection", "post-connection-creation"]).await;
    let (made, validated) = tokio::join!(connect(&world), run(&world, done()));
    made.unwrap();
    assert_eq!(validated, "validate-connection");
    assert_eq!(run(&world, done()).await, "post-connection-creation");
    // The same connection with other credentials is no new one.
    connect(&world).await.unwrap();
    assert_eq!(queued(&world).await, 0);
}

#[tokio::test]
async fn a_connection_that_is_not_valid_is_none() {
    let world = with(&["validate-connection", "post-connection-creation"]).await;
    let error = ErrorInfo::new("action_error", "wrong workspace");
    let no = Outcome::Failed(Cause { error, fault: Fault::Tenant, retry: Retry::Never });
    let (made, _) = tokio::join!(connect(&world), run(&world, no));
    let refused = made.unwrap_err();
    assert_eq!(refused.code(), "connection_invalid");
    assert!(refused.to_string().contains("wrong workspace"), "{refused}");
    let gone =
        world.platform.connection(&tenant(), Some(&demo()), &connection()).await.unwrap_err();
    assert_eq!(gone.code(), "connection_not_found");
    assert_eq!(queued(&world).await, 0, "nobody is told of it");
}

#[tokio::test]
async fn a_connection_waits_for_its_last_function() {
    let world = with(&["pre-connection-deletion"]).await;
    connect(&world).await.unwrap();
    let platform = &world.platform;
    let told = async {
        let name = run(&world, done()).await;
        assert_eq!(name, "pre-connection-deletion");
    };
    let removing =
        async { platform.remove_connection(&tenant(), Some(&demo()), &connection()).await };
    let (removed, ()) = tokio::join!(removing, told);
    removed.unwrap();
    let gone = platform.connection(&tenant(), Some(&demo()), &connection()).await.unwrap_err();
    assert_eq!(gone.code(), "connection_not_found");
}

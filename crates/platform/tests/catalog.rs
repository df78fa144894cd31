//! Tenants, keys, deployments, connections, schedules.
#![allow(clippy::unwrap_used, reason = "a failed step is the test's failure")]

mod common;

use bulkhead_engine::Resolve;
use bulkhead_platform::{
    AuthMode, AuthSettings, ChangeKind, Credentials, DeployRequest, IntegrationSettings,
    NewConnection, PlatformError,
};
use bulkhead_types::{FunctionKey, FunctionKind, FunctionName, TenantId};
use common::{action, connection, demo, sync, tenant, upload, world};
use serde_json::json;

fn code<T>(result: Result<T, PlatformError>) -> String {
    result.err().map_or_else(|| "no error".to_owned(), |error| error.code().to_owned())
}

fn key(kind: FunctionKind, name: &str) -> FunctionKey {
    FunctionKey {
        tenant: tenant(),
        integration: demo(),
        kind,
        name: FunctionName::parse(name).unwrap(),
    }
}

#[tokio::test]
async fn a_key_opens_its_tenant_until_it_is_revoked() {
    let world = world().await;
    let platform = &world.platform;
    let key = platform.create_key(&tenant(), "ci").await.unwrap();
    assert_eq!(key.secret.len(), 3 + 64);
    // Twice: from the store, then from memory.
    for _ in 0..2 {
        assert_eq!(platform.authenticate(&key.secret).await.unwrap(), Some(tenant()));
    }
    for wrong in
        ["", "bh_", "bh_00", &key.secret[..66], &key.secret.to_uppercase(), &"x".repeat(9_999)]
    {
        assert_eq!(platform.authenticate(wrong).await.unwrap(), None, "{wrong}");
    }
    let file = std::fs::read(world.dir.path().join("bulkhead.db-wal")).unwrap();
    let secret = key.secret.as_bytes();
    assert!(!file.windows(secret.len()).any(|part| part == secret), "the secret is not kept");
    assert_eq!(platform.keys(&tenant()).await.unwrap()[0].label, "ci");
    platform.revoke_key(&tenant(), &key.id).await.unwrap();
    assert_eq!(platform.authenticate(&key.secret).await.unwrap(), None);
    assert_eq!(code(platform.revoke_key(&tenant(), &key.id).await), "key_not_found");
    let nobody = TenantId::parse("nobody").unwrap();
    assert_eq!(code(platform.create_key(&nobody, "x").await), "tenant_not_found");
}

#[tokio::test]
async fn a_deployment_is_shown_made_live_and_taken_back() {
    let world = world().await;
    let platform = &world.platform;
    let request = |specs: &[serde_json::Value]| DeployRequest {
        functions: specs.iter().cloned().map(upload).collect(),
        ..DeployRequest::default()
    };
    let shown = DeployRequest { dry_run: true, ..request(&[action("a"), action("b")]) };
    let shown = platform.deploy(&tenant(), shown).await.unwrap();
    assert_eq!((shown.id, shown.changes.len()), (None, 2));
    assert!(platform.functions(&tenant()).await.unwrap().is_empty());
    assert_eq!(
        code(platform.live_version(&key(FunctionKind::Action, "a")).await),
        "function_not_found"
    );

    let first = platform.deploy(&tenant(), request(&[action("a"), action("b")])).await.unwrap();
    let version = platform.live_version(&key(FunctionKind::Action, "a")).await.unwrap();
    let bundle = world.dir.path().join("bundles").join(&version.bundle).join("bundle.js");
    assert_eq!(std::fs::read(bundle).unwrap(), upload(action("a")).bundle);

    let mut changed = action("a");
    changed["limits"] = json!({"memory_mib": 64});
    assert_eq!(
        code(platform.deploy(&tenant(), request(&[changed.clone()])).await),
        "deployment_destructive"
    );
    let partial = DeployRequest { partial: true, ..request(&[changed.clone()]) };
    let second = platform.deploy(&tenant(), partial).await.unwrap();
    assert_eq!(second.changes.len(), 1);
    assert_eq!(second.changes[0].change, ChangeKind::Changed);
    assert_eq!(second.changes[0].details, ["bundle", "limits"]);
    let newer = platform.live_version(&key(FunctionKind::Action, "a")).await.unwrap();
    assert_ne!(newer.id, version.id);

    let removing = DeployRequest { allow_destructive: true, ..request(&[changed]) };
    let third = platform.deploy(&tenant(), removing).await.unwrap();
    assert_eq!(third.changes[0].change, ChangeKind::Removed);
    assert_eq!(
        code(platform.live_version(&key(FunctionKind::Action, "b")).await),
        "function_not_found"
    );

    world.pass(1);
    platform.rollback(&tenant(), first.id.as_ref().unwrap()).await.unwrap();
    assert_eq!(
        platform.live_version(&key(FunctionKind::Action, "a")).await.unwrap().id,
        version.id
    );
    assert_eq!(platform.functions(&tenant()).await.unwrap().len(), 2);
    assert_eq!(platform.deployments(&tenant()).await.unwrap().len(), 4);
    let unknown = bulkhead_types::DeploymentId::parse("dep_x").unwrap();
    assert_eq!(code(platform.rollback(&tenant(), &unknown).await), "deployment_not_found");
}

#[tokio::test]
async fn what_can_not_run_is_not_deployed() {
    let world = world().await;
    let deploy = async |specs: Vec<serde_json::Value>| {
        let functions = specs.into_iter().map(upload).collect();
        code(
            world
                .platform
                .deploy(&tenant(), DeployRequest { functions, ..DeployRequest::default() })
                .await,
        )
    };
    assert_eq!(deploy(vec![action("a"), action("a")]).await, "invalid_spec");
    let mut often = sync("s");
    often["frequency"] = json!("now and then");
    assert_eq!(deploy(vec![often]).await, "invalid_spec");
    let mut scheduled = action("a");
    scheduled["frequency"] = json!("every 5m");
    assert_eq!(deploy(vec![scheduled]).await, "invalid_spec");
    let mut nothing = action("a");
    nothing["limits"] = json!({"memory_mib": 0});
    assert_eq!(deploy(vec![nothing]).await, "invalid_spec");
}

#[tokio::test]
async fn credentials_fit_the_auth_mode_and_are_kept_sealed() {
    let world = world().await;
    let platform = &world.platform;
    let auth = AuthSettings { mode: AuthMode::Bearer, ..AuthSettings::default() };
    let settings = IntegrationSettings {
        auth,
        base_url: Some("https://api.test".into()),
        ..Default::default()
    };
    let none = Credentials::default();
    let put = async |credentials| {
        let made = NewConnection { credentials, ..NewConnection::default() };
        platform.put_connection(&tenant(), &demo(), &connection(), made).await
    };
    assert_eq!(code(put(none.clone()).await), "integration_not_found");
    platform.put_integration(&tenant(), &demo(), settings.clone()).await.unwrap();
    assert_eq!(code(put(none).await), "invalid_body");
    let secret = "very-secret-token";
    put(Credentials { token: Some(secret.into()), ..Credentials::default() }).await.unwrap();
    let file = std::fs::read(world.dir.path().join("bulkhead.db-wal")).unwrap();
    assert!(!file.windows(secret.len()).any(|part| part == secret.as_bytes()));
    let patch = platform
        .patch_connection(&tenant(), None, &connection(), None, Some(json!({"a": 1})))
        .await
        .unwrap();
    assert_eq!(patch.metadata, json!({"a": 1}));
    let patch = platform
        .patch_connection(&tenant(), None, &connection(), None, Some(json!({"b": 2})))
        .await
        .unwrap();
    assert_eq!(patch.metadata, json!({"a": 1, "b": 2}));
    assert_eq!(
        code(platform.set_metadata(&tenant(), None, &connection(), json!([1])).await),
        "invalid_body"
    );
    for bad in ["ftp://x", "nope", "https://u:p@x"] {
        let settings = IntegrationSettings { base_url: Some(bad.into()), ..settings.clone() };
        assert_eq!(
            code(platform.put_integration(&tenant(), &demo(), settings).await),
            "invalid_body",
            "{bad}"
        );
    }
    platform.remove_integration(&tenant(), &demo()).await.unwrap();
    assert_eq!(
        code(platform.connection(&tenant(), None, &connection()).await),
        "connection_not_found"
    );
}

#[tokio::test]
async fn schedules_follow_deployments_and_connections() {
    let world = world().await;
    let platform = &world.platform;
    let mut starts = sync("starts");
    starts["auto_start"] = json!(true);
    world.connect(IntegrationSettings::default(), Credentials::default()).await;
    world.deploy(&[starts.clone(), sync("waits")]).await;
    let shown = async || {
        let syncs = platform.syncs(&tenant()).await.unwrap();
        let show = |s: &bulkhead_platform::SyncStatus| {
            let connection = s.connection.as_ref().map_or("-", |id| id.as_str());
            format!(
                "{} {connection} {} {}",
                s.name,
                s.frequency.as_deref().unwrap_or("never"),
                s.paused
            )
        };
        syncs.iter().map(show).collect::<Vec<_>>()
    };
    assert_eq!(shown().await, ["starts c1 every 1h false", "waits - every 1h false"]);
    let name = |text: &str| FunctionName::parse(text).unwrap();
    let (starts_name, waits) = (name("starts"), name("waits"));
    assert_eq!(
        code(platform.pause_sync(&tenant(), &demo(), &waits, &connection()).await),
        "sync_not_scheduled"
    );
    platform.resume_sync(&tenant(), &demo(), &waits, &connection()).await.unwrap();
    platform.pause_sync(&tenant(), &demo(), &starts_name, &connection()).await.unwrap();
    platform
        .set_frequency(&tenant(), &demo(), &waits, &connection(), Some("every 2h"))
        .await
        .unwrap();
    assert_eq!(shown().await, ["starts c1 every 1h true", "waits c1 every 2h false"]);
    let bad =
        platform.set_frequency(&tenant(), &demo(), &waits, &connection(), Some("often")).await;
    assert_eq!(code(bad), "invalid_frequency");

    // What was set for the connection stays when the author changes his mind.
    let mut waits_now = sync("waits");
    waits_now["frequency"] = json!("every 5m");
    starts["frequency"] = json!("every 3h");
    world.deploy(&[starts.clone(), waits_now]).await;
    assert_eq!(shown().await, ["starts c1 every 3h true", "waits c1 every 2h false"]);
    world.deploy(&[starts]).await;
    assert_eq!(shown().await, ["starts c1 every 3h true"]);
    assert!(platform.live(&key(FunctionKind::Sync, "waits"), None).await.is_err());
    assert!(platform.live(&key(FunctionKind::Sync, "starts"), Some(&connection())).await.is_ok());
    platform.remove_connection(&tenant(), None, &connection()).await.unwrap();
    assert_eq!(shown().await, ["starts - every 3h false"]);
    assert!(platform.live(&key(FunctionKind::Sync, "starts"), Some(&connection())).await.is_err());
}

#[tokio::test]
async fn variables_are_kept_sealed_and_survive_a_restart() {
    let world = world().await;
    world.platform.set_variable(&tenant(), "REGION", "eu-is-where-it-is").await.unwrap();
    assert_eq!(code(world.platform.set_variable(&tenant(), "a b", "x").await), "invalid_body");
    let common::World { dir, clock, engine, platform, .. } = world;
    drop((engine, platform));
    let (_engine, platform) = common::open(dir.path(), clock, vec![]).await;
    let variables = platform.variables(&tenant()).await.unwrap();
    assert_eq!(variables, [("REGION".to_owned(), "eu-is-where-it-is".to_owned())]);
    platform.remove_variable(&tenant(), "REGION").await.unwrap();
    assert!(platform.variables(&tenant()).await.unwrap().is_empty());
}

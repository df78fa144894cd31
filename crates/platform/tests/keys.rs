//! Replacing the key that secrets are sealed with.
#![allow(clippy::unwrap_used, reason = "a failed step is the test's failure")]

mod common;

use std::time::Duration;

use bulkhead_platform::{
    AuthMode, AuthSettings, Credentials, IntegrationSettings, NotificationTarget, Platform,
    ProxyRequest, WebhookSettings,
};
use common::{World, another, connection, demo, postgres_world, tenant, world};
use serde_json::json;

/// Whether everything that was sealed opens: a variable, the secrets of the integration, the connection's credentials.
async fn opens(platform: &Platform) -> [bool; 3] {
    let variables = platform.variables(&tenant()).await;
    let integration = platform.integration(&tenant(), &demo()).await;
    // Credentials are opened before anything is sent, which is denied here.
    let request: ProxyRequest = serde_json::from_value(json!({"endpoint": "/"})).unwrap();
    let second = Duration::from_secs(1);
    let sent = platform.proxy(&tenant(), &demo(), Some(connection()), request, second).await;
    let variable = variables.is_ok_and(|all| all == [("A".to_owned(), "1".to_owned())]);
    [variable, integration.is_ok(), sent.unwrap_err().code == "egress_denied"]
}

/// One pass; says how many secrets were sealed anew.
async fn pass(platform: &Platform) -> usize {
    let (mut cursor, mut resealed) = (None, 0);
    loop {
        let batch = platform.rotate(cursor.as_deref()).await.unwrap();
        resealed += batch.resealed;
        cursor = batch.cursor;
        if cursor.is_none() {
            return resealed;
        }
    }
}

/// Five sealed values, of five kinds.
async fn sealed(world: &World) {
    let platform = &world.platform;
    platform.set_variable(&tenant(), "A", "1").await.unwrap();
    let auth = AuthSettings {
        mode: AuthMode::Bearer,
        client_secret: Some("client".into()),
        ..AuthSettings::default()
    };
    let webhook = WebhookSettings { secret: Some("hook".into()), ..WebhookSettings::default() };
    let base_url = Some("http://127.0.0.1:1".to_owned());
    let settings = IntegrationSettings { base_url, auth, webhook, ..Default::default() };
    world.connect(settings, Credentials { token: Some("t".into()), ..Default::default() }).await;
    let target = NotificationTarget { url: "https://product.test".into(), events: vec![] };
    platform.put_notification_target(&tenant(), target).await.unwrap();
    assert_eq!(opens(platform).await, [true; 3]);
}

#[tokio::test]
async fn a_key_is_replaced_under_way() {
    let world = world().await;
    let platform = &world.platform;
    sealed(&world).await;
    assert!(platform.begin_rotation().await.unwrap());
    assert_eq!(opens(platform).await, [true; 3], "the old key still opens");
    assert_eq!((pass(platform).await, pass(platform).await), (5, 0));
    assert_eq!(opens(platform).await, [true; 3]);
}

#[tokio::test]
async fn a_key_is_replaced_although_it_is_broken_off() {
    let database = bulkhead_testkit::postgres();
    let world = postgres_world(&database, vec![]).await;
    sealed(&world).await;
    assert!(world.platform.begin_rotation().await.unwrap());
    let first = world.platform.rotate(None).await.unwrap();
    assert_eq!((first.resealed, first.cursor.is_some()), (1, true));

    // The server dies here, and another goes on.
    let platform = another(&world, &database, vec![]).await;
    assert!(!platform.begin_rotation().await.unwrap(), "one change at a time");
    assert_eq!(opens(&platform).await, [true; 3]);
    assert_eq!((pass(&platform).await, pass(&platform).await), (4, 0), "all but what was done");

    let old = platform.rotate(None).await.unwrap().old_key_file.unwrap();
    std::fs::remove_file(old).unwrap();
    let platform = another(&world, &database, vec![]).await;
    assert_eq!(opens(&platform).await, [true; 3], "nothing needs the old key");
}

#[tokio::test]
async fn cursors_that_are_none_are_refused() {
    let world = world().await;
    for cursor in ["", "x", "[99, null]", r#"[0, ["a"]]"#, r#"[0, ["a", "b", "c"]]"#, "[-1, null]"]
    {
        let refused = world.platform.rotate(Some(cursor)).await.unwrap_err();
        assert_eq!(refused.code(), "invalid_cursor", "{cursor}");
    }
}

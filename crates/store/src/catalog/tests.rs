#![allow(clippy::unwrap_used, reason = "a failed step is the test's failure")]
use bulkhead_types::{
    ConnectionId, FunctionKey, FunctionKind, FunctionName, IntegrationId, TenantId, Timestamp,
    Version, VersionId,
};

use super::*;
use crate::db::{Db, StoreError};

fn tenant_id(text: &str) -> TenantId {
    TenantId::parse(text).unwrap()
}

async fn write<T: Send + 'static>(
    db: &Db,
    work: impl FnOnce(&crate::Conn) -> Result<T, StoreError> + Send + 'static,
) -> T {
    db.write(work).await.unwrap()
}

async fn refused<T: Send + 'static>(
    db: &Db,
    work: impl FnOnce(&crate::Conn) -> Result<T, StoreError> + Send + 'static,
) {
    assert!(db.write(work).await.is_err());
}

fn connection_row(integration: &str, id: &str) -> ConnectionRow {
    ConnectionRow {
        integration: IntegrationId::parse(integration).unwrap(),
        id: ConnectionId::parse(id).unwrap(),
        credentials: vec![1, 2],
        metadata: "{}".into(),
        config: "{}".into(),
        failure: None,
        created_at: NOW,
        updated_at: NOW,
    }
}

/// Gives connection `x/1` this metadata, and looks for it by `field`.
fn with_metadata(
    tx: &crate::Conn,
    metadata: &str,
    field: &str,
    value: &str,
) -> Result<Option<ConnectionId>, StoreError> {
    let (a, x) = (tenant_id("a"), IntegrationId::parse("x").unwrap());
    let one = ConnectionId::parse("1").unwrap();
    update_connection(tx, &a, (&x, &one), None, Some(metadata), NOW)?;
    assert_eq!(connection_with(tx, &a, &x, field, "something else")?, None);
    connection_with(tx, &a, &x, field, value)
}

const NOW: Timestamp = Timestamp::from_millis(1_000);

async fn with_tenants(db: &Db) {
    write(db, |tx| {
        for id in ["a", "b"] {
            put_tenant(
                tx,
                &TenantRow { id: tenant_id(id), settings: "{}".into(), created_at: NOW },
            )?;
        }
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_key_is_found_by_its_digest_until_it_is_removed() {
    for test in crate::test_databases::both().await {
        let db = &test.db;
        with_tenants(db).await;
        write(db, |tx| {
            let key = |id: &str| KeyRow { id: id.into(), label: "ci".into(), created_at: NOW };
            insert_key(tx, &tenant_id("a"), &key("key_1"), &[1; 32])?;
            insert_key(tx, &tenant_id("b"), &key("key_2"), &[2; 32])?;
            assert_eq!(key_owner(tx, &[1; 32])?, Some(tenant_id("a")));
            assert_eq!(key_owner(tx, &[3; 32])?, None);
            assert!(!remove_key(tx, &tenant_id("b"), "key_1")?, "another tenant's key");
            assert!(remove_key(tx, &tenant_id("a"), "key_1")?);
            assert_eq!(key_owner(tx, &[1; 32])?, None);
            assert_eq!(keys(tx, &tenant_id("b"))?, vec![key("key_2")]);
            Ok(())
        })
        .await;
        let key = KeyRow { id: "key_3".into(), label: "ci".into(), created_at: NOW };
        refused(db, move |tx| insert_key(tx, &tenant_id("nobody"), &key, &[3; 32])).await;
    }
}

fn version_of(name: &str, id: &str) -> Version {
    let spec = serde_json::json!({"integration": "demo", "kind": "action", "name": name});
    Version {
        id: VersionId::parse(id).unwrap(),
        tenant: tenant_id("a"),
        spec: serde_json::from_value(spec).unwrap(),
        bundle: "b".repeat(64),
        source_map: None,
    }
}

fn live_row(name: &str, version: &str, since: i64) -> LiveRow {
    LiveRow {
        integration: IntegrationId::parse("demo").unwrap(),
        kind: FunctionKind::Action,
        name: FunctionName::parse(name).unwrap(),
        version: VersionId::parse(version).unwrap(),
        since: Timestamp::from_millis(since),
    }
}

#[tokio::test]
async fn a_deployment_remembers_all_that_was_live() {
    for test in crate::test_databases::both().await {
        let db = &test.db;
        with_tenants(db).await;
        write(db, |tx| {
            let a = tenant_id("a");
            put_version(tx, &version_of("one", "v1"), NOW)?;
            put_version(tx, &version_of("two", "v2"), NOW)?;
            put_live(tx, &a, &live_row("one", "v1", 1))?;
            put_live(tx, &a, &live_row("two", "v2", 1))?;
            let deployment = |id: &str| DeploymentRow {
                id: bulkhead_types::DeploymentId::parse(id).unwrap(),
                changes: "[]".into(),
                created_at: NOW,
            };
            insert_deployment(tx, &a, &deployment("dep_1"))?;
            // The same version again keeps its moment; another takes the new one.
            put_live(tx, &a, &live_row("one", "v1", 9))?;
            put_live(tx, &a, &live_row("two", "v1", 9))?;
            let key = FunctionKey {
                tenant: a.clone(),
                integration: IntegrationId::parse("demo").unwrap(),
                kind: FunctionKind::Action,
                name: FunctionName::parse("one").unwrap(),
            };
            assert_eq!(live(tx, &a)?, vec![live_row("one", "v1", 1), live_row("two", "v1", 9)]);
            remove_live(tx, &key)?;
            assert_eq!(live_one(tx, &key)?, None);
            insert_deployment(tx, &a, &deployment("dep_2"))?;
            let names = |id: &str| {
                let id = bulkhead_types::DeploymentId::parse(id).unwrap();
                let rows = deployed(tx, &a, &id).unwrap();
                rows.map(|rows| {
                    rows.iter()
                        .map(|row| format!("{}={}", row.name, row.version))
                        .collect::<Vec<_>>()
                })
            };
            assert_eq!(names("dep_1").unwrap(), ["one=v1", "two=v2"]);
            assert_eq!(names("dep_2").unwrap(), ["two=v1"]);
            assert!(deployed(tx, &tenant_id("b"), &deployment("dep_1").id)?.is_none());
            assert_eq!(
                version(tx, &a, &VersionId::parse("v1").unwrap())?,
                Some(version_of("one", "v1"))
            );
            assert_eq!(version(tx, &tenant_id("b"), &VersionId::parse("v1").unwrap())?, None);
            Ok(())
        })
        .await;
    }
}

#[tokio::test]
async fn connections_are_paged_and_found_by_their_id() {
    for test in crate::test_databases::both().await {
        let db = &test.db;
        with_tenants(db).await;
        write(db, |tx| {
            let a = tenant_id("a");
            let row = connection_row;
            for id in ["x", "y"] {
                let id = IntegrationId::parse(id).unwrap();
                let row = IntegrationRow {
                    id,
                    settings: "{}".into(),
                    webhook_secret: Some(vec![7]),
                    created_at: NOW,
                    client_secret: None,
                };
                put_integration(tx, &a, &row)?;
                put_integration(tx, &a, &IntegrationRow { webhook_secret: None, ..row })?;
            }
            assert_eq!(
                integrations(tx, &a)?[0].webhook_secret,
                Some(vec![7]),
                "kept when none is given"
            );
            assert!(put_connection(tx, &a, &row("x", "1"))?);
            assert!(!put_connection(tx, &a, &row("x", "1"))?);
            put_connection(tx, &a, &row("x", "2"))?;
            put_connection(tx, &a, &row("y", "1"))?;
            let page = |integration: Option<&str>, after, limit| {
                let integration = integration.map(|text| IntegrationId::parse(text).unwrap());
                let rows = connections(tx, &a, integration.as_ref(), after, limit).unwrap();
                rows.iter().map(|row| format!("{}/{}", row.integration, row.id)).collect::<Vec<_>>()
            };
            assert_eq!(page(None, None, 2), ["x/1", "x/2"]);
            assert_eq!(page(None, Some(("x", "2")), 2), ["y/1"]);
            assert_eq!(page(Some("y"), None, 2), ["y/1"]);
            let one = ConnectionId::parse("1").unwrap();
            assert_eq!(connections_matching(tx, &a, None, &one, 10)?.len(), 2);
            assert_eq!(connections_matching(tx, &tenant_id("b"), None, &one, 10)?.len(), 0);
            let (x, later) = (IntegrationId::parse("x").unwrap(), Timestamp::from_millis(5_000));
            assert!(update_connection(tx, &a, (&x, &one), None, Some("{\"k\":1}"), later)?);
            let changed = connection(tx, &a, &x, &one)?.unwrap();
            assert_eq!((changed.credentials, changed.metadata.as_str()), (vec![1, 2], "{\"k\":1}"));
            assert_eq!(with_metadata(tx, "{\"org\":\"acme\"}", "org", "acme")?, Some(one));
            Ok(())
        })
        .await;
        let x = || IntegrationId::parse("x").unwrap();
        // It has connections; and one needs an integration that exists.
        refused(db, move |tx| remove_integration(tx, &tenant_id("a"), &x())).await;
        let homeless = connection_row("z", "1");
        refused(db, move |tx| put_connection(tx, &tenant_id("a"), &homeless)).await;
    }
}

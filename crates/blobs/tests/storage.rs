//! One suite over every kind of storage that is to be had here.
#![allow(clippy::unwrap_used, reason = "a failed step is the test's failure")]
#![allow(
    clippy::disallowed_methods,
    reason = "the tests' environment says where an S3 server is, if there is one"
)]

use bulkhead_blobs::{BlobError, Place, Store, digest};
use bulkhead_types::Timestamp;
use bytes::Bytes;

/// What every storage must do. `exchange` puts another content under a name, behind the store's back.
async fn holds(store: Store) {
    let small = Bytes::from_static(b"a bundle");
    let name = store.put("bundles", small.clone()).await.unwrap();
    assert_eq!(name, digest(b"a bundle"));
    assert_eq!(store.put("bundles", small.clone()).await.unwrap(), name, "twice is once");
    assert_eq!(store.get("bundles", &name, 100).await.unwrap(), Some(small));
    assert_eq!(store.get("maps", &name, 100).await.unwrap(), None, "folders are apart");
    assert_eq!(store.get("bundles", &digest(b"other"), 100).await.unwrap(), None);
    assert_eq!(store.get("bundles", "../bundles", 100).await.unwrap(), None);
    assert!(matches!(store.get("bundles", &name, 7).await, Err(BlobError::TooLarge { .. })));
    assert_eq!(store.get("bundles", &name, 8).await.unwrap().unwrap().len(), 8);

    let large = Bytes::from(vec![7; 5 << 20]);
    let name = store.put("payloads", large.clone()).await.unwrap();
    assert_eq!(store.get("payloads", &name, 5 << 20).await.unwrap(), Some(large));

    assert_eq!(store.sweep("payloads", Timestamp::from_millis(0)).await.unwrap(), 0);
    let far = Timestamp::from_millis(i64::MAX);
    assert_eq!(store.sweep("payloads", far).await.unwrap(), 1);
    assert_eq!(store.get("payloads", &name, 5 << 20).await.unwrap(), None);
    assert_eq!(store.sweep("bundles", far).await.unwrap(), 1, "others are left");
}

#[tokio::test]
async fn memory_keeps_contents() {
    holds(Store::in_memory()).await;
}

#[tokio::test]
async fn a_directory_keeps_contents() {
    let dir = tempfile::tempdir().unwrap();
    holds(Store::open(&Place::Disk(dir.path().join("blobs"))).unwrap()).await;
}

/// In the child's environment: which bucket.
const BUCKET: &str = "BULKHEAD_TEST_BUCKET";

/// How a bucket is reached stands in the environment, so what uses one is a process of its own: this program again.
#[test]
fn a_bucket_keeps_contents() {
    let server = bulkhead_testkit::s3();
    let child = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "bucket", "--ignored", "--nocapture"])
        .envs(server.environment())
        .env(BUCKET, bulkhead_testkit::s3::BUCKET)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&child.stdout);
    assert!(child.status.success() && said.contains("1 passed"), "{said}");
}

#[tokio::test]
#[ignore = "run by the test above, which starts what it needs"]
async fn bucket() {
    let Ok(bucket) = std::env::var(BUCKET) else { return };
    for prefix in ["", "/one/two"] {
        let place = Place::parse_s3(&format!("s3://{bucket}{prefix}")).unwrap();
        holds(Store::open(&place).unwrap()).await;
    }
}

#[tokio::test]
async fn a_content_that_was_exchanged_is_not_handed_out() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&Place::Disk(dir.path().to_owned())).unwrap();
    let name = store.put("bundles", Bytes::from_static(b"good")).await.unwrap();
    std::fs::write(dir.path().join("bundles").join(&name), b"evil").unwrap();
    assert!(matches!(store.get("bundles", &name, 100).await, Err(BlobError::Changed(_))));
}

#[test]
fn places_are_read_and_nothing_else_is() {
    let s3 = |bucket: &str, prefix: &str| Place::S3 {
        bucket: bucket.to_owned(),
        prefix: prefix.to_owned(),
    };
    assert_eq!(Place::parse_s3("s3://b").unwrap(), s3("b", ""));
    assert_eq!(Place::parse_s3("s3://b/").unwrap(), s3("b", ""));
    assert_eq!(Place::parse_s3("s3://b/one/two/").unwrap(), s3("b", "one/two"));
    for wrong in
        ["", "b", "s3://", "s3:///p", "s3://b//p", "s3://b/../c", "s3://b/p?x=1", "https://b/p"]
    {
        assert!(Place::parse_s3(wrong).is_err(), "{wrong}");
    }
}

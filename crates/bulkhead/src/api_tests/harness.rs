//! A server on port 0, and a small client that sees everything.

use std::sync::Arc;

use bulkhead_egress::{Gateway, GatewayLimits, Rule, SystemResolver};
use bulkhead_engine::{Engine, EngineOptions, Settled};
use bulkhead_platform::{Platform, PlatformConfig};
use bulkhead_store::Db;
use bulkhead_store::hot::sqlite::SqliteStore;
use bulkhead_types::{Lease, Limits, Outcome, SystemClock, SystemEntropy, WorkerId};
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;
use tokio::sync::watch;

use bulkhead_server::{App, AppOptions};

pub(super) const ADMIN: &str = "bhadmin_0123456789abcdef0123456789abcdef";

pub(super) struct Harness {
    pub(super) url: String,
    pub(super) engine: Engine,
    /// Ends the listener.
    pub(super) closing: watch::Sender<bool>,
    /// Lets the routes take nothing new.
    stopping: watch::Sender<bool>,
    pub(super) served: tokio::task::JoinHandle<()>,
    client: Client<HttpConnector, Full<bytes::Bytes>>,
    _directory: tempfile::TempDir,
}

pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: http::HeaderMap,
    pub(super) text: String,
    pub(super) json: Value,
}

impl Answer {
    pub(super) fn code(&self) -> &str {
        self.json["error"]["code"].as_str().unwrap_or_default()
    }

    pub(super) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

impl Harness {
    pub(super) async fn start() -> Self {
        Self::start_with(100).await
    }

    pub(super) async fn start_with(requests_max: usize) -> Self {
        Self::start_reaching(requests_max, Vec::new()).await
    }

    /// One whose tenants may reach what `egress` lets them.
    pub(super) async fn start_reaching(requests_max: usize, egress: Vec<Rule>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (clock, entropy) = (Arc::new(SystemClock), Arc::new(SystemEntropy));
        let db = Db::open(&directory.path().join("bulkhead.db")).unwrap();
        let store = Arc::new(SqliteStore::new(db.clone()));
        let blobs = bulkhead_blobs::Store::in_memory();
        let options = EngineOptions::default();
        let engine = Engine::with_blobs(store, clock.clone(), entropy.clone(), options, blobs);
        let config = PlatformConfig {
            data: directory.path().to_owned(),
            egress,
            listeners: Vec::new(),
            addresses: Vec::new(),
            blobs: None,
            secret_keys: Vec::new(),
            public_url: url.clone(),
            walls: bulkhead_types::WallRule::default(),
        };
        let resolver = Arc::new(SystemResolver::new().unwrap());
        let gateway = Gateway::new(resolver, GatewayLimits::default());
        let platform = Platform::open(config, db, engine.clone(), gateway, clock, entropy.clone())
            .await
            .unwrap();
        let (stopping, stops) = watch::channel(false);
        let (closing, closes) = watch::channel(false);
        let options = AppOptions {
            admin_key: ADMIN.to_owned(),
            public_url: url.clone(),
            ceilings: Limits { memory_mib: 512, ..Limits::default() },
            walls: Some(vec![bulkhead_types::WallKind::Process]),
            requests_max,
            stopping: stops,
            clock: Arc::new(SystemClock),
            own_worker: Arc::new(|| None),
            worker_ready: Arc::new(|| Ok(())),
            metrics: Arc::new(|_| {}),
        };
        let app = App::new(engine.clone(), platform, entropy, options);
        let router = bulkhead_server::router(app);
        let served = tokio::spawn(bulkhead_server::serve(listener, router, 100, async move {
            drop(closes.clone().wait_for(|stop| *stop).await);
        }));
        let client = Client::builder(TokioExecutor::new()).build_http();
        Self { url, engine, closing, stopping, served, client, _directory: directory }
    }

    /// From here on the routes take nothing new; what is on its way comes to its end.
    pub(super) fn stop_routes(&self) {
        self.stopping.send_replace(true);
    }

    /// Sends; `key` and other headers as given.
    pub(super) async fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<bytes::Bytes>,
    ) -> Answer {
        let mut request =
            http::Request::builder().method(method).uri(format!("{}{path}", self.url));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(body.into())).unwrap();
        let response = self.client.request(request).await.unwrap();
        let (head, body) = response.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let json = serde_json::from_str(&text).unwrap_or(Value::Null);
        Answer { status: head.status.as_u16(), headers: head.headers, text, json }
    }

    pub(super) async fn as_admin(&self, method: &str, path: &str, body: Value) -> Answer {
        self.call(ADMIN, method, path, body).await
    }

    pub(super) async fn call(&self, key: &str, method: &str, path: &str, body: Value) -> Answer {
        let key = format!("Bearer {key}");
        let body = if body.is_null() { String::new() } else { body.to_string() };
        self.send(method, path, &[("authorization", &key)], body).await
    }

    /// A tenant with a key.
    pub(super) async fn tenant(&self, name: &str) -> String {
        let made =
            self.as_admin("PUT", &format!("/v1/tenants/{name}"), serde_json::json!({})).await;
        assert_eq!(made.status, 200, "{}", made.text);
        let keys = format!("/v1/tenants/{name}/keys");
        let key = self.as_admin("POST", &keys, serde_json::json!({"label": "test"})).await;
        assert_eq!(key.status, 201, "{}", key.text);
        key.json["secret"].as_str().unwrap().to_owned()
    }

    /// A tenant with an integration, a connection and functions of every kind.
    pub(super) async fn furnished(&self, name: &str) -> String {
        let key = self.tenant(name).await;
        let put = self
            .call(
                &key,
                "PUT",
                "/v1/integrations/crm",
                serde_json::json!({"base_url": "https://crm.example"}),
            )
            .await;
        assert_eq!(put.status, 200, "{}", put.text);
        let body =
            serde_json::json!({"integration": "crm", "connection_id": "c1", "credentials": {}});
        let put = self.call(&key, "POST", "/v1/connections", body).await;
        assert_eq!(put.status, 200, "{}", put.text);
        let body = serde_json::json!({"functions": [
            function("action", "greet"), function("sync", "contacts"), function("webhook", "changed"),
        ]});
        let deployed = self.call(&key, "POST", "/v1/deployments", body).await;
        assert_eq!(deployed.status, 201, "{}", deployed.text);
        key
    }

    /// Leases what is next and leaves it running.
    pub(super) async fn work_one_later(&self) -> Lease {
        let worker = WorkerId::generate(bulkhead_types::Timestamp::from_millis(0), &SystemEntropy);
        self.engine.lease(&worker, 1).await.unwrap().remove(0)
    }

    /// Completes what runs.
    pub(super) async fn finish(&self, lease: Lease) {
        let settled = Settled::new(Outcome::Completed(Value::Null));
        self.engine.settle(&lease.lease, settled).await.unwrap();
    }

    /// Leases what is next and settles it with `outcome`.
    pub(super) async fn work_one(&self, outcome: impl FnOnce(&Lease) -> Outcome) -> Lease {
        let lease = self.work_one_later().await;
        let settled = Settled::new(outcome(&lease));
        self.engine.settle(&lease.lease, settled).await.unwrap();
        lease
    }
}

pub(super) fn function(kind: &str, name: &str) -> Value {
    let mut spec = serde_json::json!({"integration": "crm", "kind": kind, "name": name});
    if kind == "sync" {
        spec["frequency"] = "every 1h".into();
        spec["models"] = serde_json::json!({"Contact": {"type": "object"}});
    }
    serde_json::json!({"spec": spec, "bundle": "module.exports = {}"})
}

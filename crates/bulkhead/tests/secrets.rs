//! Credentials are where they belong and nowhere else: each one planted here is recognisable, and looked for in what a
//! function can see that does not declare it, in what one tells that does, in answers, errors, logs and timelines, in the server's own log, and in
//! every file that the server leaves behind.
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::path::Path;
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use bulkhead_api::Op;
use bulkhead_client::{Client, Request};
use serde_json::{Value, json};
use support::{Home, Server, action, execution};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

/// A secret with characters that change when they are encoded. Functions know how it begins, and no more.
fn canary(number: u8) -> String {
    format!("c4n4ry{}+/=&%{number}", hex::encode([number ^ 0x5a; 8]))
}

/// A secret in the forms that it could be written down in.
fn forms(secret: &str) -> Vec<String> {
    let mut forms = vec![
        secret.to_owned(),
        hex::encode(secret),
        secret.replace('+', "%2B").replace('/', "%2F"),
        // How a query has it.
        url_encoded(secret),
        serde_json::to_string(secret).unwrap().trim_matches('"').to_owned(),
        secret.chars().rev().collect(),
    ];
    // In base64 three neighbours' bits mix with what stands before and after.
    for before in ["", "x", "xy"] {
        for engine in [&STANDARD_NO_PAD, &URL_SAFE_NO_PAD] {
            let encoded = engine.encode(format!("{before}{secret}"));
            forms.push(encoded[4..encoded.len() - 4].to_owned());
        }
    }
    forms
}

fn url_encoded(secret: &str) -> String {
    let escaped = |byte: u8| match byte {
        b'0'..=b'9' | b'a'..=b'z' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    secret.bytes().map(escaped).collect()
}

/// The canaries that are in `text`, in any form.
fn found_in(text: &[u8], canaries: &[String]) -> Vec<String> {
    let is_in = |form: &String| memchr::memmem::find(text, form.as_bytes()).is_some();
    canaries.iter().filter(|canary| forms(canary).iter().any(is_in)).cloned().collect()
}

/// An API that answers with what it was sent, and remembers it.
async fn mirror() -> (u16, Arc<Mutex<Vec<u8>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let heard = Arc::new(Mutex::new(Vec::new()));
    let hearing = Arc::clone(&heard);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let heard = Arc::clone(&hearing);
            tokio::spawn(async move {
                let mut request = vec![0; 16 << 10];
                let bytes = stream.read(&mut request).await.unwrap_or(0);
                request.truncate(bytes);
                heard.lock().unwrap().extend_from_slice(&request);
                let status =
                    if request.starts_with(b"GET /refuse") { "403 Forbidden" } else { "200 OK" };
                let echo = String::from_utf8_lossy(&request).into_owned();
                let authorization = echo
                    .lines()
                    .find(|line| line.to_ascii_lowercase().starts_with("authorization"));
                let reflected = authorization
                    .and_then(|line| line.split_once(' '))
                    .map_or("none", |(_, value)| value);
                let head = format!(
                    "HTTP/1.1 {status}\r\nx-reflected: {reflected}\r\nconnection: close\r\ncontent-length: {bytes}\r\n\r\n"
                );
                drop(stream.write_all(&[head.as_bytes(), &request].concat()).await);
            });
        }
    });
    (port, heard)
}

/// Integrations whose credentials go along in different ways, and one whose API is not there.
async fn plant(client: &Client, port: u16, canaries: &[String]) {
    let base_url = format!("http://127.0.0.1:{port}");
    let [token, password, key, client_secret, webhook, closed] = canaries else { panic!() };
    let oauth = json!({"mode": "oauth2", "authorization_url": "https://a.example/", "token_url": "https://a.example/t",
        "client_id": "id", "client_secret": client_secret});
    for (name, url, auth, credentials) in [
        ("secretive", base_url.as_str(), json!({"mode": "bearer"}), json!({"token": token})),
        (
            "basic",
            &base_url,
            json!({"mode": "basic"}),
            json!({"username": "me", "password": password}),
        ),
        ("query", &base_url, json!({"mode": "api_key", "query": "key"}), json!({"api_key": key})),
        ("oauth", &base_url, oauth, json!({"token": token})),
        // Nothing listens on port 1.
        (
            "closed",
            "http://127.0.0.1:1",
            json!({"mode": "api_key", "query": "key"}),
            json!({"api_key": closed}),
        ),
    ] {
        let webhook = json!({"scheme": "hmac", "secret": webhook});
        let put = json!({"base_url": url, "auth": auth, "webhook": webhook});
        client.call::<Value>(Request::new(Op::PutIntegration, &[name]).json(&put)).await.unwrap();
        let made = json!({"integration": name, "connection_id": "c1", "credentials": credentials});
        client.call::<Value>(Request::new(Op::PutConnection, &[]).json(&made)).await.unwrap();
    }
}

/// All that the API tells of what ran and of what was set up.
async fn told(client: &Client) -> String {
    let mut told = String::new();
    let mut add = |value: Value| told.push_str(&value.to_string());
    let all: Value = client.call(Request::new(Op::ListExecutions, &[])).await.unwrap();
    for one in all["executions"].as_array().unwrap() {
        let id = one["id"].as_str().unwrap();
        add(execution(client, id).await);
        add(client
            .call(Request::new(Op::ExecutionLogs, &[id]).query("limit", "1000"))
            .await
            .unwrap());
    }
    for op in [Op::ListIntegrations, Op::ListConnections, Op::ListFunctions] {
        add(client.call(Request::new(op, &[])).await.unwrap());
    }
    told
}

fn files_below(directory: &Path, see: &mut impl FnMut(&Path, &[u8])) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files_below(&path, see);
        } else if path.is_file() {
            see(&path, &std::fs::read(&path).unwrap());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_are_nowhere_but_at_their_own_api() {
    let canaries: Vec<String> = (1..=6).map(canary).collect();
    let (port, heard) = mirror().await;
    let home = Home::new();
    let rule = format!("egress.allow=name=mirror 127.0.0.1/32 :{port} :1");
    let server = Server::start(&home, &[&rule, "log.level=debug"]);
    let client = server.tenant("t", "tests/functions").await;
    plant(&client, port, &canaries).await;

    let integrations = json!({"integrations": ["secretive", "basic", "query", "oauth", "closed"]});
    let answer = action(&client, "secretive", "look", integrations).await.unwrap();
    let seen = answer["seen"].to_string();
    let mut leaks = Leaks { canaries: &canaries, found: Vec::new() };
    leaks.look("what a function sees", seen.as_bytes());
    assert!(seen.contains("[redacted]"), "the API did send them back: {seen}");
    assert_eq!(seen.matches("does not declare that it needs credentials").count(), 5, "{seen}");
    let memory = &answer["memory"];
    assert_eq!(memory["found"], json!([]), "{memory}");
    println!("of its own memory a function reads: {memory}");
    assert!(memory["bytes"].as_u64() > Some(1 << 20), "it was read: {memory}");
    // One that may have them, and prints and throws them.
    for how in ["error", "payload"] {
        let call = Request::new(Op::RunAction, &["secretive", "careless"])
            .connection(Some("c1"))
            .json(&json!({ "how": how }));
        let failed = client.exchange(call).await.unwrap();
        let said = String::from_utf8_lossy(&failed.body).into_owned();
        assert!(said.contains("refused: ") && said.contains("[redacted]"), "{said}");
        leaks.look(how, format!("{failed:?} {said}").as_bytes());
    }
    // The product's own way through the proxy gets them as little.
    for (name, path) in [("secretive", "mirror"), ("query", "refuse"), ("closed", "mirror")] {
        let call = Request::proxy(http::Method::GET, path, "")
            .headers([("Integration".to_owned(), name.to_owned())])
            .connection(Some("c1"));
        let passed = match client.exchange(call).await {
            Ok(answer) => format!("{answer:?}"),
            Err(error) => format!("{error:?}"),
        };
        leaks.look(name, passed.as_bytes());
    }
    let told = told(&client).await;
    assert!(told.contains("[redacted]"), "logs and outputs are among it");
    leaks.look("what the API tells", told.as_bytes());

    // They were where they belong, in the form that each has there: the search would have found them.
    let heard = heard.lock().unwrap().clone();
    assert_eq!(found_in(&heard, &canaries), canaries[..3]);
    let log = server.stop_and_log();
    assert!(log.contains("DEBUG"), "{log:.300}");
    leaks.look("the server's log", log.as_bytes());
    let mut files = 0;
    files_below(&home.data(), &mut |path, content| {
        files += 1;
        leaks.look(&path.display().to_string(), content);
    });
    assert!(files > 3, "{files} files");
    assert_eq!(leaks.found, [""; 0]);
}

/// Where canaries were that they should not have been.
struct Leaks<'a> {
    canaries: &'a [String],
    found: Vec<String>,
}

impl Leaks<'_> {
    fn look(&mut self, place: &str, content: &[u8]) {
        let found = found_in(content, self.canaries);
        self.found.extend(found.into_iter().map(|canary| format!("{canary} in {place}")));
    }
}

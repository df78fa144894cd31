//! A sandbox's connections to the world.
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::collections::HashMap;
use std::net::SocketAddr;

use bulkhead_protocol::{CONNECTION_WINDOW_BYTES, Kind, Opened, Refused, SandboxGone};
use bulkhead_types::{Limits, Outcome};
use bulkhead_wall::fake::{FakeSandbox, FakeWall};
use serde_json::{Value, json};
use support::{TestEgress, TestHost, lease, limits, run, runner_with, small_pool};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// A server on a port of its own that does `serve` with each connection.
async fn server<F, Fut>(tasks: &mut JoinSet<()>, serve: F) -> SocketAddr
where
    F: Fn(TcpStream) -> Fut + Send + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tasks.spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            connections.spawn(serve(stream));
        }
    });
    address
}

async fn run_with<F, Fut>(host: &str, address: SocketAddr, limits: Limits, script: F) -> Outcome
where
    F: Fn(FakeSandbox) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    let script = std::sync::Arc::new(script);
    let wall = FakeWall::new(move |mut sandbox| {
        let script = script.clone();
        async move {
            sandbox.start().await;
            sandbox.started().await;
            script(sandbox).await;
            SandboxGone::Exited { status: 0 }
        }
    });
    let egress = TestEgress(HashMap::from([(host.to_owned(), address)]));
    let runner = runner_with(wall, &TestHost::echo(), small_pool(), egress);
    run(&runner, lease(1, limits, Value::Null)).await.outcome
}

async fn next_on(sandbox: &mut FakeSandbox, channel: u32) -> (Kind, Vec<u8>) {
    loop {
        let (on, kind, message) = sandbox.next().await.unwrap();
        if on == channel {
            return (kind, message);
        }
    }
}

#[tokio::test]
async fn bytes_go_both_ways_beyond_the_window_and_ends_are_told() {
    let mut tasks = JoinSet::new();
    let size = 5 * CONNECTION_WINDOW_BYTES as usize + 7;
    // Reads to the end, then answers with everything.
    let address = server(&mut tasks, |mut stream| async move {
        let mut all = Vec::new();
        stream.read_to_end(&mut all).await.unwrap();
        stream.write_all(&all).await.unwrap();
    })
    .await;
    let outcome = run_with("api", address, limits(20_000), move |mut sandbox| async move {
        sandbox.open(9, "api", 443).await;
        let (kind, opened) = next_on(&mut sandbox, 9).await;
        assert_eq!(kind, Kind::Opened);
        let opened: Opened = serde_json::from_slice(&opened).unwrap();
        let mut room = CONNECTION_WINDOW_BYTES as usize;
        let (mut sent, mut received, mut ended) = (0, 0, false);
        while !ended {
            while sent < size && room > 0 {
                let piece = room.min(50_000).min(size - sent);
                sandbox.send(9, Kind::Data, &vec![b'z'; piece]).await;
                (sent, room) = (sent + piece, room - piece);
                if sent == size {
                    sandbox.send(9, Kind::End, &[]).await;
                }
            }
            match next_on(&mut sandbox, 9).await {
                (Kind::Window, bytes) => {
                    room += u32::from_le_bytes(bytes.try_into().unwrap()) as usize;
                }
                (Kind::Data, bytes) => {
                    received += bytes.len();
                    let granted = u32::try_from(bytes.len()).unwrap();
                    sandbox.send(9, Kind::Window, &granted.to_le_bytes()).await;
                }
                (Kind::End, _) => ended = true,
                other => panic!("{other:?}"),
            }
        }
        sandbox.complete(json!({"port": opened.port, "received": received})).await;
    })
    .await;
    assert_eq!(outcome, Outcome::Completed(json!({"port": address.port(), "received": size})));
}

#[tokio::test]
async fn no_more_is_sent_to_a_sandbox_than_its_window() {
    let mut tasks = JoinSet::new();
    let address = server(&mut tasks, |mut stream| async move {
        // Ends with an error once the connection is broken off.
        while stream.write_all(&[1; 4_096]).await.is_ok() {}
    })
    .await;
    let outcome = run_with("api", address, limits(20_000), |mut sandbox| async move {
        sandbox.open(9, "api", 443).await;
        assert_eq!(next_on(&mut sandbox, 9).await.0, Kind::Opened);
        let mut received = 0;
        let wait = std::time::Duration::from_millis(300);
        while let Ok((kind, bytes)) = tokio::time::timeout(wait, next_on(&mut sandbox, 9)).await {
            assert_eq!(kind, Kind::Data);
            received += bytes.len();
        }
        sandbox.send(9, Kind::Reset, &[]).await;
        sandbox.complete(json!(received)).await;
    })
    .await;
    assert_eq!(outcome, Outcome::Completed(json!(CONNECTION_WINDOW_BYTES)));
}

#[tokio::test]
async fn more_data_than_the_window_is_a_violation() {
    let mut tasks = JoinSet::new();
    let address = server(&mut tasks, |stream| async move {
        std::future::pending::<()>().await;
        drop(stream);
    })
    .await;
    let outcome = run_with("api", address, limits(20_000), |mut sandbox| async move {
        sandbox.open(9, "api", 443).await;
        assert_eq!(next_on(&mut sandbox, 9).await.0, Kind::Opened);
        // The kernel's buffers take some of it; whatever they take, nothing is granted until it is written.
        for _ in 0..2_000 {
            sandbox.send(9, Kind::Data, &[0; 60_000]).await;
        }
        std::future::pending::<()>().await;
    })
    .await;
    let Outcome::Crashed(error) = outcome else { panic!("{outcome:?}") };
    assert_eq!(error.code, "protocol_violation");
}

#[tokio::test]
async fn a_refused_connection_names_its_rule_to_sandbox_log_and_timeline() {
    let wall = FakeWall::handler(|_, mut sandbox| async move {
        sandbox.open(4, "10.0.0.1", 80).await;
        let (kind, refused) = next_on(&mut sandbox, 4).await;
        assert_eq!(kind, Kind::Refused);
        let refused: Refused = serde_json::from_slice(&refused).unwrap();
        Ok(json!([refused.code, refused.rule]))
    });
    let host = TestHost::echo();
    let runner = runner_with(wall, &host, small_pool(), TestEgress::default());
    let settled = run(&runner, lease(1, limits(10_000), Value::Null)).await;
    assert_eq!(settled.outcome, Outcome::Completed(json!(["egress_denied", "deny-all"])));
    let detail = json!({"host": "10.0.0.1", "port": 80, "rule": "deny-all"});
    assert_eq!(host.events_named("denied"), [detail]);
    assert_eq!(host.texts(), ["egress_denied: connection to 10.0.0.1:80 refused by rule deny-all"]);
}

#[tokio::test]
async fn one_connection_more_than_allowed_is_refused() {
    let mut tasks = JoinSet::new();
    let address = server(&mut tasks, |stream| async move {
        std::future::pending::<()>().await;
        drop(stream);
    })
    .await;
    let limits = Limits { connections: 2, ..limits(10_000) };
    let outcome = run_with("api", address, limits, |mut sandbox| async move {
        for channel in 1..=3 {
            sandbox.open(channel, "api", 443).await;
        }
        let (kind, refused) = next_on(&mut sandbox, 3).await;
        assert_eq!(kind, Kind::Refused);
        let refused: Refused = serde_json::from_slice(&refused).unwrap();
        sandbox.complete(json!(refused.code)).await;
    })
    .await;
    assert_eq!(outcome, Outcome::Completed(json!("EMFILE")));
}

#[tokio::test]
async fn an_upstream_that_breaks_off_is_told_as_a_reset() {
    let mut tasks = JoinSet::new();
    let address = server(&mut tasks, |stream| async move {
        // Unread bytes at close make the kernel send a reset.
        stream.peek(&mut [0]).await.unwrap();
        drop(stream);
    })
    .await;
    let outcome = run_with("api", address, limits(10_000), |mut sandbox| async move {
        sandbox.open(1, "api", 443).await;
        assert_eq!(next_on(&mut sandbox, 1).await.0, Kind::Opened);
        sandbox.send(1, Kind::Data, b"hello").await;
        loop {
            match next_on(&mut sandbox, 1).await.0 {
                Kind::Window => {}
                kind => {
                    assert_eq!(kind, Kind::Reset);
                    break;
                }
            }
        }
        // A late frame for the closed channel is no violation.
        sandbox.send(1, Kind::Data, b"late").await;
        sandbox.complete(json!("reset")).await;
    })
    .await;
    assert_eq!(outcome, Outcome::Completed(json!("reset")));
}

/// A hello that names `name`, as a client would begin TLS with.
fn hello(name: &str) -> Vec<u8> {
    let list = |bytes: Vec<u8>| {
        let length = u16::try_from(bytes.len()).unwrap().to_be_bytes();
        [length.to_vec(), bytes].concat()
    };
    let names = list([vec![0], list(name.as_bytes().to_vec())].concat());
    let extensions = list([vec![0, 0], list(names)].concat());
    let body = [vec![3, 3], vec![7; 32], vec![0, 0, 2, 0x13, 1, 1, 0], extensions].concat();
    let length = u32::try_from(body.len()).unwrap().to_be_bytes();
    [vec![22, 3, 1], list([vec![1], length[1..].to_vec(), body].concat())].concat()
}

#[tokio::test]
async fn a_hello_for_another_name_does_not_reach_the_server() {
    let mut tasks = JoinSet::new();
    let (seen, mut read) = tokio::sync::mpsc::channel(8);
    let address = server(&mut tasks, move |mut stream| {
        let seen = seen.clone();
        async move {
            let mut all = Vec::new();
            stream.read_to_end(&mut all).await.unwrap();
            seen.send(all).await.unwrap();
        }
    })
    .await;
    let wall = FakeWall::handler(|_, mut sandbox| async move {
        let mut told = Vec::new();
        for (channel, name) in [(1, "api"), (2, "other")] {
            sandbox.open(channel, "api", 443).await;
            assert_eq!(next_on(&mut sandbox, channel).await.0, Kind::Opened);
            let bytes = hello(name);
            // In two pieces: the first alone can't be judged.
            sandbox.send(channel, Kind::Data, &bytes[..20]).await;
            sandbox.send(channel, Kind::Data, &bytes[20..]).await;
            sandbox.send(channel, Kind::End, &[]).await;
            loop {
                match next_on(&mut sandbox, channel).await {
                    (Kind::Window, _) => {}
                    (Kind::End, _) => break told.push("passed".to_owned()),
                    (Kind::Refused, refused) => {
                        let refused: Refused = serde_json::from_slice(&refused).unwrap();
                        break told.push(refused.rule.unwrap());
                    }
                    other => panic!("{other:?}"),
                }
            }
        }
        Ok(json!(told))
    });
    let host = TestHost::echo();
    let egress = TestEgress(HashMap::from([("api".to_owned(), address)]));
    let runner = runner_with(wall, &host, small_pool(), egress);
    let settled = run(&runner, lease(1, limits(20_000), Value::Null)).await;
    assert_eq!(settled.outcome, Outcome::Completed(json!(["passed", "tls.name_mismatch"])));
    assert_eq!(
        host.texts(),
        ["egress_denied: connection to api:443 refused by rule tls.name_mismatch"]
    );
    assert_eq!(read.recv().await.unwrap(), hello("api"));
    assert_eq!(read.recv().await.unwrap(), b"", "nothing of the other hello");
}

#[tokio::test]
async fn rates_and_bytes_are_limited_and_named() {
    let mut tasks = JoinSet::new();
    let address = server(&mut tasks, |mut stream| async move {
        while stream.write_all(&[1; 65_536]).await.is_ok() {}
    })
    .await;
    let wall = FakeWall::handler(|_, mut sandbox| async move {
        let mut told = Vec::new();
        for _ in 1..=3 {
            let params = json!({"host": "api", "family": 0});
            told.push(match sandbox.call("dns.lookup", params).await {
                Ok(_) => "found".to_owned(),
                Err(error) => error.payload.unwrap()["rule"].as_str().unwrap().to_owned(),
            });
        }
        sandbox.open(1, "api", 443).await;
        loop {
            match next_on(&mut sandbox, 1).await {
                (Kind::Data, bytes) => {
                    let granted = u32::try_from(bytes.len()).unwrap();
                    sandbox.send(1, Kind::Window, &granted.to_le_bytes()).await;
                }
                (Kind::Refused, refused) => {
                    break told.push(String::from_utf8(refused).unwrap());
                }
                (kind, _) => assert_eq!(kind, Kind::Opened),
            }
        }
        sandbox.open(2, "api", 443).await;
        let (kind, refused) = next_on(&mut sandbox, 2).await;
        assert_eq!(kind, Kind::Refused);
        told.push(String::from_utf8(refused).unwrap());
        Ok(json!(told))
    });
    let host = TestHost::echo();
    let egress = TestEgress(HashMap::from([("api".to_owned(), address)]));
    let runner = runner_with(wall, &host, small_pool(), egress);
    let limits = Limits {
        lookups_per_minute: 2,
        connections_per_minute: 1,
        egress_mib: 1,
        ..limits(20_000)
    };
    let settled = run(&runner, lease(1, limits, Value::Null)).await;
    let Outcome::Completed(told) = settled.outcome else { panic!("{:?}", settled.outcome) };
    let told: Vec<String> = serde_json::from_value(told).unwrap();
    assert_eq!(told[..3], ["found", "found", "limit.lookups_per_minute"]);
    assert!(told[3].contains("limit.egress_mib"), "{}", told[3]);
    assert!(told[4].contains("limit.connections_per_minute"), "{}", told[4]);
    let logged = host.texts().join("\n");
    for rule in ["lookups_per_minute", "egress_mib", "connections_per_minute"] {
        assert!(logged.contains(&format!("refused by rule limit.{rule}")), "{logged}");
    }
    assert_eq!(host.events_named("denied").len(), 3);
}

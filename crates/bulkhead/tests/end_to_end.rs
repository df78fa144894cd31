//! Whole executions behind the process wall, through the binary and its HTTP API.
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::collections::HashSet;

use bulkhead_api::{EgressExplanation, Op};
use bulkhead_client::Request;
use serde_json::{Value, json};
use support::web::Web;
use support::{Home, Server, action, execution, submit, until};
use tokio::task::JoinSet;

#[tokio::test(flavor = "multi_thread")]
async fn each_misbehaviour_ends_with_its_name_while_another_tenant_goes_on() {
    let home = Home::new();
    let server = Server::start(&home, &[]);
    let (bad, good) =
        tokio::join!(server.tenant("bad", "tests/functions"), server.tenant("good", "examples"));
    let mut good_ones = JoinSet::new();
    for n in 0..50 {
        let good = good.clone();
        good_ones.spawn(async move { action(&good, "bench", "noop", json!({"n": n})).await });
    }
    let cases = [
        ("loop", "time_limit"),
        ("loop-cpu", "cpu_limit"),
        ("memory", "out_of_memory"),
        ("heap", "out_of_memory"),
        ("fork", "process_limit"),
        ("disk", "disk_limit"),
        ("inodes", "disk_limit"),
        ("big-output", "output_too_large"),
        ("crash", "sandbox_crashed"),
    ];
    let mut bad_ones = JoinSet::new();
    for (name, wanted) in cases {
        let bad = bad.clone();
        bad_ones.spawn(async move {
            let found = action(&bad, "misbehaving", name, json!({})).await;
            (name, wanted, found.err().unwrap_or_default())
        });
    }
    let mut wrong = Vec::new();
    while let Some(case) = bad_ones.join_next().await {
        let (name, wanted, found) = case.unwrap();
        if found != wanted {
            wrong.push(format!("{name}: {found} instead of {wanted}"));
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
    let mut answers = HashSet::new();
    while let Some(answer) = good_ones.join_next().await {
        answers.insert(answer.unwrap().expect("every execution of the other tenant")["n"].as_u64());
    }
    assert_eq!(answers.len(), 50);
    server.stop();
    until("nothing is left", || async { home.cgroups().is_empty() }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_log_lines_is_cut_and_the_run_goes_on() {
    let home = Home::new();
    let server = Server::start(&home, &[]);
    let client = server.tenant("t", "tests/functions").await;
    let id = submit(&client, "misbehaving", "log-flood", json!({})).await;
    until("the end of the flood", || async {
        execution(&client, &id).await["state"] == "succeeded"
    })
    .await;
    let logs: Value =
        client.call(Request::new(Op::ExecutionLogs, &[&id]).query("limit", "1000")).await.unwrap();
    let mut lines =
        logs["logs"].as_array().or(logs["lines"].as_array()).cloned().unwrap_or_default();
    assert!(lines.len() >= 900, "{} lines: {logs:.300}", lines.len());
    let cursor = logs["next_cursor"].as_str().map(str::to_owned);
    if let Some(cursor) = cursor {
        let more: Value = client
            .call(Request::new(Op::ExecutionLogs, &[&id]).query("cursor", &cursor))
            .await
            .unwrap();
        lines.extend(
            more["logs"].as_array().or(more["lines"].as_array()).cloned().unwrap_or_default(),
        );
    }
    assert!(lines.len() <= 1_001, "{}", lines.len());
    let said = serde_json::to_string(lines.last().unwrap()).unwrap();
    assert!(
        said.contains("cut") || said.contains("limit"),
        "the last line says that it was cut: {said}"
    );
    server.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_of_one_execution_is_there_for_the_next() {
    let home = Home::new();
    let server = Server::start(&home, &[]);
    let client = server.tenant("t", "tests/functions").await;
    let mut seen = Vec::new();
    for round in 0..4 {
        let mark = json!({"mark": format!("mark {round}")});
        action(&client, "misbehaving", "leave-traces", mark.clone()).await.unwrap();
        // The same function again and again, one after another and two at a time.
        let (one, two) = tokio::join!(
            action(&client, "misbehaving", "look-for-traces", mark.clone()),
            action(&client, "misbehaving", "look-for-traces", mark)
        );
        seen.extend([one.unwrap(), two.unwrap()]);
    }
    for one in &seen {
        assert_eq!(one["found"], json!([]), "{one}");
    }
    for differs in ["random", "bytes", "uuid", "pid"] {
        let values: HashSet<String> = seen.iter().map(|one| one[differs].to_string()).collect();
        assert_eq!(values.len(), seen.len(), "{differs}: {values:?}");
    }
    server.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_programs_need_of_node_works_in_a_forked_sandbox() {
    let web = Web::start();
    let home = Home::new();
    let rule = format!("egress.allow=name=web 127.0.0.1/32 :{} :{}", web.http, web.https);
    let server = Server::start(&home, &[&rule]);
    let client = server.tenant("t", "tests/functions").await;
    let http = format!("http://127.0.0.1:{}", web.http);
    let https = format!("https://127.0.0.1:{}", web.https);
    let targets = json!({"http": http, "https": https});
    let features = action(&client, "features", "features", targets).await.unwrap();
    let features = features.as_object().unwrap();
    let broken: Vec<_> = features.iter().filter(|(_, it)| it["works"] != true).collect();
    assert!(broken.is_empty(), "{broken:#?}");
    assert!(features.len() >= 20, "{:?}", features.keys());
    server.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hello_must_name_what_was_asked_for_and_explain_tells_the_rules() {
    let web = Web::start();
    let home = Home::new();
    let rule = format!("egress.allow=name=web 127.0.0.1/32 ::1/128 :{}", web.https);
    let server = Server::start(&home, &[&rule]);
    let client = server.tenant("t", "tests/functions").await;
    let tries = [("a.localhost", "a.localhost"), ("a.localhost", "b.localhost"), ("127.0.0.1", "")];
    let tries = tries.map(|(host, servername)| json!({"host": host, "servername": servername}));
    let input = json!({"port": web.https, "tries": tries});
    let id = submit(&client, "features", "hello", input).await;
    until("its end", || async { execution(&client, &id).await["state"] == "succeeded" }).await;
    let shown = execution(&client, &id).await;
    let denied = |rule: &str| format!("EGRESS_DENIED {rule}");
    let rules = ["tls.name_mismatch", "function.not_allowed", "function.not_allowed"];
    let expected = json!(["connected", denied(rules[0]), denied(rules[1]), denied(rules[2])]);
    assert_eq!(shown["output"], expected, "{shown:#}");
    let logs: Value = client.call(Request::new(Op::ExecutionLogs, &[&id])).await.unwrap();
    let logs = logs.to_string();
    let port = web.https;
    for line in [
        format!(
            "egress_denied: connection to a.localhost:{port} refused by rule tls.name_mismatch"
        ),
        format!(
            "egress_denied: connection to 127.0.0.1:{port} refused by rule function.not_allowed"
        ),
        "egress_denied: dns.lookup of elsewhere.test refused by rule function.not_allowed"
            .to_owned(),
    ] {
        assert!(logs.contains(&line), "{line} is not in {logs}");
    }
    let timeline = shown["timeline"].as_array().unwrap();
    let noted: Vec<_> = timeline.iter().filter(|event| event["what"] == "denied").collect();
    assert_eq!(noted.len(), 3, "{noted:?}");
    explained(&server, &client, port).await;
    server.stop();
}

/// The same port, asked about: by the tenant for its function, by the operator for the tenant.
async fn explained(server: &Server, client: &bulkhead_client::Client, port: u16) {
    let port = port.to_string();
    let ask = |host: &str, function: Option<&str>| {
        Request::new(Op::ExplainEgress, &[])
            .query("host", host)
            .query("port", &port)
            .query_maybe("function", function)
    };
    let hello = Some("features/action/hello");
    let told: EgressExplanation = client.call(ask("A.localhost.", hello)).await.unwrap();
    assert_eq!((told.allowed, told.rule.as_deref()), (true, Some("web")));
    assert_eq!((told.host.as_str(), told.resolved.as_str()), ("a.localhost", "addresses"));
    let looked: Vec<_> = told.addresses[0].rules.iter().map(|step| step.rule.as_str()).collect();
    assert_eq!(looked, ["platform.own_listener", "local-names", "web"]);
    let told: EgressExplanation = client.call(ask("elsewhere.test", hello)).await.unwrap();
    assert_eq!((told.allowed, told.resolved.as_str()), (false, "not_asked"));
    let operators = Request::new(Op::ExplainTenantEgress, &["t"]).query("host", "10.0.0.1");
    let told: EgressExplanation = server.admin.call(operators).await.unwrap();
    assert_eq!((told.port, told.rule.as_deref()), (443, Some("default.private")));
    let unknown = client.call::<EgressExplanation>(ask("a", Some("features/action/none"))).await;
    assert_eq!(support::code(&unknown.unwrap_err()), "function_not_found");
    let output = support::bulkhead(server, &["egress", "explain", "10.0.0.1:80", "--tenant", "t"]);
    assert!(output.contains("10.0.0.1 port 80: denied by default.private"), "{output}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_execution_ends_at_once_even_if_it_does_not_listen() {
    let home = Home::new();
    let server = Server::start(&home, &[]);
    let client = server.tenant("t", "tests/functions").await;
    for listen in [true, false] {
        let id = submit(&client, "misbehaving", "cancel-me", json!({"listen": listen})).await;
        until("it runs", || async { execution(&client, &id).await["state"] == "running" }).await;
        client.send(Request::new(Op::CancelExecution, &[&id])).await.unwrap();
        until("its end", || async { execution(&client, &id).await["state"] == "cancelled" }).await;
    }
    server.stop();
}

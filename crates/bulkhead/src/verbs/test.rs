//! `bulkhead test`: recorded mocks, replayed in real sandboxes.

use std::sync::Arc;

use serde::Serialize;
use serde_json::Value;

use crate::cli::Test;
use crate::compile::{Compile, compile};
use crate::context::Context;
use crate::rehearsal::compare::Differences;
use crate::rehearsal::files::{self, TestFile, named};
use crate::rehearsal::scene::Scene;
use crate::rehearsal::{Ended, Rehearsal, Run};
use crate::verbs::embedded::prepare;
use crate::{exit, output};

/// What came of all cases; the form of `--json`.
#[derive(Debug, Serialize)]
struct Verdicts {
    passed: usize,
    failed: usize,
    cases: Vec<Case>,
}

#[derive(Debug, Serialize)]
struct Case {
    function: String,
    file: String,
    /// `passed` or `failed`.
    verdict: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    difference: Option<String>,
    took_ms: u64,
}

pub(crate) fn run(typed: &Test, context: &Context) -> anyhow::Result<u8> {
    // Programs of this machine and files of the project come first, while we still are who called.
    let what =
        Compile { project: &typed.project, functions: &[], type_check: !typed.no_type_check };
    let mut functions =
        compile(&context.config.tools, &what, |note| output::say(&format!("note: {note}")))?;
    let mut tests = files::find(&typed.project, &functions)?;
    let chosen = |integration: &str, name: &str| {
        let full = format!("{integration}/{name}");
        typed.functions.is_empty() || typed.functions.iter().any(|f| *f == full || *f == name)
    };
    tests.retain(|test| chosen(&test.integration, &test.name));
    let tested = |function: &(&str, &str, &str)| {
        tests
            .iter()
            .any(|t| (t.integration.as_str(), t.kind.as_str(), t.name.as_str()) == *function)
    };
    let without = functions.iter().map(named).filter(|f| chosen(f.0, f.2) && !tested(f));
    for (integration, kind, name) in without {
        output::say(&format!("no mocks: {integration}/{name} ({kind})"));
    }
    functions.retain(|function| tested(&named(function)));
    if tests.is_empty() {
        output::say("there are no tests: record some with `bulkhead dryrun --save-mocks`");
        return print(&Verdicts { passed: 0, failed: 0, cases: Vec::new() }, context);
    }
    let ready = prepare(context, "test", &[])?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let verdicts = runtime.block_on(async {
        let rehearsal = Rehearsal::start(ready, functions, true).await?;
        let result = all(&rehearsal, tests, context).await;
        rehearsal.stop().await?;
        result
    })?;
    print(&verdicts, context)
}

async fn all(
    rehearsal: &Rehearsal,
    tests: Vec<TestFile>,
    context: &Context,
) -> anyhow::Result<Verdicts> {
    let mut verdicts = Verdicts { passed: 0, failed: 0, cases: Vec::new() };
    for test in tests {
        let began = tokio::time::Instant::now();
        let function = format!("{}/{}", test.integration, test.name);
        let difference = one(rehearsal, &test).await?;
        let verdict = if difference.is_none() { "passed" } else { "failed" };
        verdicts.passed += usize::from(difference.is_none());
        verdicts.failed += usize::from(difference.is_some());
        let took_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        let case = Case { function, file: test.shown, verdict, difference, took_ms };
        if !context.json {
            output::say(&format!("{verdict}  {} ({took_ms} ms)", case.file));
        }
        verdicts.cases.push(case);
    }
    Ok(verdicts)
}

/// Runs one case; `None` when everything was as recorded.
async fn one(rehearsal: &Rehearsal, test: &TestFile) -> anyhow::Result<Option<String>> {
    for unknown in test.mocks.nango.unknown.keys() {
        output::say(&format!("note: {}: nango.{unknown} is not known and ignored", test.shown));
    }
    let is_it = |f: &&bulkhead_api::Function| {
        f.integration == test.integration && f.kind == test.kind && f.name == test.name
    };
    let Some(function) = rehearsal.functions().iter().find(is_it) else {
        anyhow::bail!("{}/{} is not live", test.integration, test.name);
    };
    let scene = Arc::new(Scene::new(&test.integration, test.mocks.clone(), None));
    let run = Run {
        function,
        scene: Arc::clone(&scene),
        input: test.mocks.input.clone(),
        connection: test.mocks.nango.connection_id.clone(),
        on_webhook: test.kind == "sync" && !test.mocks.input.is_null(),
    };
    let ended = rehearsal.run(run).await?;
    Ok(differences(&scene, &ended))
}

/// What is not as recorded.
fn differences(scene: &Scene, ended: &Ended) -> Option<String> {
    let mut differences = Differences::default();
    let (mocks, happened) = (scene.mocks(), scene.happened());
    for asked in &happened.unanswered {
        differences.say(format!("api: no recorded answer for {asked}"));
    }
    check_end(&mut differences, scene, ended);
    let (expected, actual) = (&mocks.nango, &happened.members);
    for (name, wanted, got) in [
        ("batchSave", &expected.batch_save, &actual.batch_save),
        ("batchUpdate", &expected.batch_update, &actual.batch_update),
        ("batchDelete", &expected.batch_delete, &actual.batch_delete),
    ] {
        compare(&mut differences, name, wanted.as_ref(), got.as_ref());
    }
    let (wanted, got) = (&expected.track_deletes_end, &actual.track_deletes_end);
    compare(&mut differences, "trackDeletesEnd", wanted.as_ref(), got.as_ref());
    for (name, wanted, got) in [
        ("saveCheckpoint", &expected.save_checkpoint, &actual.save_checkpoint),
        ("setMetadata", &expected.set_metadata, &actual.set_metadata),
        ("updateMetadata", &expected.update_metadata, &actual.update_metadata),
    ] {
        compare(&mut differences, name, wanted.as_ref(), got.as_ref());
    }
    for missed in scene.missed() {
        differences.say(format!("api: {missed} was recorded and not called"));
    }
    differences.into_text()
}

fn check_end(differences: &mut Differences, scene: &Scene, ended: &Ended) {
    let mocks = scene.mocks();
    let error = ended.summary().error.as_ref();
    match (&mocks.error, error) {
        (None, None) => {}
        (None, Some(error)) => {
            // A stack begins with the message.
            let stack = ended.stack().unwrap_or(&error.message);
            differences.say(format!("it failed with {}: {stack}", error.code));
            return;
        }
        (Some(_), None) => differences.say("it should have failed, and did not".to_owned()),
        (Some(expected), Some(error)) => {
            let text = |text: &str| Value::from(text);
            if let Some(code) = &expected.code {
                differences.compare("error.code", &text(code), &text(&error.code));
            }
            if let Some(message) = &expected.message {
                differences.compare("error.message", &text(message), &text(&error.message));
            }
            if let Some(payload) = &expected.payload {
                let actual = error.payload.clone().unwrap_or_default();
                differences.compare("error.payload", payload, &actual);
            }
        }
    }
    if let Some(expected) = &mocks.output {
        let actual = ended.execution.output.clone().unwrap_or_default();
        differences.compare("output", expected, &actual);
    }
}

/// Compares what was recorded with what was done. What is recorded for one model says nothing of another.
fn compare<T: Serialize>(
    differences: &mut Differences,
    name: &str,
    wanted: Option<&T>,
    got: Option<&T>,
) {
    let Some(wanted) = wanted else { return };
    let json = |value: &T| serde_json::to_value(value).unwrap_or_default();
    let got = got.map_or_else(|| serde_json::json!({}), json);
    differences.compare(&format!("nango.{name}"), &json(wanted), &got);
}

fn print(verdicts: &Verdicts, context: &Context) -> anyhow::Result<u8> {
    if context.json {
        output::json(verdicts)?;
    } else {
        for case in &verdicts.cases {
            if let Some(difference) = &case.difference {
                let difference = output::plain(difference).replace('\n', "\n  ");
                output::line(&format!("{}\n  {difference}", case.file))?;
            }
        }
        output::say(&format!("{} passed, {} failed", verdicts.passed, verdicts.failed));
    }
    Ok(if verdicts.failed == 0 { exit::DONE } else { exit::FAILED })
}

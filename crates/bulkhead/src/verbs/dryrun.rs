//! `bulkhead dryrun`: one function of a project in a real sandbox of this machine, against a connection on the server.
//! Records, checkpoints and metadata are not kept; API calls are made.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use bulkhead_api::DeployFunction;
use serde::Serialize;
use serde_json::{Value, json};

use crate::cli::Dryrun;
use crate::compile::{Compile, compile};
use crate::context::Context;
use crate::rehearsal::files::{self, Reserved, named};
use crate::rehearsal::live::Live;
use crate::rehearsal::mocks::{Entries, ExpectedError, Members, Mocks};
use crate::rehearsal::scene::{Happened, Scene};
use crate::rehearsal::{Ended, Rehearsal, Run};
use crate::verbs::argument;
use crate::verbs::embedded::prepare;
use crate::{exit, output};

/// What happened; the form of `--json`.
#[derive(Serialize)]
struct Report {
    function: String,
    state: String,
    output: Option<Value>,
    error: Option<bulkhead_api::ErrorDetail>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stack: Option<String>,
    /// Records, checkpoints and metadata that would have been written.
    written: Members,
    requests: Vec<Value>,
    notes: Vec<String>,
    logs: Vec<Value>,
    usage: bulkhead_api::Usage,
}

pub(crate) fn run(typed: &Dryrun, context: &Context) -> anyhow::Result<u8> {
    let (integration, name) = &typed.function;
    let what =
        Compile { project: &typed.project, functions: &[], type_check: !typed.no_type_check };
    let functions =
        compile(&context.config.tools, &what, |note| output::say(&format!("note: {note}")))?;
    let function = chosen(functions, typed)?;
    let live = Live {
        // Without a connection nothing has to be asked of a server.
        client: if typed.connection.is_some() { context.tenant()? } else { context.anybody()? },
        integration: integration.clone(),
        connection: typed.connection.clone(),
    };
    let begin = begin_with(typed)?;
    let file: Option<PathBuf> =
        typed.save_mocks.then(|| files::place(&typed.project, integration, name));
    let file = file.map(|path| Reserved::new(&typed.project, path)).transpose()?;
    let kind = named(&function).1.to_owned();

    let ready = prepare(context, "dryrun", &[])?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let (ended, scene) = runtime.block_on(async {
        let rehearsal = Rehearsal::start(ready, vec![function], false).await?;
        let scene = Arc::new(Scene::new(integration, begin, Some(live)));
        let function = rehearsal.functions().first().context("the function is not live")?;
        let run = Run {
            function,
            scene: Arc::clone(&scene),
            input: scene.mocks().input.clone(),
            connection: typed.connection.clone(),
            on_webhook: kind == "sync" && !scene.mocks().input.is_null(),
        };
        let ended = rehearsal.run(run).await;
        rehearsal.stop().await?;
        anyhow::Ok((ended?, scene))
    })?;
    let happened = scene.happened();
    if let Some(file) = file {
        let shown = file.path.display().to_string();
        let mocks = recorded(scene.mocks(), &happened, &ended, typed);
        file.write(&format!("{}\n", serde_json::to_string_pretty(&mocks)?))?;
        output::say(&format!("recorded in {shown}"));
    }
    print(typed, &happened, &ended, context)
}

fn chosen(functions: Vec<DeployFunction>, typed: &Dryrun) -> anyhow::Result<DeployFunction> {
    let (integration, name) = &typed.function;
    let wanted = |kind: &str| typed.kind.as_deref().is_none_or(|wanted| wanted == kind);
    let is_it = |function: &DeployFunction| {
        let (i, kind, n) = named(function);
        i == integration && n == name && wanted(kind)
    };
    let mut found = functions.into_iter().filter(is_it);
    match (found.next(), found.next()) {
        (Some(function), None) => Ok(function),
        (Some(_), Some(_)) => bail!("several functions are {integration}/{name}: say --kind"),
        (None, _) => bail!("index.ts imports no function {integration}/{name}"),
    }
}

/// What the run begins with, as far as it was typed.
fn begin_with(typed: &Dryrun) -> anyhow::Result<Mocks> {
    let json = |text: &Option<String>| text.as_deref().map_or(Ok(Value::Null), argument);
    let nango = Members {
        get_metadata: json(&typed.metadata)?,
        get_checkpoint: json(&typed.checkpoint)?,
        last_sync_date: typed.last_sync_date.clone(),
        ..Members::default()
    };
    Ok(Mocks { input: argument(&typed.input)?, nango, ..Mocks::default() })
}

/// What `bulkhead test` will replay.
fn recorded(begin: &Mocks, happened: &Happened, ended: &Ended, typed: &Dryrun) -> Mocks {
    let mut mocks =
        Mocks { kind: typed.kind.clone(), input: begin.input.clone(), ..Mocks::default() };
    mocks.nango = happened.members.clone();
    mocks.nango.get_checkpoint = begin.nango.get_checkpoint.clone();
    mocks.nango.last_sync_date.clone_from(&begin.nango.last_sync_date);
    mocks.nango.connection_id.clone_from(&typed.connection);
    match &ended.summary().error {
        None => mocks.output = ended.execution.output.clone().filter(|output| !output.is_null()),
        Some(error) => {
            mocks.error = Some(ExpectedError {
                code: Some(error.code.clone()),
                message: Some(error.message.clone()),
                payload: error.payload.clone(),
            });
        }
    }
    for (asked, entry) in &happened.requests {
        let paths = mocks.api.entry(asked.method.to_lowercase()).or_default();
        match paths.get_mut(&asked.path) {
            Some(entries) => entries.push(entry.clone()),
            None => {
                paths.insert(asked.path.clone(), Entries::One(entry.clone()));
            }
        }
    }
    mocks
}

fn print(
    typed: &Dryrun,
    happened: &Happened,
    ended: &Ended,
    context: &Context,
) -> anyhow::Result<u8> {
    let summary = ended.summary();
    let code = if ended.succeeded() { exit::DONE } else { exit::FAILED };
    let request = |(asked, entry): &(crate::rehearsal::matching::Asked, _)| {
        let entry: &crate::rehearsal::mocks::Entry = entry;
        json!({"method": asked.method, "path": asked.path, "query": asked.query, "status": entry.status.unwrap_or(200)})
    };
    let mut written = happened.members.clone();
    (written.get_metadata, written.get_integration) = (Value::Null, Value::Null);
    let report = Report {
        function: format!("{}/{}", typed.function.0, typed.function.1),
        state: summary.state.clone(),
        output: ended.execution.output.clone(),
        error: summary.error.clone(),
        stack: ended.stack().map(str::to_owned),
        written,
        requests: happened.requests.iter().map(request).collect(),
        notes: happened.notes.clone(),
        logs: ended
            .log
            .iter()
            .map(|(level, message)| json!({"level": level, "message": message}))
            .collect(),
        usage: summary.usage,
    };
    if context.json {
        output::json(&report)?;
        return Ok(code);
    }
    for (level, message) in &ended.log {
        output::say(&format!("{level:<5} {message}"));
    }
    for (asked, entry) in &happened.requests {
        output::say(&format!("{} → {}", asked.in_words(), entry.status.unwrap_or(200)));
    }
    for note in &report.notes {
        output::say(&format!("note: {note}"));
    }
    output::json(&json!({"output": report.output, "written": report.written}))?;
    if let Some(error) = &report.error {
        output::say(&format!("failed: {}: {}", error.code, error.message));
        output::say(report.stack.as_deref().unwrap_or_default());
    }
    if typed.diagnostics {
        let usage = report.usage;
        output::say(&format!(
            "{} ms, {} ms CPU, {} MiB at most, {} API calls",
            usage.wall_ms,
            usage.cpu_us / 1_000,
            usage.memory_bytes_peak >> 20,
            report.requests.len()
        ));
    }
    output::say("nothing was kept: records, checkpoints and metadata are as they were");
    Ok(code)
}

//! `bulkhead dev`: a server of the author's own, and a compiler that stays. A change of a file is live before its types
//! are checked; what the types say comes after.
//!
//! Integrations and connections stay from one run to the next. While it runs, `bulkhead run` and the other verbs in the
//! same directory find it by themselves (`.bulkhead/dev.json`).

pub(super) mod watch;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use bulkhead_api::{Change, Deploy, DeployFunction, Deployment, Op};
use bulkhead_client::{ClientError, Request};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::cli::Dev;
use crate::context::{Context, DEV_FILE};
use crate::rehearsal::files::Reserved;
use crate::verbs::argument;
use crate::verbs::embedded::{Embedded, prepare_at};
use crate::{exit, output};

use self::watch::{Built, Watch};

/// Servers of projects, one below the other by a hash of the project's place.
const DATA: &str = "/var/lib/bulkhead-dev";

pub(crate) fn run(typed: &Dev, context: Context) -> anyhow::Result<u8> {
    let project = typed.project.canonicalize().context("there is no such project")?;
    let input = argument(&typed.input)?;
    let watch = Watch::start(&context.config.tools, &project)?;
    let note = Reserved::new(&project, project.join(DEV_FILE))?;
    let ready = prepare_at(&context, "dev", &data_dir(&project)?, &[("listen", &typed.listen)])?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let embedded = ready.start().await?;
        let place = json!({"server": embedded.server.url, "key": embedded.key});
        let note = note.rewrite(&place.to_string())?;
        output::say(&format!("{} runs on {}", project.display(), embedded.server.url));
        let ended = follow(&embedded, watch, typed, &input, &context).await;
        // Nobody shall look for a server that is gone.
        note.rewrite("")?;
        embedded.stop().await?;
        ended
    })
}

/// The project's own. Who we become passes through to it, and lists nothing.
fn data_dir(project: &Path) -> anyhow::Result<PathBuf> {
    use sha2::Digest as _;
    let why = || format!("can't make {DATA}");
    std::fs::create_dir_all(DATA).with_context(why)?;
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o711);
    std::fs::set_permissions(DATA, mode).with_context(why)?;
    let hash = sha2::Sha256::digest(project.as_os_str().as_encoded_bytes());
    Ok(Path::new(DATA).join(hex::encode(&hash[..8])))
}

async fn follow(
    embedded: &Embedded,
    mut watch: Watch,
    typed: &Dev,
    input: &Value,
    context: &Context,
) -> anyhow::Result<u8> {
    let mut first = true;
    loop {
        let built = tokio::select! {
            built = watch.next() => built?,
            stop = tokio::signal::ctrl_c() => {
                stop?;
                return Ok(exit::DONE);
            }
        };
        let Some(built) = built else {
            output::say("the compiler has ended");
            return Ok(exit::FAILED);
        };
        match built {
            Built::Wrong(errors) => tell_errors(&errors, context)?,
            Built::Types(errors) if errors.is_empty() => {}
            Built::Types(errors) => tell_errors(&errors, context)?,
            Built::Functions { functions, all, began } => {
                let answer = deploy(embedded, functions, first || all).await;
                first = false;
                match answer {
                    Ok(changes) => {
                        tell_changes(&changes, began.elapsed(), context)?;
                        run_again(embedded, typed, input, began, context).await?;
                    }
                    Err(error) => output::say(&format!("not live: {error}")),
                }
            }
        }
    }
}

pub(super) async fn deploy(
    embedded: &Embedded,
    functions: Vec<DeployFunction>,
    all: bool,
) -> Result<Vec<Change>, ClientError> {
    let body = Deploy { functions, dry_run: false, allow_destructive: true, partial: !all };
    let deployed: Deployment =
        embedded.client.call(Request::new(Op::Deploy, &[]).json(&body)).await?;
    Ok(deployed.changes.into_iter().filter(|change| change.change != "unchanged").collect())
}

fn tell_errors(errors: &[crate::compile::CompileError], context: &Context) -> anyhow::Result<()> {
    if context.json {
        return output::json(&json!({"errors": errors}));
    }
    for error in errors {
        output::say(&error.in_words());
    }
    Ok(())
}

fn tell_changes(changes: &[Change], took: Duration, context: &Context) -> anyhow::Result<()> {
    let took = took.as_millis();
    if context.json {
        return output::json(&json!({"live": changes, "took_ms": took}));
    }
    let name =
        |change: &Change| format!("{} {}/{}", change.change, change.integration, change.name);
    let names: Vec<_> = changes.iter().map(name).collect();
    let names = if names.is_empty() { "nothing changed".to_owned() } else { names.join(", ") };
    output::say(&format!("live after {took} ms: {names}"));
    Ok(())
}

/// Runs what `--run` names.
async fn run_again(
    embedded: &Embedded,
    typed: &Dev,
    input: &Value,
    began: Instant,
    context: &Context,
) -> anyhow::Result<()> {
    let Some((integration, name)) = &typed.run else { return Ok(()) };
    let request = Request::new(Op::RunAction, &[integration, name])
        .connection(typed.connection.as_deref())
        .json(input);
    match embedded.client.call::<Value>(request).await {
        Ok(value) => {
            let took = began.elapsed().as_millis();
            if context.json {
                return output::json(&json!({"output": value, "took_ms": took}));
            }
            output::say(&format!("{integration}/{name} returned after {took} ms:"));
            output::json(&value)
        }
        Err(error) => {
            output::say(&format!("{integration}/{name} failed: {error}"));
            Ok(())
        }
    }
}

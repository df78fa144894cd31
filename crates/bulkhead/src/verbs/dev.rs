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
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::Instant;

use crate::cli::Dev;
use crate::context::{Context, DEV_FILE};
use crate::rehearsal::files::{Reserved, named};
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
    let mut owed = Owed::default();
    let mut terminated = signal(SignalKind::terminate())?;
    loop {
        let built = tokio::select! {
            built = watch.next() => built?,
            stop = tokio::signal::ctrl_c() => {
                stop?;
                return Ok(exit::DONE);
            }
            _ = terminated.recv() => return Ok(exit::DONE),
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
                owed.add(functions, all);
                match deploy(embedded, owed.functions.clone(), owed.all).await {
                    Ok(changes) => {
                        owed.settle();
                        tell_changes(&changes, began.elapsed(), context)?;
                        run_again(embedded, typed, input, began, context).await?;
                    }
                    Err(error) => output::say(&format!("not live: {error}")),
                }
            }
        }
    }
}

/// What was built and is not live. A deployment that fails leaves it for the next one, whichever file that is saved for.
struct Owed {
    functions: Vec<DeployFunction>,
    /// Whether they are all that there are: others that are live have to go.
    all: bool,
}

/// What an earlier run left in the server's directory may be gone from the project.
impl Default for Owed {
    fn default() -> Self {
        Self { functions: Vec::new(), all: true }
    }
}

impl Owed {
    fn add(&mut self, built: Vec<DeployFunction>, all: bool) {
        if all {
            self.functions.clear();
            self.all = true;
        }
        let anew = |old: &DeployFunction| built.iter().any(|new| named(new) == named(old));
        self.functions.retain(|old| !anew(old));
        self.functions.extend(built);
    }

    fn settle(&mut self) {
        *self = Self { functions: Vec::new(), all: false };
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

#[cfg(test)]
mod tests {
    use super::*;

    fn built(names: &[&str], bundle: &str) -> Vec<DeployFunction> {
        let one = |name: &&str| DeployFunction {
            spec: json!({"integration": "hello", "kind": "action", "name": name}),
            bundle: bundle.to_owned(),
            source_map: None,
        };
        names.iter().map(one).collect()
    }

    /// `NAME BUNDLE` of each, and whether others have to go.
    fn shown(owed: &Owed) -> (Vec<String>, bool) {
        let one = |function: &DeployFunction| format!("{} {}", named(function).2, function.bundle);
        (owed.functions.iter().map(one).collect(), owed.all)
    }

    fn expected(shown: &[&str], all: bool) -> (Vec<String>, bool) {
        (shown.iter().map(|&one| one.to_owned()).collect(), all)
    }

    #[test]
    fn what_a_failed_deployment_did_not_make_live_goes_along_with_the_next_save() {
        let mut owed = Owed::default();
        owed.add(built(&["a", "b"], "1"), false);
        assert_eq!(shown(&owed), expected(&["a 1", "b 1"], true), "all, the first time");
        // It fails: a is saved again, and b is still not live.
        owed.add(built(&["a"], "2"), false);
        assert_eq!(shown(&owed), expected(&["b 1", "a 2"], true));
        owed.settle();
        owed.add(built(&["b"], "3"), false);
        assert_eq!(shown(&owed), expected(&["b 3"], false), "what is live stays as it is");
        // It fails again, and a goes from the project: the compiler tells of all that is left.
        owed.add(built(&["b"], "3"), true);
        assert_eq!(shown(&owed), expected(&["b 3"], true));
    }
}

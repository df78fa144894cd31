//! `bulkhead bench dev`: from a saved file to the function running anew, as `bulkhead dev` does it: the compiler that
//! stays, a deployment of what changed, a first run of the new version in a sandbox of its own.

use std::time::Duration;

use anyhow::{Context as _, bail};
use bulkhead_api::Op;
use bulkhead_client::Request;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::cli::Bench;
use crate::context::Context;
use crate::measure::{Series, Target};
use crate::output;
use crate::verbs::dev;
use crate::verbs::dev::watch::{Built, Watch};
use crate::verbs::embedded::{Embedded, prepare};
use crate::verbs::init;

/// Saves. Each costs as much as an author's.
const SAVES: usize = 30;

/// What is changed and run, of the project that `bulkhead init` makes.
const FUNCTION: [&str; 2] = ["hello", "greet"];
const SOURCE: &str = "hello/actions/greet.ts";

/// From one save to the next: an author reads what came out.
const PAUSE: Duration = Duration::from_millis(500);

/// A build that takes longer is no build.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long the parts of one save took, each from the save on.
struct Saved {
    built: Duration,
    live: Duration,
    ran: Duration,
}

pub(crate) fn run(typed: &Bench, context: &Context) -> anyhow::Result<(Vec<Series>, Vec<Target>)> {
    let directory = tempfile::tempdir()?;
    let project = directory.path().join("project");
    init::make(&project)?;
    let watch = Watch::start(&context.config.tools, &project)?;
    // Who we become saves on as who we were.
    let source = std::fs::File::options().read(true).write(true).open(project.join(SOURCE))?;
    let text = std::fs::read_to_string(project.join(SOURCE))?;
    let ready = prepare(context, "bench", &[])?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let saves = runtime.block_on(async {
        let embedded = ready.start().await?;
        let measured = measure(&embedded, watch, (source, text), typed.n.unwrap_or(SAVES)).await;
        embedded.stop().await?;
        measured
    })?;
    let of = |name: &str, part: fn(&Saved) -> Duration| {
        let samples: Vec<_> = saves.iter().map(part).collect();
        Series::of_durations(format!("dev/{name}"), &samples)
    };
    let ran = of("saved to ran", |saved| saved.ran);
    let targets = vec![Target::at_most("dev", "p50, saved to ran", ran.p50, 1_000.0, "ms")];
    let parts =
        [of("saved to built", |saved| saved.built), of("saved to live", |saved| saved.live)];
    Ok((parts.into_iter().chain([ran]).collect(), targets))
}

async fn measure(
    embedded: &Embedded,
    mut watch: Watch,
    (source, text): (std::fs::File, String),
    n: usize,
) -> anyhow::Result<Vec<Saved>> {
    let first = built(&mut watch).await?;
    dev::deploy(embedded, first, true).await?;
    output::say(&format!("{n} saves"));
    let mut saves = Vec::with_capacity(n);
    for number in 0..n {
        tokio::time::sleep(PAUSE).await;
        let greeting = format!("Hello for the {number:04}th time, ");
        let changed = text.replace("Hello, ", &greeting);
        let began = Instant::now();
        save(&source, &changed)?;
        let functions = built(&mut watch).await?;
        let built = began.elapsed();
        dev::deploy(embedded, functions, false).await?;
        let live = began.elapsed();
        let request = Request::new(Op::RunAction, &FUNCTION).json(&json!({"name": "Ada"}));
        let said: Value = embedded.client.call(request).await?;
        let ran = began.elapsed();
        if said["greeting"] != json!(format!("{greeting}Ada!")) {
            bail!("what ran is not what was saved: {said}");
        }
        saves.push(Saved { built, live, ran });
    }
    Ok(saves)
}

/// In place and at once: the descriptor is from when we were root, and every text but the first is as long as the others.
fn save(source: &std::fs::File, text: &str) -> anyhow::Result<()> {
    use std::os::unix::fs::FileExt as _;
    source.write_all_at(text.as_bytes(), 0)?;
    Ok(())
}

/// The functions of the next build.
async fn built(watch: &mut Watch) -> anyhow::Result<Vec<bulkhead_api::DeployFunction>> {
    loop {
        let next = tokio::time::timeout(PATIENCE, watch.next()).await.context("no build came")?;
        match next?.context("the compiler has ended")? {
            Built::Functions { functions, .. } => return Ok(functions),
            Built::Wrong(errors) => bail!("it does not compile: {}", words(&errors)),
            Built::Types(_) => {}
        }
    }
}

fn words(errors: &[crate::compile::CompileError]) -> String {
    errors.iter().map(|error| error.in_words()).collect::<Vec<_>>().join("; ")
}

//! `bulkhead demo`: an embedded server, the functions in `examples/`, a small API to talk to, and everything that is
//! claimed checked. Progress goes to standard error, the final table to standard output; any claim that does not
//! hold makes the exit code 1.

mod api;
mod steps;

use std::time::Duration;

use serde::Serialize;
use tokio::time::Instant;

use crate::cli::Demo;
use crate::compile::{Compile, compile};
use crate::context::Context;
use crate::verbs::embedded::{Embedded, prepare};
use crate::{exit, output};

use self::api::DemoApi;

/// One thing that was shown.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Shown {
    /// What.
    what: String,
    /// What came out.
    outcome: String,
    took_ms: u128,
    /// Whether all of it is as claimed.
    held: bool,
}

impl Shown {
    fn new(what: &str, took: Duration, checked: Result<String, String>) -> Self {
        let held = checked.is_ok();
        let outcome = checked.unwrap_or_else(|why| format!("NOT AS CLAIMED: {why}"));
        Self { what: what.to_owned(), outcome, took_ms: took.as_millis(), held }
    }
}

pub(crate) fn run(typed: &Demo, context: Context) -> anyhow::Result<u8> {
    // First what runs programs of this machine as whoever called us, while we still are that user.
    output::say("compiling examples/");
    let what = Compile { project: &typed.examples, functions: &[], type_check: true };
    let functions =
        compile(&context.config.tools, &what, |note| output::say(&format!("note: {note}")))?;
    let api = DemoApi::start(&context.config.tools.node, &typed.examples)?;
    output::say(&format!(
        "{} functions compiled; the demo's API listens on {}",
        functions.len(),
        api.url
    ));

    // The demo's API is on loopback, which functions reach only where the operator says so: this one port.
    let rule = format!("name=demo-api 127.0.0.1/32 :{}", api.port()?);
    let ready = prepare(&context, "demo", &[("egress.allow", &rule), ("worker.prewarm", "yes")])?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let shown = runtime.block_on(async {
        let began = Instant::now();
        let embedded = ready.start().await?;
        embedded.connect(steps::INTEGRATION, &api.url, steps::CONNECTION).await?;
        let deployed = embedded.deploy(functions).await?;
        let server =
            format!("{} functions live on {}", deployed.changes.len(), embedded.server.url);
        let mut shown = vec![Shown::new("server and deploy", began.elapsed(), Ok(server))];
        let result = show(&embedded, &mut shown).await;
        embedded.stop().await?;
        result.map(|()| shown)
    })?;
    print(&shown, &context)
}

async fn show(embedded: &Embedded, shown: &mut Vec<Shown>) -> anyhow::Result<()> {
    for step in [
        steps::Step::Action,
        steps::Step::Refusal,
        steps::Step::Sync,
        steps::Step::Webhooks,
        steps::Step::BreakOut,
        steps::Step::Sandboxes,
    ] {
        let began = Instant::now();
        output::say(&format!("… {}", step.what()));
        let checked = step.run(embedded).await?;
        let done = Shown::new(step.what(), began.elapsed(), checked);
        output::say(&format!("  {} ({} ms)", done.outcome, done.took_ms));
        shown.push(done);
    }
    Ok(())
}

fn print(shown: &[Shown], context: &Context) -> anyhow::Result<u8> {
    if context.json {
        output::json(&shown)?;
    } else {
        let row = |s: &Shown| {
            let held = if s.held { "yes" } else { "NO" };
            vec![held.to_owned(), s.what.clone(), format!("{} ms", s.took_ms), s.outcome.clone()]
        };
        let rows: Vec<_> = shown.iter().map(row).collect();
        output::table(&["held", "what", "took", "outcome"], &rows)?;
    }
    let broken = shown.iter().filter(|s| !s.held).count();
    if broken > 0 {
        output::say(&format!("{broken} of {} are not as claimed", shown.len()));
        return Ok(exit::FAILED);
    }
    Ok(exit::DONE)
}

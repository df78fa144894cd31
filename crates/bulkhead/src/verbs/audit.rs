//! `bulkhead audit`: every attack of `tests/attacks`, deployed as a real function, on every wall that there is here,
//! and natively as control. Progress goes to standard error, the report to standard output; any attack that is not
//! contained makes the exit code 1.
//!
//! Layout: [`corpus`] is what is tried; [`control`] runs it with nothing around it; [`inside`] runs it behind one
//! wall, from an [`image`] with a program of the attacker's in it, [`targets`] is what it aims at, [`host`] are attacks without a function; [`judge`] decides; [`report`]
//! prints. Each wall is audited by a process of its own, because a server gives root away when it starts.

mod control;
mod corpus;
mod host;
mod image;
mod inside;
mod judge;
mod report;
mod targets;

use std::path::Path;
use std::process::Stdio;

use anyhow::Context as _;

use crate::cli::Audit;
use crate::compile::command;
use crate::context::Context;
use crate::{exit, output};

use self::control::Native;
use self::corpus::Case;
use self::judge::Verdict;
use self::report::Finding;

/// Every wall that is told of, whether or not this version and this machine have it.
const WALLS: [&str; 3] = ["process", "gvisor", "microvm"];

pub(crate) fn run(typed: &Audit, context: &Context) -> anyhow::Result<u8> {
    if let Some(wall) = &typed.behind {
        let findings = inside::run(context, wall, typed);
        // Read by the process that started this one.
        output::json(&findings.map_err(|error| format!("{error:#}")))?;
        return Ok(exit::DONE);
    }
    let cases = corpus::cases(&typed.cases)?;
    output::say(&format!("{} attacks, natively first", cases.len()));
    let controls = Native::new(&context.config.tools.node)?.all(&cases);
    let walls: Vec<String> = if typed.walls.is_empty() {
        WALLS.map(str::to_owned).to_vec()
    } else {
        typed.walls.clone()
    };
    let image = image::with_program(&context.config.runtime_dir);
    let mut findings = Vec::new();
    for wall in &walls {
        findings.extend(match &image {
            Ok(image) => behind(wall, &cases, typed, (context, image.path()))?,
            Err(error) => all(wall, &cases, Verdict::NotRun, &format!("{error:#}")),
        });
    }
    report::print(&cases, findings, &controls, context.json)
}

/// Has another process audit one wall.
fn behind(
    wall: &str,
    cases: &[Case],
    typed: &Audit,
    (context, image): (&Context, &Path),
) -> anyhow::Result<Vec<Finding>> {
    let mut command = command(&std::env::current_exe()?);
    command.args(["audit", "--behind", wall]).args(context.typed_settings());
    for case in &typed.cases {
        command.args(["--case", case]);
    }
    if typed.weaken_egress {
        command.arg("--weaken-egress");
    }
    if typed.weakened_image {
        command.arg("--weakened-image");
    }
    let runtime = format!("runtime_dir={}", image.display());
    command.args(["--set", &runtime, "--json"]);
    let ran = command.stdin(Stdio::null()).stderr(Stdio::inherit()).output()?;
    if !ran.status.success() {
        let reason = format!("the audit itself ended with {}", ran.status);
        return Ok(all(wall, cases, Verdict::Failed, &reason));
    }
    let said: Result<Vec<Finding>, String> = serde_json::from_slice(&ran.stdout)
        .context("what the audit of a wall said can't be read")?;
    Ok(said.unwrap_or_else(|why| all(wall, cases, Verdict::NotRun, &why)))
}

/// The same of every case.
fn all(wall: &str, cases: &[Case], verdict: Verdict, reason: &str) -> Vec<Finding> {
    let finding = |case: &Case| Finding {
        id: case.id.clone(),
        wall: wall.to_owned(),
        verdict,
        reason: reason.to_owned(),
        declared: Vec::new(),
    };
    cases.iter().map(finding).collect()
}

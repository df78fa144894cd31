//! `cargo xtask weaken`: walls with a hole in them on purpose, and an audit of each. An audit that can't fail proves
//! nothing: each hole has to make the cases fail that aim there, and no others.
//!
//! The holes of guest and fork addon are cargo features that refuse to compile without debug assertions. They are built
//! beside everything else, into a runtime image with a mark in it, which every server refuses by name; the audit alone,
//! in the release build like all else, can be told to take it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};
use serde_json::Value;

use crate::build;
use crate::image;
use crate::workspace::{Profile, Workspace};

/// A hole.
struct Hole {
    /// As it is asked for.
    name: &'static str,
    /// What is open then.
    what: &'static str,
    /// The feature of guest and addon that makes it; without one the audit's server makes it.
    feature: Option<&'static str>,
    /// Cases that have to fail.
    fails: &'static [&'static str],
    /// Some that have nothing to do with it, and have to be held.
    holds: &'static [&'static str],
}

const HOLES: [Hole; 3] = [
    Hole {
        name: "seccomp",
        what: "system-call filters note what they would refuse, and let it through (but for io_uring)",
        feature: Some("weakened-seccomp"),
        // Of most of these some tries are still refused: a sandbox has no capabilities either.
        fails: &[
            "F18", "M05", "P10", "P13", "S01", "S02", "S03", "S04", "S06", "S07", "S08", "S09",
            "S12", "S13",
        ],
        // The last four reach for the kernel too, and are held by what else is in the way: no device nodes and no right to
        // make any, limits, `hidepid`.
        holds: &["F01", "F10", "N05", "P02", "S14", "S17", "S18"],
    },
    Hole {
        name: "scratch",
        what: "scratch directories are shared, by not being wiped",
        feature: Some("weakened-scratch"),
        fails: &["F10", "F16"],
        holds: &["F01", "S02", "N05"],
    },
    Hole {
        name: "egress",
        what: "sandboxes may connect to every port of loopback",
        feature: None,
        fails: &["N04", "N05"],
        holds: &["F01", "F10", "S02"],
    },
];

/// The holes that can be asked for.
pub(crate) fn names() -> [&'static str; 3] {
    HOLES.map(|hole| hole.name)
}

/// Makes each of the holes in turn, all of them if none is named, and has the process wall audited with it.
pub(crate) fn run(workspace: &Workspace, named: &[String]) -> anyhow::Result<()> {
    let wanted = |hole: &&Hole| named.is_empty() || named.iter().any(|name| name == hole.name);
    build::everything(workspace, Profile::Release)?;
    for hole in HOLES.iter().filter(wanted) {
        println!("{}: {}", hole.name, hole.what);
        through(workspace, hole).with_context(|| format!("the hole {}", hole.name))?;
    }
    Ok(())
}

fn through(workspace: &Workspace, hole: &Hole) -> anyhow::Result<()> {
    let (image, flag) = match hole.feature {
        None => (workspace.target.join("runtime"), "--weaken-egress"),
        Some(feature) => {
            let image = weakened_image(workspace, hole.name, feature)?;
            is_refused(workspace, &image)?;
            (image, "--weakened-image")
        }
    };
    let cases: Vec<&str> = hole.fails.iter().chain(hole.holds).copied().collect();
    let report = audit(workspace, &image, &cases, &[flag])?;
    for (cases, wanted) in [(hole.fails, "failed"), (hole.holds, "held")] {
        for case in cases {
            let (verdict, reason) = verdict(&report, case)?;
            println!("  {case} {verdict}: {}", reason.chars().take(110).collect::<String>());
            ensure!(verdict == wanted, "{case} {verdict}, and should have {wanted}: {reason}");
        }
    }
    Ok(())
}

/// An image with guest and addon of that feature, beside the one that is used.
fn weakened_image(workspace: &Workspace, name: &str, feature: &str) -> anyhow::Result<PathBuf> {
    let at = |target: PathBuf| Workspace {
        root: workspace.root.clone(),
        target,
        metadata: workspace.metadata.clone(),
    };
    let built = workspace.target.join("weakened");
    // What both holes' parts are compiled with is compiled once.
    let parts = build::weakened_parts(&at(built.clone()), feature)?;
    let beside = at(built.join(name));
    image::assemble(&beside, &parts)?;
    let image = beside.target.join("runtime");
    let mark = image.join("rootfs/runtime/weakened");
    fs::write(&mark, format!("{feature}\n"))
        .with_context(|| format!("write {}", mark.display()))?;
    Ok(image)
}

/// Nobody uses it who was not told to.
fn is_refused(workspace: &Workspace, image: &Path) -> anyhow::Result<()> {
    let report = audit(workspace, image, &["F01"], &[])?;
    let (verdict, reason) = verdict(&report, "F01")?;
    let refused = verdict == "not_run" && reason.contains("has a hole in it on purpose");
    ensure!(refused, "an image with a hole was not refused: F01 {verdict}, {reason}");
    println!("  refused by a server: {reason}");
    Ok(())
}

fn audit(
    workspace: &Workspace,
    image: &Path,
    cases: &[&str],
    more: &[&str],
) -> anyhow::Result<Value> {
    let mut command = Command::new(workspace.target.join("release/bulkhead"));
    command.current_dir(&workspace.root);
    command.arg("--set").arg(format!("runtime_dir={}", image.display()));
    command.args(["--json", "audit", "--wall", "process"]).args(more);
    command.args(cases.iter().flat_map(|case| ["--case", case]));
    let ran = command.output().context("start the audit")?;
    let said = String::from_utf8_lossy(&ran.stderr);
    serde_json::from_slice(&ran.stdout).with_context(|| format!("{}: {said}", ran.status))
}

/// What the report says of a case, and why.
fn verdict<'a>(report: &'a Value, case: &str) -> anyhow::Result<(&'a str, &'a str)> {
    let cases = report["cases"].as_array().map_or(&[][..], Vec::as_slice);
    let line = cases.iter().find(|line| line["id"] == case);
    let line = line.with_context(|| format!("the report has no {case}"))?;
    Ok((line["verdict"].as_str().unwrap_or(""), line["reason"].as_str().unwrap_or("")))
}

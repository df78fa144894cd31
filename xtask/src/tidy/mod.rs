//! Rules of this repository that no compiler checks. They run as a test with all other tests, and alone as
//! `cargo xtask tidy`.
//!
//! - [`imports`]: which of our crates may depend on which, and which crate owns which third-party dependency;
//! - [`crates`]: lints, `unsafe`, and that each crate says what it does not know;
//! - [`sizes`]: how long functions and files may be;
//! - [`words`]: words that must not be in the tree;
//! - [`links`]: relative links in documents lead somewhere.
//!
//! Each check takes values and returns findings; only this file reads files.

mod crates;
mod imports;
mod links;
mod sizes;
mod words;

use std::fs;
use std::process::Command;

use anyhow::{Context, bail};

use crate::workspace::{self, Workspace};

/// A file of the repository.
pub(crate) struct Source {
    /// Relative to the repository.
    pub(crate) path: String,
    /// What is in it.
    pub(crate) text: String,
}

/// Fails when the repository is not tidy, and says where.
pub(crate) fn check(workspace: &Workspace) -> anyhow::Result<()> {
    let findings = findings(workspace)?;
    if findings.is_empty() {
        println!("tidy");
        return Ok(());
    }
    bail!("{} findings\n  {}", findings.len(), findings.join("\n  "))
}

fn findings(workspace: &Workspace) -> anyhow::Result<Vec<String>> {
    let (sources, paths) = sources(workspace)?;
    let mut findings = imports::check(&workspace.metadata);
    let architecture = sources.iter().find(|source| source.path == "ARCHITECTURE.md");
    findings.extend(imports::check_map(architecture.map_or("", |source| &source.text)));
    findings.extend(crates::check(&workspace.metadata, &sources));
    findings.extend(sizes::check(&sources)?);
    findings.extend(words::check(&sources));
    findings.extend(links::check(&sources, &paths));
    Ok(findings)
}

/// Every text file that is tracked or about to be, and the paths of all files.
fn sources(workspace: &Workspace) -> anyhow::Result<(Vec<Source>, Vec<String>)> {
    let list = workspace::output(
        Command::new("git")
            .args(["ls-files", "--cached", "--others", "--exclude-standard", "-z"])
            .current_dir(&workspace.root),
    )
    .context("list the files of the repository")?;
    let mut paths: Vec<String> = list.split('\0').map(str::to_owned).collect();
    // A file that was deleted and not yet committed is still listed.
    paths.retain(|path| !path.is_empty() && workspace.root.join(path).is_file());
    paths.sort_unstable();
    paths.dedup();
    let text = |path: &String| {
        let text = fs::read_to_string(workspace.root.join(path)).ok()?;
        Some(Source { path: path.clone(), text })
    };
    let sources: Vec<Source> = paths.iter().filter_map(text).collect();
    Ok((sources, paths))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;

    #[test]
    fn the_repository_is_tidy() {
        let findings = findings(&Workspace::find().unwrap()).unwrap();
        assert!(findings.is_empty(), "\n  {}\n", findings.join("\n  "));
    }
}

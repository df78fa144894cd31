//! What every crate must do: take the workspace's lints, keep `unsafe` where it belongs, say what it does not know.

use serde_json::Value;

use crate::tidy::Source;

/// The crates that may switch the `unsafe_code` lint off, and why.
const UNSAFE: &[(&str, &str)] = &[
    ("crates/guest/", "forks, and confines itself with system calls that have no safe wrapper"),
    ("crates/wall-process/", "makes namespaces, and starts the guest between fork and exec"),
    ("runtime/node/addon/", "speaks Node's C interface, and forks a loaded process"),
];

/// Checks all crates.
pub(super) fn check(metadata: &Value, sources: &[Source]) -> Vec<String> {
    let mut findings: Vec<String> = sources.iter().filter_map(allows_unsafe).collect();
    let root = metadata["workspace_root"].as_str().unwrap_or_default();
    let empty = Vec::new();
    for package in metadata["packages"].as_array().unwrap_or(&empty) {
        let manifest = package["manifest_path"].as_str().unwrap_or_default();
        let manifest = manifest.strip_prefix(root).unwrap_or(manifest).trim_start_matches('/');
        let directory = manifest.strip_suffix("Cargo.toml").unwrap_or(manifest);
        let text = |path: &str| {
            let path = format!("{directory}{path}");
            sources.iter().find(|source| source.path == path).map(|source| source.text.as_str())
        };
        if !text("Cargo.toml").unwrap_or_default().contains("[lints]\nworkspace = true") {
            findings.push(format!("{manifest}: must take the workspace's lints"));
        }
        let top = text("src/lib.rs").or_else(|| text("src/main.rs")).unwrap_or_default();
        if !says_what_it_does_not_know(top) {
            findings.push(format!(
                "{directory}src: the documentation of the crate must have a paragraph \"Invariant: …\" on what it does not know"
            ));
        }
    }
    findings
}

fn allows_unsafe(source: &Source) -> Option<String> {
    // Split, so that this very file has no match.
    let allowance = concat!("unsafe", "_code");
    let here = source.path.ends_with(".rs")
        && source.text.lines().any(|line| line.contains("allow(") && line.contains(allowance));
    let fine = UNSAFE.iter().any(|(directory, _)| source.path.starts_with(directory));
    (here && !fine).then(|| {
        let places: Vec<&str> = UNSAFE.iter().map(|(directory, _)| *directory).collect();
        format!("{}: unsafe code belongs in {}", source.path, places.join(", "))
    })
}

fn says_what_it_does_not_know(text: &str) -> bool {
    text.lines().filter_map(|line| line.strip_prefix("//!")).any(|line| line.contains("Invariant:"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(path: &str, text: &str) -> Source {
        Source { path: path.to_owned(), text: text.to_owned() }
    }

    fn tree(manifest: &str, lib: &str) -> Vec<String> {
        let metadata = serde_json::json!({
            "workspace_root": "/w",
            "packages": [{"name": "bulkhead-x", "manifest_path": "/w/crates/x/Cargo.toml"}],
        });
        check(
            &metadata,
            &[source("crates/x/Cargo.toml", manifest), source("crates/x/src/lib.rs", lib)],
        )
    }

    #[test]
    fn lints_and_invariant_are_asked_for() {
        let lints = "[lints]\nworkspace = true\n";
        assert!(tree(lints, "//! X.\n//!\n//! Invariant: it knows nothing.\n").is_empty());
        assert_eq!(tree("", "//! Invariant: it knows nothing.\n").len(), 1);
        assert_eq!(tree(lints, "//! X.\n// Invariant: not in the documentation.\n").len(), 1);
    }

    #[test]
    fn unsafe_is_allowed_in_its_crates_only() {
        let text = concat!("#![allow(unsafe", "_code, reason = \"…\")]");
        assert!(allows_unsafe(&source("crates/guest/src/fork.rs", text)).is_none());
        assert!(allows_unsafe(&source("crates/guesting/src/lib.rs", text)).is_some());
        assert!(allows_unsafe(&source("crates/engine/src/lib.rs", text)).is_some());
    }
}

//! Which of our crates may depend on which, and who owns which third-party crate.
//!
//! A new arrow between two of our crates is the change at which a reviewer stops; a new line in one of these
//! tables is where it shows. Arrows go down only: a crate comes after those that may depend on it.

use std::collections::BTreeSet;

use serde_json::Value;

/// Crate → those it may depend on. `testkit` is open to every test.
const LAYERS: &[(&str, &[&str])] = &[
    ("xtask", &[]),
    (
        "bulkhead",
        &[
            "api",
            "blobs",
            "client",
            "config",
            "egress",
            "engine",
            "platform",
            "protocol",
            "remote",
            "sched",
            "server",
            "store",
            "telemetry",
            "types",
            "wall",
            "wall-gvisor",
            "wall-microvm",
            "wall-process",
            "worker",
        ],
    ),
    ("sim", &["engine", "sched", "store", "types"]),
    ("server", &["api", "engine", "platform", "telemetry", "types"]),
    ("remote", &["api", "blobs", "client", "egress", "protocol", "types", "worker"]),
    ("client", &["api"]),
    ("api", &["types"]),
    ("platform", &["blobs", "egress", "engine", "protocol", "store", "types"]),
    ("engine", &["blobs", "sched", "store", "types"]),
    ("store", &["sched", "types"]),
    ("sched", &["types"]),
    ("worker", &["egress", "protocol", "types", "wall"]),
    ("egress", &["protocol", "types"]),
    ("wall-gvisor", &["guest", "protocol", "wall", "wall-process"]),
    ("wall-microvm", &["guest", "protocol", "wall", "wall-process"]),
    ("wall-process", &["guest", "protocol", "types", "wall"]),
    ("wall", &["protocol", "types"]),
    ("fork", &["guest"]),
    ("guest", &["protocol"]),
    ("protocol", &[]),
    ("blobs", &["types"]),
    ("config", &["types"]),
    ("telemetry", &[]),
    ("testkit", &["types"]),
    ("types", &[]),
];

/// What tests of a crate use beside that: the checkers of the simulator, over what killed processes left.
const FOR_TESTS: &[(&str, &str)] = &[("bulkhead", "sim")];

/// Third-party crate → our crates that may use it outside of tests. Crates that are not named here (serde,
/// thiserror, tokio, tracing, …) are everybody's.
const OWNERS: &[(&str, &[&str])] = &[
    ("anyhow", &["bulkhead", "xtask"]),
    ("axum", &["server", "bulkhead"]),
    ("brotli", &["egress"]),
    ("cc", &["bulkhead"]),
    ("clap", &["bulkhead", "sim", "xtask"]),
    ("clap_complete", &["bulkhead"]),
    ("croner", &["sched"]),
    ("fastrand", &["sim"]),
    ("flate2", &["egress"]),
    ("getrandom", &["types"]),
    ("hickory-resolver", &["egress"]),
    ("hmac", &["server"]),
    ("humantime", &["config"]),
    ("hyper", &["client", "egress", "server"]),
    ("hyper-rustls", &["client", "egress"]),
    ("hyper-util", &["client", "egress", "server"]),
    ("ipnet", &["config", "egress"]),
    ("jiff", &["platform", "sched", "server"]),
    ("landlock", &["guest", "wall-process"]),
    ("libc", &["guest", "wall-gvisor", "wall-microvm", "wall-process", "fork", "bulkhead"]),
    ("napi-sys", &["fork"]),
    ("object_store", &["blobs"]),
    ("proc-macro2", &["xtask"]),
    ("rusqlite", &["store"]),
    ("rustix", &["guest", "wall-gvisor", "wall-microvm", "wall-process", "bulkhead"]),
    ("rustls", &["client", "egress"]),
    ("seccompiler", &["guest", "wall-process"]),
    ("subtle", &["platform", "server"]),
    ("syn", &["xtask"]),
    ("tokio-postgres", &["store"]),
    ("toml", &["bulkhead", "config", "platform"]),
    ("tower-http", &["server"]),
    ("tracing-subscriber", &["telemetry"]),
    ("utoipa", &["api", "server"]),
];

/// Holds the code map of ARCHITECTURE.md against the table: a row is `| crate | for | depends on | … |`.
pub(super) fn check_map(architecture: &str) -> Vec<String> {
    let rows: Vec<Vec<&str>> = architecture
        .lines()
        .filter_map(|line| line.strip_prefix("| `"))
        .map(|line| line.split('|').map(|cell| cell.trim().trim_end_matches('`')).collect())
        .collect();
    let mut findings = Vec::new();
    for (name, allowed) in LAYERS {
        let shown = if *name == "fork" { "runtime/node/addon" } else { name };
        let told = rows.iter().find(|row| row.len() > 3 && row[0] == shown).map(|row| row[2]);
        // The binary may use all of them, which a list would only hide.
        let fine = told.is_some_and(|told| *name == "bulkhead" || told == allowed.join(", "));
        if !fine {
            let allowed = allowed.join(", ");
            findings.push(format!(
                "ARCHITECTURE.md: the code map must say that `{shown}` depends on \"{allowed}\""
            ));
        }
    }
    findings
}

/// Holds `cargo metadata` against the tables.
pub(super) fn check(metadata: &Value) -> Vec<String> {
    let empty = Vec::new();
    let packages = metadata["packages"].as_array().unwrap_or(&empty);
    let ours: BTreeSet<&str> = packages.iter().filter_map(|p| p["name"].as_str()).collect();
    let mut findings = Vec::new();
    for package in packages {
        let name = package["name"].as_str().unwrap_or_default();
        let Some((_, allowed)) = LAYERS.iter().find(|(known, _)| *known == short(name)) else {
            findings.push(format!(
                "crate {name} is in no layer: add it to LAYERS in xtask/src/tidy/imports.rs"
            ));
            continue;
        };
        for dependency in package["dependencies"].as_array().unwrap_or(&empty) {
            let on = dependency["name"].as_str().unwrap_or_default();
            let for_tests = dependency["kind"].as_str() == Some("dev");
            if ours.contains(on) {
                findings.extend(between_ours(name, on, allowed, for_tests));
            } else if !for_tests {
                findings.extend(third_party(name, on));
            }
        }
    }
    findings
}

fn between_ours(name: &str, on: &str, allowed: &[&str], for_tests: bool) -> Option<String> {
    let (user, used) = (short(name), short(on));
    let in_tests = used == "testkit" || FOR_TESTS.contains(&(user, used));
    let fine = allowed.contains(&used) || (for_tests && in_tests);
    (!fine).then(|| format!("{name} may not depend on {on} (ARCHITECTURE.md, \"Code map\")"))
}

fn third_party(name: &str, on: &str) -> Option<String> {
    let (_, owners) = OWNERS.iter().find(|(known, _)| *known == on)?;
    (!owners.contains(&short(name))).then(|| {
        format!(
            "{name} uses {on}, which belongs to {} (ARCHITECTURE.md, \"Dependencies\")",
            owners.join(", ")
        )
    })
}

fn short(name: &str) -> &str {
    name.strip_prefix("bulkhead-").unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metadata(name: &str, dependency: &str, kind: Option<&str>) -> Value {
        serde_json::json!({"packages": [
            {"name": name, "dependencies": [{"name": dependency, "kind": kind}]},
            {"name": "bulkhead-store", "dependencies": []},
            {"name": "bulkhead-testkit", "dependencies": []},
        ]})
    }

    #[test]
    fn arrows_between_our_crates_must_be_in_the_table() {
        assert!(check(&metadata("bulkhead-engine", "bulkhead-store", None)).is_empty());
        for name in ["bulkhead-server", "bulkhead-sched", "bulkhead-worker"] {
            assert_eq!(check(&metadata(name, "bulkhead-store", None)).len(), 1, "{name}");
            assert_eq!(check(&metadata(name, "bulkhead-store", Some("dev"))).len(), 1, "{name}");
        }
        assert!(check(&metadata("bulkhead-server", "bulkhead-testkit", Some("dev"))).is_empty());
        assert_eq!(check(&metadata("bulkhead-server", "bulkhead-testkit", None)).len(), 1);
    }

    #[test]
    fn third_party_crates_have_owners() {
        assert!(check(&metadata("bulkhead-store", "rusqlite", None)).is_empty());
        assert!(check(&metadata("bulkhead-engine", "serde", None)).is_empty());
        assert_eq!(check(&metadata("bulkhead-engine", "rusqlite", None)).len(), 1);
        assert!(check(&metadata("bulkhead-engine", "rusqlite", Some("dev"))).is_empty());
    }

    #[test]
    fn a_new_crate_must_be_placed() {
        let findings = check(&metadata("bulkhead-novelty", "serde", None));
        assert!(findings[0].contains("bulkhead-novelty"), "{findings:?}");
    }

    #[test]
    fn the_code_map_must_tell_the_same() {
        let row = |(name, allowed): &(&str, &[&str])| {
            let shown = if *name == "fork" { "runtime/node/addon" } else { name };
            format!("| `{shown}` | what | {} | nothing |\n", allowed.join(", "))
        };
        let map: String = LAYERS.iter().map(row).collect();
        assert_eq!(check_map(&map), [""; 0]);
        let without = map.replace("| `sched` | what | types |", "| `sched` | what | |");
        assert_eq!(check_map(&without).len(), 1);
        assert_eq!(check_map("").len(), LAYERS.len());
    }

    #[test]
    fn arrows_go_down() {
        for (at, (name, allowed)) in LAYERS.iter().enumerate() {
            for on in *allowed {
                let below = LAYERS.iter().position(|(known, _)| known == on);
                assert!(below.is_some_and(|below| below > at), "{name} → {on}");
            }
        }
    }
}

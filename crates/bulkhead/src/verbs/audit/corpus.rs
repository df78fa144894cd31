//! The attacks: one folder each in `tests/attacks`, carried in the binary.

use std::collections::BTreeMap;

use anyhow::{Context as _, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Value, json};

/// One folder, as `build.rs` found it.
pub(super) struct Folder {
    name: &'static str,
    case: &'static str,
    attack: Option<&'static str>,
}

include!(concat!(env!("OUT_DIR"), "/attacks.rs"));

const BUNDLE: &str = include_str!("../../../../../tests/attacks/lib/bundle.cjs");
const LIB: &str = include_str!("../../../../../tests/attacks/lib/lib.cjs");

/// Machine code, as `build.rs` made it: the way in, the calls, and the calls as a program.
const CODE: [&[u8]; 3] = [
    include_bytes!(concat!(env!("OUT_DIR"), "/enter")),
    include_bytes!(concat!(env!("OUT_DIR"), "/flat")),
    include_bytes!(concat!(env!("OUT_DIR"), "/program")),
];

/// Machine code as a program, for an image in which an attack may run one.
pub(super) const PROGRAM: &[u8] = CODE[2];

/// Runs a program in a network namespace in which every address is the machine's own.
pub(super) const WORLD: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/world"));

/// Runs an attack with nothing around it.
pub(super) const CONTROL: &str = include_str!("../../../../../tests/attacks/lib/control.cjs");

/// One way to attack, and what a correct sandbox makes of it.
#[derive(Debug, Clone)]
pub(super) struct Case {
    /// Such as `F01`.
    pub(super) id: String,
    /// What `case.toml` says.
    pub(super) said: Said,
    /// What is deployed; `None` where this program itself is the attacker.
    pub(super) bundle: Option<String>,
}

/// What `case.toml` says.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Said {
    /// Such as `fs read`; for readers of the corpus.
    #[allow(dead_code, reason = "read by people, and held against the design by a test")]
    pub(super) category: String,
    /// What the function does.
    pub(super) does: String,
    /// What a correct sandbox shows; for readers of the corpus.
    #[allow(dead_code, reason = "read by people, and held against the design by a test")]
    pub(super) shows: String,
    /// How often it runs, and as whom.
    #[serde(default)]
    pub(super) phases: Phases,
    /// How often the same function looks, 1 unless said: places are used again in turn, and the one in which something
    /// was left comes last.
    #[serde(default = "once")]
    pub(super) looks: u32,
    /// Whether the function declares that it needs credentials.
    #[serde(default)]
    pub(super) secrets: bool,
    /// Limits of the function, as a function declares them.
    #[serde(default)]
    pub(super) limits: toml::Table,
    #[serde(default)]
    pub(super) expect: Expect,
    #[serde(default)]
    pub(super) control: Control,
    /// The attack of this name in `host.rs`, instead of a function.
    pub(super) host: Option<String>,
    /// Why it is not run here, and where it is.
    pub(super) elsewhere: Option<String>,
    /// What is different behind a wall, by its name.
    #[serde(default)]
    pub(super) walls: BTreeMap<String, Behind>,
}

/// Tries that work behind one wall, each by its name and with the reason why it leads out of nothing: for where a wall
/// has a kernel of its own, that shows or allows something of itself. Any other try still fails the case.
pub(super) type Declared = BTreeMap<String, String>;

/// What is different behind a wall.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Behind {
    pub(super) declared: Declared,
}

fn once() -> u32 {
    1
}

/// How often a function runs, and as whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Phases {
    /// Once.
    #[default]
    Attack,
    /// First it leaves something; then the same function looks, and another tenant's.
    LeaveLook,
    /// Once, while an honest run of the same function and one of another tenant are under way.
    Beside,
}

/// How the run has to end.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Expect {
    /// Error codes, one of which ends it. Without any, it ends by itself, and each of its tries was refused.
    pub(super) ends: Vec<String>,
    /// Whether it may also end by itself with all tries refused, where `ends` names codes.
    pub(super) or_refused: bool,
    /// Tries that may work: they stay inside.
    pub(super) harmless: Vec<String>,
    /// The log is cut with a marker, and has no more than this many lines.
    pub(super) log_lines_max: Option<usize>,
    /// The log has lines, and the connection's credentials in none of them.
    pub(super) log_hides: bool,
    /// The timeline names a rule that denied something.
    pub(super) denied: bool,
    /// The function can't be run any more afterwards: it harms itself, and nobody else.
    pub(super) ruins_itself: bool,
}

/// How the attack runs where nothing contains it.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Control {
    /// Why there is no native form.
    pub(super) none: Option<String>,
    pub(super) form: Form,
    /// In a network namespace in which every address is a server of ours.
    pub(super) world: bool,
}

/// The shape of a native run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Form {
    /// One process per phase.
    #[default]
    Processes,
    /// All phases in one process, as a runtime does that uses its processes again.
    OneProcess,
}

impl Case {
    fn of(folder: &Folder) -> anyhow::Result<Self> {
        let read = || {
            let (id, _) = folder.name.split_once('-').context("a folder is called ID-words")?;
            let said: Said = toml::from_str(folder.case)?;
            let bundle = folder.attack.map(bundle);
            let ways = [bundle.is_some(), said.host.is_some(), said.elsewhere.is_some()];
            if ways.iter().filter(|way| **way).count() != 1 {
                bail!("it needs one of: attack.cjs, or `host` or `elsewhere` in case.toml");
            }
            Ok(Self { id: id.to_owned(), said, bundle })
        };
        read().with_context(|| format!("tests/attacks/{}", folder.name))
    }

    /// What is declared of this wall.
    pub(super) fn declared(&self, wall: &str) -> Declared {
        self.said.walls.get(wall).map(|behind| behind.declared.clone()).unwrap_or_default()
    }

    /// The name of the deployed function.
    pub(super) fn function(&self) -> String {
        self.id.to_lowercase()
    }

    /// What is deployed.
    pub(super) fn spec(&self, integration: &str) -> Value {
        json!({
            "integration": integration, "kind": "action", "name": self.function(),
            "description": self.said.does, "limits": self.said.limits,
            "uses": {"secrets": self.said.secrets, "outbound": true},
        })
    }
}

/// The file that is deployed. Machine code goes in only where the attack makes system calls of its own.
fn bundle(attack: &str) -> String {
    let code = || {
        let [enter, flat, program] = CODE.map(|code| STANDARD.encode(code));
        json!({"enter": enter, "flat": flat, "program": program}).to_string()
    };
    let native = if attack.contains("lib.calls(") { code() } else { String::new() };
    BUNDLE.replace("/*LIB*/", LIB).replace("/*NATIVE*/", &native).replace("/*ATTACK*/", attack)
}

/// Every case, or those that are named.
pub(super) fn cases(named: &[String]) -> anyhow::Result<Vec<Case>> {
    let all = FOLDERS.iter().map(Case::of).collect::<anyhow::Result<Vec<_>>>()?;
    for name in named {
        if !all.iter().any(|case| case.id.eq_ignore_ascii_case(name)) {
            let ids: Vec<_> = all.iter().map(|case| case.id.as_str()).collect();
            bail!("there is no case {name}; there are: {}", ids.join(" "));
        }
    }
    let wanted = |case: &Case| {
        named.is_empty() || named.iter().any(|name| case.id.eq_ignore_ascii_case(name))
    };
    Ok(all.into_iter().filter(wanted).collect())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn every_case_can_be_read_and_has_a_name_of_its_own() {
        let all = cases(&[]).unwrap();
        let ids: std::collections::BTreeSet<_> = all.iter().map(|case| &case.id).collect();
        assert_eq!(ids.len(), all.len());
        for case in &all {
            assert!(case.said.does.len() > 15 && case.said.shows.len() > 4, "{}", case.id);
        }
    }

    /// The process wall is what the cases are written for, and has nothing to declare.
    #[test]
    fn what_is_declared_of_a_wall_is_in_its_documentation() {
        let text = include_str!("../../../../../docs/walls.md");
        for case in cases(&[]).unwrap() {
            for (wall, behind) in &case.said.walls {
                assert!(["gvisor", "microvm"].contains(&wall.as_str()), "{}: {wall}", case.id);
                for (what, why) in &behind.declared {
                    assert!(why.len() > 40, "{} says too little of: {what}", case.id);
                    let row = format!("| {} | {what} |", case.id);
                    assert!(text.contains(&row), "docs/walls.md has no row that begins: {row}");
                }
            }
        }
    }

    #[test]
    fn a_case_that_is_not_there_is_said() {
        let error = cases(&["F99".to_owned()]).unwrap_err().to_string();
        assert!(error.contains("F99") && error.contains("F01"), "{error}");
        assert_eq!(cases(&["f01".to_owned()]).unwrap().len(), 1);
    }
}

//! From what a run showed to a verdict: plain values in, a verdict out.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::corpus::{Declared, Expect};

/// Whether a wall contained an attack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Verdict {
    /// It did, and everything around it goes on.
    Held,
    /// It did not.
    Failed,
    /// It was not tried here; the reason says why.
    NotRun,
}

/// Whether the same attack works where nothing contains it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Effect {
    /// It does.
    Effective,
    /// It was not run, or did nothing; the reason says why.
    None,
}

/// One thing that an attack tried.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Try {
    pub(super) what: String,
    pub(super) worked: bool,
    #[serde(default)]
    pub(super) why: String,
}

/// How a run ended.
#[derive(Debug, Clone)]
pub(super) enum Ended {
    /// It returned this.
    Returned(Value),
    /// It failed with this code and message.
    Failed { code: String, message: String },
}

/// What was seen where an attack was contained.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Contained {
    pub(super) seen: String,
    /// Tries that worked and are declared of this wall.
    pub(super) as_declared: BTreeSet<String>,
}

impl From<String> for Contained {
    fn from(seen: String) -> Self {
        Self { seen, as_declared: BTreeSet::new() }
    }
}

/// The tries that a run told of.
pub(super) fn tries(returned: &Value) -> Vec<Try> {
    serde_json::from_value(returned["tries"].clone()).unwrap_or_default()
}

fn listed(tries: &[&Try]) -> String {
    let shown: Vec<_> =
        tries.iter().take(6).map(|it| format!("{} ({})", it.what, it.why.trim())).collect();
    let more = tries.len().saturating_sub(6);
    if more > 0 { format!("{}; and {more} more", shown.join("; ")) } else { shown.join("; ") }
}

/// Whether a run ended as expected, behind a wall of which this is declared. `Ok` and `Err` both say what was seen.
pub(super) fn as_expected(
    ended: &Ended,
    expect: &Expect,
    declared: &Declared,
) -> Result<Contained, String> {
    match ended {
        Ended::Failed { code, message } if expect.ends.contains(code) => {
            Ok(format!("{code}: {message}").into())
        }
        Ended::Failed { code, message } => Err(format!("it ended with {code}: {message}")),
        Ended::Returned(_) if !expect.ends.is_empty() && !expect.or_refused => {
            Err(format!("it ended by itself instead of with {}", expect.ends.join(" or ")))
        }
        Ended::Returned(value) => {
            let tries = tries(value);
            let (as_declared, worked): (Vec<_>, Vec<_>) = tries
                .iter()
                .filter(|it| it.worked && !expect.harmless.contains(&it.what))
                .partition(|it| declared.contains_key(&it.what));
            match (tries.len(), worked.len()) {
                (0, _) => Err("it tried nothing".to_owned()),
                (all, 0) => {
                    let how = value["note"].as_str().map(|note| format!(", through {note}"));
                    let as_declared: BTreeSet<_> =
                        as_declared.into_iter().map(|it| it.what.clone()).collect();
                    let inside = match as_declared.len() {
                        0 => String::new(),
                        count => format!("; {count} worked inside, as declared"),
                    };
                    let seen =
                        format!("{all} tries, none got out{}{inside}", how.unwrap_or_default());
                    Ok(Contained { seen, as_declared })
                }
                (all, some) => Err(format!("{some} of {all} tries worked: {}", listed(&worked))),
            }
        }
    }
}

/// What a native run showed: how much of the attack works without a wall.
pub(super) fn control(answers: &[Value]) -> (Effect, String) {
    let tries: Vec<_> = answers.iter().flat_map(tries).collect();
    let worked = tries.iter().filter(|it| it.worked).count();
    let refused: Vec<_> = tries.iter().filter(|it| !it.worked).collect();
    match (worked, tries.len()) {
        (_, 0) => (Effect::None, "natively it tried nothing".to_owned()),
        (0, _) => {
            (Effect::None, format!("nothing of it works natively here: {}", listed(&refused)))
        }
        (_, 1) => (Effect::Effective, "works natively".to_owned()),
        (worked, all) if worked == all => (Effect::Effective, format!("all {all} work natively")),
        (worked, all) => (
            Effect::Effective,
            format!("{worked} of {all} work natively; here not: {}", listed(&refused)),
        ),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use serde_json::json;

    fn returned(worked: bool) -> Ended {
        Ended::Returned(json!({"tries": [
            {"what": "a", "worked": false, "why": "EPERM"}, {"what": "b", "worked": worked, "why": "x"},
        ]}))
    }

    #[test]
    fn an_attack_is_contained_when_every_try_was_refused() {
        let (expect, none) = (Expect::default(), Declared::new());
        assert!(as_expected(&returned(false), &expect, &none).is_ok());
        let why = as_expected(&returned(true), &expect, &none).unwrap_err();
        assert_eq!(why, "1 of 2 tries worked: b (x)");
        let harmless = Expect { harmless: vec!["b".to_owned()], ..Expect::default() };
        assert!(as_expected(&returned(true), &harmless, &none).is_ok());
        assert!(as_expected(&Ended::Returned(json!({"tries": []})), &expect, &none).is_err());
        assert!(as_expected(&Ended::Returned(json!(null)), &expect, &none).is_err());
    }

    #[test]
    fn what_is_declared_of_a_wall_works_there_and_nothing_else() {
        let expect = Expect::default();
        let declared = |what: &str| Declared::from([(what.to_owned(), "why".to_owned())]);
        let contained = as_expected(&returned(true), &expect, &declared("b")).unwrap();
        assert_eq!(contained.seen, "2 tries, none got out; 1 worked inside, as declared");
        assert_eq!(contained.as_declared, BTreeSet::from(["b".to_owned()]));
        let refused = as_expected(&returned(false), &expect, &declared("b")).unwrap();
        assert_eq!(refused.as_declared, BTreeSet::new());
        let why = as_expected(&returned(true), &expect, &declared("a")).unwrap_err();
        assert_eq!(why, "1 of 2 tries worked: b (x)");
    }

    #[test]
    fn an_attack_that_must_be_ended_may_not_end_by_itself() {
        let none = Declared::new();
        let failed = |code: &str| Ended::Failed { code: code.to_owned(), message: "m".to_owned() };
        let expect = Expect { ends: vec!["cpu_limit".to_owned()], ..Expect::default() };
        assert!(as_expected(&failed("cpu_limit"), &expect, &none).is_ok());
        assert!(as_expected(&failed("internal"), &expect, &none).is_err());
        assert!(as_expected(&returned(false), &expect, &none).is_err());
        let either = Expect { or_refused: true, ..expect };
        assert!(as_expected(&returned(false), &either, &none).is_ok());
        assert!(as_expected(&returned(true), &either, &none).is_err());
        assert!(as_expected(&failed("crashed"), &Expect::default(), &none).is_err());
    }

    #[test]
    fn a_control_is_effective_when_something_works() {
        let answer = |worked: [bool; 2]| {
            vec![json!({"tries": worked.map(|it| json!({"what": "t", "worked": it, "why": "E"}))})]
        };
        assert_eq!(control(&answer([true, true])).0, Effect::Effective);
        let (effect, why) = control(&answer([true, false]));
        assert_eq!(
            (effect, why.as_str()),
            (Effect::Effective, "1 of 2 work natively; here not: t (E)")
        );
        assert_eq!(control(&answer([false, false])).0, Effect::None);
        assert_eq!(control(&[]).0, Effect::None);
    }
}

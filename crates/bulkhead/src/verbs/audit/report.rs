//! What the audit prints: a table for people, or JSON in a form that other programs rely on.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::control::Controlled;
use super::corpus::Case;
use super::judge::{Effect, Verdict};
use crate::{exit, output};

/// What one wall made of one case; goes from the process that ran the wall to the one that prints.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Finding {
    pub(super) id: String,
    pub(super) wall: String,
    pub(super) verdict: Verdict,
    /// What was seen, or why it was not run.
    pub(super) reason: String,
    /// What is declared of this wall.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) declared: Vec<Declaration>,
}

/// A try that may work behind a wall, because it stays inside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Declaration {
    #[serde(rename = "try")]
    pub(super) what: String,
    /// Why it leads nowhere.
    pub(super) why: String,
    /// Whether it did work. Where it is refused, the declaration can go.
    pub(super) worked: bool,
}

/// One line of the report.
#[derive(Debug, Clone, Serialize)]
struct Line {
    #[serde(flatten)]
    finding: Finding,
    control: Effect,
    control_reason: String,
}

#[derive(Debug, Serialize)]
struct Report {
    cases: Vec<Line>,
    held: usize,
    failed: usize,
    not_run: usize,
}

/// Prints and decides the exit code: [`exit::DONE`] only if nothing failed and something was tried.
pub(super) fn print(
    cases: &[Case],
    findings: Vec<Finding>,
    controls: &BTreeMap<String, Controlled>,
    json: bool,
) -> anyhow::Result<u8> {
    let line = |finding: Finding| {
        let control = controls.get(&finding.id).cloned().unwrap_or_default();
        Line { finding, control: control.effect, control_reason: control.reason }
    };
    let lines: Vec<Line> = findings.into_iter().map(line).collect();
    let count = |verdict| lines.iter().filter(|line| line.finding.verdict == verdict).count();
    let (held, failed, not_run) =
        (count(Verdict::Held), count(Verdict::Failed), count(Verdict::NotRun));
    if json {
        output::json(&Report { cases: lines, held, failed, not_run })?;
    } else {
        table(cases, &lines)?;
        let effective = controls.values().filter(|it| it.effect == Effect::Effective).count();
        output::say(&format!(
            "{held} held, {failed} failed, {not_run} not run; {effective} of {} attacks shown to work natively",
            controls.len()
        ));
    }
    Ok(if failed == 0 && held > 0 { exit::DONE } else { exit::FAILED })
}

fn table(cases: &[Case], lines: &[Line]) -> anyhow::Result<()> {
    let row = |line: &Line| {
        let case = cases.iter().find(|case| case.id == line.finding.id);
        let does = case.map_or("", |case| case.said.does.as_str());
        let verdict = match line.finding.verdict {
            Verdict::Held => "held",
            Verdict::Failed => "FAILED",
            Verdict::NotRun => "not run",
        };
        let control = match line.control {
            Effect::Effective => "works",
            Effect::None => "none",
        };
        let reason = match (line.finding.verdict, line.control) {
            (Verdict::Held, Effect::None) => &line.control_reason,
            _ => &line.finding.reason,
        };
        [
            line.finding.id.as_str(),
            &line.finding.wall,
            verdict,
            control,
            &short(does, 70),
            &short(reason, 160),
        ]
        .map(str::to_owned)
        .to_vec()
    };
    let rows: Vec<_> = lines.iter().map(row).collect();
    output::table(
        &["case", "wall", "verdict", "natively", "the function", "what was seen"],
        &rows,
    )?;
    let declared: Vec<_> = lines.iter().flat_map(|line| declared(&line.finding)).collect();
    if declared.is_empty() {
        return Ok(());
    }
    output::table(&["case", "wall", "declared", "why it leads nowhere"], &declared)
}

/// What is declared of the wall, a row each.
fn declared(finding: &Finding) -> impl Iterator<Item = Vec<String>> {
    finding.declared.iter().map(|it| {
        let why =
            if it.worked { it.why.as_str() } else { "IT IS REFUSED HERE: the declaration can go" };
        [finding.id.as_str(), &finding.wall, &it.what, why].map(str::to_owned).to_vec()
    })
}

fn short(text: &str, chars_max: usize) -> String {
    let line = text.lines().next().unwrap_or_default();
    if line.chars().count() <= chars_max {
        return line.to_owned();
    }
    let cut: String = line.chars().take(chars_max - 1).collect();
    format!("{cut}…")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn the_json_form_is_the_one_that_others_read() {
        let finding = Finding {
            id: "F01".to_owned(),
            wall: "process".to_owned(),
            verdict: Verdict::NotRun,
            reason: "r".to_owned(),
            declared: Vec::new(),
        };
        let line = Line { finding, control: Effect::Effective, control_reason: "c".to_owned() };
        let report = Report { cases: vec![line], held: 0, failed: 0, not_run: 1 };
        let expected = r#"{"cases":[{"id":"F01","wall":"process","verdict":"not_run","reason":"r","control":"effective","control_reason":"c"}],"held":0,"failed":0,"not_run":1}"#;
        assert_eq!(serde_json::to_string(&report).unwrap(), expected);
    }

    #[test]
    fn what_is_declared_is_printed_with_its_reason_and_told_once_it_is_not_needed() {
        let declaration =
            |what: &str, worked| Declaration { what: what.to_owned(), why: "w".to_owned(), worked };
        let finding = Finding {
            id: "P01".to_owned(),
            wall: "gvisor".to_owned(),
            verdict: Verdict::Held,
            reason: "r".to_owned(),
            declared: vec![declaration("a", true), declaration("b", false)],
        };
        let rows: Vec<_> = declared(&finding).map(|row| row.join(" ")).collect();
        let stale = "P01 gvisor b IT IS REFUSED HERE: the declaration can go";
        assert_eq!(rows, ["P01 gvisor a w", stale]);
        let text = serde_json::to_string(&finding).unwrap();
        assert!(text.ends_with(r#"{"try":"b","why":"w","worked":false}]}"#), "{text}");
    }

    #[test]
    fn a_long_reason_is_cut_at_a_character() {
        assert_eq!(short("ééé\nx", 3), "ééé");
        assert_eq!(short("éééé", 3), "éé…");
    }
}

//! The shape of a measurement, as every benchmark prints it: results with percentiles, targets with what was
//! reached, and the machine it was reached on.

use std::time::Duration;

use serde::Serialize;

use crate::output;

/// What `bulkhead bench NAME --json` prints.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Measurement {
    /// Which benchmark.
    pub(crate) bench: &'static str,
    /// Where it ran.
    pub(crate) machine: Machine,
    /// What was measured; `unknown` outside of a checkout.
    pub(crate) commit: String,
    /// What came out.
    pub(crate) results: Vec<Series>,
    /// What was promised, and what was reached.
    pub(crate) targets: Vec<Target>,
}

/// Where it ran.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Machine {
    pub(crate) cores: u32,
    pub(crate) memory_gib: u64,
    pub(crate) kernel: String,
}

/// Percentiles of one series of samples.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Series {
    /// Such as `process/parked`.
    pub(crate) name: String,
    /// Such as `ms`, `/s`, `MiB`.
    pub(crate) unit: &'static str,
    pub(crate) n: usize,
    pub(crate) p50: f64,
    pub(crate) p95: f64,
    pub(crate) p99: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
}

/// One promise.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Target {
    /// Such as `T2`.
    pub(crate) id: &'static str,
    /// Of what.
    pub(crate) what: String,
    /// Such as `<= 5 ms`.
    pub(crate) goal: String,
    /// What was reached.
    pub(crate) value: f64,
    pub(crate) unit: &'static str,
    /// Whether that is enough.
    pub(crate) met: bool,
}

impl Series {
    /// Percentiles by the nearest rank; all zero without samples.
    pub(crate) fn of(name: impl Into<String>, unit: &'static str, mut samples: Vec<f64>) -> Self {
        samples.sort_by(f64::total_cmp);
        let rank = |percent: usize| {
            let place = (samples.len() * percent).div_ceil(100).max(1) - 1;
            samples.get(place).copied().map_or(0.0, rounded)
        };
        Self {
            name: name.into(),
            unit,
            n: samples.len(),
            p50: rank(50),
            p95: rank(95),
            p99: rank(99),
            min: samples.first().copied().map_or(0.0, rounded),
            max: samples.last().copied().map_or(0.0, rounded),
        }
    }

    /// Durations, as milliseconds.
    pub(crate) fn of_durations(name: impl Into<String>, samples: &[Duration]) -> Self {
        Self::of(name, "ms", samples.iter().map(|took| took.as_secs_f64() * 1e3).collect())
    }

    /// One number that is no distribution, such as a rate.
    pub(crate) fn single(name: impl Into<String>, unit: &'static str, value: f64) -> Self {
        Self::of(name, unit, vec![value])
    }
}

/// To the microsecond, where the unit is milliseconds.
fn rounded(value: f64) -> f64 {
    (value * 1e3).round() / 1e3
}

impl Target {
    /// A value that must not be larger than `most`.
    pub(crate) fn at_most(
        id: &'static str,
        what: impl Into<String>,
        value: f64,
        most: f64,
        unit: &'static str,
    ) -> Self {
        let (value, goal) = (rounded(value), format!("<= {most} {unit}"));
        Self { id, what: what.into(), goal, value, unit, met: value <= most }
    }

    /// A value that must not be smaller than `least`.
    pub(crate) fn at_least(
        id: &'static str,
        what: impl Into<String>,
        value: f64,
        least: f64,
        unit: &'static str,
    ) -> Self {
        let (value, goal) = (rounded(value), format!(">= {least} {unit}"));
        Self { id, what: what.into(), goal, value, unit, met: value >= least }
    }
}

impl Measurement {
    /// Prints it, as JSON or as two tables.
    pub(crate) fn print(&self, json: bool) -> anyhow::Result<()> {
        if json {
            return output::json(self);
        }
        let Machine { cores, memory_gib, kernel } = &self.machine;
        output::say(&format!(
            "{cores} cores, {memory_gib} GiB, Linux {kernel}, commit {}",
            self.commit
        ));
        let row = |s: &Series| {
            let numbers = [s.p50, s.p95, s.p99, s.min, s.max].map(|value| format!("{value}"));
            let mut row = vec![s.name.clone(), s.unit.to_owned(), s.n.to_string()];
            row.extend(numbers);
            row
        };
        let rows: Vec<_> = self.results.iter().map(row).collect();
        output::table(&["result", "unit", "n", "p50", "p95", "p99", "min", "max"], &rows)?;
        let row = |t: &Target| {
            let met = if t.met { "met" } else { "NOT met" };
            let value = format!("{} {}", t.value, t.unit);
            vec![t.id.to_owned(), t.what.clone(), t.goal.clone(), value, met.to_owned()]
        };
        let rows: Vec<_> = self.targets.iter().map(row).collect();
        output::line("")?;
        output::table(&["target", "what", "goal", "value", ""], &rows)
    }
}

impl Machine {
    /// This one, as the kernel tells.
    pub(crate) fn this(cores: u32) -> Self {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let memory = read("/proc/meminfo");
        let kib = memory.lines().find_map(|line| line.strip_prefix("MemTotal:")).and_then(|rest| {
            rest.split_whitespace().next().and_then(|number| number.parse::<u64>().ok())
        });
        // To the nearest: the kernel keeps some of the machine's memory for itself.
        let memory_gib = (kib.unwrap_or(0) + (1 << 19)) >> 20;
        Self { cores, memory_gib, kernel: read("/proc/sys/kernel/osrelease").trim().to_owned() }
    }
}

/// The checkout's commit, read from `.git` in `directory`; `unknown` where there is none.
pub(crate) fn commit(directory: &std::path::Path) -> String {
    let unknown = || "unknown".to_owned();
    let mut git = directory.join(".git");
    // In a worktree `.git` is a file that names the place.
    if let Ok(text) = std::fs::read_to_string(&git) {
        let Some(place) = text.strip_prefix("gitdir:") else { return unknown() };
        git = directory.join(place.trim());
    }
    let Ok(head) = std::fs::read_to_string(git.join("HEAD")) else { return unknown() };
    let Some(reference) = head.trim().strip_prefix("ref: ") else { return head.trim().to_owned() };
    let common = std::fs::read_to_string(git.join("commondir"))
        .map_or_else(|_| git.clone(), |text| git.join(text.trim()));
    if let Ok(hash) = std::fs::read_to_string(common.join(reference)) {
        return hash.trim().to_owned();
    }
    let packed = std::fs::read_to_string(common.join("packed-refs")).unwrap_or_default();
    let line = packed.lines().find(|line| line.ends_with(reference));
    line.and_then(|line| line.split(' ').next()).map_or_else(unknown, str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_nearest_ranks() {
        let series = Series::of("x", "ms", (1..=500).rev().map(f64::from).collect());
        let Series { n, p50, p95, p99, min, max, .. } = series;
        assert_eq!((n, p50, p95, p99, min, max), (500, 250.0, 475.0, 495.0, 1.0, 500.0));
        let empty = Series::of("x", "ms", Vec::new());
        assert_eq!((empty.n, empty.p99, empty.max), (0, 0.0, 0.0));
    }

    #[test]
    fn targets_say_whether_they_are_met() {
        assert!(Target::at_most("T2", "p50", 5.0, 5.0, "ms").met);
        assert!(!Target::at_most("T2", "p50", 5.001, 5.0, "ms").met);
        assert!(!Target::at_least("T3", "rate", 299.0, 300.0, "/s").met);
        assert_eq!(Target::at_least("T3", "rate", 301.0, 300.0, "/s").goal, ">= 300 /s");
    }
}

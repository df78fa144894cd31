//! What the worker counts, in Prometheus' terms.

use std::sync::Arc;

use bulkhead_telemetry::metrics::{Kind, Page, as_f64};
use bulkhead_types::WallKind;
use bulkhead_worker::{BUCKETS_US, Runner, Snapshot, Warmth};

/// Adds the worker's numbers to a page.
pub(super) fn of(runner: Option<Runner>) -> Arc<dyn Fn(&mut Page) + Send + Sync> {
    Arc::new(move |page| {
        if let Some(runner) = &runner {
            print(runner, page);
        }
    })
}

fn print(runner: &Runner, page: &mut Page) {
    let now = runner.snapshot();
    let mut one =
        |name, kind, what, value: u64| page.add(name, kind, what, &[(&[], as_f64(value))]);
    one("bulkhead_attempts_total", Kind::Counter, "Attempts that got a sandbox.", now.executions);
    one("bulkhead_attempts_running", Kind::Gauge, "Attempts under way.", now.running);
    one(
        "bulkhead_attempt_failures_total",
        Kind::Counter,
        "Attempts that ended badly.",
        now.failures,
    );
    one("bulkhead_sandboxes_made_total", Kind::Counter, "Sandboxes made.", now.sandboxes_made);
    one(
        "bulkhead_sandboxes_used_total",
        Kind::Counter,
        "Sandboxes given an execution.",
        now.sandboxes_used,
    );
    one("bulkhead_compartments", Kind::Gauge, "Compartments that exist.", now.compartments);
    one(
        "bulkhead_compartments_built_total",
        Kind::Counter,
        "Compartments built.",
        now.compartments_built,
    );
    one(
        "bulkhead_compartments_wanted",
        Kind::Gauge,
        "Compartments that wait for a place, or for the turn to be built.",
        now.compartments_wanted,
    );
    starts(&now, page);
    warmth(now.warmth, page);
    let bounds: Vec<f64> = BUCKETS_US.iter().map(|us| as_f64(*us) / 1e6).collect();
    let sum = as_f64(now.start_us_sum) / 1e6;
    page.buckets(
        "bulkhead_start_seconds",
        "From lease to the handler's first line.",
        &bounds,
        &now.start_histogram,
        sum,
    );
}

fn starts(now: &Snapshot, page: &mut Page) {
    let mut samples = Vec::new();
    for (wall, counts) in WallKind::ALL.iter().zip(&now.starts) {
        let kinds = [("parked", counts.parked), ("forked", counts.forked), ("cold", counts.cold)];
        samples.extend(
            kinds.map(|(kind, count)| ([("wall", wall.as_str()), ("kind", kind)], as_f64(count))),
        );
    }
    let samples: Vec<(&[(&str, &str)], f64)> =
        samples.iter().map(|(labels, count)| (labels.as_slice(), *count)).collect();
    let what = "Starts, by wall and by how the sandbox came to be.";
    page.add("bulkhead_starts_total", Kind::Counter, what, &samples);
}

fn warmth(now: Warmth, page: &mut Page) {
    let mut one =
        |name, kind, what, value: u64| page.add(name, kind, what, &[(&[], as_f64(value))]);
    one(
        "bulkhead_warm_memory_bytes",
        Kind::Gauge,
        "Memory of compartments without a running attempt, as last measured.",
        now.memory_bytes,
    );
    one("bulkhead_warm_memory_max_bytes", Kind::Gauge, "What they may keep.", now.memory_bytes_max);
    one(
        "bulkhead_prewarms_total",
        Kind::Counter,
        "Compartments built before anybody called.",
        now.prewarmed,
    );
    one(
        "bulkhead_prewarms_refused_total",
        Kind::Counter,
        "Compartments not built ahead: no memory in the tenant's share.",
        now.prewarms_refused,
    );
    let evicted: [(&[(&str, &str)], f64); 3] = [
        (&[("why", "unused")], as_f64(now.evicted_unused)),
        (&[("why", "memory")], as_f64(now.evicted_memory)),
        (&[("why", "place")], as_f64(now.evicted_place)),
    ];
    page.add(
        "bulkhead_evictions_total",
        Kind::Counter,
        "Idle compartments that had to go.",
        &evicted,
    );
}

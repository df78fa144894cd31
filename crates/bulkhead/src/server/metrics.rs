//! What the worker counts, in Prometheus' terms.

use std::sync::Arc;

use bulkhead_telemetry::metrics::{Kind, Page, as_f64};
use bulkhead_worker::{BUCKETS_US, Runner};

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
    let starts: [(&[(&str, &str)], f64); 3] = [
        (&[("kind", "parked")], as_f64(now.parked)),
        (&[("kind", "forked")], as_f64(now.forked)),
        (&[("kind", "cold")], as_f64(now.cold)),
    ];
    page.add(
        "bulkhead_starts_total",
        Kind::Counter,
        "Starts, by how the sandbox came to be.",
        &starts,
    );
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

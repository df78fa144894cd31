//! Prometheus' text format, written by hand: counters and gauges that somebody else counts, and histograms with
//! fixed bounds. A registry with names and labels as strings is more than we need.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// What a number is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
}

/// A page of metrics.
#[derive(Debug, Default)]
pub struct Page {
    text: String,
}

impl Page {
    /// Adds one metric with any number of label sets; label texts are escaped.
    pub fn add(&mut self, name: &str, kind: Kind, what: &str, samples: &[(&[(&str, &str)], f64)]) {
        self.head(name, what, if kind == Kind::Counter { "counter" } else { "gauge" });
        for (labels, value) in samples {
            self.sample(name, labels, *value);
        }
    }

    /// Adds a histogram.
    pub fn histogram(&mut self, name: &str, what: &str, histogram: &Histogram) {
        let counts: Vec<u64> =
            histogram.counts.iter().map(|count| count.load(Ordering::Relaxed)).collect();
        let sum = as_f64(histogram.micros.load(Ordering::Relaxed)) / 1e6;
        self.buckets(name, what, &BOUNDS, &counts, sum);
    }

    /// Adds a histogram that somebody else counted: one count per bound, and one more for what is above them all.
    pub fn buckets(&mut self, name: &str, what: &str, bounds: &[f64], counts: &[u64], sum: f64) {
        self.head(name, what, "histogram");
        let mut seen = 0_u64;
        for (bound, count) in bounds.iter().zip(counts) {
            seen += count;
            let bound = bound.to_string();
            self.sample(&format!("{name}_bucket"), &[("le", &bound)], as_f64(seen));
        }
        seen += counts.get(bounds.len()).copied().unwrap_or(0);
        self.sample(&format!("{name}_bucket"), &[("le", "+Inf")], as_f64(seen));
        self.sample(&format!("{name}_sum"), &[], sum);
        self.sample(&format!("{name}_count"), &[], as_f64(seen));
    }

    /// The page's text.
    #[must_use]
    pub fn finish(self) -> String {
        self.text
    }

    fn head(&mut self, name: &str, what: &str, kind: &str) {
        self.line(format_args!("# HELP {name} {what}"));
        self.line(format_args!("# TYPE {name} {kind}"));
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: f64) {
        if labels.is_empty() {
            return self.line(format_args!("{name} {value}"));
        }
        let escaped =
            |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        let labels: Vec<_> =
            labels.iter().map(|(label, text)| format!("{label}=\"{}\"", escaped(text))).collect();
        self.line(format_args!("{name}{{{}}} {value}", labels.join(",")));
    }

    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        // Writing to a String can't fail.
        if writeln!(self.text, "{line}").is_err() {
            self.text.clear();
        }
    }
}

/// A count as Prometheus has numbers; exact up to 2⁵³.
#[must_use]
#[allow(clippy::cast_precision_loss, reason = "Prometheus has no other numbers")]
pub const fn as_f64(count: u64) -> f64 {
    count as f64
}

/// Upper bounds of a histogram's buckets, in seconds: from a parked start to the cap.
const BOUNDS: [f64; 14] =
    [0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0, 120.0, 600.0];

/// How long things took.
#[derive(Debug, Default)]
pub struct Histogram {
    /// The last is what is above all bounds.
    counts: [AtomicU64; BOUNDS.len() + 1],
    micros: AtomicU64,
}

impl Histogram {
    /// Counts one.
    pub fn record(&self, took: Duration) {
        let seconds = took.as_secs_f64();
        let place = BOUNDS.iter().position(|bound| seconds <= *bound).unwrap_or(BOUNDS.len());
        self.counts[place].fetch_add(1, Ordering::Relaxed);
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.micros.fetch_add(micros, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_what_prometheus_reads() {
        let histogram = Histogram::default();
        histogram.record(Duration::from_millis(3));
        histogram.record(Duration::from_secs(3_600));
        let mut page = Page::default();
        page.add("a_total", Kind::Counter, "As.", &[(&[("of", "x\"y\n")], 2.0)]);
        page.histogram("b_seconds", "Bs.", &histogram);
        let text = page.finish();
        assert!(text.contains("# TYPE a_total counter\na_total{of=\"x\\\"y\\n\"} 2\n"), "{text}");
        assert!(
            text.contains("b_seconds_bucket{le=\"0.002\"} 0\nb_seconds_bucket{le=\"0.005\"} 1\n")
        );
        assert!(text.contains("b_seconds_bucket{le=\"600\"} 1\nb_seconds_bucket{le=\"+Inf\"} 2\n"));
        assert!(text.contains("b_seconds_sum 3600.003\nb_seconds_count 2\n"), "{text}");
    }
}

//! What happened in a run: the last lines of it, and a hash over all of them.

use std::collections::VecDeque;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::time::Duration;

/// Lines kept for who has to find out what went wrong.
const LINES_KEPT: usize = 120;

/// What happened.
#[derive(Debug)]
pub(crate) struct Trace {
    kept: VecDeque<String>,
    // Its keys are fixed, unlike those of a `RandomState`.
    hasher: DefaultHasher,
    lines: u64,
    /// Print every line when it comes.
    aloud: bool,
}

impl Trace {
    pub(crate) fn new(aloud: bool) -> Self {
        Self { kept: VecDeque::new(), hasher: DefaultHasher::new(), lines: 0, aloud }
    }

    pub(crate) fn tell(&mut self, at: Duration, what: &str) {
        let line = format!("{:>10.3} {what}", at.as_secs_f64());
        line.hash(&mut self.hasher);
        self.lines += 1;
        if self.aloud {
            #[allow(clippy::print_stderr, reason = "asked for, by who replays a seed")]
            {
                eprintln!("{line}");
            }
        }
        if self.kept.len() == LINES_KEPT {
            self.kept.pop_front();
        }
        self.kept.push_back(line);
    }

    /// A hash over all lines so far.
    pub(crate) fn hash(&self) -> u64 {
        self.hasher.finish()
    }

    pub(crate) const fn lines(&self) -> u64 {
        self.lines
    }

    pub(crate) fn last(&self) -> Vec<String> {
        self.kept.iter().cloned().collect()
    }
}

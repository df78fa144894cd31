//! When a schedule is due: `every 5m`, `every half hour`, `cron: 0 6 * * 1-5 Europe/Paris`.
//!
//! Intervals are anchored: they count from the moment the schedule was made, so they neither drift nor pile up. A
//! time that was missed is made up for once, however many were missed.

mod cron;

use std::time::Duration;

use bulkhead_types::Timestamp;

use cron::CronRule;

/// The shortest interval.
pub const INTERVAL_MIN: Duration = Duration::from_secs(30);

/// The longest interval.
pub const INTERVAL_MAX: Duration = Duration::from_secs(31 * 24 * 60 * 60);

/// The longest accepted text, in bytes.
const TEXT_BYTES_MAX: usize = 200;

/// When a schedule is due.
#[derive(Debug, Clone)]
pub struct Frequency(Rule);

#[derive(Debug, Clone)]
enum Rule {
    Every(Duration),
    Cron(Box<CronRule>),
}

/// Why a text is not a frequency.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrequencyError {
    /// Neither form.
    #[error(
        "{0:?} is no frequency; write `every 5m`, `every 2 hours`, `every half hour`, or `cron: 0 6 * * 1-5 Europe/Paris`"
    )]
    Unknown(String),
    /// An interval outside the bounds.
    #[error("{0:?} is out of bounds; the shortest interval is 30 seconds, the longest 31 days")]
    OutOfBounds(String),
    /// A cron rule that is none.
    #[error(
        "{rule:?} is no cron rule: {why}; write minute, hour, day of month, month, day of week"
    )]
    Cron {
        /// What was given.
        rule: String,
        /// What is wrong with it.
        why: String,
    },
    /// A time zone that is none.
    #[error("{0:?} is no time zone; write one such as Europe/Paris or UTC")]
    TimeZone(String),
}

impl FrequencyError {
    /// The stable code.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        "invalid_frequency"
    }
}

impl Frequency {
    /// Reads a frequency.
    ///
    /// # Errors
    /// [`FrequencyError`], which says what to write instead.
    pub fn parse(text: &str) -> Result<Self, FrequencyError> {
        let unknown = || FrequencyError::Unknown(text.chars().take(80).collect());
        if text.len() > TEXT_BYTES_MAX {
            return Err(unknown());
        }
        let trimmed = text.trim();
        if let Some(rule) = trimmed.strip_prefix("cron:") {
            return Ok(Self(Rule::Cron(Box::new(CronRule::parse(rule.trim())?))));
        }
        let lower = trimmed.to_ascii_lowercase();
        let words = lower.strip_prefix("every ").ok_or_else(unknown)?;
        let interval = interval(words).ok_or_else(unknown)?;
        if (INTERVAL_MIN..=INTERVAL_MAX).contains(&interval) {
            Ok(Self(Rule::Every(interval)))
        } else {
            Err(FrequencyError::OutOfBounds(trimmed.to_owned()))
        }
    }

    /// The first due time after `now`, of a schedule whose intervals count from `anchor`. `None` when there is
    /// none any more, as with `cron: 0 0 30 2 *`.
    #[must_use]
    pub fn next_after(&self, anchor: Timestamp, now: Timestamp) -> Option<Timestamp> {
        match &self.0 {
            Rule::Every(interval) => {
                let step = interval.as_millis();
                let passed = now.since(anchor).as_millis() / step;
                let offset = u64::try_from(step.checked_mul(passed + 1)?).ok()?;
                Some(anchor.after(Duration::from_millis(offset)))
            }
            Rule::Cron(rule) => rule.next_after(now),
        }
    }
}

/// `5m`, `5 minutes`, `hour`, `half hour`, `quarter hour`.
fn interval(words: &str) -> Option<Duration> {
    let words: Vec<&str> = words.split_whitespace().collect();
    match words[..] {
        ["half", unit] => Some(unit_of(unit)? / 2),
        ["quarter", unit] => Some(unit_of(unit)? / 4),
        [count, unit] => unit_of(unit)?.checked_mul(count.parse().ok()?),
        [word] => {
            let digits = word.find(|c: char| !c.is_ascii_digit())?;
            let (count, unit) = word.split_at(digits);
            let count = if count.is_empty() { 1 } else { count.parse().ok()? };
            unit_of(unit)?.checked_mul(count)
        }
        _ => None,
    }
}

fn unit_of(word: &str) -> Option<Duration> {
    let seconds = match word {
        "s" | "sec" | "secs" | "second" | "seconds" => 1,
        "m" | "min" | "mins" | "minute" | "minutes" => 60,
        "h" | "hr" | "hrs" | "hour" | "hours" => 3_600,
        "d" | "day" | "days" => 86_400,
        "w" | "week" | "weeks" => 7 * 86_400,
        "month" => 30 * 86_400,
        _ => return None,
    };
    Some(Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests;

//! Cron rules with a time zone: `0 6 * * 1-5 Europe/Paris`; UTC when none is named.
//!
//! croner reads the rule and walks wall-clock time; jiff, with the time zone data built in, says which instant a
//! wall-clock time is. What happens when clocks change depends on the hour field. A rule for certain hours fires
//! once a day: a time that is skipped fires as much later as the clock jumped, one that comes twice fires the
//! first time. A rule for every hour (`*`, `*/2`) is about elapsed time, and fires through both hours.

use bulkhead_types::Timestamp;
use chrono::{DateTime, Datelike, Timelike, Utc};
use croner::Cron;
use croner::parser::{CronParser, Seconds};
use jiff::civil;
use jiff::tz::{TimeZone, TimeZoneDatabase};

use super::FrequencyError;

/// Wall-clock times to try before giving up: those that clocks skip or repeat map to instants not after `now`.
/// The longest known jump is a day; a rule of one minute has 1,440 of those.
const TRIES_MAX: usize = 2_000;

#[derive(Debug, Clone)]
pub(super) struct CronRule {
    rule: Cron,
    zone: TimeZone,
    every_hour: bool,
}

impl CronRule {
    pub(super) fn parse(text: &str) -> Result<Self, FrequencyError> {
        let words: Vec<&str> = text.split_whitespace().collect();
        let (fields, zone) = match &words[..] {
            [fields @ .., zone] if fields.len() == 5 => (fields, *zone),
            fields => (fields, "UTC"),
        };
        let failed = |why: String| FrequencyError::Cron { rule: text.to_owned(), why };
        if fields.len() != 5 {
            return Err(failed(format!("it has {} fields, not 5", fields.len())));
        }
        let parser = CronParser::builder().seconds(Seconds::Disallowed).build();
        let rule = parser.parse(&fields.join(" ")).map_err(|error| failed(error.to_string()))?;
        let database = TimeZoneDatabase::bundled();
        let zone = database.get(zone).map_err(|_| FrequencyError::TimeZone(zone.to_owned()))?;
        Ok(Self { rule, zone, every_hour: fields[1].starts_with('*') })
    }

    pub(super) fn next_after(&self, now: Timestamp) -> Option<Timestamp> {
        let instant = jiff::Timestamp::from_millisecond(now.as_millis()).ok()?;
        let offset_ms = i64::from(self.zone.to_offset(instant).seconds()) * 1_000;
        let mut wall = DateTime::<Utc>::from_timestamp_millis(now.as_millis() + offset_ms)?;
        for _ in 0..TRIES_MAX {
            wall = self.rule.find_next_occurrence(&wall, false).ok()?;
            let found = if self.every_hour {
                Some(wall.timestamp_millis() - offset_ms)
            } else {
                self.instant(wall)
            };
            if let Some(found) = found.filter(|found| *found > now.as_millis()) {
                return Some(Timestamp::from_millis(found));
            }
        }
        None
    }

    /// The instant, in milliseconds, at which clocks in the zone show `wall`.
    fn instant(&self, wall: DateTime<Utc>) -> Option<i64> {
        let field = |value: u32| i8::try_from(value).ok();
        let year = i16::try_from(wall.year()).ok()?;
        let date = civil::Date::new(year, field(wall.month())?, field(wall.day())?).ok()?;
        let time = date.at(field(wall.hour())?, field(wall.minute())?, field(wall.second())?, 0);
        let instant = self.zone.to_ambiguous_timestamp(time).compatible().ok()?;
        Some(instant.as_millisecond())
    }
}

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use proptest::prelude::*;

use super::*;

fn at(text: &str) -> Timestamp {
    Timestamp::from_millis(text.parse::<jiff::Timestamp>().unwrap().as_millisecond())
}

fn show(at: Timestamp) -> String {
    jiff::Timestamp::from_millisecond(at.as_millis()).unwrap().to_string()
}

/// The next `count` due times after `from`, which is also the anchor.
fn due(text: &str, from: &str, count: usize) -> String {
    let frequency = Frequency::parse(text).unwrap();
    let mut now = at(from);
    let mut lines = Vec::new();
    for _ in 0..count {
        let Some(next) = frequency.next_after(at(from), now) else {
            lines.push("never".to_owned());
            break;
        };
        lines.push(show(next));
        now = next;
    }
    lines.join("\n")
}

#[test]
fn intervals_in_all_their_spellings() {
    let seconds = |text: &str| match Frequency::parse(text).unwrap().0 {
        Rule::Every(interval) => interval.as_secs(),
        Rule::Cron(_) => unreachable!(),
    };
    for (text, expected) in [
        ("every 30s", 30),
        ("every 5m", 300),
        ("Every 5 Minutes", 300),
        ("every minute", 60),
        ("every hour", 3_600),
        ("every half hour", 1_800),
        ("every quarter hour", 900),
        ("every half day", 43_200),
        ("every 2 hours", 7_200),
        ("every day", 86_400),
        ("every 1d", 86_400),
        ("every week", 604_800),
        ("every month", 2_592_000),
        ("every 31 days", 2_678_400),
    ] {
        assert_eq!(seconds(text), expected, "{text}");
    }
}

#[test]
fn what_is_no_frequency_says_what_to_write() {
    let mut told = Vec::new();
    for text in [
        "",
        "every",
        "5m",
        "every 5 fortnights",
        "every 29s",
        "every 32 days",
        "every 99999999999999999999m",
        "cron: 0 6 * *",
        "cron: 61 * * * *",
        "cron: 0 6 * * * Mars/Olympus",
        "cron: * * * * * *",
    ] {
        told.push(Frequency::parse(text).unwrap_err().to_string());
    }
    insta::assert_snapshot!(told.join("\n"), @r#"
    "" is no frequency; write `every 5m`, `every 2 hours`, `every half hour`, or `cron: 0 6 * * 1-5 Europe/Paris`
    "every" is no frequency; write `every 5m`, `every 2 hours`, `every half hour`, or `cron: 0 6 * * 1-5 Europe/Paris`
    "5m" is no frequency; write `every 5m`, `every 2 hours`, `every half hour`, or `cron: 0 6 * * 1-5 Europe/Paris`
    "every 5 fortnights" is no frequency; write `every 5m`, `every 2 hours`, `every half hour`, or `cron: 0 6 * * 1-5 Europe/Paris`
    "every 29s" is out of bounds; the shortest interval is 30 seconds, the longest 31 days
    "every 32 days" is out of bounds; the shortest interval is 30 seconds, the longest 31 days
    "every 99999999999999999999m" is no frequency; write `every 5m`, `every 2 hours`, `every half hour`, or `cron: 0 6 * * 1-5 Europe/Paris`
    "0 6 * *" is no cron rule: it has 4 fields, not 5; write minute, hour, day of month, month, day of week
    "61 * * * *" is no cron rule: Component error: Number out of bounds.; write minute, hour, day of month, month, day of week
    "Mars/Olympus" is no time zone; write one such as Europe/Paris or UTC
    "*" is no time zone; write one such as Europe/Paris or UTC
    "#);
}

#[test]
fn intervals_are_anchored_and_do_not_pile_up() {
    let frequency = Frequency::parse("every 5m").unwrap();
    let anchor = at("2026-01-01T00:01:30Z");
    let next = |now: &str| show(frequency.next_after(anchor, at(now)).unwrap());
    assert_eq!(next("2026-01-01T00:01:30Z"), "2026-01-01T00:06:30Z");
    assert_eq!(next("2026-01-01T00:06:29Z"), "2026-01-01T00:06:30Z");
    assert_eq!(next("2026-01-01T00:06:30Z"), "2026-01-01T00:11:30Z");
    assert_eq!(next("2026-01-03T12:00:00Z"), "2026-01-03T12:01:30Z");
    assert_eq!(next("2025-12-31T00:00:00Z"), "2026-01-01T00:06:30Z");
}

#[test]
fn working_days_at_six_in_paris() {
    insta::assert_snapshot!(due("cron: 0 6 * * 1-5 Europe/Paris", "2026-03-26T12:00:00Z", 3), @r"
    2026-03-27T05:00:00Z
    2026-03-30T04:00:00Z
    2026-03-31T04:00:00Z
    ");
}

#[test]
fn a_time_that_clocks_skip_fires_later_that_day_and_one_that_comes_twice_fires_once() {
    insta::assert_snapshot!(due("cron: 30 2 * * * Europe/Paris", "2026-03-28T12:00:00Z", 2), @r"
    2026-03-29T01:30:00Z
    2026-03-30T00:30:00Z
    ");
    insta::assert_snapshot!(due("cron: 30 2 * * * Europe/Paris", "2026-10-24T12:00:00Z", 2), @r"
    2026-10-25T00:30:00Z
    2026-10-26T01:30:00Z
    ");
}

#[test]
fn every_hour_is_every_hour_while_clocks_change() {
    insta::assert_snapshot!(due("cron: 0 * * * * Europe/Paris", "2026-10-24T23:30:00Z", 4), @r"
    2026-10-25T00:00:00Z
    2026-10-25T01:00:00Z
    2026-10-25T02:00:00Z
    2026-10-25T03:00:00Z
    ");
    insta::assert_snapshot!(due("cron: 0 * * * * Europe/Paris", "2026-03-28T23:30:00Z", 4), @r"
    2026-03-29T00:00:00Z
    2026-03-29T01:00:00Z
    2026-03-29T02:00:00Z
    2026-03-29T03:00:00Z
    ");
}

#[test]
fn a_rule_without_a_zone_is_in_utc_and_one_that_never_comes_ends() {
    insta::assert_snapshot!(due("cron: */15 9 * * *", "2026-01-01T09:40:00Z", 2), @r"
    2026-01-01T09:45:00Z
    2026-01-02T09:00:00Z
    ");
    insta::assert_snapshot!(due("cron: 0 0 30 2 *", "2026-01-01T00:00:00Z", 1), @"never");
}

proptest! {
    #[test]
    fn the_next_time_is_always_later(
        now_s in 1_700_000_000_i64..2_000_000_000,
        anchor_s in 1_700_000_000_i64..2_000_000_000,
        text in proptest::sample::select(vec![
            "every 30s", "every 31 days", "cron: * * * * * America/New_York",
            "cron: 30 2 * * * Australia/Lord_Howe", "cron: 0 0 1 * * Asia/Kolkata", "cron: */7 */5 * * * Africa/Cairo",
        ]),
    ) {
        let (now, anchor) = (Timestamp::from_millis(now_s * 1_000), Timestamp::from_millis(anchor_s * 1_000));
        let next = Frequency::parse(text).unwrap().next_after(anchor, now).unwrap();
        prop_assert!(next > now);
        prop_assert!(next.since(now.max(anchor)) <= INTERVAL_MAX + Duration::from_secs(86_400));
    }
}

use bulkhead_types::{Cause, FunctionKind};
use proptest::prelude::*;
use serde_json::Value;

use super::*;

fn failed(fault: Fault, retry: Retry) -> Outcome {
    Outcome::Failed(Cause { error: ErrorInfo::new("boom", "It broke."), fault, retry })
}

fn limit(kind: LimitKind) -> Outcome {
    Outcome::Limit(kind, ErrorInfo::new(kind.as_str(), "Too much."))
}

fn crashed() -> Outcome {
    Outcome::Crashed(ErrorInfo::new("sandbox_crashed", "SIGSEGV."))
}

/// One line per attempt: what happened, and what follows. Retries wait 1 s, 2 s, … at 0 s.
fn story(retry_max: u32, cancel_asked: bool, attempts: &[(Outcome, Progress)]) -> String {
    story_of(FunctionKind::Action, retry_max, cancel_asked, attempts)
}

fn story_of(
    kind: FunctionKind,
    retry_max: u32,
    cancel_asked: bool,
    attempts: &[(Outcome, Progress)],
) -> String {
    let retry =
        RetryPolicy { max: retry_max, backoff_ms: 1_000, backoff_ms_max: 60_000, jitter: false };
    let mut counts = Counts::default();
    let mut lines = Vec::new();
    for (outcome, progress) in attempts {
        let past = Past { kind, cancel_asked, progress: *progress, counts, retry: &retry };
        let decision = settle(&past, outcome, Timestamp::from_millis(0), 0);
        counts = decision.counts;
        let next = match decision.next {
            Next::End(state) => state.as_str().to_owned(),
            Next::Again => "again".to_owned(),
            Next::At(at) => format!("again at {} ms", at.as_millis()),
        };
        let why = decision
            .error
            .map_or(String::new(), |(error, fault)| format!(" ({}, {fault:?})", error.code));
        lines.push(format!("{} -> {next}{why}", outcome.as_str()));
    }
    lines.join("\n")
}

use Progress::{Moved, NoCheckpoint, Stayed};

#[test]
fn what_completes_is_done_even_when_a_cancel_came_too_late() {
    let done = Outcome::Completed(Value::Null);
    insta::assert_snapshot!(story(0, true, &[(done, NoCheckpoint)]), @"completed -> succeeded");
}

#[test]
fn without_a_policy_a_failure_is_the_end() {
    let fails = (failed(Fault::Tenant, Retry::Policy), NoCheckpoint);
    insta::assert_snapshot!(story(0, false, &[fails]), @"failed -> failed (boom, Tenant)");
}

#[test]
fn a_policy_gives_that_many_more_attempts() {
    let fails = (failed(Fault::Tenant, Retry::Policy), NoCheckpoint);
    insta::assert_snapshot!(story(2, false, &[fails.clone(), fails.clone(), fails]), @r"
    failed -> again at 1000 ms (boom, Tenant)
    failed -> again at 2000 ms (boom, Tenant)
    failed -> failed (boom, Tenant)
    ");
}

#[test]
fn never_is_never_and_a_told_time_is_kept() {
    let never = (failed(Fault::Tenant, Retry::Never), NoCheckpoint);
    let told = (failed(Fault::Upstream, Retry::After(Duration::from_secs(90))), NoCheckpoint);
    insta::assert_snapshot!(story(5, false, &[told, never]), @r"
    failed -> again at 90000 ms (boom, Upstream)
    failed -> failed (boom, Tenant)
    ");
}

#[test]
fn a_sync_comes_back_when_it_was_told_to_and_an_action_asks_first() {
    let told = (failed(Fault::Upstream, Retry::After(Duration::from_secs(90))), NoCheckpoint);
    let attempts = vec![told; 4];
    insta::assert_snapshot!(story_of(FunctionKind::Sync, 0, false, &attempts), @r"
    failed -> again at 90000 ms (boom, Upstream)
    failed -> again at 90000 ms (boom, Upstream)
    failed -> again at 90000 ms (boom, Upstream)
    failed -> failed (boom, Upstream)
    ");
    insta::assert_snapshot!(story(0, false, &attempts[..1]), @"failed -> failed (boom, Upstream)");
    // One that gets on between two limits goes on for as long as it does.
    let told = failed(Fault::Upstream, Retry::After(Duration::from_secs(90)));
    let attempts = [vec![(told.clone(), Moved); 6], vec![(told, Stayed); 4]].concat();
    let story = story_of(FunctionKind::Sync, 0, false, &attempts);
    let ends: Vec<_> = story.lines().map(|line| line.contains("again")).collect();
    assert_eq!(ends, [[true; 6].as_slice(), &[true; 3], &[false]].concat(), "{story}");
}

#[test]
fn our_own_faults_are_tried_again_without_a_policy() {
    let ours = (failed(Fault::Platform, Retry::Policy), NoCheckpoint);
    insta::assert_snapshot!(story(0, false, &vec![ours; 4]), @r"
    failed -> again at 1000 ms (boom, Platform)
    failed -> again at 2000 ms (boom, Platform)
    failed -> again at 4000 ms (boom, Platform)
    failed -> failed (boom, Platform)
    ");
}

#[test]
fn the_cap_goes_on_from_the_checkpoint_as_long_as_it_moves() {
    let cut = |progress| (limit(LimitKind::TimeLimit), progress);
    let soft = (Outcome::Interrupted, Moved);
    let attempts =
        [cut(Moved), cut(Stayed), cut(Stayed), soft, cut(Stayed), cut(Stayed), cut(Stayed)];
    insta::assert_snapshot!(story(0, false, &attempts), @r"
    limit -> again (time_limit, Tenant)
    limit -> again (time_limit, Tenant)
    limit -> again (time_limit, Tenant)
    interrupted -> again
    limit -> again (time_limit, Tenant)
    limit -> again (time_limit, Tenant)
    limit -> failed (no_progress, Tenant)
    ");
}

#[test]
fn a_loop_without_a_checkpoint_ends_with_its_limit() {
    let story = story(0, false, &[(limit(LimitKind::TimeLimit), NoCheckpoint)]);
    insta::assert_snapshot!(story, @"limit -> failed (time_limit, Tenant)");
}

#[test]
fn other_limits_and_crashes_follow_the_policy() {
    let attempts =
        [(limit(LimitKind::OutOfMemory), Stayed), (crashed(), Moved), (crashed(), Stayed)];
    insta::assert_snapshot!(story(1, false, &attempts), @r"
    limit -> again at 1000 ms (out_of_memory, Tenant)
    crashed -> again at 1000 ms (sandbox_crashed, Tenant)
    crashed -> failed (sandbox_crashed, Tenant)
    ");
}

#[test]
fn who_loses_its_worker_runs_again_but_not_for_ever() {
    insta::assert_snapshot!(story(0, false, &vec![(Outcome::Lost, NoCheckpoint); 5]), @r"
    lost -> again (worker_lost, Platform)
    lost -> again (worker_lost, Platform)
    lost -> again (worker_lost, Platform)
    lost -> again (worker_lost, Platform)
    lost -> failed (worker_lost, Platform)
    ");
}

#[test]
fn once_cancelled_nothing_goes_on() {
    for outcome in [
        failed(Fault::Platform, Retry::Policy),
        Outcome::Interrupted,
        limit(LimitKind::TimeLimit),
        crashed(),
        Outcome::Lost,
        Outcome::Cancelled,
    ] {
        let story = story(9, true, &[(outcome, Moved)]);
        assert!(story.ends_with("-> cancelled (cancelled, Caller)"), "{story}");
    }
}

#[test]
fn a_worker_that_stops_an_attempt_by_itself_loses_it() {
    let story = story(0, false, &[(Outcome::Cancelled, NoCheckpoint)]);
    insta::assert_snapshot!(story, @"cancelled -> again (worker_lost, Platform)");
}

fn outcomes() -> impl Strategy<Value = (Outcome, Progress)> {
    let outcome = prop_oneof![
        Just(failed(Fault::Tenant, Retry::Policy)),
        Just(failed(Fault::Platform, Retry::After(Duration::from_secs(1)))),
        Just(Outcome::Interrupted),
        Just(limit(LimitKind::TimeLimit)),
        Just(limit(LimitKind::DiskLimit)),
        Just(crashed()),
        Just(Outcome::Lost),
        Just(Outcome::Cancelled),
    ];
    (outcome, prop_oneof![Just(NoCheckpoint), Just(Stayed)])
}

proptest! {
    /// Without progress every execution ends, whatever happens to its attempts.
    #[test]
    fn without_progress_everything_ends(
        max in 0_u32..6,
        attempts in proptest::collection::vec(outcomes(), 40..41),
        random: u64,
    ) {
        let retry = RetryPolicy { max, ..RetryPolicy::default() };
        let mut counts = Counts::default();
        let ended = attempts.iter().any(|(outcome, progress)| {
            let past = Past { kind: FunctionKind::Sync, cancel_asked: false, progress: *progress, counts, retry: &retry };
            let decision = settle(&past, outcome, Timestamp::from_millis(0), random);
            counts = decision.counts;
            matches!(decision.next, Next::End(_))
        });
        prop_assert!(ended);
    }
}

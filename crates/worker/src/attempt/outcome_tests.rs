//! Every way in which an attempt can end, as one table.

use std::fmt::Write as _;

use bulkhead_protocol::{GuestError, ResultError, SandboxGone, SandboxResult, SlotUsage};
use bulkhead_types::{Limits, Outcome};
use serde_json::json;

use super::outcome::{Answer, Ending, Why, outcome, take_failed};
use crate::mux::{Broken, Gone};
use crate::pool::TakeError;

fn nothing(gone: SandboxGone) -> Ending {
    Ending {
        answer: None,
        why: None,
        cancelled: false,
        gone: Some(Gone::Guest(gone)),
        usage: SlotUsage::default(),
        heap_exhausted: false,
    }
}

fn left() -> SandboxGone {
    SandboxGone::Exited { status: 0 }
}

fn error(code: &str) -> ResultError {
    ResultError { code: code.into(), message: "why".into(), ..ResultError::default() }
}

fn threw(code: &str) -> Ending {
    Ending {
        answer: Some(Answer::Said(SandboxResult::Failed { error: error(code) })),
        ..nothing(left())
    }
}

fn returned() -> Ending {
    let completed = SandboxResult::Completed { output: json!(1) };
    Ending { answer: Some(Answer::Said(completed)), ..nothing(left()) }
}

fn interrupted() -> Ending {
    Ending { answer: Some(Answer::Said(SandboxResult::Interrupted)), ..nothing(left()) }
}

fn stopped(why: Why) -> Ending {
    Ending { why: Some(why), ..nothing(SandboxGone::Killed) }
}

fn full(ending: Ending) -> Ending {
    Ending { usage: SlotUsage { scratch_full: true, ..ending.usage }, ..ending }
}

fn refused(ending: Ending) -> Ending {
    Ending { usage: SlotUsage { process_refused: true, ..ending.usage }, ..ending }
}

fn heap(ending: Ending) -> Ending {
    Ending { heap_exhausted: true, ..ending }
}

fn cancelled(ending: Ending) -> Ending {
    Ending { cancelled: true, ..ending }
}

fn by(gone: SandboxGone, ending: Ending) -> Ending {
    Ending { gone: Some(Gone::Guest(gone)), ..ending }
}

fn told(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Failed(cause) => {
            format!("failed {} {:?} {:?}", cause.error.code, cause.fault, cause.retry)
        }
        Outcome::Limit(kind, error) => {
            assert_eq!(kind.as_str(), error.code);
            format!("limit {}", error.code)
        }
        Outcome::Crashed(error) => format!("crashed {}", error.code),
        other => other.as_str().to_owned(),
    }
}

fn table(rows: Vec<(&str, Ending)>) -> String {
    let mut table = String::new();
    for (name, ending) in rows {
        let outcome = outcome(ending, &Limits::default());
        writeln!(table, "{name:32} {}", told(&outcome)).expect("a String takes all");
    }
    table
}

#[test]
fn what_the_handler_said() {
    let rows = vec![
        ("returned", returned()),
        ("returned, then killed", by(SandboxGone::Killed, returned())),
        ("returned, then out of memory", by(SandboxGone::OutOfMemory, returned())),
        ("returned, disk full", full(returned())),
        ("returned although cancelled", cancelled(returned())),
        ("interrupted", interrupted()),
        ("too large", Ending { answer: Some(Answer::TooLarge(9)), ..nothing(left()) }),
        ("output_too_large", threw("output_too_large")),
        ("action_error", threw("action_error")),
        ("action_error, disk full", full(threw("action_error"))),
        ("invalid_input", threw("invalid_input")),
        ("invalid_output", threw("invalid_output")),
        ("upstream_error", threw("upstream_error")),
        ("ECONNREFUSED", threw("ECONNREFUSED")),
        ("script_error", threw("script_error")),
        ("egress_denied", threw("egress_denied")),
        ("no code of ours", threw("Robert'); DROP TABLE")),
        ("script_error when cancelled", cancelled(threw("script_error"))),
        ("interrupted when cancelled", cancelled(interrupted())),
    ];
    insta::assert_snapshot!(table(rows), @r"
    returned                         completed
    returned, then killed            completed
    returned, then out of memory     completed
    returned, disk full              completed
    returned although cancelled      completed
    interrupted                      interrupted
    too large                        limit output_too_large
    output_too_large                 limit output_too_large
    action_error                     failed action_error Tenant Never
    action_error, disk full          failed action_error Tenant Never
    invalid_input                    failed invalid_input Caller Never
    invalid_output                   failed invalid_output Tenant Policy
    upstream_error                   failed upstream_error Upstream Policy
    ECONNREFUSED                     failed upstream_unreachable Upstream Policy
    script_error                     failed script_error Tenant Policy
    egress_denied                    failed egress_denied Tenant Policy
    no code of ours                  failed script_error Tenant Policy
    script_error when cancelled      cancelled
    interrupted when cancelled       cancelled
    ");
}

#[test]
fn limits_explain_failures() {
    let signal = |signal| SandboxGone::Signalled { signal };
    let exit = |status| SandboxGone::Exited { status };
    let rows = vec![
        ("ENOSPC", threw("ENOSPC")),
        ("script_error, disk full", full(threw("script_error"))),
        ("upstream_error, disk full", full(threw("upstream_error"))),
        ("script_error, fork refused", refused(threw("script_error"))),
        ("script_error, child killed", by(SandboxGone::OutOfMemory, threw("script_error"))),
        ("out of memory", nothing(SandboxGone::OutOfMemory)),
        ("CPU", nothing(SandboxGone::CpuLimit)),
        ("processes", nothing(SandboxGone::ProcessLimit)),
        ("crash, fork refused", refused(nothing(signal(6)))),
        ("crash, disk full", full(nothing(signal(7)))),
        ("heap, SIGABRT", heap(nothing(signal(6)))),
        ("heap, SIGTRAP", heap(nothing(signal(5)))),
        ("heap, status 134", heap(nothing(exit(134)))),
        ("heap words, other signal", heap(nothing(signal(11)))),
        ("time", stopped(Why::TimeLimit)),
        ("time, disk full", full(stopped(Why::TimeLimit))),
    ];
    insta::assert_snapshot!(table(rows), @r"
    ENOSPC                           limit disk_limit
    script_error, disk full          limit disk_limit
    upstream_error, disk full        failed upstream_error Upstream Policy
    script_error, fork refused       limit process_limit
    script_error, child killed       limit out_of_memory
    out of memory                    limit out_of_memory
    CPU                              limit cpu_limit
    processes                        limit process_limit
    crash, fork refused              limit process_limit
    crash, disk full                 limit disk_limit
    heap, SIGABRT                    limit out_of_memory
    heap, SIGTRAP                    limit out_of_memory
    heap, status 134                 limit out_of_memory
    heap words, other signal         crashed sandbox_crashed
    time                             limit time_limit
    time, disk full                  limit time_limit
    ");
}

#[test]
fn ends_without_a_result() {
    let guest = GuestError { stage: "landlock".into(), message: "no".into() };
    let rows = vec![
        ("SIGABRT", nothing(SandboxGone::Signalled { signal: 6 })),
        ("exit 0", nothing(left())),
        (
            "violation, seen by the guest",
            nothing(SandboxGone::ProtocolViolation { error: "x".into() }),
        ),
        ("violation, seen here", stopped(Why::Violation("x".into()))),
        (
            "compartment broken",
            Ending { gone: Some(Gone::Broken(Broken::HungUp)), ..nothing(left()) },
        ),
        ("not started", nothing(SandboxGone::NotStarted { error: guest })),
        ("cancelled", cancelled(stopped(Why::Cancelled))),
        ("lost", stopped(Why::Lost)),
        ("drained", stopped(Why::Drained)),
        ("killed by nobody", nothing(SandboxGone::Killed)),
    ];
    insta::assert_snapshot!(table(rows), @r"
    SIGABRT                          crashed sandbox_crashed
    exit 0                           crashed no_result
    violation, seen by the guest     crashed protocol_violation
    violation, seen here             crashed protocol_violation
    compartment broken               failed compartment_broken Platform After(1s)
    not started                      failed sandbox_unavailable Platform After(1s)
    cancelled                        cancelled
    lost                             failed lease_lost Platform After(1s)
    drained                          failed worker_stopped Platform After(1s)
    killed by nobody                 crashed sandbox_crashed
    ");
}

#[test]
fn ends_without_a_sandbox() {
    let bundle = TakeError::Bundle { message: "x is not defined".into() };
    let unavailable = TakeError::Unavailable { stage: "cgroup".into(), message: "no".into() };
    let table: Vec<_> =
        [bundle, unavailable, TakeError::NoRoom].map(|error| told(&take_failed(error))).into();
    insta::assert_snapshot!(table.join("\n"), @r"
    failed bundle_failed Tenant Never
    failed sandbox_unavailable Platform After(1s)
    failed sandbox_unavailable Platform After(1s)
    ");
}

#[test]
fn a_function_may_ask_to_be_tried_again_later_within_reason() {
    for (ms, expected) in [(1_500, "After(1.5s)"), (u64::MAX, "After(86400s)")] {
        let error = ResultError { retry_after_ms: Some(ms), ..error("upstream_error") };
        let answer = Some(Answer::Said(SandboxResult::Failed { error }));
        let outcome = outcome(Ending { answer, ..nothing(left()) }, &Limits::default());
        assert!(told(&outcome).ends_with(expected), "{outcome:?}");
    }
}

#[test]
fn what_a_function_says_is_cut() {
    let long = "x".repeat(1 << 20);
    let error = ResultError { message: long.clone(), stack: Some(long), ..error("script_error") };
    let answer = Some(Answer::Said(SandboxResult::Failed { error }));
    let Outcome::Failed(cause) = outcome(Ending { answer, ..nothing(left()) }, &Limits::default())
    else {
        panic!("it failed")
    };
    assert!(cause.error.message.len() < 20_000);
    assert!(cause.error.stack.is_some_and(|stack| stack.len() < 40_000));
}

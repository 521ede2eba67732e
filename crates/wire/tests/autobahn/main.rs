//! The cases of the Autobahn test suite, by their ids, against our decoder and encoder as an echo in memory.
//!
//! It stands in for the original (Python 2, real sockets), which runs where there is one; the ids are the same. Every core case
//! runs with its own way of cutting the bytes and also byte by byte, and in both roles: only who masks differs.

mod deflate;
mod echo;
mod large;
mod script;

use std::collections::BTreeMap;

use omnivox_wire::ws::{Role, Violation};

use echo::{Echo, Heard, Tester};
use script::{Case, Send};

/// Runs one case and compares what the tester heard.
fn check(case: &Case, role: Role, chop: usize) {
    let mut echo = Echo::new(role, MESSAGE_BYTES_MAX, None);
    let mut tester = Tester::new(role, None);
    let mut bytes = Vec::new();
    for send in &case.sends {
        match send {
            Send::Frame(frame) => tester.write(frame, &mut bytes),
            Send::Split(frame, at) => {
                let start = bytes.len();
                tester.write(frame, &mut bytes);
                let payload = bytes.len() - frame.payload.len();
                let mut from = start;
                for at in at {
                    tester.exchange(&mut echo, &mut bytes[from..payload + at], chop);
                    tester.wait(&echo);
                    from = payload + at;
                }
                bytes.drain(..from);
            }
            Send::Wait => {
                tester.exchange(&mut echo, &mut bytes, chop);
                bytes.clear();
                tester.wait(&echo);
            }
        }
    }
    tester.exchange(&mut echo, &mut bytes, chop);
    if !case.ends_closed() {
        tester.close(&mut echo);
        assert_eq!(tester.heard.pop(), Some(Heard::Close(Some((1000, String::new())))), "{}: clean close", case.id);
    }
    assert_eq!(tester.heard, case.expected, "case {} as {role:?}, {chop} bytes at a time", case.id);
}

#[test]
fn core_cases() {
    for case in script::parse(include_str!("core.txt")) {
        for role in [Role::Server, Role::Client] {
            for chop in [case.chop.unwrap_or(usize::MAX), 1, 7] {
                check(&case, role, chop);
            }
        }
    }
}

/// The table is whole: as many cases of each group as the suite has, none twice.
#[test]
fn every_core_case_is_named() {
    let mut groups = BTreeMap::<String, usize>::new();
    let mut ids: Vec<_> = script::parse(include_str!("core.txt")).into_iter().map(|case| case.id).collect();
    for id in &ids {
        *groups.entry(id.split('.').next().unwrap().to_owned()).or_default() += 1;
    }
    let counts = [("1", 16), ("10", 1), ("2", 11), ("3", 7), ("4", 10), ("5", 20), ("6", 145), ("7", 37)];
    assert_eq!(groups.into_iter().collect::<Vec<_>>(), counts.map(|(group, count)| (group.to_owned(), count)));
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 247);
}

/// The echo answers a breach with the code of the violation, and the texts differ.
#[test]
fn violations_have_codes_that_may_be_sent() {
    let all = [
        Violation::ReservedBit,
        Violation::ReservedOpcode,
        Violation::Unmasked,
        Violation::Masked,
        Violation::LengthOverflow,
        Violation::FragmentedControl,
        Violation::LongControl,
        Violation::UnexpectedContinuation,
        Violation::ExpectedContinuation,
        Violation::TruncatedCloseCode,
        Violation::InvalidCloseCode,
        Violation::CloseReasonNotUtf8,
        Violation::TextNotUtf8,
        Violation::InvalidDeflate,
        Violation::MessageTooBig,
    ];
    let mut reasons: Vec<_> = all.map(Violation::reason).into();
    reasons.sort_unstable();
    reasons.dedup();
    assert_eq!(reasons.len(), all.len());
    assert!(all.iter().all(|violation| omnivox_wire::ws::is_close_code(violation.code())));
    assert!(reasons.iter().all(|reason| reason.len() <= 123));
}

/// Group 9 sends messages of 16 MiB.
const MESSAGE_BYTES_MAX: usize = 16 << 20;

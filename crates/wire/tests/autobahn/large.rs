//! Group 9: large messages, many fragments, small pieces, many messages; in the suite's own sizes.

use omnivox_wire::ws::Role;

use crate::echo::{Echo, Frame, Heard, Tester};

struct Case {
    id: String,
    opcode: u8,
    message_bytes: usize,
    fragment_bytes: usize,
    chop: usize,
    messages: usize,
}

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    let mut add = |group: usize, case: usize, message_bytes, fragment_bytes, chop, messages| {
        let opcode = if group % 2 == 1 { 1 } else { 2 };
        cases.push(Case { id: format!("9.{group}.{case}"), opcode, message_bytes, fragment_bytes, chop, messages });
    };
    const WHOLE: usize = usize::MAX;
    for kind in 0..2 {
        for (index, kib) in [64, 256, 1024, 4096, 8192, 16384].into_iter().enumerate() {
            add(1 + kind, index + 1, kib << 10, WHOLE, WHOLE, 1);
        }
        for index in 0..9 {
            add(3 + kind, index + 1, 4 << 20, 64 << (2 * index), WHOLE, 1);
        }
        for index in 0..6 {
            add(5 + kind, index + 1, 1 << 20, WHOLE, 64 << index, 1);
        }
        for (index, message_bytes) in [0, 16, 64, 256, 1024, 4096].into_iter().enumerate() {
            add(7 + kind, index + 1, message_bytes, WHOLE, WHOLE, 1000);
        }
    }
    cases
}

fn payload(case: &Case) -> Vec<u8> {
    let pattern: &[u8] = if case.opcode == 1 { b"BAsd7&jh23" } else { b"\x00\xfe\x23\xfa\xf0" };
    pattern.iter().copied().cycle().take(case.message_bytes).collect()
}

fn check(case: &Case) {
    let mut echo = Echo::new(Role::Server, crate::MESSAGE_BYTES_MAX, None);
    let mut tester = Tester::new(Role::Server, None);
    let payload = payload(case);
    let mut bytes = Vec::new();
    let fragments = payload.len().div_ceil(case.fragment_bytes).max(1);
    for index in 0..fragments {
        let start = index * case.fragment_bytes.min(payload.len());
        let end = payload.len().min(start.saturating_add(case.fragment_bytes));
        let opcode = if index == 0 { case.opcode } else { 0 };
        let frame = Frame { opcode, fin: index + 1 == fragments, rsv: 0, payload: payload[start..end].to_vec() };
        tester.write(&frame, &mut bytes);
    }
    for _ in 0..case.messages {
        tester.exchange(&mut echo, &mut bytes.clone(), case.chop);
        match tester.heard.pop() {
            Some(Heard::Text(text)) => assert!(case.opcode == 1 && text.as_bytes() == payload, "{}", case.id),
            Some(Heard::Binary(bytes)) => assert!(case.opcode == 2 && bytes == payload, "{}", case.id),
            other => panic!("case {}: heard {other:?}", case.id),
        }
        assert_eq!(echo.buffered(), 0, "case {}: nothing is kept between messages", case.id);
    }
    assert!(tester.heard.is_empty());
}

#[test]
fn large_cases() {
    let cases = cases();
    assert_eq!(cases.len(), 54);
    cases.iter().for_each(check);
}

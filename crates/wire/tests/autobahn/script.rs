//! Reads the case table: one line is one case, `core.txt` explains the words at its top.

use omnivox_wire::ws::is_close_code;

use crate::echo::{Frame, Heard};

/// One case of the suite.
pub(crate) struct Case {
    pub(crate) id: String,
    pub(crate) chop: Option<usize>,
    pub(crate) sends: Vec<Send>,
    pub(crate) expected: Vec<Heard>,
}

/// What the tester does.
pub(crate) enum Send {
    Frame(Frame),
    /// One frame, in pieces that end at these places of its payload.
    Split(Frame, Vec<usize>),
    Wait,
}

impl Case {
    /// Whether the case itself ends the conversation.
    pub(crate) fn ends_closed(&self) -> bool {
        matches!(self.expected.last(), Some(Heard::Close(_) | Heard::Fail(_)))
    }
}

pub(crate) fn parse(table: &str) -> Vec<Case> {
    let lines = table.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(|line| parse_case(&words(line))).collect()
}

#[derive(Debug, PartialEq)]
enum Word {
    Plain(String),
    Quoted(Vec<u8>),
}

impl Word {
    fn plain(&self) -> &str {
        match self {
            Self::Plain(text) => text,
            Self::Quoted(_) => "",
        }
    }
}

/// Splits at white space and `;`, which is a word of its own; decodes quoted bytes and their repetition.
fn words(line: &str) -> Vec<Word> {
    let mut words = Vec::new();
    let mut rest = line.trim_start();
    while let Some(first) = rest.chars().next() {
        if first == '"' {
            let end = rest[1..].find('"').expect("a closing quote") + 1;
            let mut bytes = unescape(&rest[1..end]);
            rest = &rest[end + 1..];
            if let Some(after) = rest.strip_prefix('*') {
                let digits = after.find(|character: char| !character.is_ascii_digit()).unwrap_or(after.len());
                bytes = bytes.repeat(after[..digits].parse().expect("a repetition"));
                rest = &after[digits..];
            }
            words.push(Word::Quoted(bytes));
        } else if first == ';' {
            words.push(Word::Plain(";".into()));
            rest = &rest[1..];
        } else {
            let end = rest.find([' ', ';']).unwrap_or(rest.len());
            words.push(Word::Plain(rest[..end].into()));
            rest = &rest[end..];
        }
        rest = rest.trim_start();
    }
    words
}

fn unescape(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut parts = text.split("\\x");
    bytes.extend_from_slice(parts.next().unwrap_or_default().as_bytes());
    for part in parts {
        bytes.push(u8::from_str_radix(&part[..2], 16).expect("two hexadecimal digits"));
        bytes.extend_from_slice(&part.as_bytes()[2..]);
    }
    bytes
}

fn parse_case(words: &[Word]) -> Case {
    let find = |sign: &str| words.iter().position(|word| word.plain() == sign).expect(sign);
    let (sends, expected) = (find(">"), find("<"));
    let clauses = |words: &[Word]| -> Vec<Vec<usize>> {
        let mut clauses = vec![Vec::new()];
        for (index, word) in words.iter().enumerate() {
            match word.plain() {
                ";" => clauses.push(Vec::new()),
                _ => clauses.last_mut().expect("one clause").push(index),
            }
        }
        clauses.retain(|clause| !clause.is_empty());
        clauses
    };
    let send_words = &words[sends + 1..expected];
    let expected_words = &words[expected + 1..];
    Case {
        id: words[0].plain().to_owned(),
        chop: words[1].plain().strip_prefix("chop=").map(|size| size.parse().expect("a size")),
        sends: clauses(send_words).iter().map(|clause| parse_send(&pick(send_words, clause))).collect(),
        expected: clauses(expected_words).iter().map(|clause| parse_heard(&pick(expected_words, clause))).collect(),
    }
}

fn pick<'a>(words: &'a [Word], clause: &[usize]) -> Vec<&'a Word> {
    clause.iter().map(|index| &words[*index]).collect()
}

fn parse_send(words: &[&Word]) -> Send {
    let name = words[0].plain();
    if name == "wait" {
        return Send::Wait;
    }
    let (name, rsv) = name.split_once('/').map_or((name, 0), |(name, bits)| (name, bits.parse().expect("bits")));
    let (name, fin) = name.strip_suffix('-').map_or((name, true), |name| (name, false));
    let opcode = match name {
        "cont" => 0,
        "text" => 1,
        "binary" => 2,
        "close" => 8,
        "ping" => 9,
        "pong" => 10,
        other => other.strip_prefix("op").and_then(|number| number.parse().ok()).expect("a frame type"),
    };
    let pause = words.iter().position(|word| word.plain() == "pause").unwrap_or(words.len());
    let frame = Frame { opcode, fin, rsv, payload: payload(&words[1..pause]) };
    match words.get(pause + 1..) {
        Some(places) => Send::Split(frame, places.iter().map(|place| place.plain().parse().expect("a place")).collect()),
        None => Send::Frame(frame),
    }
}

/// Numbers are close codes, the rest is as it stands.
fn payload(words: &[&Word]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for word in words {
        match word {
            Word::Plain(code) => bytes.extend(code.parse::<u16>().expect("a close code").to_be_bytes()),
            Word::Quoted(quoted) => bytes.extend_from_slice(quoted),
        }
    }
    bytes
}

fn parse_heard(words: &[&Word]) -> Heard {
    let bytes = || payload(&words[1..]);
    match words[0].plain() {
        "text" => Heard::Text(String::from_utf8(bytes()).expect("expected text is UTF-8")),
        "binary" => Heard::Binary(bytes()),
        "pong" => Heard::Pong(bytes()),
        "wait" => Heard::Wait,
        "fail" => Heard::Fail(words[1].plain().parse().expect("a close code")),
        "close" => Heard::Close(words.get(1).map(|code| {
            let code = code.plain().parse().expect("a close code");
            assert!(is_close_code(code));
            (code, String::from_utf8(payload(&words[2..])).expect("a close reason"))
        })),
        other => panic!("unknown word {other}"),
    }
}

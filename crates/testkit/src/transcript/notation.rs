//! The lines of a transcript, parsed into steps.

use std::time::Duration;

/// One step, with the number of its line.
#[derive(Debug)]
pub(super) struct Step {
    pub(super) line: usize,
    pub(super) label: String,
    pub(super) kind: Kind,
}

/// What a step is.
#[derive(Debug)]
pub(super) enum Kind {
    /// A request, or a WebSocket handshake.
    Request(Written),
    /// A text message.
    Text(String),
    /// A binary message.
    Binary(Vec<u8>),
    /// The client goes away.
    Gone,
    /// What must have come back, with the headers that it must have and those that it must not have.
    Expect { pattern: String, headers: Vec<(String, String)>, without: Vec<String> },
    /// Time passes.
    Wait(Duration),
    /// The hub does something.
    Hub(String),
    /// A command must have been run.
    Ran(String),
}

/// A request as it was written.
#[derive(Debug)]
pub(super) struct Written {
    pub(super) method: String,
    pub(super) target: String,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
}

/// Parses a transcript; panics with the line that it does not understand.
pub(super) fn parse(text: &str) -> Vec<Step> {
    let lines: Vec<(usize, &str)> = text.lines().enumerate().map(|(index, line)| (index + 1, line)).collect();
    let indent = lines.iter().filter(|(_, line)| !line.trim().is_empty()).map(|(_, line)| depth(line)).min().unwrap_or(0);
    let mut steps: Vec<Step> = Vec::new();
    for (number, line) in lines {
        let line = line.get(indent..).unwrap_or_default().trim_end();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if line.starts_with(' ') {
            let step = steps.last_mut().unwrap_or_else(|| panic!("line {number}: nothing to belong to: {line}"));
            continue_step(step, number, line.trim_start());
        } else {
            steps.push(parse_step(number, line));
        }
    }
    steps
}

fn depth(line: &str) -> usize {
    line.len() - line.trim_start_matches(' ').len()
}

fn parse_step(number: usize, line: &str) -> Step {
    let mark = line.find(['>', '<', '@', '!', '?']).unwrap_or_else(|| panic!("line {number}: no `>`, `<`, `@`, `!` or `?`: {line}"));
    let label = &line[..mark];
    assert!(label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_'), "line {number}: strange label {label:?}");
    let behind = &line[mark + 1..];
    let rest = behind.strip_prefix(' ').unwrap_or(behind);
    let kind = match line.as_bytes()[mark] {
        b'>' => parse_sent(rest),
        b'<' => Kind::Expect { pattern: rest.to_owned(), headers: Vec::new(), without: Vec::new() },
        b'@' => Kind::Wait(parse_time(rest).unwrap_or_else(|| panic!("line {number}: no time like `+25s`: {rest}"))),
        b'!' => Kind::Hub(rest.to_owned()),
        _ => Kind::Ran(rest.to_owned()),
    };
    Step { line: number, label: label.to_owned(), kind }
}

fn parse_sent(rest: &str) -> Kind {
    if rest == "[gone]" {
        return Kind::Gone;
    }
    if let Some(hex) = rest.strip_prefix("[binary]") {
        return Kind::Binary(super::unhex(hex));
    }
    match rest.split_once(' ') {
        Some((method, target)) if target.starts_with('/') && !method.is_empty() && method.bytes().all(|b| b.is_ascii_uppercase()) => {
            Kind::Request(Written { method: method.to_owned(), target: target.to_owned(), headers: Vec::new(), body: Vec::new() })
        }
        _ => Kind::Text(super::meant(rest)),
    }
}

fn continue_step(step: &mut Step, number: usize, line: &str) {
    match &mut step.kind {
        Kind::Request(request) => {
            if let Some(body) = line.strip_prefix('|') {
                if !request.body.is_empty() {
                    request.body.push(b'\n');
                }
                let body = body.strip_prefix(' ').unwrap_or(body);
                match body.strip_prefix("[binary]") {
                    Some(hex) => request.body.extend(super::unhex(hex)),
                    None => request.body.extend(super::meant(body).into_bytes()),
                }
            } else {
                request.headers.push(parse_header(number, line));
            }
        }
        Kind::Expect { headers, without, .. } => match line.strip_prefix('!') {
            Some(name) => without.push(name.trim().to_owned()),
            None => headers.push(parse_header(number, line)),
        },
        _ => panic!("line {number}: only requests and answers have indented lines: {line}"),
    }
}

fn parse_header(number: usize, line: &str) -> (String, String) {
    let (name, value) = line.split_once(':').unwrap_or_else(|| panic!("line {number}: no header: {line}"));
    (name.trim().to_ascii_lowercase(), value.trim().to_owned())
}

fn parse_time(text: &str) -> Option<Duration> {
    let text = text.trim().strip_prefix('+')?;
    let split = text.find(|c: char| !c.is_ascii_digit())?;
    let count: u64 = text[..split].parse().ok()?;
    match &text[split..] {
        "ms" => Some(Duration::from_millis(count)),
        "s" => Some(Duration::from_secs(count)),
        "m" => Some(Duration::from_secs(count * 60)),
        _ => None,
    }
}

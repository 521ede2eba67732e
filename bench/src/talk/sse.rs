//! A subscriber on server-sent events.
//!
//! Events are cut at their blank line; each goes on as the text of its data line, its id before it as the mark. An `error` event with the code
//! `gap` says that something is missing; any other one ends the run.

use anyhow::{Result, bail, ensure};

use super::http::{Chunks, Head};
use super::{Carry, Hear, Heard};
use crate::payload::{excerpt, string_member};

/// One event stream.
#[derive(Debug)]
pub(crate) struct SseTalk {
    body: Option<Body>,
    carry: Carry,
    events: Carry,
}

#[derive(Debug)]
enum Body {
    Plain,
    Chunked(Chunks),
}

impl SseTalk {
    /// Asks for the events of a channel, whose name comes behind `target`.
    pub(crate) fn open(host: &str, target: &str, channel: &str, since: Option<&[u8]>, send: &mut Vec<u8>) -> Self {
        let head = format!("GET {target}{channel} HTTP/1.1\r\nHost: {host}\r\nAccept: text/event-stream\r\n");
        send.extend_from_slice(head.as_bytes());
        if let Some(mark) = since {
            send.extend_from_slice(b"Last-Event-ID: ");
            send.extend_from_slice(mark);
            send.extend_from_slice(b"\r\n");
        }
        send.extend_from_slice(b"\r\n");
        Self { body: None, carry: Carry::default(), events: Carry::default() }
    }

    pub(crate) fn feed(&mut self, bytes: &[u8], hear: Hear<'_>) -> Result<()> {
        let Self { body, carry, events } = self;
        carry.feed(bytes, |bytes| {
            let mut used = 0;
            let body = match body {
                Some(body) => body,
                None => {
                    let Some(head) = Head::parse(bytes)? else {
                        return Ok(0);
                    };
                    head.expect(200, "the event stream", bytes)?;
                    used = head.bytes;
                    hear(Heard::Subscribed)?;
                    body.insert(if head.chunked { Body::Chunked(Chunks::new()) } else { Body::Plain })
                }
            };
            let rest = &bytes[used..];
            let mut take = |piece: &[u8]| events.feed(piece, |text| take_events(text, hear));
            match body {
                Body::Plain => {
                    take(rest)?;
                    Ok(bytes.len())
                }
                Body::Chunked(chunks) => {
                    let taken = chunks.feed(rest, take)?;
                    ensure!(!chunks.ended(), "the server ended the stream");
                    Ok(used + taken)
                }
            }
        })
    }
}

/// Hands on every complete event in `text`; returns how much of it they are.
fn take_events(text: &[u8], hear: &mut dyn FnMut(Heard<'_>) -> Result<()>) -> Result<usize> {
    let mut at = 0;
    while let Some(end) = memchr::memmem::find(&text[at..], b"\n\n") {
        take_event(&text[at..at + end], hear)?;
        at += end + 2;
    }
    Ok(at)
}

fn take_event(event: &[u8], hear: &mut dyn FnMut(Heard<'_>) -> Result<()>) -> Result<()> {
    let mut data: &[u8] = b"";
    let mut is_error = false;
    for line in event.split(|&byte| byte == b'\n') {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if let Some(value) = line.strip_prefix(b"data:") {
            data = value.strip_prefix(b" ").unwrap_or(value);
        } else if let Some(value) = line.strip_prefix(b"id:") {
            hear(Heard::Mark(value.strip_prefix(b" ").unwrap_or(value)))?;
        } else if let Some(value) = line.strip_prefix(b"event:") {
            is_error = value.trim_ascii() == b"error";
        }
    }
    if is_error {
        return match string_member(data, br#""code":""#) {
            Some(b"gap") => hear(Heard::Gap),
            _ => bail!("the stream says: {}", excerpt(data)),
        };
    }
    if data.is_empty() {
        return Ok(());
    }
    hear(Heard::Text(data))
}

#[cfg(test)]
mod tests {
    use super::super::Transport::{Mercure, Sse};
    use super::super::transcript::{check, check_refused, heard, listen};

    #[test]
    fn events_in_plain_and_chunked_bodies() {
        let gap = "event: error\ndata: {\"code\":\"gap\",\"message\":\"events are missing\",\"channel\":\"c\"}";
        let events = format!(":ok\n\nid: e-1\ndata: {{\"seq\":1}}\n\n{gap}\n\nid: e-2\n\n");
        let expected = ["subscribed", "mark e-1", r#"text {"seq":1}"#, "gap", "mark e-2"];
        let plain = format!("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n{events}");
        check(Sse, &listen("c", None), plain.as_bytes(), &expected);
        for cut in [1, 4, 9, 40] {
            let (first, second) = events.split_at(cut);
            let chunked = format!(
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{first}\r\n{:x}\r\n{second}\r\n",
                first.len(),
                second.len()
            );
            check(Sse, &listen("c", None), chunked.as_bytes(), &expected);
        }
    }

    #[test]
    fn a_refusal_is_told_with_its_body() {
        let answer = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno";
        check_refused(Sse, &listen("c", None), answer, "answered 403 instead of 200");
        let ended = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
        check_refused(Sse, &listen("c", None), ended, "ended the stream");
        let away = b"HTTP/1.1 200 OK\r\n\r\nretry: 1000\nevent: error\ndata: {\"code\":\"drain\"}\n\n";
        check_refused(Sse, &listen("c", None), away, r#"the stream says: {"code":"drain"}"#);
    }

    #[test]
    fn a_mark_goes_into_the_request() {
        let (_, sent) = heard(Sse, &listen("c", Some("e-7")), b"HTTP", 4).unwrap();
        assert!(sent.starts_with("GET /sse?channel=c HTTP/1.1\r\n"), "{sent}");
        assert!(sent.contains("\r\nLast-Event-ID: e-7\r\n"), "{sent}");
        let (_, sent) = heard(Mercure, &listen("c", None), b"HTTP", 4).unwrap();
        assert!(sent.starts_with("GET /.well-known/mercure?topic=c HTTP/1.1\r\n"), "{sent}");
    }
}

//! A subscriber on held polls: each answer is followed by the next request on the same connection.
//!
//! A new subscriber asks with `timeout=0`, which the server answers at once with the mark of now; with that mark nothing that is published later can be
//! missed, so the subscription stands as soon as that answer is there.

use anyhow::{Context, Result};

use super::http::Head;
use super::{Carry, Hear, Heard};
use crate::payload::string_member;

/// One polling client.
#[derive(Debug)]
pub(crate) struct PollTalk {
    host: String,
    channel: String,
    mark: Option<Vec<u8>>,
    subscribed: bool,
    carry: Carry,
}

impl PollTalk {
    pub(crate) fn open(host: &str, channel: &str, since: Option<Vec<u8>>, send: &mut Vec<u8>) -> Self {
        let talk = Self { host: host.to_owned(), channel: channel.to_owned(), mark: since, subscribed: false, carry: Carry::default() };
        talk.ask(send);
        talk
    }

    pub(crate) fn feed(&mut self, bytes: &[u8], send: &mut Vec<u8>, hear: Hear<'_>) -> Result<()> {
        let mut carry = std::mem::take(&mut self.carry);
        let outcome = carry.feed(bytes, |bytes| {
            let mut used = 0;
            while let Some(length) = self.take_answer(&bytes[used..], hear)? {
                used += length;
                self.ask(send);
            }
            Ok(used)
        });
        self.carry = carry;
        outcome
    }

    /// Takes one whole answer from the start of `bytes`.
    fn take_answer(&mut self, bytes: &[u8], hear: Hear<'_>) -> Result<Option<usize>> {
        let Some(head) = Head::parse(bytes)? else {
            return Ok(None);
        };
        head.expect(200, PATH, bytes)?;
        let length = head.content_length.context("a poll's answer must have a content-length")?;
        let Some(body) = bytes.get(head.bytes..head.bytes + length) else {
            return Ok(None);
        };
        let mark = string_member(body, br#""last":""#).context("a poll's answer must say where to go on: \"last\":\"…\"")?;
        let previous = self.mark.replace(mark.to_vec());
        if !self.subscribed {
            self.subscribed = true;
            hear(Heard::Subscribed)?;
        }
        if memchr::memmem::find(body, br#""gap":true"#).is_some() {
            hear(Heard::Gap)?;
        }
        if previous.as_deref() != Some(mark) {
            hear(Heard::Mark(mark))?;
            hear(Heard::Text(body))?;
        }
        Ok(Some(head.bytes + length))
    }

    fn ask(&self, send: &mut Vec<u8>) {
        send.extend_from_slice(b"GET /poll?channel=");
        send.extend_from_slice(self.channel.as_bytes());
        match &self.mark {
            Some(mark) => {
                send.extend_from_slice(b"&last=");
                send.extend_from_slice(mark);
            }
            None => send.extend_from_slice(b"&timeout=0"),
        }
        send.extend_from_slice(b" HTTP/1.1\r\nHost: ");
        send.extend_from_slice(self.host.as_bytes());
        send.extend_from_slice(b"\r\n\r\n");
    }
}

const PATH: &str = "/poll";

#[cfg(test)]
mod tests {
    use super::super::Transport::Poll;
    use super::super::transcript::{check, check_refused, heard, listen};

    fn answer(body: &str) -> String {
        let length = body.len();
        format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{body}")
    }

    #[test]
    fn answers_become_texts_and_the_next_request_carries_the_mark() {
        let server = [
            answer(r#"{"events":[],"last":"e-0"}"#),
            answer(r#"{"events":[{"seq":1},{"seq":2}],"last":"e-2"}"#),
            answer(r#"{"events":[],"last":"e-2"}"#),
        ]
        .concat();
        let expected = [
            "subscribed",
            "mark e-0",
            r#"text {"events":[],"last":"e-0"}"#,
            "mark e-2",
            r#"text {"events":[{"seq":1},{"seq":2}],"last":"e-2"}"#,
        ];
        check(Poll, &listen("c", None), server.as_bytes(), &expected);

        let (_, sent) = heard(Poll, &listen("c", None), server.as_bytes(), 5).unwrap();
        let asked: Vec<&str> = sent.lines().filter_map(|line| line.strip_prefix("GET /poll?channel=c&")).collect();
        let expected = ["timeout=0", "last=e-0", "last=e-2", "last=e-2"];
        assert_eq!(asked, expected.map(|query| format!("{query} HTTP/1.1")));
    }

    #[test]
    fn a_resume_may_hear_of_a_gap() {
        let server = answer(r#"{"events":[],"last":"f-9","gap":true}"#);
        let expected = ["subscribed", "gap", "mark f-9", r#"text {"events":[],"last":"f-9","gap":true}"#];
        check(Poll, &listen("c", Some("e-1")), server.as_bytes(), &expected);
    }

    #[test]
    fn refusals() {
        let empty = answer("{}");
        check_refused(Poll, &listen("c", None), empty.as_bytes(), "where to go on");
        let busy = b"HTTP/1.1 429 Too Many\r\nContent-Length: 0\r\n\r\n";
        check_refused(Poll, &listen("c", None), busy, "answered 429");
        let endless = b"HTTP/1.1 200 OK\r\n\r\n{}";
        check_refused(Poll, &listen("c", None), endless, "content-length");
    }
}

//! A channel of a floor server: its subscribers, and each message made once per transport.

use std::collections::VecDeque;
use std::ops::Range;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::talk::{Opcode, write_frame};

/// A publish message of the native protocol.
#[derive(Debug, Clone)]
pub(super) struct Draft {
    pub(super) channel: String,
    event: String,
    data: Box<RawValue>,
}

#[derive(Deserialize)]
struct Incoming<'a> {
    channel: String,
    event: String,
    #[serde(borrow)]
    data: &'a RawValue,
}

impl Draft {
    pub(super) fn parse(text: &[u8]) -> serde_json::Result<Self> {
        let incoming: Incoming<'_> = serde_json::from_slice(text)?;
        Ok(Self { channel: incoming.channel, event: incoming.event, data: incoming.data.to_owned() })
    }
}

/// Subscribers, and what is due to all of them.
#[derive(Debug)]
pub(super) struct Channel {
    name: String,
    pub(super) subscribers: Vec<usize>,
    /// What is due, framed; every subscriber gets the same bytes.
    pub(super) websocket_due: Vec<u8>,
    pub(super) sse_due: Vec<u8>,
    last: u64,
    /// The texts of the newest messages, for polls.
    log: VecDeque<String>,
    /// Which of the three forms anyone has asked for; a floor makes no others.
    pub(super) forms: Forms,
    dirty: bool,
}

/// The forms of a message that a channel's subscribers need.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Forms {
    pub(super) websocket: bool,
    pub(super) sse: bool,
    pub(super) poll: bool,
}

impl Channel {
    pub(super) fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            subscribers: Vec::new(),
            websocket_due: Vec::new(),
            sse_due: Vec::new(),
            last: 0,
            log: VecDeque::new(),
            forms: Forms::default(),
            dirty: false,
        }
    }

    /// The number of the newest message.
    pub(super) fn last(&self) -> u64 {
        self.last
    }

    pub(super) fn is_dirty(&self) -> bool {
        self.dirty
    }

    pub(super) fn append(&mut self, draft: &Draft) {
        self.last += 1;
        self.dirty = true;
        let id = id(self.last);
        let data = draft.data.get();
        let text = format!(r#"{{"type":"message","channel":"{}","id":"{id}","event":"{}","data":{data}}}"#, self.name, draft.event);
        if self.forms.sse {
            let event = format!("id: {id}\ndata: {text}\n\n");
            let chunk = format!("{:x}\r\n{event}\r\n", event.len());
            self.sse_due.extend_from_slice(chunk.as_bytes());
        }
        if self.forms.websocket {
            write_frame(&mut self.websocket_due, Opcode::Text, text.as_bytes());
        }
        if self.forms.poll {
            if self.log.len() == LOG_MAX {
                self.log.pop_front();
            }
            self.log.push_back(text);
        }
    }

    /// Nothing is due any more.
    pub(super) fn settle(&mut self) {
        self.dirty = false;
        self.websocket_due.clear();
        self.sse_due.clear();
    }

    /// The answer to a poll: all messages after `after`.
    pub(super) fn poll_answer(&self, after: u64) -> Vec<u8> {
        let range = self.log_range(after);
        let mut body = String::from(r#"{"events":["#);
        for (at, text) in self.log.range(range).enumerate() {
            if at > 0 {
                body.push(',');
            }
            body.push_str(text);
        }
        body.push_str(&format!(r#"],"last":"{}","gap":false,"more":false}}"#, id(self.last)));
        let length = body.len();
        format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncache-control: no-store\r\nvary: Origin, Authorization\r\nContent-Length: {length}\r\n\r\n{body}").into_bytes()
    }

    fn log_range(&self, after: u64) -> Range<usize> {
        let missed = usize::try_from(self.last.saturating_sub(after)).unwrap_or(usize::MAX);
        self.log.len().saturating_sub(missed)..self.log.len()
    }
}

/// A message's id, as long as a real one's.
fn id(number: u64) -> String {
    format!("f1l2o3o4r5f6l-{number}")
}

/// The number in an id.
pub(super) fn number(id: &str) -> u64 {
    let digits = id.rsplit_once('-').map_or(id, |(_, digits)| digits);
    digits.parse().unwrap_or(0)
}

const LOG_MAX: usize = 16_384;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_poll_gets_what_it_missed() {
        let mut channel = Channel::new("c");
        channel.forms.poll = true;
        let text = br#"{"type":"publish","channel":"c","event":"e","data":{"seq":1,"sent_ns":2}}"#;
        let draft = Draft::parse(text).unwrap();
        channel.append(&draft);
        channel.append(&draft);
        for (after, events, last) in [(0, 2, 2), (1, 1, 2), (2, 0, 2), (9, 0, 2)] {
            let answer = String::from_utf8(channel.poll_answer(after)).unwrap();
            let body = answer.split_once("\r\n\r\n").unwrap().1;
            let json: serde_json::Value = serde_json::from_str(body).unwrap();
            assert_eq!(json["events"].as_array().unwrap().len(), events, "{after}");
            assert_eq!(number(json["last"].as_str().unwrap()), last);
        }
        assert!(channel.is_dirty());
        channel.settle();
        assert!(!channel.is_dirty());
    }

    #[test]
    fn numbers_of_ids() {
        for (id, expected) in [("f1l2o3o4r5f6l-7", 7), ("42", 42), ("", 0), ("a-b", 0)] {
            assert_eq!(number(id), expected, "{id}");
        }
    }
}

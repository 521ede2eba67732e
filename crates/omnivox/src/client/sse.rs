//! A subscription over server-sent events: one stream for all channels, whose ids are marks of the stream.

use std::collections::VecDeque;

use omnivox_wire::sse::{Parser, Received};

use super::connection::{ANSWER_TIME_MAX, Access, Body, Connection, Request};
use super::message::{Members, Message};
use super::subscription::{Heard, Marks, SILENCE_MAX, Wanted, query};
use super::trouble::Trouble;

/// An open stream.
pub(crate) struct Feed {
    connection: Connection,
    body: Body,
    parser: Parser,
    heard: VecDeque<Heard>,
    mark: String,
}

impl Feed {
    /// Asks for the stream, from its mark if there is one.
    pub(crate) async fn open(access: &Access, wanted: &Wanted, marks: &Marks) -> Result<Self, Trouble> {
        let mut connection = Connection::open(access).await?;
        let mut parameters = query(wanted);
        // Only what the server gave is shown as the last id, where it takes what it can't read for a gap: a person's mistake is an error.
        parameters.extend(marks.asked().map(|mark| ("since", mark)));
        let path = access.target.path(PATH, &parameters);
        let mut headers = access.headers();
        headers.push(("Accept", "text/event-stream".to_owned()));
        if let Some(mark) = marks.given() {
            headers.push(("Last-Event-ID", mark.to_owned()));
        }
        let request = Request { method: "GET", path: &path, headers, body: None };
        let head = connection.request(&request, ANSWER_TIME_MAX).await?;
        if head.status() != 200 {
            let body = connection.whole(&head).await?;
            return Err(Trouble::from_status(head.status(), PATH, &body));
        }
        if !head.header("content-type").is_some_and(|kind| kind.starts_with(b"text/event-stream")) {
            return Err(Trouble::Protocol(format!("{PATH} answered something else than an event stream")));
        }
        let ready = Heard::Subscribed { channel: String::new(), mark: None, gap: false, last: true };
        let parser = Parser::new(EVENT_BYTES_MAX);
        Ok(Self { connection, body: Body::of(&head), parser, heard: VecDeque::from([ready]), mark: String::new() })
    }

    /// Waits for what comes next.
    pub(crate) async fn next(&mut self) -> Result<Heard, Trouble> {
        loop {
            if let Some(heard) = self.heard.pop_front() {
                return Ok(heard);
            }
            let Some(piece) = self.connection.piece(&mut self.body, SILENCE_MAX).await? else {
                return Err(Trouble::Unreachable("the server ended the stream".to_owned()));
            };
            let heard = &mut self.heard;
            let fed = self.parser.feed(&piece, |event| heard.push_back(hear(&event)));
            fed.map_err(|error| Trouble::Protocol(error.to_string()))?;
            // An id without data moves the mark and dispatches nothing.
            if self.parser.last_id() != self.mark {
                self.mark = self.parser.last_id().to_owned();
                self.heard.push_back(Heard::Mark(self.mark.clone()));
            }
        }
    }

    /// How long the server asked us to wait before coming back.
    pub(crate) fn retry_ms(&self) -> Option<u64> {
        self.parser.retry_ms()
    }
}

fn hear(event: &Received) -> Heard {
    let notice = || Members::of(&event.data).unwrap_or_default();
    match event.event.as_str() {
        "error" => match notice() {
            lost if lost.code() == "gap" => Heard::Gap(lost.channel().unwrap_or_default()),
            notice => Heard::Note(format!("the server says: {} ({})", notice.message(), notice.code())),
        },
        "unsubscribed" => Heard::Note(format!("the server ended the subscription to {}", notice().channel().unwrap_or_default())),
        _ => Heard::Message(Message::of_stream(&event.event, &event.id, &event.data)),
    }
}

const PATH: &str = "/v1/sse";
/// The largest event that is read.
const EVENT_BYTES_MAX: usize = 64 << 20;

//! A subscription over held polls: each answer says where the next request goes on.

use std::collections::VecDeque;
use std::time::Duration;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::connection::{Access, Connection, Request};
use super::message::Message;
use super::subscription::{Heard, Marks, Wanted, query};
use super::trouble::Trouble;

/// A poller between two answers.
pub(crate) struct Feed {
    access: Access,
    wanted: Wanted,
    connection: Connection,
    reusable: bool,
    heard: VecDeque<Heard>,
    mark: Option<String>,
    first: bool,
}

#[derive(Deserialize)]
struct Answer<'a> {
    #[serde(borrow)]
    events: Vec<&'a RawValue>,
    last: Option<String>,
    #[serde(default)]
    gap: bool,
}

impl Feed {
    /// Connects; the first request is made by [`Feed::next`].
    pub(crate) async fn open(access: &Access, wanted: &Wanted, marks: &Marks) -> Result<Self, Trouble> {
        Ok(Self {
            connection: Connection::open(access).await?,
            access: access.clone(),
            wanted: wanted.clone(),
            reusable: true,
            heard: VecDeque::new(),
            mark: marks.stream().map(str::to_owned),
            first: true,
        })
    }

    /// Waits for what comes next.
    pub(crate) async fn next(&mut self) -> Result<Heard, Trouble> {
        loop {
            if let Some(heard) = self.heard.pop_front() {
                return Ok(heard);
            }
            self.ask().await?;
        }
    }

    /// One request. The first one is not held, so that a subscription stands as soon as it can.
    async fn ask(&mut self) -> Result<(), Trouble> {
        let mut parameters = query(&self.wanted);
        if let Some(mark) = &self.mark {
            parameters.push(("last", mark));
        }
        if self.first {
            parameters.push(("timeout", "0"));
        }
        let path = self.access.target.path(PATH, &parameters);
        if !self.reusable {
            self.connection = Connection::open(&self.access).await?;
        }
        let request = Request { method: "GET", path: &path, headers: self.access.headers(), body: None };
        let head = self.connection.request(&request, HELD_TIME_MAX).await?;
        let body = self.connection.whole(&head).await?;
        if head.status() != 200 {
            return Err(Trouble::from_status(head.status(), PATH, &body));
        }
        self.reusable = head.keep_alive();
        self.take(&body)
    }

    fn take(&mut self, body: &[u8]) -> Result<(), Trouble> {
        let foreign = |error: &dyn std::fmt::Display| Trouble::Protocol(format!("{PATH} answered no poll: {error}"));
        let answer: Answer<'_> = serde_json::from_slice(body).map_err(|error| foreign(&error))?;
        if std::mem::take(&mut self.first) {
            self.heard.push_back(Heard::Subscribed { channel: String::new(), mark: None, gap: answer.gap, last: true });
        } else if answer.gap {
            self.heard.push_back(Heard::Gap(String::new()));
        }
        for event in answer.events {
            // Only the answer as a whole moves the mark of several channels.
            self.heard.push_back(match Message::parse(event.get()) {
                Some(message) => Heard::Message(message),
                None => Heard::Note("an event that is no JSON object is not shown".to_owned()),
            });
        }
        if let Some(last) = answer.last {
            self.heard.push_back(Heard::Mark(last.clone()));
            self.mark = Some(last);
        }
        Ok(())
    }
}

const PATH: &str = "/v1/poll";
/// The server holds a poll for at most 55 seconds.
const HELD_TIME_MAX: Duration = Duration::from_secs(90);

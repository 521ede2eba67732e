//! A stream of messages that survives the loss of its connection: it comes back, and goes on where it was.
//!
//! After a loss it waits a random part of a growing time, then resumes from the marks that it holds. What the server can't replay is
//! said as a gap, never passed over. Invariant: a mark moves only when the message before it was handed on.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::time::Duration;

use super::connection::Access;
use super::message::Message;
use super::trouble::Trouble;
use super::{poll, sse, ws};

/// How messages travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Transport {
    /// A WebSocket.
    Ws,
    /// Server-sent events.
    Sse,
    /// Held polls.
    Poll,
}

/// What a subscriber hears.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Heard {
    /// A subscription stands; `last` when all of them do.
    Subscribed {
        /// The channel, empty where all channels are one stream.
        channel: String,
        /// Where it stands.
        mark: Option<String>,
        /// Whether something may be missing before it.
        gap: bool,
        /// Whether no other channel is awaited.
        last: bool,
    },
    /// A message.
    Message(Message),
    /// The mark of the stream moved.
    Mark(String),
    /// Something may be missing; the channel is empty where all channels are one stream.
    Gap(String),
    /// Something for people.
    Note(String),
}

/// Where to go on after a loss.
#[derive(Debug, Default)]
pub(crate) struct Marks {
    stream: Option<String>,
    /// Whether the mark of the stream is still the one that a person gave, and not one that the server gave.
    asked: bool,
    channels: HashMap<String, String>,
    /// Whether a pattern is followed over a WebSocket, whose messages have the mark of all channels.
    by_pattern: bool,
}

impl Marks {
    /// Marks that all begin at the same place.
    pub(crate) fn since(mark: Option<String>) -> Self {
        Self { stream: mark, asked: true, ..Self::default() }
    }

    /// The mark that a person asked for, as long as the server has not given another one.
    pub(crate) fn asked(&self) -> Option<&str> {
        self.stream().filter(|_| self.asked)
    }

    /// The mark that the server gave last for the stream of all channels.
    pub(crate) fn given(&self) -> Option<&str> {
        self.stream().filter(|_| !self.asked)
    }

    /// The mark of the stream of all channels.
    pub(crate) fn stream(&self) -> Option<&str> {
        self.stream.as_deref()
    }

    /// The mark of one channel, before its first message that of the stream.
    pub(crate) fn of(&self, channel: &str) -> Option<&str> {
        self.channels.get(channel).or(self.stream.as_ref()).map(String::as_str)
    }

    fn heard(&mut self, transport: Transport, heard: &Heard) {
        match (transport, heard) {
            // A pattern stands where all channels do.
            (Transport::Ws, Heard::Subscribed { channel, mark: Some(mark), .. }) if channel.is_empty() => {
                self.by_pattern = true;
                self.stream_is_at(mark);
            }
            (Transport::Ws, Heard::Subscribed { channel, mark: Some(mark), .. }) => {
                self.channels.insert(channel.clone(), mark.clone());
            }
            (Transport::Ws, Heard::Message(Message { cursor: Some(cursor), .. })) if self.by_pattern => self.stream_is_at(cursor),
            (Transport::Ws, Heard::Message(Message { channel: Some(channel), id: Some(id), .. })) => {
                self.channels.insert(channel.clone(), id.clone());
            }
            (Transport::Sse, Heard::Message(Message { id: Some(mark), .. })) | (_, Heard::Mark(mark)) => self.stream_is_at(mark),
            _ => {}
        }
    }

    fn stream_is_at(&mut self, mark: &str) {
        self.stream = Some(mark.to_owned());
        self.asked = false;
    }
}

/// What is listened to.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    pub(crate) channels: Vec<String>,
    /// Patterns, for all channels that they mean.
    pub(crate) patterns: Vec<String>,
}

/// Which channels, of which server, how, and from where on.
#[derive(Debug)]
pub(crate) struct Subscription {
    pub(crate) access: Access,
    pub(crate) wanted: Wanted,
    pub(crate) transport: Transport,
    pub(crate) marks: Marks,
}

impl Subscription {
    /// Hands on everything that is heard until `on` breaks or the server refuses.
    ///
    /// The first connection must succeed; later losses are waited out.
    pub(crate) async fn run(mut self, mut on: impl FnMut(Heard) -> ControlFlow<()>) -> Result<(), Trouble> {
        let mut stood = false;
        let mut losses = 0;
        loop {
            let mut hint = None;
            let mut ready = false;
            let trouble = match self.listen(&mut on, &mut ready, &mut hint).await {
                Ok(()) => return Ok(()),
                Err(trouble) => trouble,
            };
            stood |= ready;
            if !trouble.passes() || !stood {
                return Err(trouble);
            }
            losses = if ready { 0 } else { losses + 1 };
            let pause = pause(losses, hint);
            if on(Heard::Note(format!("{trouble}; trying again in {:.1} s", pause.as_secs_f64()))).is_break() {
                return Ok(());
            }
            tokio::time::sleep(pause).await;
        }
    }

    /// One connection, from its beginning to its loss.
    async fn listen(
        &mut self,
        on: &mut impl FnMut(Heard) -> ControlFlow<()>,
        ready: &mut bool,
        hint: &mut Option<u64>,
    ) -> Result<(), Trouble> {
        let mut feed = Feed::open(self).await?;
        loop {
            let heard = feed.next().await;
            *hint = feed.retry_ms();
            let heard = heard?;
            *ready |= matches!(heard, Heard::Subscribed { last: true, .. });
            let marked = heard.clone();
            if on(heard).is_break() {
                return Ok(());
            }
            self.marks.heard(self.transport, &marked);
        }
    }
}

/// An open connection of one of the transports.
enum Feed {
    Ws(ws::Feed),
    Sse(sse::Feed),
    Poll(poll::Feed),
}

impl Feed {
    async fn open(wish: &Subscription) -> Result<Self, Trouble> {
        let Subscription { access, wanted, transport, marks } = wish;
        Ok(match transport {
            Transport::Ws => Self::Ws(ws::Feed::open(access, wanted, marks).await?),
            Transport::Sse => Self::Sse(sse::Feed::open(access, wanted, marks).await?),
            Transport::Poll => Self::Poll(poll::Feed::open(access, wanted, marks).await?),
        })
    }

    async fn next(&mut self) -> Result<Heard, Trouble> {
        match self {
            Self::Ws(feed) => feed.next().await,
            Self::Sse(feed) => feed.next().await,
            Self::Poll(feed) => feed.next().await,
        }
    }

    fn retry_ms(&self) -> Option<u64> {
        match self {
            Self::Sse(feed) => feed.retry_ms(),
            Self::Ws(_) | Self::Poll(_) => None,
        }
    }
}

/// A random part of a time that doubles with each loss, so that many subscribers don't come back together.
fn pause(losses: u32, hint_ms: Option<u64>) -> Duration {
    let base = hint_ms.unwrap_or(PAUSE_MS_MIN).clamp(PAUSE_MS_MIN, PAUSE_MS_MAX);
    let most = (base << losses.min(10)).min(PAUSE_MS_MAX);
    let share = u64::from(u16::from_le_bytes(random()));
    Duration::from_millis(most / 2 + most * share / (2 * u64::from(u16::MAX)))
}

const PAUSE_MS_MIN: u64 = 250;
const PAUSE_MS_MAX: u64 = 15_000;

/// Longer silence means that the connection is dead: servers send something every 25 seconds or so.
pub(crate) const SILENCE_MAX: Duration = Duration::from_secs(90);

/// What is wanted, as parameters of a query.
pub(crate) fn query(wanted: &Wanted) -> Vec<(&str, &str)> {
    let channels = wanted.channels.iter().map(|channel| ("channel", channel.as_str()));
    channels.chain(wanted.patterns.iter().map(|pattern| ("pattern", pattern.as_str()))).collect()
}

/// Bytes of the system's randomness.
pub(crate) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the system has randomness");
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_are_bounded_and_follow_the_hint() {
        let check = |losses, hint, least: u64, most: u64| {
            for _ in 0..50 {
                let pause = u64::try_from(pause(losses, hint).as_millis()).expect("short");
                assert!((least..=most).contains(&pause), "{losses} {hint:?}: {pause}");
            }
        };
        check(0, None, 125, 250);
        check(1, None, 250, 500);
        check(40, None, 7_500, 15_000);
        check(0, Some(3_000), 1_500, 3_000);
        check(0, Some(u64::MAX), 7_500, 15_000);
    }

    #[test]
    fn marks_follow_what_was_handed_on() {
        let message = |text: &str| Heard::Message(Message::parse(text).expect("a message"));
        let mut ws = Marks::since(Some("e.1".into()));
        assert_eq!(ws.of("a"), Some("e.1"));
        let stands = Heard::Subscribed { channel: "a".into(), mark: Some("e-4".into()), gap: false, last: true };
        ws.heard(Transport::Ws, &stands);
        assert_eq!((ws.of("a"), ws.of("b")), (Some("e-4"), Some("e.1")));
        ws.heard(Transport::Ws, &message(r#"{"type":"message","channel":"a","id":"e-5","data":1}"#));
        assert_eq!(ws.of("a"), Some("e-5"));

        let mut pattern = Marks::default();
        pattern.heard(Transport::Ws, &Heard::Subscribed { channel: String::new(), mark: Some("e.6".into()), gap: false, last: true });
        assert_eq!(pattern.stream(), Some("e.6"));
        pattern.heard(Transport::Ws, &message(r#"{"type":"message","channel":"a","id":"e-5","cursor":"e.7","data":1}"#));
        assert_eq!(pattern.stream(), Some("e.7"));

        let mut poll = Marks::default();
        poll.heard(Transport::Poll, &message(r#"{"channel":"a","id":"e-5","data":1}"#));
        assert_eq!(poll.stream(), None, "a position of one channel is no mark of the stream");
        poll.heard(Transport::Poll, &Heard::Mark("e.9".into()));
        assert_eq!(poll.stream(), Some("e.9"));

        let mut stream = Marks::since(Some("7".into()));
        assert_eq!((stream.asked(), stream.given()), (Some("7"), None));
        stream.heard(Transport::Sse, &Heard::Mark("e.9".into()));
        assert_eq!((stream.asked(), stream.given()), (None, Some("e.9")));
    }
}

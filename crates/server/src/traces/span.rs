//! One span: something that took time, with what it is part of.
//!
//! A span ends when it is dropped, so that none is forgotten however a request goes: answered, upgraded, given up.

use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use omnivox_hub::traces::{Context, SpanId};

use super::export::Queue;

/// Whose side of a conversation a span tells; the numbers are OTLP's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    Internal = 1,
    Server = 2,
    Client = 3,
    Producer = 4,
}

/// The value of an attribute.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Value {
    Text(Box<str>),
    Number(i64),
    Flag(bool),
}

/// What is told of a span when it has ended.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Record {
    pub(crate) context: Context,
    /// The span above it, a caller's perhaps.
    pub(crate) parent: Option<SpanId>,
    /// Spans of other traces that led to it.
    pub(crate) links: Vec<Context>,
    pub(crate) name: Box<str>,
    pub(crate) kind: Kind,
    pub(crate) start_unix_ns: u64,
    pub(crate) end_unix_ns: u64,
    pub(crate) attributes: Vec<(&'static str, Value)>,
    /// A stable word for why it failed.
    pub(crate) error: Option<Box<str>>,
}

/// A span that goes on.
pub(crate) struct Span(Box<Going>);

struct Going {
    /// Until it is told.
    record: Option<Record>,
    begun: Instant,
    /// A refusal is an answer like another.
    expects_refusal: bool,
    queue: Arc<Queue>,
}

impl Span {
    pub(super) fn begin(queue: &Arc<Queue>, context: Context, parent: Option<SpanId>, name: impl Into<Box<str>>, kind: Kind) -> Self {
        let start_unix_ns = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64);
        let record = Record {
            context,
            parent,
            links: Vec::new(),
            name: name.into(),
            kind,
            start_unix_ns,
            end_unix_ns: start_unix_ns,
            attributes: Vec::new(),
            error: None,
        };
        Self(Box::new(Going { record: Some(record), begun: Instant::now(), expects_refusal: false, queue: queue.clone() }))
    }

    /// Where spans below it belong.
    pub(crate) fn context(&self) -> Option<&Context> {
        self.0.record.as_ref().map(|record| &record.context)
    }

    /// What will be told of it.
    #[cfg(test)]
    pub(super) fn record(&self) -> Option<&Record> {
        self.0.record.as_ref()
    }

    /// Notes which spans of other traces led to it.
    pub(super) fn link(&mut self, links: impl IntoIterator<Item = Context>) {
        if let Some(record) = &mut self.0.record {
            record.links.extend(links);
        }
    }

    /// Notes a text.
    pub(super) fn text(&mut self, key: &'static str, value: impl Into<Box<str>>) {
        self.note(key, Value::Text(value.into()));
    }

    /// Notes a number.
    pub(super) fn number(&mut self, key: &'static str, value: usize) {
        self.note(key, Value::Number(i64::try_from(value).unwrap_or(i64::MAX)));
    }

    /// Notes whether something is so.
    pub(super) fn flag(&mut self, key: &'static str, value: bool) {
        self.note(key, Value::Flag(value));
    }

    fn note(&mut self, key: &'static str, value: Value) {
        if let Some(record) = &mut self.0.record {
            record.attributes.push((key, value));
        }
    }

    /// It failed; a stable word says why.
    pub(super) fn fail(&mut self, why: impl Into<Box<str>>) {
        let expects_refusal = self.0.expects_refusal;
        if let Some(record) = &mut self.0.record {
            let why = why.into();
            record.attributes.push(("error.type", Value::Text(why.clone())));
            record.error = Some(why).filter(|_| !expects_refusal);
        }
    }

    /// Whether a refusal is no failure.
    pub(super) fn expect_refusal(&mut self, expects: bool) {
        self.0.expects_refusal = expects;
    }

    /// Notes the status of an HTTP answer and ends.
    pub(crate) fn answered(mut self, status: u16) {
        self.number("http.response.status_code", usize::from(status));
        if status >= 500 {
            self.fail(status.to_string());
        }
    }

    /// Ends it without telling of it.
    pub(crate) fn discard(mut self) {
        self.0.record = None;
    }
}

impl Drop for Span {
    fn drop(&mut self) {
        if let Some(mut record) = self.0.record.take() {
            record.end_unix_ns = record.start_unix_ns + self.0.begun.elapsed().as_nanos() as u64;
            self.0.queue.offer(record);
        }
    }
}

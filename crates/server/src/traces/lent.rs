//! Spans that the hub asks for: requests to back ends, and what is told to webhooks.
//!
//! Invariant: no query of a URL, no header and no body is in them.

use omnivox_hub::traces::{Asking, Context, Going, Tracing};

use super::span::{Kind, Span};
use super::{Tracer, command, method};

impl Tracing for Tracer {
    fn request(&self, below: &Context, asking: &Asking<'_>) -> Option<Box<dyn Going>> {
        if !below.sampled {
            return None;
        }
        let (url, method) = (&asking.request.url, method(asking.request.method.as_str()));
        let name = format!("{method} {}", asking.name);
        let mut span = self.begin((below.trace, below.state.clone()), Some(below.span), name, Kind::Client)?;
        span.text("http.request.method", method);
        span.text("server.address", url.host());
        span.number("server.port", usize::from(url.port()));
        span.text("url.full", url.to_string());
        if asking.resend > 0 {
            span.number("http.request.resend_count", asking.resend as usize);
        }
        lend(span)
    }

    fn send(&self, webhook: &str, events: usize, links: Vec<Context>) -> Option<Box<dyn Going>> {
        let mut span = self.begin((self.trace_id(), None), None, format!("send {webhook}"), Kind::Producer)?;
        command::messaging(&mut span, "send");
        span.number("messaging.batch.message_count", events);
        span.link(links);
        lend(span)
    }
}

/// A span in the hub's hands.
struct Lent(Span, Context);

fn lend(span: Span) -> Option<Box<dyn Going>> {
    let context = span.context()?.clone();
    Some(Box::new(Lent(span, context)))
}

impl Going for Lent {
    fn context(&self) -> &Context {
        &self.1
    }

    fn answered(&mut self, status: u16) {
        self.0.number("http.response.status_code", usize::from(status));
        // For whoever asks, an answer of 400 is a failure too.
        if status >= 400 {
            self.0.fail(status.to_string());
        }
    }

    fn failed(&mut self, why: &str) {
        self.0.fail(why);
    }
}

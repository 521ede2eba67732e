//! Traces that go on: what the server asks of back ends, and tells them, is a part of the span that led to it.
//!
//! ```text
//!  publish                       the command's span
//!   └─ POST rules                a hook is asked: a client's span, whose id the request carries in `traceparent`
//!       └─ …                     what the back end makes of it
//!
//!  send audit ── link ──> publish    a webhook tells of it later, of others too, and perhaps again: a trace of its own
//!   └─ POST audit
//! ```
//!
//! Whoever traces lends [`Tracing`], and lets a command run [`within`] its [`Trace`]; hooks and webhooks ask for the [`current`] one. Without
//! traces nobody is ever within one, and nothing is carried along with commands.
//!
//! Invariant: what a client sent in `traceparent` reaches a back end only by way of [`Tracing`].

mod context;

use std::cell::RefCell;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as Polling, Poll};

pub use self::context::{Context, SpanId, TraceId};
use crate::outgoing::{OutgoingError, Request, Response};

/// What makes spans of requests of our own.
pub trait Tracing: Send + Sync {
    /// A request begins below that span.
    fn request(&self, below: &Context, request: &Asking<'_>) -> Option<Box<dyn Going>>;

    /// What is told to a webhook begins, in a trace of its own with links to the spans that led to it.
    fn send(&self, webhook: &str, events: usize, links: Vec<Context>) -> Option<Box<dyn Going>>;
}

/// A request of our own, as its span tells of it.
#[derive(Clone, Copy, Debug)]
pub struct Asking<'a> {
    /// The hook or webhook.
    pub name: &'a str,
    /// What is sent.
    pub request: &'a Request,
    /// How often it was sent before.
    pub resend: u32,
}

/// A span that goes on; it ends when it is dropped.
pub trait Going: Send + Sync {
    /// Where spans below it belong.
    fn context(&self) -> &Context;

    /// The status of the answer.
    fn answered(&mut self, status: u16);

    /// It failed; a stable word says why.
    fn failed(&mut self, why: &str);
}

/// A span of ours, and what makes further ones.
#[derive(Clone)]
pub struct Trace {
    /// What makes further ones.
    pub tracing: Arc<dyn Tracing>,
    /// The span.
    pub context: Context,
}

impl fmt::Debug for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.context, f)
    }
}

impl Trace {
    /// A request to a back end begins: it gets the headers that say what it is a part of, and its span is told how it went by [`end`].
    pub(crate) fn begin(&self, request: &mut Request, name: &str, resend: u32) -> Option<Box<dyn Going>> {
        let going = self.tracing.request(&self.context, &Asking { name, request, resend });
        request.headers.extend(going.as_ref().map_or(&self.context, |going| going.context()).headers());
        going
    }
}

/// Ends the span of a request with what came of it.
pub(crate) fn end(going: Option<Box<dyn Going>>, result: &Result<Response, OutgoingError>) {
    let Some(mut going) = going else { return };
    match result {
        Ok(response) => going.answered(response.status),
        Err(error) => going.failed(error.label()),
    }
}

thread_local! {
    static CURRENT: RefCell<Option<Trace>> = const { RefCell::new(None) };
}

/// The trace that the running command is a part of.
pub fn current() -> Option<Trace> {
    CURRENT.with_borrow(Clone::clone)
}

/// Lets what follows on this thread be a part of a trace, until the guard is gone.
pub fn enter(trace: Trace) -> Entered {
    Entered { before: CURRENT.replace(Some(trace)) }
}

/// While it lives, the [`current`] trace is another one.
#[must_use]
pub struct Entered {
    before: Option<Trace>,
}

impl Drop for Entered {
    fn drop(&mut self) {
        CURRENT.set(self.before.take());
    }
}

/// Something that runs within a trace, whatever thread it runs on; or within none.
pub fn within<F: Future + Unpin>(trace: Option<Trace>, running: F) -> Within<F> {
    Within { trace, running }
}

/// What [`within`] gives.
#[must_use]
pub struct Within<F> {
    trace: Option<Trace>,
    running: F,
}

impl<F: Future + Unpin> Future for Within<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Polling<'_>) -> Poll<F::Output> {
        let _entered = self.trace.clone().map(enter);
        Pin::new(&mut self.running).poll(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    struct Silent;

    impl Tracing for Silent {
        fn request(&self, _: &Context, _: &Asking<'_>) -> Option<Box<dyn Going>> {
            None
        }

        fn send(&self, _: &str, _: usize, _: Vec<Context>) -> Option<Box<dyn Going>> {
            None
        }
    }

    fn span() -> Option<u8> {
        current().map(|trace| trace.context.span[0])
    }

    fn trace(span: u8) -> Trace {
        Trace { tracing: Arc::new(Silent), context: Context { trace: [1; 16], span: [span; 8], sampled: true, state: None } }
    }

    #[test]
    fn only_what_runs_within_a_trace_sees_it() {
        let seen = std::cell::Cell::new(Vec::new());
        let look = || seen.set([seen.take(), vec![span()]].concat());
        let mut steps = 0;
        let mut running = within(
            Some(trace(2)),
            std::future::poll_fn(|_| {
                look();
                steps += 1;
                if steps < 2 { Poll::Pending } else { Poll::Ready(()) }
            }),
        );
        let mut cx = Polling::from_waker(Waker::noop());
        let outer = enter(trace(1));
        look();
        assert!(Pin::new(&mut running).poll(&mut cx).is_pending());
        look();
        drop(outer);
        look();
        assert!(Pin::new(&mut running).poll(&mut cx).is_ready(), "it is within its own trace wherever it goes on");
        drop(enter(trace(3)));
        look();
        drop(running);
        assert_eq!(seen.take(), [Some(1), Some(2), Some(1), None, Some(2), None]);
    }
}

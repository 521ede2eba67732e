//! Outgoing HTTP: what the server itself asks of back ends (hooks, webhooks, key sets).
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use omnivox_hub::outgoing::{Outgoing, OutgoingSettings, Request, Url};
//! let outgoing = Outgoing::new(OutgoingSettings::default(), tokio::runtime::Handle::current());
//! let answer = outgoing.fetch(Request::get(Url::parse("https://example.com/keys")?)).await?;
//! assert_eq!(answer.status, 200);
//! # Ok(())
//! # }
//! ```
//!
//! - [`url`]: where to; [`request`]: what is asked and answered; [`error`]: why it failed.
//! - [`connect`]: resolves once, judges the addresses, connects to one of them, over TLS for `https`.
//! - [`pool`]: connections that are kept for the next request.
//!
//! A URL from the operator's file may name any address. Any other URL reaches public addresses only, and those that the operator listed: what
//! a name resolves to is judged, and that very address is connected to, so that a name that changes its mind reaches nothing else.
//!
//! Invariants: a request ends within its deadline; no redirect is followed; no answer is larger than asked for; everything runs on a runtime
//! of its own, never on that of a shard.

mod connect;
pub mod error;
mod pool;
pub mod request;
pub mod url;

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, HOST, USER_AGENT};
use http_body_util::{BodyExt as _, Full};
use omnivox_core::address::AddressRange;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;

pub use self::error::OutgoingError;
use self::pool::{Kept, Pool};
pub use self::request::{Reach, Request, Response};
pub use self::url::{InvalidUrl, Url};

/// Bytes of the head of an answer.
const HEAD_BYTES_MAX: usize = 32 << 10;
/// Header lines of an answer.
const HEADERS_MAX: usize = 64;

/// What the operator decides about outgoing requests.
#[derive(Clone, Debug)]
pub struct OutgoingSettings {
    /// A PEM file with the authorities that are trusted instead of the system's.
    pub authorities: Option<PathBuf>,
    /// Addresses that are not public, and that URLs may reach although no operator wrote them.
    pub listed: Vec<AddressRange>,
    /// Connections at once.
    pub connections_max: usize,
    /// How long a connection is kept without a request.
    pub idle_time_max: Duration,
    /// How long one address may take to accept a connection.
    pub connect_time_max: Duration,
}

impl Default for OutgoingSettings {
    fn default() -> Self {
        Self {
            authorities: None,
            listed: Vec::new(),
            connections_max: 256,
            idle_time_max: Duration::from_secs(30),
            connect_time_max: Duration::from_secs(5),
        }
    }
}

/// What outgoing requests came to, for metrics.
#[derive(Debug, Default)]
pub struct OutgoingCounters {
    /// Requests that got an answer, whatever it says.
    pub answered: AtomicU64,
    /// Requests that got none.
    pub failed: AtomicU64,
    /// Of these, the ones to addresses that must not be reached.
    pub forbidden: AtomicU64,
    /// Connections that were made.
    pub connections: AtomicU64,
}

impl OutgoingCounters {
    /// Name, help, kind and value of each.
    pub fn entries(&self) -> [(&'static str, &'static str, &'static str, u64); 4] {
        let value = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        [
            ("outgoing_answers_total", "Requests to back ends that were answered.", "counter", value(&self.answered)),
            ("outgoing_failures_total", "Requests to back ends that got no answer.", "counter", value(&self.failed)),
            ("outgoing_forbidden_total", "Requests whose address is not public.", "counter", value(&self.forbidden)),
            ("outgoing_connections_total", "Connections to back ends that were made.", "counter", value(&self.connections)),
        ]
    }
}

/// The client of back ends. Clones are the same client.
#[derive(Clone)]
pub struct Outgoing(Arc<Inner>);

pub(crate) struct Inner {
    settings: OutgoingSettings,
    runtime: Handle,
    room: Arc<Semaphore>,
    pool: Arc<Pool>,
    tls: OnceLock<Result<tokio_rustls::TlsConnector, String>>,
    counters: OutgoingCounters,
}

impl Outgoing {
    /// A client whose work is done on the runtime.
    pub fn new(settings: OutgoingSettings, runtime: Handle) -> Self {
        let room = Arc::new(Semaphore::new(settings.connections_max));
        let pool = Arc::new(Pool::new(settings.idle_time_max));
        Self(Arc::new(Inner { settings, runtime, room, pool, tls: OnceLock::new(), counters: OutgoingCounters::default() }))
    }

    /// Asks, and waits for the whole answer. Any status but a redirect is an answer. Dropping the future gives the request up.
    pub async fn fetch(&self, request: Request) -> Result<Response, OutgoingError> {
        let inner = self.0.clone();
        let mut work = Work(self.0.runtime.spawn(async move {
            let deadline = request.deadline;
            tokio::time::timeout(deadline, inner.exchange(request)).await.unwrap_or(Err(OutgoingError::Deadline(deadline)))
        }));
        let result = (&mut work.0).await.unwrap_or(Err(OutgoingError::Stopped));
        self.count(&result);
        result
    }

    /// What the requests came to.
    pub fn counters(&self) -> &OutgoingCounters {
        &self.0.counters
    }

    /// The runtime that the work is done on.
    pub fn runtime(&self) -> &Handle {
        &self.0.runtime
    }

    /// Whether `https` URLs can be fetched at all: the authorities are read.
    pub fn check_authorities(&self) -> Result<(), OutgoingError> {
        self.0.tls().map(drop)
    }

    fn count(&self, result: &Result<Response, OutgoingError>) {
        let counters = &self.0.counters;
        match result {
            Ok(_) => counters.answered.fetch_add(1, Ordering::Relaxed),
            Err(OutgoingError::Forbidden { .. }) => {
                counters.forbidden.fetch_add(1, Ordering::Relaxed);
                counters.failed.fetch_add(1, Ordering::Relaxed)
            }
            Err(_) => counters.failed.fetch_add(1, Ordering::Relaxed),
        };
    }
}

/// A request under way; it ends with whoever waits for it.
struct Work(tokio::task::JoinHandle<Result<Response, OutgoingError>>);

impl Drop for Work {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Inner {
    async fn exchange(&self, request: Request) -> Result<Response, OutgoingError> {
        let key = pool::Key { url: request.url.origin(), reach: request.reach };
        let mut message = self.message(&request)?;
        while let Some(mut kept) = self.pool.take(&key) {
            if kept.sender.ready().await.is_err() {
                continue;
            }
            match kept.sender.try_send_request(message).await {
                Ok(answer) => return self.receive(key, kept, answer, &request).await,
                // The other side closed the kept connection before it saw anything of the request: that is no failure.
                Err(mut unsent) => match unsent.take_message() {
                    Some(again) => message = again,
                    None if request.repeatable => {
                        message = self.message(&request)?;
                        break;
                    }
                    None => return Err(OutgoingError::from_hyper(&unsent.into_error())),
                },
            }
        }
        let mut kept = self.connect(&request.url, request.reach).await?;
        let answer = kept.sender.send_request(message).await.map_err(|error| OutgoingError::from_hyper(&error))?;
        self.receive(key, kept, answer, &request).await
    }

    fn message(&self, request: &Request) -> Result<http::Request<Full<Bytes>>, OutgoingError> {
        let mut message = http::Request::builder().method(request.method.clone()).uri(request.url.target());
        message = message.header(HOST, request.url.authority()).header(USER_AGENT, concat!("omnivox/", env!("CARGO_PKG_VERSION")));
        for (name, value) in &request.headers {
            message = message.header(name, value);
        }
        message.body(Full::new(request.body.clone())).map_err(|error| OutgoingError::Request(error.to_string().into()))
    }

    /// Reads the answer to its end, and keeps the connection when it can be used again.
    async fn receive(
        &self,
        key: pool::Key,
        kept: Kept,
        answer: http::Response<hyper::body::Incoming>,
        request: &Request,
    ) -> Result<Response, OutgoingError> {
        let (head, mut incoming) = answer.into_parts();
        if head.status.is_redirection() && head.status != http::StatusCode::NOT_MODIFIED {
            return Err(OutgoingError::Redirect(head.status.as_u16()));
        }
        if head.headers.get(CONTENT_ENCODING).is_some_and(|encoding| encoding != "identity") {
            return Err(OutgoingError::Encoded);
        }
        let most = request.body_bytes_max;
        let announced = head.headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
        if announced.is_some_and(|length| length > most) {
            return Err(OutgoingError::BodyTooLarge(most));
        }
        let mut body = Vec::with_capacity(announced.unwrap_or_default());
        while let Some(frame) = incoming.frame().await {
            let frame = frame.map_err(|error| OutgoingError::from_hyper(&error))?;
            let Some(data) = frame.data_ref() else { continue };
            if body.len() + data.len() > most {
                return Err(OutgoingError::BodyTooLarge(most));
            }
            body.extend_from_slice(data);
        }
        self.pool.keep(key, kept, &self.runtime);
        Ok(Response { status: head.status.as_u16(), headers: head.headers, body: body.into() })
    }
}

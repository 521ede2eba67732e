//! HTTP/2: a connection whose streams are bridged to connections of the shard.
//!
//! It ends as one of HTTP/1.1 does: when it does not begin in time, when nothing was asked for long, when everyone is sent away. Those that
//! began are answered before.
//!
//! ```text
//!   preface (head_time_max) ──▶ streams … none for keep_alive_time_max ──▶ GOAWAY ──▶ those that are open end, and then the connection
//! ```

use std::io::Cursor;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::BodyExt as _;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncReadExt as _, DuplexStream};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_rustls::server::TlsStream;

use super::{CLOSE_GRACE_MS, Io, Peer, Shared, admit};
use crate::admission::Share;
use crate::bridge::{self, Connect};
use crate::metrics::{ShardMetrics, add};

/// Streams of one HTTP/2 connection: event streams and WebSockets of a browser's tabs share it.
const STREAMS_MAX: u32 = 256;
/// Time between two HTTP/2 pings, and how long an answer may take.
const PING_EVERY: Duration = Duration::from_secs(25);
const PING_TIMEOUT: Duration = Duration::from_secs(20);
/// What every client says first (RFC 9113 §3.4).
const PREFACE_BYTES: usize = 24;

/// Serves the streams of a connection, each as a connection of this shard.
pub(super) async fn serve(shard: Shared, mut stream: TlsStream<TcpStream>, peer: Peer, metrics: Arc<ShardMetrics>) {
    let (limits, mut draining) = {
        let shard = shard.borrow();
        (shard.common.hub.limits().clone(), shard.drains.subscribe())
    };
    // Read here, because the library waits for it without end.
    let mut preface = [0; PREFACE_BYTES];
    tokio::select! {
        read = tokio::time::timeout(limits.head_time_max, stream.read_exact(&mut preface)) => if !matches!(read, Ok(Ok(_))) { return },
        _ = draining.wait_for(|draining| *draining) => return,
    }
    let (reader, writer) = tokio::io::split(stream);
    let stream = TokioIo::new(tokio::io::join(Cursor::new(preface).chain(reader), writer));
    let streams = Arc::new(watch::Sender::new(0));
    let mut open = streams.subscribe();
    let service = hyper::service::service_fn(move |request: http::Request<hyper::body::Incoming>| {
        add(&metrics.http2_requests_total, 1);
        add(&metrics.http2_websockets_total, u64::from(request.method() == http::Method::CONNECT));
        let door = Door { shard: shard.clone(), peer, open: Arc::new(OpenStream::new(&streams)) };
        async move {
            let response = bridge::answer(&door, request).await;
            // The stream is open until all of its answer went.
            let open = door.open;
            Ok::<_, std::convert::Infallible>(response.map(|body| {
                body.map_frame(move |frame| {
                    let _ = &open;
                    frame
                })
            }))
        }
    });
    let mut builder = hyper::server::conn::http2::Builder::new(LocalExecutor);
    builder
        .timer(TokioTimer::new())
        .enable_connect_protocol()
        .max_concurrent_streams(STREAMS_MAX)
        .max_header_list_size(u32::try_from(limits.head_bytes_max).unwrap_or(u32::MAX))
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_TIMEOUT);
    let connection = builder.serve_connection(stream, service);
    tokio::pin!(connection);
    tokio::select! {
        _ = &mut connection => return,
        _ = draining.wait_for(|draining| *draining) => {}
        () = idle(&mut open, limits.keep_alive_time_max) => {}
    }
    connection.as_mut().graceful_shutdown();
    // Who has nothing open and does not take note is not waited for.
    tokio::select! {
        _ = connection => {}
        () = idle(&mut open, Duration::from_millis(CLOSE_GRACE_MS)) => {}
    }
}

/// Waits until no stream was open for so long.
async fn idle(open: &mut watch::Receiver<usize>, time_max: Duration) {
    loop {
        let none = *open.borrow_and_update() == 0;
        let changed = open.changed();
        if !none {
            let _ = changed.await;
        } else if tokio::time::timeout(time_max, changed).await.is_err() {
            return;
        }
    }
}

/// A stream that is open, counted until it is dropped.
pub(crate) struct OpenStream(Arc<watch::Sender<usize>>);

impl OpenStream {
    fn new(streams: &Arc<watch::Sender<usize>>) -> Self {
        streams.send_modify(|open| *open += 1);
        Self(streams.clone())
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        self.0.send_modify(|open| *open -= 1);
    }
}

/// The shard's end of a stream: behind it is one request, read to its end.
pub(crate) struct Bridged {
    pub pipe: DuplexStream,
    #[expect(dead_code, reason = "a WebSocket's stream is open as long as its connection of the shard")]
    open: Arc<OpenStream>,
}

/// The way of a stream to its shard.
struct Door {
    shard: Shared,
    peer: Peer,
    open: Arc<OpenStream>,
}

impl Connect for Door {
    fn connect(&self, pipe: DuplexStream) {
        // The connection that carries the stream is the one that is counted for the address.
        let io = Io::Bridged(Box::new(Bridged { pipe, open: self.open.clone() }));
        admit(&self.shard, io, self.peer, Share::default());
    }

    fn body_bytes_max(&self) -> usize {
        self.shard.borrow().common.hub.limits().body_bytes_max
    }

    fn body_time_max(&self) -> Duration {
        self.shard.borrow().common.hub.limits().body_time_max
    }
}

/// Runs hyper's tasks on the shard's own thread.
#[derive(Clone, Copy)]
struct LocalExecutor;

impl<F: Future + 'static> hyper::rt::Executor<F> for LocalExecutor {
    fn execute(&self, future: F) {
        tokio::task::spawn_local(async move {
            future.await;
        });
    }
}

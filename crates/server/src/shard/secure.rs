//! TLS: the handshake, bounded in time and number, and then the protocol that the client chose.

use std::rc::Rc;
use std::sync::Arc;

use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

use super::{Io, Peer, Shared, admit};
use crate::admission::Share;
use crate::bridge::{self, Connect};
use crate::metrics::{ShardMetrics, add, add_shared, sub};
use crate::tls::ACME_PROTOCOL;

/// Streams of one HTTP/2 connection: event streams and WebSockets of a browser's tabs share it.
const STREAMS_MAX: u32 = 256;
/// Time between two HTTP/2 pings, and how long an answer may take.
const PING_EVERY: std::time::Duration = std::time::Duration::from_secs(25);
const PING_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(20);

/// Begins a handshake.
pub(super) fn greet(shard: &Shared, stream: TcpStream, peer: Peer, share: Share) {
    let (metrics, tls, time_max, too_many) = {
        let shard = shard.borrow();
        let Some(tls) = shard.common.tls.as_ref() else { return };
        let (limits, metrics) = (shard.common.hub.quotas().limits(), shard.common.metrics[usize::from(shard.id)].clone());
        (metrics, tls.current(), limits.head_time_max, shard.common.handshakes() >= limits.handshakes_max as u64)
    };
    if too_many {
        return add_shared(&metrics.refused_connections_total, 1);
    }
    add(&metrics.tls_handshakes, 1);
    let shard = shard.clone();
    tokio::task::spawn_local(async move {
        let outcome = tokio::time::timeout(time_max, TlsAcceptor::from(tls).accept(stream)).await;
        sub(&metrics.tls_handshakes, 1);
        let Ok(Ok(mut stream)) = outcome else { return add(&metrics.tls_handshake_failures_total, 1) };
        match stream.get_ref().1.alpn_protocol() {
            Some(b"h2") => {
                add(&metrics.http2_connections, 1);
                serve_http2(shard, stream, peer, metrics.clone()).await;
                sub(&metrics.http2_connections, 1);
                drop(share);
            }
            // The handshake was all that the authority wanted to see.
            Some(ACME_PROTOCOL) => drop(tokio::time::timeout(time_max, stream.shutdown()).await),
            _ => admit(&shard, Io::Other(Box::new(stream)), peer, share),
        }
    });
}

/// Serves the streams of an HTTP/2 connection, each as a connection of this shard.
async fn serve_http2(shard: Shared, stream: tokio_rustls::server::TlsStream<TcpStream>, peer: Peer, metrics: Arc<ShardMetrics>) {
    let door = Rc::new(Door { shard: shard.clone(), peer });
    let service = hyper::service::service_fn(move |request: http::Request<hyper::body::Incoming>| {
        add(&metrics.http2_requests_total, 1);
        add(&metrics.http2_websockets_total, u64::from(request.method() == http::Method::CONNECT));
        let door = door.clone();
        async move { Ok::<_, std::convert::Infallible>(bridge::answer(&*door, request).await) }
    });
    let (limits, mut draining) = {
        let shard = shard.borrow();
        (shard.common.hub.limits().clone(), shard.drains.subscribe())
    };
    let mut builder = hyper::server::conn::http2::Builder::new(LocalExecutor);
    builder
        .timer(TokioTimer::new())
        .enable_connect_protocol()
        .max_concurrent_streams(STREAMS_MAX)
        .max_header_list_size(u32::try_from(limits.head_bytes_max).unwrap_or(u32::MAX))
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_TIMEOUT);
    let connection = builder.serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    tokio::select! {
        _ = &mut connection => return,
        _ = draining.wait_for(|draining| *draining) => connection.as_mut().graceful_shutdown(),
    }
    let _ = connection.await;
}

/// The way of an HTTP/2 stream to its shard.
struct Door {
    shard: Shared,
    peer: Peer,
}

impl Connect for Door {
    fn connect(&self, stream: tokio::io::DuplexStream) {
        // The connection that carries the stream is the one that is counted.
        admit(&self.shard, Io::Other(Box::new(stream)), self.peer, Share::default());
    }

    fn body_bytes_max(&self) -> usize {
        self.shard.borrow().common.hub.limits().body_bytes_max
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

//! TLS: the handshake, bounded in time and number, and then the protocol that the client chose.

use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

use super::{Io, Peer, Shared, admit, http2};
use crate::admission::Share;
use crate::metrics::{add, add_shared, sub};
use crate::tls::ACME_PROTOCOL;

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
                http2::serve(shard, stream, peer, metrics.clone()).await;
                sub(&metrics.http2_connections, 1);
                drop(share);
            }
            // The handshake was all that the authority wanted to see.
            Some(ACME_PROTOCOL) => drop(tokio::time::timeout(time_max, stream.shutdown()).await),
            _ => admit(&shard, Io::Other(Box::new(stream)), peer, share),
        }
    });
}

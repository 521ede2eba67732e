//! Connections that a proxy begins with a PROXY protocol header: the client is whom the header names.
//!
//! Only trusted proxies get here; the listener turned everyone else away.

use std::io;

use omnivox_wire::proxy::{self, Header};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;

use super::{Peer, Shared, welcome};
use crate::admission::Share;
use crate::listener::turn_away;
use crate::metrics::add_shared;

/// Reads the header, counts the client that it names, and goes on with the connection's own bytes.
pub(super) fn introduce(shard: &Shared, mut stream: TcpStream, proxy: Peer, tls: bool) {
    let shard = shard.clone();
    tokio::task::spawn_local(async move {
        let (common, id) = {
            let shard = shard.borrow();
            (shard.common.clone(), usize::from(shard.id))
        };
        let read = tokio::time::timeout(common.hub.limits().head_time_max, read_header(&mut stream)).await;
        let header = match read.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
            Ok(header) => header,
            Err(error) => {
                tracing::debug!(%error, proxy = %proxy.ip, "a connection without a PROXY protocol header was refused");
                return add_shared(&common.metrics[id].refused_connections_total, 1);
            }
        };
        // Without a client the proxy speaks for itself: it asks whether we are well.
        let Some(client) = header.client else { return welcome(&shard, stream, proxy, tls, Share::default()) };
        let client = Peer { ip: client.ip().to_canonical(), secure: proxy.secure || header.secure };
        match common.admission.connect(client.ip, super::now()) {
            Ok(share) => welcome(&shard, stream, client, tls, share),
            Err(refused) => turn_away(stream, tls, refused, &common),
        }
    });
}

/// Takes the header off the stream, and no byte behind it.
async fn read_header(stream: &mut TcpStream) -> io::Result<Header> {
    let mut seen = Vec::new();
    let mut bytes = [0; 512];
    loop {
        let count = stream.peek(&mut bytes).await?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let before = seen.len();
        seen.extend_from_slice(&bytes[..count]);
        let parsed = proxy::parse(&seen).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        // All of an incomplete header belongs to it, so what was looked at can be taken.
        let used = parsed.map_or(count, |(_, used)| used - before);
        stream.read_exact(&mut bytes[..used]).await?;
        if let Some((header, _)) = parsed {
            return Ok(header);
        }
    }
}

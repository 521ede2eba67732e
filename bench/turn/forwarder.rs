//! The floor: one thread that receives a datagram and sends it on, one system call each, without looking into it.
//!
//! It has a front socket for clients. To a peer, each client gets a socket of its own behind it, as a relay has; between
//! clients, the n-th client to appear is paired with its neighbour.

use std::collections::HashMap;
use std::io::{ErrorKind, Write as _};
use std::net::SocketAddr;

use mio::net::UdpSocket;
use mio::{Events, Interest, Poll, Token};

use crate::Outcome;
use crate::load::Shape;

/// `shape.rate` carries the peer's port; zero means client to client.
pub(crate) fn run(shape: Shape) -> Outcome<()> {
    let loopback: SocketAddr = "127.0.0.1:0".parse()?;
    let peer = (shape.rate != 0).then(|| SocketAddr::from(([127, 0, 0, 1], u16::try_from(shape.rate).unwrap_or(0))));
    let mut poll = Poll::new()?;
    let mut front = UdpSocket::bind(loopback)?;
    poll.registry().register(&mut front, Token(0), Interest::READABLE)?;
    println!("{}", front.local_addr()?);
    std::io::stdout().flush()?;
    let mut order: Vec<SocketAddr> = Vec::new();
    let mut places: HashMap<SocketAddr, usize> = HashMap::new();
    let mut behind: Vec<UdpSocket> = Vec::new();
    let (mut events, mut buffer) = (Events::with_capacity(256), [0; 2048]);
    loop {
        poll.poll(&mut events, None)?;
        for event in &events {
            if let Some(place) = event.token().0.checked_sub(1) {
                while let Ok((length, _)) = behind[place].recv_from(&mut buffer) {
                    let _ = front.send_to(&buffer[..length], order[place]);
                }
                continue;
            }
            loop {
                let (length, from) = match front.recv_from(&mut buffer) {
                    Ok(received) => received,
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    Err(_) => continue,
                };
                let place = match places.get(&from) {
                    Some(place) => *place,
                    None => {
                        let place = order.len();
                        order.push(from);
                        places.insert(from, place);
                        if peer.is_some() {
                            let mut socket = UdpSocket::bind(loopback)?;
                            poll.registry().register(&mut socket, Token(place + 1), Interest::READABLE)?;
                            behind.push(socket);
                        }
                        place
                    }
                };
                let _ = match peer {
                    Some(peer) => behind[place].send_to(&buffer[..length], peer),
                    None => front.send_to(&buffer[..length], order.get(place ^ 1).copied().unwrap_or(from)),
                };
            }
        }
    }
}

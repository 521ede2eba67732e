//! Letters between workers, and from the handle to the workers.
//!
//! A mailbox is a bounded queue and one end of a socket pair that wakes the worker's poll. A flag keeps a busy sender from
//! writing to the socket for every letter.

use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, Sender, SyncSender};

use super::streams::Stream;
use crate::credentials::Revoked;
use crate::proto::machine::{FiveTuple, SessionInfo};

/// Letters that may wait; hairpin payloads beyond it are dropped and counted.
const LETTERS_MAX: usize = 256;

/// Hairpin payloads of one round for one worker.
#[derive(Debug, Default)]
pub(super) struct Across {
    pub(super) bytes: Vec<u8>,
    /// To and from which relayed address, and how many bytes.
    pub(super) packets: Vec<(SocketAddr, SocketAddr, usize)>,
}

/// What the data paths send each other.
pub(super) enum Letter {
    Across(Across),
    /// A client that this worker was told to hand over.
    Datagram(FiveTuple, Box<[u8]>),
    /// The same for a client with a connection, with what was read but not handled.
    Stream(Box<Stream>, Vec<u8>),
}

/// What people want.
pub(super) enum Order {
    Revoke(Revoked),
    Drain(Option<SocketAddr>),
    NonceKey(Box<[u8; 32]>),
    Sessions(Sender<Vec<SessionInfo>>),
    Adopt(Box<Stream>, Vec<u8>),
    Stop,
}

struct Bell {
    rung: AtomicBool,
    wire: UnixStream,
}

/// The senders' side.
#[derive(Clone)]
pub(super) struct Post {
    letters: SyncSender<Letter>,
    orders: Sender<Order>,
    bell: Arc<Bell>,
}

/// The worker's side.
pub(super) struct Mailbox {
    letters: Receiver<Letter>,
    orders: Receiver<Order>,
    bell: Arc<Bell>,
    wire: UnixStream,
}

pub(super) fn mailbox() -> std::io::Result<(Post, Mailbox)> {
    let (write, read) = UnixStream::pair()?;
    write.set_nonblocking(true)?;
    read.set_nonblocking(true)?;
    let bell = Arc::new(Bell { rung: AtomicBool::new(false), wire: write });
    let (letters, letters_in) = mpsc::sync_channel(LETTERS_MAX);
    let (orders, orders_in) = mpsc::channel();
    let post = Post { letters, orders, bell: Arc::clone(&bell) };
    Ok((post, Mailbox { letters: letters_in, orders: orders_in, bell, wire: read }))
}

impl Post {
    fn ring(&self) {
        if !self.bell.rung.swap(true, Ordering::AcqRel) {
            // A full wire has woken the worker already.
            let _ = (&self.bell.wire).write(&[1]);
        }
    }

    /// Wakes the worker once more: it has left letters in the queue.
    pub(super) fn ring_again(&self) {
        self.ring();
    }

    /// Sends a letter unless the queue is full; gives it back then.
    pub(super) fn send(&self, letter: Letter) -> Result<(), Letter> {
        let result = self.letters.try_send(letter).map_err(|error| match error {
            mpsc::TrySendError::Full(letter) | mpsc::TrySendError::Disconnected(letter) => letter,
        });
        self.ring();
        result
    }

    /// Gives an order; a worker that has stopped needs none.
    pub(super) fn order(&self, order: Order) {
        let _ = self.orders.send(order);
        self.ring();
    }
}

impl Mailbox {
    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.wire.as_fd()
    }

    /// Call it before the queues are emptied: what comes afterwards rings again.
    pub(super) fn silence(&self) {
        let mut bytes = [0; 16];
        while (&self.wire).read(&mut bytes).is_ok_and(|count| count == bytes.len()) {}
        self.bell.rung.store(false, Ordering::Release);
    }

    /// The worker will look by itself: nobody needs to ring.
    pub(super) fn expect(&self) {
        self.bell.rung.store(true, Ordering::Release);
    }

    pub(super) fn letter(&self) -> Option<Letter> {
        self.letters.try_recv().ok()
    }

    pub(super) fn order(&self) -> Option<Order> {
        self.orders.try_recv().ok()
    }
}

//! Datagrams on their way out, grouped so that one system call, and one pass through the kernel's stack, carries many.
//!
//! ```text
//! pushed:  a1 b1 a2 c1 a3     (same length, three destinations)
//! sent:    [a1 a2 a3] [b1] [c1]    one sendmmsg; the brackets are messages with UDP_SEGMENT
//! ```
//!
//! Invariant: what goes to one destination keeps its order.

use std::net::{IpAddr, SocketAddr};

use super::socket::{BATCH, Datagrams, Sent};
use crate::proto::machine::Head;

/// Longest datagram that is grouped: with its headers it fits an Ethernet frame, which the kernel demands of segments.
const SEGMENT_MAX: usize = 1432;
/// Longest message of segments.
const MESSAGE_MAX: usize = 64_000;
const NONE: u16 = u16::MAX;
const CHAINS: usize = 256;

/// Where a payload is: in the worker's arena, or in the outbox's own buffer.
#[derive(Clone, Copy, Debug)]
pub(super) enum Piece {
    Arena(usize, usize),
    Own(usize, usize),
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    to: SocketAddr,
    source: Option<IpAddr>,
    /// Tells apart what must not be grouped although its destination is the same: the relay's number.
    socket: u32,
    head: Option<Head>,
    piece: Piece,
    padding: u8,
    dont_fragment: bool,
    /// The next entry for the same destination and socket.
    next: u16,
}

impl Entry {
    fn length(&self) -> usize {
        let (Piece::Arena(_, payload) | Piece::Own(_, payload)) = self.piece;
        self.head.as_ref().map_or(0, |head| head.bytes().len()) + payload + usize::from(self.padding)
    }

    fn joins(&self, other: &Self) -> bool {
        (self.socket, self.to, self.dont_fragment) == (other.socket, other.to, other.dont_fragment)
    }
}

/// The outbox of one socket, or of all relays of a worker.
#[derive(Debug)]
pub(super) struct Outbox {
    entries: Vec<Entry>,
    /// Which of them are in a message already.
    taken: Vec<bool>,
    own: Vec<u8>,
    /// The last entry of each chain, by a hash of the destination.
    chains: Box<[u16; CHAINS]>,
    pub(super) segments: bool,
}

/// What to send: everything that `Entry` is made of but its chain.
#[derive(Clone, Copy, Debug)]
pub(super) struct Parcel {
    pub(super) to: SocketAddr,
    pub(super) source: Option<IpAddr>,
    pub(super) socket: u32,
    pub(super) head: Option<Head>,
    pub(super) piece: Piece,
    pub(super) padding: u8,
    pub(super) dont_fragment: bool,
}

impl Outbox {
    pub(super) fn new() -> Self {
        Self { entries: Vec::with_capacity(BATCH), taken: Vec::new(), own: Vec::new(), chains: Box::new([NONE; CHAINS]), segments: true }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Whether it is time to send: more would not fit a call.
    pub(super) fn is_full(&self) -> bool {
        self.entries.len() >= 4 * BATCH
    }

    /// Copies bytes that don't stay where they are.
    pub(super) fn copy(&mut self, bytes: &[u8]) -> Piece {
        let start = self.own.len();
        self.own.extend_from_slice(bytes);
        Piece::Own(start, bytes.len())
    }

    pub(super) fn push(&mut self, parcel: Parcel) {
        let Parcel { to, source, socket, head, piece, padding, dont_fragment } = parcel;
        let entry = Entry { to, source, socket, head, piece, padding, dont_fragment, next: NONE };
        let index = u16::try_from(self.entries.len()).unwrap_or(NONE);
        let last = &mut self.chains[chain_of(to, socket)];
        if let Some(before) = self.entries.get_mut(usize::from(*last))
            && before.joins(&entry)
        {
            before.next = index;
        }
        *last = index;
        self.entries.push(entry);
    }

    /// Sends everything; `send` is given the socket's number, the wish not to fragment, and messages for that socket.
    pub(super) fn flush(&mut self, arena: &[u8], mut send: impl FnMut(u32, bool, &Datagrams<'_>) -> Sent) -> Sent {
        let mut sent = Sent::default();
        if self.entries.is_empty() {
            return sent;
        }
        self.taken.clear();
        self.taken.resize(self.entries.len(), false);
        let mut at = 0;
        while at < self.entries.len() {
            at = self.flush_run(at, arena, &mut send, &mut sent);
        }
        self.entries.clear();
        self.own.clear();
        self.chains.fill(NONE);
        self.segments &= !sent.no_segments;
        sent
    }

    /// Sends a run of groups that leave through one socket.
    fn flush_run(
        &mut self,
        first: usize,
        arena: &[u8],
        send: &mut impl FnMut(u32, bool, &Datagrams<'_>) -> Sent,
        sent: &mut Sent,
    ) -> usize {
        let Self { entries, taken, own, segments, .. } = self;
        let (socket, dont_fragment) = (entries[first].socket, entries[first].dont_fragment);
        let mut datagrams = Datagrams::default();
        let mut at = first;
        let mut group: smallvec::SmallVec<[u16; BATCH]> = smallvec::SmallVec::new();
        while at < entries.len() && datagrams.len() < BATCH {
            let entry = &entries[at];
            if taken[at] {
                at += 1;
                continue;
            }
            if (entry.socket, entry.dont_fragment) != (socket, dont_fragment) {
                break;
            }
            group.clear();
            take_group(entries, taken, at, *segments, &mut group);
            let segment = if group.len() > 1 { u16::try_from(entry.length()).unwrap_or(0) } else { 0 };
            datagrams.begin(entry.to, entry.source, segment);
            for member in &group {
                let entry = &entries[usize::from(*member)];
                datagrams.part(entry.head.as_ref().map_or(&[], Head::bytes));
                datagrams.part(match entry.piece {
                    Piece::Arena(start, length) => &arena[start..start + length],
                    Piece::Own(start, length) => &own[start..start + length],
                });
                datagrams.part(&[0; 3][..usize::from(entry.padding)]);
            }
            at += 1;
        }
        if datagrams.len() == 0 {
            return at;
        }
        let result = send(socket, dont_fragment, &datagrams);
        sent.send_buffer_full += result.send_buffer_full;
        sent.too_big += result.too_big;
        sent.unreachable += result.unreachable;
        sent.no_segments |= result.no_segments;
        at
    }
}

/// Follows the chain from `first` as long as the datagrams can be segments of one message.
fn take_group(entries: &[Entry], taken: &mut [bool], first: usize, segments: bool, group: &mut smallvec::SmallVec<[u16; BATCH]>) {
    let length = entries[first].length();
    let mut total = length;
    let mut at = first;
    loop {
        taken[at] = true;
        group.push(u16::try_from(at).unwrap_or(NONE));
        let next = usize::from(entries[at].next);
        let Some(following) = entries.get(next) else { return };
        let shorter = following.length() < entries[at].length();
        let fits = segments
            && length <= SEGMENT_MAX
            && following.length() <= length
            && entries[at].length() == length
            && following.length() > 0
            && total + following.length() <= MESSAGE_MAX
            && group.len() < BATCH;
        if !fits {
            return;
        }
        total += following.length();
        at = next;
        if shorter {
            taken[at] = true;
            group.push(u16::try_from(at).unwrap_or(NONE));
            return;
        }
    }
}

/// Any hash will do: a clash only ends a chain.
fn chain_of(to: SocketAddr, socket: u32) -> usize {
    let low = match to.ip() {
        IpAddr::V4(ip) => u32::from(ip),
        IpAddr::V6(ip) => {
            let [.., a, b, c, d] = ip.octets();
            u32::from_be_bytes([a, b, c, d])
        }
    };
    let mixed = (u64::from(low) << 16 | u64::from(to.port())) ^ (u64::from(socket) << 32);
    usize::try_from(mixed.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56).expect("eight bits")
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::os::fd::AsFd;
    use std::time::Duration;

    use super::*;

    fn receive_all(socket: &UdpSocket) -> Vec<String> {
        socket.set_read_timeout(Some(Duration::from_millis(1))).expect("a timeout");
        let mut bytes = [0; 2048];
        std::iter::from_fn(|| socket.recv(&mut bytes).ok().map(|length| String::from_utf8_lossy(&bytes[..length]).into_owned())).collect()
    }

    /// Groups are made of equal lengths with at most one shorter at the end; every destination sees its own order.
    #[test]
    fn destinations_keep_their_order() {
        for segments in [true, false] {
            let sockets: Vec<_> = (0..3).map(|_| UdpSocket::bind("127.0.0.1:0").expect("a port")).collect();
            let from = UdpSocket::bind("127.0.0.1:0").expect("a port");
            let mut outbox = Outbox::new();
            outbox.segments = segments;
            let sent =
                [(0, "a1"), (1, "b1"), (0, "a2"), (2, "c-long"), (0, "3"), (0, "a4"), (1, "b2-long"), (2, "c2"), (2, "c-more"), (0, "")];
            for (which, text) in sent {
                let piece = outbox.copy(text.as_bytes());
                let to = sockets[which].local_addr().expect("bound");
                outbox.push(Parcel { to, source: None, socket: 0, head: None, piece, padding: 0, dont_fragment: false });
            }
            assert_eq!(outbox.flush(&[], |_, _, datagrams| datagrams.send(from.as_fd())), Sent::default());
            assert!(outbox.is_empty());
            for (which, socket) in sockets.iter().enumerate() {
                let expected: Vec<_> = sent.iter().filter(|(to, _)| *to == which).map(|(_, text)| *text).collect();
                assert_eq!(receive_all(socket), expected, "segments: {segments}");
            }
        }
    }

    #[test]
    fn groups() {
        #[track_caller]
        fn check(lengths: &[usize], expected: &[usize]) {
            let mut outbox = Outbox::new();
            for length in lengths {
                let to = "192.0.2.1:1".parse().expect("an address");
                outbox.push(Parcel {
                    to,
                    source: None,
                    socket: 0,
                    head: None,
                    piece: Piece::Arena(0, *length),
                    padding: 0,
                    dont_fragment: false,
                });
            }
            let mut sizes = Vec::new();
            let mut taken = vec![false; lengths.len()];
            for at in 0..lengths.len() {
                if !taken[at] {
                    let mut group = smallvec::SmallVec::new();
                    take_group(&outbox.entries, &mut taken, at, true, &mut group);
                    sizes.push(group.len());
                }
            }
            assert_eq!(sizes, expected, "{lengths:?}");
        }
        check(&[10, 10, 10], &[3]);
        check(&[10, 10, 4, 10], &[3, 1]);
        check(&[10, 11, 11], &[1, 2]);
        check(&[10, 0], &[1, 1]);
        check(&[2000, 2000], &[1, 1]);
        check(&[1000; 70], &[64, 6]);
        check(&[1400; 50], &[45, 5]);
    }
}

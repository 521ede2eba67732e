//! The system calls that std and socket2 don't have: epoll, recvmmsg, sendmmsg with UDP_SEGMENT, the error queue.
//!
//! Everything that is offered here is safe to call: buffers are borrowed for the time of the call, descriptors are
//! `BorrowedFd`, and addresses go in and out as `SocketAddr`.
//!
//! Invariant: this is the only module of the crate with `unsafe` code.

#![expect(unsafe_code, reason = "libc's socket calls; each block says why it is sound")]

use std::io::{self, IoSlice};
use std::mem;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use libc::{c_int, c_void, cmsghdr, epoll_event, iovec, mmsghdr, msghdr, sockaddr_in, sockaddr_in6, socklen_t};
use smallvec::SmallVec;

use crate::proto::machine::Icmp;

/// Messages of one call.
pub(super) const BATCH: usize = 64;
/// Room for the largest datagram.
pub(super) const SLOT_BYTES: usize = 65_536;

fn check(result: c_int) -> io::Result<c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

// ---------------------------------------------------------------------------------------------------------------------
// epoll

/// What to wait for on a descriptor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Interest {
    pub(super) read: bool,
    pub(super) write: bool,
}

impl Interest {
    pub(super) const READ: Self = Self { read: true, write: false };

    fn bits(self) -> u32 {
        let bit = |wanted: bool, bit: c_int| if wanted { bit.cast_unsigned() } else { 0 };
        bit(self.read, libc::EPOLLIN) | bit(self.write, libc::EPOLLOUT)
    }
}

/// A ready descriptor.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ready {
    pub(super) token: u64,
    pub(super) readable: bool,
    pub(super) writable: bool,
    pub(super) error: bool,
}

/// A level-triggered epoll instance.
#[derive(Debug)]
pub(super) struct Poll(OwnedFd);

impl Poll {
    pub(super) fn new() -> io::Result<Self> {
        // SAFETY: the call takes no pointers, and a descriptor that it returns is ours alone.
        let fd = check(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })?;
        // SAFETY: as above.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    fn control(&self, operation: c_int, fd: BorrowedFd<'_>, token: u64, interest: Interest) -> io::Result<()> {
        let mut event = epoll_event { events: interest.bits(), u64: token };
        // SAFETY: both descriptors are open, and `event` lives through the call.
        check(unsafe { libc::epoll_ctl(self.0.as_raw_fd(), operation, fd.as_raw_fd(), &raw mut event) })?;
        Ok(())
    }

    pub(super) fn add(&self, fd: BorrowedFd<'_>, token: u64, interest: Interest) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_ADD, fd, token, interest)
    }

    pub(super) fn modify(&self, fd: BorrowedFd<'_>, token: u64, interest: Interest) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_MOD, fd, token, interest)
    }

    pub(super) fn remove(&self, fd: BorrowedFd<'_>) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_DEL, fd, 0, Interest::default())
    }

    pub(super) fn wait(&self, into: &mut Vec<Ready>, timeout_millis: i32) -> io::Result<()> {
        const EVENTS: usize = 64;
        into.clear();
        let mut events = [epoll_event { events: 0, u64: 0 }; EVENTS];
        let most = c_int::try_from(EVENTS).expect("64 fits");
        // SAFETY: the array has room for `most` events.
        let count = unsafe { libc::epoll_wait(self.0.as_raw_fd(), events.as_mut_ptr(), most, timeout_millis) };
        let count = match check(count) {
            Ok(count) => usize::try_from(count).unwrap_or(0),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => 0,
            Err(error) => return Err(error),
        };
        into.extend(events[..count].iter().map(|event| {
            let has = |bits: c_int| event.events & bits.cast_unsigned() != 0;
            Ready {
                token: event.u64,
                readable: has(libc::EPOLLIN | libc::EPOLLHUP | libc::EPOLLERR),
                writable: has(libc::EPOLLOUT | libc::EPOLLHUP | libc::EPOLLERR),
                error: has(libc::EPOLLERR),
            }
        }));
        Ok(())
    }
}

// ---------------------------------------------------------------------------------------------------------------------
// Options

fn set_option(fd: BorrowedFd<'_>, level: c_int, name: c_int, value: c_int) -> io::Result<()> {
    let length = socklen_t::try_from(size_of::<c_int>()).expect("four");
    // SAFETY: the value is a `c_int` that lives through the call.
    check(unsafe { libc::setsockopt(fd.as_raw_fd(), level, name, (&raw const value).cast::<c_void>(), length) })?;
    Ok(())
}

/// Sizes a socket's buffers; zero leaves one alone. A privileged process may pass the kernel's limit, any other is clamped to
/// it, so a refusal is no reason to fail.
pub(super) fn set_buffers(fd: BorrowedFd<'_>, receive: usize, send: usize) {
    let wishes = [(receive, libc::SO_RCVBUFFORCE, libc::SO_RCVBUF), (send, libc::SO_SNDBUFFORCE, libc::SO_SNDBUF)];
    for (bytes, force, ask) in wishes.into_iter().filter(|(bytes, ..)| *bytes > 0) {
        let bytes = c_int::try_from(bytes).unwrap_or(c_int::MAX);
        if set_option(fd, libc::SOL_SOCKET, force, bytes).is_err() {
            let _ = set_option(fd, libc::SOL_SOCKET, ask, bytes);
        }
    }
}

/// Lets the kernel join datagrams of one sender. Old kernels can't, which costs speed only.
pub(super) fn receive_segments(fd: BorrowedFd<'_>) {
    let _ = set_option(fd, libc::SOL_UDP, libc::UDP_GRO, 1);
}

/// Has the kernel tell to which of the machine's addresses a datagram came.
pub(super) fn receive_destination(fd: BorrowedFd<'_>, v6: bool) -> io::Result<()> {
    match v6 {
        true => set_option(fd, libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO, 1),
        false => set_option(fd, libc::IPPROTO_IP, libc::IP_PKTINFO, 1),
    }
}

/// Has ICMP errors queued on the socket.
pub(super) fn receive_errors(fd: BorrowedFd<'_>, v6: bool) -> io::Result<()> {
    match v6 {
        true => set_option(fd, libc::IPPROTO_IPV6, libc::IPV6_RECVERR, 1),
        false => set_option(fd, libc::IPPROTO_IP, libc::IP_RECVERR, 1),
    }
}

/// Whether a packet that is larger than the path allows is refused, or cut in pieces by the kernel, as it does by default.
pub(super) fn dont_fragment(fd: BorrowedFd<'_>, v6: bool, on: bool) -> io::Result<()> {
    match (v6, on) {
        (true, true) => set_option(fd, libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER, libc::IPV6_PMTUDISC_DO),
        (true, false) => set_option(fd, libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER, libc::IPV6_PMTUDISC_WANT),
        (false, true) => set_option(fd, libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, libc::IP_PMTUDISC_DO),
        (false, false) => set_option(fd, libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, libc::IP_PMTUDISC_WANT),
    }
}

/// Raises the soft limit of open files to the hard one: every allocation is a socket.
pub(super) fn raise_file_limit() {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` lives through both calls.
    unsafe {
        if libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) == 0 && limit.rlim_cur < limit.rlim_max {
            limit.rlim_cur = limit.rlim_max;
            libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit);
        }
    }
}

// ---------------------------------------------------------------------------------------------------------------------
// Addresses

/// Room for either family; 28 bytes instead of `sockaddr_storage`'s 128.
#[derive(Clone, Copy)]
#[repr(C)]
union Name {
    family: libc::sa_family_t,
    v4: sockaddr_in,
    v6: sockaddr_in6,
}

const NAME_BYTES: socklen_t = size_of::<Name>() as socklen_t;

impl Name {
    fn empty() -> Self {
        // SAFETY: all-zero bytes are a valid value of every variant.
        unsafe { mem::zeroed() }
    }

    fn of(address: SocketAddr) -> (Self, socklen_t) {
        let mut name = Self::empty();
        match address {
            SocketAddr::V4(address) => {
                name.v4 = sockaddr_in {
                    sin_family: libc::AF_INET as libc::sa_family_t,
                    sin_port: address.port().to_be(),
                    sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(address.ip().octets()) },
                    sin_zero: [0; 8],
                };
                (name, size_of::<sockaddr_in>() as socklen_t)
            }
            SocketAddr::V6(address) => {
                name.v6 = sockaddr_in6 {
                    sin6_family: libc::AF_INET6 as libc::sa_family_t,
                    sin6_port: address.port().to_be(),
                    sin6_flowinfo: 0,
                    sin6_addr: libc::in6_addr { s6_addr: address.ip().octets() },
                    sin6_scope_id: address.scope_id(),
                };
                (name, size_of::<sockaddr_in6>() as socklen_t)
            }
        }
    }

    /// Flow and scope are left out: a path is the same whatever they are.
    fn address(&self) -> Option<SocketAddr> {
        // SAFETY: the family comes first in every variant, and tells which variant the kernel wrote.
        unsafe {
            match c_int::from(self.family) {
                libc::AF_INET => {
                    let ip = Ipv4Addr::from(self.v4.sin_addr.s_addr.to_ne_bytes());
                    Some(SocketAddrV4::new(ip, u16::from_be(self.v4.sin_port)).into())
                }
                libc::AF_INET6 => {
                    let ip = Ipv6Addr::from(self.v6.sin6_addr.s6_addr);
                    Some(SocketAddrV6::new(ip, u16::from_be(self.v6.sin6_port), 0, 0).into())
                }
                _ => None,
            }
        }
    }
}

/// Room for control messages, aligned as the kernel wants it: a segment size and a packet info.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
struct Control([u8; 128]);

// ---------------------------------------------------------------------------------------------------------------------
// Receiving

/// The buffers of one worker: slots of [`SLOT_BYTES`], of which only touched pages are memory.
#[derive(Debug)]
pub(super) struct Arena(Box<[u8]>);

impl Arena {
    pub(super) fn new() -> Self {
        Self(vec![0; BATCH * SLOT_BYTES].into_boxed_slice())
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// One datagram, or several of the same length that the kernel joined.
#[derive(Clone, Copy, Debug)]
pub(super) struct Received {
    /// Where it begins in the arena.
    pub(super) start: usize,
    pub(super) length: usize,
    /// The length of each part; the last may be shorter.
    pub(super) segment: usize,
    pub(super) from: SocketAddr,
    /// The machine's address that it came to, when that was asked for.
    pub(super) to: Option<IpAddr>,
}

/// Receives up to `count` messages into the slots from `first`.
pub(super) fn receive(fd: BorrowedFd<'_>, arena: &mut Arena, first: usize, count: usize, into: &mut Vec<Received>) -> io::Result<usize> {
    let count = count.min(BATCH - first);
    let mut names: SmallVec<[Name; BATCH]> = SmallVec::new();
    let mut controls = [const { mem::MaybeUninit::<Control>::uninit() }; BATCH];
    let mut vectors: SmallVec<[iovec; BATCH]> = SmallVec::new();
    let mut headers: SmallVec<[mmsghdr; BATCH]> = SmallVec::new();
    names.resize(count, Name::empty());
    let slots = arena.0[first * SLOT_BYTES..(first + count) * SLOT_BYTES].chunks_exact_mut(SLOT_BYTES);
    for (at, slot) in slots.enumerate() {
        vectors.push(iovec { iov_base: slot.as_mut_ptr().cast(), iov_len: SLOT_BYTES });
        // SAFETY: all-zero is a valid `mmsghdr`.
        let mut header: mmsghdr = unsafe { mem::zeroed() };
        header.msg_hdr.msg_name = (&raw mut names[at]).cast();
        header.msg_hdr.msg_namelen = NAME_BYTES;
        // At most `BATCH` vectors: they stay where they are.
        header.msg_hdr.msg_iov = &raw mut vectors[at];
        header.msg_hdr.msg_iovlen = 1;
        header.msg_hdr.msg_control = controls[at].as_mut_ptr().cast();
        header.msg_hdr.msg_controllen = size_of::<Control>();
        headers.push(header);
    }
    let most = u32::try_from(count).expect("at most 64");
    // SAFETY: the first `count` headers point to names, vectors, slots and control buffers that live through the call and
    // that nothing else uses meanwhile.
    let got = unsafe { libc::recvmmsg(fd.as_raw_fd(), headers.as_mut_ptr(), most, libc::MSG_DONTWAIT as _, std::ptr::null_mut()) };
    let got = usize::try_from(check(got)?).unwrap_or(0);
    for (at, header) in headers[..got].iter().enumerate() {
        let Some(from) = names[at].address() else { continue };
        let length = usize::try_from(header.msg_len).unwrap_or(0);
        let mut received = Received { start: (first + at) * SLOT_BYTES, length, segment: length, from, to: None };
        if header.msg_hdr.msg_controllen > 0 {
            for_each_control(&header.msg_hdr, |control| read_control(control, &mut received));
        }
        into.push(received);
    }
    Ok(got)
}

/// A control message as the kernel wrote it.
struct ControlMessage<'a> {
    level: c_int,
    kind: c_int,
    data: &'a [u8],
}

fn for_each_control(header: &msghdr, mut visit: impl FnMut(ControlMessage<'_>)) {
    // SAFETY: the kernel has filled `msg_control` up to `msg_controllen`, the CMSG macros stay within it, and each
    // message's data has the length that its header says.
    unsafe {
        let mut next: *const cmsghdr = libc::CMSG_FIRSTHDR(header);
        while let Some(control) = next.as_ref() {
            let length = control.cmsg_len.saturating_sub(libc::CMSG_LEN(0) as usize);
            let data = std::slice::from_raw_parts(libc::CMSG_DATA(control), length);
            visit(ControlMessage { level: control.cmsg_level, kind: control.cmsg_type, data });
            next = libc::CMSG_NXTHDR(header, control);
        }
    }
}

fn read_control(control: ControlMessage<'_>, received: &mut Received) {
    match (control.level, control.kind) {
        (libc::SOL_UDP, libc::UDP_GRO) => {
            let size = control.data.first_chunk::<4>().map(|size| i32::from_ne_bytes(*size));
            if let Some(size) = size.and_then(|size| usize::try_from(size).ok()).filter(|size| *size > 0) {
                received.segment = size;
            }
        }
        // struct in_pktinfo: interface, local address, destination.
        (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
            received.to = control.data.get(8..12).and_then(|ip| <[u8; 4]>::try_from(ip).ok()).map(IpAddr::from);
        }
        // struct in6_pktinfo: address, interface.
        (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
            received.to = control.data.first_chunk::<16>().map(|ip| IpAddr::from(*ip));
        }
        _ => {}
    }
}

/// Takes one ICMP error from the socket's error queue: the peer that the packet was for, and the error.
pub(super) fn take_error(fd: BorrowedFd<'_>) -> io::Result<Option<(SocketAddr, Icmp)>> {
    let mut name = Name::empty();
    let mut control = Control([0; 128]);
    let mut byte = [0u8; 1];
    let mut vector = iovec { iov_base: byte.as_mut_ptr().cast(), iov_len: 1 };
    // SAFETY: all-zero is a valid `msghdr`.
    let mut header: msghdr = unsafe { mem::zeroed() };
    header.msg_name = (&raw mut name).cast();
    header.msg_namelen = NAME_BYTES;
    header.msg_iov = &raw mut vector;
    header.msg_iovlen = 1;
    header.msg_control = (&raw mut control).cast();
    header.msg_controllen = size_of::<Control>();
    // SAFETY: every pointer of the header is to a local that lives through the call.
    let got = unsafe { libc::recvmsg(fd.as_raw_fd(), &raw mut header, libc::MSG_ERRQUEUE | libc::MSG_DONTWAIT) };
    if got < 0 {
        return Err(io::Error::last_os_error());
    }
    let mut icmp = None;
    for_each_control(&header, |control| {
        // struct sock_extended_err: errno u32, origin, type, code, pad, info u32, data u32.
        let Some(error) = control.data.first_chunk::<16>() else { return };
        let ours = matches!((control.level, control.kind), (libc::IPPROTO_IP, libc::IP_RECVERR) | (libc::IPPROTO_IPV6, libc::IPV6_RECVERR));
        if ours && matches!(error[4], libc::SO_EE_ORIGIN_ICMP | libc::SO_EE_ORIGIN_ICMP6) {
            let info = u32::from_ne_bytes([error[8], error[9], error[10], error[11]]);
            icmp = Some(Icmp { kind: error[5], code: error[6], data: info });
        }
    });
    Ok(name.address().zip(icmp))
}

// ---------------------------------------------------------------------------------------------------------------------
// Sending

/// One message: where to, from which of the machine's addresses, and its parts.
#[derive(Clone, Copy, Debug)]
struct Outgoing {
    to: SocketAddr,
    source: Option<IpAddr>,
    first_part: usize,
    /// Length of each datagram when the message is several of them; zero if it is one.
    segment: u16,
}

/// Messages for one socket, whose parts are borrowed.
#[derive(Debug, Default)]
pub(super) struct Datagrams<'a> {
    parts: SmallVec<[IoSlice<'a>; 256]>,
    messages: SmallVec<[Outgoing; BATCH]>,
}

/// What became of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sent {
    pub(super) send_buffer_full: u64,
    pub(super) too_big: u64,
    pub(super) unreachable: u64,
    /// The kernel or the device can't segment: don't ask again.
    pub(super) no_segments: bool,
}

impl<'a> Datagrams<'a> {
    /// Begins a message; its parts follow.
    pub(super) fn begin(&mut self, to: SocketAddr, source: Option<IpAddr>, segment: u16) {
        self.messages.push(Outgoing { to, source, first_part: self.parts.len(), segment });
    }

    /// Adds a part to the last message.
    pub(super) fn part(&mut self, bytes: &'a [u8]) {
        if !bytes.is_empty() {
            self.parts.push(IoSlice::new(bytes));
        }
    }

    pub(super) fn len(&self) -> usize {
        self.messages.len()
    }

    fn parts_of(&self, message: usize) -> &[IoSlice<'a>] {
        let end = self.messages.get(message + 1).map_or(self.parts.len(), |next| next.first_part);
        &self.parts[self.messages[message].first_part..end]
    }

    /// Sends all, in order, in as few calls as the kernel allows.
    pub(super) fn send(&self, fd: BorrowedFd<'_>) -> Sent {
        let mut sent = Sent::default();
        let mut done = 0;
        while done < self.len() {
            done += self.send_batch(fd, done, &mut sent);
        }
        sent
    }

    fn send_batch(&self, fd: BorrowedFd<'_>, first: usize, sent: &mut Sent) -> usize {
        let count = (self.len() - first).min(BATCH);
        if count == 1 && self.messages[first].segment == 0 {
            // Most packets to peers: the plain call is a little cheaper.
            return match self.send_one(fd, first, self.parts_of(first)) {
                None => 1,
                Some(code) => self.failed(fd, first, &io::Error::from_raw_os_error(code), sent),
            };
        }
        let mut names: SmallVec<[Name; BATCH]> = SmallVec::new();
        let mut controls: SmallVec<[Control; BATCH]> = SmallVec::new();
        let mut headers: SmallVec<[mmsghdr; BATCH]> = SmallVec::new();
        for message in &self.messages[first..first + count] {
            names.push(Name::of(message.to).0);
            if message.segment != 0 || message.source.is_some() {
                controls.push(Control([0; 128]));
            }
        }
        let mut control_at = 0;
        for (at, message) in self.messages[first..first + count].iter().enumerate() {
            let parts = self.parts_of(first + at);
            // SAFETY: all-zero is a valid `mmsghdr`.
            let mut header: mmsghdr = unsafe { mem::zeroed() };
            header.msg_hdr.msg_name = (&raw mut names[at]).cast();
            header.msg_hdr.msg_namelen = Name::of(message.to).1;
            // `IoSlice` has the layout of `iovec`; the kernel only reads through it.
            header.msg_hdr.msg_iov = parts.as_ptr().cast_mut().cast();
            header.msg_hdr.msg_iovlen = parts.len();
            if message.segment != 0 || message.source.is_some() {
                write_control(&mut header.msg_hdr, &mut controls[control_at], message);
                control_at += 1;
            }
            headers.push(header);
        }
        let most = u32::try_from(count).expect("at most 64");
        // SAFETY: the headers point to names, parts and control buffers that live through the call; `names` and `controls`
        // don't grow after pointers to their elements were taken.
        let result = unsafe { libc::sendmmsg(fd.as_raw_fd(), headers.as_mut_ptr(), most, libc::MSG_DONTWAIT as _) };
        match check(result) {
            Ok(some) => usize::try_from(some).unwrap_or(0),
            Err(error) => self.failed(fd, first, &error, sent),
        }
    }

    /// The first message of a batch was refused: says how many to go on after.
    fn failed(&self, fd: BorrowedFd<'_>, first: usize, error: &io::Error, sent: &mut Sent) -> usize {
        match error.raw_os_error() {
            Some(libc::EINTR) => 0,
            Some(libc::EAGAIN | libc::ENOBUFS) => {
                sent.send_buffer_full += (self.len() - first) as u64;
                self.len() - first
            }
            Some(code) if self.messages[first].segment != 0 => {
                sent.no_segments |= matches!(code, libc::EIO | libc::ENOPROTOOPT | libc::EOPNOTSUPP);
                self.send_apart(fd, first, sent);
                1
            }
            // An ICMP error of an earlier packet is reported to the next call, which sends nothing: once more, alone.
            Some(code) => {
                let again = if code == libc::EMSGSIZE { Some(code) } else { self.send_one(fd, first, self.parts_of(first)) };
                sent.count(again);
                1
            }
            None => 1,
        }
    }

    /// Sends the datagrams of a segmented message one by one.
    fn send_apart(&self, fd: BorrowedFd<'_>, message: usize, sent: &mut Sent) {
        let segment = usize::from(self.messages[message].segment);
        let mut rest = self.parts_of(message);
        while !rest.is_empty() {
            let mut length = 0;
            let take = rest
                .iter()
                .take_while(|part| {
                    let fits = length < segment;
                    length += part.len();
                    fits
                })
                .count();
            let (parts, later) = rest.split_at(take);
            sent.count(self.send_one(fd, message, parts));
            rest = later;
        }
    }

    fn send_one(&self, fd: BorrowedFd<'_>, message: usize, parts: &[IoSlice<'_>]) -> Option<c_int> {
        let mut message = self.messages[message];
        message.segment = 0;
        let (mut name, length) = Name::of(message.to);
        let mut control: Control;
        // SAFETY: all-zero is a valid `msghdr`.
        let mut header: msghdr = unsafe { mem::zeroed() };
        header.msg_name = (&raw mut name).cast();
        header.msg_namelen = length;
        header.msg_iov = parts.as_ptr().cast_mut().cast();
        header.msg_iovlen = parts.len();
        if message.source.is_some() {
            control = Control([0; 128]);
            write_control(&mut header, &mut control, &message);
        }
        // SAFETY: every pointer of the header lives through the call.
        let result = unsafe { libc::sendmsg(fd.as_raw_fd(), &raw const header, libc::MSG_DONTWAIT) };
        if result < 0 { io::Error::last_os_error().raw_os_error() } else { None }
    }
}

impl Sent {
    fn count(&mut self, error: Option<c_int>) {
        match error {
            None => {}
            Some(libc::EAGAIN | libc::ENOBUFS) => self.send_buffer_full += 1,
            Some(libc::EMSGSIZE) => self.too_big += 1,
            Some(_) => self.unreachable += 1,
        }
    }
}

/// Writes segment size and source address in front of a message.
fn write_control(header: &mut msghdr, control: &mut Control, message: &Outgoing) {
    header.msg_control = (&raw mut *control).cast();
    header.msg_controllen = size_of::<Control>();
    let mut used = 0;
    // SAFETY: the buffer is zeroed, aligned, and larger than the two messages together; `CMSG_NXTHDR` stays within it.
    unsafe {
        let mut next = libc::CMSG_FIRSTHDR(header);
        let mut put = |level: c_int, kind: c_int, data: &[u8]| {
            let length = u32::try_from(data.len()).expect("at most 20");
            (*next).cmsg_level = level;
            (*next).cmsg_type = kind;
            (*next).cmsg_len = libc::CMSG_LEN(length) as usize;
            std::ptr::copy_nonoverlapping(data.as_ptr(), libc::CMSG_DATA(next), data.len());
            used += libc::CMSG_SPACE(length) as usize;
            next = libc::CMSG_NXTHDR(header, next);
        };
        if message.segment != 0 {
            put(libc::SOL_UDP, libc::UDP_SEGMENT, &message.segment.to_ne_bytes());
        }
        match message.source {
            // struct in_pktinfo: interface 0 (any), the address to send from, destination (ignored).
            Some(IpAddr::V4(ip)) => {
                let mut info = [0; 12];
                info[4..8].copy_from_slice(&ip.octets());
                put(libc::IPPROTO_IP, libc::IP_PKTINFO, &info);
            }
            Some(IpAddr::V6(ip)) => {
                let mut info = [0; 20];
                info[..16].copy_from_slice(&ip.octets());
                put(libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, &info);
            }
            None => {}
        }
    }
    header.msg_controllen = used;
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::os::fd::AsFd;

    use super::*;

    fn pair() -> (UdpSocket, UdpSocket) {
        let open = || UdpSocket::bind("127.0.0.1:0").expect("a port");
        (open(), open())
    }

    fn drain(socket: &UdpSocket) -> Vec<Vec<u8>> {
        let (mut arena, mut received) = (Arena::new(), Vec::new());
        let mut all = Vec::new();
        while receive(socket.as_fd(), &mut arena, 0, BATCH, &mut received).is_ok_and(|count| count > 0) {
            for one in received.drain(..) {
                let bytes = &arena.bytes()[one.start..one.start + one.length];
                all.extend(bytes.chunks(one.segment.max(1)).map(<[u8]>::to_vec));
            }
        }
        all
    }

    /// Order, parts and segments survive; joined receipt is told apart again.
    #[test]
    fn batches_arrive_as_they_were_sent() {
        for joined in [false, true] {
            let (from, to) = pair();
            if joined {
                receive_segments(to.as_fd());
            }
            let address = to.local_addr().expect("bound");
            let mut datagrams = Datagrams::default();
            datagrams.begin(address, None, 0);
            datagrams.part(b"one");
            datagrams.part(b"-part");
            datagrams.begin(address, None, 4);
            for part in [&b"ab"[..], b"cd", b"efgh", b"ij"] {
                datagrams.part(part);
            }
            datagrams.begin(address, Some("127.0.0.1".parse().expect("ip")), 0);
            datagrams.part(b"last");
            assert_eq!(datagrams.send(from.as_fd()), Sent::default());
            assert_eq!(drain(&to), [&b"one-part"[..], b"abcd", b"efgh", b"ij", b"last"], "joined: {joined}");
        }
    }

    /// A device that can't segment: every datagram goes by itself.
    #[test]
    fn segments_can_be_sent_apart() {
        let (from, to) = pair();
        let mut datagrams = Datagrams::default();
        datagrams.begin(to.local_addr().expect("bound"), None, 4);
        for part in [&b"ab"[..], b"cd", b"efgh", b"ij"] {
            datagrams.part(part);
        }
        let mut sent = Sent::default();
        datagrams.send_apart(from.as_fd(), 0, &mut sent);
        assert_eq!(drain(&to), [&b"abcd"[..], b"efgh", b"ij"]);
    }

    #[test]
    fn a_closed_port_is_an_icmp_error_and_no_lost_packet() {
        let (from, to) = pair();
        receive_errors(from.as_fd(), false).expect("Linux can");
        let closed = UdpSocket::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a port");
        let send = |address| {
            let mut datagrams = Datagrams::default();
            datagrams.begin(address, None, 0);
            datagrams.part(b"x");
            datagrams.send(from.as_fd())
        };
        send(closed);
        assert_eq!(send(to.local_addr().expect("bound")), Sent::default());
        assert_eq!(drain(&to).len(), 1, "the pending error did not eat the packet");
        let (peer, icmp) = take_error(from.as_fd()).expect("queued").expect("an ICMP error");
        assert_eq!((peer, icmp.kind, icmp.code), (closed, 3, 3));
    }
}

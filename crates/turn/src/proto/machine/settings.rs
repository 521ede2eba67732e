//! What a machine is told at start, and what all machines of a server share.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use crate::proto::credentials::Authorize;
use crate::proto::ledger::{Ledger, Quotas};
use crate::proto::nonce::Features;
use crate::proto::policy::PeerPolicy;
use crate::proto::rate::{Rate, SourceBudget};

/// The rules of one server.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The realm of long-term credentials.
    pub realm: String,
    /// Offer PASSWORD-ALGORITHMS (SHA-256 beside MD5). Costs 24 bytes in each 401.
    pub sha256: bool,
    /// Seconds that a nonce is good for.
    pub nonce_lifetime_seconds: u64,
    /// Shortest lifetime of an allocation, and the one that a client gets that asks for none.
    pub lifetime_default_seconds: u32,
    /// Longest lifetime between two refreshes.
    pub lifetime_max_seconds: u32,
    /// Seconds that a permission lasts.
    pub permission_seconds: u32,
    /// Seconds that a channel lasts.
    pub channel_seconds: u32,
    /// Permissions per allocation.
    pub permissions_max: usize,
    /// Channels per allocation.
    pub channels_max: usize,
    /// Bytes per second of one allocation, both directions; zero is no limit.
    pub bytes_per_second: u64,
    /// Quotas of users, apps, sources and the server.
    pub quotas: Quotas,
    /// An allocation ends with the time-limited credential that made it, refreshed or not.
    pub credentials_end_allocations: bool,
    /// Unsigned error answers per source address and second, UDP only.
    pub unauthenticated: Rate,
    /// Binding answers per source address and second, UDP only.
    pub binding: Rate,
    /// Which peers may be reached.
    pub peers: PeerPolicy,
    /// Take channel numbers up to 0x7FFF, as RFC 5766 had them, and not only up to 0x4FFF; old clients draw them by chance.
    pub old_channel_numbers: bool,
    /// RFC 6062 TCP relays.
    pub tcp_relay: bool,
    /// RFC 6062 peer connections per allocation.
    pub connections_max: usize,
    /// RFC 8016 mobility.
    pub mobility: bool,
    /// RFC 5780 behaviour discovery.
    pub discovery: Option<Discovery>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            realm: "omnivox".into(),
            sha256: true,
            nonce_lifetime_seconds: 600,
            lifetime_default_seconds: 600,
            lifetime_max_seconds: 3600,
            permission_seconds: 300,
            channel_seconds: 600,
            permissions_max: 256,
            channels_max: 256,
            bytes_per_second: 0,
            quotas: Quotas::default(),
            credentials_end_allocations: false,
            unauthenticated: Rate { per_second: 10, burst: 20 },
            binding: Rate { per_second: 100, burst: 200 },
            peers: PeerPolicy::default(),
            old_channel_numbers: false,
            tcp_relay: false,
            connections_max: 16,
            mobility: false,
            discovery: None,
        }
    }
}

/// The four addresses of RFC 5780: two IP addresses and two ports, all of them listening.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Discovery {
    /// Primary address and primary port.
    pub primary: SocketAddr,
    /// The other address and the other port.
    pub other: SocketAddr,
}

impl Discovery {
    /// The four listening addresses.
    #[must_use]
    pub const fn addresses(&self) -> [SocketAddr; 4] {
        [
            self.primary,
            SocketAddr::new(self.primary.ip(), self.other.port()),
            SocketAddr::new(self.other.ip(), self.primary.port()),
            self.other,
        ]
    }

    /// From the address that was asked, the one with ip, port or both changed.
    #[must_use]
    pub fn changed(&self, server: SocketAddr, ip: bool, port: bool) -> SocketAddr {
        let turn_ip = if server.ip() == self.primary.ip() { self.other.ip() } else { self.primary.ip() };
        let turn_port = if server.port() == self.primary.port() { self.other.port() } else { self.primary.port() };
        SocketAddr::new(if ip { turn_ip } else { server.ip() }, if port { turn_port } else { server.port() })
    }
}

/// Which worker has which relayed address: one byte per port and address, read for every packet without a lock.
#[derive(Debug)]
pub struct Directory {
    addresses: Vec<(IpAddr, Box<[AtomicU8]>)>,
}

impl Directory {
    /// For the addresses that peers see.
    #[must_use]
    pub fn new(mut addresses: Vec<IpAddr>) -> Self {
        addresses.sort_unstable();
        addresses.dedup();
        let table = |ip| (ip, (0..=u16::MAX).map(|_| AtomicU8::new(0)).collect());
        Self { addresses: addresses.into_iter().map(table).collect() }
    }

    fn slot(&self, address: SocketAddr) -> Option<&AtomicU8> {
        let (_, ports) = self.addresses.iter().find(|(ip, _)| *ip == address.ip())?;
        ports.get(usize::from(address.port()))
    }

    /// The worker that has this relayed address.
    #[must_use]
    pub fn owner(&self, address: SocketAddr) -> Option<u8> {
        self.slot(address)?.load(Ordering::Relaxed).checked_sub(1)
    }

    /// Whether it is an address that relays have.
    #[must_use]
    pub fn has_ip(&self, ip: IpAddr) -> bool {
        self.addresses.iter().any(|(own, _)| *own == ip)
    }

    pub(super) fn enter(&self, address: SocketAddr, worker: u8) {
        if let Some(slot) = self.slot(address) {
            slot.store(worker + 1, Ordering::Relaxed);
        }
    }

    pub(super) fn leave(&self, address: SocketAddr) {
        if let Some(slot) = self.slot(address) {
            slot.store(0, Ordering::Relaxed);
        }
    }
}

/// What all workers of a server share.
pub struct Shared {
    /// Decides about credentials.
    pub authorize: Arc<dyn Authorize>,
    /// Counts allocations.
    pub ledger: Ledger,
    /// Budget of unsigned errors.
    pub unauthenticated: SourceBudget,
    /// Budget of Binding answers.
    pub binding: SourceBudget,
    /// Finds the worker of a relayed address.
    pub directory: Directory,
    /// Workers of this server.
    pub workers: u8,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Shared").field("workers", &self.workers).finish_non_exhaustive()
    }
}

impl Shared {
    /// For a number of workers with relays at these (external) addresses; draw the seed at start.
    #[must_use]
    pub fn new(settings: &Settings, authorize: Arc<dyn Authorize>, relays: Vec<IpAddr>, workers: u8, seed: u64) -> Self {
        Self {
            authorize,
            ledger: Ledger::new(settings.quotas),
            unauthenticated: SourceBudget::new(settings.unauthenticated, seed),
            binding: SourceBudget::new(settings.binding, seed.rotate_left(32)),
            directory: Directory::new(relays),
            workers,
        }
    }

    pub(super) fn features(&self, settings: &Settings) -> Features {
        Features { algorithms: settings.sha256, anonymity: self.authorize.knows_userhashes() }
    }
}

//! The network of the simulation: connections that can be cut after any byte, and the randomness that decides where.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use omnivox_core::{AppId, ChannelKey, ChannelName};
use omnivox_server::Simulated;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};

/// A small generator of numbers that is the same everywhere: SplitMix64.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x2545_f491_4f6c_dd1d).wrapping_add(0x9e37_79b9))
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, most: u64) -> u64 {
        self.next() % most.max(1)
    }

    pub(crate) fn fork(&mut self) -> Self {
        Self(self.next())
    }
}

/// Where clients connect.
pub(crate) struct Net {
    server: Simulated,
    shards: u16,
    next: Cell<u16>,
    cuts: Cell<usize>,
    healed: Cell<bool>,
    closed: Rc<RefCell<bool>>,
}

impl Net {
    pub(crate) fn new(server: Simulated, shards: u16) -> Self {
        Self { server, shards, next: Cell::new(0), cuts: Cell::new(0), healed: Cell::new(false), closed: Rc::default() }
    }

    /// A connection to one of the shards that breaks after `budget` bytes from the server.
    pub(crate) fn connect(&self, budget: u64) -> Line {
        let (client, server) = tokio::io::duplex(4096);
        let shard = self.next.replace((self.next.get() + 1) % self.shards);
        self.server.connect(shard, server);
        Line { stream: client, budget: if self.healed.get() { u64::MAX } else { budget }, closed: self.closed.clone() }
    }

    /// From now on nothing is cut.
    pub(crate) fn heal(&self) {
        self.healed.set(true);
    }

    pub(crate) fn count_cut(&self) {
        self.cuts.set(self.cuts.get() + 1);
    }

    pub(crate) fn cuts(&self) -> usize {
        self.cuts.get()
    }

    pub(crate) fn cut_all(&self) {
        *self.closed.borrow_mut() = true;
    }

    pub(crate) fn sweep(&self) {
        self.server.sweep();
    }

    pub(crate) async fn members(&self, channel: &str) -> usize {
        let key = ChannelKey::new(&AppId::parse("world").unwrap(), &ChannelName::parse(channel).unwrap());
        self.server.hub().presence().members(&key).await.unwrap().len()
    }
}

/// One connection, as its client holds it.
pub(crate) struct Line {
    stream: DuplexStream,
    budget: u64,
    closed: Rc<RefCell<bool>>,
}

/// The connection is gone.
#[derive(Debug)]
pub(crate) struct Cut;

impl Line {
    pub(crate) async fn write(&mut self, bytes: &[u8]) -> Result<(), Cut> {
        self.stream.write_all(bytes).await.map_err(|_| Cut)
    }

    /// Where nothing can be resumed from yet, the connection lives on; gives the bytes that it lives for behind [`limit`](Self::limit).
    pub(crate) fn unlimited_until_resumable(&mut self, resumable: bool) -> Option<u64> {
        (!resumable).then(|| std::mem::replace(&mut self.budget, u64::MAX))
    }

    /// From here on it lives for so many bytes.
    pub(crate) fn limit(&mut self, budget: Option<u64>) {
        if let Some(budget) = budget {
            self.budget = self.budget.min(budget);
        }
    }

    /// Reads some bytes; the last ones before the cut may be the first half of something.
    pub(crate) async fn read(&mut self, into: &mut Vec<u8>) -> Result<(), Cut> {
        if self.budget == 0 || *self.closed.borrow() {
            return Err(Cut);
        }
        let mut buffer = [0; 1024];
        let most = buffer.len().min(usize::try_from(self.budget).unwrap_or(usize::MAX));
        let count = self.stream.read(&mut buffer[..most]).await.map_err(|_| Cut)?;
        if count == 0 {
            return Err(Cut);
        }
        self.budget -= count as u64;
        into.extend_from_slice(&buffer[..count]);
        Ok(())
    }
}

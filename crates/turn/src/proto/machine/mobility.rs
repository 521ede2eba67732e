//! Mobility (RFC 8016): an allocation follows its client to a new address.
//!
//! A ticket is the number of a worker and 136 random bits, good for one move; in base64, because there are clients that keep it
//! as a C string. The old path stays in use until the first
//! packet on the new one, or for 30 seconds.
//!
//! Invariant: a ticket alone moves nothing; the request must be signed with the credential that made the allocation.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD as BASE64;

use super::auth::Who;
use super::{Actions, Call, FiveTuple, Host, Machine, Moment};
use crate::proto::attribute;

/// How long a new path may stay unconfirmed.
const CONFIRM_MILLIS: u64 = 30_000;

/// MOBILITY-TICKET.
pub(super) type Ticket = [u8; 24];

fn worker_of(ticket: Ticket) -> Option<u8> {
    let mut bytes = [0; 3];
    BASE64.decode_slice(&ticket[..4], &mut bytes).ok()?;
    Some(bytes[0])
}

impl Machine {
    /// Gives an allocation a new ticket and forgets the old one.
    pub(super) fn issue_ticket(&mut self, index: usize, host: &mut dyn Host) -> Ticket {
        let mut bytes = [0; 18];
        host.random(&mut bytes);
        bytes[0] = self.worker;
        let mut ticket = Ticket::default();
        // 18 bytes are 24 characters exactly.
        let _ = BASE64.encode_slice(bytes, &mut ticket);
        if let Some(old) = self.allocations[index].ticket.replace(ticket) {
            self.by_ticket.remove(&old);
        }
        self.by_ticket.insert(ticket, index);
        ticket
    }

    /// A Refresh with a ticket from a path that has no allocation.
    pub(super) fn resume(&mut self, call: Call<'_>, ticket: &[u8], host: &mut dyn Host, actions: &mut Actions) {
        let ticket: Option<Ticket> = ticket.try_into().ok();
        let index = ticket.and_then(|ticket| self.by_ticket.get(&ticket)).copied();
        let Some(caller) = self.authenticate(call, index, actions) else { return };
        if !self.settings.mobility {
            return self.refuse(call, 405, &caller.signature, actions);
        }
        if let Some(worker) = ticket.and_then(worker_of)
            && self.hand_over(worker, call, actions)
        {
            return;
        }
        let index = match (index, &caller.who) {
            (Some(index), Who::Owner) => index,
            (Some(_), Who::Other(_)) => return self.refuse(call, 441, &caller.signature, actions),
            (None, _) => return self.refuse(call, 437, &caller.signature, actions),
        };
        if call.message.number(attribute::LIFETIME) == Some(0) {
            Self::succeed(call, &caller.signature, actions, |writer| {
                writer.number(attribute::LIFETIME, 0);
            });
            return self.end(call.now, index, actions);
        }
        let lifetime = self.lifetime(call, self.allocations[index].ends);
        let ticket = self.issue_ticket(index, host);
        let allocation = &mut self.allocations[index];
        let until = call.now.millis + u64::from(lifetime) * 1000;
        for relay in &mut allocation.relays {
            relay.expires = until;
        }
        let earlier = allocation.next_path.replace((*call.from, call.now.millis + CONFIRM_MILLIS));
        if let Some((earlier, _)) = earlier {
            self.by_tuple.remove(&earlier);
        }
        self.by_tuple.insert(*call.from, index);
        Self::succeed(call, &caller.signature, actions, |writer| {
            writer.number(attribute::LIFETIME, lifetime).attribute(attribute::MOBILITY_TICKET, &ticket);
        });
    }

    /// A packet arrived from this path: if it was the announced one, it is the path from now on.
    pub(super) fn confirm_path(&mut self, index: usize, from: &FiveTuple) {
        let allocation = &mut self.allocations[index];
        if allocation.next_path.is_some_and(|(path, _)| path == *from) {
            allocation.next_path = None;
            let old = std::mem::replace(&mut allocation.tuple, *from);
            self.by_tuple.remove(&old);
        }
    }

    /// A path is gone; its allocation lives on and waits for another.
    pub(super) fn forget_path(&mut self, index: usize, path: &FiveTuple) {
        let allocation = &mut self.allocations[index];
        if allocation.next_path.is_some_and(|(next, _)| next == *path) {
            allocation.next_path = None;
            self.by_tuple.remove(path);
        }
    }

    pub(super) fn sweep_paths(&mut self, now: Moment) {
        if !self.settings.mobility {
            return;
        }
        for (_, allocation) in &mut self.allocations {
            if let Some((path, until)) = allocation.next_path
                && until <= now.millis
            {
                allocation.next_path = None;
                self.by_tuple.remove(&path);
            }
        }
    }
}

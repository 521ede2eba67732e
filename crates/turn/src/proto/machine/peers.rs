//! CreatePermission and ChannelBind (RFC 8656 §10, §12): which peers an allocation talks to.

use std::net::{IpAddr, SocketAddr};

use super::state::{Channel, Permission};
use super::{Actions, Call, Machine, Moment};
use crate::proto::address::Family;
use crate::proto::attribute;

impl Machine {
    pub(super) fn create_permission(&mut self, call: Call<'_>, actions: &mut Actions) {
        let Some((index, signature)) = self.owned(call, actions) else { return };
        if self.refuse_unknown(call, &attribute::PEER, &signature, actions) {
            return;
        }
        match self.permit_all(call, index) {
            Ok(()) => Self::succeed(call, &signature, actions, |_| {}),
            Err(code) => self.refuse(call, code, &signature, actions),
        }
    }

    /// All peers of the request, or none of them.
    fn permit_all(&mut self, call: Call<'_>, index: usize) -> Result<(), u16> {
        let transaction = call.message.transaction();
        let read = |value| crate::proto::address::read_xor(value, &transaction).ok_or(400_u16);
        let peers = call.message.all(attribute::XOR_PEER_ADDRESS).map(read).collect::<Result<Vec<_>, _>>()?;
        if peers.is_empty() {
            return Err(400);
        }
        for peer in &peers {
            self.reachable(index, peer.ip())?;
        }
        let mut new: Vec<IpAddr> = peers.iter().map(SocketAddr::ip).collect();
        new.sort_unstable();
        new.dedup();
        let held = &self.allocations[index].permissions;
        let more = new.iter().filter(|ip| !held.iter().any(|permission| permission.ip == **ip)).count();
        if held.len() + more > self.settings.permissions_max {
            return Err(508);
        }
        for ip in new {
            self.permit(call.now, index, ip);
        }
        Ok(())
    }

    /// The family must be one of the allocation's, and the policy must let packets out, or the address is our relays' own.
    fn reachable(&mut self, index: usize, ip: IpAddr) -> Result<(), u16> {
        if self.allocations[index].relay_of(Family::of(ip)).is_none() {
            return Err(443);
        }
        if !self.settings.peers.permits_ip(ip) && !self.shared.directory.has_ip(ip) {
            self.counters.permissions_denied += 1;
            return Err(403);
        }
        Ok(())
    }

    fn permit(&mut self, now: Moment, index: usize, ip: IpAddr) {
        let until = now.millis + u64::from(self.settings.permission_seconds) * 1000;
        let outside = self.settings.peers.permits_ip(ip);
        let allocation = &mut self.allocations[index];
        match allocation.permissions.iter_mut().find(|permission| permission.ip == ip) {
            Some(permission) => permission.until = until,
            None => allocation.permissions.push(Permission { ip, until, outside }),
        }
        for channel in allocation.channels.iter_mut().filter(|channel| channel.peer.ip() == ip) {
            channel.permitted_until = until;
        }
    }

    pub(super) fn channel_bind(&mut self, call: Call<'_>, actions: &mut Actions) {
        let Some((index, signature)) = self.owned(call, actions) else { return };
        if self.refuse_unknown(call, &attribute::CHANNEL_BIND, &signature, actions) {
            return;
        }
        match self.bind(call, index) {
            Ok(()) => Self::succeed(call, &signature, actions, |_| {}),
            Err(code) => self.refuse(call, code, &signature, actions),
        }
    }

    fn bind(&mut self, call: Call<'_>, index: usize) -> Result<(), u16> {
        let highest = if self.settings.old_channel_numbers { 0x7FFF } else { 0x4FFF };
        let number = call.message.number(attribute::CHANNEL_NUMBER).map(|value| value >> 16);
        let number = number.and_then(|number| u16::try_from(number).ok()).filter(|number| (0x4000..=highest).contains(number));
        let (Some(number), Some(peer)) = (number, call.message.address(attribute::XOR_PEER_ADDRESS)) else {
            return Err(400);
        };
        if self.allocations[index].tcp {
            return Err(400);
        }
        self.reachable(index, peer.ip())?;
        let outside = self.settings.peers.permits(peer);
        if !outside && !self.shared.directory.has_ip(peer.ip()) {
            self.counters.permissions_denied += 1;
            return Err(403);
        }
        let now = call.now.millis;
        let allocation = &mut self.allocations[index];
        let has_permission = allocation.permissions.iter().any(|permission| permission.ip == peer.ip());
        if !has_permission && allocation.permissions.len() >= self.settings.permissions_max {
            return Err(508);
        }
        allocation.channels.retain(|channel| channel.until > now);
        // A number belongs to one peer and a peer to one number.
        if allocation.channels.iter().any(|channel| (channel.number == number) != (channel.peer == peer)) {
            return Err(400);
        }
        let until = now + u64::from(self.settings.channel_seconds) * 1000;
        match allocation.channels.iter().position(|channel| channel.number == number) {
            Some(at) => allocation.channels[at].until = until,
            None if allocation.channels.len() >= self.settings.channels_max => return Err(508),
            None => allocation.channels.push(Channel { number, peer, until, permitted_until: 0, outside }),
        }
        self.permit(call.now, index, peer.ip());
        Ok(())
    }
}

//! Refresh (RFC 8656 §8.2): prolongs an allocation or one of its two relays, or ends it.

use super::{Actions, Call, Host, Machine};
use crate::proto::address::Family;
use crate::proto::attribute;

impl Machine {
    pub(super) fn refresh(&mut self, call: Call<'_>, host: &mut dyn Host, actions: &mut Actions) {
        let ticket = call.message.find(attribute::MOBILITY_TICKET);
        if let Some(ticket) = ticket
            && !self.by_tuple.contains_key(call.from)
        {
            return self.resume(call, ticket, host, actions);
        }
        let Some((index, signature)) = self.owned(call, actions) else { return };
        if self.refuse_unknown(call, &attribute::REFRESH, &signature, actions) {
            return;
        }
        let family = call.message.find(attribute::REQUESTED_ADDRESS_FAMILY).map(|value| value.first().copied().unwrap_or(0));
        let family = match family.map(Family::from_number) {
            Some(None) => return self.refuse(call, 440, &signature, actions),
            Some(Some(family)) if self.allocations[index].relay_of(family).is_none() => {
                return self.refuse(call, 443, &signature, actions);
            }
            Some(some) => some,
            None => None,
        };
        let lifetime = match call.message.number(attribute::LIFETIME) {
            Some(0) => 0,
            _ => self.lifetime(call, self.allocations[index].ends),
        };
        let ticket = ticket.filter(|_| self.settings.mobility && lifetime > 0).map(|_| self.issue_ticket(index, host));
        Self::succeed(call, &signature, actions, |writer| {
            writer.number(attribute::LIFETIME, lifetime);
            if let Some(ticket) = &ticket {
                writer.attribute(attribute::MOBILITY_TICKET, ticket);
            }
        });
        let until = call.now.millis + u64::from(lifetime) * 1000;
        let chosen = |address: std::net::SocketAddr| family.is_none_or(|family| Family::of(address.ip()) == family);
        for relay in self.allocations[index].relays.iter_mut().filter(|relay| chosen(relay.address)) {
            relay.expires = until;
        }
        if lifetime == 0 {
            self.drop_relays(call.now, index, actions);
        }
    }

    /// Closes the relays that have just been given up, and the allocation when none is left.
    fn drop_relays(&mut self, now: super::Moment, index: usize, actions: &mut Actions) {
        let relays = &self.allocations[index].relays;
        if relays.iter().all(|relay| relay.expires <= now.millis) {
            return self.end(now, index, actions);
        }
        let given_up: Vec<_> = relays.iter().filter(|relay| relay.expires <= now.millis).copied().collect();
        self.allocations[index].relays.retain(|relay| relay.expires > now.millis);
        for relay in given_up {
            self.close_relay(relay, actions);
        }
    }
}

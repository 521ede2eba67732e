//! Allocate (RFC 8656 §7.2): the order of its checks, the rules of address families, even ports and reservations.

use std::sync::Arc;

use smallvec::SmallVec;

use super::auth::{Caller, Who};
use super::state::{Allocation, Relay, Reservation, Traffic};
use super::{Action, Actions, Call, Host, Machine, OpenedRelay, RelayRefusal, RelayWish, Settings, Signature};
use crate::proto::address::Family;
use crate::proto::attribute;
use crate::proto::credentials::Grant;
use crate::proto::message::{Class, Message};
use crate::proto::rate::Bucket;

/// A reserved port waits this long for its claim.
const RESERVATION_MILLIS: u64 = 30_000;
/// Reserved ports of one worker.
const RESERVATIONS_MAX: usize = 1024;

/// What an Allocate asks for.
#[derive(Debug, PartialEq, Eq)]
enum Wanted {
    /// One relay, or an IPv4 and an IPv6 one.
    Open { wish: RelayWish, additional: bool },
    /// The port of an earlier reservation.
    Claim([u8; 8]),
}

impl Wanted {
    /// Reads the request; the error is the code of the answer.
    fn parse(message: &Message<'_>, stream: bool, settings: &Settings) -> Result<Self, u16> {
        let transport = message.number(attribute::REQUESTED_TRANSPORT).ok_or(400_u16)?.to_be_bytes()[0];
        let even = message.find(attribute::EVEN_PORT).map(|value| value.first().copied().unwrap_or(0));
        let token = message.find(attribute::RESERVATION_TOKEN);
        let dont_fragment = message.find(attribute::DONT_FRAGMENT).is_some();
        let tcp = match transport {
            17 => false,
            6 if settings.tcp_relay => true,
            _ => return Err(442),
        };
        if tcp && (!stream || dont_fragment || even.is_some() || token.is_some()) {
            return Err(400);
        }
        let requested = message.number(attribute::REQUESTED_ADDRESS_FAMILY).map(|value| value.to_be_bytes()[0]);
        let additional = message.number(attribute::ADDITIONAL_ADDRESS_FAMILY).map(|value| value.to_be_bytes()[0]);
        let pair = even.is_some_and(|flags| flags & 0x80 != 0);
        if additional.is_some_and(|family| family != Family::V6.number())
            || (additional.is_some() && (requested.is_some() || pair || token.is_some()))
            || (token.is_some() && (even.is_some() || requested.is_some()))
        {
            return Err(400);
        }
        if let Some(token) = token {
            return token.try_into().map(Self::Claim).map_err(|_| 400);
        }
        let family = Family::from_number(requested.unwrap_or(Family::V4.number())).ok_or(440_u16)?;
        let wish = RelayWish { family, tcp, even: even.is_some(), pair };
        Ok(Self::Open { wish, additional: additional.is_some() })
    }
}

/// The relays of a new allocation.
struct Opened {
    relays: SmallVec<[OpenedRelay; 2]>,
    token: Option<[u8; 8]>,
    family_error: Option<(Family, u16)>,
    tcp: bool,
}

impl From<RelayRefusal> for u16 {
    fn from(refusal: RelayRefusal) -> Self {
        match refusal {
            RelayRefusal::Family => 440,
            RelayRefusal::Capacity => 508,
        }
    }
}

impl Machine {
    pub(super) fn allocate(&mut self, call: Call<'_>, host: &mut dyn Host, actions: &mut Actions) {
        let existing = self.by_tuple.get(call.from).copied();
        let Some(caller) = self.authenticate(call, existing, actions) else { return };
        if let Some(index) = existing {
            return self.allocate_again(call, index, &caller, actions);
        }
        let Who::Other(grant) = &caller.who else { return };
        if self.refuse_unknown(call, &attribute::ALLOCATE, &caller.signature, actions) {
            return;
        }
        if let Some(alternate) = self.draining {
            return self.send_away(call, alternate, &caller.signature, actions);
        }
        let mobile = call.message.find(attribute::MOBILITY_TICKET).is_some();
        let wanted = match Wanted::parse(call.message, call.from.transport.is_stream(), &self.settings) {
            Ok(_) if mobile && !self.settings.mobility => Err(405),
            other => other,
        };
        let wanted = match wanted {
            Ok(wanted) => wanted,
            Err(code) => return self.refuse(call, code, &caller.signature, actions),
        };
        if let Wanted::Claim(token) = &wanted
            && self.hand_over(token[0], call, actions)
        {
            return;
        }
        match self.admit(call, grant, &caller, &wanted, host) {
            Ok(index) => {
                if mobile {
                    self.issue_ticket(index, host);
                }
                self.allocated(call, index, &caller.signature, actions);
            }
            Err(code) => self.refuse(call, code, &caller.signature, actions),
        }
    }

    /// A retransmitted request gets the same answer; any other finds the path taken.
    fn allocate_again(&mut self, call: Call<'_>, index: usize, caller: &Caller, actions: &mut Actions) {
        let same = self.allocations[index].transaction == call.message.transaction();
        match &caller.who {
            Who::Owner if same => self.allocated(call, index, &caller.signature, actions),
            _ => self.refuse(call, 437, &caller.signature, actions),
        }
    }

    fn send_away(&mut self, call: Call<'_>, alternate: Option<std::net::SocketAddr>, signature: &Signature, actions: &mut Actions) {
        let Some(alternate) = alternate else { return self.refuse(call, 508, signature, actions) };
        self.counters.count_error(300);
        Self::answer(call, Class::Error, Some(signature), actions, |writer| {
            writer.error(300).plain_address(attribute::ALTERNATE_SERVER, alternate);
        });
    }

    fn admit(&mut self, call: Call<'_>, grant: &Grant, caller: &Caller, wanted: &Wanted, host: &mut dyn Host) -> Result<usize, u16> {
        let opening = self.shared.ledger.open(call.now.millis, call.from.client.ip(), grant);
        let (charge, meters) = opening.map_err(|reached| self.counters.count_refusal(reached))?;
        let opened = match self.open(call, grant, wanted, host) {
            Ok(opened) => opened,
            Err(code) => {
                self.shared.ledger.close(call.now.millis, charge);
                return Err(code);
            }
        };
        let ends_unix = grant.ends_unix.or_else(|| grant.expires_unix.filter(|_| self.settings.credentials_end_allocations));
        // The last second of a credential is still good.
        let ends = ends_unix
            .map_or(u64::MAX, |unix| call.now.millis.saturating_add((unix + 1).saturating_sub(call.now.unix).saturating_mul(1000)));
        let expires = call.now.millis + u64::from(self.lifetime(call, ends)) * 1000;
        let relays = opened.relays.iter().map(|relay| Relay { id: relay.id, address: relay.address, expires }).collect();
        let index = self.allocations.insert(Allocation {
            tuple: *call.from,
            relays,
            permissions: SmallVec::new(),
            channels: SmallVec::new(),
            key: caller.signature.key.clone(),
            algorithm: caller.algorithm,
            credential: Arc::clone(&grant.credential),
            holder: Arc::clone(&grant.holder),
            user: Arc::clone(&grant.user),
            app: grant.app.clone(),
            room: grant.room.clone(),
            transaction: call.message.transaction(),
            family_error: opened.family_error,
            token: opened.token,
            tcp: opened.tcp,
            ticket: None,
            next_path: None,
            bucket: Bucket::default(),
            meters,
            charge,
            ends,
            began: call.now,
            traffic: Traffic::default(),
        });
        self.by_tuple.insert(*call.from, index);
        for relay in &opened.relays {
            self.by_relay.insert(relay.id, index);
            self.by_relayed.insert(relay.address, index);
            self.shared.directory.enter(relay.address, self.worker);
        }
        self.counters.allocations_created += 1;
        Ok(index)
    }

    fn open(&mut self, call: Call<'_>, grant: &Grant, wanted: &Wanted, host: &mut dyn Host) -> Result<Opened, u16> {
        match wanted {
            Wanted::Claim(token) => {
                let owner = (grant.app.clone(), Arc::clone(&grant.user));
                if self.reservations.get(token).is_none_or(|reservation| reservation.user != owner) {
                    return Err(508);
                }
                let reservation = self.reservations.remove(token).ok_or(508_u16)?;
                Ok(Opened { relays: SmallVec::from_iter([reservation.relay]), token: None, family_error: None, tcp: false })
            }
            Wanted::Open { wish, additional } => {
                if wish.pair && self.reservations.len() >= RESERVATIONS_MAX {
                    return Err(508);
                }
                let first = host.open_relay(*wish);
                let second = additional.then(|| host.open_relay(RelayWish { family: Family::V6, ..*wish }));
                let (relays, family_error) = match (first, second) {
                    (Ok(first), Some(Ok(second))) => return Ok(Opened::of([first.0, second.0], wish.tcp)),
                    (Ok(first), Some(Err(refusal))) => (first, Some((Family::V6, refusal.into()))),
                    (Err(refusal), Some(Ok(second))) => (second, Some((Family::V4, refusal.into()))),
                    (Ok(first), None) => (first, None),
                    (Err(refusal), _) => return Err(refusal.into()),
                };
                let token = relays.1.map(|relay| self.reserve(call, grant, relay, host));
                Ok(Opened { family_error, token, ..Opened::of([relays.0], wish.tcp) })
            }
        }
    }

    fn reserve(&mut self, call: Call<'_>, grant: &Grant, relay: OpenedRelay, host: &mut dyn Host) -> [u8; 8] {
        let mut token = [0; 8];
        host.random(&mut token);
        token[0] = self.worker;
        let user = (grant.app.clone(), Arc::clone(&grant.user));
        let until = call.now.millis + RESERVATION_MILLIS;
        self.reservations.insert(token, Reservation { relay, user, until });
        token
    }

    /// The lifetime that a request gets: at least the default, at most the maximum, and never beyond the allocation's end.
    pub(super) fn lifetime(&self, call: Call<'_>, ends: u64) -> u32 {
        let (least, most) = (self.settings.lifetime_default_seconds, self.settings.lifetime_max_seconds);
        let wanted = call.message.number(attribute::LIFETIME).unwrap_or(least).max(least).min(most.max(least));
        let left = ends.saturating_sub(call.now.millis) / 1000;
        wanted.min(u32::try_from(left).unwrap_or(u32::MAX))
    }

    fn allocated(&self, call: Call<'_>, index: usize, signature: &Signature, actions: &mut Actions) {
        let allocation = &self.allocations[index];
        let mut relays: SmallVec<[Relay; 2]> = allocation.relays.clone();
        relays.sort_unstable_by_key(|relay| relay.address.is_ipv6());
        let left = relays.iter().map(|relay| relay.expires).max().unwrap_or(0).saturating_sub(call.now.millis);
        Self::succeed(call, signature, actions, |writer| {
            for relay in &relays {
                writer.xor_address(attribute::XOR_RELAYED_ADDRESS, relay.address);
            }
            writer.number(attribute::LIFETIME, u32::try_from(left.div_ceil(1000)).unwrap_or(u32::MAX));
            writer.xor_address(attribute::XOR_MAPPED_ADDRESS, call.from.client);
            if let Some(token) = &allocation.token {
                writer.attribute(attribute::RESERVATION_TOKEN, token);
            }
            if let Some((family, code)) = allocation.family_error {
                let [_, _, class, number] = crate::proto::message::error_value(code);
                writer.attribute(attribute::ADDRESS_ERROR_CODE, &[family.number(), 0, class, number]);
            }
            if let Some(ticket) = &allocation.ticket {
                writer.attribute(attribute::MOBILITY_TICKET, ticket);
            }
        });
    }

    pub(super) fn sweep_reservations(&mut self, now: super::Moment, actions: &mut Actions) {
        self.reservations.retain(|_, reservation| {
            let waits = reservation.until > now.millis;
            if !waits {
                actions.list.push(Action::CloseRelay(reservation.relay.id));
            }
            waits
        });
    }
}

impl Opened {
    fn of<const N: usize>(relays: [OpenedRelay; N], tcp: bool) -> Self {
        Self { relays: relays.into_iter().collect(), token: None, family_error: None, tcp }
    }
}

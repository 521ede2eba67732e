//! Binding, and the behaviour discovery of RFC 5780 where it is switched on.
//!
//! A plain answer has XOR-MAPPED-ADDRESS and nothing else: 32 bytes for IPv4. CHANGE-REQUEST, RESPONSE-PORT and PADDING
//! turn a server into a reflector, so with discovery off they are unknown attributes.

use std::net::SocketAddr;

use super::{Action, Actions, Call, Class, Machine, Method};
use crate::proto::attribute;
use crate::proto::message::Writer;

/// The longest PADDING of an answer: one Ethernet frame.
const PADDING_MAX_BYTES: usize = 1500;

impl Machine {
    pub(super) fn binding(&mut self, call: Call<'_>, actions: &mut Actions) {
        let source = call.from.client.ip();
        if !call.from.transport.is_stream() && !self.shared.binding.take(call.now.millis, source) {
            self.counters.dropped_budget += 1;
            return;
        }
        let discovery = self.settings.discovery.filter(|discovery| discovery.addresses().contains(&call.from.server));
        let known: &[u16] = if discovery.is_some() { &attribute::BINDING_DISCOVERY } else { &attribute::BINDING };
        let unknown: Vec<u8> = call.message.unknown(known).flat_map(u16::to_be_bytes).collect();
        if !unknown.is_empty() {
            self.counters.count_error(420);
            return Self::answer(call, Class::Error, None, actions, |writer| {
                writer.error(420).attribute(attribute::UNKNOWN_ATTRIBUTES, &unknown);
            });
        }
        self.counters.binding_requests += 1;
        match discovery {
            Some(_) => self.discover(call, actions),
            None => Self::answer(call, Class::Success, None, actions, |writer| {
                writer.xor_address(attribute::XOR_MAPPED_ADDRESS, call.from.client);
            }),
        }
    }

    fn discover(&self, call: Call<'_>, actions: &mut Actions) {
        let Some(discovery) = self.settings.discovery else { return };
        let flags = call.message.number(attribute::CHANGE_REQUEST).unwrap_or(0);
        let origin = discovery.changed(call.from.server, flags & 4 != 0, flags & 2 != 0);
        let port = call.message.find(attribute::RESPONSE_PORT).and_then(|value| value.first_chunk::<2>());
        let to = match port {
            Some(port) => SocketAddr::new(call.from.client.ip(), u16::from_be_bytes(*port)),
            None => call.from.client,
        };
        let start = actions.bytes.len();
        let mut writer = Writer::new(&mut actions.bytes, Class::Success, Method::Binding, call.message.transaction());
        writer
            .xor_address(attribute::XOR_MAPPED_ADDRESS, call.from.client)
            .plain_address(attribute::MAPPED_ADDRESS, call.from.client)
            .plain_address(attribute::RESPONSE_ORIGIN, origin)
            .plain_address(attribute::OTHER_ADDRESS, discovery.changed(call.from.server, true, true));
        if let Some(padding) = call.message.find(attribute::PADDING) {
            writer.attribute(attribute::PADDING, &[0; PADDING_MAX_BYTES][..padding.len().min(PADDING_MAX_BYTES)]);
        }
        if call.message.has_fingerprint() {
            writer.fingerprint();
        }
        let bytes = start..actions.bytes.len();
        let redirected = origin != call.from.server || to != call.from.client;
        actions.list.push(match call.from.transport.is_stream() || !redirected {
            true => Action::Reply { to: *call.from, bytes },
            false => Action::ReplyFrom { server: origin, to, bytes },
        });
    }
}

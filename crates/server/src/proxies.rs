//! Which proxies are believed, and who the client behind them is.
//!
//! A proxy appends whom it heard from, so the list is read from its right end: hops that are trusted themselves are skipped, and the first
//! other one is the client, whatever a client wrote to the left of it. Only one family of headers is believed, because a proxy that writes one
//! passes the other on as it came.
//!
//! Invariant: what comes from an address that is not listed changes nothing.

use std::fmt;
use std::net::IpAddr;

use crate::shard::Peer;

/// The proxies that are believed.
#[derive(Clone, Debug, Default)]
pub struct Proxies {
    /// Their addresses.
    pub trusted: Vec<Network>,
    /// The headers that they write.
    pub headers: ProxyHeaders,
}

/// The headers in which proxies say who the client is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ProxyHeaders {
    /// `X-Forwarded-For` and `X-Forwarded-Proto`.
    #[default]
    XForwarded,
    /// `Forwarded` (RFC 7239).
    Forwarded,
}

/// An address, or all addresses with the same first bits: `10.0.0.0/8`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    first: IpAddr,
    bits: u8,
}

/// A text that is no network.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is neither an IP address nor a network such as \"10.0.0.0/8\" or \"fd00::/8\"")]
pub struct InvalidNetwork(String);

impl Network {
    /// Reads an address, or a network in CIDR notation; bits behind the prefix must be zero.
    pub fn parse(text: &str) -> Result<Self, InvalidNetwork> {
        let invalid = || InvalidNetwork(text.to_owned());
        let (ip, bits) = text.split_once('/').map_or((text, None), |(ip, bits)| (ip, Some(bits)));
        let first: IpAddr = ip.parse().map_err(|_| invalid())?;
        let most = if first.is_ipv4() { 32 } else { 128 };
        let bits = bits.map_or(Ok(most), |bits| bits.parse().map_err(|_| invalid()))?;
        let network = Self { first, bits };
        if bits > most || network.kept(first) != address_bits(first) {
            return Err(invalid());
        }
        Ok(network)
    }

    /// Whether the address is in it; an IPv4 address mapped into IPv6 is the IPv4 address.
    pub fn contains(&self, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        ip.is_ipv4() == self.first.is_ipv4() && self.kept(ip) == address_bits(self.first)
    }

    /// The address without the bits behind the prefix.
    fn kept(&self, ip: IpAddr) -> u128 {
        let width = if ip.is_ipv4() { 32 } else { 128 };
        let behind = u32::from(width - self.bits.min(width));
        address_bits(ip).checked_shr(behind).and_then(|bits| bits.checked_shl(behind)).unwrap_or(0)
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.first, self.bits)
    }
}

fn address_bits(ip: IpAddr) -> u128 {
    match ip {
        IpAddr::V4(ip) => u128::from(ip.to_bits()),
        IpAddr::V6(ip) => ip.to_bits(),
    }
}

/// A hop in a list, as its neighbour on the right saw it.
struct Hop<'h> {
    /// `None` for what can't be read: `unknown`, an obfuscated name.
    ip: Option<IpAddr>,
    protocol: Option<&'h str>,
}

impl Proxies {
    /// Whether what comes from this address is believed.
    pub fn trusts(&self, ip: IpAddr) -> bool {
        self.trusted.iter().any(|network| network.contains(ip))
    }

    /// The client of a request that came from `peer`, given the values of a header by its lower-case name.
    pub(crate) fn client<'h, V: Iterator<Item = &'h [u8]>>(&self, peer: Peer, values: impl Fn(&'static str) -> V) -> Peer {
        if !self.trusts(peer.ip) {
            return peer;
        }
        let hops = match self.headers {
            ProxyHeaders::XForwarded => x_forwarded(&values),
            ProxyHeaders::Forwarded => forwarded(&values),
        };
        let mut client = peer;
        for hop in hops.into_iter().rev() {
            if let Some(protocol) = hop.protocol {
                client.secure = protocol.eq_ignore_ascii_case("https") || protocol.eq_ignore_ascii_case("wss");
            }
            let Some(ip) = hop.ip else { break };
            client.ip = ip;
            if !self.trusts(ip) {
                break;
            }
        }
        client
    }
}

/// All elements of a header's values, in order.
fn elements<'h>(values: impl Iterator<Item = &'h [u8]>) -> impl Iterator<Item = &'h str> {
    // An element that is no text is there all the same: it must not move the others.
    values.flat_map(|value| str::from_utf8(value).unwrap_or_default().split(',')).map(|element| element.trim_matches([' ', '\t']))
}

fn x_forwarded<'h, V: Iterator<Item = &'h [u8]>>(values: impl Fn(&'static str) -> V) -> Vec<Hop<'h>> {
    let protocols: Vec<&str> = elements(values("x-forwarded-proto")).collect();
    let mut hops: Vec<Hop<'h>> = elements(values("x-forwarded-for")).map(|text| Hop { ip: node(text), protocol: None }).collect();
    if protocols.len() == hops.len() {
        hops.iter_mut().zip(protocols).for_each(|(hop, protocol)| hop.protocol = Some(protocol));
    } else if let (Some(hop), Some(protocol)) = (hops.last_mut(), protocols.last()) {
        hop.protocol = Some(protocol);
    }
    hops
}

fn forwarded<'h, V: Iterator<Item = &'h [u8]>>(values: impl Fn(&'static str) -> V) -> Vec<Hop<'h>> {
    let hop = |element: &'h str| {
        let mut hop = Hop { ip: None, protocol: None };
        for (name, value) in element.split(';').filter_map(|pair| pair.split_once('=')) {
            let value = value.trim().trim_matches('"');
            match name.trim() {
                name if name.eq_ignore_ascii_case("for") => hop.ip = node(value),
                name if name.eq_ignore_ascii_case("proto") => hop.protocol = Some(value),
                _ => {}
            }
        }
        hop
    };
    elements(values("forwarded")).map(hop).collect()
}

/// The address of a node: `203.0.113.7`, `203.0.113.7:4711`, `2001:db8::7`, `[2001:db8::7]`, `[2001:db8::7]:4711`.
fn node(text: &str) -> Option<IpAddr> {
    let bare = || text.strip_prefix('[')?.strip_suffix(']')?.parse().ok();
    let with_port = || text.parse::<std::net::SocketAddr>().ok().map(|address| address.ip());
    text.parse().ok().or_else(bare).or_else(with_port).map(|ip: IpAddr| ip.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks() {
        let check = |network: &str, inside: &str, outside: &str| {
            let network = Network::parse(network).unwrap();
            assert!(network.contains(inside.parse().unwrap()), "{inside} in {network}");
            assert!(!network.contains(outside.parse().unwrap()), "{outside} not in {network}");
            assert_eq!(Network::parse(&network.to_string()), Ok(network));
        };
        check("10.0.0.0/8", "10.255.0.1", "11.0.0.0");
        check("10.0.0.0/8", "::ffff:10.1.1.1", "::a00:1");
        check("192.168.1.7", "192.168.1.7", "192.168.1.6");
        check("0.0.0.0/0", "8.8.8.8", "::1");
        check("fd00::/8", "fd12::1", "fe00::1");
        check("::/0", "2001:db8::1", "10.0.0.1");
        for wrong in ["", "10.0.0.0/33", "10.0.0.1/8", "fd00::/129", "10.0.0.0/", "ten", "10.0.0.0/8/8"] {
            assert_eq!(Network::parse(wrong), Err(InvalidNetwork(wrong.to_owned())));
        }
    }

    /// `peer` and the lines of its request against the client that comes of it.
    #[track_caller]
    fn check(headers: ProxyHeaders, peer: &str, lines: &[(&str, &str)], client: &str) {
        let trusted = ["10.0.0.0/8", "fd00::/8"].map(|network| Network::parse(network).unwrap()).to_vec();
        let proxies = Proxies { trusted, headers };
        let peer = Peer { ip: peer.parse().unwrap(), secure: false };
        let found = proxies.client(peer, |name| {
            let wanted = name.to_owned();
            lines.iter().filter(move |(name, _)| *name == wanted).map(|(_, value)| value.as_bytes())
        });
        assert_eq!(format!("{}{}", if found.secure { "tls " } else { "" }, found.ip), client, "{lines:?}");
    }

    #[test]
    fn the_right_most_hop_that_is_not_trusted_is_the_client() {
        let x = |peer, lines: &[(&str, &str)], client| check(ProxyHeaders::XForwarded, peer, lines, client);
        x("203.0.113.9", &[("x-forwarded-for", "1.1.1.1"), ("x-forwarded-proto", "https")], "203.0.113.9");
        x("10.0.0.1", &[], "10.0.0.1");
        x("10.0.0.1", &[("x-forwarded-for", "203.0.113.7")], "203.0.113.7");
        x("10.0.0.1", &[("x-forwarded-for", "1.1.1.1, 203.0.113.7")], "203.0.113.7");
        x("10.0.0.1", &[("x-forwarded-for", "1.1.1.1"), ("x-forwarded-for", "203.0.113.7, 10.0.0.2")], "203.0.113.7");
        x("10.0.0.1", &[("x-forwarded-for", "10.0.0.3,10.0.0.2")], "10.0.0.3");
        x("fd00::1", &[("x-forwarded-for", "[2001:db8::7]:4711")], "2001:db8::7");
        x("10.0.0.1", &[("x-forwarded-for", "203.0.113.7:99")], "203.0.113.7");
        x("10.0.0.1", &[("x-forwarded-for", "::ffff:203.0.113.7")], "203.0.113.7");
        x("10.0.0.1", &[("x-forwarded-for", "203.0.113.7, unknown")], "10.0.0.1");
        x("10.0.0.1", &[("x-forwarded-for", "203.0.113.7,")], "10.0.0.1");
        x("10.0.0.1", &[("forwarded", "for=1.1.1.1")], "10.0.0.1");
    }

    #[test]
    fn the_protocol_is_that_of_the_clients_own_hop() {
        let x = |for_: &str, proto: &str, client| {
            check(ProxyHeaders::XForwarded, "10.0.0.1", &[("x-forwarded-for", for_), ("x-forwarded-proto", proto)], client);
        };
        x("203.0.113.7", "https", "tls 203.0.113.7");
        x("203.0.113.7", "http", "203.0.113.7");
        x("203.0.113.7", "http, https", "tls 203.0.113.7");
        x("203.0.113.7, 10.0.0.2", "https, http", "tls 203.0.113.7");
        x("1.1.1.1, 203.0.113.7", "https, http", "203.0.113.7");
    }

    #[test]
    fn forwarded_elements() {
        let f = |value: &str, client| {
            check(ProxyHeaders::Forwarded, "10.0.0.1", &[("forwarded", value), ("x-forwarded-for", "1.1.1.1")], client);
        };
        f("for=203.0.113.7", "203.0.113.7");
        f("For=\"[2001:db8::7]:4711\";Proto=https;by=10.0.0.1", "tls 2001:db8::7");
        f("for=1.1.1.1;proto=https, for=203.0.113.7;proto=http", "203.0.113.7");
        f("for=203.0.113.7;proto=https, for=10.0.0.2;proto=http", "tls 203.0.113.7");
        f("for=203.0.113.7, for=_hidden", "10.0.0.1");
        f("for=203.0.113.7, proto=https", "tls 10.0.0.1");
    }
}

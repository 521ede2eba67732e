//! Which addresses may be reached on behalf of somebody else: the relay's peers, and URLs that came from a client.
//!
//! A server inside a network is a door into it, so by default only global unicast addresses are peers. An address is judged
//! in every disguise: `::ffff:127.0.0.1`, `::7f00:1`, `2002:7f00:1::`, `64:ff9b::7f00:1` and a Teredo address all name
//! 127.0.0.1 to some router.
//!
//! Invariant: an allow rule names the innermost address; a deny rule is matched against the address and all that hide in it.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use smallvec::SmallVec;

/// A range of addresses, first and last included; parsed from `10.0.0.0/8`, `10.0.0.1` or `10.0.0.1-10.0.0.9`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddressRange {
    first: u128,
    last: u128,
    v6: bool,
}

/// A rule that can't be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no address range: write 10.0.0.0/8, 10.0.0.1 or 10.0.0.1-10.0.0.9")]
pub struct InvalidRange(String);

fn number(ip: IpAddr) -> (u128, bool) {
    match ip {
        IpAddr::V4(ip) => (u128::from(u32::from(ip)), false),
        IpAddr::V6(ip) => (u128::from(ip), true),
    }
}

impl AddressRange {
    /// Whether the address lies in it.
    #[must_use]
    pub fn contains(&self, ip: IpAddr) -> bool {
        let (value, v6) = number(ip);
        v6 == self.v6 && (self.first..=self.last).contains(&value)
    }
}

impl FromStr for AddressRange {
    type Err = InvalidRange;

    fn from_str(text: &str) -> Result<Self, InvalidRange> {
        let wrong = || InvalidRange(text.to_owned());
        let address = |part: &str| part.trim().parse::<IpAddr>().map_err(|_| wrong());
        if let Some((net, prefix)) = text.split_once('/') {
            let (base, v6) = number(address(net)?);
            let bits = if v6 { 128 } else { 32 };
            let prefix: u32 = prefix.trim().parse().map_err(|_| wrong())?;
            let host_bits = u32::checked_sub(bits, prefix).ok_or_else(wrong)?;
            let hosts = 1u128.checked_shl(host_bits).map_or(u128::MAX, |size| size - 1);
            if base & hosts != 0 {
                return Err(wrong());
            }
            return Ok(Self { first: base, last: base | hosts, v6 });
        }
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let ((first, v6), (last, last_v6)) = (number(address(first)?), number(address(last)?));
        if v6 != last_v6 || first > last {
            return Err(wrong());
        }
        Ok(Self { first, last, v6 })
    }
}

impl fmt::Display for AddressRange {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let show = |value: u128| match u32::try_from(value) {
            Ok(value) if !self.v6 => IpAddr::V4(value.into()),
            _ => IpAddr::V6(value.into()),
        };
        write!(formatter, "{}-{}", show(self.first), show(self.last))
    }
}

/// Ranges that are no peers unless a rule allows them: this network, private, shared, loopback, link-local, protocol
/// assignments, documentation, the 6to4 relay, benchmarking, multicast, reserved; and the same for IPv6.
pub const DENIED_BY_DEFAULT: [&str; 29] = [
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.0.2.0/24",
    "192.88.99.0/24",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "198.51.100.0/24",
    "203.0.113.0/24",
    "224.0.0.0/4",
    "240.0.0.0/4",
    "::/128",
    "::1/128",
    "::ffff:0:0/96",
    "64:ff9b:1::/48",
    "100::/64",
    "2001::/23",
    "2001:db8::/32",
    "3fff::/20",
    "5f00::/16",
    "fc00::/7",
    "fe80::/10",
    "fec0::/10",
    "ff00::/8",
    // IPv4-compatible addresses were given up; whatever answers there is a tunnel.
    "::/96",
];

/// The rules for peers.
#[derive(Clone, Debug)]
pub struct PeerPolicy {
    allowed: Vec<AddressRange>,
    denied: Vec<AddressRange>,
    /// Ports that no peer may have, such as 25 or 53.
    denied_ports: Vec<u16>,
    /// Prefixes under which an operator's NAT64 embeds IPv4, as /96.
    nat64: Vec<u128>,
    /// The server's own doors and the services behind it, refused even where their address is allowed.
    own: Vec<SocketAddr>,
}

impl Default for PeerPolicy {
    fn default() -> Self {
        let denied = DENIED_BY_DEFAULT.iter().map(|text| text.parse().expect("the built-in ranges parse")).collect();
        Self { allowed: Vec::new(), denied, denied_ports: Vec::new(), nat64: Vec::new(), own: Vec::new() }
    }
}

impl PeerPolicy {
    /// Allows a range that is denied otherwise: allow beats deny.
    pub fn allow(&mut self, range: AddressRange) {
        self.allowed.push(range);
    }

    /// Denies a range.
    pub fn deny(&mut self, range: AddressRange) {
        self.denied.push(range);
    }

    /// Denies a port of every peer.
    pub fn deny_port(&mut self, port: u16) {
        self.denied_ports.push(port);
    }

    /// Denies one address and port whatever the rules say: listeners, brokers, databases. An unspecified address stands
    /// for every address of the machine.
    pub fn deny_own(&mut self, address: SocketAddr) {
        self.own.push(address);
    }

    /// Declares a NAT64 prefix (/96) of the operator's network beside `64:ff9b::/96`.
    pub fn nat64_prefix(&mut self, prefix: Ipv6Addr) {
        self.nat64.push(u128::from(prefix) >> 32);
    }

    /// Whether packets may go to this IP address at all.
    #[must_use]
    pub fn permits_ip(&self, ip: IpAddr) -> bool {
        let layers = self.layers(ip);
        let innermost = *layers.last().expect("the address itself is a layer");
        if self.allowed.iter().any(|range| range.contains(innermost)) {
            return true;
        }
        !layers.iter().any(|layer| self.denied.iter().any(|range| range.contains(*layer)))
    }

    /// Whether packets may go to this address and port.
    #[must_use]
    pub fn permits(&self, peer: SocketAddr) -> bool {
        self.permits_ip(peer.ip()) && self.permits_port(peer)
    }

    /// The part of the judgement that depends on the port.
    #[must_use]
    pub fn permits_port(&self, peer: SocketAddr) -> bool {
        if peer.port() == 0 || self.denied_ports.contains(&peer.port()) {
            return false;
        }
        let innermost = *self.layers(peer.ip()).last().expect("the address itself is a layer");
        !self.own.iter().any(|own| {
            own.port() == peer.port()
                && (own.ip() == innermost || own.ip() == peer.ip() || (own.ip().is_unspecified() && self.is_near(innermost)))
        })
    }

    /// With a wildcard listener every address that only an allow rule admits may be this machine.
    fn is_near(&self, ip: IpAddr) -> bool {
        self.denied.iter().any(|range| range.contains(ip))
    }

    /// The address and every address hidden in it, outermost first.
    fn layers(&self, ip: IpAddr) -> SmallVec<[IpAddr; 3]> {
        let mut layers = SmallVec::from_iter([ip]);
        let mut ip = ip;
        while let IpAddr::V6(outer) = ip {
            let Some(inner) = self.embedded(outer) else { break };
            layers.push(IpAddr::V4(inner));
            ip = IpAddr::V4(inner);
        }
        layers
    }

    fn embedded(&self, ip: Ipv6Addr) -> Option<Ipv4Addr> {
        let bits = u128::from(ip);
        #[expect(clippy::cast_possible_truncation, reason = "the low 32 bits are the address")]
        let at = |shift: u32| Ipv4Addr::from((bits >> shift) as u32);
        let segments = ip.segments();
        match segments {
            // Mapped, and compatible without :: and ::1 themselves.
            [0, 0, 0, 0, 0, 0xffff, ..] => Some(at(0)),
            [0, 0, 0, 0, 0, 0, ..] if bits > 1 => Some(at(0)),
            // NAT64, well known; also the translated form ::ffff:0:a.b.c.d of SIIT.
            [0x64, 0xff9b, 0, 0, 0, 0, ..] | [0, 0, 0, 0, 0xffff, 0, ..] => Some(at(0)),
            [0x2002, ..] => Some(at(80)),
            // Teredo: the client's address, every bit turned.
            #[expect(clippy::cast_possible_truncation, reason = "the low 32 bits are the address")]
            [0x2001, 0, ..] => Some(Ipv4Addr::from(!(bits as u32))),
            _ if self.nat64.contains(&(bits >> 32)) => Some(at(0)),
            // ISATAP: an interface identifier of 0:5efe or 200:5efe.
            [_, _, _, _, 0 | 0x200, 0x5efe, ..] => Some(at(0)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(policy: &PeerPolicy, permitted: bool, peers: &[&str]) {
        for peer in peers {
            let address: SocketAddr = peer.parse().expect("an address");
            assert_eq!(policy.permits(address), permitted, "{peer}");
        }
    }

    #[test]
    fn nothing_but_global_addresses_by_default() {
        let policy = PeerPolicy::default();
        check(
            &policy,
            true,
            &[
                "8.8.8.8:53",
                "1.0.0.0:1",
                "[2606:4700::1]:9",
                "172.32.0.1:1",
                "[2002:808:808::1]:1",
                "[64:ff9b::808:808]:1",
                "223.255.255.255:5",
            ],
        );
        check(
            &policy,
            false,
            &[
                "0.0.0.0:1",
                "0.1.2.3:1",
                "10.1.1.1:1",
                "100.64.0.1:1",
                "127.0.0.1:1",
                "127.255.255.254:1",
                "169.254.169.254:80",
                "172.16.0.1:1",
                "172.31.255.255:1",
                "192.0.0.1:1",
                "192.168.1.1:1",
                "198.19.1.1:1",
                "224.0.0.1:1",
                "255.255.255.255:1",
                "240.0.0.1:1",
                "[::]:1",
                "[::1]:1",
                "[fe80::1]:1",
                "[fd00::1]:1",
                "[fec0::1]:1",
                "[ff02::1]:1",
                "[2001:db8::1]:1",
                "[64:ff9b:1::1]:1",
                "8.8.8.8:0",
            ],
        );
    }

    /// CVE-2026-27624 and its family: an address in disguise.
    #[test]
    fn disguises_do_not_help() {
        check(
            &PeerPolicy::default(),
            false,
            &[
                "[::ffff:127.0.0.1]:1",
                "[::ffff:10.0.0.1]:1",
                "[::127.0.0.1]:1",
                "[::ffff:0:127.0.0.1]:1",
                "[2002:7f00:1::]:1",
                "[2002:c0a8:101::1]:1",
                "[2002:a9fe:a9fe::]:80",
                "[64:ff9b::7f00:1]:1",
                "[64:ff9b::a9fe:a9fe]:80",
                "[2001:0:1:2:3:4:80ff:fffe]:1",
                "[2607::5efe:7f00:1]:1",
                "[2607::200:5efe:a00:1]:1",
                "[::ffff:8.8.8.8]:1",
            ],
        );
        let mut policy = PeerPolicy::default();
        policy.nat64_prefix("2607:f8b0:64::".parse().expect("a prefix"));
        check(&policy, false, &["[2607:f8b0:64::a00:1]:1"]);
        check(&policy, true, &["[2607:f8b0:64::808:808]:1"]);
    }

    #[test]
    fn allow_beats_deny_and_own_doors_beat_both() {
        let mut policy = PeerPolicy::default();
        policy.allow("192.168.0.0/16".parse().expect("a range"));
        policy.allow("127.0.0.0/8".parse().expect("a range"));
        policy.deny("8.8.0.0-8.8.8.8".parse().expect("a range"));
        policy.deny_own("127.0.0.1:3478".parse().expect("an address"));
        policy.deny_own("0.0.0.0:6379".parse().expect("an address"));
        policy.deny_port(25);
        check(&policy, true, &["192.168.7.7:9", "127.0.0.1:9", "[::ffff:192.168.7.7]:9", "8.8.8.9:53", "9.9.9.9:6379"]);
        check(
            &policy,
            false,
            &["127.0.0.1:3478", "[::ffff:127.0.0.1]:3478", "127.0.0.1:6379", "192.168.1.1:6379", "8.8.8.8:53", "9.9.9.9:25", "10.0.0.1:9"],
        );
    }

    #[test]
    fn a_range_that_cannot_be_read_is_an_error() {
        for text in ["", "10.0.0.0/33", "10.0.0.1/8", "10.0.0.9-10.0.0.1", "10.0.0.1-::1", "::/129", "host", "10.0.0.0/-1"] {
            assert!(text.parse::<AddressRange>().is_err(), "{text}");
        }
        assert_eq!("::/0".parse::<AddressRange>().map(|range| range.contains("::1".parse().expect("ip"))), Ok(true));
    }
}

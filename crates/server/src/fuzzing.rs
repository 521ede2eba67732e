//! The body of the fuzz target for what proxies say of clients, beside the code so that it is built with the tests.

use std::net::{IpAddr, Ipv4Addr};

use crate::proxies::{Network, Proxies, ProxyHeaders};
use crate::shard::Peer;

/// Header lines as they come through a trusted proxy, one a line. Fails when reading them panics, when somebody is believed who is not listed,
/// or when the client is an address that stands nowhere in them.
pub fn forwarded(data: &[u8]) {
    let lines: Vec<(&[u8], &[u8])> = data
        .split(|byte| *byte == b'\n')
        .filter_map(|line| {
            let colon = line.iter().position(|byte| *byte == b':')?;
            Some((&line[..colon], &line[colon + 1..]))
        })
        .collect();
    let values =
        |name: &'static str| lines.iter().filter(move |(known, _)| known.eq_ignore_ascii_case(name.as_bytes())).map(|(_, value)| *value);
    let peer = Peer { ip: IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1)), secure: false };
    for headers in [ProxyHeaders::XForwarded, ProxyHeaders::Forwarded] {
        let nobody = Proxies { trusted: Vec::new(), headers };
        assert_eq!(nobody.client(peer, values), peer, "who is not listed is not believed");
        let trusted = vec![Network::parse("10.0.0.0/8").expect("a network")];
        let proxies = Proxies { trusted, headers };
        let client = proxies.client(peer, values).ip;
        // An IPv6 address has many spellings, so only one of the other family has to stand there as it is written again.
        let stands_there = || lines.iter().any(|(_, value)| String::from_utf8_lossy(value).contains(&client.to_string()));
        assert!(client == peer.ip || client.is_ipv6() || is_written_as_ipv6(&lines) || stands_there(), "{client} stands nowhere");
    }
}

/// Whether some address may be written as an IPv6 address that maps one of IPv4.
fn is_written_as_ipv6(lines: &[(&[u8], &[u8])]) -> bool {
    lines.iter().any(|(_, value)| value.windows(2).any(|pair| pair == b"::"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn whatever_proxies_say(
            names in prop::collection::vec(prop::sample::select(vec!["X-Forwarded-For", "x-forwarded-proto", "Forwarded", "Via"]), 0..5),
            values in prop::collection::vec(
                "(for=|For=\"|proto=|;|, ?|\"|\\[|\\]|10\\.0\\.0\\.2|203\\.0\\.113\\.7|2001:db8::7|:4711|unknown|https|_x){0,12}",
                5
            ),
            noise in prop::collection::vec(any::<u8>(), 0..40),
        ) {
            let text: String = names.iter().zip(&values).map(|(name, value)| format!("{name}:{value}\n")).collect();
            super::forwarded(text.as_bytes());
            super::forwarded(&[text.as_bytes(), b"Forwarded:", &noise].concat());
        }
    }
}

//! The PROXY protocol, versions 1 and 2: what a load balancer says about a connection before the connection's own bytes.
//!
//! ```
//! use omnivox_wire::proxy::{Header, parse};
//!
//! let bytes = b"PROXY TCP4 203.0.113.7 10.0.0.1 40000 443\r\nGET / HTTP/1.1";
//! let (header, used) = parse(bytes).unwrap().unwrap();
//! assert_eq!(header, Header { client: Some("203.0.113.7:40000".parse().unwrap()), secure: false });
//! assert_eq!(&bytes[used..], b"GET / HTTP/1.1");
//! assert_eq!(parse(b"PROXY TC"), Ok(None));
//! assert!(parse(b"GET / HTTP/1.1").is_err());
//! ```

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// What a header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The client; none when the proxy speaks for itself (a health check) or does not know.
    pub client: Option<SocketAddr>,
    /// Whether the client came to the proxy over TLS, as far as the proxy tells.
    pub secure: bool,
}

/// Bytes that are no PROXY header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotProxied;

impl std::fmt::Display for NotProxied {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the connection did not begin with a PROXY protocol header")
    }
}

impl std::error::Error for NotProxied {}

/// Reads a header and how many bytes it has; `Ok(None)` while it is incomplete.
pub fn parse(bytes: &[u8]) -> Result<Option<(Header, usize)>, NotProxied> {
    if starts_alike(bytes, SIGNATURE) {
        parse_binary(bytes)
    } else if starts_alike(bytes, b"PROXY ") {
        parse_line(bytes)
    } else {
        Err(NotProxied)
    }
}

/// Whether one of the two is the beginning of the other.
fn starts_alike(bytes: &[u8], beginning: &[u8]) -> bool {
    let common = bytes.len().min(beginning.len());
    bytes[..common] == beginning[..common]
}

fn parse_line(bytes: &[u8]) -> Result<Option<(Header, usize)>, NotProxied> {
    let seen = &bytes[..bytes.len().min(LINE_BYTES_MAX)];
    let Some(end) = seen.windows(2).position(|pair| pair == b"\r\n") else {
        return if bytes.len() < LINE_BYTES_MAX { Ok(None) } else { Err(NotProxied) };
    };
    let line = str::from_utf8(&bytes[..end]).map_err(|_| NotProxied)?;
    let words: Vec<&str> = line.split(' ').collect();
    let client = match words.as_slice() {
        ["PROXY", "UNKNOWN", ..] => None,
        ["PROXY", family @ ("TCP4" | "TCP6"), source, destination, source_port, destination_port] => {
            let address = |text: &str| text.parse::<IpAddr>().ok().filter(|ip| ip.is_ipv4() == (*family == "TCP4")).ok_or(NotProxied);
            address(destination)?;
            port(destination_port)?;
            Some(SocketAddr::new(address(source)?, port(source_port)?))
        }
        _ => return Err(NotProxied),
    };
    Ok(Some((Header { client, secure: false }, end + 2)))
}

/// Decimal without a sign or leading zeroes.
fn port(text: &str) -> Result<u16, NotProxied> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    text.parse().ok().filter(|_| plain).ok_or(NotProxied)
}

fn parse_binary(bytes: &[u8]) -> Result<Option<(Header, usize)>, NotProxied> {
    let Some((&[version_command, family, high, low], rest)) = bytes.get(SIGNATURE.len()..).and_then(<[u8]>::split_first_chunk::<4>) else {
        return Ok(None);
    };
    let length = usize::from(u16::from_be_bytes([high, low]));
    if length > BODY_BYTES_MAX {
        return Err(NotProxied);
    }
    let local = match version_command {
        0x20 => true,
        0x21 => false,
        _ => return Err(NotProxied),
    };
    let Some(body) = rest.get(..length) else { return Ok(None) };
    let used = SIGNATURE.len() + 4 + length;
    let (client, extensions) = match family {
        _ if local => (None, &[][..]),
        0x11 => {
            let (&[a, b, c, d, _, _, _, _, high, low, _, _], rest) = body.split_first_chunk::<12>().ok_or(NotProxied)?;
            (Some(SocketAddr::new(Ipv4Addr::new(a, b, c, d).into(), u16::from_be_bytes([high, low]))), rest)
        }
        0x21 => {
            let (fixed, rest) = body.split_first_chunk::<36>().ok_or(NotProxied)?;
            let source: [u8; 16] = fixed[..16].try_into().map_err(|_| NotProxied)?;
            (Some(SocketAddr::new(Ipv6Addr::from(source).into(), u16::from_be_bytes([fixed[32], fixed[33]]))), rest)
        }
        // Datagrams, Unix sockets and what is yet to be invented tell nothing about a client that we could use.
        _ => (None, &[][..]),
    };
    Ok(Some((Header { client, secure: is_secure(extensions)? }, used)))
}

/// Looks for the extension that says that the client used TLS.
fn is_secure(mut extensions: &[u8]) -> Result<bool, NotProxied> {
    while let Some((&[kind, high, low], rest)) = extensions.split_first_chunk::<3>() {
        let length = usize::from(u16::from_be_bytes([high, low]));
        let value = rest.get(..length).ok_or(NotProxied)?;
        if kind == EXTENSION_SSL {
            return Ok(value.first().is_some_and(|flags| flags & CLIENT_SSL != 0));
        }
        extensions = &rest[length..];
    }
    if extensions.is_empty() { Ok(false) } else { Err(NotProxied) }
}

/// The longest header that [`parse`] reads; more never has to be kept.
pub const HEADER_BYTES_MAX: usize = SIGNATURE.len() + 4 + BODY_BYTES_MAX;

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// The longest line of version 1, its end included.
const LINE_BYTES_MAX: usize = 107;
/// Addresses and what proxies add to them, certificate names included.
const BODY_BYTES_MAX: usize = 4096;
const EXTENSION_SSL: u8 = 0x20;
const CLIENT_SSL: u8 = 0x01;

#[cfg(test)]
mod tests {
    use super::*;

    fn binary(version_command: u8, family: u8, body: &[u8]) -> Vec<u8> {
        let mut bytes = SIGNATURE.to_vec();
        bytes.extend([version_command, family]);
        bytes.extend((body.len() as u16).to_be_bytes());
        bytes.extend(body);
        bytes
    }

    /// Every beginning is incomplete, the whole is understood, and what follows is left alone.
    #[track_caller]
    fn check(header: &[u8], client: Option<&str>, secure: bool) {
        for cut in 0..header.len() {
            assert_eq!(parse(&header[..cut]), Ok(None), "{cut} bytes");
        }
        let expected = Header { client: client.map(|text| text.parse().unwrap()), secure };
        assert_eq!(parse(&[header, b"PROXY "].concat()), Ok(Some((expected, header.len()))));
    }

    #[test]
    fn headers_are_understood_wherever_they_are_cut() {
        check(b"PROXY TCP4 203.0.113.7 10.0.0.1 40000 443\r\n", Some("203.0.113.7:40000"), false);
        check(b"PROXY TCP6 2001:db8::7 ::1 1 65535\r\n", Some("[2001:db8::7]:1"), false);
        check(b"PROXY UNKNOWN\r\n", None, false);
        check(b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n", None, false);
        let four = [203, 0, 113, 7, 10, 0, 0, 1, 0x9c, 0x40, 1, 0xbb];
        check(&binary(0x21, 0x11, &four), Some("203.0.113.7:40000"), false);
        check(&binary(0x21, 0x11, &[&four[..], &[0x20, 0, 5, 1, 0, 0, 0, 0]].concat()), Some("203.0.113.7:40000"), true);
        check(&binary(0x21, 0x11, &[&four[..], &[0x04, 0, 1, 0, 0x20, 0, 5, 0, 0, 0, 0, 0]].concat()), Some("203.0.113.7:40000"), false);
        let mut six = [0; 36];
        (six[0], six[1], six[15], six[33]) = (0x20, 0x01, 7, 80);
        check(&binary(0x21, 0x21, &six), Some("[2001::7]:80"), false);
        check(&binary(0x20, 0x00, b""), None, false);
        check(&binary(0x20, 0x11, &four), None, false);
        check(&binary(0x21, 0x31, &[0; 216]), None, false);
    }

    #[test]
    fn what_is_no_header_is_refused() {
        let check = |bytes: &[u8]| assert_eq!(parse(bytes), Err(NotProxied), "{}", bytes.escape_ascii());
        check(b"GET / HTTP/1.1\r\n\r\n");
        check(b"\x16\x03\x01");
        check(b"PROXY TCP4 2001:db8::7 10.0.0.1 1 2\r\n");
        check(b"PROXY TCP6 203.0.113.7 ::1 1 2\r\n");
        check(b"PROXY TCP4 203.0.113.7 10.0.0.1 1 65536\r\n");
        check(b"PROXY TCP4 203.0.113.7 10.0.0.1 +1 2\r\n");
        check(b"PROXY TCP4 203.0.113.7 10.0.0.1 1\r\n");
        check(b"PROXY TCP4  203.0.113.7 10.0.0.1 1 2\r\n");
        check(b"PROXY UDP4 203.0.113.7 10.0.0.1 1 2\r\n");
        check(&[&b"PROXY UNKNOWN "[..], &[b'x'; 100]].concat());
        check(&binary(0x31, 0x11, &[0; 12]));
        check(&binary(0x22, 0x11, &[0; 12]));
        check(&binary(0x21, 0x11, &[0; 11]));
        check(&binary(0x21, 0x11, &[&[0; 12][..], &[0x20, 0, 9, 1]].concat()));
        check(&binary(0x21, 0x11, &vec![0; BODY_BYTES_MAX + 1]));
    }
}

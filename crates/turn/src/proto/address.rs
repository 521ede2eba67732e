//! Addresses on the wire: one zero byte, family, port, address; the XOR forms hide them from clumsy NATs.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::message::{COOKIE, TransactionId};

/// IPv4 or IPv6, as REQUESTED-ADDRESS-FAMILY and relays name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Family {
    /// IPv4, number 1.
    V4,
    /// IPv6, number 2.
    V6,
}

impl Family {
    /// The family of an address.
    #[must_use]
    pub const fn of(ip: IpAddr) -> Self {
        match ip {
            IpAddr::V4(_) => Self::V4,
            IpAddr::V6(_) => Self::V6,
        }
    }

    /// Its number on the wire.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::V4 => 1,
            Self::V6 => 2,
        }
    }

    /// Reads the number.
    #[must_use]
    pub const fn from_number(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::V4),
            2 => Some(Self::V6),
            _ => None,
        }
    }
}

/// Writes the XOR form and returns its length, 8 or 20.
pub fn write_xor(into: &mut [u8; 20], address: SocketAddr, transaction: &TransactionId) -> usize {
    let length = write_plain(into, address);
    mask(&mut into[2..length], transaction);
    length
}

/// Writes the plain form and returns its length, 8 or 20.
pub fn write_plain(into: &mut [u8; 20], address: SocketAddr) -> usize {
    into[0] = 0;
    into[1] = Family::of(address.ip()).number();
    into[2..4].copy_from_slice(&address.port().to_be_bytes());
    match address.ip() {
        IpAddr::V4(ip) => {
            into[4..8].copy_from_slice(&ip.octets());
            8
        }
        IpAddr::V6(ip) => {
            into[4..20].copy_from_slice(&ip.octets());
            20
        }
    }
}

/// Reads the XOR form; `None` for a wrong family or length.
#[must_use]
pub fn read_xor(value: &[u8], transaction: &TransactionId) -> Option<SocketAddr> {
    let mut clear = [0; 20];
    let clear = clear.get_mut(..value.len())?;
    clear.copy_from_slice(value);
    mask(clear.get_mut(2..)?, transaction);
    read_plain(clear)
}

/// Reads the plain form; `None` for a wrong family or length.
#[must_use]
pub fn read_plain(value: &[u8]) -> Option<SocketAddr> {
    let (head, rest) = value.split_first_chunk::<4>()?;
    let port = u16::from_be_bytes([head[2], head[3]]);
    match Family::from_number(head[1])? {
        Family::V4 => Some((Ipv4Addr::from(<[u8; 4]>::try_from(rest).ok()?), port).into()),
        Family::V6 => Some((Ipv6Addr::from(<[u8; 16]>::try_from(rest).ok()?), port).into()),
    }
}

/// Port with the cookie's top half, address with the cookie and then the transaction id.
fn mask(port_and_address: &mut [u8], transaction: &TransactionId) {
    let cookie = COOKIE.to_be_bytes();
    let pad = cookie[..2].iter().chain(&cookie).chain(transaction);
    for (byte, key) in port_and_address.iter_mut().zip(pad) {
        *byte ^= key;
    }
}

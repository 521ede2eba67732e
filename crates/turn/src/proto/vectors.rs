//! The published test vectors: RFC 5769, and RFC 8489 B.1 as corrected by erratum 6268.

use super::attribute::*;
use super::integrity::{Algorithm, Integrity, Key, userhash};
use super::message::{Class, Message, Method};
use super::nonce::offers_algorithms;

const USER: &str = "\u{30DE}\u{30C8}\u{30EA}\u{30C3}\u{30AF}\u{30B9}";
const SHORT_TERM: &str = "VOkJxbRl1RmTxUk/WvJxBt";

fn bytes(hex: &str) -> Vec<u8> {
    hex.as_bytes().chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).expect("ASCII"), 16).expect("hex")).collect()
}

#[track_caller]
fn check(hex: &str, class: Class, key: &Key, integrity: Integrity, fingerprint: bool) {
    let mut bytes = bytes(hex);
    let message = Message::parse(&bytes).expect("a message");
    assert_eq!((message.class(), message.method()), (class, Method::Binding));
    assert_eq!((message.integrity(), message.has_fingerprint()), (Some(integrity), fingerprint));
    assert!(message.verify(key));
    assert!(!message.verify(&Key::short_term("another")));
    bytes[12] ^= 1;
    assert!(Message::parse(&bytes).map_or(true, |message| !message.verify(key)), "any changed byte is noticed");
}

const REQUEST: &str = "000100582112a442b7e7a701bc34d686fa87dfae802200105354554e207465737420636c69656e74002400046e0001ff80290008932ff9b151263b36000600096576746a3a68367659202020000800149aeaa70cbfd8cb56781ef2b5b2d3f249c1b571a280280004e57a3bcf";
const RESPONSE_V4: &str = "0101003c2112a442b7e7a701bc34d686fa87dfae8022000b7465737420766563746f7220002000080001a147e112a643000800142b91f599fd9e90c38c7489f92af9ba53f06be7d780280004c07d4c96";
const RESPONSE_V6: &str = "010100482112a442b7e7a701bc34d686fa87dfae8022000b7465737420766563746f7220002000140002a1470113a9faa5d3f179bc25f4b5bed2b9d900080014a382954e4be67bf11784c97c8292c275bfe3ed4180280004c8fb0b4c";
const LONG_TERM: &str = "000100602112a44278ad3433c6ad72c029da412e00060012e3839ee38388e383aae38383e382afe382b900000015001c662f2f3439396b39353464364f4c33346f4c394653547679363473410014000b6578616d706c652e6f72670000080014f67024656dd64a3e02b8e0712e85c9a28ca89666";
const SHA256: &str = "000100902112a44278ad3433c6ad72c029da412e001e00204a3cf38fef6992bda952c6780417da0f24819415569e60b205c46e41407f1704001500296f624d61744a6f733241414143662f2f3439396b39353464364f4c33346f4c394653547679363473410000000014000b6578616d706c652e6f726700001d000400020000001c0020b5c7bf005b6c52a21c51c5e892f81924136296cb927c43149309278cc6518e65";

#[test]
fn rfc_5769() {
    let short_term = Key::short_term(SHORT_TERM);
    check(REQUEST, Class::Request, &short_term, Integrity::Sha1, true);
    check(RESPONSE_V4, Class::Success, &short_term, Integrity::Sha1, true);
    check(RESPONSE_V6, Class::Success, &short_term, Integrity::Sha1, true);
    let long_term = Key::long_term(Algorithm::Md5, USER, "example.org", "TheMatrIX");
    assert_eq!(long_term, Key::precomputed(&bytes("e8ca7ad59d5eb0518e312911d2dab2a9")));
    check(LONG_TERM, Class::Request, &long_term, Integrity::Sha1, false);
}

#[test]
fn rfc_5769_addresses() {
    for (hex, mapped) in [(RESPONSE_V4, "192.0.2.1:32853"), (RESPONSE_V6, "[2001:db8:1234:5678:11:2233:4455:6677]:32853")] {
        let bytes = bytes(hex);
        let message = Message::parse(&bytes).expect("a message");
        assert_eq!(message.address(XOR_MAPPED_ADDRESS), Some(mapped.parse().expect("an address")));
        assert_eq!(message.text(SOFTWARE), Some("test vector"));
        let mut again = Vec::new();
        super::message::Writer::new(&mut again, Class::Success, Method::Binding, message.transaction())
            .xor_address(XOR_MAPPED_ADDRESS, mapped.parse().expect("an address"));
        let again = Message::parse(&again).expect("a message").find(XOR_MAPPED_ADDRESS).map(<[u8]>::to_vec);
        assert_eq!(again.as_deref(), message.find(XOR_MAPPED_ADDRESS));
    }
}

#[test]
fn rfc_8489_b_1() {
    let key = Key::long_term(Algorithm::Sha256, USER, "example.org", "TheMatrIX");
    assert_eq!(key, Key::precomputed(&bytes("dd295a613b9058c3c23d6dc7165bda072304d989c9d0af3a8c7e184b4f9bb4a1")));
    check(SHA256, Class::Request, &key, Integrity::Sha256, false);
    let bytes = bytes(SHA256);
    let message = Message::parse(&bytes).expect("a message");
    assert_eq!(message.find(USERHASH), Some(&userhash(USER, "example.org")[..]));
    assert_eq!(message.find(PASSWORD_ALGORITHM), Some(&[0, 2, 0, 0][..]));
    assert!(!offers_algorithms(message.find(NONCE).expect("a nonce")), "AAAC: only the anonymity bit");
}

#[test]
fn the_md5_key() {
    let key = Key::precomputed(&bytes("8493fbc53ba582fb4c044c456bdc40eb"));
    assert_eq!(Key::long_term(Algorithm::Md5, "user", "realm", "pass"), key);
}

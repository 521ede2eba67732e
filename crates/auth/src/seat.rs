//! Names of seats in rooms: a seat belongs to whoever knows the secret that its name was made from, and no server has to remember it.
//!
//! ```text
//! ~ 018f3a2b4c5d - Qm9kZWdhc…        when it was first taken, and 128 bits of SHA-256 over app, room, that time and the key;
//!                                    the key is 128 bits of SHA-256 over the same and the secret
//! ~ bob                              a chosen name; its entry carries 128 bits of SHA-256 over app, room, name and token
//! ```
//!
//! The time makes later names greater, which decides who of two is polite. A client may lie about it: that gives it another seat, not
//! somebody else's.
//!
//! The key opens the inbox of a seat on lease: it may stand in an address, because it only reads.
//!
//! Invariant: without the secret nobody makes the key, without the key nobody makes the name; the other way round nobody finds either.

use aws_lc_rs::digest::{Context, SHA256};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use omnivox_core::room::{Claim, SEAT_MARK, SEAT_SECRET_BYTES_MIN, SEAT_TEXT_BYTES_MAX};
use omnivox_core::{AppId, ChannelName, Denied};

/// A seat as its claim gives it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeatName {
    /// The name of its entry.
    pub member: String,
    /// What the entry of a chosen name carries, so that only the owner gets it again.
    pub proof: Option<String>,
    /// What opens the seat's inbox; chosen names have none.
    pub key: Option<String>,
}

/// Digits of the time in a name.
const TIME_DIGITS: usize = 12;

/// The seat that a claim is for.
pub fn seat(app: &AppId, room: &ChannelName, claim: &Claim, now_ms: u64) -> Result<SeatName, Denied> {
    match claim {
        Claim::Secret { secret, member } => {
            if !(SEAT_SECRET_BYTES_MIN..=SEAT_TEXT_BYTES_MAX).contains(&secret.len()) {
                return Err(Denied::Invalid(
                    format!(
                        "the secret of a seat has {SEAT_SECRET_BYTES_MIN} to {SEAT_TEXT_BYTES_MAX} bytes; `crypto.randomUUID()` makes one"
                    )
                    .into(),
                ));
            }
            let derived = |time: &str| {
                let key = digest(&["inbox", app.as_str(), room.as_str(), time, secret]);
                SeatName { member: name_of(app, room, time, &key), proof: None, key: Some(key) }
            };
            let earlier = member.as_deref().and_then(time_of).map(derived);
            let again = earlier.filter(|earlier| Some(earlier.member.as_str()) == member.as_deref());
            Ok(again.unwrap_or_else(|| derived(&format!("{now_ms:0TIME_DIGITS$x}"))))
        }
        Claim::Name { name, token } => {
            let fits = |text: &str| (1..=SEAT_TEXT_BYTES_MAX).contains(&text.len());
            if !fits(name) || !fits(token) || name.chars().any(char::is_control) {
                let words =
                    format!("the name and the token of a seat have 1 to {SEAT_TEXT_BYTES_MAX} bytes, the name without control characters");
                return Err(Denied::Invalid(words.into()));
            }
            let proof = digest(&["name", app.as_str(), room.as_str(), name, token]);
            Ok(SeatName { member: format!("{SEAT_MARK}{name}"), proof: Some(proof), key: None })
        }
    }
}

/// Whether the key opens the inbox of the seat.
pub fn opens(app: &AppId, room: &ChannelName, member: &str, key: &str) -> bool {
    time_of(member).is_some_and(|time| name_of(app, room, time, key) == member)
}

fn name_of(app: &AppId, room: &ChannelName, time: &str, key: &str) -> String {
    format!("{SEAT_MARK}{time}-{}", digest(&["seat", app.as_str(), room.as_str(), time, key]))
}

/// The time in a seat's name, if it is one with a time.
fn time_of(member: &str) -> Option<&str> {
    member.get(1..=TIME_DIGITS).filter(|time| is_time(time))
}

fn is_time(text: &str) -> bool {
    text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// 128 bits over the parts, each behind its length so that no two lists are the same text.
fn digest(parts: &[&str]) -> String {
    let mut context = Context::new(&SHA256);
    context.update(b"omnivox/seat/1");
    for part in parts {
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part.as_bytes());
    }
    URL_SAFE_NO_PAD.encode(&context.finish().as_ref()[..16])
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_MS: u64 = 0x018f_0000_0001;

    fn secret(text: &str, member: Option<&str>) -> Claim {
        Claim::Secret { secret: text.into(), member: member.map(Into::into) }
    }

    fn at(app: &str, room: &str, claim: &Claim, now_ms: u64) -> String {
        seat(&AppId::parse(app).unwrap(), &ChannelName::parse(room).unwrap(), claim, now_ms).unwrap().member
    }

    #[test]
    fn a_seat_is_given_again_to_whoever_knows_its_secret() {
        let first = at("shop", "room", &secret("0123456789abcdef", None), NOW_MS);
        assert!(first.starts_with("~018f00000001-"), "{first}");
        let check = |app: &str, room: &str, text: &str, member: &str, again: bool| {
            let later = at(app, room, &secret(text, Some(member)), NOW_MS + 5);
            assert_eq!(later == first, again, "{app} {room} {text} {member}");
            assert!(again || later.starts_with("~018f00000006-"), "a new seat, not somebody else's: {later}");
        };
        check("shop", "room", "0123456789abcdef", &first, true);
        check("shop", "room", "0123456789abcdeF", &first, false);
        check("shop", "other", "0123456789abcdef", &first, false);
        check("blog", "room", "0123456789abcdef", &first, false);
        for strange in ["", "~", "~é", "~018f00000001", "~018F00000001-x", "~018f0000000é-x", "bob"] {
            check("shop", "room", "0123456789abcdef", strange, false);
        }
        assert_ne!(at("shop", "room", &secret("0123456789abcdef", None), NOW_MS + 1), first);
    }

    #[test]
    fn the_key_of_a_seat_opens_its_inbox_alone() {
        let (app, room) = (AppId::parse("shop").unwrap(), ChannelName::parse("room").unwrap());
        let named = seat(&app, &room, &secret("0123456789abcdef", None), NOW_MS).unwrap();
        let other = seat(&app, &room, &secret("fedcba9876543210", None), NOW_MS).unwrap();
        let key = named.key.unwrap();
        assert_ne!(key, "0123456789abcdef");
        assert!(opens(&app, &room, &named.member, &key) && !opens(&app, &room, &other.member, &key));
        assert!(!opens(&app, &ChannelName::parse("other").unwrap(), &named.member, &key));
        for strange in ["", "~", "~bob", "~018f00000001", "bob-é"] {
            assert!(!opens(&app, &room, strange, &key), "{strange}");
        }
    }

    #[test]
    fn a_chosen_name_has_a_proof() {
        let (app, room) = (AppId::parse("shop").unwrap(), ChannelName::parse("room").unwrap());
        let named = |name: &str, token: &str| seat(&app, &room, &Claim::Name { name: name.into(), token: token.into() }, NOW_MS);
        let bob = named("bob", "token").unwrap();
        assert_eq!((bob.member.as_str(), bob.proof.as_deref().map(str::len)), ("~bob", Some(22)));
        assert_eq!(named("bob", "token").unwrap(), bob);
        assert_ne!(named("bob", "other").unwrap().proof, bob.proof);
        for (name, token) in [("", "token"), ("bob", ""), ("b\nb", "token"), (&"b".repeat(129), "t"), ("bob", &"t".repeat(129))] {
            assert!(named(name, token).is_err(), "{name} {token}");
        }
    }

    #[test]
    fn a_secret_must_be_hard_to_guess() {
        let (app, room) = (AppId::parse("shop").unwrap(), ChannelName::parse("room").unwrap());
        for (length, fits) in [(0, false), (15, false), (16, true), (128, true), (129, false)] {
            assert_eq!(seat(&app, &room, &secret(&"s".repeat(length), None), NOW_MS).is_ok(), fits, "{length}");
        }
    }
}

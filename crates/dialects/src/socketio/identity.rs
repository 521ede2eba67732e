//! Ids: of Engine.IO sessions, of sockets, and of what may be taken up again. All come from the randomness that a session was opened with.
//!
//! An Engine.IO session id is a secret: whoever has it has the session. It is the shard that owns the session and 128 random bits under a
//! signature of this process, so that a later request finds its way without a table, and one that was made up is refused without a look
//! into one. The id of a socket is public: a one-way digest of a second secret that never leaves the server. Its private id, which lets a
//! client take it up again, is the public one under a signature.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// The form of session ids; another form has another number.
const VERSION: u8 = 1;
/// Version, shard, randomness.
const SIGNED_BYTES: usize = 1 + 2 + 16;
const SIGNATURE_BYTES: usize = 8;
/// Characters of an Engine.IO session id.
const SID_CHARS: usize = (SIGNED_BYTES + SIGNATURE_BYTES) / 3 * 4;
/// Bytes of a socket's id, and of the signature that makes a private id of it.
const ID_BYTES: usize = 15;
/// Characters of a socket's id.
const ID_CHARS: usize = ID_BYTES / 3 * 4;

/// The key under which this process signs ids. It dies with the process, as the sessions do.
pub(super) struct Key([u8; 64]);

impl Key {
    /// A key from the randomness of some session.
    pub(super) fn new(entropy: &[u8; 32]) -> Self {
        let mut digest = sha1_smol::Sha1::from(b"omnivox socket.io key");
        digest.update(entropy);
        let mut key = [0; 64];
        key[..20].copy_from_slice(&digest.digest().bytes());
        Self(key)
    }

    /// HMAC-SHA1 of the parts.
    fn sign(&self, parts: &[&[u8]]) -> [u8; 20] {
        let mut inner = sha1_smol::Sha1::from(self.0.map(|byte| byte ^ 0x36));
        parts.iter().for_each(|part| inner.update(part));
        let mut outer = sha1_smol::Sha1::from(self.0.map(|byte| byte ^ 0x5c));
        outer.update(&inner.digest().bytes());
        outer.digest().bytes()
    }

    /// The id of an Engine.IO session.
    pub(super) fn session_id(&self, shard: u16, entropy: &[u8; 32]) -> Box<str> {
        let mut bytes = [VERSION; SIGNED_BYTES + SIGNATURE_BYTES];
        bytes[1..3].copy_from_slice(&shard.to_be_bytes());
        bytes[3..SIGNED_BYTES].copy_from_slice(&entropy[..16]);
        let signature = self.sign(&[b"session", &bytes[..SIGNED_BYTES]]);
        bytes[SIGNED_BYTES..].copy_from_slice(&signature[..SIGNATURE_BYTES]);
        URL_SAFE_NO_PAD.encode(bytes).into()
    }

    /// The shard that owns the session, if the id was made here.
    pub(super) fn shard_of(&self, sid: &str) -> Option<u16> {
        if sid.len() != SID_CHARS {
            return None;
        }
        let bytes = URL_SAFE_NO_PAD.decode(sid).ok()?;
        let (signed, signature) = bytes.split_at_checked(SIGNED_BYTES)?;
        let expected = self.sign(&[b"session", signed]);
        if !same(&expected[..SIGNATURE_BYTES], signature) {
            return None;
        }
        match signed {
            [VERSION, high, low, ..] => Some(u16::from_be_bytes([*high, *low])),
            _ => None,
        }
    }

    /// The private id of a socket.
    pub(super) fn private_id(&self, id: &str) -> String {
        let mut private = String::with_capacity(2 * ID_CHARS);
        private.push_str(id);
        URL_SAFE_NO_PAD.encode_string(&self.sign(&[b"private", id.as_bytes()])[..ID_BYTES], &mut private);
        private
    }

    /// The id of the socket whose private id that is.
    pub(super) fn socket_of<'a>(&self, private_id: &'a str) -> Option<&'a str> {
        let (id, _) = private_id.split_at_checked(ID_CHARS)?;
        same(self.private_id(id).as_bytes(), private_id.as_bytes()).then_some(id)
    }
}

/// Compares in a time that does not tell where the two differ.
fn same(expected: &[u8], shown: &[u8]) -> bool {
    let differences = expected.iter().zip(shown).fold(0, |differences, (one, other)| differences | (one ^ other));
    expected.len() == shown.len() && std::hint::black_box(differences) == 0
}

/// What the ids of one connection's sockets are made from.
pub(super) struct Identities {
    secret: [u8; 16],
    made: u32,
}

impl Identities {
    pub(super) fn new(entropy: &[u8; 32]) -> Self {
        let mut secret = [0; 16];
        secret.copy_from_slice(&entropy[16..]);
        Self { secret, made: 0 }
    }

    /// The id of a new socket.
    pub(super) fn next(&mut self) -> String {
        self.made += 1;
        let mut digest = sha1_smol::Sha1::from(self.secret);
        digest.update(&self.made.to_be_bytes());
        digest.update(b"socket");
        URL_SAFE_NO_PAD.encode(&digest.digest().bytes()[..ID_BYTES])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_are_those_of_the_standard() {
        // RFC 2202, case 2, whose key is shorter than a block as ours is.
        let mut key = [0; 64];
        key[..4].copy_from_slice(b"Jefe");
        let hex = Key(key).sign(&[b"what do ya ", b"want for nothing?"]).map(|byte| format!("{byte:02x}")).concat();
        assert_eq!(hex, "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79");
    }

    #[test]
    fn session_ids_tell_their_shard_to_those_who_made_them() {
        let (key, stranger) = (Key::new(&[1; 32]), Key::new(&[2; 32]));
        let sid = key.session_id(513, &[7; 32]);
        assert_eq!((sid.len(), key.shard_of(&sid)), (36, Some(513)));
        assert_eq!(stranger.shard_of(&sid), None);
        assert_ne!(sid, key.session_id(513, &[8; 32]));
        for at in 0..sid.len() {
            let mut forged = sid.to_string().into_bytes();
            forged[at] = if forged[at] == b'A' { b'B' } else { b'A' };
            assert_eq!(key.shard_of(&String::from_utf8(forged).unwrap()), None, "character {at}");
        }
        for strange in ["", "abc", &sid[1..], &format!("{sid}A"), &"€".repeat(12)] {
            assert_eq!(key.shard_of(strange), None, "{strange}");
        }
    }

    #[test]
    fn private_ids_can_not_be_made_from_public_ones() {
        let key = Key::new(&[1; 32]);
        let (mut one, mut other) = (Identities::new(&[7; 32]), Identities::new(&[7; 32]));
        let (first, second) = (one.next(), one.next());
        assert_eq!((&first, first.len()), (&other.next(), 20));
        assert_ne!(first, second);
        let private = key.private_id(&first);
        assert_eq!(key.socket_of(&private), Some(&*first));
        assert_eq!(Key::new(&[2; 32]).socket_of(&private), None);
        for strange in [&*first, &format!("{first}{first}"), &private[..39], &format!("{private}A"), &"€".repeat(20), ""] {
            assert_eq!(key.socket_of(strange), None, "{strange}");
        }
        assert_eq!(key.socket_of(&format!("{second}{}", &private[20..])), None, "another socket's");
    }
}

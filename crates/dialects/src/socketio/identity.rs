//! Ids: of Engine.IO sessions, of sockets, and of what may be taken up again. All come from the randomness that a session was opened with.
//!
//! An Engine.IO session id is a secret: whoever has it has the session. It is the shard that owns the session and 128 random bits, so that
//! a later request finds its way without a table. The id of a socket is public, so both it and the private id for recovery are one-way
//! digests of a second secret that never leaves the server.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// Characters of an Engine.IO session id.
const SID_CHARS: usize = 24;

/// The id of an Engine.IO session.
pub(super) fn session_id(shard: u16, entropy: &[u8; 32]) -> Box<str> {
    let mut bytes = [0; 18];
    bytes[..2].copy_from_slice(&shard.to_be_bytes());
    bytes[2..].copy_from_slice(&entropy[..16]);
    URL_SAFE_NO_PAD.encode(bytes).into()
}

/// The shard that owns the session, if the text has the form of an id.
pub(super) fn shard_of(sid: &str) -> Option<u16> {
    if sid.len() != SID_CHARS {
        return None;
    }
    let bytes = URL_SAFE_NO_PAD.decode(sid).ok()?;
    Some(u16::from_be_bytes([*bytes.first()?, *bytes.get(1)?]))
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

    /// The public id and the private id of a new socket.
    pub(super) fn next(&mut self) -> (Box<str>, Box<str>) {
        self.made += 1;
        (self.digest(b"socket"), self.digest(b"private"))
    }

    fn digest(&self, purpose: &[u8]) -> Box<str> {
        let mut digest = sha1_smol::Sha1::from(self.secret);
        digest.update(&self.made.to_be_bytes());
        digest.update(purpose);
        URL_SAFE_NO_PAD.encode(&digest.digest().bytes()[..15]).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_tell_their_shard_and_nothing_else() {
        let sid = session_id(513, &[7; 32]);
        assert_eq!((sid.len(), shard_of(&sid)), (24, Some(513)));
        assert_ne!(sid, session_id(513, &[8; 32]));
        for strange in ["", "abc", "AgEHBwcHBwcHBwcHBwcHBwc", "AgEHBwcHBwcHBwcHBwcHBwc=", "AgEHBwcHBwcHBwcHBwcHBw/H", "€€€€€€€€"]
        {
            assert_eq!(shard_of(strange), None, "{strange}");
        }
        let (mut one, mut other) = (Identities::new(&[7; 32]), Identities::new(&[7; 32]));
        let (first, second) = (one.next(), one.next());
        assert_eq!(first, other.next());
        assert_eq!(first.0.len(), 20);
        let all = [&first.0, &first.1, &second.0, &second.1];
        assert!((1..4).all(|at| !all[..at].contains(&all[at])), "{all:?}");
    }
}

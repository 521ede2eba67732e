//! Conversations with Socket.IO and Engine.IO clients, through one [`check`].
//!
//! `$sid1` in a transcript is the Engine.IO id of the session that its first request opened, `$id1` and `$pid1` are the ids of that
//! session's first socket, `$id1b` and `$pid1b` those of its second; the number is that of the request.

mod api;
mod engine3;
mod engine4;
mod fuzz;
mod protocol4;
mod recovery;
mod rooms;
mod socketio5;
mod suites;
mod upgrade;

use omnivox_testkit::transcript;

use super::identity::{Identities, Key};
use super::{SocketIo, SocketIoSettings};

/// Plays a transcript against an endpoint with these settings.
#[track_caller]
fn check(settings: SocketIoSettings, text: &str) {
    transcript::check(&SocketIo::new(settings), &named(text));
}

/// Puts the ids where their names stand.
fn named(text: &str) -> String {
    let mut text = text.to_owned();
    // The first request makes the key.
    let key = Key::new(&[1; 32]);
    for number in (1..=20u8).rev() {
        let entropy = [number; 32];
        let mut identities = Identities::new(&entropy);
        let (id, second) = (identities.next(), identities.next());
        let (private_id, second_private) = (key.private_id(&id), key.private_id(&second));
        for (name, value) in [
            (format!("$sid{number}"), key.session_id(0, &entropy).into()),
            (format!("$id{number}b"), second),
            (format!("$pid{number}b"), second_private),
            (format!("$id{number}"), id),
            (format!("$pid{number}"), private_id),
        ] {
            text = text.replace(&name, &value);
        }
    }
    text
}

/// The default settings without recovery: packets are as short as the protocol lets them be.
fn plain() -> SocketIoSettings {
    SocketIoSettings { recovery: None, ..SocketIoSettings::default() }
}

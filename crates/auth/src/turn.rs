//! Credentials for the relay: a name that says who may relay until when, and a password that only we can make from it.
//!
//! ```text
//! username = 1763843600:shop/ana/room%2F1        expiry : app / user / room
//! password = base64(HMAC-SHA1(the app's relay secret, username))
//! ```
//!
//! This is the REST scheme that relays commonly share, so coturn with the same secret accepts them too. The parts are escaped like in a
//! URL, so that no user name can pass for another user of another app.
//!
//! Invariant: a name that was minted for one app, user and room reads back as exactly these.

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use omnivox_core::{AppId, ChannelName, UserId};

use crate::error::AuthError;
use crate::secret::Secret;

/// The longest name that STUN carries, in bytes (RFC 8489 §14.3).
pub const USERNAME_BYTES_MAX: usize = 508;
/// The longest that a credential lasts, in seconds.
pub const TTL_S_MAX: u64 = 24 * 3600;

/// For whom a relay credential is, and until when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RelayUser {
    /// The app.
    pub app: AppId,
    /// The user; none for somebody without a name.
    pub user: Option<UserId>,
    /// The channel whose members call each other.
    pub room: Option<ChannelName>,
    /// When it ends, in seconds since the Unix epoch.
    pub expires_s: u64,
}

/// A name and its password.
#[derive(Clone, PartialEq, Eq)]
pub struct RelayCredential {
    /// The name.
    pub username: String,
    /// The password.
    pub password: String,
}

impl std::fmt::Debug for RelayCredential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RelayCredential").field("username", &self.username).finish_non_exhaustive()
    }
}

impl RelayUser {
    /// Someone who may relay for `ttl_s` seconds, at most a day.
    pub fn new(app: AppId, user: Option<UserId>, room: Option<ChannelName>, ttl_s: u64, now_ms: u64) -> Self {
        Self { app, user, room, expires_s: (now_ms / 1000).saturating_add(ttl_s.min(TTL_S_MAX)) }
    }

    /// The name.
    pub fn username(&self) -> Result<String, AuthError> {
        let mut name = format!("{}:", self.expires_s);
        escape(self.app.as_str(), &mut name);
        name.push('/');
        escape(self.user.as_ref().map_or("", UserId::as_str), &mut name);
        name.push('/');
        escape(self.room.as_ref().map_or("", ChannelName::as_str), &mut name);
        if name.len() > USERNAME_BYTES_MAX {
            return Err(AuthError::RelayName("would be longer than the 508 bytes that STUN carries: use shorter user and room names"));
        }
        Ok(name)
    }

    /// The name with its password. `secret` is that of [`Purpose::Turn`](crate::secret::Purpose::Turn).
    pub fn mint(&self, secret: &Secret) -> Result<RelayCredential, AuthError> {
        let username = self.username()?;
        let password = password(secret, &username);
        Ok(RelayCredential { username, password })
    }

    /// Reads a name. Whether its bearer knows the password is for the relay to find out, with [`password`].
    pub fn parse(username: &str) -> Result<Self, AuthError> {
        const FORM: AuthError = AuthError::RelayName("is not `expiry:app/user/room`");
        if username.len() > USERNAME_BYTES_MAX {
            return Err(AuthError::RelayName("is longer than the 508 bytes that STUN carries"));
        }
        let (expiry, rest) = username.split_once(':').ok_or(FORM)?;
        let mut parts = rest.split('/');
        let (Some(app), Some(user), Some(room), None) = (parts.next(), parts.next(), parts.next(), parts.next()) else { return Err(FORM) };
        let digits = !expiry.is_empty() && expiry.bytes().all(|byte| byte.is_ascii_digit());
        let expires_s = expiry.parse().ok().filter(|_| digits).ok_or(FORM)?;
        let part = |text: &str| unescape(text).ok_or(FORM);
        let optional = |text: &str| Ok(Some(part(text)?).filter(|text| !text.is_empty()));
        Ok(Self {
            app: AppId::parse(&part(app)?).map_err(|_| FORM)?,
            user: optional(user)?.map(|user| UserId::parse(&user)).transpose().map_err(|_| FORM)?,
            room: optional(room)?.map(|room| ChannelName::parse(&room)).transpose().map_err(|_| FORM)?,
            expires_s,
        })
    }

    /// Whether its time is right: not over, and not further away than any that we mint.
    pub fn check_time(&self, now_ms: u64) -> Result<(), AuthError> {
        let now_s = now_ms / 1000;
        if self.expires_s < now_s {
            return Err(AuthError::Expired { ago_s: now_s - self.expires_s });
        }
        if self.expires_s - now_s > TTL_S_MAX {
            return Err(AuthError::RelayName("lasts longer than a day"));
        }
        Ok(())
    }
}

/// The password of a name.
pub fn password(secret: &Secret, username: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, secret.expose());
    STANDARD.encode(hmac::sign(&key, username.as_bytes()))
}

fn escape(text: &str, into: &mut String) {
    for c in text.chars() {
        match c {
            '%' => into.push_str("%25"),
            '/' => into.push_str("%2F"),
            ':' => into.push_str("%3A"),
            other => into.push(other),
        }
    }
}

/// Only what [`escape`] writes, so that every user has one name.
fn unescape(text: &str) -> Option<String> {
    let mut pieces = text.split('%');
    let mut out = pieces.next()?.to_owned();
    for piece in pieces {
        let (code, rest) = piece.split_at_checked(2)?;
        out.push(match code {
            "25" => '%',
            "2F" => '/',
            "3A" => ':',
            _ => return None,
        });
        out.push_str(rest);
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn relay_user(app: &str, user: &str, room: &str) -> RelayUser {
        let user = (!user.is_empty()).then(|| UserId::parse(user).unwrap());
        let room = (!room.is_empty()).then(|| ChannelName::parse(room).unwrap());
        RelayUser::new(AppId::parse(app).unwrap(), user, room, 600, 1_700_000_000_999)
    }

    #[test]
    fn names_read_back_as_they_were_minted() {
        for (app, user, room, expected) in [
            ("shop", "ana", "room", "1700000600:shop/ana/room"),
            ("shop", "", "", "1700000600:shop//"),
            ("shop", "a/b", "c:d%2F", "1700000600:shop/a%2Fb/c%3Ad%252F"),
            ("a/b", "é", "", "1700000600:a%2Fb/é/"),
        ] {
            let minted = relay_user(app, user, room);
            assert_eq!(minted.username().unwrap(), expected);
            assert_eq!(RelayUser::parse(expected).unwrap(), minted);
        }
        assert!(relay_user("shop", &"u".repeat(255), &"/".repeat(255)).mint(&secret()).is_err(), "too long for STUN");
    }

    #[test]
    fn other_names_are_refused() {
        for wrong in [
            "",
            "1",
            "1:",
            "1:a",
            "1:a/b",
            "1:a/b/c/d",
            "x:a/b/c",
            "+1:a/b/c",
            ":a/b/c",
            "1:/b/c",
            "1:a/%41/",
            "1:a/%/",
            "1:a/%é/",
            "1:a/\n/",
        ] {
            assert!(matches!(RelayUser::parse(wrong), Err(AuthError::RelayName(_))), "{wrong:?}");
        }
        assert!(RelayUser::parse(&format!("1:a/b/{}", "c".repeat(508))).is_err());
    }

    fn secret() -> Secret {
        Secret::parse("an example secret that is long enough").unwrap()
    }

    /// Computed apart, with `openssl dgst -sha1 -hmac`.
    #[test]
    fn passwords_are_those_of_the_common_scheme() {
        let credential = relay_user("shop", "ana", "room").mint(&secret()).unwrap();
        assert_eq!(credential.password, "k01wk8cqc4XTDtFS8t/WMiA7J74=");
        assert!(!format!("{credential:?}").contains(&credential.password));
        assert_ne!(password(&secret(), "1700000600:shop/bob/room"), credential.password);
    }

    #[test]
    fn time_is_bounded_on_both_sides() {
        let relay = RelayUser::parse("1700000600:shop/ana/room").unwrap();
        let check = |now_s: u64, fine: bool| assert_eq!(relay.check_time(now_s * 1000).is_ok(), fine, "{now_s}");
        check(1_700_000_600, true);
        check(1_700_000_601, false);
        check(1_700_000_600 - TTL_S_MAX, true);
        check(1_700_000_599 - TTL_S_MAX, false);
        assert_eq!(RelayUser::new(relay.app, None, None, u64::MAX, 0).expires_s, TTL_S_MAX);
    }
}

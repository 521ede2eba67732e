//! Who may use the relay: long-term credentials become a [`Grant`], or are refused.
//!
//! Anything that implements [`Authorize`] can decide; a hub gives keys that are bound to a user, an app and a room. Built
//! in are [`RestSecrets`] (time-limited credentials that a web service mints with a shared secret), [`StaticUsers`], and
//! [`AnyOf`] to have both.
//!
//! ```
//! use omnivox_turn::credentials::{RestSecrets, Secret};
//! let minted = RestSecrets::mint(&Secret::new("one"), 1_700_000_600, "alice");
//! assert_eq!(minted.username, "1700000600:alice");
//! ```
//!
//! Invariant: an authoriser never sees the message and so can't leak whether its signature was right.

use std::net::IpAddr;
use std::sync::Arc;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hashbrown::HashMap;
use smallvec::SmallVec;

use super::integrity::{Algorithm, Key, userhash};

/// How a request names its user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Username<'a> {
    /// USERNAME.
    Name(&'a str),
    /// USERHASH.
    Hash(&'a [u8; 32]),
}

/// A question to an authoriser.
#[derive(Clone, Copy, Debug)]
pub struct Claim<'a> {
    /// The user that the request names.
    pub username: Username<'a>,
    /// The server's realm.
    pub realm: &'a str,
    /// How the key is made.
    pub algorithm: Algorithm,
    /// Seconds since 1970.
    pub unix: u64,
    /// Where the request came from.
    pub source: IpAddr,
}

/// Bounds that come with a credential, in place of the server's own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GrantLimits {
    /// Allocations that the user may have at once.
    pub user_allocations_max: Option<u32>,
    /// Allocations that the app may have at once.
    pub app_allocations_max: Option<u32>,
    /// Bytes per second, both directions, of all the user's allocations together.
    pub user_bytes_per_second: Option<u64>,
    /// The same for all allocations of the app.
    pub app_bytes_per_second: Option<u64>,
    /// Bytes that the user may relay in one window of the server's quotas.
    pub user_bytes_max: Option<u64>,
    /// The same for the app.
    pub app_bytes_max: Option<u64>,
}

/// What a right credential gives.
#[derive(Clone, Debug)]
pub struct Grant {
    /// Keys that may have signed the request; several while secrets rotate.
    pub keys: SmallVec<[Key; 2]>,
    /// The credential itself: the name that the client uses, which is what a revocation of one credential names.
    pub credential: Arc<str>,
    /// For whom credentials of this kind are made, which one after the other may be: the name without its expiry.
    pub holder: Arc<str>,
    /// The user behind the credential.
    pub user: Arc<str>,
    /// The app, if the credential is bound to one.
    pub app: Option<Arc<str>>,
    /// The room, if the credential is bound to one.
    pub room: Option<Arc<str>>,
    /// When it ends, in seconds since 1970.
    pub expires_unix: Option<u64>,
    /// When the allocations end that were made with it, even if they are refreshed, in seconds since 1970.
    pub ends_unix: Option<u64>,
    /// Its own bounds.
    pub limits: GrantLimits,
}

/// Why a credential is no good. The client sees 401 in every case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Nobody has this name.
    #[error("unknown user")]
    Unknown,
    /// Its time is over.
    #[error("the credential has expired")]
    Expired,
    /// It would last longer than allowed.
    #[error("the credential lasts too long")]
    TooLong,
    /// It was revoked.
    #[error("the credential was revoked")]
    Revoked,
}

/// Decides who may use the relay. It is asked on the relay's own threads: answer from memory.
pub trait Authorize: Send + Sync {
    /// Looks a credential up.
    fn authorize(&self, claim: &Claim<'_>) -> Result<Grant, Refusal>;

    /// Whether [`Username::Hash`] can be looked up; the server offers USERHASH only then.
    fn knows_userhashes(&self) -> bool {
        false
    }
}

/// What a revocation cuts off.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Revoked {
    /// Every allocation of a user.
    User(Arc<str>),
    /// Every allocation of an app.
    App(Arc<str>),
    /// Every allocation of a room of an app.
    Room(Option<Arc<str>>, Arc<str>),
    /// Every allocation of one credential.
    Credential(Arc<str>),
    /// Every allocation of all credentials of one holder.
    Holder(Arc<str>),
}

impl Revoked {
    /// Whether what belongs to these falls under it.
    #[must_use]
    pub fn covers(&self, credential: &str, holder: &str, user: &str, app: Option<&str>, room: Option<&str>) -> bool {
        match self {
            Self::User(name) => **name == *user,
            Self::App(name) => Some(&**name) == app,
            Self::Room(of, name) => of.as_deref() == app && Some(&**name) == room,
            Self::Credential(name) => **name == *credential,
            Self::Holder(name) => **name == *holder,
        }
    }
}

/// A shared secret; it never shows in `Debug`.
#[derive(Clone)]
pub struct Secret(Box<[u8]>);

impl Secret {
    /// Takes the secret's bytes.
    #[must_use]
    pub fn new(secret: impl AsRef<[u8]>) -> Self {
        Self(secret.as_ref().into())
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Secret(…)")
    }
}

/// Time-limited credentials of the TURN REST scheme: the name is `expiry:user`, the password an HMAC-SHA1 of the name.
#[derive(Clone, Debug)]
pub struct RestSecrets {
    /// Any of these may have made the password, so that a secret can be replaced without a gap.
    pub secrets: Vec<Secret>,
    /// Between expiry and user.
    pub separator: char,
    /// How far in the future an expiry may lie.
    pub lifetime_max_seconds: u64,
}

/// A minted credential.
#[derive(Clone, PartialEq, Eq)]
pub struct Minted {
    /// The name for the client.
    pub username: String,
    /// The password for the client.
    pub password: String,
}

impl std::fmt::Debug for Minted {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Minted").field("username", &self.username).finish_non_exhaustive()
    }
}

impl RestSecrets {
    /// With the usual separator `:` and credentials of at most two days.
    #[must_use]
    pub const fn new(secrets: Vec<Secret>) -> Self {
        Self { secrets, separator: ':', lifetime_max_seconds: 48 * 3600 }
    }

    /// Makes a credential that any server with this secret accepts until `expires_unix`.
    #[must_use]
    pub fn mint(secret: &Secret, expires_unix: u64, user: &str) -> Minted {
        let username = format!("{expires_unix}:{user}");
        let password = password_of(secret, &username);
        Minted { username, password }
    }
}

pub(super) fn password_of(secret: &Secret, username: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &secret.0);
    BASE64.encode(hmac::sign(&key, username.as_bytes()))
}

impl Authorize for RestSecrets {
    fn authorize(&self, claim: &Claim<'_>) -> Result<Grant, Refusal> {
        let Username::Name(name) = claim.username else { return Err(Refusal::Unknown) };
        // Without a user each credential is somebody of its own, or all of them would share one quota.
        let (expiry, user) = name.split_once(self.separator).unwrap_or((name, name));
        if expiry.is_empty() || !expiry.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(Refusal::Unknown);
        }
        let expiry: u64 = expiry.parse().map_err(|_| Refusal::TooLong)?;
        if expiry < claim.unix {
            return Err(Refusal::Expired);
        }
        if expiry - claim.unix > self.lifetime_max_seconds {
            return Err(Refusal::TooLong);
        }
        let key = |secret| Key::long_term(claim.algorithm, name, claim.realm, &password_of(secret, name));
        Ok(Grant {
            keys: self.secrets.iter().map(key).collect(),
            credential: name.into(),
            holder: user.into(),
            user: user.into(),
            app: None,
            room: None,
            expires_unix: Some(expiry),
            ends_unix: None,
            limits: GrantLimits::default(),
        })
    }
}

/// What a static user proves to know.
#[derive(Clone)]
enum Proof {
    Password(Box<str>),
    /// A key made before: 16 bytes for MD5, 32 for SHA-256.
    Key(Key, Algorithm),
}

/// Users with a password or a precomputed key in the settings.
#[derive(Clone, Default)]
pub struct StaticUsers {
    users: HashMap<Arc<str>, Proof, foldhash::fast::RandomState>,
    hashes: HashMap<[u8; 32], Arc<str>, foldhash::fast::RandomState>,
    realm: String,
    limits: GrantLimits,
}

impl std::fmt::Debug for StaticUsers {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("StaticUsers").field("users", &self.users.len()).finish_non_exhaustive()
    }
}

/// A precomputed key of a wrong form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a precomputed key is 32 (MD5) or 64 (SHA-256) hexadecimal digits; make one with `turnadmin -k` or write the password")]
pub struct InvalidKey;

impl StaticUsers {
    /// No users yet, for this realm.
    #[must_use]
    pub fn new(realm: impl Into<String>) -> Self {
        Self { realm: realm.into(), ..Self::default() }
    }

    /// Every user gets these bounds.
    #[must_use]
    pub const fn with_limits(mut self, limits: GrantLimits) -> Self {
        self.limits = limits;
        self
    }

    /// Adds a user with a password.
    pub fn add(&mut self, name: &str, password: &str) {
        self.insert(name, Proof::Password(password.into()));
    }

    /// Adds a user with a precomputed key, in hexadecimal, with or without `0x`.
    pub fn add_key(&mut self, name: &str, hex: &str) -> Result<(), InvalidKey> {
        let digits = hex.strip_prefix("0x").unwrap_or(hex);
        let algorithm = match digits.len() {
            32 => Algorithm::Md5,
            64 => Algorithm::Sha256,
            _ => return Err(InvalidKey),
        };
        let byte = |pair: &[u8]| {
            let text = std::str::from_utf8(pair).map_err(|_| InvalidKey)?;
            if !pair.iter().all(u8::is_ascii_hexdigit) {
                return Err(InvalidKey);
            }
            u8::from_str_radix(text, 16).map_err(|_| InvalidKey)
        };
        let bytes = digits.as_bytes().chunks(2).map(byte).collect::<Result<Vec<u8>, _>>()?;
        self.insert(name, Proof::Key(Key::precomputed(&bytes), algorithm));
        Ok(())
    }

    /// How many users there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.users.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.users.is_empty()
    }

    fn insert(&mut self, name: &str, proof: Proof) {
        let name: Arc<str> = name.into();
        self.hashes.insert(userhash(&name, &self.realm), Arc::clone(&name));
        self.users.insert(name, proof);
    }
}

impl Authorize for StaticUsers {
    fn authorize(&self, claim: &Claim<'_>) -> Result<Grant, Refusal> {
        let name = match claim.username {
            Username::Name(name) => name,
            Username::Hash(hash) => self.hashes.get(hash).ok_or(Refusal::Unknown)?,
        };
        let (name, proof) = self.users.get_key_value(name).ok_or(Refusal::Unknown)?;
        let key = match proof {
            Proof::Password(password) => Key::long_term(claim.algorithm, name, claim.realm, password),
            Proof::Key(key, algorithm) if *algorithm == claim.algorithm => key.clone(),
            Proof::Key(..) => return Err(Refusal::Unknown),
        };
        Ok(Grant {
            keys: SmallVec::from_iter([key]),
            credential: Arc::clone(name),
            holder: Arc::clone(name),
            user: Arc::clone(name),
            app: None,
            room: None,
            expires_unix: None,
            ends_unix: None,
            limits: self.limits,
        })
    }

    fn knows_userhashes(&self) -> bool {
        !self.users.is_empty()
    }
}

/// Asks several authorisers; the first that knows the user decides.
#[derive(Default)]
pub struct AnyOf(Vec<Arc<dyn Authorize>>);

impl std::fmt::Debug for AnyOf {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_tuple("AnyOf").field(&self.0.len()).finish()
    }
}

impl AnyOf {
    /// In the order in which they are asked. Without any, nobody gets in.
    #[must_use]
    pub fn new(authorizers: Vec<Arc<dyn Authorize>>) -> Self {
        Self(authorizers)
    }
}

impl Authorize for AnyOf {
    fn authorize(&self, claim: &Claim<'_>) -> Result<Grant, Refusal> {
        self.0
            .iter()
            .map(|authorizer| authorizer.authorize(claim))
            .find(|answer| !matches!(answer, Err(Refusal::Unknown)))
            .unwrap_or(Err(Refusal::Unknown))
    }

    fn knows_userhashes(&self) -> bool {
        self.0.iter().any(|authorizer| authorizer.knows_userhashes())
    }
}

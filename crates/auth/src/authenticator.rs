//! The door of one app: any credential in, a [`Principal`] or the reason against it out.
//!
//! ```
//! use std::sync::Arc;
//! use omnivox_auth::{Authenticator, Memory, Settings};
//! use omnivox_auth::key::{Algorithm, SigningKey};
//! use omnivox_auth::mint::{TokenDraft, mint};
//! use omnivox_auth::secret::Secret;
//! use omnivox_core::{App, AppId, Credential, Namespaces};
//!
//! let app = Arc::new(App::new(AppId::parse("shop").unwrap(), Namespaces::new(vec![])));
//! let secret = Secret::parse("an example secret that is long enough").unwrap();
//! let settings = Settings::of_secret(app, "shop", &secret).unwrap();
//! let door = Authenticator::new(settings, Arc::new(Memory::default()));
//!
//! let key = SigningKey::of_secret(&secret, Algorithm::HS256).unwrap();
//! let token = mint(&key, &TokenDraft::new("shop").user("ana"), 1_000, 60_000).unwrap();
//! let principal = door.verify(&Credential::Token(token.into()), 2_000).unwrap();
//! assert_eq!(principal.user.unwrap().as_str(), "ana");
//! ```
//!
//! Invariant: a principal's grants come from its credential alone, cut to what its signer may grant; nothing else adds to them here.

use std::sync::Arc;

use omnivox_core::{App, ChannelName, Credential, Grant, Permissions, Principal};

use crate::api_key::{self, ApiKey, ApiKeys};
use crate::error::AuthError;
use crate::explain::Explanation;
use crate::key::{Algorithm, KeyError, VerificationKey};
use crate::key_set::KeySet;
use crate::mercure::{self, Scope};
use crate::revocation::Revocations;
use crate::secret::Secret;
use crate::signature::{RequestSignature, SeenSignatures, SignedParts, WINDOW_MS};
use crate::ticket::{TICKET_TTL_MS_MAX, Tickets};
use crate::token::{self, Keys, TokenRules, Trust, VerifiedToken};

/// The longest token that is read, unless set otherwise.
pub const TOKEN_BYTES_MAX: usize = 8 << 10;

/// How an app checks credentials. All of it can be replaced while clients are connected.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The app.
    pub app: Arc<App>,
    /// Whose tokens are accepted.
    pub trusts: Vec<Trust>,
    /// The back ends' keys.
    pub api_keys: Vec<ApiKey>,
    /// The longest token that is read.
    pub token_bytes_max: usize,
    /// How far the time of a signed request may be from now.
    pub signature_window_ms: u64,
    /// How much is remembered, counted from the server's start.
    pub memory: MemoryLimits,
}

impl Settings {
    /// An app that knows one secret: it signs tokens (HS256) and is the API key of the id `key`.
    pub fn of_secret(app: Arc<App>, key: &str, secret: &Secret) -> Result<Self, KeyError> {
        let trust = Trust {
            keys: Keys::Pinned(vec![VerificationKey::of_secret(secret, &[Algorithm::HS256])?]),
            rules: TokenRules::new(app.id.as_str()),
            ceiling: Permissions::ALL,
        };
        let api_keys = vec![ApiKey::full(&app, key, secret.clone())];
        Ok(Self {
            app,
            trusts: vec![trust],
            api_keys,
            token_bytes_max: TOKEN_BYTES_MAX,
            signature_window_ms: WINDOW_MS,
            memory: MemoryLimits::default(),
        })
    }

    /// Goes on with the key sets that are there already, where they are the same: their keys stay in use until new ones come.
    pub fn keep_key_sets(&mut self, known: &[Arc<KeySet>]) {
        for trust in &mut self.trusts {
            if let Keys::Fetched(set) = &mut trust.keys
                && let Some(same) = known.iter().find(|same| same.location() == set.location() && same.policy() == set.policy())
            {
                same.want();
                *set = same.clone();
            }
        }
    }

    /// An app without secrets, for `dev`: everybody is anonymous.
    pub fn open(app: Arc<App>) -> Self {
        Self {
            app,
            trusts: Vec::new(),
            api_keys: Vec::new(),
            token_bytes_max: TOKEN_BYTES_MAX,
            signature_window_ms: WINDOW_MS,
            memory: MemoryLimits::default(),
        }
    }
}

/// How much of each kind an app remembers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryLimits {
    /// Tickets that wait to be used.
    pub tickets_max: usize,
    /// Revocations in force.
    pub revocations_max: usize,
    /// Signed requests of the last minutes.
    pub signatures_max: usize,
}

impl Default for MemoryLimits {
    fn default() -> Self {
        Self { tickets_max: 100_000, revocations_max: 100_000, signatures_max: 100_000 }
    }
}

/// What an app must remember although its settings change.
#[derive(Debug)]
pub struct Memory {
    /// Tickets that wait to be used.
    pub tickets: Tickets,
    /// What was revoked.
    pub revocations: Revocations,
    /// The signed requests of the last minutes.
    pub signatures: SeenSignatures,
}

impl Memory {
    /// An empty one.
    pub fn new(limits: MemoryLimits) -> Self {
        Self {
            tickets: Tickets::new(TICKET_TTL_MS_MAX, limits.tickets_max),
            revocations: Revocations::new(limits.revocations_max),
            signatures: SeenSignatures::new(limits.signatures_max),
        }
    }
}

impl Default for Memory {
    fn default() -> Self {
        Self::new(MemoryLimits::default())
    }
}

/// How many equal principals there are for those who come without a credential.
const ANONYMOUS: usize = 8;

/// The door of one app.
#[derive(Debug)]
pub struct Authenticator {
    app: Arc<App>,
    trusts: Vec<Trust>,
    api_keys: ApiKeys,
    token_bytes_max: usize,
    signature_window_ms: u64,
    memory: Arc<Memory>,
    /// Whoever comes without a credential, for each group of shards. All together would take the count of its references from each other.
    anonymous: [Arc<Principal>; ANONYMOUS],
}

impl Authenticator {
    /// A door with these settings; to change them make a new one with the same memory.
    pub fn new(settings: Settings, memory: Arc<Memory>) -> Self {
        let Settings { app, trusts, api_keys, token_bytes_max, signature_window_ms, memory: _ } = settings;
        let anonymous = std::array::from_fn(|_| Arc::new(Principal::anonymous(app.id.clone())));
        Self { app, trusts, api_keys: ApiKeys::new(api_keys), token_bytes_max, signature_window_ms, memory, anonymous }
    }

    /// The app.
    pub const fn app(&self) -> &Arc<App> {
        &self.app
    }

    /// The key sets that have to be kept fresh.
    pub fn key_sets(&self) -> impl Iterator<Item = &Arc<KeySet>> {
        self.trusts.iter().filter_map(|trust| match &trust.keys {
            // A set that is named by what it holds is not fetched from anywhere.
            Keys::Fetched(set) if !set.location().is_empty() && !set.location().trim_start().starts_with('{') => Some(set),
            Keys::Fetched(_) | Keys::Pinned(_) => None,
        })
    }

    /// What outlives the settings.
    pub const fn memory(&self) -> &Arc<Memory> {
        &self.memory
    }

    /// Who comes with the credential.
    pub fn verify(&self, credential: &Credential, now_ms: u64) -> Result<Principal, AuthError> {
        match credential {
            Credential::Anonymous => self.anonymous(0).map(|anonymous| (*anonymous).clone()),
            Credential::Token(token) => self.verify_token(token, now_ms).map(|(principal, _)| principal),
            Credential::Ticket(ticket) => self.redeem(ticket, now_ms),
            Credential::Cookie(cookie) => self.verify_token(&cookie.token, now_ms).map(|(principal, _)| principal),
            Credential::Signed(request) => {
                let parts = SignedParts { method: &request.method, target: &request.target, body: &request.body };
                self.verify_signed(&request.authorization, &parts, now_ms)
            }
            Credential::Key { id, secret } => {
                let key = self.api_keys.verify(id, secret)?;
                Ok(api_key::principal(&self.app, key))
            }
        }
    }

    /// Who comes without a credential to a shard: one principal for all of them there.
    pub fn anonymous(&self, shard: u16) -> Result<Arc<Principal>, AuthError> {
        if self.app.open { Ok(self.anonymous[usize::from(shard) % ANONYMOUS].clone()) } else { Err(AuthError::Missing) }
    }

    /// Who comes with the token, and all that it says, for dialects with claims of their own.
    pub fn verify_token(&self, token: &str, now_ms: u64) -> Result<(Principal, VerifiedToken), AuthError> {
        let token = token::verify(&self.trusts, token, self.token_bytes_max, now_ms)?;
        self.memory.revocations.check(token.user.as_ref(), token.token_id.as_ref(), token.issued_at_ms, now_ms)?;
        let mercure = mercure::scope(&token.claims)?;
        let principal = Principal {
            app: self.app.id.clone(),
            user: token.user.clone(),
            grants: grants(&token, mercure.as_ref())?.into(),
            authenticated: true,
            ceiling: token.ceiling,
            expires_at_ms: token.expires_at_ms,
            token_id: token.token_id.clone(),
            issued_at_ms: token.issued_at_ms,
            back_end: false,
            signer: Some(token.signer),
            hook: None,
            ticket: false,
            info: token.claims.info()?.or_else(|| mercure.as_ref().and_then(payload_for_all)),
        };
        Ok((principal, token))
    }

    /// A new credential on a living connection. Its grants replace the old ones; its user must be the same, as presence and what was
    /// sent to the user already went out under that name.
    pub fn refresh(&self, current: &Principal, credential: &Credential, now_ms: u64) -> Result<Principal, AuthError> {
        let renewed = self.verify(credential, now_ms)?;
        if current.user.is_some() && current.user != renewed.user {
            return Err(AuthError::OtherUser);
        }
        Ok(renewed)
    }

    /// Who signed the request. `authorization` is the value of its header.
    pub fn verify_signed(&self, authorization: &str, parts: &SignedParts<'_>, now_ms: u64) -> Result<Principal, AuthError> {
        let signature = RequestSignature::parse(authorization)?;
        let key = self.api_keys.of_id(&signature.key_id).ok_or(AuthError::RequestSignature)?;
        signature.verify(&key.secret, parts, self.signature_window_ms, &self.memory.signatures, now_ms)?;
        Ok(api_key::principal(&self.app, key))
    }

    /// A ticket for somebody who was verified. `entropy` must be fresh randomness.
    pub fn issue_ticket(&self, principal: &Principal, entropy: [u8; 32], now_ms: u64) -> Result<Box<str>, AuthError> {
        if principal.ticket {
            return Err(AuthError::TicketForTicket);
        }
        self.memory.tickets.issue(principal.clone(), entropy, now_ms)
    }

    fn redeem(&self, ticket: &str, now_ms: u64) -> Result<Principal, AuthError> {
        let principal = self.memory.tickets.redeem(ticket, now_ms)?;
        // Its key may have gone since.
        self.review(&principal, now_ms)?;
        Ok(Principal { ticket: true, ..principal })
    }

    /// Whether a principal that was let in before still would be: its key is trusted, and nothing of it was revoked.
    pub fn review(&self, principal: &Principal, now_ms: u64) -> Result<(), AuthError> {
        if !principal.authenticated {
            return if self.app.open { Ok(()) } else { Err(AuthError::Missing) };
        }
        let known = |signer| self.trusts.iter().any(|trust| trust.has(signer)) || self.api_keys.has(signer);
        if principal.signer.is_some_and(|signer| !known(signer)) {
            return Err(AuthError::Revoked("credential's key"));
        }
        self.memory.revocations.check(principal.user.as_ref(), principal.token_id.as_ref(), principal.issued_at_ms, now_ms)
    }

    /// What the credential's bearer may do with the channel, and why.
    pub fn explain(&self, credential: &Credential, channel: &ChannelName, now_ms: u64) -> Result<Explanation, AuthError> {
        Ok(Explanation::new(&self.app, self.verify(credential, now_ms)?, channel.clone()))
    }
}

/// What a token grants in all the shapes that it speaks, cut to what its signer may grant.
fn grants(token: &VerifiedToken, mercure: Option<&Scope>) -> Result<Vec<Grant>, AuthError> {
    let mut grants = token.claims.channels()?;
    grants.extend(mercure.map(Scope::grants).unwrap_or_default());
    for grant in &mut grants {
        grant.permissions = both(grant.permissions, token.ceiling);
    }
    grants.retain(|grant| !grant.permissions.is_empty());
    Ok(grants)
}

fn both(one: Permissions, other: Permissions) -> Permissions {
    let each = [Permissions::SUBSCRIBE, Permissions::PUBLISH, Permissions::PRESENCE, Permissions::HISTORY, Permissions::MANAGE];
    let shared = each.into_iter().filter(|permission| one.contains(*permission) && other.contains(*permission));
    shared.fold(Permissions::NONE, Permissions::with)
}

fn payload_for_all(scope: &Scope) -> Option<Arc<str>> {
    scope.payloads.iter().find(|(selectors, _)| selectors.is_empty()).map(|(_, payload)| payload.clone())
}

//! API keys: an id and a secret with which back ends come.
//!
//! Invariant: how long a refusal takes says nothing about which of the two was wrong.

use std::collections::BTreeMap;

use omnivox_core::grants::Signer;
use omnivox_core::{App, Grant, Grants, Pattern, Permissions, Principal};

use crate::error::AuthError;
use crate::secret::{Secret, signer};

/// One back end's key.
#[derive(Clone, Debug)]
pub struct ApiKey {
    /// The public half.
    pub id: Box<str>,
    /// The secret half.
    pub secret: Secret,
    /// What it allows.
    pub grants: Grants,
}

impl ApiKey {
    /// A key that may do everything in the app, behind protected prefixes too.
    pub fn full(app: &App, id: &str, secret: Secret) -> Self {
        let protected = app.namespaces.iter().filter(|namespace| namespace.protected).map(|namespace| namespace.pattern.clone());
        let patterns = std::iter::once(Pattern::All).chain(protected);
        let grants = patterns.map(|pattern| Grant { pattern, permissions: Permissions::ALL }).collect();
        Self { id: id.into(), secret, grants }
    }

    fn signer(&self) -> Signer {
        signer("key", &[self.id.as_bytes(), self.secret.expose()])
    }
}

/// The keys of an app.
#[derive(Clone, Debug, Default)]
pub(crate) struct ApiKeys {
    by_id: BTreeMap<Box<str>, ApiKey>,
}

impl ApiKeys {
    /// Of two keys with one id the later one counts.
    pub(crate) fn new(keys: Vec<ApiKey>) -> Self {
        Self { by_id: keys.into_iter().map(|key| (key.id.clone(), key)).collect() }
    }

    /// The key of that id, whoever asks.
    pub(crate) fn of_id(&self, id: &str) -> Option<&ApiKey> {
        self.by_id.get(id)
    }

    /// Whether the signer is one of the keys.
    pub(crate) fn has(&self, signer: Signer) -> bool {
        self.by_id.values().any(|key| key.signer() == signer)
    }

    /// The key of that id and secret.
    pub(crate) fn verify(&self, id: &str, secret: &str) -> Result<&ApiKey, AuthError> {
        match self.by_id.get(id) {
            Some(key) if key.secret.is(secret.as_bytes()) => Ok(key),
            Some(_) => Err(AuthError::ApiKey),
            None => {
                // The same work as for a known id: any other key will do, as the answer is no anyway.
                std::hint::black_box(self.by_id.values().next().map(|key| key.secret.is(secret.as_bytes())));
                Err(AuthError::ApiKey)
            }
        }
    }
}

/// Who comes with a key.
pub(crate) fn principal(app: &App, key: &ApiKey) -> Principal {
    Principal {
        grants: key.grants.clone(),
        authenticated: true,
        back_end: true,
        signer: Some(key.signer()),
        ..Principal::anonymous(app.id.clone())
    }
}

//! Who is calling: the checks of RFC 8489 §9.2.4.
//!
//! The nonce's own tag is checked first: it costs one digest, no look-up, and tells a right password with an old nonce
//! (438) from a wrong password (401). Until the signature is verified, answers are unsigned, short and budgeted.

use std::sync::Arc;

use super::{Action, Actions, Call, Class, Machine, Signature};
use crate::proto::attribute;
use crate::proto::credentials::{Claim, Grant, Username};
use crate::proto::integrity::{ALGORITHMS, Algorithm, Key, userhash};
use crate::proto::nonce::Verdict;

/// USERNAME's limit in RFC 8489.
const USERNAME_MAX_BYTES: usize = 508;

/// Someone who has proved to know a password.
#[derive(Debug)]
pub(super) struct Caller {
    pub(super) signature: Signature,
    pub(super) algorithm: Algorithm,
    pub(super) who: Who,
}

#[derive(Debug)]
pub(super) enum Who {
    /// The credential that made the allocation at hand.
    Owner,
    /// Another one.
    Other(Box<Grant>),
}

/// Why a request is not authenticated.
enum Doubt {
    /// 401 with a challenge; the credential itself was wrong or refused.
    Refused,
    /// 401 with a challenge; there was no credential.
    Unsigned,
    /// 438 with a challenge.
    Stale,
    /// 400 without one.
    Bad,
}

impl Machine {
    /// Verifies a request, or answers it and gives `None`. `existing` is the allocation that it is about.
    pub(super) fn authenticate(&mut self, call: Call<'_>, existing: Option<usize>, actions: &mut Actions) -> Option<Caller> {
        match self.verify(call, existing) {
            Ok(caller) => Some(caller),
            Err(doubt) => {
                self.challenge(call, &doubt, actions);
                None
            }
        }
    }

    fn verify(&self, call: Call<'_>, existing: Option<usize>) -> Result<Caller, Doubt> {
        let message = call.message;
        let integrity = message.integrity().ok_or(Doubt::Unsigned)?;
        let realm = message.text(attribute::REALM).ok_or(Doubt::Bad)?;
        let nonce = message.find(attribute::NONCE).ok_or(Doubt::Bad)?;
        let username = self.username(call).ok_or(Doubt::Bad)?;
        let lifetime = self.settings.nonce_lifetime_seconds;
        if self.nonces.check(nonce, call.from.client, call.now.unix, lifetime) == Verdict::Stale {
            return Err(Doubt::Stale);
        }
        let algorithm = self.algorithm(call).ok_or(Doubt::Bad)?;
        if realm != self.settings.realm {
            return Err(Doubt::Refused);
        }
        let (key, who) = match existing.filter(|&index| self.is_owner(index, username, algorithm)) {
            Some(index) => self.verify_owner(call, index)?,
            None => self.verify_other(call, username, algorithm)?,
        };
        Ok(Caller { signature: Signature { integrity, key }, algorithm, who })
    }

    fn username<'a>(&self, call: Call<'a>) -> Option<Username<'a>> {
        if let Some(name) = call.message.text(attribute::USERNAME) {
            return (name.len() <= USERNAME_MAX_BYTES).then_some(Username::Name(name));
        }
        call.message.find(attribute::USERHASH)?.try_into().ok().map(Username::Hash)
    }

    /// Neither attribute means MD5, the way of RFC 5389. Otherwise the client must repeat what was offered, so that nobody
    /// in between can take the better algorithm away.
    fn algorithm(&self, call: Call<'_>) -> Option<Algorithm> {
        let offered = call.message.find(attribute::PASSWORD_ALGORITHMS);
        let chosen = call.message.find(attribute::PASSWORD_ALGORITHM);
        match (offered, chosen) {
            (None, None) => Some(Algorithm::Md5),
            (Some(offered), Some(chosen)) if self.settings.sha256 && offered == ALGORITHMS => {
                [Algorithm::Md5, Algorithm::Sha256].into_iter().find(|one| {
                    let [high, low] = one.number().to_be_bytes();
                    chosen == [high, low, 0, 0]
                })
            }
            _ => None,
        }
    }

    fn is_owner(&self, index: usize, username: Username<'_>, algorithm: Algorithm) -> bool {
        let allocation = &self.allocations[index];
        allocation.algorithm == algorithm
            && match username {
                Username::Name(name) => *allocation.credential == *name,
                Username::Hash(hash) => userhash(&allocation.credential, &self.settings.realm) == *hash,
            }
    }

    /// The allocation's own key: no look-up, and a credential that has expired since still keeps its allocation.
    fn verify_owner(&self, call: Call<'_>, index: usize) -> Result<(Key, Who), Doubt> {
        let key = &self.allocations[index].key;
        if !call.message.verify(key) {
            return Err(Doubt::Refused);
        }
        Ok((key.clone(), Who::Owner))
    }

    fn verify_other(&self, call: Call<'_>, username: Username<'_>, algorithm: Algorithm) -> Result<(Key, Who), Doubt> {
        let claim = Claim { username, realm: &self.settings.realm, algorithm, unix: call.now.unix, source: call.from.client.ip() };
        let grant = self.shared.authorize.authorize(&claim).map_err(|_| Doubt::Refused)?;
        let key = grant.keys.iter().find(|key| call.message.verify(key)).ok_or(Doubt::Refused)?.clone();
        if self.shared.ledger.is_revoked(&grant, call.now.unix) {
            return Err(Doubt::Refused);
        }
        Ok((key, Who::Other(Box::new(grant))))
    }

    fn challenge(&mut self, call: Call<'_>, doubt: &Doubt, actions: &mut Actions) {
        self.counters.credentials_refused += u64::from(matches!(doubt, Doubt::Refused));
        if !self.may_answer(call) {
            return;
        }
        let code = match doubt {
            Doubt::Refused | Doubt::Unsigned => 401,
            Doubt::Stale => 438,
            Doubt::Bad => 400,
        };
        self.counters.count_error(code);
        if code == 400 {
            return Self::answer(call, Class::Error, None, actions, |writer| {
                writer.error(400);
            });
        }
        let mut nonce = Vec::with_capacity(28);
        self.nonces.issue(self.shared.features(&self.settings), call.from.client, call.now.unix, &mut nonce);
        let settings = Arc::clone(&self.settings);
        Self::answer(call, Class::Error, None, actions, |writer| {
            writer.error(code).attribute(attribute::REALM, settings.realm.as_bytes()).attribute(attribute::NONCE, &nonce);
            if settings.sha256 {
                writer.attribute(attribute::PASSWORD_ALGORITHMS, &ALGORITHMS);
            }
        });
    }

    /// The allocation of the calling path, proved to be the caller's; otherwise the request is answered with 437 or 441.
    pub(super) fn owned(&mut self, call: Call<'_>, actions: &mut Actions) -> Option<(usize, Signature)> {
        let existing = self.by_tuple.get(call.from).copied();
        let caller = self.authenticate(call, existing, actions)?;
        let refusal = match (existing, &caller.who) {
            (Some(index), Who::Owner) => {
                self.confirm_path(index, call.from);
                return Some((index, caller.signature));
            }
            (Some(_), Who::Other(_)) => 441,
            (None, _) => 437,
        };
        self.refuse(call, refusal, &caller.signature, actions);
        None
    }

    /// Hands a proven client over to the worker that knows what it asks for.
    pub(super) fn hand_over(&self, worker: u8, call: Call<'_>, actions: &mut Actions) -> bool {
        let other = worker != self.worker && worker < self.shared.workers;
        if other {
            actions.list.push(Action::HandOver { worker, client: *call.from });
        }
        other
    }
}

//! Why somebody may, or may not, do something with a channel: what `omnivox explain` prints and error bodies say.
//!
//! ```text
//! user ana of app shop, channel private-x
//!   subscribe  no   the credential's grant for `*` does not spell out the protected prefix of namespace `private`; …
//! ```
//!
//! Invariant: the answers are those of [`decide`], which is what decides when it counts. What else has a say, such as a hook, is a note beside
//! them.

use std::fmt;

use omnivox_core::grants::decide;
use omnivox_core::{App, ChannelName, Permissions, Principal};

/// Each thing that can be done with a channel, with the decision and its rule.
#[derive(Clone, Debug, PartialEq)]
pub struct Explanation {
    /// Who asks.
    pub principal: Principal,
    /// The channel.
    pub channel: ChannelName,
    /// The decisions, one for each permission.
    pub decisions: Vec<(Permissions, Ruling)>,
    /// What else bears on a permission, when it is granted or not.
    pub notes: Vec<(Permissions, Box<str>)>,
}

/// A decision, kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ruling {
    /// Whether it is allowed.
    pub allowed: bool,
    /// The rule in words.
    pub rule: Box<str>,
}

impl Explanation {
    /// Decides every permission for the channel.
    pub fn new(app: &App, principal: Principal, channel: ChannelName) -> Self {
        let each = [Permissions::SUBSCRIBE, Permissions::PUBLISH, Permissions::PRESENCE, Permissions::HISTORY, Permissions::MANAGE];
        let ruling = |wanted| {
            let decision = decide(app, &principal, &channel, wanted);
            (wanted, Ruling { allowed: decision.allowed, rule: decision.rule.to_string().into() })
        };
        let decisions = each.into_iter().map(ruling).collect();
        let mut explanation = Self { principal, channel, decisions, notes: Vec::new() };
        let namespace = app.namespaces.of(&explanation.channel);
        if !namespace.presence && explanation.allows(Permissions::PRESENCE) {
            let words = format!("but nobody can enter: presence is off in namespace `{}` (its `presence` setting)", namespace.name);
            explanation.note(Permissions::PRESENCE, words);
        }
        explanation
    }

    /// Whether the rules allow it.
    pub fn allows(&self, wanted: Permissions) -> bool {
        self.decisions.iter().any(|(permission, decision)| *permission == wanted && decision.allowed)
    }

    /// Adds to what is said of a permission.
    pub fn note(&mut self, permission: Permissions, words: impl Into<Box<str>>) {
        self.notes.push((permission, words.into()));
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.principal.user {
            Some(user) => write!(f, "user {user}")?,
            None if self.principal.authenticated => f.write_str("somebody with a credential that names no user")?,
            None => f.write_str("somebody without a credential")?,
        }
        writeln!(f, " of app {}, channel {}", self.principal.app, self.channel)?;
        for (permission, decision) in &self.decisions {
            let answer = if decision.allowed { "yes" } else { "no" };
            write!(f, "  {:<10} {answer:<4} {}", permission.to_string(), decision.rule)?;
            for (_, words) in self.notes.iter().filter(|(about, _)| about == permission) {
                write!(f, "; {words}")?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

//! Grants: what a principal may do, whatever credential it came with and whatever dialect it speaks.
//!
//! Every credential becomes a [`Principal`]. [`decide`] is the only place that answers "may it?", and its answer names the rule, so that
//! `omnivox explain` and every error can say why.
//!
//! Invariant: nothing is allowed but by a rule; a grant whose pattern does not itself spell out a protected prefix never reaches behind it.

use std::fmt;
use std::sync::Arc;

use crate::app::App;
use crate::name::{AppId, ChannelName, UserId};
use crate::pattern::Pattern;

/// A set of things that may be done with a channel.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Permissions(u8);

impl Permissions {
    /// Nothing.
    pub const NONE: Self = Self(0);
    /// Receive what is published.
    pub const SUBSCRIBE: Self = Self(1);
    /// Publish.
    pub const PUBLISH: Self = Self(2);
    /// See who is there, and be seen.
    pub const PRESENCE: Self = Self(4);
    /// Read what was published before.
    pub const HISTORY: Self = Self(8);
    /// Act on others: disconnect them, list channels.
    pub const MANAGE: Self = Self(16);
    /// The application gave the grant to a living session, by its answer to a call. No token can bring it.
    pub const VOUCHED: Self = Self(32);
    /// Everything that a client does; not [`MANAGE`](Self::MANAGE).
    pub const CLIENT: Self = Self(15);
    /// Everything.
    pub const ALL: Self = Self(31);

    const NAMES: [(&'static str, Self); 5] = [
        ("subscribe", Self::SUBSCRIBE),
        ("publish", Self::PUBLISH),
        ("presence", Self::PRESENCE),
        ("history", Self::HISTORY),
        ("manage", Self::MANAGE),
    ];

    /// The permission with that name; `*` is everything that a client does.
    pub fn named(name: &str) -> Option<Self> {
        if name == "*" {
            return Some(Self::CLIENT);
        }
        Self::NAMES.iter().find(|(known, _)| *known == name).map(|(_, permission)| *permission)
    }

    /// Both sets together.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether all of `other` is in it.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether it is empty.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl fmt::Display for Permissions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut first = true;
        for (name, permission) in Self::NAMES {
            if self.contains(permission) {
                if !first {
                    f.write_str(",")?;
                }
                f.write_str(name)?;
                first = false;
            }
        }
        if first { f.write_str("nothing") } else { Ok(()) }
    }
}

impl fmt::Debug for Permissions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// One rule of a credential: these things, with these channels.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Grant {
    /// The channels.
    pub pattern: Pattern,
    /// What may be done with them.
    pub permissions: Permissions,
}

/// The rules of a credential.
pub type Grants = Arc<[Grant]>;

/// Who a session is, once its credential has been verified.
#[derive(Clone, PartialEq, Debug)]
pub struct Principal {
    /// The app.
    pub app: AppId,
    /// The user, when the credential names one.
    pub user: Option<UserId>,
    /// What the credential allows beyond the namespaces' defaults.
    pub grants: Grants,
    /// Whether there was a credential at all.
    pub authenticated: bool,
    /// The most that namespaces give it for having a credential: what the signer of that credential may give.
    pub ceiling: Permissions,
    /// When the grants end, in milliseconds since the Unix epoch.
    pub expires_at_ms: Option<u64>,
    /// The id of the token, for revocation.
    pub token_id: Option<Arc<str>>,
    /// What the credential says of the user for others to see: JSON, given to presence.
    pub info: Option<Arc<str>>,
    /// When the credential was made, in milliseconds since the Unix epoch: a revocation of the user concerns what was made before it.
    pub issued_at_ms: Option<u64>,
    /// Whether it came with a key: it is a back end and no client.
    pub back_end: bool,
    /// Whose credential it was: when the app no longer trusts that, the session ends.
    pub signer: Option<Signer>,
    /// The hook that let it in, or gave it more than its credential does: when the app no longer asks that, the session ends.
    pub hook: Option<Signer>,
    /// Whether it came with a ticket, which buys no other.
    pub ticket: bool,
}

/// What stands for the key, or the hook, that vouches for a principal. It tells nothing of the key.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Signer(pub [u8; 8]);

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Signer(…)")
    }
}

impl Principal {
    /// Somebody without a credential.
    pub fn anonymous(app: AppId) -> Self {
        Self {
            app,
            user: None,
            grants: Arc::from([]),
            authenticated: false,
            ceiling: Permissions::ALL,
            expires_at_ms: None,
            token_id: None,
            info: None,
            issued_at_ms: None,
            back_end: false,
            signer: None,
            hook: None,
            ticket: false,
        }
    }

    /// Whether a namespace that gives it to everyone with a credential gives it here.
    pub fn authenticated_for(&self, wanted: Permissions) -> bool {
        self.authenticated && self.ceiling.contains(wanted)
    }
}

/// An answer of [`decide`], with the rule that it rests on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Decision<'a> {
    /// Whether it is allowed.
    pub allowed: bool,
    /// The rule in words, for `explain` and error texts.
    pub rule: Rule<'a>,
}

/// The rule that a decision rests on. It borrows the names: decisions are made for each command, and all shards decide by the same rules.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rule<'a> {
    /// The namespace gives it to everyone.
    NamespaceAnonymous(&'a str),
    /// The namespace gives it to everyone with a credential.
    NamespaceAuthenticated(&'a str),
    /// A grant of the credential gives it.
    Grant(&'a Pattern),
    /// A grant covers the name, but not the namespace's protected prefix.
    Protected {
        /// The namespace.
        namespace: &'a str,
        /// The grant that would have matched.
        pattern: &'a Pattern,
    },
    /// Nothing gives it.
    NoRule(&'a str),
    /// It is the inbox of a seat, which no grant opens.
    Inbox,
}

impl fmt::Display for Rule<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NamespaceAnonymous(name) => write!(f, "namespace `{name}` allows it to everyone (its `anonymous` setting)"),
            Self::NamespaceAuthenticated(name) => {
                write!(f, "namespace `{name}` allows it to everyone with a credential (its `authenticated` setting)")
            }
            Self::Grant(pattern) => write!(f, "the credential grants it for `{pattern}`"),
            Self::Protected { namespace, pattern } => write!(
                f,
                "the credential's grant for `{pattern}` does not spell out the protected prefix of namespace `{namespace}`; grant the prefix by name"
            ),
            Self::Inbox => f.write_str("the inbox of a seat opens to the key of that seat alone"),
            Self::NoRule(name) => write!(
                f,
                "no grant of the credential covers it and namespace `{name}` does not allow it by default; add a grant to the token, or the permission to the namespace's `anonymous` or `authenticated` setting"
            ),
        }
    }
}

/// Whether `principal` may do `wanted` with `channel`, and why.
pub fn decide<'a>(app: &'a App, principal: &'a Principal, channel: &ChannelName, wanted: Permissions) -> Decision<'a> {
    if channel.is_inbox() {
        return Decision { allowed: false, rule: Rule::Inbox };
    }
    let namespace = app.namespaces.of(channel);
    if namespace.anonymous.contains(wanted) {
        return Decision { allowed: true, rule: Rule::NamespaceAnonymous(&namespace.name) };
    }
    if principal.authenticated_for(wanted) && namespace.authenticated.contains(wanted) {
        return Decision { allowed: true, rule: Rule::NamespaceAuthenticated(&namespace.name) };
    }
    let mut shut_out = None;
    for grant in principal.grants.iter() {
        if !grant.permissions.contains(wanted) || !grant.pattern.matches(channel.as_str()) {
            continue;
        }
        if namespace.protected && !grant.pattern.literal_prefix().starts_with(namespace.pattern.literal_prefix()) {
            shut_out.get_or_insert(&grant.pattern);
            continue;
        }
        return Decision { allowed: true, rule: Rule::Grant(&grant.pattern) };
    }
    let rule = match shut_out {
        Some(pattern) => Rule::Protected { namespace: &namespace.name, pattern },
        None => Rule::NoRule(&namespace.name),
    };
    Decision { allowed: false, rule }
}

/// Whether the credential itself, and not only a namespace's default, gives `wanted` for one of the channels.
pub fn granted<'c>(app: &App, principal: &Principal, channels: impl IntoIterator<Item = &'c ChannelName>, wanted: Permissions) -> bool {
    channels.into_iter().any(|channel| {
        let namespace = app.namespaces.of(channel);
        let mut fitting =
            principal.grants.iter().filter(|grant| grant.permissions.contains(wanted) && grant.pattern.matches(channel.as_str()));
        fitting.any(|grant| !namespace.protected || grant.pattern.literal_prefix().starts_with(namespace.pattern.literal_prefix()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::{Namespace, Namespaces};

    fn app() -> App {
        let mut open = Namespace::new("", Pattern::All);
        open.anonymous = Permissions::SUBSCRIBE;
        open.authenticated = Permissions::PUBLISH;
        let mut private = Namespace::new("private", Pattern::Prefix("private-".into()));
        private.protected = true;
        App::new(AppId::parse("demo").unwrap(), Namespaces::new(vec![open, private]))
    }

    #[test]
    fn every_answer_names_its_rule() {
        let app = app();
        let nobody = Principal::anonymous(app.id.clone());
        let somebody = |pattern: &str| Principal {
            authenticated: true,
            grants: Arc::from([Grant { pattern: Pattern::parse(pattern).unwrap(), permissions: Permissions::CLIENT }]),
            ..nobody.clone()
        };
        // Its signer may not let anyone publish.
        let listener = Principal { ceiling: Permissions::SUBSCRIBE, ..somebody("x") };
        for (principal, channel, wanted, allowed, says) in [
            (&nobody, "chat", Permissions::SUBSCRIBE, true, "everyone"),
            (&nobody, "chat", Permissions::PUBLISH, false, "no grant"),
            (&somebody("x"), "chat", Permissions::PUBLISH, true, "with a credential"),
            (&somebody("x"), "chat", Permissions::HISTORY, false, "no grant"),
            (&somebody("chat"), "chat", Permissions::HISTORY, true, "grants it for `chat`"),
            (&somebody("*"), "private-a", Permissions::SUBSCRIBE, false, "protected prefix"),
            (&somebody("priv*"), "private-a", Permissions::SUBSCRIBE, false, "protected prefix"),
            (&somebody("private-*"), "private-a", Permissions::SUBSCRIBE, true, "private-*"),
            (&somebody("private-a"), "private-a", Permissions::MANAGE, false, "no grant"),
            (&nobody, "private-a", Permissions::SUBSCRIBE, false, "no grant"),
            (&listener, "chat", Permissions::PUBLISH, false, "no grant"),
            (&listener, "chat", Permissions::SUBSCRIBE, true, "everyone"),
        ] {
            let decision = decide(&app, principal, &ChannelName::parse(channel).unwrap(), wanted);
            assert_eq!(decision.allowed, allowed, "{channel} {wanted}: {}", decision.rule);
            assert!(decision.rule.to_string().contains(says), "{}", decision.rule);
        }
        let all = Grant { pattern: Pattern::All, permissions: Permissions::ALL };
        let manager = Principal { authenticated: true, grants: Arc::from([all]), ..nobody.clone() };
        let inbox = decide(&app, &manager, &ChannelName::inbox("~a"), Permissions::SUBSCRIBE);
        assert_eq!((inbox.allowed, inbox.rule), (false, Rule::Inbox), "not even to whoever may do everything");
    }
}

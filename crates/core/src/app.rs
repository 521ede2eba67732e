//! Apps and their namespaces: whose channels they are, and the rules that channels of a kind share.

use std::sync::Arc;
use std::time::Duration;

use smallvec::SmallVec;

use crate::grants::Permissions;
use crate::name::{AppId, ChannelName};
use crate::pattern::Pattern;

/// A tenant. Apps never see each other.
#[derive(Debug)]
pub struct App {
    /// Its id.
    pub id: AppId,
    /// The rules of its channels.
    pub namespaces: Namespaces,
    /// The origins that browsers may come from: exact ones, or `*`.
    pub allowed_origins: Vec<String>,
    /// Whether clients may come without a credential.
    pub open: bool,
}

impl App {
    /// An app that browsers of any origin may use without a credential, as far as its namespaces allow.
    pub fn new(id: AppId, namespaces: Namespaces) -> Self {
        Self { id, namespaces, allowed_origins: vec!["*".to_owned()], open: true }
    }
}

/// Rules for the channels whose names match a pattern.
#[derive(Clone, Debug)]
pub struct Namespace {
    /// Its name, for messages.
    pub name: Arc<str>,
    /// Which channels: a prefix, or all.
    pub pattern: Pattern,
    /// Whether a grant must spell out the prefix to reach behind it.
    pub protected: bool,
    /// What everyone may do.
    pub anonymous: Permissions,
    /// What everyone with a credential may do.
    pub authenticated: Permissions,
    /// How much is kept for resuming clients.
    pub history: Retention,
    /// Whether channels have presence.
    pub presence: bool,
}

impl Namespace {
    /// A namespace that allows nothing by default and keeps the default history.
    pub fn new(name: &str, pattern: Pattern) -> Self {
        Self {
            name: name.into(),
            pattern,
            protected: false,
            anonymous: Permissions::NONE,
            authenticated: Permissions::NONE,
            history: Retention::default(),
            presence: true,
        }
    }
}

/// How much of a channel is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// At most so many publications; 0 keeps nothing.
    pub count_max: usize,
    /// None older than this.
    pub age_max: Duration,
    /// At most so many bytes.
    pub bytes_max: usize,
}

impl Default for Retention {
    fn default() -> Self {
        Self { count_max: 1000, age_max: Duration::from_secs(300), bytes_max: 4 << 20 }
    }
}

/// How much is kept of each channel of a publication: one retention for all of them, or one for each in their order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retentions(SmallVec<[Retention; 1]>);

impl Retentions {
    /// That of the channel in that place.
    pub fn of(&self, place: usize) -> Retention {
        self.0.get(place).or_else(|| self.0.last()).copied().unwrap_or_default()
    }
}

impl From<Retention> for Retentions {
    fn from(all: Retention) -> Self {
        Self([all].into_iter().collect())
    }
}

impl FromIterator<Retention> for Retentions {
    fn from_iter<I: IntoIterator<Item = Retention>>(each: I) -> Self {
        Self(each.into_iter().collect())
    }
}

/// The namespaces of an app; the one with the longest matching prefix rules a channel.
#[derive(Clone, Debug)]
pub struct Namespaces {
    /// Longest prefix first; the last one matches everything.
    list: Vec<Arc<Namespace>>,
}

impl Namespaces {
    /// Sorts the namespaces; one that matches everything is added when there is none.
    pub fn new(namespaces: Vec<Namespace>) -> Self {
        let mut list: Vec<_> = namespaces.into_iter().map(Arc::new).collect();
        if !list.iter().any(|namespace| namespace.pattern == Pattern::All) {
            list.push(Arc::new(Namespace::new("", Pattern::All)));
        }
        list.sort_by_key(|namespace| std::cmp::Reverse(namespace.pattern.literal_prefix().len()));
        Self { list }
    }

    /// The namespace of a channel.
    pub fn of(&self, channel: &ChannelName) -> &Arc<Namespace> {
        let matching = self.list.iter().find(|namespace| namespace.pattern.matches(channel.as_str()));
        matching.unwrap_or_else(|| &self.list[self.list.len() - 1])
    }

    /// How much is kept of each of the channels.
    pub fn retentions(&self, channels: &[ChannelName]) -> Retentions {
        channels.iter().map(|channel| self.of(channel).history).collect()
    }

    /// All of them, longest prefix first.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Namespace>> {
        self.list.iter()
    }
}

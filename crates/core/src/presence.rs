//! A channel's presence set.
//!
//! A session may hold several entries under different keys. The set tells which events begin or end a user's stay, because dialects differ in
//! what they count.

use std::sync::Arc;

use hashbrown::HashMap;

use crate::event::{Member, MemberAction, PresenceEvent};
use crate::name::{ChannelName, SessionId};

/// Who is in a channel.
#[derive(Debug, Default)]
pub struct PresenceSet {
    members: HashMap<(SessionId, Arc<str>), Member, foldhash::fast::RandomState>,
}

impl PresenceSet {
    /// Adds an entry or changes its data. Nothing happened when the entry is there with the same data.
    pub fn enter(&mut self, channel: &ChannelName, member: Member) -> Option<PresenceEvent> {
        let key = (member.session, member.key.clone());
        let action = match self.members.get(&key) {
            Some(known) if *known == member => return None,
            Some(_) => MemberAction::Update,
            None => MemberAction::Enter,
        };
        let only_of_user = action == MemberAction::Enter && self.is_last_of_user(&member);
        self.members.insert(key, member.clone());
        Some(PresenceEvent { channel: channel.clone(), action, member, only_of_user })
    }

    /// Takes an entry out.
    pub fn leave(&mut self, channel: &ChannelName, session: SessionId, key: &str) -> Option<PresenceEvent> {
        let member = self.members.remove(&(session, Arc::from(key)))?;
        let only_of_user = self.is_last_of_user(&member);
        Some(PresenceEvent { channel: channel.clone(), action: MemberAction::Leave, member, only_of_user })
    }

    /// Whether the entry is there.
    pub fn contains(&self, session: SessionId, key: &str) -> bool {
        self.members.contains_key(&(session, Arc::from(key)))
    }

    /// All entries.
    pub fn members(&self) -> Vec<Member> {
        self.members.values().cloned().collect()
    }

    /// The entries of a session, and those that bear a name.
    pub fn find(&self, session: SessionId, name: &str) -> Vec<Member> {
        self.members.values().filter(|member| member.session == session || &*member.key == name).cloned().collect()
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Whether nobody is there.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Whether no other entry is of the member's user. A member without a user is its own.
    fn is_last_of_user(&self, member: &Member) -> bool {
        member.user.is_none() || !self.members.values().any(|other| other.user == member.user)
    }
}

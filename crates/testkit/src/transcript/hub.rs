//! The model hub: one app, everything kept in memory, everything allowed but what a transcript refuses.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use omnivox_core::app::Retention;
use omnivox_core::command::{Connect, SubscribedChannel, SubscribedPatterns};
use omnivox_core::engine::{ChannelSummary, HistoryPage, HistoryQuery, Published};
use omnivox_core::event::Member;
use omnivox_core::history::History;
use omnivox_core::presence::PresenceSet;
use omnivox_core::publication::{Form, NAME_TAG};
use omnivox_core::room::{Claim, IceServers, SEAT_MARK, Seat};
use omnivox_core::webhook::{Attempt, AttemptStatus};
use omnivox_core::{
    AppId, ChannelName, Credential, Cursor, Denied, Draft, Epoch, Grant, Mark, Pattern, Payload, Permissions, Place, Position,
    PresenceEvent, Principal, Publication, SessionId, UserId,
};

/// A publication and the index of its place.
pub(super) type Placed = (Arc<Publication>, usize);

/// What a subscribe finds.
pub(super) struct Found {
    /// The state of each channel.
    pub(super) states: Vec<SubscribedChannel>,
    /// That of the patterns, when there are any.
    pub(super) patterns: Option<SubscribedPatterns>,
    /// Where the app stands.
    pub(super) app: Cursor,
    /// What was missed.
    pub(super) missed: Vec<Placed>,
}

/// The hub of a transcript.
#[derive(Debug)]
pub(super) struct Hub {
    app: AppId,
    epoch: Epoch,
    stamp: u64,
    logs: BTreeMap<ChannelName, History>,
    presence: BTreeMap<ChannelName, PresenceSet>,
    published: BTreeMap<(ChannelName, Arc<str>), Published>,
    user: Option<UserId>,
    grants: Vec<Grant>,
    names: BTreeMap<Arc<str>, Cursor>,
    denials: Vec<(String, Denied)>,
    retention: Retention,
    /// The secrets of seats, in the order in which they were first shown.
    secrets: Vec<Box<str>>,
}

impl Hub {
    pub(super) fn new() -> Self {
        Self {
            app: AppId::parse("demo").expect("a name"),
            epoch: Epoch(35),
            stamp: 0,
            logs: BTreeMap::new(),
            presence: BTreeMap::new(),
            published: BTreeMap::new(),
            user: None,
            grants: Vec::new(),
            names: BTreeMap::new(),
            denials: Vec::new(),
            retention: Retention::default(),
            secrets: Vec::new(),
        }
    }

    /// Refuses the next command of that kind: `KIND CODE words`.
    pub(super) fn deny(&mut self, words: &str) {
        let mut parts = words.splitn(3, ' ');
        let kind = parts.next().unwrap_or_default().to_owned();
        let code = parts.next().unwrap_or_default();
        let words: Box<str> = parts.next().unwrap_or("no").into();
        let denied = match code {
            "unauthorized" => Denied::Unauthorized(words),
            "expired" => Denied::Expired(words),
            "forbidden" => Denied::Forbidden(words),
            "invalid" => Denied::Invalid(words),
            "not_found" => Denied::NotFound(words),
            "limit_exceeded" => Denied::Limit { setting: "channels_per_connection_max", words },
            "unavailable" => Denied::Unavailable(words),
            other => panic!("no refusal has the code {other:?}"),
        };
        self.denials.push((kind, denied));
    }

    /// The refusal that waits for this kind of command.
    pub(super) fn refusal(&mut self, kind: &str) -> Option<Denied> {
        let at = self.denials.iter().position(|(known, _)| known == kind)?;
        Some(self.denials.remove(at).1)
    }

    pub(super) fn set_user(&mut self, name: &str) {
        self.user = Some(UserId::parse(name).expect("a user name"));
    }

    pub(super) fn keep(&mut self, count_max: usize, now_ms: u64) {
        self.retention.count_max = count_max;
        for log in self.logs.values_mut() {
            log.evict(now_ms, &self.retention);
        }
    }

    pub(super) fn begin_epoch(&mut self, epoch: &str) {
        let Ok(Mark::Cursor(cursor)) = Mark::parse(&format!("{epoch}.0")) else { panic!("no epoch: {epoch:?}") };
        self.epoch = cursor.epoch;
        self.stamp = 0;
        self.logs.clear();
        self.published.clear();
    }

    /// `PERMISSION PATTERN`: what credentials grant from now on, too.
    pub(super) fn grant(&mut self, words: &str) {
        let (permission, pattern) = words.split_once(' ').expect("a permission and a pattern");
        let permissions = Permissions::named(permission).unwrap_or_else(|| panic!("no permission: {permission:?}"));
        let pattern = match pattern {
            template if template.contains('{') => Pattern::template(template).expect("a template"),
            other => Pattern::parse(other).expect("a pattern"),
        };
        self.grants.push(Grant { pattern, permissions });
    }

    /// Where the publication of that name is.
    pub(super) fn locate(&self, name: &str) -> Option<Cursor> {
        self.names.get(name).copied()
    }

    /// Who is in the channels that a pattern means.
    pub(super) fn present(&self, pattern: &Pattern) -> Vec<(ChannelName, Vec<Member>)> {
        let meant = self.presence.keys().filter(|channel| pattern.matches(channel.as_str()));
        let present = meant.map(|channel| (channel.clone(), self.members(channel)));
        present.filter(|(_, members)| !members.is_empty()).collect()
    }

    pub(super) fn connect(&self, connect: &Connect) -> Principal {
        let mut principal = Principal::anonymous(self.app.clone());
        if connect.credential != Credential::Anonymous {
            principal.authenticated = true;
            principal.user.clone_from(&self.user);
            principal.grants = self.grants.clone().into();
        }
        principal
    }

    pub(super) fn cursor(&self) -> Cursor {
        Cursor { epoch: self.epoch, stamp: self.stamp }
    }

    fn log(&mut self, channel: &ChannelName) -> &mut History {
        self.logs.entry(channel.clone()).or_insert_with(|| History::new(self.epoch, 0))
    }

    /// Numbers a draft; the publication is `None` when it was published before under its id.
    pub(super) fn publish(&mut self, draft: Draft, at_ms: u64) -> (Published, Option<Arc<Publication>>) {
        let id = draft.id.clone();
        if let Some(known) = id.as_ref().and_then(|id| self.published.get(&(draft.channels[0].clone(), id.clone()))) {
            return (Published { duplicate: true, ..known.clone() }, None);
        }
        self.stamp += 1;
        let places = draft.channels.iter().map(|channel| {
            let top = self.logs.get(channel).map_or(Position { epoch: self.epoch, offset: 0 }, History::top);
            Place { channel: channel.clone(), position: Position { offset: top.offset + 1, ..top }, previous: top.offset }
        });
        let places: Vec<Place> = places.collect();
        let publication =
            Arc::new(Publication { app: self.app.clone(), places: places.clone().into(), cursor: self.cursor(), at_ms, draft });
        let retention = self.retention;
        for (index, place) in places.iter().enumerate() {
            self.log(&place.channel).push(publication.clone(), index, &retention);
        }
        let published = Published { places: places.into(), cursor: self.cursor(), duplicate: false };
        if let Some(name) = publication.tag(NAME_TAG) {
            self.names.entry(name.into()).or_insert(publication.cursor);
        }
        if let Some(id) = id {
            self.published.insert((publication.places[0].channel.clone(), id), published.clone());
        }
        (published, Some(publication))
    }

    /// A message outside all channels: it has a place in none.
    pub(super) fn direct(&self, mut draft: Draft, at_ms: u64) -> Arc<Publication> {
        draft.channels.clear();
        let places = std::iter::empty().collect();
        Arc::new(Publication { app: self.app.clone(), places, cursor: self.cursor(), at_ms, draft })
    }

    /// What a new subscription to the channels finds; missed publications of several channels are merged by stamp.
    pub(super) fn subscribe(&mut self, channels: &[ChannelName], patterns: &[Pattern], since: Option<Mark>, most: usize) -> Found {
        let app = self.cursor();
        let mut missed: Vec<Placed> = Vec::new();
        let mut states = Vec::new();
        for channel in channels {
            let log = self.log(channel);
            let position = log.top();
            let found = since.map(|mark| log.since(mark, app, most));
            let (gap, publications) = found.map_or((false, Vec::new()), |found| (found.gap, found.publications));
            states.push(SubscribedChannel { channel: channel.clone(), position, gap, recovered: publications.len() });
            missed.extend(publications);
        }
        let mut pattern_gap = false;
        let meant = self.logs.iter().filter(|(channel, _)| patterns.iter().any(|pattern| pattern.matches(channel.as_str())));
        for found in meant.filter_map(|(_, log)| since.map(|mark| log.since(mark, app, most))) {
            pattern_gap |= found.gap;
            missed.extend(found.publications);
        }
        missed.sort_by_key(|(publication, _)| publication.cursor.stamp);
        missed.dedup_by_key(|(publication, _)| publication.cursor.stamp);
        let unnamed = |publication: &Publication| !publication.places.iter().any(|place| channels.contains(&place.channel));
        let recovered = missed.iter().filter(|(publication, _)| unnamed(publication)).count();
        let patterns = (!patterns.is_empty()).then_some(SubscribedPatterns { gap: pattern_gap, recovered });
        Found { states, patterns, app, missed }
    }

    pub(super) fn history(&mut self, channel: &ChannelName, query: &HistoryQuery) -> HistoryPage {
        let app = self.cursor();
        let log = self.log(channel);
        log.page(query, app)
    }

    pub(super) fn enter(&mut self, channel: &ChannelName, member: Member) -> Option<PresenceEvent> {
        self.presence.entry(channel.clone()).or_default().enter(channel, member)
    }

    pub(super) fn is_in(&self, channel: &ChannelName, session: SessionId, key: &str) -> bool {
        self.presence.get(channel).is_some_and(|set| set.contains(session, key))
    }

    pub(super) fn leave(&mut self, channel: &ChannelName, session: SessionId, key: &str) -> Option<PresenceEvent> {
        self.presence.get_mut(channel)?.leave(channel, session, key)
    }

    /// The name of the seat that a claim is for, and what its entry carries; nothing for a name that is empty.
    pub(super) fn claim(&mut self, seat: &Seat) -> Option<(String, Option<Bytes>)> {
        match &seat.claim {
            Claim::Name { name, token } => Some((format!("{SEAT_MARK}{name}"), Some(Bytes::from(format!("{{\"proof\":\"{token}\"}}"))))),
            Claim::Secret { secret, .. } => {
                let known = self.secrets.iter().position(|known| known == secret);
                let at = known.unwrap_or_else(|| {
                    self.secrets.push(secret.clone());
                    self.secrets.len() - 1
                });
                Some((format!("{SEAT_MARK}{}", at + 1), seat.data.clone()))
            }
        }
    }

    /// Takes a session out of every set.
    pub(super) fn leave_all(&mut self, session: SessionId) -> Vec<PresenceEvent> {
        let mut events = Vec::new();
        for (channel, set) in &mut self.presence {
            let mut entries: Vec<Member> = set.members().into_iter().filter(|member| member.session == session).collect();
            entries.sort_by(|a, b| a.key.cmp(&b.key));
            events.extend(entries.iter().filter_map(|member| set.leave(channel, session, &member.key)));
        }
        events
    }

    /// The members in the order of their sessions and keys, so that a transcript can name them.
    pub(super) fn members(&self, channel: &ChannelName) -> Vec<Member> {
        let mut members = self.presence.get(channel).map(PresenceSet::members).unwrap_or_default();
        members.sort_by(|a, b| (a.session, &a.key).cmp(&(b.session, &b.key)));
        members
    }

    pub(super) fn channels(&self, prefix: &str) -> Vec<ChannelSummary> {
        let logs = self.logs.iter().filter(|(channel, _)| channel.as_str().starts_with(prefix));
        logs.map(|(channel, log)| ChannelSummary {
            channel: channel.clone(),
            position: log.top(),
            members: self.presence.get(channel).map_or(0, PresenceSet::len),
        })
        .collect()
    }
}

/// The relay of every transcript.
pub(super) fn ice() -> IceServers {
    IceServers {
        stun: vec!["stun:relay.test:3478".into()],
        turn: vec!["turn:relay.test:3478?transport=udp".into(), "turn:relay.test:3478?transport=tcp".into()],
        username: "1700000600:demo/ana/room".into(),
        credential: "cGFzc3dvcmQ=".into(),
        ttl_s: 600,
        expires_s: 1_700_000_600,
    }
}

/// The delivery that every transcript's webhook had.
pub(super) fn attempt() -> Attempt {
    Attempt {
        id: "e-1".into(),
        webhook: "audit".into(),
        at_ms: 1_700_000_000_000,
        attempt: 1,
        events: 2,
        status: AttemptStatus::Retrying,
        answer: Some(503),
        error: None,
        duration_ms: 7,
        next_at_ms: Some(1_700_000_001_000),
    }
}

/// A draft out of `CHANNELS [event=E] [id=I] [user=U] [name=N] [granted] [flat] [text|binary] BODY`.
pub(super) fn draft(words: &str) -> Draft {
    let (channels, mut rest) = words.split_once(' ').unwrap_or((words, ""));
    let mut channels = channels.split('+').map(name);
    let mut draft = Draft::new(channels.next().expect("a channel"), Payload::Json(Bytes::new()));
    draft.channels.extend(channels);
    loop {
        let (word, behind) = rest.split_once(' ').unwrap_or((rest, ""));
        if let Some(event) = word.strip_prefix("event=") {
            draft.event = Some(super::meant(event).into());
        } else if let Some(id) = word.strip_prefix("id=") {
            draft.id = Some(id.into());
        } else if let Some(user) = word.strip_prefix("user=") {
            draft.audience.users.push(UserId::parse(user).expect("a user name"));
        } else if let Some(name) = word.strip_prefix("name=") {
            draft.tags = Some(Arc::from([(NAME_TAG, Arc::from(name))]));
        } else if word == "granted" {
            draft.audience.granted_only = true;
        } else if word == "flat" {
            draft.form = Form::Flat;
        } else if word == "text" {
            draft.payload = Payload::Text(Bytes::from(super::meant(behind)));
            return draft;
        } else if word == "binary" {
            draft.payload = Payload::Binary(Bytes::from(super::unhex(behind)));
            return draft;
        } else {
            draft.payload = Payload::Json(Bytes::from(super::meant(rest)));
            return draft;
        }
        rest = behind;
    }
}

/// A channel name that a transcript wrote.
pub(super) fn name(text: &str) -> ChannelName {
    ChannelName::parse(text).unwrap_or_else(|error| panic!("{text:?}: {error}"))
}

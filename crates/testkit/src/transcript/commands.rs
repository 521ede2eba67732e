//! What the hub does for the model driver: commands in, replies and events out.

use std::sync::Arc;

use bytes::BytesMut;
use omnivox_core::call::{Call, Called, Emit};
use omnivox_core::command::{Delivery, Enter, Manage, Replay, Subscribe, Subscribed};
use omnivox_core::event::Member;
use omnivox_core::room::{Claim, Inbox, Peer, SEAT_MARK, Seat, Seated, Signal, Vacate, is_polite};
use omnivox_core::{
    ChannelName, Command, Control, Denied, Draft, Event, Grant, Input, Pattern, Permissions, PresenceEvent, Publication, Reply, SessionId,
    Ticket,
};

use super::hub;
use super::stage::{Stage, Subscription};
use super::words::{came, described};

/// What the keys of inboxes have behind the seat's name.
const INBOX_KEY: &str = ".key";

/// The model application: it says back what it is told, and does what the method says.
fn called(call: &Call) -> Result<Called, Denied> {
    let name = |value: &bytes::Bytes| {
        let text = String::from_utf8_lossy(value);
        (call.words.channel)(call, text.trim_matches('"')).map_err(|error| Denied::Unavailable(error.to_string().into()))
    };
    let names = || call.arguments.iter().map(name).collect::<Result<Vec<_>, _>>();
    let said = Called { arguments: Some(call.arguments.clone()), ..Called::default() };
    Ok(match &*call.method {
        "say" => said,
        "nothing" => Called::default(),
        "join" => Called { join: names()?, ..said },
        "leave" => Called { leave: names()?, ..said },
        "emit" => {
            let emit = |event: &str| Emit {
                to: Vec::new(),
                users: Vec::new(),
                except_caller: false,
                event: event.into(),
                arguments: call.arguments.clone(),
            };
            Called { emits: vec![emit("first"), emit("second")], ..said }
        }
        "disconnect" => Called { disconnect: true, ..said },
        other => return Err(Denied::NotFound(format!("there is no method `{other}`").into())),
    })
}

impl Stage<'_> {
    pub(super) fn run(&mut self, actor: usize, ticket: Ticket, command: Command) {
        let (kind, words) = described(&command);
        self.ran.push_back(words);
        self.ran.extend(came(&command));
        let answer = match self.hub.refusal(kind) {
            Some(denied) => Err(denied),
            None => self.execute(actor, command),
        };
        self.replies.push_back((actor, ticket, answer));
    }

    pub(super) fn execute(&mut self, actor: usize, command: Command) -> Result<Reply, Denied> {
        assert!(
            self.actors[actor].principal.is_some() || matches!(command, Command::Connect(_)),
            "nothing may be run before the session is connected: {command:?}"
        );
        let id = self.actors[actor].id;
        Ok(match command {
            Command::Connect(connect) => {
                let principal = self.hub.connect(&connect);
                self.actors[actor].principal = Some(principal.clone());
                Reply::Connected(Arc::new(principal))
            }
            Command::Subscribe(subscribe) | Command::Admit(subscribe, _) => self.subscribe(actor, *subscribe),
            Command::Unsubscribe(channel) => self.unsubscribe(actor, &Pattern::Exact(channel)),
            Command::UnsubscribePattern(pattern) => self.unsubscribe(actor, &pattern),
            Command::Appear(appear) => {
                self.actors[actor].going.push(*appear.going);
                self.enter(actor, appear.enter)?;
                self.publish(appear.coming);
                Reply::Entered
            }
            Command::Present(pattern) => Reply::Present(self.hub.present(&pattern)),
            Command::Locate(name) => Reply::Located { found: self.hub.locate(&name), now: self.hub.cursor() },
            Command::Publish(drafts) => {
                let mut results = Vec::new();
                for mut draft in drafts {
                    draft.published_by(id);
                    results.push(match self.hub.refusal("item") {
                        Some(denied) => Err(denied),
                        None => Ok(self.publish(*draft)),
                    });
                }
                Reply::Published(results)
            }
            Command::Enter(enter) => return self.enter(actor, *enter),
            Command::Leave(channel, key) => {
                if let Some(event) = self.hub.leave(&channel, id, &key) {
                    self.announce_presence(event);
                }
                Reply::Left
            }
            Command::Members(channel) => Reply::Members(self.hub.members(&channel)),
            Command::History(channel, query) => Reply::History(self.hub.history(&channel, &query)),
            Command::Channels(prefix) => Reply::Channels(self.hub.channels(&prefix)),
            Command::Manage(manage) => {
                match *manage {
                    Manage::Tell(draft) => self.tell(*draft),
                    Manage::Deliveries(_) => return Ok(Reply::Deliveries(vec![hub::attempt()])),
                    Manage::TestWebhook(_) => return Ok(Reply::Tested("e-2".into())),
                    _ => {}
                }
                Reply::Managed
            }
            Command::Connections(_) => Reply::Connections(Vec::new(), false),
            Command::Ticket => Reply::Ticket("ticket".into(), 30_000),
            Command::Seat(seat) => self.seat(actor, *seat),
            Command::Signal(signal) => return self.signal(actor, &signal),
            Command::Ice(_) => Reply::Ice(Box::new(hub::ice())),
            Command::Keep(key) => {
                let member = key.strip_suffix(INBOX_KEY).ok_or_else(|| Denied::NotFound("this seat is not kept here".into()))?;
                Reply::Kept(ChannelName::inbox(member), 15_000)
            }
            Command::Vacate(vacate) => return self.vacate(&vacate),
            Command::Call(call) => Reply::Called(Box::new(called(&call)?)),
        })
    }

    pub(super) fn unsubscribe(&mut self, actor: usize, meant: &Pattern) -> Reply {
        let subscriptions = &mut self.actors[actor].subscriptions;
        let before = subscriptions.len();
        subscriptions.retain(|known| known.meant != *meant);
        if subscriptions.len() < before { Reply::Unsubscribed } else { Reply::NotSubscribed }
    }

    pub(super) fn subscribe(&mut self, actor: usize, subscribe: Subscribe) -> Reply {
        // A replay goes on until it is complete, an answer holds a page.
        let most = if subscribe.replay == Replay::InReply { self.missed_max } else { usize::MAX - 1 };
        let found = self.hub.subscribe(&subscribe.channels, &subscribe.patterns, subscribe.since, most.saturating_add(1));
        let hub::Found { states, patterns, app: cursor, mut missed } = found;
        let page_end = (missed.len() > most).then(|| missed[most - 1].clone());
        missed.truncate(most);
        missed.retain(|(publication, _)| self.is_meant(actor, publication));
        let mut subscribed = Subscribed { channels: states.into(), patterns, cursor, missed: Vec::new(), page_end };
        if subscribe.replay == Replay::InReply {
            subscribed.missed = missed;
            if subscribed.gap() || subscribed.more() || !subscribed.missed.is_empty() {
                return Reply::Subscribed(Box::new(subscribed));
            }
        } else {
            // A gap is told before what follows it, so that a cut in the replay does not hide it.
            for channel in subscribed.channels.iter().filter(|channel| channel.gap) {
                self.give(actor, &subscribe.delivery, &Event::Gap(channel.channel.clone()));
            }
            if patterns.is_some_and(|patterns| patterns.gap) {
                for pattern in &subscribe.patterns {
                    self.give(actor, &subscribe.delivery, &Event::Gap(pattern.label()));
                }
            }
            for (publication, place) in missed {
                self.give(actor, &subscribe.delivery, &Event::Publication(publication, place));
            }
        }
        for meant in subscribe.channels.into_iter().map(Pattern::Exact).chain(subscribe.patterns) {
            self.unsubscribe(actor, &meant);
            let subscription = Subscription { meant, delivery: subscribe.delivery.clone(), presence: subscribe.presence };
            self.actors[actor].subscriptions.push(subscription);
        }
        Reply::Subscribed(Box::new(subscribed))
    }

    pub(super) fn publish(&mut self, draft: Draft) -> omnivox_core::engine::Published {
        let at_ms = self.unix_ms();
        let (published, fresh) = self.hub.publish(draft, at_ms);
        if let Some(publication) = fresh {
            self.announce(&publication);
        }
        published
    }

    /// Whether a session belongs to the audience of a publication.
    pub(super) fn is_meant(&self, actor: usize, publication: &Publication) -> bool {
        let (known, draft) = (&self.actors[actor], &publication.draft);
        let Some(principal) = &known.principal else { return false };
        let covers = |grant: &Grant| draft.channels.iter().any(|channel| grant.pattern.matches(channel.as_str()));
        let granted = principal.grants.iter().any(|grant| grant.permissions.contains(Permissions::SUBSCRIBE) && covers(grant));
        let excluded = |channel: &ChannelName| known.subscriptions.iter().any(|known| known.meant == Pattern::Exact(channel.clone()));
        !draft.audience.except_channels.iter().any(excluded)
            && draft.audience.admits(known.id, principal.user.as_ref())
            && (!draft.audience.granted_only || granted)
    }

    /// Gives a publication once to every session that is in one of its channels and in its audience.
    pub(super) fn announce(&mut self, publication: &Arc<Publication>) {
        for actor in 0..self.actors.len() {
            if !self.is_meant(actor, publication) {
                continue;
            }
            let known = &self.actors[actor];
            let found = publication.places.iter().enumerate().find_map(|(index, place)| {
                let subscription = known.subscriptions.iter().find(|known| known.meant.matches(place.channel.as_str()))?;
                Some((index, subscription.delivery.clone()))
            });
            if let Some((place, delivery)) = found {
                self.give(actor, &delivery, &Event::Publication(publication.clone(), place));
            }
        }
    }

    pub(super) fn announce_presence(&mut self, event: PresenceEvent) {
        let event = Event::Presence(Arc::new(event));
        self.tell_subscribers(&event, |subscription| subscription.presence);
    }

    pub(super) fn tell_subscribers(&mut self, event: &Event, wanted: impl Fn(&Subscription) -> bool) {
        for actor in 0..self.actors.len() {
            let mut subscriptions = self.actors[actor].subscriptions.iter();
            let found = subscriptions.find(|known| known.meant.matches(event.channel().as_str()) && wanted(known)).cloned();
            if let Some(subscription) = found {
                self.give(actor, &subscription.delivery, event);
            }
        }
    }

    pub(super) fn give(&mut self, actor: usize, delivery: &Delivery, event: &Event) {
        match delivery {
            Delivery::Stateful => self.input(actor, Input::Event(event)),
            Delivery::Shared(key) => {
                if let Some(frame) = self.dialect.encode(key, event, &mut BytesMut::new()) {
                    self.actors[actor].outbox.push_back(frame);
                }
            }
            Delivery::Once(key) => {
                let Some(frame) = self.dialect.encode(key, event, &mut BytesMut::new()) else { return };
                let known = &mut self.actors[actor];
                known.subscriptions.clear();
                if let Some(label) = known.exchanges.iter_mut().find_map(Option::take) {
                    self.connection(&label).answer_bytes(frame.wire());
                }
                self.end(actor);
            }
        }
    }

    pub(super) fn enter(&mut self, actor: usize, enter: Enter) -> Result<Reply, Denied> {
        let known = &self.actors[actor];
        if enter.update_only && !self.hub.is_in(&enter.channel, known.id, &enter.key) {
            return Err(Denied::NotFound("there is no such entry in the presence set".into()));
        }
        let user = known.principal.as_ref().and_then(|principal| principal.user.clone());
        let member = Member { session: known.id, key: enter.key, user, data: enter.data };
        if let Some(event) = self.hub.enter(&enter.channel, member) {
            self.announce_presence(event);
        }
        Ok(Reply::Entered)
    }

    /// Gives a seat: `~N` for the Nth secret that was ever shown, `~NAME` for a name that nobody else has.
    pub(super) fn seat(&mut self, actor: usize, seat: Seat) -> Reply {
        let id = self.actors[actor].id;
        let Some((key, data)) = self.hub.claim(&seat) else { return Reply::Taken };
        let key: Arc<str> = key.into();
        let members = self.hub.members(&seat.channel);
        if members.iter().any(|other| other.key == key && other.session != id && other.data != data) {
            return Reply::Taken;
        }
        let user = self.actors[actor].principal.as_ref().and_then(|principal| principal.user.clone());
        let id = if seat.leased { SessionId::of_lease(id.node, &key) } else { id };
        let own = Member { session: id, key: key.clone(), user, data };
        let entered = self.hub.enter(&seat.channel, own);
        let old = members.iter().filter(|other| other.key == key && other.session != id);
        let left: Vec<_> = old.filter_map(|old| self.hub.leave(&seat.channel, old.session, &old.key)).collect();
        entered.into_iter().chain(left).for_each(|event| self.announce_presence(event));
        let others = members.into_iter().filter(|other| other.key != key && other.key.starts_with(SEAT_MARK));
        let peers = others.map(|member| Peer { polite: is_polite(&key, &member.key), member }).collect();
        let ice = matches!(seat.claim, Claim::Secret { .. }).then(|| Box::new(hub::ice()));
        let inbox = seat.leased.then(|| Inbox { key: format!("{key}{INBOX_KEY}").into(), since: self.hub.cursor(), kept_ms: 15_000 });
        Reply::Seated(Box::new(Seated { member: key, peers, ice, inbox: inbox.map(Box::new) }))
    }

    fn vacate(&mut self, vacate: &Vacate) -> Result<Reply, Denied> {
        let own = self.leased(&vacate.channel, &vacate.claim)?;
        if let Some(event) = self.hub.leave(&vacate.channel, own.session, &own.key) {
            self.announce_presence(event);
        }
        Ok(Reply::Left)
    }

    /// The seat on lease that a claim proves.
    fn leased(&mut self, channel: &ChannelName, claim: &Claim) -> Result<Member, Denied> {
        let claimed = Seat { channel: channel.clone(), claim: claim.clone(), data: None, leased: true };
        let key = self.hub.claim(&claimed).map(|(key, _)| key);
        let found =
            self.hub.members(channel).into_iter().find(|member| Some(&*member.key) == key.as_deref() && member.session.is_of_lease());
        found.ok_or_else(|| Denied::NotFound("this seat is not kept here, or no longer; enter the room again".into()))
    }

    pub(super) fn signal(&mut self, actor: usize, signal: &Signal) -> Result<Reply, Denied> {
        let members = self.hub.members(&signal.channel);
        let session = match &signal.from {
            Some(claim) => self.leased(&signal.channel, claim)?.session,
            None => self.actors[actor].id,
        };
        let own = members.iter().find(|member| member.session == session && member.key.starts_with(SEAT_MARK));
        let from = own.ok_or_else(|| Denied::Forbidden("take a seat first".into()))?;
        let to: Vec<SessionId> = members.iter().filter(|member| member.key == signal.to).map(|member| member.session).collect();
        if to.is_empty() {
            return Err(Denied::NotFound("that member is not in the room, or no longer".into()));
        }
        if to.iter().any(|session| session.is_of_lease()) {
            self.publish(signal.letter(&from.key));
        }
        self.tell(signal.draft(&from.key, to.iter().copied()));
        Ok(Reply::Signalled)
    }

    /// Gives the sessions that a draft names what is in no channel.
    pub(super) fn tell(&mut self, draft: Draft) {
        let to = draft.audience.sessions.clone();
        let publication = self.hub.direct(draft, self.unix_ms());
        for other in 0..self.actors.len() {
            if to.contains(&self.actors[other].id) && self.actors[other].session.is_some() {
                self.input(other, Input::Control(Control::Direct(publication.clone())));
            }
        }
    }
}

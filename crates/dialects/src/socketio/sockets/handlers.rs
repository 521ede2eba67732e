//! Events of clients: the default handlers.
//!
//! | event | arguments | acknowledgement |
//! | --- | --- | --- |
//! | `join`, `subscribe` | room, rooms, or `{room, since?, presence?}` | `{ok, rooms, offset, gap, recovered}` |
//! | `leave`, `unsubscribe` | room or rooms | `{ok}` |
//! | `publish` | room, event, …arguments, or `{room, event?, data?, id?}` | `{ok, id, offset}` |
//! | `presence` | room | `{ok, room, members}` |
//! | `room:enter`, `room:signal`, `room:leave` | see [`super::seats`] | |
//! | any other | anything | `{ok}` |
//!
//! Any other event is the application's, where a hook answers events ([`super::application`]); elsewhere it goes to the rooms that the socket is in, the socket itself spared, as `socket.to(room)` does in the reference. A refusal
//! is `{ok: false, error: {code, message}}`, or an event `error` when the client asked for no acknowledgement.

use std::sync::Arc;

use omnivox_core::call::Arguments;
use omnivox_core::command::{Replay, Subscribe, Subscribed};
use omnivox_core::engine::Published;
use omnivox_core::{Audience, ChannelName, Command, Denied, Draft};
use smallvec::SmallVec;

use super::super::channel::room_of;
use super::super::codes::Failure;
use super::super::delivery::{Argument, MemberShown};
use super::super::directory::{Record, Room};
use super::super::emission::draft;
use super::super::line::Line;
use super::super::packet::Call;
use super::super::program::Member;
use super::super::tags;
use super::requests::{self, Joining, Publishing};
use super::{Outline, Pending, Sockets};

/// Who waits for the answer to an event.
pub(super) struct Asker {
    pub(super) record: Arc<Record>,
    /// The acknowledgement.
    id: Option<u64>,
    /// The number under which the program around the server waits.
    number: Option<u64>,
    event: Box<str>,
    /// What the application answers when it is done.
    arguments: Option<Box<Arguments>>,
}

/// What a client hears: the argument of an acknowledgement.
#[derive(serde::Serialize)]
pub(super) struct Answer<'a> {
    pub(super) ok: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) error: Option<Failure<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) rooms: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) room: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) members: Option<Vec<MemberShown<'a>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) offset: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) gap: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) recovered: Option<usize>,
}

impl Answer<'_> {
    /// It was done.
    pub(super) fn ok() -> Self {
        Self { ok: true, error: None, rooms: None, room: None, members: None, id: None, offset: None, gap: None, recovered: None }
    }
}

impl Asker {
    /// The number of the acknowledgement, when one is wanted.
    pub(super) fn waits_under(&self) -> Option<u64> {
        self.id
    }

    /// For what the server does of its own accord; a refusal is told as one of a join.
    pub(super) fn nobody(record: &Arc<Record>) -> Self {
        Self::for_number(record, None)
    }

    /// For what the program around the server wants.
    pub(super) fn for_number(record: &Arc<Record>, number: Option<u64>) -> Self {
        Self { record: record.clone(), id: None, number, event: "join".into(), arguments: None }
    }

    /// The same one, who hears this when it is done.
    pub(super) fn who_hears(self, arguments: Arguments) -> Self {
        Self { arguments: Some(Box::new(arguments)), ..self }
    }
}

impl Sockets {
    /// An event of a connected socket.
    pub(super) fn event(&mut self, record: &Arc<Record>, call: Call<'_>, line: &mut Line<'_>) {
        if self.is_suite() {
            return self.suite_event(record, &call, line);
        }
        let asker = Asker { record: record.clone(), id: call.id, number: None, event: (&*call.name).into(), arguments: None };
        let most = self.shared.settings.commands_in_flight_max;
        if self.pending.len() >= most {
            let words = format!("{most} commands of this connection wait for an answer already");
            return self.fail(&asker, &Denied::Limit { setting: "commands_in_flight_max", words: words.into() }, line);
        }
        if let Some(program) = &self.shared.program {
            let arguments = call.arguments.iter().map(|argument| argument.to_string()).collect();
            match program.event(&Member(record.clone()), &call.name, arguments, call.id) {
                Ok(true) => return,
                Ok(false) => {}
                Err(denied) => return self.fail(&asker, &denied, line),
            }
        }
        let outcome = match &*call.name {
            "join" | "subscribe" => self.join(asker, &call, line),
            "leave" | "unsubscribe" => self.leave(asker, &call, line),
            "publish" => self.publish(asker, &call, line),
            "presence" => self.members(asker, &call, line),
            "room:enter" | "room:signal" | "room:leave" => self.seat_event(asker, &call, line),
            _ if self.shared.answered.contains(record.app()) => {
                self.ask_application(asker, &call, line);
                Ok(())
            }
            _ => self.broadcast(asker, &call, line),
        };
        if let Err((asker, denied)) = outcome {
            self.fail(&asker, &denied, line);
        }
    }

    fn join(&mut self, asker: Asker, call: &Call<'_>, line: &mut Line<'_>) -> Result<(), (Asker, Denied)> {
        let namespace = asker.record.namespace.clone();
        let joining = match requests::joining(&namespace, call.arguments.first().map(|argument| &**argument)) {
            Ok(joining) => joining,
            Err(denied) => return Err((asker, denied)),
        };
        self.join_channels(asker, joining, line);
        Ok(())
    }

    /// Joins channels that the socket is not in, and answers when there is none.
    pub(super) fn join_channels(&mut self, asker: Asker, mut joining: Joining, line: &mut Line<'_>) {
        let known: std::collections::HashSet<ChannelName> = asker.record.rooms().iter().map(|room| room.channel.clone()).collect();
        let rooms: Vec<String> = joining.channels.iter().map(shown).collect();
        joining.channels.retain(|channel| !known.contains(channel) && !self.is_joining(&asker.record, channel));
        if joining.channels.is_empty() {
            return self.answer(&asker, &Answer { rooms: Some(rooms), ..Answer::ok() }, line);
        }
        let admitted: Option<Box<[ChannelName]>> = joining.admitted.then(|| joining.channels.iter().cloned().collect());
        let subscribe = Box::new(Subscribe {
            channels: joining.channels.clone(),
            patterns: SmallVec::new(),
            since: joining.since,
            delivery: self.delivery(&asker.record.namespace),
            presence: joining.presence.is_some(),
            replay: Replay::Deliver,
        });
        let ticket = self.ticket(Pending::Join(asker, Box::new(joining)));
        let command = match admitted {
            Some(admitted) => Command::Admit(subscribe, admitted),
            None => Command::Subscribe(subscribe),
        };
        line.run(ticket, command);
    }

    fn is_joining(&self, record: &Arc<Record>, channel: &ChannelName) -> bool {
        self.pending.iter().any(|(_, pending)| match pending {
            Pending::Join(asker, joining) => Arc::ptr_eq(&asker.record, record) && joining.channels.contains(channel),
            _ => false,
        })
    }

    /// The hub let the socket into rooms.
    pub(super) fn joined(&mut self, asker: &Asker, joining: &Joining, subscribed: &Subscribed, line: &mut Line<'_>) {
        let rooms = joining.channels.iter().map(|channel| Room {
            channel: channel.clone(),
            joined: subscribed.cursor,
            presence: joining.presence.clone(),
            admitted: joining.admitted,
        });
        if !self.is_connected(&asker.record) {
            // The client left the namespace meanwhile.
            rooms.for_each(|room| self.part(&asker.record, Room { presence: None, ..room }, line));
            return;
        }
        asker.record.enter_rooms(rooms);
        let recovered: usize = subscribed.channels.iter().map(|channel| channel.recovered).sum();
        let names: Vec<String> = joining.channels.iter().map(shown).collect();
        let answer = Answer {
            rooms: Some(names),
            offset: Some(subscribed.cursor.to_string()),
            gap: Some(subscribed.gap()),
            recovered: Some(recovered),
            ..Answer::ok()
        };
        self.answer(asker, &answer, line);
        if let Some(presence) = &joining.presence {
            for channel in &joining.channels {
                let asker = Asker { record: asker.record.clone(), id: None, number: None, event: asker.event.clone(), arguments: None };
                self.enter(asker, channel, (**presence).clone(), line);
            }
        }
    }

    fn leave(&mut self, asker: Asker, call: &Call<'_>, line: &mut Line<'_>) -> Result<(), (Asker, Denied)> {
        let namespace = asker.record.namespace.clone();
        let leaving = match requests::joining(&namespace, call.arguments.first().map(|argument| &**argument)) {
            Ok(leaving) => leaving,
            Err(denied) => return Err((asker, denied)),
        };
        self.leave_channels(asker, &leaving.channels, line);
        Ok(())
    }

    /// Leaves those of the channels that the socket is in or about to be.
    pub(super) fn leave_channels(&mut self, asker: Asker, channels: &[ChannelName], line: &mut Line<'_>) {
        let mut left: Vec<Room> = Vec::new();
        asker.record.rooms().retain(|room| {
            let stays = !channels.contains(&room.channel);
            if !stays {
                left.push(room.clone());
            }
            stays
        });
        left.extend(self.recall_joins(&asker.record, channels));
        if left.is_empty() {
            return self.answer(&asker, &Answer::ok(), line);
        }
        for room in left {
            self.part(&asker.record, room, line);
        }
        // Answers come in order: who hears of the last one knows of all.
        if let Some((_, last)) = self.pending.last_mut() {
            *last = Pending::Leave(asker);
        }
    }

    /// Rooms whose join has not been answered yet, taken out of what will be joined.
    fn recall_joins(&mut self, record: &Arc<Record>, channels: &[ChannelName]) -> Vec<Room> {
        let mut recalled = Vec::new();
        for (_, pending) in &mut self.pending {
            let Pending::Join(asker, joining) = pending else { continue };
            if !Arc::ptr_eq(&asker.record, record) {
                continue;
            }
            joining.channels.retain(|channel| {
                let stays = !channels.contains(channel);
                if !stays {
                    // Where it would have been joined does not matter any more.
                    let joined = omnivox_core::Cursor { epoch: omnivox_core::Epoch(0), stamp: 0 };
                    recalled.push(Room { channel: channel.clone(), joined, presence: None, admitted: false });
                }
                stays
            });
        }
        recalled
    }

    fn publish(&mut self, asker: Asker, call: &Call<'_>, line: &mut Line<'_>) -> Result<(), (Asker, Denied)> {
        let Publishing { channels, event, id, content } =
            match requests::publishing(&asker.record.namespace, &call.arguments, call.binaries) {
                Ok(publishing) => publishing,
                Err(denied) => return Err((asker, denied)),
            };
        let draft = draft(event, id, content.payload, &content.tags, channels);
        let ticket = self.ticket(Pending::Publish(asker));
        line.run(ticket, Command::Publish(SmallVec::from_elem(Box::new(draft), 1)));
        Ok(())
    }

    /// Any other event, where no back end answers it.
    fn broadcast(&mut self, asker: Asker, call: &Call<'_>, line: &mut Line<'_>) -> Result<(), (Asker, Denied)> {
        let event = match requests::event(&call.name) {
            Ok(event) => event,
            Err(denied) => return Err((asker, denied)),
        };
        let channels: SmallVec<[ChannelName; 1]> = asker.record.rooms().iter().map(|room| room.channel.clone()).collect();
        if channels.is_empty() {
            // As in the reference: an event that nobody is there to hear is no mistake.
            self.answer(&asker, &Answer::ok(), line);
            return Ok(());
        }
        let mut content = requests::content(&call.arguments, call.binaries);
        if self.recovers() {
            content.tags.push((tags::SOCKET, asker.record.id.clone()));
        }
        let audience = Audience { except_publisher: true, ..Audience::default() };
        // The socket may have joined rooms that it may only listen to.
        let draft = Draft { skip_forbidden: true, audience, ..draft(event, None, content.payload, &content.tags, channels) };
        let ticket = self.ticket(Pending::Publish(asker));
        line.run(ticket, Command::Publish(SmallVec::from_elem(Box::new(draft), 1)));
        Ok(())
    }

    /// The hub took a publication, or not.
    pub(super) fn published(&self, asker: &Asker, published: Vec<Result<Published, Denied>>, line: &mut Line<'_>) {
        match published.into_iter().next() {
            Some(Ok(published)) => {
                // What a hook dropped is nowhere.
                let id = published.places.first().map(|place| place.position.to_string());
                let offset = id.is_some().then(|| published.cursor.to_string());
                self.answer(asker, &Answer { id, offset, ..Answer::ok() }, line);
            }
            Some(Err(denied)) => self.fail(asker, &denied, line),
            None => debug_assert!(false, "one draft, one outcome"),
        }
    }

    fn members(&mut self, asker: Asker, call: &Call<'_>, line: &mut Line<'_>) -> Result<(), (Asker, Denied)> {
        let asked = match requests::joining(&asker.record.namespace, call.arguments.first().map(|argument| &**argument)) {
            Ok(asked) => asked,
            Err(denied) => return Err((asker, denied)),
        };
        let [channel] = &asked.channels[..] else { return Err((asker, Denied::Invalid("name one room".into()))) };
        let ticket = self.ticket(Pending::Members(asker, shown(channel).into()));
        line.run(ticket, Command::Members(channel.clone()));
        Ok(())
    }

    /// Acknowledges an event, if anybody waits for that.
    pub(super) fn answer(&self, asker: &Asker, answer: &Answer<'_>, line: &mut Line<'_>) {
        if let (Some(program), Some(number)) = (&self.shared.program, asker.number) {
            let answer = serde_json::to_string(answer).unwrap_or_default();
            return program.answered(number, &Member(asker.record.clone()), vec![answer]);
        }
        if let Some(arguments) = &asker.arguments {
            return self.acknowledge(asker, arguments, line);
        }
        if asker.id.is_some() && self.is_connected(&asker.record) {
            let outline = Outline { namespace: &asker.record.namespace, name: None, id: asker.id };
            let answer = serde_json::to_string(answer).unwrap_or_default();
            self.send(outline, &[Argument::Json(answer.into())], line);
        }
    }

    /// Tells of a refusal.
    pub(super) fn fail(&self, asker: &Asker, denied: &Denied, line: &mut Line<'_>) {
        if asker.id.is_some() || asker.number.is_some() {
            let error = Some(Failure::of(denied, None));
            return self.answer(asker, &Answer { ok: false, error, ..Answer::ok() }, line);
        }
        if self.is_connected(&asker.record) {
            self.emit(&asker.record.namespace, "error", &Failure::of(denied, Some(&asker.event)), line);
        }
    }

    /// The handlers of the protocol's test suite.
    fn suite_event(&self, record: &Record, call: &Call<'_>, line: &mut Line<'_>) {
        let inline = call.binaries > 0;
        let arguments: Vec<Argument<'_>> = call
            .arguments
            .iter()
            .map(|json| if inline { Argument::Inline((&**json).into()) } else { Argument::Json((&**json).into()) })
            .collect();
        let outline = match (&*call.name, call.id) {
            ("message", _) => Outline { namespace: &record.namespace, name: Some("message-back"), id: None },
            ("message-with-ack", Some(id)) => Outline { namespace: &record.namespace, name: None, id: Some(id) },
            _ => return,
        };
        self.send(outline, &arguments, line);
    }
}

/// A room's name as its own clients know it.
fn shown(channel: &ChannelName) -> String {
    room_of(channel.as_str()).1.into_owned()
}

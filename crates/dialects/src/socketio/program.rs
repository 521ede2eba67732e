//! A program around the server: what it is told of sockets, and how it says what is to be done.
//!
//! A session tells its [`Program`] of sockets that come and go and of the events that they emit; nothing here waits. What the program wants
//! comes back through the hub as a direct message ([`Order`]), so a program runs where it likes and takes the time that it needs.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use omnivox_core::name::InvalidName;
use omnivox_core::{AppId, Denied, Draft, Principal, UserId};
use smallvec::SmallVec;

use super::SocketIo;
use super::channel::{channel_of, room_of};
use super::directory::{Named, Record, Selection};
use super::emission::{self, Emission, Errand, Telling};
use super::packet::is_reserved;
use super::sockets::requests;

/// What a program hears. Every method returns at once.
pub trait Program: Send + Sync + 'static {
    /// A client wants to be in a namespace. `true`: the program will say [`Order::Admit`] or [`Order::Refuse`]; `false`: let it in.
    fn wants_in(&self, candidate: &Candidate<'_>) -> bool;

    /// A socket is there, perhaps one that was lost before.
    fn came(&self, socket: &Member, recovered: bool);

    /// A socket is gone; the reason is in the words of the reference. Told once of each [`Member`], and before [`came`](Self::came) tells of
    /// the one that takes its place, unless both happen on two threads at the same time.
    fn gone(&self, socket: &Member, reason: &'static str);

    /// A socket emitted an event. `false`: the program has no handler, so the default ones see to it.
    fn event(&self, socket: &Member, event: &str, arguments: Vec<String>, acknowledgement: Option<u64>) -> Result<bool, Denied>;

    /// A socket answered what it was asked under that number, or the server has done it.
    fn answered(&self, number: u64, socket: &Member, arguments: Vec<String>);
}

/// A client that wants to be in a namespace.
pub struct Candidate<'a> {
    /// The number under which it is let in or refused.
    pub number: u64,
    /// The namespace.
    pub namespace: &'a str,
    /// The id that its socket will have.
    pub id: &'a str,
    /// Who it is.
    pub principal: &'a Arc<Principal>,
    /// What it shows: JSON.
    pub auth: Option<&'a str>,
    /// How to reach it.
    pub door: Door,
}

/// Where a candidate waits.
#[derive(Clone, Copy, Debug)]
pub struct Door(pub(super) omnivox_core::SessionId);

/// A socket, for as long as anybody cares.
#[derive(Clone, Debug)]
pub struct Member(pub(super) Arc<Record>);

/// The same connection of the same socket: one that took a lost socket's place has its id and is another one.
impl PartialEq for Member {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Member {}

impl Hash for Member {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Arc::as_ptr(&self.0).hash(state);
    }
}

impl Member {
    /// Its id, as its client knows it.
    pub fn id(&self) -> &Arc<str> {
        &self.0.id
    }

    /// Its namespace.
    pub fn namespace(&self) -> &str {
        &self.0.namespace
    }

    /// Its user, when its credential names one.
    pub fn user(&self) -> Option<&UserId> {
        self.0.user()
    }

    /// Its app.
    pub fn app(&self) -> &AppId {
        self.0.app()
    }

    /// The rooms that it is in.
    pub fn rooms(&self) -> Vec<String> {
        self.0.rooms().iter().map(|room| room_of(room.channel.as_str()).1.into_owned()).collect()
    }
}

/// Sockets of a namespace: those that any of the lists names, all when all lists are empty, and none of the other three.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Target {
    /// The namespace.
    pub namespace: String,
    /// In one of these rooms.
    pub rooms: Vec<String>,
    /// Of one of these users.
    pub users: Vec<UserId>,
    /// With one of these ids.
    pub sockets: Vec<Arc<str>>,
    /// Not in these rooms.
    pub except_rooms: Vec<String>,
    /// Not of these users.
    pub except_users: Vec<UserId>,
    /// Not with these ids.
    pub except_sockets: Vec<Arc<str>>,
}

impl Target {
    fn selection(&self) -> Result<Selection, InvalidName> {
        let named = |rooms: &[String], users: &[UserId], sockets: &[Arc<str>]| {
            Ok(Named {
                channels: rooms.iter().map(|room| channel_of(&self.namespace, room)).collect::<Result<_, _>>()?,
                users: users.iter().cloned().collect(),
                sockets: sockets.iter().map(|id| (**id).into()).collect(),
            })
        };
        Ok(Selection {
            namespace: (*self.namespace).into(),
            to: named(&self.rooms, &self.users, &self.sockets)?,
            except: named(&self.except_rooms, &self.except_users, &self.except_sockets)?,
        })
    }
}

/// What a program wants of the client at one socket, or at one door.
#[derive(Debug)]
pub enum Order<'a> {
    /// Let the candidate of that number in.
    Admit(u64),
    /// Refuse it, with words and perhaps JSON of one's own.
    Refuse(u64, &'a str, Option<&'a str>),
    /// Acknowledge an event.
    Acknowledge(u64, &'a [String]),
    /// Emit an event, and ask for an acknowledgement under a number.
    Emit(&'a str, &'a [String], Option<u64>),
    /// Join rooms; the number is answered when it is done.
    Join(&'a [&'a str], u64),
    /// Leave rooms; the number is answered when it is done.
    Leave(&'a [&'a str], u64),
    /// Go, from the namespace or altogether.
    Disconnect {
        /// Altogether.
        close: bool,
    },
}

/// An event for many.
pub struct Broadcast(Emission);

impl SocketIo {
    /// Makes the message that carries an order to a socket.
    pub fn order(member: &Member, order: &Order<'_>) -> Result<Box<Draft>, Denied> {
        let records = std::slice::from_ref(&member.0);
        let telling = match order {
            Order::Emit(event, arguments, number) => {
                let content = requests::content(arguments, binaries(arguments));
                emission::emitting(records, requests::event(event)?, &content, *number)
            }
            Order::Acknowledge(number, arguments) => {
                let content = requests::content(arguments, binaries(arguments));
                emission::acknowledging(records, &content, *number)
            }
            Order::Join(rooms, number) => emission::moving(Errand::Join, records, &channels(member, rooms)?, Some(*number)),
            Order::Leave(rooms, number) => emission::moving(Errand::Leave, records, &channels(member, rooms)?, Some(*number)),
            Order::Disconnect { close } => emission::parting(if *close { Errand::Close } else { Errand::Disconnect }, records),
            Order::Admit(_) | Order::Refuse(..) => None,
        };
        telling.map(|telling| telling.draft).ok_or_else(|| Denied::Invalid("this order is for a door, not for a socket".into()))
    }

    /// Makes the message that tells a candidate's session whether it is let in.
    pub fn verdict(door: Door, order: &Order<'_>) -> Result<Box<Draft>, Denied> {
        match order {
            Order::Admit(number) => Ok(emission::deciding(door.0, Errand::Admit, *number, "", None)),
            Order::Refuse(number, words, data) => Ok(emission::deciding(door.0, Errand::Refuse, *number, words, *data)),
            _ => Err(Denied::Invalid("this order is for a socket, not for a door".into())),
        }
    }

    /// Prepares an event for many. What is volatile is for the sockets that can take it now, in rooms too, and never published.
    pub fn broadcast(&self, to: &Target, event: &str, arguments: &[String], volatile: bool) -> Result<Broadcast, Denied> {
        if is_reserved(event) {
            return Err(Denied::Invalid(format!("`{event}` is an event of the client library itself").into()));
        }
        let selection = to.selection().map_err(|error| Denied::Invalid(error.to_string().into()))?;
        let content = requests::content(arguments, binaries(arguments));
        Ok(Broadcast(Emission { selection, event: requests::event(event)?, id: None, content, volatile }))
    }

    /// What of a broadcast is published.
    pub fn publication(&self, app: &AppId, broadcast: &Broadcast) -> Option<Box<Draft>> {
        broadcast.0.publication(&self.shared.directory, app)
    }

    /// What of it is told to sockets one by one, given the stamp of what was published.
    pub fn telling(&self, app: &AppId, broadcast: &Broadcast, stamp: Option<u64>) -> Option<Box<Draft>> {
        if !broadcast.0.goes_beyond_rooms() {
            return None;
        }
        broadcast.0.telling(&self.shared.directory, app, stamp).map(|Telling { draft, .. }| draft)
    }

    /// The living sockets that are meant.
    pub fn members(&self, app: &AppId, to: &Target) -> Result<Vec<Member>, Denied> {
        let selection = to.selection().map_err(|error| Denied::Invalid(error.to_string().into()))?;
        Ok(self.shared.directory.select(app, &selection, (&[], 0)).into_iter().map(Member).collect())
    }

    /// Emits to all of them at once and asks each for an acknowledgement under the number.
    pub fn question(members: &[Member], event: &str, arguments: &[String], number: u64) -> Result<Option<Box<Draft>>, Denied> {
        let records: Vec<Arc<Record>> = members.iter().map(|member| member.0.clone()).collect();
        let content = requests::content(arguments, binaries(arguments));
        Ok(emission::emitting(&records, requests::event(event)?, &content, Some(number)).map(|telling| telling.draft))
    }
}

fn channels(member: &Member, rooms: &[&str]) -> Result<SmallVec<[omnivox_core::ChannelName; 1]>, Denied> {
    let channel = |room: &&str| channel_of(member.namespace(), room).map_err(|error| Denied::Invalid(error.to_string().into()));
    rooms.iter().map(channel).collect()
}

/// How many binary values are inlined in the arguments.
pub(super) fn binaries<T: AsRef<str>>(arguments: &[T]) -> usize {
    let inlined = arguments.iter().map(T::as_ref).filter(|argument| argument.contains("_placeholder"));
    inlined.filter_map(super::value::Value::parse_inline).map(|value| value.binaries()).sum()
}

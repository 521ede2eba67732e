//! Emits of a back end: to rooms, users and sockets, without some of them, each socket once.
//!
//! Rooms are channels, so what goes to rooms is a publication like any other: kept, recovered, heard by every dialect. Users, sockets and
//! whole namespaces are no channels; their sessions are found in the directory and told directly, as an *errand* for the socket that each has
//! in the namespace. A socket that has heard it in a room is not told again.
//!
//! What is volatile is told as well, to the sockets in rooms too: it is for those that can take it now, so nothing of it may be kept.
//!
//! Errands also carry what a back end does with sockets: let them join, leave, go.

use std::sync::Arc;

use bytes::Bytes;
use omnivox_core::publication::Form;
use omnivox_core::{AppId, Audience, ChannelName, Draft, Payload, SessionId};
use smallvec::SmallVec;

use super::directory::{Directory, Record, Selection};
use super::sockets::requests::Content;
use super::tags;

/// What a back end emits.
#[derive(Debug)]
pub(super) struct Emission {
    pub(super) selection: Selection,
    pub(super) event: Option<Arc<str>>,
    /// Published once under it.
    pub(super) id: Option<Arc<str>>,
    pub(super) content: Content,
    /// Only for sockets that can take it now: it is told, to those in rooms too, and never published.
    pub(super) volatile: bool,
}

/// What a session is to do with its socket in a namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Errand {
    /// Emit the event.
    Emit,
    /// Be in these channels from now on.
    Join,
    /// Be in these channels no longer.
    Leave,
    /// Leave the namespace.
    Disconnect,
    /// End the connection.
    Close,
    /// Answer an event of the client.
    Acknowledge,
    /// Let a candidate into its namespace.
    Admit,
    /// Refuse it.
    Refuse,
}

impl Errand {
    const ALL: [(Self, &'static str); 8] = [
        (Self::Emit, "emit"),
        (Self::Join, "join"),
        (Self::Leave, "leave"),
        (Self::Disconnect, "disconnect"),
        (Self::Close, "close"),
        (Self::Acknowledge, "acknowledge"),
        (Self::Admit, "admit"),
        (Self::Refuse, "refuse"),
    ];

    fn label(self) -> &'static str {
        Self::ALL.iter().find(|(errand, _)| *errand == self).map_or("", |(_, label)| label)
    }

    /// The errand of that name.
    pub(super) fn named(label: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, known)| *known == label).map(|(errand, _)| *errand)
    }
}

/// A direct message, and how many sockets it is for.
pub(super) struct Telling {
    pub(super) draft: Box<Draft>,
    pub(super) sockets: usize,
}

impl Emission {
    /// Whether sockets are told, and not only rooms published to.
    pub(super) fn goes_beyond_rooms(&self) -> bool {
        let to = &self.selection.to;
        self.volatile || to.channels.is_empty() || !to.users.is_empty() || !to.sockets.is_empty()
    }

    /// What is published to the rooms, if any are named.
    pub(super) fn publication(&self, directory: &Directory, app: &AppId) -> Option<Box<Draft>> {
        let Selection { namespace, to, except } = &self.selection;
        if to.channels.is_empty() || self.volatile {
            return None;
        }
        let mut tags = self.content.tags.clone();
        let mut audience = Audience {
            except_channels: except.channels.iter().cloned().collect(),
            except_users: except.users.iter().cloned().collect(),
            ..Audience::default()
        };
        if !except.sockets.is_empty() {
            let spared = Selection {
                namespace: namespace.clone(),
                to: super::directory::Named { sockets: except.sockets.clone(), ..Default::default() },
                except: super::directory::Named::default(),
            };
            audience.except_sessions = directory.select(app, &spared, (&[], 0)).iter().map(|record| record.session()).collect();
            tags.push((tags::SOCKET, except.sockets.join(",").into()));
        }
        Some(Box::new(Draft {
            audience,
            ..draft(self.event.clone(), self.id.clone(), self.content.payload.clone(), &tags, to.channels.clone())
        }))
    }

    /// What is told to those whom the rooms do not reach; nothing when there is nobody. What went to the rooms had that stamp.
    pub(super) fn telling(&self, directory: &Directory, app: &AppId, stamp: Option<u64>) -> Option<Telling> {
        if self.volatile {
            let records = directory.select(app, &self.selection, (&[], 0));
            let tags: Vec<_> = self.content.tags.iter().cloned().chain([(tags::VOLATILE, Arc::from("true"))]).collect();
            return errand(Errand::Emit, &records, self.event.clone(), self.content.payload.clone(), &tags);
        }
        let mut selection = self.selection.clone();
        let rooms = std::mem::take(&mut selection.to.channels);
        let records = directory.select(app, &selection, (&rooms, stamp.unwrap_or(0)));
        emitting(&records, self.event.clone(), &self.content, None)
    }
}

/// An event for sockets, each of which is asked for an acknowledgement when there is a number for it.
pub(super) fn emitting(records: &[Arc<Record>], event: Option<Arc<str>>, content: &Content, number: Option<u64>) -> Option<Telling> {
    let tags: Vec<_> = content.tags.iter().cloned().chain(numbered(number)).collect();
    errand(Errand::Emit, records, event, content.payload.clone(), &tags)
}

/// An acknowledgement of an event that a socket emitted.
pub(super) fn acknowledging(records: &[Arc<Record>], content: &Content, number: u64) -> Option<Telling> {
    let tags: Vec<_> = content.tags.iter().cloned().chain(numbered(Some(number))).collect();
    errand(Errand::Acknowledge, records, None, content.payload.clone(), &tags)
}

/// A candidate is let in or refused.
pub(super) fn deciding(session: SessionId, errand: Errand, number: u64, words: &str, data: Option<&str>) -> Box<Draft> {
    let mut tags = vec![(tags::ERRAND, errand.label().into())];
    tags.extend(numbered(Some(number)));
    let refusal = match data {
        Some(data) => format!(r#"{{"message":{},"data":{data}}}"#, serde_json::Value::from(words)),
        None => format!(r#"{{"message":{}}}"#, serde_json::Value::from(words)),
    };
    let audience = Audience { sessions: SmallVec::from_elem(session, 1), ..Audience::default() };
    Box::new(Draft { audience, ..draft(None, None, Payload::Json(refusal.into()), &tags, SmallVec::new()) })
}

fn numbered(number: Option<u64>) -> Option<(&'static str, Arc<str>)> {
    number.map(|number| (tags::NUMBER, itoa::Buffer::new().format(number).into()))
}

/// Sockets join or leave channels.
pub(super) fn moving(errand: Errand, records: &[Arc<Record>], channels: &[ChannelName], number: Option<u64>) -> Option<Telling> {
    let names: Vec<&str> = channels.iter().map(ChannelName::as_str).collect();
    let payload = Payload::Json(serde_json::to_vec(&names).unwrap_or_default().into());
    self::errand(errand, records, None, payload, numbered(number).as_slice())
}

/// Sockets go.
pub(super) fn parting(errand: Errand, records: &[Arc<Record>]) -> Option<Telling> {
    self::errand(errand, records, None, Payload::Json(Bytes::from_static(b"null")), &[])
}

fn errand(
    errand: Errand,
    records: &[Arc<Record>],
    event: Option<Arc<str>>,
    payload: Payload,
    tags: &[(&'static str, Arc<str>)],
) -> Option<Telling> {
    let namespace = records.first()?.namespace.clone();
    let mut tags: SmallVec<[_; 4]> = tags.iter().cloned().collect();
    tags.push((tags::ERRAND, errand.label().into()));
    tags.push((tags::NAMESPACE, namespace));
    if let [only] = records {
        tags.push((tags::TO, only.id.clone()));
    }
    let audience = Audience { sessions: records.iter().map(|record| record.session()).collect(), ..Audience::default() };
    let draft = Draft { audience, ..draft(event, None, payload, &tags, SmallVec::new()) };
    Some(Telling { draft: Box::new(draft), sockets: records.len() })
}

/// A draft for everyone in the channels.
pub(super) fn draft(
    event: Option<Arc<str>>,
    id: Option<Arc<str>>,
    payload: Payload,
    tags: &[(&'static str, Arc<str>)],
    channels: SmallVec<[ChannelName; 1]>,
) -> Draft {
    Draft {
        channels,
        event,
        payload,
        id,
        audience: Audience::default(),
        publisher: None,
        author: None,
        skip_forbidden: false,
        form: Form::Enveloped,
        tags: (!tags.is_empty()).then(|| Arc::from(tags)),
    }
}

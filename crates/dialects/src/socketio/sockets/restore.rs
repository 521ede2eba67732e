//! A client comes back: its socket's id, its rooms, and what it missed, before it is told that it is connected.
//!
//! What was missed comes in the hub's reply, because not all of it is the socket's: nothing from before it joined the room, and nothing that
//! it emitted itself. When the last page is sent, the rooms are subscribed from exactly there.
//!
//! Invariant: a socket is taken up again with everything that it missed, or not at all.

use std::collections::HashMap;
use std::sync::Arc;

use omnivox_core::command::{Replay, Subscribe, Subscribed};
use omnivox_core::{ChannelName, Command, Cursor, Mark, Principal, Publication};

use super::super::delivery::{self, Tail};
use super::super::directory::{Kept, Room};
use super::super::line::Line;
use super::super::tags;
use super::connect::Waiting;
use super::{Asker, Pending, Sockets};

/// A socket on its way back.
pub(super) struct Restore {
    pub(super) namespace: Arc<str>,
    /// In the directory already: when this connection is lost too, the next one finds the socket again.
    kept: Kept,
    rooms: Vec<Room>,
    since: Cursor,
    /// Whether the rooms are subscribed when the answer is there, whatever was missed.
    final_page: bool,
    /// What to do otherwise.
    waiting: Waiting,
    principal: Arc<Principal>,
}

/// A socket that was found, with its rooms and the place to go on from.
type Found = (Kept, Vec<Room>, Option<Cursor>);

impl Sockets {
    /// Looks for the socket that the client had.
    pub(super) fn restore(&mut self, waiting: Waiting, principal: &Arc<Principal>, line: &mut Line<'_>) {
        match self.find(&waiting, principal, line) {
            Some((kept, rooms, Some(since))) => {
                let restore = Restore {
                    namespace: waiting.namespace.clone(),
                    kept,
                    rooms,
                    since,
                    final_page: false,
                    waiting,
                    principal: principal.clone(),
                };
                self.fetch(restore, line);
            }
            Some((kept, _, None)) => self.seat(kept, true, line),
            None => self.welcome(waiting, principal, line),
        }
    }

    /// The record, its rooms and the place to go on from; no place when there are no rooms.
    fn find(&self, waiting: &Waiting, principal: &Arc<Principal>, line: &Line<'_>) -> Option<Found> {
        let auth = waiting.auth.as_ref()?;
        let id = self.shared.key.get()?.socket_of(auth.private_id()?)?;
        let (old, record) = self.shared.directory.take(line.now, id, &waiting.namespace, principal, self.session)?;
        // When the server had not noticed the loss yet, this is how it comes to know.
        self.tell_gone(&old, "transport close");
        let rooms = record.rooms().clone();
        let since = match auth.offset() {
            Some(offset) => match Mark::parse(offset) {
                Ok(Mark::Cursor(cursor)) => Some(cursor),
                // Some event ended with a text that was not ours.
                Ok(Mark::Position(_) | Mark::Offset(_) | Mark::Earliest) | Err(_) => return None,
            },
            // It received nothing: all that came since it joined was missed.
            None => rooms.iter().map(|room| room.joined).min_by_key(|joined| joined.stamp),
        };
        let since = if rooms.is_empty() { None } else { since };
        if rooms.iter().any(|room| since.is_none_or(|since| room.joined.epoch != since.epoch)) {
            return None;
        }
        Some((self.keep(record, line), rooms, since))
    }

    fn fetch(&mut self, restore: Restore, line: &mut Line<'_>) {
        let admitted = restore.rooms.iter().filter(|room| room.admitted).map(|room| room.channel.clone()).collect::<Box<[_]>>();
        let subscribe = Box::new(Subscribe {
            channels: restore.rooms.iter().map(|room| room.channel.clone()).collect(),
            patterns: smallvec::SmallVec::new(),
            since: Some(Mark::Cursor(restore.since)),
            delivery: self.delivery(&restore.namespace),
            // A subscribe has one wish for all its rooms; who had presence anywhere hears of it everywhere.
            presence: restore.rooms.iter().any(|room| room.presence.is_some()),
            replay: if restore.final_page { Replay::Deliver } else { Replay::InReply },
        });
        let ticket = self.ticket(Pending::Restore(Box::new(restore)));
        let command = if admitted.is_empty() { Command::Subscribe(subscribe) } else { Command::Admit(subscribe, admitted) };
        line.run(ticket, command);
    }

    /// The hub answered with what was missed, or with the subscription.
    pub(super) fn restored(&mut self, mut restore: Restore, subscribed: &Subscribed, line: &mut Line<'_>) {
        if subscribed.gap() {
            if restore.final_page {
                restore.rooms.iter().for_each(|room| self.part(restore.kept.record(), Room { presence: None, ..room.clone() }, line));
            }
            return self.not_restored(restore, line);
        }
        if restore.final_page || (subscribed.missed.is_empty() && !subscribed.more()) {
            return self.seat_again(restore, line);
        }
        self.send_missed(&restore, subscribed, line);
        if let Some((last, _)) = subscribed.page_end.as_ref().or_else(|| subscribed.missed.last()) {
            restore.since = last.cursor;
        }
        restore.final_page = !subscribed.more();
        self.fetch(restore, line);
    }

    fn send_missed(&self, restore: &Restore, subscribed: &Subscribed, line: &mut Line<'_>) {
        let joined: HashMap<&ChannelName, Cursor> = restore.rooms.iter().map(|room| (&room.channel, room.joined)).collect();
        let id = &*restore.kept.record().id;
        let concerns = |publication: &Publication| {
            let there = |channel: &ChannelName| joined.get(channel).is_some_and(|joined| joined.stamp < publication.cursor.stamp);
            let spared = publication.tag(tags::SOCKET).is_some_and(|sockets| sockets.split(',').any(|socket| socket == id));
            let spared = spared || publication.draft.audience.except_channels.iter().any(there);
            publication.places.iter().any(|place| there(&place.channel)) && !spared
        };
        let parser = self.reader.parser();
        for (publication, _) in subscribed.missed.iter().filter(|(publication, _)| concerns(publication)) {
            let tail = Some(Tail::Offset(publication.cursor));
            let most = self.shared.settings.attachments_max;
            if let Some(packet) = delivery::publication(parser, &restore.namespace, publication, tail, most) {
                line.send(packet);
            }
        }
    }

    fn seat_again(&mut self, restore: Restore, line: &mut Line<'_>) {
        let record = restore.kept.record().clone();
        self.seat(restore.kept, true, line);
        for room in restore.rooms {
            if let Some(presence) = room.presence {
                self.enter(Asker::nobody(&record), &room.channel, *presence, line);
            }
        }
    }

    /// The client starts anew.
    pub(super) fn not_restored(&mut self, restore: Restore, line: &mut Line<'_>) {
        restore.kept.dismiss();
        self.welcome(restore.waiting, &restore.principal, line);
    }
}

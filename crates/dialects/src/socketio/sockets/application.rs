//! Events that no handler takes, in apps whose back end answers them.
//!
//! The back end hears of the event, its arguments, the namespace, the socket and its rooms; what it wants done with others the hub does, what it
//! wants done with the socket is done here. Its acknowledgement comes when the socket is in the rooms that it is to be in.

use std::sync::Arc;

use bytes::Bytes;
use omnivox_core::Command;
use omnivox_core::call::{Arguments, Called, Scope, Words};

use super::super::channel::{channel_of, room_of};
use super::super::delivery::{self, Argument};
use super::super::emission::draft;
use super::super::line::Line;
use super::super::packet::{Call, Kind, is_reserved};
use super::super::program::binaries;
use super::super::tags;
use super::handlers::Asker;
use super::requests::{self, Joining};
use super::{Outline, Pending, Sockets};

impl Sockets {
    /// Lets the application answer an event.
    pub(super) fn ask_application(&mut self, asker: Asker, call: &Call<'_>, line: &mut Line<'_>) {
        let record = &asker.record;
        let rooms = record.rooms().iter().map(|room| room_of(room.channel.as_str()).1.into()).collect();
        let scope = Scope { namespace: (*record.namespace).into(), socket: (*record.id).into(), rooms };
        let question = omnivox_core::call::Call {
            method: Arc::from(&*call.name),
            arguments: call.arguments.iter().map(|argument| Bytes::copy_from_slice(argument.as_bytes())).collect(),
            wants_answer: call.id.is_some(),
            scope: Some(Box::new(scope)),
            words: words(),
        };
        let ticket = self.ticket(Pending::Application(asker));
        line.run(ticket, Command::Call(Box::new(question)));
    }

    /// The application has answered.
    pub(super) fn called(&mut self, asker: Asker, called: Called, line: &mut Line<'_>) {
        let record = asker.record.clone();
        if !self.is_connected(&record) {
            return;
        }
        if !called.leave.is_empty() {
            self.leave_channels(Asker::nobody(&record), &called.leave, line);
        }
        for emit in called.emits.iter().filter(|emit| !is_reserved(&emit.event)) {
            let outline = Outline { namespace: &record.namespace, name: Some(&emit.event), id: None };
            self.send(outline, &shown(&emit.arguments), line);
        }
        let answer = called.arguments.unwrap_or_default();
        if called.disconnect {
            self.acknowledge(&asker, &answer, line);
            line.send(delivery::control(self.reader.parser(), Kind::Disconnect, &record.namespace, None));
            let index = self.sockets.iter().position(|socket| Arc::ptr_eq(socket.record(), &record));
            index.into_iter().for_each(|index| self.disconnect(index, "server namespace disconnect", line));
        } else if called.join.is_empty() {
            self.acknowledge(&asker, &answer, line);
        } else {
            let joining = Joining { channels: called.join.into(), since: None, presence: None, admitted: true };
            self.join_channels(asker.who_hears(answer), joining, line);
        }
    }

    /// Acknowledges an event with what the application answers.
    pub(super) fn acknowledge(&self, asker: &Asker, arguments: &Arguments, line: &mut Line<'_>) {
        let id = asker.waits_under();
        if id.is_some() && self.is_connected(&asker.record) {
            self.send(Outline { namespace: &asker.record.namespace, name: None, id }, &shown(arguments), line);
        }
    }
}

/// How rooms and events of a socket's namespace become channels and publications.
fn words() -> Words {
    Words {
        channel: |call, name| channel_of(namespace(call), name),
        draft: |call, emit, channels| {
            let arguments: Vec<&str> = emit.arguments.iter().map(text).collect();
            let mut content = requests::content(&arguments, binaries(&arguments));
            if let Some(scope) = call.scope.as_ref().filter(|_| emit.except_caller) {
                content.tags.push((tags::SOCKET, Arc::from(&*scope.socket)));
            }
            draft(Some(emit.event.clone()), None, content.payload, &content.tags, channels)
        },
    }
}

fn namespace(call: &omnivox_core::call::Call) -> &str {
    call.scope.as_ref().map_or("/", |scope| &scope.namespace)
}

fn text(json: &Bytes) -> &str {
    std::str::from_utf8(json).unwrap_or("null")
}

/// Arguments as they are sent; binary data is inlined in them.
fn shown(arguments: &Arguments) -> Vec<Argument<'_>> {
    let argument = |json| {
        let json = text(json);
        if json.contains("_placeholder") { Argument::Inline(json.into()) } else { Argument::Json(json.into()) }
    };
    arguments.iter().map(argument).collect()
}

//! `docs/openapi.json` against the routes, the parameters that are read, and the members that answers have.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use omnivox_core::call::{Called, Emit};
use omnivox_core::command::Connection;
use omnivox_core::engine::{ChannelSummary, HistoryPage, Published};
use omnivox_core::event::Member;
use omnivox_core::publication::Place;
use omnivox_core::room::{IceServers, Inbox, Seated};
use omnivox_core::{AppId, ChannelName, Cursor, Draft, Epoch, Payload, Position, Publication, SessionId};
use serde_json::Value;
use smallvec::SmallVec;

use crate::native::message::{Order, Origin};
use crate::native::render::{self, Object, Page};
use crate::native::rooms::seated_message;
use crate::native::{PATHS, Refusal, api, call, manage, webhooks};

/// Renders an answer.
type Write<'a> = Box<dyn Fn(&mut BytesMut) + 'a>;

fn file() -> Value {
    serde_json::from_str(include_str!("../../../../../docs/openapi.json")).unwrap()
}

fn keys(value: &Value) -> Vec<String> {
    let mut keys: Vec<String> = value.as_object().map(|object| object.keys().cloned().collect()).unwrap_or_default();
    keys.sort();
    keys
}

#[test]
fn the_file_names_the_routes() {
    let file = file();
    // Those of Socket.IO have a test beside their code.
    let paths = file["paths"].as_object().unwrap().iter().filter(|(path, _)| !path.starts_with("/v1/socketio/"));
    let mut described: Vec<(String, String)> = paths.map(|(path, methods)| (path.clone(), keys(methods).join(", "))).collect();
    described.sort();
    let mut served: Vec<(String, String)> =
        PATHS.iter().map(|(path, service)| ((*path).to_owned(), service.methods().0[0].to_lowercase())).collect();
    served.sort();
    assert_eq!(described, served);
}

#[test]
fn the_file_names_the_parameters() {
    let file = file();
    for (path, expected) in [
        ("/v1/poll", &["channel", "inbox", "last", "limit", "pattern", "since", "timeout"][..]),
        ("/v1/sse", &["Last-Event-ID", "channel", "format", "inbox", "lastEventId", "pattern", "presence", "since"]),
        ("/v1/history", &["before", "channel", "limit", "order", "since"]),
        ("/v1/presence", &["channel"]),
        ("/v1/channels", &["prefix"]),
        ("/v1/ice", &["channel", "format", "ttl"]),
        ("/v1/connections", &["user"]),
        ("/v1/webhooks/deliveries", &["limit", "status", "webhook"]),
        ("/v1/ws", &["Sec-WebSocket-Protocol", "channel", "since"]),
    ] {
        let parameters = file["paths"][path]["get"]["parameters"].as_array().unwrap();
        let name = |parameter: &Value| {
            let pointer = parameter["$ref"].as_str().map(|reference| reference.trim_start_matches('#').to_owned());
            let parameter = pointer.map_or(parameter, |pointer| file.pointer(&pointer).unwrap());
            parameter["name"].as_str().unwrap().to_owned()
        };
        let mut named: Vec<String> = parameters.iter().map(name).collect();
        named.sort();
        assert_eq!(named, expected, "{path}");
    }
}

#[test]
fn the_file_names_the_members_of_answers() {
    let channel = ChannelName::parse("a").unwrap();
    let position = Position { epoch: Epoch(35), offset: 1 };
    let place = Place { channel: channel.clone(), position, previous: 0 };
    let cursor = Cursor { epoch: Epoch(35), stamp: 1 };
    let publication = Arc::new(Publication {
        app: AppId::parse("demo").unwrap(),
        draft: Draft::new(channel.clone(), Payload::Binary(Bytes::from_static(b"1"))),
        places: std::iter::once(place.clone()).collect(),
        cursor,
        at_ms: 0,
    });
    let session = SessionId { node: 1, shard: 0, slot: 0, generation: 0 };
    let member = Member { session, key: "".into(), user: None, data: None };
    let published = Published { places: std::iter::once(place).collect(), cursor, duplicate: false };
    let page = HistoryPage { publications: Vec::new(), position, gap: false, more: false };
    let ice =
        IceServers { stun: vec!["stun:a".into()], turn: Vec::new(), username: "".into(), credential: "".into(), ttl_s: 1, expires_s: 1 };
    let inbox = Inbox { key: "~a.k".into(), since: cursor, kept_ms: 1 };
    let seated = Seated { member: "~a".into(), peers: Vec::new(), ice: Some(Box::new(ice)), inbox: Some(Box::new(inbox)) };
    let summary = ChannelSummary { channel: channel.clone(), position, members: 1 };
    let emit = Emit { to: Vec::new(), users: Vec::new(), except_caller: false, event: "e".into(), arguments: SmallVec::new() };
    let called = Called { emits: vec![emit], ..Called::default() };
    let object = |write: &dyn Fn(&mut Object<'_>), into: &mut BytesMut| {
        let mut object = Object::begin(into);
        write(&mut object);
        object.end();
    };
    let connection = Connection { session, dialect: "native", subscriptions: 1, token_id: None };
    let answers: [(&str, Write<'_>); 14] = [
        ("/Called", Box::new(|into| call::called_body(&called, into))),
        ("/Message", Box::new(|into| render::publication(&publication, Some(0), render::Binary::Base64, into))),
        ("/Poll", Box::new(|into| render::poll(&[], None, Page { gap: false, more: false }, into))),
        ("/Error", Box::new(|into| render::error_body(&Refusal::message("wrong"), into))),
        ("/Member", Box::new(|into| render::member(&member, into))),
        ("/Published", Box::new(|into| object(&|object| api::published_members(&channel, &published, object), into))),
        ("/Seated", Box::new(|into| seated_message(&channel, &seated, &Origin::default(), into))),
        ("/Members", Box::new(|into| object(&|object| api::members_members(&channel, &[], object), into))),
        ("/Channels", Box::new(|into| api::channels_body(std::slice::from_ref(&summary), into))),
        ("/TicketAnswer", Box::new(|into| manage::ticket_body("ovt_x", 30_000, into))),
        ("/Connections", Box::new(|into| manage::connections_body(std::slice::from_ref(&connection), false, into))),
        ("/Done", Box::new(manage::done_body)),
        ("/Deliveries", Box::new(|into| webhooks::deliveries_body(&[], into))),
        (
            "/History",
            Box::new(|into| {
                object(&|object| api::history_members(&channel, page.clone(), (Order::OldestFirst, true), 1, object), into);
            }),
        ),
    ];
    let file = file();
    for (schema, write) in answers {
        let mut answer = BytesMut::new();
        write(&mut answer);
        let answer: Value = serde_json::from_slice(&answer).unwrap();
        assert_eq!(keys(&answer), keys(file.pointer(&format!("/components/schemas{schema}/properties")).unwrap()), "{schema}");
    }
}

//! Bodies of the fuzz targets, beside the code so that they are built with the tests.
//!
//! Each takes what a client can send and fails when the dialect panics, writes an illegal frame, or answers a request twice.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Instant;

use bytes::BytesMut;
use omnivox_core::http::Upgrade;
use omnivox_core::name::SessionId;
use omnivox_core::publication::Place;
use omnivox_core::session::OpenContext;
use omnivox_core::{
    Action, Actions, AppId, CarrierId, ChannelName, Command, Cursor, Dialect, Draft, EncodingKey, Epoch, Event, ExchangeId, Framing, Input,
    Opening, Position, Principal, Publication, Reply, Request, Session,
};
use omnivox_wire::ws::{Decoder, Role};

use super::{Native, NativeSettings, formats};

/// Messages on a WebSocket, one a line; a line that is not UTF-8 is a binary message.
pub fn conversation(now: Instant, data: &[u8]) {
    let native = Native::new(NativeSettings::default());
    let request = Request { upgrade: Upgrade::WebSocket { deflate: false }, ..request_of("/v1/ws", "", &[], &[]) };
    let Opening::Session(new) = native.open(&context(now), &request) else { panic!("a plain handshake opens a session") };
    let mut client = Client { now, native, session: new.session, decoder: Decoder::new(Role::Client, 64 << 20, None), ended: false };
    client.say(Input::Exchange(ExchangeId(0), &request));
    for line in data.split(|byte| *byte == b'\n') {
        if client.ended {
            return;
        }
        match std::str::from_utf8(line) {
            Ok(text) => client.say(Input::Text(CarrierId(0), text)),
            Err(_) => client.say(Input::Binary(CarrierId(0), line)),
        }
    }
}

/// A request: a path with query, header lines and, behind an empty line, a body.
pub fn request(now: Instant, data: &[u8]) {
    let (head, body) = match data.windows(2).position(|pair| pair == b"\n\n") {
        Some(at) => (&data[..at], &data[at + 2..]),
        None => (data, &data[data.len()..]),
    };
    let Ok(head) = std::str::from_utf8(head) else { return };
    let mut lines = head.lines();
    let (method, target) = lines.next().and_then(|line| line.split_once(' ')).unwrap_or(("GET", "/v1/sse?channel=a"));
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let headers: Vec<(&str, &[u8])> =
        lines.filter_map(|line| line.split_once(':')).map(|(name, value)| (name, value.trim().as_bytes())).collect();
    let native = Native::new(NativeSettings::default());
    match native.open(&context(now), &Request { method, ..request_of(path, query, &headers, body) }) {
        Opening::Respond(response) => assert!((200..600).contains(&response.status), "a status: {}", response.status),
        Opening::Session(_) => {}
        Opening::Join { .. } => panic!("no native session is joined"),
    }
}

/// A client, and a hub that publishes whatever it says back to it.
struct Client {
    now: Instant,
    native: Native,
    session: Box<dyn Session>,
    decoder: Decoder,
    ended: bool,
}

impl Client {
    fn say(&mut self, input: Input<'_>) {
        let mut actions = Actions::default();
        self.session.handle(self.now, input, &mut actions);
        for action in actions.drain().collect::<Vec<_>>() {
            match action {
                Action::Upgrade(exchange, _) => self.say(Input::Attached(exchange, CarrierId(0))),
                Action::Run(ticket, Command::Connect(_)) => {
                    let app = AppId::parse("demo").expect("a name");
                    self.say(Input::Reply(ticket, Ok(Reply::Connected(Arc::new(Principal::anonymous(app))))));
                }
                Action::Run(_, Command::Publish(drafts)) => drafts.into_iter().for_each(|draft| self.deliver(*draft)),
                Action::Run(..) => {}
                Action::Push(frame) | Action::Send(_, frame) => self.receive(frame.wire()),
                Action::End => self.ended = true,
                other => panic!("not expected of a WebSocket: {other:?}"),
            }
        }
    }

    /// Shows the publication in every format.
    fn deliver(&mut self, draft: Draft) {
        let position = Position { epoch: Epoch(1), offset: 1 };
        let places = draft.channels.iter().map(|channel| Place { channel: channel.clone(), position, previous: 0 }).collect();
        let app = AppId::parse("demo").expect("a name");
        let cursor = Cursor { epoch: Epoch(1), stamp: 1 };
        let event = Event::Publication(Arc::new(Publication { app, draft, places, cursor, at_ms: 0 }), 0);
        let owner = event.channel().clone();
        for format in [formats::MESSAGES, formats::STREAM_ENVELOPE, formats::STREAM_DATA, formats::POLL_POSITIONS, formats::POLL_CURSORS] {
            let framing = if format == formats::MESSAGES { Framing::WebSocket } else { Framing::Bare };
            let key = EncodingKey { dialect: 0, format, framing, qualifier: None };
            let frame = self.native.encode(&key, &event, &mut BytesMut::new()).expect("what the native dialect took it can show");
            if format == formats::MESSAGES {
                self.receive(frame.wire());
                own_channel_is_shown(frame.payload().as_ref(), &owner);
            }
        }
    }

    fn receive(&mut self, wire: &[u8]) {
        let mut bytes = wire.to_vec();
        let mut at = 0;
        loop {
            let step = self.decoder.step(&mut bytes[at..]).expect("what we send is legal");
            at += step.consumed;
            if step.message.is_none() {
                return;
            }
        }
    }
}

/// What a client reads as channel and id is what the server wrote, whatever the publisher put into its message.
fn own_channel_is_shown(payload: &[u8], owner: &ChannelName) {
    let Ok(value) = serde_json::from_slice::<serde_json::Value>(payload) else { return };
    assert_eq!(value.get("channel").and_then(|channel| channel.as_str()), Some(owner.as_str()));
    assert_eq!(value.get("id").and_then(|id| id.as_str()), Some("1-1"));
}

fn context(now: Instant) -> OpenContext {
    let session = SessionId { node: 1, shard: 0, slot: 0, generation: 0 };
    OpenContext { now, unix_ms: 0, entropy: [7; 32], shard: 0, dialect: 0, session }
}

fn request_of<'a>(path: &'a str, query: &'a str, headers: &'a [(&'a str, &'a [u8])], body: &'a [u8]) -> Request<'a> {
    Request {
        method: "GET",
        path,
        query,
        headers,
        body,
        remote: IpAddr::V4(Ipv4Addr::LOCALHOST),
        secure: false,
        upgrade: Upgrade::None,
        stream_framing: Framing::Chunk,
    }
}

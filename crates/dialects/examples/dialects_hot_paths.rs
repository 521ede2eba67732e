//! The native dialect's hot paths as a program whose instructions `cargo xtask counts` counts.
//!
//! `dialects_hot_paths` lists them; `dialects_hot_paths NAME ROUNDS` runs one. What a round costs is the difference between two runs of
//! different length, so that start-up cancels out.
#![expect(clippy::disallowed_methods, reason = "a program reads its arguments and needs some moment in time")]

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Instant;

use bytes::BytesMut;
use omnivox_core::engine::Published;
use omnivox_core::http::Upgrade;
use omnivox_core::name::SessionId;
use omnivox_core::publication::Place;
use omnivox_core::session::OpenContext;
use omnivox_core::{
    Action, Actions, AppId, CarrierId, ChannelName, Command, Cursor, Dialect, Draft, EncodingKey, Epoch, Event, ExchangeId, Framing, Input,
    Opening, Payload, Position, Principal, Publication, Reply, Request, Session,
};
use omnivox_dialects::native::{Native, NativeSettings};

type HotPath = (&'static str, fn(u32));

const PATHS: &[HotPath] =
    &[("native-encode-for-websockets", encode), ("native-publish-over-websocket", publish), ("native-poll-opened", open_poll)];

/// The encoding key's format of messages on a WebSocket.
const MESSAGES: u8 = 0;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [name, rounds] = arguments.as_slice() else {
        return PATHS.iter().for_each(|(name, _)| println!("{name}"));
    };
    let (_, path) = PATHS.iter().find(|(known, _)| known == name).expect("a name from the list");
    path(rounds.parse().expect("a number of rounds"));
}

/// What a publication costs a shard before its subscribers: one frame for all of them.
fn encode(rounds: u32) {
    let native = Native::new(NativeSettings::default());
    let key = EncodingKey { dialect: 0, format: MESSAGES, framing: Framing::WebSocket, qualifier: None };
    let (event, mut scratch) = (event(), BytesMut::new());
    for _ in 0..rounds {
        black_box(native.encode(&key, black_box(&event), &mut scratch).expect("a publication can be shown"));
    }
}

/// What a session costs for each message that its client publishes, from text to acknowledgement.
fn publish(rounds: u32) {
    let (native, now) = (Native::new(NativeSettings::default()), Instant::now());
    let handshake = Request { upgrade: Upgrade::WebSocket { deflate: false }, ..request("/v1/ws", "") };
    let Opening::Session(new) = native.open(&context(now), &handshake) else { panic!("a handshake opens a session") };
    let mut session = new.session;
    answered(&mut *session, now, Input::Exchange(ExchangeId(0), &handshake));
    for _ in 0..rounds {
        let text = r#"{"type":"publish","channel":"general","event":"chat","data":{"text":"hello"},"ref":7}"#;
        answered(&mut *session, now, Input::Text(CarrierId(0), black_box(text)));
    }
}

/// What a poll costs before the hub is asked: a request becomes a session.
fn open_poll(rounds: u32) {
    let (native, now) = (Native::new(NativeSettings::default()), Instant::now());
    let poll = request("/v1/poll", "channel=general&last=0000000000000001-42");
    for _ in 0..rounds {
        assert!(matches!(black_box(native.open(&context(now), black_box(&poll))), Opening::Session(_)), "a poll opens a session");
    }
}

/// Hands an input to a session, and does what it asks for as a hub that allows everything.
fn answered(session: &mut dyn Session, now: Instant, input: Input<'_>) {
    let mut actions = Actions::default();
    session.handle(now, input, &mut actions);
    let asked: Vec<Action> = actions.drain().collect();
    for action in asked {
        let next = match action {
            Action::Upgrade(exchange, _) => Input::Attached(exchange, CarrierId(0)),
            Action::Run(ticket, Command::Connect(_)) => Input::Reply(ticket, Ok(Reply::Connected(Arc::new(Principal::anonymous(app()))))),
            Action::Run(ticket, Command::Publish(_)) => Input::Reply(ticket, Ok(Reply::Published(vec![Ok(published())]))),
            other => {
                black_box(other);
                continue;
            }
        };
        answered(session, now, next);
    }
}

fn app() -> AppId {
    AppId::parse("demo").expect("a name")
}

fn place() -> Place {
    let channel = ChannelName::parse("general").expect("a name");
    Place { channel, position: Position { epoch: Epoch(1), offset: 42 }, previous: 41 }
}

fn published() -> Published {
    Published { places: std::iter::once(place()).collect(), cursor: Cursor { epoch: Epoch(1), stamp: 42 }, duplicate: false }
}

fn event() -> Event {
    let data = format!(r#"{{"text":"{}"}}"#, "x".repeat(108));
    let draft = Draft::new(place().channel, Payload::Json(data.into()));
    let publication = Publication {
        app: app(),
        draft,
        places: std::iter::once(place()).collect(),
        cursor: Cursor { epoch: Epoch(1), stamp: 42 },
        at_ms: 0,
    };
    Event::Publication(Arc::new(publication), 0)
}

fn context(now: Instant) -> OpenContext {
    let session = SessionId { node: 1, shard: 0, slot: 0, generation: 0 };
    OpenContext { now, unix_ms: 0, entropy: [7; 32], shard: 0, dialect: 0, session }
}

fn request<'a>(path: &'a str, query: &'a str) -> Request<'a> {
    Request {
        method: "GET",
        path,
        query,
        headers: &[],
        body: &[],
        remote: IpAddr::V4(Ipv4Addr::LOCALHOST),
        secure: false,
        upgrade: Upgrade::None,
        stream_framing: Framing::Chunk,
    }
}

//! The body of the fuzz target for Mercure, beside the code so that it is built with the tests.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Instant;

use bytes::BytesMut;
use omnivox_core::command::{Delivery, Subscribed};
use omnivox_core::engine::Published;
use omnivox_core::http::Upgrade;
use omnivox_core::name::SessionId;
use omnivox_core::publication::Place;
use omnivox_core::session::OpenContext;
use omnivox_core::{
    Action, Actions, AppId, CarrierId, CloseReason, Command, Control, Cursor, Dialect, Draft, Epoch, Event, ExchangeId, Framing, Input,
    Opening, Position, Principal, Publication, Reply, Request, Session,
};
use omnivox_wire::sse::Parser;

use super::{HUB, Mercure, MercureSettings};

/// A request: method and target, header lines and, behind an empty line, a body. Fails when the dialect panics, does not answer, or shows an
/// update as something else than one event.
pub fn request(now: Instant, data: &[u8]) {
    let (head, body) = match data.windows(2).position(|pair| pair == b"\n\n") {
        Some(at) => (&data[..at], &data[at + 2..]),
        None => (data, &data[data.len()..]),
    };
    let Ok(head) = std::str::from_utf8(head) else { return };
    let mut lines = head.lines();
    let (method, target) = lines.next().and_then(|line| line.split_once(' ')).unwrap_or(("GET", HUB));
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let headers: Vec<(&str, &[u8])> =
        lines.filter_map(|line| line.split_once(':')).map(|(name, value)| (name, value.trim().as_bytes())).collect();
    let request = Request {
        method,
        path,
        query,
        headers: &headers,
        body,
        remote: IpAddr::V4(Ipv4Addr::LOCALHOST),
        secure: false,
        upgrade: Upgrade::None,
        stream_framing: Framing::Bare,
    };
    let mercure = Mercure::new(MercureSettings { subscriptions: true, ..MercureSettings::default() });
    let session = SessionId { node: 0, shard: 0, slot: 0, generation: 0 };
    let context = OpenContext { now, unix_ms: 0, entropy: [7; 32], shard: 0, dialect: 0, session };
    match mercure.open(&context, &request) {
        Opening::Respond(response) => assert!((200..600).contains(&response.status), "a status: {}", response.status),
        Opening::Join { .. } => panic!("no session of Mercure is joined"),
        Opening::Session(new) => {
            let mut client = Client { now, mercure, session: new.session, answers: 0, ended: false };
            client.say(Input::Exchange(ExchangeId(0), &request));
            if !client.ended {
                client.say(Input::Control(Control::Close(CloseReason::Drain)));
            }
            assert_eq!(client.answers, 1, "a request is answered once");
        }
    }
}

/// A client, and a hub that agrees to everything.
struct Client {
    now: Instant,
    mercure: Mercure,
    session: Box<dyn Session>,
    answers: usize,
    ended: bool,
}

impl Client {
    fn say(&mut self, input: Input<'_>) {
        let mut actions = Actions::default();
        self.session.handle(self.now, input, &mut actions);
        for action in actions.drain().collect::<Vec<_>>() {
            match action {
                Action::Run(ticket, command) => {
                    let reply = self.run(command);
                    self.say(Input::Reply(ticket, Ok(reply)));
                }
                Action::Respond(..) => self.answers += 1,
                Action::Stream(exchange, _) => {
                    self.answers += 1;
                    self.say(Input::Attached(exchange, CarrierId(0)));
                }
                Action::End => self.ended = true,
                Action::Push(_) => {}
                other => panic!("not expected of Mercure: {other:?}"),
            }
        }
    }

    fn run(&self, command: Command) -> Reply {
        let cursor = Cursor { epoch: Epoch(1), stamp: 1 };
        match command {
            Command::Connect(_) => Reply::Connected(Arc::new(Principal::anonymous(app()))),
            Command::Locate(_) => Reply::Located { found: Some(cursor), now: cursor },
            Command::Present(_) => Reply::Present(Vec::new()),
            Command::Appear(appear) => {
                self.show(appear.coming);
                self.show(*appear.going);
                Reply::Entered
            }
            Command::Subscribe(wish) => {
                assert!(matches!(wish.delivery, Delivery::Shared(_)), "streams share their frames");
                let subscribed =
                    Subscribed { channels: smallvec::SmallVec::new(), patterns: None, cursor, missed: Vec::new(), page_end: None };
                Reply::Subscribed(Box::new(subscribed))
            }
            Command::Publish(drafts) => {
                let published = drafts.into_iter().map(|draft| Ok(self.show(*draft))).collect();
                Reply::Published(published)
            }
            other => panic!("Mercure has no use for {other:?}"),
        }
    }

    /// Shows the update as an event stream does: it is one event.
    fn show(&self, draft: Draft) -> Published {
        let position = Position { epoch: Epoch(1), offset: 1 };
        let places: smallvec::SmallVec<[Place; 1]> =
            draft.channels.iter().map(|channel| Place { channel: channel.clone(), position, previous: 0 }).collect();
        let cursor = Cursor { epoch: Epoch(1), stamp: 1 };
        let event = draft.event.clone();
        let published = Published { places: places.clone(), cursor, duplicate: false };
        let shown = Event::Publication(Arc::new(Publication { app: app(), draft, places, cursor, at_ms: 0 }), 0);
        let key = omnivox_core::EncodingKey { dialect: 0, format: super::formats::BOTH, framing: Framing::Bare, qualifier: None };
        let frame = self.mercure.encode(&key, &shown, &mut BytesMut::new()).expect("what Mercure took it can show");
        let mut events = 0;
        let mut parser = Parser::new(64 << 20);
        let read = parser.feed(frame.wire(), |found| {
            events += 1;
            assert_eq!(found.event.as_str(), event.as_deref().unwrap_or("message"), "the type that was sent");
        });
        read.expect("what we send can be read");
        assert_eq!(events, 1, "an update is one event");
        published
    }
}

fn app() -> AppId {
    AppId::parse("demo").expect("a name")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// What `cargo fuzz run mercure_request` does for longer.
        #[test]
        fn smoke(method in "GET|HEAD|POST|QUERY|PUT", path in "|/subscriptions|/subscriptions/[a%/2F]{0,8}", query in field(), body in field()) {
            let form = "content-type: application/x-www-form-urlencoded";
            request(Instant::now(), format!("{method} {HUB}{path}?{query}\n{form}\n\n{body}").as_bytes());
        }
    }

    fn field() -> impl Strategy<Value = String> {
        let name = "topic|match|match_urlpattern|match_exact|Match|data|id|type|retry|private|lastEventID|last_event_id";
        prop::collection::vec((name, "[a-b/:*%0-9AD{}()+#.-]{0,8}|%0A|%0D%0A|earliest"), 0..6)
            .prop_map(|pairs| pairs.into_iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("&"))
    }
}

//! The body of the fuzz target for PeerJS, beside the code so that it is built with the tests.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Instant;

use omnivox_core::http::Upgrade;
use omnivox_core::name::SessionId;
use omnivox_core::room::Seated;
use omnivox_core::session::OpenContext;
use omnivox_core::{
    Action, Actions, AppId, CarrierId, Command, Denied, Dialect, ExchangeId, Framing, Input, Opening, Principal, Reply, Request, Session,
};
use omnivox_wire::ws::{Decoder, Role};

use super::{PeerJs, PeerJsSettings};

/// A query and then messages, one a line; what is not UTF-8 is a binary message. The first byte says which peers are there. Fails when the dialect
/// panics, sends an illegal frame, or passes on what is no JSON.
pub fn conversation(now: Instant, data: &[u8]) {
    let Some((&absent, data)) = data.split_first() else { return };
    let mut lines = data.split(|byte| *byte == b'\n');
    let Some(query) = lines.next().and_then(|line| std::str::from_utf8(line).ok()) else { return };
    let dialect = PeerJs::new(PeerJsSettings::default());
    let request = Request {
        method: "GET",
        path: "/peerjs/peerjs",
        query,
        headers: &[],
        body: &[],
        remote: IpAddr::V4(Ipv4Addr::LOCALHOST),
        secure: false,
        upgrade: Upgrade::WebSocket { deflate: false },
        stream_framing: Framing::Chunk,
    };
    let session = SessionId { node: 1, shard: 0, slot: 0, generation: 0 };
    let context = OpenContext { now, unix_ms: 0, entropy: [7; 32], shard: 0, dialect: 0, session };
    let Opening::Session(new) = dialect.open(&context, &request) else { panic!("a handshake opens a session") };
    let mut client = Client { now, session: new.session, decoder: Decoder::new(Role::Client, 1 << 20, None), ended: false, absent };
    client.say(Input::Exchange(ExchangeId(0), &request));
    for line in lines {
        match std::str::from_utf8(line) {
            _ if client.ended => return,
            Ok(text) => client.say(Input::Text(CarrierId(0), text)),
            Err(_) => client.say(Input::Binary(CarrierId(0), line)),
        }
        if let Some(due) = client.session.next_timeout().filter(|_| !client.ended && line.len() % 3 == 0) {
            client.now = client.now.max(due);
            client.say(Input::Timeout);
        }
    }
}

/// A client, and a hub that lets it in.
struct Client {
    now: Instant,
    session: Box<dyn Session>,
    decoder: Decoder,
    ended: bool,
    /// Its low bits say whether the next peers are absent.
    absent: u8,
}

impl Client {
    fn say(&mut self, input: Input<'_>) {
        let mut actions = Actions::default();
        self.session.handle(self.now, input, &mut actions);
        for action in actions.drain().collect::<Vec<_>>() {
            match action {
                Action::Upgrade(exchange, _) => self.say(Input::Attached(exchange, CarrierId(0))),
                Action::Run(ticket, command) => {
                    let reply = self.reply(command);
                    self.say(Input::Reply(ticket, reply));
                }
                Action::Push(frame) | Action::Send(_, frame) => self.receive(frame.wire()),
                Action::Close(_) | Action::End => self.ended = true,
                other => panic!("not expected of a WebSocket: {other:?}"),
            }
            if self.ended {
                return;
            }
        }
    }

    fn reply(&mut self, command: Command) -> Result<Reply, Denied> {
        match command {
            Command::Connect(_) => Ok(Reply::Connected(Arc::new(Principal::anonymous(AppId::parse("demo").expect("a name"))))),
            Command::Seat(_) => Ok(Reply::Seated(Box::new(Seated { member: "own".into(), peers: Vec::new(), ice: None, inbox: None }))),
            Command::Signal(signal) => {
                // It is put into a larger text as it is.
                assert!(serde_json::from_slice::<&serde_json::value::RawValue>(&signal.data).is_ok(), "a signal is JSON");
                assert!(signal.from.is_none(), "it is from the seat that the session has");
                self.absent = self.absent.rotate_right(1);
                if self.absent & 1 == 0 { Ok(Reply::Signalled) } else { Err(Denied::NotFound("nobody has that seat".into())) }
            }
            Command::Leave(..) => Ok(Reply::Left),
            other => Err(Denied::Invalid(format!("{other:?}").into())),
        }
    }

    fn receive(&mut self, wire: &[u8]) {
        let mut bytes = wire.to_vec();
        let mut at = 0;
        while at < bytes.len() {
            let step = self.decoder.step(&mut bytes[at..]).expect("what we send is legal");
            at += step.consumed;
            assert!(step.message.is_some() && step.consumed > 0, "a frame is a whole message");
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// What `cargo fuzz run peerjs_conversation` does for longer.
        #[test]
        fn smoke(absent: u8, query in "key=peerjs&id=[a-z%]{0,3}&token=t", messages in prop::collection::vec(message(), 0..8)) {
            let text = format!("{query}\n{}", messages.join("\n"));
            conversation(Instant::now(), &[&[absent], text.as_bytes()].concat());
        }
    }

    fn message() -> impl Strategy<Value = String> {
        let kind = "OFFER|ANSWER|CANDIDATE|LEAVE|EXPIRE|HEARTBEAT|OPEN|x";
        (kind, "[a-c\"]{0,2}", "[0-9]|\\{\\}|\\[\\]|null|\"[a-z]\"|\\{\"sdp\":1\\}|,|\\}")
            .prop_map(|(kind, dst, payload)| format!(r#"{{"type":"{kind}","src":"mallory","dst":"{dst}","payload":{payload}}}"#))
    }
}

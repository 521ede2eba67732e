//! Clients of the simulation: they follow channels over one transport, resume from the last event that they processed, and keep a ledger.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use bytes::BytesMut;
use omnivox_wire::http1::{ChunkedDecoder, ChunkedPiece, HeadLimits, ResponseBody, ResponseHead};
use omnivox_wire::sse::Parser;
use omnivox_wire::ws::{self, Message, handshake::ClientHandshake};
use serde_json::Value;

use crate::net::{Cut, Line, Net, Random};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Transport {
    WebSocket,
    EventStream,
    Poll,
    /// An event stream of Mercure, of the generation that the pattern is written for.
    Mercure,
    /// A Socket.IO client on a WebSocket, in one room.
    SocketIo,
}

/// What a client knows.
#[derive(Debug)]
pub(crate) struct Follower {
    transport: Transport,
    channels: Vec<&'static str>,
    /// The pattern that it asks for instead of the channels, which are those that the pattern means.
    pattern: Option<&'static str>,
    /// The mark of the last event that was processed.
    last: Option<String>,
    ledger: Vec<Entry>,
    /// Where the present connection began in the ledger: what a resume leaves out is announced behind what it brings.
    connected_at: usize,
}

/// One thing that a client was given.
#[derive(Debug)]
enum Entry {
    /// The publication with that number in the channel.
    Message(String, u64),
    /// Something is missing, says the server.
    Gap,
}

/// How the ledger compares with what was published.
#[derive(Debug, Default)]
pub(crate) struct Verdict {
    pub lost: usize,
    pub doubled: usize,
    pub reordered: usize,
}

impl Follower {
    pub(crate) fn new(transport: Transport, channels: Vec<&'static str>) -> Self {
        Self { transport, channels, pattern: None, last: None, ledger: Vec::new(), connected_at: 0 }
    }

    /// A follower by pattern; `channels` are those that it means.
    pub(crate) fn by_pattern(transport: Transport, pattern: &'static str, channels: Vec<&'static str>) -> Self {
        Self { pattern: Some(pattern), ..Self::new(transport, channels) }
    }

    /// What it asks for, as a query; a client by pattern asks for one of its channels, too, which must not come twice.
    fn query(&self) -> String {
        let channels = self.channels.iter().map(|channel| format!("channel={channel}"));
        match self.pattern {
            Some(pattern) => channels.take(1).chain([format!("pattern={pattern}")]).collect::<Vec<_>>().join("&"),
            None => channels.collect::<Vec<_>>().join("&"),
        }
    }

    pub(crate) fn received(&self) -> usize {
        self.ledger.iter().filter(|entry| matches!(entry, Entry::Message(..))).count()
    }

    pub(crate) fn gaps(&self) -> usize {
        self.ledger.iter().filter(|entry| matches!(entry, Entry::Gap)).count()
    }

    fn take(&mut self, message: &Value) {
        assert_eq!(message["channel"], message["data"]["channel"]);
        self.take_data(&message["data"]);
    }

    /// Where there is nothing around the data, it says itself which channel it is from.
    fn take_data(&mut self, data: &Value) {
        let (channel, seq) = (data["channel"].as_str().unwrap(), data["seq"].as_u64().unwrap());
        self.ledger.push(Entry::Message(channel.to_owned(), seq));
    }

    fn gap(&mut self) {
        self.ledger.insert(self.connected_at, Entry::Gap);
        self.ledger.push(Entry::Gap);
    }

    /// Followers are there before the first publication, so everything is owed to them.
    pub(crate) fn judge(&self, published: &BTreeMap<&'static str, u64>) -> Verdict {
        let mut verdict = Verdict::default();
        for channel in &self.channels {
            let mut next = 1;
            let mut excused = false;
            let mut seen = std::collections::BTreeSet::new();
            for entry in &self.ledger {
                match entry {
                    Entry::Gap => excused = true,
                    Entry::Message(of, seq) if of == channel => {
                        if !seen.insert(*seq) {
                            verdict.doubled += 1;
                        } else if *seq < next {
                            verdict.reordered += 1;
                        } else if *seq > next && !excused {
                            verdict.lost += (*seq - next) as usize;
                        }
                        excused = excused && *seq == next;
                        next = next.max(seq + 1);
                    }
                    Entry::Message(..) => {}
                }
            }
            let all = published.get(channel).copied().unwrap_or(0);
            if next <= all && !excused {
                verdict.lost += (all + 1 - next) as usize;
            }
        }
        verdict
    }
}

/// Follows for ever: connects, reads until the cut, stays away for a while, resumes.
pub(crate) async fn follow(net: Rc<Net>, follower: Rc<RefCell<Follower>>, mut random: Random, cut_after_max: u64) {
    let transport = follower.borrow().transport;
    loop {
        // The first connection lives until something can be resumed from.
        let budget = 600 + random.below(cut_after_max);
        let mut line = net.connect(budget);
        {
            let mut follower = follower.borrow_mut();
            follower.connected_at = follower.ledger.len();
        }
        let Err(Cut) = match transport {
            Transport::WebSocket => web_socket(&mut line, &follower, &mut random).await,
            Transport::EventStream => event_stream(&mut line, &follower, &mut random).await,
            Transport::Poll => poll(&mut line, &follower, &mut random).await,
            Transport::Mercure => mercure(&mut line, &follower, &mut random).await,
            Transport::SocketIo => socket_io(&mut line, &follower, &mut random).await,
        };
        net.count_cut();
        tokio::time::sleep(Duration::from_millis(1 + random.below(3_000))).await;
    }
}

type Endless = std::convert::Infallible;

async fn web_socket(line: &mut Line, follower: &Rc<RefCell<Follower>>, random: &mut Random) -> Result<Endless, Cut> {
    let mut bytes = upgrade(line, "/v1/ws").await?;
    let since = follower.borrow().last.clone();
    let wanted = match follower.borrow().pattern {
        Some(pattern) => serde_json::json!({"type": "subscribe", "pattern": pattern, "since": since}),
        None => serde_json::json!({"type": "subscribe", "channel": follower.borrow().channels[0], "since": since}),
    };
    say(line, &wanted).await?;
    say(line, &serde_json::json!({"type": "enter", "channel": "alpha", "data": {"n": random.below(10)}})).await?;
    let mut decoder = ws::Decoder::new(ws::Role::Client, 1 << 20, None);
    loop {
        let mut rest = &mut bytes[..];
        let mut pongs = BytesMut::new();
        while !rest.is_empty() {
            let step = decoder.step(rest).unwrap();
            let consumed = step.consumed;
            match step.message {
                Some(Message::Text(text)) => take_message(&mut follower.borrow_mut(), &serde_json::from_str(text).unwrap()),
                Some(Message::Ping(payload)) => ws::masked(ws::Opcode::Pong, true, false, payload, [1, 2, 3, 4], &mut pongs),
                Some(Message::Close(_)) => return Err(Cut),
                Some(Message::Pong(_) | Message::Binary(_)) | None => {}
            }
            rest = &mut rest[consumed..];
        }
        bytes.clear();
        if !pongs.is_empty() {
            line.write(&pongs).await?;
        }
        dawdle(random).await;
        line.read(&mut bytes).await?;
    }
}

/// The handshake of a WebSocket; gives what came behind it.
async fn upgrade(line: &mut Line, target: &str) -> Result<Vec<u8>, Cut> {
    let mut out = BytesMut::new();
    let handshake = ClientHandshake { host: "world", target, nonce: [7; 16], protocols: &[], deflate: false };
    handshake.request([("", ""); 0], &mut out);
    line.write(&out).await?;
    let mut bytes = Vec::new();
    let head = head(line, &mut bytes).await?;
    handshake.check(&head).unwrap();
    Ok(bytes)
}

/// Joins one room and goes on from the offset of the last event.
async fn socket_io(line: &mut Line, follower: &Rc<RefCell<Follower>>, random: &mut Random) -> Result<Endless, Cut> {
    let budget = line.unlimited_until_resumable(follower.borrow().last.is_some());
    let mut bytes = upgrade(line, "/socket.io/?EIO=4&transport=websocket").await?;
    let mut decoder = ws::Decoder::new(ws::Role::Client, 1 << 20, None);
    loop {
        let mut rest = &mut bytes[..];
        let mut answers = BytesMut::new();
        let mut say = |text: &str| ws::encode_masked(ws::DataKind::Text, text.as_bytes(), [9, 8, 7, 6], &mut answers);
        while !rest.is_empty() {
            let step = decoder.step(rest).unwrap();
            let consumed = step.consumed;
            match step.message {
                Some(Message::Text(text)) => match text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len())) {
                    ("0", _) => say("40"),
                    ("2", _) => say("3"),
                    ("40", _) => {
                        let follower = follower.borrow();
                        let mut wish = serde_json::json!({"room": follower.channels[0]});
                        if let Some(last) = &follower.last {
                            wish["since"] = last.as_str().into();
                        }
                        say(&format!("421{}", serde_json::json!(["join", wish])));
                    }
                    ("431", reply) => {
                        let reply: Value = serde_json::from_str(reply).unwrap();
                        assert_eq!(reply[0]["ok"], true, "the server refused: {reply}");
                        if reply[0]["gap"].as_bool().unwrap() {
                            follower.borrow_mut().gap();
                        }
                        follower.borrow_mut().last.get_or_insert_with(|| reply[0]["offset"].as_str().unwrap().to_owned());
                        line.limit(budget);
                    }
                    ("42", event) => {
                        let event: Value = serde_json::from_str(event).unwrap();
                        let mut follower = follower.borrow_mut();
                        match event[0].as_str().unwrap() {
                            "gap" => follower.gap(),
                            _ => {
                                follower.take_data(&event[1]);
                                follower.last = Some(event[2].as_str().unwrap().to_owned());
                            }
                        }
                    }
                    ("41" | "1", _) => return Err(Cut),
                    other => panic!("not expected of Socket.IO: {other:?}"),
                },
                Some(Message::Close(_)) => return Err(Cut),
                Some(_) | None => {}
            }
            rest = &mut rest[consumed..];
        }
        bytes.clear();
        if !answers.is_empty() {
            line.write(&answers).await?;
        }
        dawdle(random).await;
        line.read(&mut bytes).await?;
    }
}

/// Follows topics, or a pattern in the words of one generation, and goes on from the id of the last event.
async fn mercure(line: &mut Line, follower: &Rc<RefCell<Follower>>, random: &mut Random) -> Result<Endless, Cut> {
    let budget = line.unlimited_until_resumable(follower.borrow().last.is_some());
    let request = {
        let follower = follower.borrow();
        let selectors = match follower.pattern {
            Some(pattern) => pattern.to_owned(),
            None => follower.channels.iter().map(|channel| format!("topic={channel}")).collect::<Vec<_>>().join("&"),
        };
        let last = follower.last.as_ref().map_or_else(String::new, |last| format!("Last-Event-ID: {last}\r\n"));
        format!("GET /.well-known/mercure?{selectors} HTTP/1.1\r\nHost: world\r\n{last}\r\n")
    };
    line.write(request.as_bytes()).await?;
    let mut bytes = Vec::new();
    let head = head(line, &mut bytes).await?;
    if head.status() == 503 {
        return Err(Cut);
    }
    assert_eq!((head.status(), head.body()), (200, ResponseBody::Chunked));
    if head.header("last-event-id") == Some(b"earliest") {
        follower.borrow_mut().gap();
    }
    stream(line, bytes, random, |line, parser, data| {
        let mut follower = follower.borrow_mut();
        let read = parser.feed(data, |event| {
            follower.take_data(&serde_json::from_str(&event.data).unwrap());
            follower.last = Some(event.id);
        });
        read.unwrap();
        if follower.last.is_some() {
            line.limit(budget);
        }
    })
    .await
}

/// Reads a stream of events until it is cut, piece by piece.
async fn stream(
    line: &mut Line,
    mut bytes: Vec<u8>,
    random: &mut Random,
    mut piece: impl FnMut(&mut Line, &mut Parser, &[u8]),
) -> Result<Endless, Cut> {
    let mut chunks = ChunkedDecoder::new(u64::MAX);
    let mut parser = Parser::new(1 << 20);
    loop {
        let mut used = 0;
        while used < bytes.len() {
            let (consumed, read) = chunks.step(&bytes[used..]).unwrap();
            used += consumed;
            match read {
                ChunkedPiece::Data(data) => piece(line, &mut parser, data),
                ChunkedPiece::More => break,
                ChunkedPiece::End => return Err(Cut),
            }
        }
        bytes.clear();
        dawdle(random).await;
        line.read(&mut bytes).await?;
    }
}

fn take_message(follower: &mut Follower, message: &Value) {
    match message["type"].as_str().unwrap() {
        "message" => {
            follower.take(message);
            let mark = if follower.pattern.is_some() { &message["cursor"] } else { &message["id"] };
            follower.last = Some(mark.as_str().unwrap().to_owned());
        }
        "subscribed" => {
            if message["gap"].as_bool().unwrap() {
                follower.gap();
            }
            if follower.last.is_none() {
                follower.last = message["id"].as_str().map(str::to_owned);
            }
        }
        "gap" => follower.gap(),
        "error" => panic!("the server refused: {message}"),
        _ => {}
    }
}

async fn say(line: &mut Line, message: &Value) -> Result<(), Cut> {
    let mut frame = BytesMut::new();
    ws::encode_masked(ws::DataKind::Text, message.to_string().as_bytes(), [9, 8, 7, 6], &mut frame);
    line.write(&frame).await
}

async fn event_stream(line: &mut Line, follower: &Rc<RefCell<Follower>>, random: &mut Random) -> Result<Endless, Cut> {
    let request = {
        let follower = follower.borrow();
        let query = follower.query();
        let last = follower.last.as_ref().map_or_else(String::new, |last| format!("Last-Event-ID: {last}\r\n"));
        format!("GET /v1/sse?{query} HTTP/1.1\r\nHost: world\r\nAccept: text/event-stream\r\n{last}\r\n")
    };
    line.write(request.as_bytes()).await?;
    let mut bytes = Vec::new();
    let head = head(line, &mut bytes).await?;
    assert_eq!((head.status(), head.body()), (200, ResponseBody::Chunked));
    stream(line, bytes, random, |_, parser, data| {
        let mut follower = follower.borrow_mut();
        let read = parser.feed(data, |event| match event.event.as_str() {
            "message" => follower.take(&serde_json::from_str(&event.data).unwrap()),
            "error" if event.data.contains("\"gap\"") => follower.gap(),
            // A server that can't take us now says so and ends the stream.
            "error" => {}
            other => panic!("an event called {other}"),
        });
        read.unwrap();
        if !parser.last_id().is_empty() {
            follower.last = Some(parser.last_id().to_owned());
        }
    })
    .await
}

async fn poll(line: &mut Line, follower: &Rc<RefCell<Follower>>, random: &mut Random) -> Result<Endless, Cut> {
    loop {
        let request = {
            let follower = follower.borrow();
            let query = follower.query();
            let last = follower.last.as_ref().map_or_else(String::new, |last| format!("&last={last}"));
            format!("GET /v1/poll?{query}{last} HTTP/1.1\r\nHost: world\r\n\r\n")
        };
        line.write(request.as_bytes()).await?;
        let answer = body(line).await?;
        {
            let mut follower = follower.borrow_mut();
            if answer["gap"].as_bool().unwrap() {
                follower.gap();
            }
            answer["events"].as_array().unwrap().iter().for_each(|event| follower.take(event));
            follower.last = Some(answer["last"].as_str().unwrap().to_owned());
        }
        dawdle(random).await;
    }
}

/// Publishes numbered messages to a channel, each until it was acknowledged, under an id that makes a repetition harmless.
pub(crate) async fn publish(
    net: Rc<Net>,
    published: Rc<RefCell<BTreeMap<&'static str, u64>>>,
    channel: &'static str,
    most: u64,
    mut random: Random,
) {
    let mut line = net.connect(random.below(3_000));
    for seq in 1..=most {
        let body = serde_json::json!({"channel": channel, "data": {"channel": channel, "seq": seq, "fill": "x".repeat(random.below(300) as usize)}, "id": format!("{channel}-{seq}")});
        let body = body.to_string();
        let request = format!(
            "POST /v1/publish HTTP/1.1\r\nHost: world\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        loop {
            let answer = match line.write(request.as_bytes()).await {
                Ok(()) => self::body(&mut line).await,
                Err(Cut) => Err(Cut),
            };
            match answer {
                Ok(answer) => {
                    assert!(answer["error"].is_null(), "the server refused: {answer}");
                    break;
                }
                Err(Cut) => {
                    net.count_cut();
                    line = net.connect(500 + random.below(3_000));
                }
            }
        }
        published.borrow_mut().insert(channel, seq);
        if random.below(3) == 0 {
            tokio::time::sleep(Duration::from_millis(random.below(400))).await;
        }
    }
}

/// Sometimes a client takes its time.
async fn dawdle(random: &mut Random) {
    if random.below(8) == 0 {
        tokio::time::sleep(Duration::from_millis(random.below(1_500))).await;
    }
}

async fn head(line: &mut Line, bytes: &mut Vec<u8>) -> Result<ResponseHead, Cut> {
    loop {
        if let Some((head, used)) = ResponseHead::parse(bytes, &HeadLimits::default()).unwrap() {
            bytes.drain(..used);
            return Ok(head);
        }
        line.read(bytes).await?;
    }
}

async fn body(line: &mut Line) -> Result<Value, Cut> {
    let mut bytes = Vec::new();
    let head = head(line, &mut bytes).await?;
    let ResponseBody::Length(length) = head.body() else { panic!("an answer without a length") };
    while (bytes.len() as u64) < length {
        line.read(&mut bytes).await?;
    }
    Ok(serde_json::from_slice(&bytes).unwrap())
}

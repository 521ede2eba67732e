//! HTTP/1.1: requests in, answers out, one at a time on a connection and as many as it likes.
//!
//! Every request of every connection goes through the one strict reader of `omnivox-wire`; what two servers could understand in two ways is
//! refused and ends the connection.

use std::borrow::Cow;

use base64::Engine as _;
use bytes::{Bytes, BytesMut};
use omnivox_core::command::CloseReason;
use omnivox_core::http::{Coding, Request, Response, Upgrade};
use omnivox_core::session::{Actions, ExchangeId, Input, OpenContext, Opening, Switch};
use omnivox_core::{Frame, FrameKind, Framing};
use omnivox_wire::http1::{self, ChunkedDecoder, ChunkedPiece, RequestHead, Version};
use omnivox_wire::ws::{self, handshake};
use smallvec::SmallVec;

use super::conn::{Body, BodyRest, Mode, Reading, SlotRef, Waiting};
use super::slot::Slot;
use super::{Handoff, Shard, Visit};
use crate::admission::Refused;
use crate::config::HostGate;
use crate::listener::told;
use crate::metrics::{add, sub};
use crate::traces::Span;

/// A whole request.
pub(crate) struct Parsed {
    head: RequestHead,
    body: Vec<u8>,
    /// Whether another shard has counted it already.
    counted: bool,
}

/// How far the next request got.
enum Next {
    /// Something was understood; there may be more.
    Again,
    /// More bytes are needed.
    More,
    /// A request is complete.
    Request(Parsed),
    /// The connection must end, with this answer.
    Refuse(u16, &'static str, Cow<'static, str>),
}

impl Shard {
    /// Understands as many bytes as there are: a request, or a part of one.
    pub(super) fn take_requests(&mut self, key: u32) {
        loop {
            let now_ms = self.now_ms();
            match self.next_request(key, now_ms) {
                Next::Again => {}
                Next::More => return self.schedule_conn_deadline(key),
                Next::Request(parsed) => {
                    self.dispatch(key, &parsed);
                    self.head_room = parsed.head.into_room();
                    return;
                }
                Next::Refuse(status, code, words) => return self.refuse(key, status, code, &words),
            }
        }
    }

    fn next_request(&mut self, key: u32, now_ms: u64) -> Next {
        let limits = self.common.hub.limits();
        let Some(conn) = self.conns.get_mut(key as usize) else { return Next::More };
        let Mode::Http(reading) = &mut conn.mode else { return Next::More };
        match reading {
            Reading::Idle { .. } if conn.unread.is_empty() => Next::More,
            Reading::Idle { .. } => {
                *reading = Reading::Head { since_ms: now_ms };
                Next::Again
            }
            Reading::Head { .. } => match RequestHead::parse_in(&mut self.head_room, &conn.unread, &self.common.head_limits) {
                Err(error) => Next::Refuse(error.status(), error.code(), error.message().into()),
                Ok(None) => Next::More,
                Ok(Some((head, used))) => {
                    conn.unread.drain(..used);
                    let rest = match head.framing() {
                        http1::Framing::None => return Next::Request(Parsed { head, body: Vec::new(), counted: false }),
                        http1::Framing::Length(length) if length > limits.body_bytes_max as u64 => {
                            let words =
                                format!("the body has {length} bytes; at most {} are taken (limits.body_bytes_max)", limits.body_bytes_max);
                            return Next::Refuse(413, "body_too_large", words.into());
                        }
                        http1::Framing::Length(length) => BodyRest::Length(length as usize),
                        http1::Framing::Chunked => BodyRest::Chunked(ChunkedDecoder::new(limits.body_bytes_max as u64)),
                    };
                    let expects_continue = head.expects_continue() && conn.unread.is_empty();
                    *reading = Reading::Body(Box::new(Body { head, since_ms: now_ms, bytes: Vec::new(), rest }));
                    if expects_continue {
                        conn.push_direct(Frame::raw(Bytes::from_static(b"HTTP/1.1 100 Continue\r\n\r\n")));
                    }
                    Next::Again
                }
            },
            Reading::Body(body) => match body.take(&mut conn.unread) {
                Err(error) => Next::Refuse(error.status(), error.code(), error.message().into()),
                Ok(false) => Next::More,
                Ok(true) => {
                    let Mode::Http(Reading::Body(body)) = std::mem::replace(&mut conn.mode, Mode::Http(Reading::Idle { first: false }))
                    else {
                        return Next::More;
                    };
                    Next::Request(Parsed { head: body.head, body: body.bytes, counted: false })
                }
            },
        }
    }

    /// The client went away in the midst of a body, and some dialects' sessions with it.
    pub(super) fn break_off(&mut self, head: &RequestHead) {
        let Some(index) = self.common.router.find(head.path()) else { return };
        let lost = self.common.router.dialect(index).broken_off(head.method(), head.query().unwrap_or_default());
        match lost {
            Some((shard, session)) if shard == self.id => self.lose_session(&session),
            Some((shard, session)) => {
                let _ = self.common.doors.get(usize::from(shard)).map(|door| door.send(Visit::BrokenOff(session)));
            }
            None => {}
        }
    }

    /// Ends the session with this key, if it is still there.
    pub(super) fn lose_session(&mut self, key: &str) {
        if let Some(at) = self.keys.get(key).copied() {
            self.close_session(at, CloseReason::Protocol("the body of a request broke off midway"));
        }
    }

    /// Gives a request to its dialect.
    pub(super) fn dispatch(&mut self, key: u32, parsed: &Parsed) {
        if !parsed.counted {
            add(&self.metrics().requests_total, 1);
        }
        let head = &parsed.head;
        let http10 = head.version() == Version::Http10;
        let mut waiting = Waiting {
            keep_alive: head.keep_alive(),
            head_only: head.method() == "HEAD",
            http10,
            upgrade: None,
            answered: false,
            span: None,
        };
        let mut upgrade = Upgrade::None;
        let mut bad_handshake = None;
        if head.headers("upgrade").any(|value| http1::has_token(value, "websocket")) {
            match handshake::check(head) {
                Ok(accept) => {
                    let deflate = if self.common.deflate { accept.extensions.accept() } else { None };
                    upgrade = Upgrade::WebSocket { deflate: deflate.is_some_and(ws::deflate::Agreement::has_largest_window) };
                    waiting.upgrade = Some(Box::new((accept.key, deflate)));
                }
                Err(refusal) => bad_handshake = Some(refusal),
            }
        }
        let Some(conn) = self.conns.get_mut(key as usize) else { return };
        conn.mode = Mode::Waiting(waiting);
        add(&self.common.metrics[usize::from(self.id)].held_requests, 1);
        if let Some(refusal) = bad_handshake {
            let response = error(refusal.status(), refusal.code(), refusal.message());
            let response = match refusal.header() {
                Some((name, value)) => response.header(name, value),
                None => response,
            };
            return self.respond(key, response);
        }
        // The head's reader takes `*` for `OPTIONS` alone.
        if head.path() != "*"
            && let Err(refused) = http1::path::check(head.path())
        {
            return self.refuse(key, 400, refused.code(), &refused.to_string());
        }
        let headers: SmallVec<[(&str, &[u8]); 24]> = head.iter().collect();
        let live = self.common.live.load();
        let peer = live.proxies.client(conn.peer, |name| head.headers(name));
        let request = Request {
            method: head.method(),
            path: head.path(),
            query: head.query().unwrap_or_default(),
            headers: &headers,
            body: &parsed.body,
            remote: peer.ip,
            secure: peer.secure,
            upgrade,
            stream_framing: if http10 { Framing::Bare } else { Framing::Chunk },
        };
        let shut_out = live.gate.as_ref().and_then(|gate| guard(gate, &request, head.host()));
        // Our own proxies, when they name no client, may send as many requests as they like.
        let free = shut_out.is_some() || parsed.counted || live.proxies.trusts(peer.ip);
        let counted = if free { Ok(()) } else { self.common.admission.request(peer.ip, self.now) };
        drop(live);
        if let Some(response) = shut_out {
            add(&self.metrics().refused_requests_total, 1);
            return self.respond(key, response);
        }
        if let Err(refused) = counted {
            add(&self.metrics().throttled_requests_total, 1);
            let response = told(refused, &parsed.head, &self.common);
            return self.respond(key, response);
        }
        self.open(key, &request, parsed);
    }

    fn open(&mut self, key: u32, request: &Request<'_>, parsed: &Parsed) {
        if request.path == "*" {
            return self.respond(key, Response::new(204).header("allow", "GET, HEAD, POST, OPTIONS"));
        }
        let Some(index) = self.common.router.find(request.path) else {
            let router = &self.common.router;
            let meant = router.longer(request.path);
            let meant = meant.map(|path| format!("did you mean `{path}`? A `[[route]]` gives it a path of its own; ")).unwrap_or_default();
            let dialects = router.names().collect::<Vec<_>>().join(", ");
            let words = format!("nothing is served at this path; {meant}the dialects here are: {dialects}");
            return self.respond(key, error(404, "not_found", &words));
        };
        let tracer = self.common.tracer.as_ref();
        let (span, traced) = tracer.map(|tracer| tracer.request(request, &self.common.router, index)).unwrap_or_default();
        self.keep_span(key, span);
        let Some(entropy) = self.entropy.draw() else {
            return self.respond(key, error(503, "unavailable", "the system gives no randomness now; try again"));
        };
        let unix_ms = self.unix_ms();
        // Nothing else takes a slot between here and the end of this function.
        let generation = self.next_generation();
        let opening = SlotRef { slot: self.sessions.vacant_key() as u32, generation };
        let session = self.session_id(opening);
        let context = OpenContext { now: self.now, unix_ms, entropy, shard: self.id, dialect: index, session };
        let at = match self.common.router.dialect(index).open(&context, request) {
            Opening::Respond(response) => return self.respond(key, response),
            Opening::Session(new) => {
                let quota = match self.share_for(request) {
                    Ok(quota) => quota,
                    Err(refused) => {
                        let response = told(refused, &parsed.head, &self.common);
                        return self.respond(key, response);
                    }
                };
                let session_key = new.key.clone();
                let mut slot = Slot::new(generation, index, request.remote, new);
                slot.quota = quota;
                let at = SlotRef { slot: self.sessions.insert(slot) as u32, generation };
                add(&self.metrics().sessions, 1);
                if let Some(session_key) = session_key {
                    self.keys.insert(session_key, at);
                }
                at
            }
            Opening::Join { shard, .. } if shard != self.id && usize::from(shard) < self.common.doors.len() => {
                return self.hand_off(key, shard, Parsed { head: parsed.head.clone(), body: parsed.body.clone(), counted: true });
            }
            Opening::Join { key: session_key, .. } => match self.keys.get(&session_key) {
                Some(at) => *at,
                None => {
                    let unknown = self.common.router.dialect(index).unknown_session(request);
                    return self.respond(key, unknown);
                }
            },
        };
        if at != opening
            && let Some(refusal) = self.join_over(at, request)
        {
            return self.respond(key, refusal);
        }
        self.conns[key as usize].session = Some(at);
        let now = self.now;
        let Some(slot) = self.sessions.get_mut(at.slot as usize) else { return };
        slot.exchanges.push(key);
        slot.request_span = traced.map(Box::new);
        let mut actions = Actions::default();
        slot.handle(now, Input::Exchange(ExchangeId(key), request), &mut actions);
        self.perform(at, &mut actions);
    }

    /// Leaves the span of a request with what waits for the answer: there it ends.
    fn keep_span(&mut self, key: u32, span: Option<Span>) {
        if let (Some(span), Some(Mode::Waiting(waiting))) = (span, self.conns.get_mut(key as usize).map(|conn| &mut conn.mode)) {
            waiting.span = Some(span);
        }
    }

    /// Sends a connection to the shard whose session its request means.
    fn hand_off(&mut self, key: u32, shard: u16, request: Parsed) {
        self.take_room_back(key);
        let Some(conn) = self.conns.try_remove(key as usize) else { return };
        sub(&self.metrics().connections, 1);
        sub(&self.metrics().held_requests, 1);
        if let Mode::Waiting(Waiting { span: Some(span), .. }) = conn.mode {
            // The other shard begins one for the same request.
            span.discard();
        }
        let Ok(io) = conn.io.detach() else { return };
        let handoff = Handoff { io, peer: conn.peer, share: conn.share, request, unread: conn.unread };
        let _ = self.common.doors[usize::from(shard)].send(Visit::Handoff(Box::new(handoff)));
        if let Some(waker) = conn.waker {
            waker.wake();
        }
    }

    /// Answers the request that a connection waits for.
    pub(super) fn respond(&mut self, key: u32, response: Response) {
        let Some(conn) = self.conns.get_mut(key as usize) else { return };
        let Mode::Waiting(waiting) = &mut conn.mode else { return };
        if waiting.answered {
            return;
        }
        waiting.answered = true;
        waiting.span.take().into_iter().for_each(|span| span.answered(response.status));
        let mut answer = BytesMut::with_capacity(256 + response.body.len());
        // A head alone tells the length that the body would have, or nothing where the answer would be a stream (RFC 9110 §8.6).
        let length = http1::Body::Length(response.body.len() as u64);
        let body = if waiting.head_only && response.body.is_empty() { http1::Body::None } else { length };
        let connection = match (waiting.keep_alive, waiting.http10) {
            (false, _) => Some("close"),
            // Without it a client of HTTP/1.0 takes the connection for ended (RFC 9112 §9.3).
            (true, true) => Some("keep-alive"),
            (true, false) => None,
        };
        write_response_head(&mut answer, &response, body, connection);
        if !waiting.head_only {
            answer.extend_from_slice(&response.body);
        }
        if let Some(at) = conn.session {
            self.count_answer(at, answer.len());
        }
        self.write_answer(key, &Frame::raw(answer.freeze()));
    }

    /// Answers with bytes that are a whole answer already.
    pub(super) fn respond_with(&mut self, key: u32, answer: &Frame) {
        let Some(conn) = self.conns.get_mut(key as usize) else { return };
        let Mode::Waiting(waiting) = &mut conn.mode else { return };
        if waiting.answered {
            return;
        }
        waiting.answered = true;
        waiting.span.take().into_iter().for_each(|span| span.answered(200));
        if let Some(at) = conn.session.take() {
            self.count_answer(at, answer.len());
        }
        self.write_answer(key, answer);
    }

    /// Writes an answer. When all of it went out and no further request waits, the exchange is over; else the connection's task goes on.
    fn write_answer(&mut self, key: u32, answer: &Frame) {
        sub(&self.metrics().held_requests, 1);
        let written = self.write_through(key, answer);
        let idle = self.conns.get(key as usize).is_some_and(|conn| conn.unread.is_empty());
        if !(written && idle && self.end_exchange(key)) {
            self.wake(key);
        }
    }

    /// When an answer has been written: the next request, or the end. True when there is something to read again.
    pub(super) fn end_exchange(&mut self, key: u32) -> bool {
        let draining = self.draining;
        let Some(conn) = self.conns.get_mut(key as usize) else { return false };
        let Mode::Waiting(waiting) = &conn.mode else { return false };
        if !waiting.answered {
            return false;
        }
        conn.session = None;
        if !waiting.keep_alive || draining {
            self.begin_close(key);
            return true;
        }
        conn.mode = Mode::Http(Reading::Idle { first: false });
        self.schedule_conn_deadline(key);
        true
    }

    /// Refuses a request that can't be trusted, and ends the connection.
    pub(super) fn refuse(&mut self, key: u32, status: u16, code: &str, words: &str) {
        add(&self.metrics().refused_requests_total, 1);
        let Some(conn) = self.conns.get_mut(key as usize) else { return };
        conn.push_direct(Frame::raw(last_answer(&error(status, code, words))));
        self.begin_close(key);
    }

    /// Lets the request become a WebSocket.
    pub(super) fn upgrade(&mut self, key: u32, switch: &Switch, message_bytes_max: usize) -> bool {
        let Some(conn) = self.conns.get_mut(key as usize) else { return false };
        let Mode::Waiting(waiting) = &mut conn.mode else { return false };
        let Some((key_answer, deflate)) = waiting.upgrade.take().map(|upgrade| *upgrade) else { return false };
        let protocol = switch.subprotocol.as_deref();
        let accept =
            handshake::Accept { key: key_answer, protocols: protocol.into_iter().collect(), extensions: ws::deflate::Offers::default() };
        waiting.span.take().into_iter().for_each(|span| span.answered(101));
        let headers = switch.headers.iter().map(|(name, value)| (name, value.as_bytes()));
        let mut head = BytesMut::with_capacity(192);
        handshake::respond(&accept, protocol, deflate, headers, &mut head);
        conn.push_direct(Frame::raw(head.freeze()));
        conn.mode = Mode::WebSocket(ws::Decoder::new(ws::Role::Server, message_bytes_max, deflate));
        let metrics = &self.common.metrics[usize::from(self.id)];
        sub(&metrics.held_requests, 1);
        add(&metrics.websocket_connections, 1);
        self.schedule_conn_deadline(key);
        true
    }

    /// Answers with a head and keeps the body open.
    pub(super) fn stream(&mut self, key: u32, head: &Response) -> bool {
        let Some(conn) = self.conns.get_mut(key as usize) else { return false };
        let Mode::Waiting(waiting) = &mut conn.mode else { return false };
        waiting.span.take().into_iter().for_each(|span| span.answered(head.status));
        let chunked = !waiting.http10;
        let mut answer = BytesMut::with_capacity(512);
        // The connection ends with the stream, and says so: nobody shall keep it for another request.
        let (body, connection) = if chunked { (http1::Body::Chunked, Some("close")) } else { (http1::Body::UntilClose, None) };
        write_response_head(&mut answer, head, body, connection);
        if chunked {
            http1::chunk(&head.body, &mut answer);
        } else {
            answer.extend_from_slice(&head.body);
        }
        conn.push_direct(Frame::raw(answer.freeze()));
        conn.mode = Mode::Stream { chunked };
        let metrics = &self.common.metrics[usize::from(self.id)];
        sub(&metrics.held_requests, 1);
        add(&metrics.stream_connections, 1);
        self.schedule_conn_deadline(key);
        true
    }

    /// Answers a held request with everything that waits in the session's outbox.
    pub(super) fn answer_hold(&mut self, slot_index: u32) {
        let Some(slot) = self.sessions.get_mut(slot_index as usize) else { return };
        if slot.outbox.is_empty() {
            return;
        }
        let Some((key, drain)) = slot.hold.take() else { return };
        let mut body = BytesMut::from(&drain.head.body[..]);
        let mut first = true;
        for frame in slot.outbox.drain() {
            messages(&frame, |kind, payload| {
                if !std::mem::take(&mut first) {
                    body.extend_from_slice(drain.separator);
                }
                if kind == FrameKind::Binary {
                    body.extend_from_slice(drain.binary_prefix.as_bytes());
                    body.extend_from_slice(base64::engine::general_purpose::STANDARD.encode(payload).as_bytes());
                } else {
                    body.extend_from_slice(payload);
                }
            });
        }
        body.extend_from_slice(&drain.end);
        slot.exchanges.retain(|exchange| *exchange != key);
        let at = slot.at(slot_index as usize);
        self.work.push_back(super::driver::Work::Answered(at, ExchangeId(key)));
        let head = drain.head.clone();
        let coding = drain.compress.filter(|(_, least)| body.len() >= *least).map(|(coding, _)| coding);
        let compressed = coding.and_then(|coding| Some((coding, compressed(coding, &body)?)));
        self.respond(
            key,
            match compressed {
                Some((coding, body)) => Response { body: body.into(), ..head }.header("content-encoding", coding.name()),
                None => Response { body: body.freeze(), ..head },
            },
        );
    }
}

/// Refuses hosts and origins that are not known, where only those are let in.
fn guard(gate: &HostGate, request: &Request<'_>, host: Option<&str>) -> Option<Response> {
    let refuse = |what: &str, value: &str| {
        let words = format!("{what} `{value}` is not let in here; add it to {} if you trust it", gate.setting);
        Some(error(403, "host_not_allowed", &words))
    };
    let is_known = |authority: &str| gate.hosts.iter().any(|known| known.eq_ignore_ascii_case(without_port(authority)));
    let host = host.unwrap_or_default();
    if !is_known(host) {
        return refuse("host", host);
    }
    let origin = request.header("origin")?;
    let origin_host = origin.split_once("://").map_or("", |(_, rest)| rest);
    if is_known(origin_host) { None } else { refuse("origin", origin) }
}

/// A compressed body, when that is smaller.
fn compressed(coding: Coding, body: &[u8]) -> Option<Vec<u8>> {
    match coding {
        Coding::Gzip => http1::gzip(body),
        Coding::Deflate => http1::deflate(body),
    }
}

/// The messages of a frame: itself, or for a raw one the WebSocket frames that it is a row of.
fn messages(frame: &Frame, mut each: impl FnMut(FrameKind, &[u8])) {
    if frame.kind() != FrameKind::Raw {
        return each(frame.kind(), &frame.payload());
    }
    let mut row = &frame.wire()[..];
    while let Some((kind, payload, rest)) = split_server_frame(row) {
        each(kind, payload);
        row = rest;
    }
}

/// Takes the first of our own unmasked, unfragmented WebSocket frames off a row of them.
fn split_server_frame(row: &[u8]) -> Option<(FrameKind, &[u8], &[u8])> {
    let (first, length) = (*row.first()?, *row.get(1)?);
    let kind = if first & 0x0f == 1 { FrameKind::Text } else { FrameKind::Binary };
    let (header, length): (usize, usize) = match length {
        126 => (4, usize::from(u16::from_be_bytes(row.get(2..4)?.try_into().ok()?))),
        127 => (10, usize::try_from(u64::from_be_bytes(row.get(2..10)?.try_into().ok()?)).ok()?),
        short => (2, usize::from(short)),
    };
    let payload = row.get(header..header.checked_add(length)?)?;
    Some((kind, payload, &row[header + length..]))
}

impl Body {
    /// Takes what belongs to the body. True when it is complete.
    fn take(&mut self, unread: &mut Vec<u8>) -> Result<bool, http1::ChunkedError> {
        match &mut self.rest {
            BodyRest::Length(left) => {
                let count = (*left).min(unread.len());
                self.bytes.extend(unread.drain(..count));
                *left -= count;
                Ok(*left == 0)
            }
            BodyRest::Chunked(decoder) => {
                let mut used = 0;
                let end = loop {
                    let (consumed, piece) = decoder.step(&unread[used..])?;
                    used += consumed;
                    match piece {
                        ChunkedPiece::Data(data) => self.bytes.extend_from_slice(data),
                        ChunkedPiece::More => break false,
                        ChunkedPiece::End => break true,
                    }
                };
                unread.drain(..used);
                Ok(end)
            }
        }
    }
}

/// An error answer in the server's own dialect.
pub(crate) fn error(status: u16, code: &str, words: &str) -> Response {
    let mut body = String::from(r#"{"error":{"code":""#);
    body.push_str(code);
    body.push_str(r#"","message":""#);
    for c in words.chars() {
        match c {
            '"' | '\\' => body.extend(['\\', c]),
            c if c.is_control() => body.push(' '),
            c => body.push(c),
        }
    }
    body.push_str("\"}}");
    Response::json(status, body)
}

/// What whoever goes too fast is told.
pub(crate) fn throttled(refused: Refused) -> Response {
    let seconds = refused.after.as_millis().div_ceil(1000);
    error(429, "limit_exceeded", &format!("{} (limits.{})", refused.words, refused.setting)).header("retry-after", seconds.to_string())
}

/// The same for an `EventSource`, which would never come back after another status: a stream that only says when to open the next one.
pub(crate) fn throttled_stream(refused: Refused) -> Response {
    let told = format!(
        "event: error\nretry: {}\ndata: {{\"code\":\"limit_exceeded\",\"message\":\"{} (limits.{})\"}}\n\n",
        refused.after.as_millis(),
        refused.words,
        refused.setting
    );
    Response::with_body(200, "text/event-stream", told).header("cache-control", "no-store")
}

/// An answer after which the connection ends.
pub(crate) fn last_answer(response: &Response) -> Bytes {
    let mut answer = BytesMut::new();
    write_response_head(&mut answer, response, http1::Body::Length(response.body.len() as u64), Some("close"));
    answer.extend_from_slice(&response.body);
    answer.freeze()
}

fn write_response_head(into: &mut BytesMut, response: &Response, body: http1::Body, connection: Option<&'static str>) {
    let bare = matches!(response.status, 204 | 304) && response.body.is_empty();
    let connection = connection.map(|words| ("connection", Cow::Borrowed(words)));
    let headers = response.headers.iter().chain(connection.iter()).map(|(name, value)| (name, value.as_bytes()));
    http1::write_head(into, response.status, headers, if bare { http1::Body::None } else { body });
}

fn without_port(authority: &str) -> &str {
    let name = authority.len() - authority.bytes().rev().take_while(u8::is_ascii_digit).count();
    authority[..name].strip_suffix(':').unwrap_or(authority)
}

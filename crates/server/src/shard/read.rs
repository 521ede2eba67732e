//! Reading: what a connection's task does when its socket has something to tell.

use std::task::{Context, Poll};

use omnivox_core::budget::Rate;
use omnivox_core::command::CloseReason;
use omnivox_core::session::{Actions, CarrierId, Input};
use omnivox_core::{Frame, FrameKind};
use omnivox_wire::ws::{self, Message, Violation};

use super::conn::Mode;
use super::{Fate, LINGER_MS, Shard};
use crate::metrics::add;

/// Reads in one turn, before others have theirs.
const READS_MAX: usize = 16;
/// The goodbye to a WebSocket that sends too many.
const TOO_MANY_MESSAGES: &str = "too many messages came (limits.messages_per_second_max); send less, and connect again later";
/// Room that nearly every request fits into.
const REQUEST_BYTES: usize = 4096;
/// Pipelined bytes that are kept while an answer is awaited.
const PIPELINED_BYTES_MAX: usize = 64 << 10;

impl Shard {
    /// Does everything that a connection can do now.
    pub(super) fn progress(&mut self, key: u32, cx: &mut Context<'_>) -> Fate {
        let now_ms = self.now_ms();
        for _ in 0..READS_MAX {
            self.take_unread(key);
            self.settle();
            match self.write(key, Some(cx)) {
                Fate::Gone => return Fate::Gone,
                Fate::Open if self.end_exchange(key) => continue,
                Fate::Open | Fate::Blocked => {}
            }
            let Some(conn) = self.conns.get_mut(key as usize) else { return Fate::Gone };
            if matches!(conn.mode, Mode::WebSocket(_)) && !conn.unread.is_empty() {
                // Frames that came in one packet with the handshake.
                continue;
            }
            if let Mode::Closing { deadline_ms, shut } = &mut conn.mode {
                if !conn.blocked && !*shut {
                    *shut = true;
                    let linger = now_ms + LINGER_MS;
                    *deadline_ms = (*deadline_ms).min(linger);
                    if let Poll::Ready(Err(_)) = conn.io.poll_shutdown(cx) {
                        return Fate::Gone;
                    }
                    self.schedule_conn_deadline(key);
                    continue;
                }
                if *deadline_ms <= now_ms {
                    return Fate::Gone;
                }
            }
            let waiting = matches!(conn.mode, Mode::Waiting(_));
            if waiting && conn.unread.len() > PIPELINED_BYTES_MAX {
                return Fate::Open;
            }
            let mut scratch = std::mem::take(&mut self.scratch);
            let poll = conn.io.poll_read(cx, &mut scratch);
            let fate = match poll {
                Poll::Pending => Some(Fate::Open),
                Poll::Ready(Ok(0)) | Poll::Ready(Err(_)) => Some(Fate::Gone),
                Poll::Ready(Ok(count)) => {
                    self.take_bytes(key, &mut scratch[..count]);
                    None
                }
            };
            self.scratch = scratch;
            if let Some(fate) = fate {
                return fate;
            }
        }
        cx.waker().wake_by_ref();
        Fate::Open
    }

    fn take_bytes(&mut self, key: u32, bytes: &mut [u8]) {
        let now_ms = self.now_ms();
        add(&self.metrics().bytes_in_total, bytes.len() as u64);
        let Some(conn) = self.conns.get_mut(key as usize) else { return };
        conn.last_in_ms = now_ms;
        match conn.mode {
            Mode::WebSocket(_) => {
                if let Some(at) = conn.session
                    && let Some(quota) = self.count_in(at, || bytes.len())
                {
                    return self.close_session(at, CloseReason::Quota(quota.goodbye));
                }
                self.take_frames(key, bytes);
            }
            Mode::Http(_) => {
                if conn.unread.is_empty() {
                    self.requests.reserve(REQUEST_BYTES);
                    std::mem::swap(&mut conn.unread, &mut self.requests);
                }
                conn.unread.extend_from_slice(bytes);
            }
            Mode::Waiting(_) => conn.unread.extend_from_slice(bytes),
            // Nothing that a peer says on a streamed answer, or after the end, means anything.
            Mode::Stream { .. } | Mode::Closing { .. } => {}
        }
    }

    /// Goes on with bytes that came before the connection could take them.
    fn take_unread(&mut self, key: u32) {
        let Some(conn) = self.conns.get_mut(key as usize) else { return };
        match conn.mode {
            Mode::Http(_) => {
                self.take_requests(key);
                self.take_room_back(key);
            }
            Mode::WebSocket(_) if !conn.unread.is_empty() => {
                let mut unread = std::mem::take(&mut conn.unread);
                self.take_frames(key, &mut unread);
            }
            Mode::WebSocket(_) | Mode::Waiting(_) | Mode::Stream { .. } | Mode::Closing { .. } => {}
        }
    }

    /// Takes back what was lent to a connection for its bytes; it keeps only as many as were not understood yet.
    pub(super) fn take_room_back(&mut self, key: u32) {
        let roomy = |unread: &Vec<u8>| unread.capacity() >= REQUEST_BYTES.max(2 * unread.len());
        let Some(conn) = self.conns.get_mut(key as usize).filter(|conn| roomy(&conn.unread)) else { return };
        let mut room = std::mem::take(&mut conn.unread);
        conn.unread = room[..].to_vec();
        room.clear();
        if room.capacity() > self.requests.capacity() {
            self.requests = room;
        }
    }

    /// Gives the messages in `bytes` to the session, one after the other.
    fn take_frames(&mut self, key: u32, mut bytes: &mut [u8]) {
        while !bytes.is_empty() {
            let Self { conns, sessions, common, now, start, .. } = self;
            let Some(conn) = conns.get_mut(key as usize) else { return };
            let Mode::WebSocket(decoder) = &mut conn.mode else { return };
            let (consumed, message) = match decoder.step(bytes) {
                Ok(step) => (step.consumed, step.message),
                Err(violation) => return self.refuse_frames(key, violation),
            };
            if consumed == 0 && message.is_none() {
                return;
            }
            let at = conn.session;
            let mut reply = None;
            let input = match message {
                None => None,
                Some(Message::Text(text)) => Some(Input::Text(CarrierId(key), text)),
                Some(Message::Binary(data)) => Some(Input::Binary(CarrierId(key), data)),
                Some(Message::Pong(_)) => None,
                Some(Message::Ping(payload)) => {
                    let mut frame = bytes::BytesMut::new();
                    ws::pong(payload, &mut frame);
                    let pong = Frame::raw(frame.freeze());
                    // Of the pings of one who takes nothing only the last one is answered (RFC 6455 §5.5.3), so that they don't pile up.
                    if conn.blocked {
                        conn.pong = Some(Box::new(pong));
                    } else {
                        reply = Some(pong);
                    }
                    None
                }
                Some(Message::Close(close)) => {
                    let mut frame = bytes::BytesMut::new();
                    match close {
                        Some((code, _)) => ws::close(code, "", &mut frame),
                        // 1005, "there was none", makes a close frame without a code.
                        None => ws::close(1005, "", &mut frame),
                    }
                    return self.end_carrier(key, frame.freeze());
                }
            };
            if let Some(input) = input
                && let Some(at) = at
                && let Some(slot) = sessions.get_mut(at.slot as usize).filter(|slot| slot.generation == at.generation)
            {
                if let Some(most) = common.hub.limits().messages_per_second_max {
                    let now_ns = now.saturating_duration_since(*start).as_nanos() as u64;
                    if !slot.messages.take(now_ns, Rate::per_second(most.into()), 1) {
                        return self.close_session(at, CloseReason::Quota(TOO_MANY_MESSAGES));
                    }
                }
                let mut actions = Actions::default();
                slot.handle(*now, input, &mut actions);
                add(&self.metrics().messages_in_total, 1);
                self.perform(at, &mut actions);
                self.run_work();
            }
            if let Some(reply) = reply {
                self.send(key, reply);
            }
            bytes = bytes.get_mut(consumed..).unwrap_or_default();
        }
    }

    /// The peer broke the WebSocket protocol or a limit.
    fn refuse_frames(&mut self, key: u32, violation: Violation) {
        let mut frame = bytes::BytesMut::new();
        ws::close(violation.code(), violation.reason(), &mut frame);
        self.metrics().count_close(if violation.code() == 1009 { "too_large" } else { "protocol" });
        self.end_carrier(key, frame.freeze());
    }

    /// Says goodbye on a WebSocket and takes it from its session.
    fn end_carrier(&mut self, key: u32, goodbye: bytes::Bytes) {
        self.send(key, Frame::framed(FrameKind::Raw, goodbye, 0, 0));
        self.release(key);
        self.begin_close(key);
    }

    /// Takes a connection from its session, with what waits for it.
    fn release(&mut self, key: u32) {
        let Self { conns, sessions, .. } = self;
        let Some(conn) = conns.get_mut(key as usize) else { return };
        let Some(at) = conn.session.take() else { return };
        if let Some(slot) = sessions.get_mut(at.slot as usize).filter(|slot| slot.generation == at.generation && slot.promoted == Some(key))
        {
            conn.direct.get_or_insert_default().append(std::mem::take(&mut slot.outbox));
        }
        self.detach(at, key);
    }
}

//! Writing: a shard writes to its own connections, with one vectored write for everything that waits for a client.
//!
//! Only a socket that is full gets a waker; its connection's task then goes on when there is room.

use std::io::IoSlice;
use std::task::{Context, Poll};

use omnivox_core::Frame;
use omnivox_core::command::CloseReason;
use smallvec::SmallVec;

use super::conn::Mode;
use super::{Fate, Shard};
use crate::metrics::{add, sub};

/// Frames in one vectored write.
const SLICES_MAX: usize = 64;

impl Shard {
    /// Writes what waits for everyone whose outbox was filled in this turn.
    pub(super) fn flush_dirty(&mut self) {
        while let Some(slot_index) = self.dirty.pop() {
            let Some(slot) = self.sessions.get_mut(slot_index as usize) else { continue };
            slot.dirty = false;
            if let Some(conn) = slot.promoted {
                self.flush(conn);
            } else if slot.hold.is_some() {
                self.answer_hold(slot_index);
            }
        }
    }

    /// Writes what waits for a connection, as far as its socket takes it. What is left over its task writes when there is room.
    pub(super) fn flush(&mut self, key: u32) {
        let Some(conn) = self.conns.get_mut(key as usize) else { return };
        if !conn.blocked && self.write(key, None) != Fate::Open {
            self.wake(key);
        }
    }

    /// Writes a frame at once if nothing waits before it; what the socket does not take waits in the connection's own outbox. True when nothing
    /// is left.
    pub(super) fn write_through(&mut self, key: u32, frame: &Frame) -> bool {
        let Some(conn) = self.conns.get_mut(key as usize) else { return false };
        if conn.blocked || conn.direct.as_ref().is_some_and(|direct| !direct.is_empty()) {
            conn.push_direct(frame.clone());
            return false;
        }
        let count = match conn.io.try_write(&[IoSlice::new(frame.wire())]) {
            Poll::Ready(Ok(count)) => count,
            // The task will meet the same error, or a socket with room.
            Poll::Ready(Err(_)) | Poll::Pending => 0,
        };
        if count < frame.len() {
            conn.push_direct(Frame::raw(frame.wire().slice(count..)));
        }
        let metrics = &self.common.metrics[usize::from(self.id)];
        add(&metrics.bytes_out_total, count as u64);
        add(&metrics.writes_total, u64::from(count > 0));
        count == frame.len()
    }

    /// Writes until nothing waits or the socket is full; with a context its task is woken when there is room again.
    pub(super) fn write(&mut self, key: u32, mut cx: Option<&mut Context<'_>>) -> Fate {
        let Self { conns, sessions, common, now, over, .. } = self;
        let Some(conn) = conns.get_mut(key as usize) else { return Fate::Gone };
        let mut slot = conn.session.and_then(|at| sessions.get_mut(at.slot as usize).filter(|slot| slot.generation == at.generation));
        loop {
            let direct = conn.direct.as_deref_mut().filter(|outbox| !outbox.is_empty());
            let own = direct.is_some();
            let outbox = match direct {
                Some(outbox) => outbox,
                None => {
                    conn.direct = None;
                    match slot.as_deref_mut() {
                        Some(slot) if slot.promoted == Some(key) && !slot.outbox.is_empty() => &mut slot.outbox,
                        _ => match conn.pong.take() {
                            Some(pong) => {
                                conn.push_direct(*pong);
                                continue;
                            }
                            None => break,
                        },
                    }
                }
            };
            let mut slices: SmallVec<[IoSlice<'_>; SLICES_MAX]> = SmallVec::new();
            outbox.slices(&mut slices, SLICES_MAX);
            let poll = match &mut cx {
                Some(cx) => conn.io.poll_write(cx, &slices),
                None => conn.io.try_write(&slices),
            };
            drop(slices);
            match poll {
                Poll::Ready(Ok(0)) | Poll::Ready(Err(_)) => return Fate::Gone,
                Poll::Ready(Ok(count)) => {
                    outbox.advance(count);
                    if !own
                        && let Some(at) = conn.session
                        && let Some(goodbye) = slot.as_deref_mut().and_then(|slot| slot.count_out(count, || common.hub.now_ms()))
                    {
                        over.push((at, goodbye));
                    }
                    add(&common.metrics[usize::from(self.id)].bytes_out_total, count as u64);
                    add(&common.metrics[usize::from(self.id)].writes_total, 1);
                }
                Poll::Pending if cx.is_none() => return Fate::Blocked,
                Poll::Pending => {
                    conn.blocked = true;
                    let late = outbox.check_soft(*now, &common.outbox_limits).is_err();
                    let slot = conn.session;
                    if late && let Some(at) = slot {
                        self.slow.push(at);
                    } else {
                        self.schedule_conn(key, self.now_ms() + 1000);
                    }
                    return Fate::Blocked;
                }
            }
        }
        conn.blocked = false;
        match cx.map(|cx| conn.io.poll_flush(cx)) {
            None | Some(Poll::Ready(Ok(()))) => Fate::Open,
            Some(Poll::Ready(Err(_))) => Fate::Gone,
            Some(Poll::Pending) => Fate::Blocked,
        }
    }

    /// Cuts off the clients that take too little.
    pub(super) fn close_slow(&mut self) {
        while let Some(at) = self.slow.pop() {
            let Some(slot) = self.sessions.get_mut(at.slot as usize).filter(|slot| slot.generation == at.generation && !slot.ending) else {
                continue;
            };
            // What it has not taken it resumes for; the goodbye needs the room.
            slot.outbox.shed();
            self.close_session(at, CloseReason::SlowConsumer);
        }
    }

    /// Turns a connection to its end: what waits is written until `deadline`, then it is dropped.
    pub(super) fn begin_close(&mut self, key: u32) {
        let deadline_ms = self.now_ms() + super::CLOSE_GRACE_MS;
        let Some(conn) = self.conns.get_mut(key as usize) else { return };
        let metrics = &self.common.metrics[usize::from(self.id)];
        match &conn.mode {
            Mode::Closing { .. } => return,
            Mode::WebSocket(_) => sub(&metrics.websocket_connections, 1),
            Mode::Stream { chunked } => {
                sub(&metrics.stream_connections, 1);
                if *chunked {
                    conn.push_direct(Frame::raw(bytes::Bytes::from_static(b"0\r\n\r\n")));
                }
            }
            Mode::Waiting(waiting) if !waiting.answered => sub(&metrics.held_requests, 1),
            Mode::Waiting(_) | Mode::Http(_) => {}
        }
        conn.mode = Mode::Closing { deadline_ms, shut: false };
        conn.unread = Vec::new();
        self.schedule_conn(key, deadline_ms);
        self.wake(key);
    }

    /// Lets a connection's task look at it.
    pub(super) fn wake(&self, key: u32) {
        if let Some(waker) = self.conns.get(key as usize).and_then(|conn| conn.waker.as_ref()) {
            waker.wake_by_ref();
        }
    }
}

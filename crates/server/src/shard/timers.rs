//! The shard's one wheel: heartbeats, deadlines of connections, and the timeouts of sessions.
//!
//! An entry only says "look at this one by then"; what is due is decided from the state at that moment. So activity costs no rescheduling. When one
//! must be looked at earlier it gets another entry, and the one before, whose time is then no longer that of its owner, is passed over.

use std::time::Duration;

use bytes::BytesMut;
use omnivox_core::Frame;
use omnivox_core::command::CloseReason;
use omnivox_core::session::Heartbeat;

use super::conn::{Conn, Mode, Reading, SlotRef};
use super::driver::Work;
use super::{Shard, Shared};

/// Milliseconds in one tick.
const TICK_MS: u64 = 8;
/// Slots of the wheel: half a minute, so that an entry is seldom looked at before it is due.
pub(super) const SLOTS: usize = 4096;
/// How often a shard forgets the frames that resuming clients shared.
const SWEEP_MS: u64 = 1000;

/// How long after its expiry a credential counts on a living connection: as long as clocks may be apart when it is verified.
const EXPIRY_GRACE_MS: u64 = 30_000;
/// The longest that an expiry is not looked at, because the wall's clock may be set.
const EXPIRY_LOOK_MS: u64 = 60_000;

/// What an entry is about.
#[derive(Debug)]
pub(crate) enum Timer {
    /// A connection, and which use of its slot; and the entry's time, as far as it fits.
    Conn(u32, u32, u32),
    /// Whatever session is in that slot by then; and the entry's time.
    Session(u32, u32),
    /// A session whose credential ends.
    Expiry(SlotRef),
}

/// Turns the wheel.
pub(super) async fn run(shard: Shared) {
    let (wake, start) = {
        let shard = shard.borrow();
        (shard.timer_wake.clone(), shard.start)
    };
    let mut due = Vec::new();
    loop {
        let target_ms = {
            let mut shard = super::turn(&shard);
            shard.turn_wheel(&mut due);
            shard.timer_target_ms
        };
        let until = tokio::time::Instant::from_std(start + Duration::from_millis(target_ms));
        tokio::select! {
            () = tokio::time::sleep_until(until) => {}
            () = wake.notified() => {}
        }
    }
}

impl Shard {
    fn turn_wheel(&mut self, due: &mut Vec<Timer>) {
        let now_ms = self.now_ms();
        self.wheel.advance(now_ms / TICK_MS, due);
        if now_ms >= self.swept_ms + SWEEP_MS {
            self.swept_ms = now_ms;
            self.replays.clear();
        }
        for timer in due.drain(..) {
            match timer {
                Timer::Conn(key, generation, at_ms) => {
                    let is_current = |conn: &&mut Conn| conn.generation == generation && conn.timer_ms as u32 == at_ms;
                    if let Some(conn) = self.conns.get_mut(key as usize).filter(is_current) {
                        conn.timer_ms = 0;
                        self.look_at_conn(key);
                    }
                }
                Timer::Expiry(at) => {
                    self.slot(at).into_iter().for_each(|slot| slot.expiry_watched = false);
                    if self.expires_in_ms(at) == Some(0) {
                        self.close_session(at, CloseReason::Expired);
                    } else {
                        self.schedule_expiry(at);
                    }
                }
                Timer::Session(slot_index, at_ms) => {
                    if self.session_timers_ms[slot_index as usize] as u32 != at_ms {
                        continue;
                    }
                    self.session_timers_ms[slot_index as usize] = 0;
                    if let Some(slot) = self.sessions.get(slot_index as usize) {
                        let at = slot.at(slot_index as usize);
                        if slot.next_timeout().is_some_and(|timeout| timeout <= self.now) {
                            self.work.push_back(Work::Timeout(at));
                        } else {
                            self.schedule_session(at);
                        }
                    }
                }
            }
        }
        self.settle();
        // Without entries the wheel is looked at now and then for the sweep alone.
        self.timer_target_ms = self.wheel.next_tick().map_or(now_ms + 10 * SWEEP_MS, |tick| (tick + 1) * TICK_MS).max(now_ms + 1);
    }

    /// Makes sure that a connection is looked at by that time.
    pub(super) fn schedule_conn(&mut self, key: u32, at_ms: u64) {
        let Some(conn) = self.conns.get_mut(key as usize) else { return };
        if conn.timer_ms != 0 && conn.timer_ms <= at_ms {
            return;
        }
        conn.timer_ms = at_ms.max(1);
        let timer = Timer::Conn(key, conn.generation, conn.timer_ms as u32);
        self.schedule(at_ms, timer);
    }

    /// Makes sure that a session is looked at when it wants to be.
    ///
    /// The entry belongs to the slot and outlives the session: of polls that follow each other in one slot only the first makes one.
    pub(super) fn schedule_session(&mut self, at: SlotRef) {
        let start = self.start;
        let Some(timeout) = self.slot(at).and_then(|slot| slot.next_timeout()) else { return };
        let at_ms = (timeout.saturating_duration_since(start).as_micros() as u64).div_ceil(1000).max(1);
        let slot_index = at.slot as usize;
        if self.session_timers_ms.len() <= slot_index {
            self.session_timers_ms.resize(self.sessions.capacity().max(slot_index + 1), 0);
        }
        let entry_ms = &mut self.session_timers_ms[slot_index];
        if *entry_ms != 0 && *entry_ms <= at_ms {
            return;
        }
        *entry_ms = at_ms;
        self.schedule(at_ms, Timer::Session(at.slot, at_ms as u32));
    }

    /// How long a session's credential is good for still, with the grace that clocks are given.
    fn expires_in_ms(&self, at: SlotRef) -> Option<u64> {
        let slot = self.sessions.get(at.slot as usize).filter(|slot| slot.generation == at.generation)?;
        let expires_at_ms = slot.principal.as_ref()?.expires_at_ms?;
        Some((expires_at_ms + EXPIRY_GRACE_MS).saturating_sub(self.common.hub.now_ms()))
    }

    /// Makes sure that a session ends when its credential does. A renewed credential is found when the entry of the old one comes up.
    pub(super) fn schedule_expiry(&mut self, at: SlotRef) {
        let watched = self.slot(at).is_some_and(|slot| slot.expiry_watched);
        if let Some(left_ms) = self.expires_in_ms(at).filter(|_| !watched) {
            self.slot(at).into_iter().for_each(|slot| slot.expiry_watched = true);
            let at_ms = self.now_ms() + left_ms.min(EXPIRY_LOOK_MS);
            self.schedule(at_ms, Timer::Expiry(at));
        }
    }

    fn schedule(&mut self, at_ms: u64, timer: Timer) {
        self.wheel.schedule(at_ms / TICK_MS, timer);
        if at_ms + TICK_MS < self.timer_target_ms {
            self.timer_target_ms = at_ms;
            self.timer_wake.notify_one();
        }
    }

    /// Puts a connection into the wheel for whatever it must be looked at next.
    pub(super) fn schedule_conn_deadline(&mut self, key: u32) {
        let Some(at_ms) = self.conn_deadline(key) else { return };
        // An answer to a ping moves no timer: it is looked for when the next ping would be due, also where the timeout is longer than that.
        let next_ping_ms = self.next_ping_ms(key).filter(|next_ms| *next_ms > self.now_ms());
        self.schedule_conn(key, next_ping_ms.map_or(at_ms, |next_ms| next_ms.min(at_ms)));
    }

    /// When the next ping of a connection is due, if the last one is answered by then.
    fn next_ping_ms(&self, key: u32) -> Option<u64> {
        let (_, Heartbeat::Carrier { every, .. }) = self.heartbeat_of(key)? else { return None };
        let conn = self.conns.get(key as usize).filter(|conn| conn.pinged_ms > 0)?;
        Some(conn.pinged_ms + millis(every))
    }

    fn conn_deadline(&self, key: u32) -> Option<u64> {
        let limits = self.common.hub.limits();
        let conn = self.conns.get(key as usize)?;
        match &conn.mode {
            Mode::Http(Reading::Idle { first: true }) => Some(conn.last_in_ms + millis(limits.head_time_max)),
            Mode::Http(Reading::Idle { first: false }) => Some(conn.last_in_ms + millis(limits.keep_alive_time_max)),
            Mode::Http(Reading::Head { since_ms }) => Some(since_ms + millis(limits.head_time_max)),
            Mode::Http(Reading::Body(body)) => Some(body.since_ms + millis(limits.body_time_max)),
            Mode::Waiting(_) => None,
            Mode::Closing { deadline_ms, .. } => Some(*deadline_ms),
            Mode::WebSocket(_) | Mode::Stream { .. } => {
                let (at, heartbeat) = self.heartbeat_of(key)?;
                let Heartbeat::Carrier { every, timeout } = heartbeat else { return None };
                if conn.pinged_ms == 0 {
                    return Some(conn.last_in_ms + spread(millis(every), at));
                }
                let answered = conn.last_in_ms >= conn.pinged_ms;
                let is_stream = matches!(conn.mode, Mode::Stream { .. });
                Some(conn.pinged_ms + if answered || is_stream { millis(every) } else { millis(timeout) })
            }
        }
    }

    /// Does what is due for a connection, and says when to look again.
    fn look_at_conn(&mut self, key: u32) {
        let now_ms = self.now_ms();
        self.check_slow(key);
        if self.conn_deadline(key).is_some_and(|deadline| deadline <= now_ms) {
            self.expire_conn(key, now_ms);
        }
        self.schedule_conn_deadline(key);
    }

    fn expire_conn(&mut self, key: u32, now_ms: u64) {
        let Some(conn) = self.conns.get_mut(key as usize) else { return };
        match &conn.mode {
            Mode::Http(Reading::Idle { .. }) => self.begin_close(key),
            Mode::Http(Reading::Head { .. }) => {
                self.refuse(key, 408, "head_timeout", "the request's head took too long to arrive (limits.head_time_max_ms)");
            }
            Mode::Http(Reading::Body(_)) => {
                self.refuse(key, 408, "body_timeout", "the request's body took too long to arrive (limits.body_time_max_ms)");
            }
            Mode::Waiting(_) => {}
            Mode::Closing { .. } => self.wake(key),
            Mode::WebSocket(_) => {
                if conn.pinged_ms > 0 && conn.last_in_ms < conn.pinged_ms {
                    if let Some((at, _)) = self.heartbeat_of(key) {
                        self.lose(key, at);
                    }
                    return;
                }
                conn.pinged_ms = now_ms.max(1);
                let mut ping = BytesMut::new();
                omnivox_wire::ws::ping(b"", &mut ping);
                self.send(key, Frame::raw(ping.freeze()));
            }
            Mode::Stream { chunked } => {
                conn.pinged_ms = now_ms.max(1);
                let comment: &'static [u8] = if *chunked { b"3\r\n:\n\n\r\n" } else { b":\n\n" };
                self.send(key, Frame::raw(bytes::Bytes::from_static(comment)));
            }
        }
    }

    /// Nothing came back from a peer: its carrier is gone, whatever the kernel thinks.
    fn lose(&mut self, key: u32, at: SlotRef) {
        let only = self.slot(at).is_some_and(|slot| slot.promoted == Some(key));
        if only {
            self.close_session_or_carrier(at, key, CloseReason::HeartbeatLost);
        } else {
            self.begin_close(key);
        }
    }

    /// Checks whether a client has been slow for too long.
    fn check_slow(&mut self, key: u32) {
        let (limits, now) = (self.common.outbox_limits, self.now);
        let Some(at) = self.conns.get(key as usize).filter(|conn| conn.blocked).and_then(|conn| conn.session) else { return };
        let late = self.slot(at).is_some_and(|slot| slot.outbox.check_soft(now, &limits).is_err());
        if late {
            self.slow.push(at);
        } else {
            let again = self.now_ms() + 1000;
            self.schedule_conn(key, again);
        }
    }
}

/// The first heartbeat of a connection comes somewhere in the second half of the interval, so that connections that came together are not
/// pinged together.
fn spread(every_ms: u64, at: SlotRef) -> u64 {
    let scattered = u64::from(at.slot ^ at.generation.rotate_left(16)).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
    every_ms / 2 + (every_ms / 2) * scattered / u64::from(u32::MAX)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_that_came_together_are_not_pinged_together() {
        let every_ms = 25_000;
        let mut tenths = [0; 10];
        for slot in 0..1_000 {
            let first = spread(every_ms, SlotRef { slot, generation: slot + 1 });
            assert!((every_ms / 2..=every_ms).contains(&first), "{first} ms is not in the second half");
            tenths[((first - every_ms / 2) * 10 / (every_ms / 2 + 1)) as usize] += 1;
        }
        assert!(tenths.iter().all(|count| (50..=150).contains(count)), "{tenths:?} of 1,000 in each tenth");
    }
}

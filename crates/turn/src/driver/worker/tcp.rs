//! TCP and TLS clients.

use std::io;

use super::perform::Origin;
use super::{StreamListener, Worker, prepare};
use crate::driver::mailbox::Letter;
use crate::driver::socket::{Interest, Ready};
use crate::driver::streams::{Frame, Stream, first_frame};
use crate::driver::worker::Token;
use crate::proto::machine::{FiveTuple, Transport};

/// Connections that one listener may take before the other sockets have their turn.
const ACCEPTS: usize = 64;

impl Worker {
    pub(super) fn listener_ready(&mut self, listener: u32) {
        for _ in 0..ACCEPTS {
            let Some(StreamListener { socket, tls_only }) = self.listeners.get(listener as usize) else { return };
            let tls_only = *tls_only;
            let (socket, client) = match socket.accept() {
                Ok(accepted) => accepted,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                // Nobody waits, or there is no descriptor left; the poll will say when to try again.
                Err(_) => return,
            };
            let Some(guest) = self.guests.admit(client.ip(), &self.config.streams) else { continue };
            let Ok(server) = socket.local_addr() else { continue };
            if prepare(&socket).is_err() {
                continue;
            }
            let tuple = FiveTuple { transport: Transport::Tcp, path: 0, client, server };
            let tls = self.config.tls_config.clone();
            self.add_stream(Stream::new(socket, tls, tls_only, tuple, guest, self.now.millis));
        }
    }

    pub(super) fn stream_ready(&mut self, index: u32, ready: Ready) {
        let Some(stream) = self.streams.get_mut(index as usize) else { return };
        if ready.writable {
            self.dirty.push(index);
        }
        if !ready.readable {
            return;
        }
        let open = stream.read(&mut self.scratch);
        // A handshake has something to say even when there is no plain text yet, and an alert when it failed.
        self.dirty.push(index);
        self.handle_frames(index);
        if !matches!(open, Ok(true)) {
            self.doomed.push(index);
        }
    }

    /// Handles every whole frame that was read.
    pub(super) fn handle_frames(&mut self, index: u32) {
        let Some(stream) = self.streams.get_mut(index as usize) else { return };
        if stream.joined.is_some() {
            return self.pipe_to_peer(index);
        }
        let tuple = stream.tuple;
        let input = std::mem::take(&mut stream.input);
        let mut done = 0;
        loop {
            match first_frame(&input[done..]) {
                Frame::Partial => break,
                Frame::Alien => {
                    self.machine.counters.dropped_malformed += 1;
                    self.doomed.push(index);
                    return;
                }
                Frame::Whole(length) => {
                    let frame = &input[done..done + length];
                    self.machine.handle(self.now, &tuple, frame, &mut self.relays, &mut self.actions);
                    // A hand-over takes the frame and what follows along.
                    self.perform(Origin::Bytes(&input[done..]));
                    done += length;
                }
            }
            match self.streams.get(index as usize) {
                Some(stream) if stream.tuple == tuple && stream.joined.is_none() => {}
                Some(stream) if stream.tuple == tuple => break,
                _ => return,
            }
        }
        let Some(stream) = self.streams.get_mut(index as usize) else { return };
        stream.input = input;
        stream.input.drain(..done);
        if stream.joined.is_some() {
            self.pipe_to_peer(index);
        }
    }

    /// Moves a connection to the worker that knows what it asks for.
    pub(super) fn hand_over_stream(&mut self, worker: u8, client: FiveTuple, rest: &[u8]) {
        let index = client.path as usize;
        if !self.streams.get(index).is_some_and(|stream| stream.tuple == client) {
            return;
        }
        let stream = self.streams.remove(index);
        let _ = self.poll.remove(stream.fd());
        let letter = Letter::Stream(Box::new(stream), rest.to_vec());
        if self.posts[usize::from(worker)].send(letter).is_err() {
            // The connection is closed with its letter; the client tries again.
            self.machine.counters.dropped_hairpin += 1;
        }
    }

    /// Takes in a connection that another worker, or the embedder, has read from already.
    pub(super) fn take_over_stream(&mut self, stream: Stream, rest: Vec<u8>) {
        let Some(index) = self.add_stream(stream) else { return };
        if let Some(stream) = self.streams.get_mut(index as usize) {
            stream.input = rest;
        }
        self.dirty.push(index);
        self.handle_frames(index);
    }

    pub(super) fn close_client(&mut self, client: &FiveTuple) {
        if let Some(stream) = self.streams.get_mut(client.path as usize)
            && stream.tuple == *client
        {
            stream.closing = true;
            self.dirty.push(client.path);
        }
    }

    /// Writes, closes, and tells the machine, until nothing is left to do.
    pub(super) fn settle(&mut self) {
        loop {
            if let Some((connection, success)) = self.outcomes.pop() {
                self.machine.connected(self.now, connection, success, &mut self.actions);
                self.perform(Origin::Nothing);
            } else if let Some(index) = self.dirty.pop() {
                self.write_stream(index);
            } else if let Some(index) = self.doomed.pop() {
                self.close_stream(index);
            } else {
                return;
            }
        }
    }

    fn write_stream(&mut self, index: u32) {
        let Some(stream) = self.streams.get_mut(index as usize) else { return };
        if stream.flush().is_err() || (stream.closing && stream.is_flushed()) {
            self.doomed.push(index);
            return;
        }
        let wanted = Interest { read: !self.peer_is_full(index), write: !self.streams[index as usize].is_flushed() };
        let stream = &mut self.streams[index as usize];
        if stream.interest != wanted {
            stream.interest = wanted;
            let _ = self.poll.modify(stream.fd(), Token::Stream(index).into(), wanted);
        }
        self.resume_peer(index);
    }

    fn close_stream(&mut self, index: u32) {
        let Some(mut stream) = self.streams.try_remove(index as usize) else { return };
        // What was answered last, an alert among it, still leaves if the socket takes it.
        stream.farewell();
        let _ = self.poll.remove(stream.fd());
        self.machine.client_gone(self.now, &stream.tuple, &mut self.actions);
        self.perform(Origin::Nothing);
    }

    /// Closes connections that do nothing: no handshake, or no allocation for too long.
    pub(super) fn sweep_streams(&mut self) {
        let limits = &self.config.streams;
        for (index, stream) in &mut self.streams {
            if self.machine.has_client(&stream.tuple) || stream.joined.is_some() {
                stream.since = self.now.millis;
                continue;
            }
            let patience = if stream.is_opening() { limits.handshake_seconds } else { limits.idle_seconds };
            if self.now.millis.saturating_sub(stream.since) > patience * 1000 {
                self.doomed.extend(u32::try_from(index));
            }
        }
    }
}

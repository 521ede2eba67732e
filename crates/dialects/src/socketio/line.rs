//! The way out of a session: what the application says, on its way into Engine.IO and to the hub.

use std::time::Instant;

use omnivox_core::{Action, Actions, Command, Frame, Ticket};

use super::delivery::Rendered;
use super::engine::Engine;

/// The time, and where packets and commands go.
pub(super) struct Line<'l> {
    pub(super) now: Instant,
    pub(super) engine: &'l mut Engine,
    pub(super) actions: &'l mut Actions,
}

impl Line<'_> {
    /// Sends a packet.
    pub(super) fn send(&mut self, packet: Rendered) {
        for packet in packet.into_packets() {
            self.engine.send(packet, self.actions);
        }
    }

    /// Sends a frame that many get.
    pub(super) fn send_frame(&mut self, frame: Frame) {
        self.actions.push(Action::Push(frame));
    }

    /// Runs a command.
    pub(super) fn run(&mut self, ticket: Ticket, command: Command) {
        self.actions.run(ticket, command);
    }
}

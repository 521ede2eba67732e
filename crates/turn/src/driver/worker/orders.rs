//! Letters from other workers and orders from the handle.

use super::Worker;
use super::perform::Origin;
use crate::driver::mailbox::{Across, Letter, Order};

/// Letters of one round; the bell rings again for the rest.
const LETTERS: usize = 64;

impl Worker {
    pub(super) fn mail_ready(&mut self) {
        self.mailbox.silence();
        self.read_mail();
    }

    /// Reads what has arrived, rung or not.
    pub(super) fn read_mail(&mut self) {
        while let Some(order) = self.mailbox.order() {
            self.obey(order);
        }
        for _ in 0..LETTERS {
            let Some(letter) = self.mailbox.letter() else { return };
            self.read_letter(letter);
        }
        self.posts[usize::from(self.index)].ring_again();
    }

    fn read_letter(&mut self, letter: Letter) {
        match letter {
            Letter::Across(across) => self.take_across(&across),
            Letter::Datagram(from, bytes) => {
                self.machine.handle(self.now, &from, &bytes, &mut self.relays, &mut self.actions);
                self.perform(Origin::Bytes(&bytes));
            }
            Letter::Stream(stream, rest) => self.take_over_stream(*stream, rest),
        }
    }

    fn take_across(&mut self, across: &Across) {
        let mut start = 0;
        for (to, from, length) in &across.packets {
            let payload = &across.bytes[start..start + length];
            start += length;
            self.machine.across_datagram(self.now, *from, *to, 0..*length, &mut self.actions);
            self.perform(Origin::Bytes(payload));
        }
    }

    fn obey(&mut self, order: Order) {
        match order {
            Order::Revoke(what) => {
                self.machine.revoke(self.now, &what, &mut self.actions);
                self.perform(Origin::Nothing);
            }
            Order::Drain(alternate) => self.machine.drain(alternate),
            Order::NonceKey(key) => self.machine.rotate_nonce_key(&key),
            // Whoever asked may have gone.
            Order::Sessions(answer) => drop(answer.send(self.machine.sessions(self.now).collect())),
            Order::Adopt(stream, rest) => self.take_over_stream(*stream, rest),
            Order::Stop => self.stopping = true,
        }
    }
}

//! WebSocket (RFC 6455) without I/O: [`Decoder`] turns received bytes into messages, [`encode`] and its kin make frames,
//! [`handshake`] opens a connection and [`deflate`] compresses messages (RFC 7692).
//!
//! Invariant: an idle connection costs one small inline [`Decoder`]; memory is taken only while a frame or message is incomplete.
//!
//! ```
//! use omnivox_wire::ws::{Decoder, Message, Role, Violation};
//!
//! // The loop of every carrier: step until there is no message left.
//! fn drain(decoder: &mut Decoder, received: &mut [u8]) -> Result<(), Violation> {
//!     let mut at = 0;
//!     loop {
//!         let step = decoder.step(&mut received[at..])?;
//!         at += step.consumed;
//!         match step.message {
//!             Some(Message::Text(text)) => println!("{text}"),
//!             Some(_) => {}
//!             None => return Ok(()),
//!         }
//!     }
//! }
//! # let mut decoder = Decoder::new(Role::Server, 1024, None);
//! # drain(&mut decoder, &mut [0x89, 0x80, 0, 0, 0, 0]).unwrap();
//! ```

mod decoder;
pub mod deflate;
mod extensions;
mod frame;
pub mod handshake;
mod mask;
mod partial;
mod violation;

pub use decoder::{Decoder, Message, Step};
pub use extensions::Extension;
pub use frame::{DataKind, Header, Opcode, close, close_masked, continuation, encode, encode_masked, header, masked, ping, pong};
pub use mask::apply_mask;
pub use violation::Violation;

/// Which end of the connection this codec works for; it decides who masks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// We are the server: received frames must be masked.
    Server,
    /// We are the client: received frames must not be masked.
    Client,
}

/// Whether a close code may appear on the wire (RFC 6455 §7.4).
pub fn is_close_code(code: u16) -> bool {
    matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999)
}

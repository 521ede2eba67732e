//! Received bytes become messages, without a copy when a whole message lies in the input.
//!
//! A frame is unmasked in place and handed out as a slice of the input. Only what is incomplete is stored, in one box
//! ([`Partial`]) that is gone again when the message was taken.
//!
//! Invariant: between messages a decoder owns no memory outside itself, and within one no more than the bytes that came, doubled,
//! and never more than the message limit and the box. (While a message is inflated, both of its forms exist.)

use std::ops::Range;

use super::deflate::{self, Agreement};
use super::frame::{CONTROL_BYTES_MAX, Opcode};
use super::partial::{Frame, Partial};
use super::{Role, Violation, apply_mask, is_close_code};

/// Turns the bytes of one peer into messages.
///
/// Call [`Decoder::step`] with what was received until it gives no message; that last call has consumed all of the input
/// and released what the messages before it held. After a close frame or a violation everything is ignored.
#[derive(Debug)]
pub struct Decoder {
    message_bytes_max: usize,
    partial: Option<Box<Partial>>,
    deflate: Option<Agreement>,
    role: Role,
    finished: bool,
}

/// What one call of [`Decoder::step`] did.
#[derive(Debug, PartialEq, Eq)]
pub struct Step<'a> {
    /// How many bytes of the input are done with; all of them when there is no message.
    pub consumed: usize,
    /// The next message, if one is complete.
    pub message: Option<Message<'a>>,
}

/// A complete message or control frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message<'a> {
    /// A text message.
    Text(&'a str),
    /// A binary message.
    Binary(&'a [u8]),
    /// A ping: answer with a pong of the same bytes.
    Ping(&'a [u8]),
    /// A pong, asked for or not.
    Pong(&'a [u8]),
    /// The peer closes, with its code and reason if it gave them: answer with the same code.
    Close(Option<(u16, &'a str)>),
}

impl Decoder {
    /// A decoder at the start of a connection, for the end that `role` names.
    ///
    /// `message_bytes_max` limits a message, also after inflation; `deflate` is what the handshake agreed on.
    pub fn new(role: Role, message_bytes_max: usize, deflate: Option<Agreement>) -> Self {
        Self { message_bytes_max, partial: None, deflate, role, finished: false }
    }

    /// Reads on in `input`, which is unmasked in place, up to the next complete message.
    pub fn step<'a>(&'a mut self, input: &'a mut [u8]) -> Result<Step<'a>, Violation> {
        self.release();
        if self.finished {
            // A message that was open when the end came is never completed.
            self.partial = None;
            return Ok(Step { consumed: input.len(), message: None });
        }
        let (consumed, found) = match self.advance(input) {
            Ok(advanced) => advanced,
            Err(violation) => {
                self.finished = true;
                self.partial = None;
                return Err(violation);
            }
        };
        let message = match found {
            Found::Nothing => None,
            Found::InInput(opcode, payload) => {
                let message = read_message(opcode, &input[payload]);
                self.finished |= message.is_err() || opcode == Opcode::Close;
                Some(message?)
            }
            Found::StoredControl(opcode) => {
                self.finished |= opcode == Opcode::Close;
                let payload = self.partial.as_ref().map_or(&[][..], |partial| partial.control());
                Some(read_message(opcode, payload)?)
            }
            Found::StoredMessage => self.partial.as_ref().and_then(|partial| partial.message()),
        };
        Ok(Step { consumed, message })
    }

    /// How many bytes are allocated for what is incomplete; zero between messages.
    pub fn buffered(&self) -> usize {
        self.partial.as_ref().map_or(0, |partial| partial.buffered())
    }

    /// Drops what the last message held.
    fn release(&mut self) {
        if let Some(partial) = &mut self.partial
            && partial.release()
        {
            self.partial = None;
        }
    }

    /// Consumes frames until one completes a message or the input ends.
    fn advance(&mut self, input: &mut [u8]) -> Result<(usize, Found), Violation> {
        let mut at = 0;
        loop {
            let frame = match self.partial.as_mut().and_then(|partial| partial.frame.take()) {
                Some(frame) => frame,
                None => match self.frame_header(&input[at..])? {
                    (used, Some(frame)) => {
                        at += used;
                        frame
                    }
                    (_, None) => return Ok((input.len(), Found::Nothing)),
                },
            };
            let available = frame.remaining().min(input.len() - at);
            let payload = at..at + available;
            at = payload.end;
            if let Some(key) = frame.key {
                apply_mask(&mut input[payload.clone()], key, frame.received);
            }
            let found = self.take(frame, input, payload)?;
            if !matches!(found, Found::Nothing) {
                return Ok((at, found));
            }
            if self.partial.as_ref().is_some_and(|partial| partial.frame.is_some()) {
                return Ok((at, Found::Nothing));
            }
        }
    }

    /// The next frame's header and the bytes of `input` that it took; a header that is cut off is stored.
    fn frame_header(&mut self, input: &[u8]) -> Result<(usize, Option<Frame>), Violation> {
        if let Some(partial) = self.partial.as_mut().filter(|partial| partial.header_len > 0) {
            let before = usize::from(partial.header_len);
            let used = partial.header_bytes(input);
            let (header, len) = (partial.header, usize::from(partial.header_len));
            let Some((used_of_header, frame)) = self.parse_header(&header[..len])? else { return Ok((used, None)) };
            if let Some(partial) = &mut self.partial {
                partial.header_len = 0;
            }
            return Ok((used_of_header - before, Some(frame)));
        }
        match self.parse_header(input)? {
            Some((used, frame)) => Ok((used, Some(frame))),
            None => {
                if !input.is_empty() {
                    self.partial_mut().header_bytes(input);
                }
                Ok((input.len(), None))
            }
        }
    }

    /// Parses a frame header and checks all that can be known before the payload comes.
    fn parse_header(&self, bytes: &[u8]) -> Result<Option<(usize, Frame)>, Violation> {
        let &[first, second, ref rest @ ..] = bytes else { return Ok(None) };
        let (fin, rsv1) = (first & 0x80 != 0, first & 0x40 != 0);
        let opcode = Opcode::from_bits(first).ok_or(Violation::ReservedOpcode)?;
        self.check_first_byte(opcode, first)?;
        match (self.role, second & 0x80 != 0) {
            (Role::Server, false) => return Err(Violation::Unmasked),
            (Role::Client, true) => return Err(Violation::Masked),
            (Role::Server, true) | (Role::Client, false) => {}
        }
        if opcode.is_control() && usize::from(second & 0x7f) > CONTROL_BYTES_MAX {
            return Err(Violation::LongControl);
        }
        // Lengths that a shorter form could have carried are accepted: some embedded clients always send the 16-bit form.
        let (length, rest) = match second & 0x7f {
            126 => match rest.split_first_chunk::<2>() {
                Some((length, rest)) => (u64::from(u16::from_be_bytes(*length)), rest),
                None => return Ok(None),
            },
            127 => match rest.split_first_chunk::<8>() {
                Some((length, rest)) => (u64::from_be_bytes(*length), rest),
                None => return Ok(None),
            },
            short => (u64::from(short), rest),
        };
        if length >> 63 != 0 {
            return Err(Violation::LengthOverflow);
        }
        let (payload_len, room) = self.check_length(opcode, rsv1, length)?;
        let (key, rest) = match self.role {
            Role::Client => (None, rest),
            Role::Server => match rest.split_first_chunk::<4>() {
                Some((key, rest)) => (Some(*key), rest),
                None => return Ok(None),
            },
        };
        let frame = Frame { opcode, fin, rsv1, key, payload_len, room, received: 0 };
        Ok(Some((bytes.len() - rest.len(), frame)))
    }

    /// The rules about FIN, the reserved bits and the order of fragments.
    fn check_first_byte(&self, opcode: Opcode, first: u8) -> Result<(), Violation> {
        let (fin, rsv1, rsv23) = (first & 0x80 != 0, first & 0x40 != 0, first & 0x30 != 0);
        let starts_message = matches!(opcode, Opcode::Text | Opcode::Binary);
        let open = self.partial.as_ref().is_some_and(|partial| partial.assembly.is_some());
        if rsv23 || rsv1 && !(self.deflate.is_some() && starts_message) {
            Err(Violation::ReservedBit)
        } else if opcode.is_control() && !fin {
            Err(Violation::FragmentedControl)
        } else if opcode == Opcode::Continuation && !open {
            Err(Violation::UnexpectedContinuation)
        } else if starts_message && open {
            Err(Violation::ExpectedContinuation)
        } else {
            Ok(())
        }
    }

    /// Decides from the header whether the message may grow by `length` bytes; gives that and all it may still grow by.
    fn check_length(&self, opcode: Opcode, rsv1: bool, length: u64) -> Result<(usize, usize), Violation> {
        let length = usize::try_from(length).map_err(|_| Violation::MessageTooBig)?;
        if opcode.is_control() {
            return Ok((length, length));
        }
        let assembly = self.partial.as_ref().and_then(|partial| partial.assembly.as_ref());
        let (stored, compressed) = assembly.map_or((0, rsv1), |assembly| (assembly.len(), assembly.compressed));
        let limit = match compressed {
            true => deflate::compressed_bytes_max(self.message_bytes_max),
            false => self.message_bytes_max,
        };
        match limit.checked_sub(stored) {
            Some(room) if length <= room => Ok((length, room)),
            _ => Err(Violation::MessageTooBig),
        }
    }

    /// Takes the unmasked `payload` of `frame`, all of it or as much as has come.
    fn take(&mut self, frame: Frame, input: &[u8], payload: Range<usize>) -> Result<Found, Violation> {
        let bytes = &input[payload.clone()];
        if bytes.len() < frame.remaining() {
            return self.store(frame, bytes).map(|()| Found::Nothing);
        }
        let whole = frame.received == 0;
        if frame.opcode.is_control() {
            if whole {
                return Ok(Found::InInput(frame.opcode, payload));
            }
            self.partial_mut().push_control(bytes, true);
            return Ok(Found::StoredControl(frame.opcode));
        }
        if whole && frame.fin && frame.opcode != Opcode::Continuation && !frame.rsv1 {
            return Ok(Found::InInput(frame.opcode, payload));
        }
        let message_bytes_max = self.message_bytes_max;
        let partial = self.partial_mut();
        partial.push_data(&frame, bytes)?;
        if frame.fin {
            partial.finish_message(message_bytes_max)?;
            return Ok(Found::StoredMessage);
        }
        Ok(Found::Nothing)
    }

    /// Keeps a frame whose payload goes on in later input.
    ///
    /// With none of the payload here yet, nothing is opened: the rest may still come in one piece and need no copy.
    fn store(&mut self, mut frame: Frame, bytes: &[u8]) -> Result<(), Violation> {
        let partial = self.partial_mut();
        if frame.opcode.is_control() {
            partial.push_control(bytes, false);
        } else if !bytes.is_empty() {
            partial.push_data(&frame, bytes)?;
        }
        frame.received += bytes.len();
        partial.frame = Some(frame);
        Ok(())
    }

    fn partial_mut(&mut self) -> &mut Partial {
        self.partial.get_or_insert_default()
    }
}

/// Where [`Decoder::advance`] found a message.
enum Found {
    Nothing,
    InInput(Opcode, Range<usize>),
    StoredControl(Opcode),
    StoredMessage,
}

/// Gives the payload of a whole unfragmented frame its type.
fn read_message(opcode: Opcode, payload: &[u8]) -> Result<Message<'_>, Violation> {
    Ok(match opcode {
        Opcode::Text => Message::Text(str::from_utf8(payload).map_err(|_| Violation::TextNotUtf8)?),
        Opcode::Binary | Opcode::Continuation => Message::Binary(payload),
        Opcode::Ping => Message::Ping(payload),
        Opcode::Pong => Message::Pong(payload),
        Opcode::Close => Message::Close(read_close(payload)?),
    })
}

fn read_close(payload: &[u8]) -> Result<Option<(u16, &str)>, Violation> {
    let Some((code, reason)) = payload.split_first_chunk::<2>() else {
        return if payload.is_empty() { Ok(None) } else { Err(Violation::TruncatedCloseCode) };
    };
    let code = u16::from_be_bytes(*code);
    if !is_close_code(code) {
        return Err(Violation::InvalidCloseCode);
    }
    let reason = str::from_utf8(reason).map_err(|_| Violation::CloseReasonNotUtf8)?;
    Ok(Some((code, reason)))
}

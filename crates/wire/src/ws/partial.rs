//! What a decoder keeps while a frame or a message is incomplete.
//!
//! Text is checked as it arrives: the valid part is a `String` from the start, at most three bytes of a character that is cut
//! off wait beside it. So the first impossible byte ends the connection, and no byte is checked twice.

use super::deflate;
use super::frame::{CONTROL_BYTES_MAX, DataKind, Opcode};
use super::{Message, Violation};

/// A frame whose payload is not complete.
#[derive(Debug)]
pub(super) struct Frame {
    pub(super) opcode: Opcode,
    pub(super) fin: bool,
    pub(super) rsv1: bool,
    pub(super) key: Option<[u8; 4]>,
    pub(super) payload_len: usize,
    /// What the message's limit leaves for this frame and those after it; at least `payload_len`.
    pub(super) room: usize,
    pub(super) received: usize,
}

impl Frame {
    pub(super) fn remaining(&self) -> usize {
        self.payload_len - self.received
    }
}

/// The boxed state of a decoder in the middle of something.
#[derive(Debug)]
pub(super) struct Partial {
    pub(super) header: [u8; HEADER_BYTES_MAX],
    pub(super) header_len: u8,
    pub(super) frame: Option<Frame>,
    pub(super) assembly: Option<Assembly>,
    control: [u8; CONTROL_BYTES_MAX],
    control_len: u8,
    control_complete: bool,
}

/// The fragments of one message so far.
#[derive(Debug)]
pub(super) struct Assembly {
    pub(super) compressed: bool,
    kind: DataKind,
    complete: bool,
    body: Body,
}

#[derive(Debug)]
enum Body {
    Text { valid: String, cut: Cut },
    Bytes(Vec<u8>),
}

/// The first bytes of a character whose rest has not come.
#[derive(Clone, Copy, Debug, Default)]
struct Cut {
    bytes: [u8; 4],
    len: usize,
}

impl Default for Partial {
    fn default() -> Self {
        Self {
            header: [0; HEADER_BYTES_MAX],
            header_len: 0,
            frame: None,
            assembly: None,
            control: [0; CONTROL_BYTES_MAX],
            control_len: 0,
            control_complete: false,
        }
    }
}

impl Partial {
    /// Stores bytes of a header that is cut off, as many as a header can have.
    pub(super) fn header_bytes(&mut self, input: &[u8]) -> usize {
        let start = usize::from(self.header_len);
        let used = input.len().min(HEADER_BYTES_MAX - start);
        self.header[start..start + used].copy_from_slice(&input[..used]);
        self.header_len = (start + used) as u8;
        used
    }

    pub(super) fn push_control(&mut self, bytes: &[u8], complete: bool) {
        let start = usize::from(self.control_len);
        self.control[start..start + bytes.len()].copy_from_slice(bytes);
        self.control_len = (start + bytes.len()) as u8;
        self.control_complete = complete;
    }

    pub(super) fn control(&self) -> &[u8] {
        &self.control[..usize::from(self.control_len)]
    }

    /// Adds unmasked payload of a data frame to the message, which its first frame opens.
    pub(super) fn push_data(&mut self, frame: &Frame, bytes: &[u8]) -> Result<(), Violation> {
        let assembly = self.assembly.get_or_insert_with(|| Assembly::new(frame));
        assembly.reserve(frame, bytes.len());
        assembly.push(bytes)
    }

    /// Ends the open message: inflates it if need be.
    pub(super) fn finish_message(&mut self, message_bytes_max: usize) -> Result<(), Violation> {
        let Some(assembly) = &mut self.assembly else { return Ok(()) };
        assembly.complete = true;
        assembly.finish(message_bytes_max)
    }

    /// The message that was finished by this step.
    pub(super) fn message(&self) -> Option<Message<'_>> {
        let assembly = self.assembly.as_ref().filter(|assembly| assembly.complete)?;
        Some(match &assembly.body {
            Body::Text { valid, .. } => Message::Text(valid),
            Body::Bytes(bytes) => Message::Binary(bytes),
        })
    }

    /// Forgets what was handed out; true when nothing is left that needs the box.
    pub(super) fn release(&mut self) -> bool {
        if self.control_complete {
            self.control_complete = false;
            self.control_len = 0;
        }
        if self.assembly.as_ref().is_some_and(|assembly| assembly.complete) {
            self.assembly = None;
        }
        self.header_len == 0 && self.frame.is_none() && self.assembly.is_none()
    }

    /// The box itself and what it owns.
    pub(super) fn buffered(&self) -> usize {
        size_of::<Self>() + self.assembly.as_ref().map_or(0, Assembly::capacity)
    }
}

impl Assembly {
    fn new(frame: &Frame) -> Self {
        let kind = if frame.opcode == Opcode::Text { DataKind::Text } else { DataKind::Binary };
        let body = match (kind, frame.rsv1) {
            (DataKind::Text, false) => Body::Text { valid: String::new(), cut: Cut::default() },
            _ => Body::Bytes(Vec::new()),
        };
        Self { compressed: frame.rsv1, kind, complete: false, body }
    }

    pub(super) fn len(&self) -> usize {
        match &self.body {
            Body::Text { valid, cut } => valid.len() + cut.len,
            Body::Bytes(bytes) => bytes.len(),
        }
    }

    fn capacity(&self) -> usize {
        match &self.body {
            Body::Text { valid, .. } => valid.capacity(),
            Body::Bytes(bytes) => bytes.capacity(),
        }
    }

    /// Makes room for `coming` bytes: doubling, but never beyond the limit, nor what the header of a last frame promised.
    ///
    /// A header alone reserves nothing, so that a peer pays for memory with bytes.
    fn reserve(&mut self, frame: &Frame, coming: usize) {
        let (len, capacity) = (self.len(), self.capacity());
        if len + coming <= capacity {
            return;
        }
        let most = if frame.fin { frame.remaining() } else { frame.room - frame.received };
        // The few bytes more are for a character that was cut off.
        let more = coming.max(len).min(most) + 4;
        match &mut self.body {
            Body::Text { valid, .. } => valid.reserve_exact(more),
            Body::Bytes(bytes) => bytes.reserve_exact(more),
        }
    }

    fn push(&mut self, bytes: &[u8]) -> Result<(), Violation> {
        match &mut self.body {
            Body::Text { valid, cut } => push_text(valid, cut, bytes).ok_or(Violation::TextNotUtf8),
            Body::Bytes(all) => {
                all.extend_from_slice(bytes);
                Ok(())
            }
        }
    }

    fn finish(&mut self, message_bytes_max: usize) -> Result<(), Violation> {
        match &mut self.body {
            Body::Text { cut, .. } if cut.len > 0 => return Err(Violation::TextNotUtf8),
            Body::Text { .. } => {}
            Body::Bytes(bytes) => {
                if self.compressed {
                    *bytes = deflate::inflate(bytes, message_bytes_max)?;
                }
                if self.kind == DataKind::Text {
                    let text = String::from_utf8(std::mem::take(bytes)).map_err(|_| Violation::TextNotUtf8)?;
                    self.body = Body::Text { valid: text, cut: Cut::default() };
                }
            }
        }
        Ok(())
    }
}

/// Appends text that may end inside a character; `None` at the first byte that can't be UTF-8.
fn push_text(valid: &mut String, cut: &mut Cut, mut bytes: &[u8]) -> Option<()> {
    while cut.len > 0 {
        let Some((&next, rest)) = bytes.split_first() else { return Some(()) };
        cut.bytes[cut.len] = next;
        cut.len += 1;
        bytes = rest;
        match str::from_utf8(&cut.bytes[..cut.len]) {
            Ok(character) => {
                valid.push_str(character);
                cut.len = 0;
            }
            Err(error) if error.error_len().is_some() => return None,
            Err(_) => {}
        }
    }
    match str::from_utf8(bytes) {
        Ok(text) => valid.push_str(text),
        Err(error) if error.error_len().is_some() => return None,
        Err(error) => {
            let (whole, rest) = bytes.split_at(error.valid_up_to());
            valid.push_str(str::from_utf8(whole).ok()?);
            cut.bytes[..rest.len()].copy_from_slice(rest);
            cut.len = rest.len();
        }
    }
    Some(())
}

/// Two bytes, a 64-bit length, a mask key.
const HEADER_BYTES_MAX: usize = 14;

//! permessage-deflate (RFC 7692): negotiation, and inflating and deflating of whole messages within a limit.
//!
//! Both directions are negotiated without context takeover. So a broadcast is compressed once and the frame shared by all
//! subscribers, and no connection keeps a window: one deflate and one inflate state per thread serve them all.
//!
//! ```
//! use omnivox_wire::ws::{DataKind, Decoder, Message, Role, deflate};
//!
//! let offers = deflate::Offers::parse(["permessage-deflate; client_max_window_bits"]).unwrap();
//! let agreement = offers.accept().unwrap();
//! assert_eq!(agreement.to_string(), "permessage-deflate; server_no_context_takeover; client_no_context_takeover");
//!
//! let frame = deflate::message(DataKind::Text, "text ".repeat(100).as_bytes(), agreement.server_window_bits());
//! let mut client = Decoder::new(Role::Client, 1024, Some(agreement));
//! let step_input = &mut frame.to_vec();
//! assert!(matches!(client.step(step_input).unwrap().message, Some(Message::Text(text)) if text.len() == 500));
//! ```

use std::cell::RefCell;
use std::fmt;

use bytes::{Bytes, BytesMut};
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

use super::extensions::{Extension, parse_extensions};
use super::handshake::Refusal;
use super::{DataKind, Violation};

/// What both ends agreed on: no context takeover in either direction, and the window that we compress with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Agreement {
    server_window_bits: u8,
    /// The client restricted our window, so the answer must name it.
    name_server_window: bool,
}

/// The extensions that a client offers, in its order of preference.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Offers<'h>(Vec<Extension<'h>>);

impl<'h> Offers<'h> {
    /// Reads the values of all `Sec-WebSocket-Extensions` headers; an error is a syntax error, not an unknown extension.
    pub fn parse<V: AsRef<[u8]> + ?Sized + 'h>(values: impl IntoIterator<Item = &'h V>) -> Result<Self, Refusal> {
        let mut offers = Vec::new();
        for value in values {
            parse_extensions(value.as_ref(), &mut offers).ok_or(Refusal::Extensions)?;
        }
        Ok(Self(offers))
    }

    /// The first offer of permessage-deflate that we can meet; none is an answer too.
    pub fn accept(&self) -> Option<Agreement> {
        self.0.iter().filter(|extension| extension.name.eq_ignore_ascii_case(NAME)).find_map(accept_offer)
    }

    /// Reads a server's answer to [`OFFER`]: `Ok(None)` means without compression, an error means the server answered
    /// what was not offered or what this client can't keep.
    pub fn read_answer(&self) -> Result<Option<Agreement>, AnswerError> {
        match self.0.as_slice() {
            [] => Ok(None),
            [answer] if answer.name.eq_ignore_ascii_case(NAME) => accept_answer(answer).map(Some).ok_or(AnswerError),
            _ => Err(AnswerError),
        }
    }
}

/// A server's `Sec-WebSocket-Extensions` that does not fit what was offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AnswerError;

impl fmt::Display for AnswerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the server answered an extension that was not offered")
    }
}

impl std::error::Error for AnswerError {}

impl Agreement {
    /// The window for [`message`] on this connection, 9 to 15; frames may be shared between connections of equal bits.
    pub fn server_window_bits(self) -> u8 {
        self.server_window_bits
    }

    /// Whether the client takes frames that were compressed with the largest window, so that most clients can share them.
    pub fn has_largest_window(self) -> bool {
        self.server_window_bits == WINDOW_BITS_MAX
    }
}

/// The value of the `Sec-WebSocket-Extensions` header that answers the offer.
impl fmt::Display for Agreement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{NAME}; server_no_context_takeover; client_no_context_takeover")?;
        if self.name_server_window {
            write!(f, "; server_max_window_bits={}", self.server_window_bits)?;
        }
        Ok(())
    }
}

/// An agreement when every parameter is known, single and in range.
///
/// `server_max_window_bits=8` is declined: raw DEFLATE of zlib can't be told to keep to 256 bytes.
fn accept_offer(offer: &Extension<'_>) -> Option<Agreement> {
    let mut agreement = Agreement { server_window_bits: WINDOW_BITS_MAX, name_server_window: false };
    let mut seen = 0u8;
    for &(name, value) in &offer.parameters {
        let bit = match (name, value) {
            ("server_no_context_takeover", None) => 1,
            ("client_no_context_takeover", None) => 2,
            ("server_max_window_bits", Some(bits)) => {
                agreement.server_window_bits = window_bits(bits).filter(|bits| *bits > 8)?;
                agreement.name_server_window = true;
                4
            }
            ("client_max_window_bits", None) => 8,
            ("client_max_window_bits", Some(bits)) => {
                window_bits(bits)?;
                8
            }
            _ => return None,
        };
        if seen & bit != 0 {
            return None;
        }
        seen |= bit;
    }
    Some(agreement)
}

/// An agreement when the server keeps to what [`OFFER`] says.
fn accept_answer(answer: &Extension<'_>) -> Option<Agreement> {
    let without_takeover = answer.parameters.contains(&("server_no_context_takeover", None));
    let restricts_client = answer.parameters.iter().any(|(name, _)| *name == "client_max_window_bits");
    accept_offer(answer).filter(|_| without_takeover && !restricts_client)
}

/// Decimal, without a leading zero, 8 to 15.
fn window_bits(value: &str) -> Option<u8> {
    matches!(value, "8" | "9" | "10" | "11" | "12" | "13" | "14" | "15").then(|| value.parse().ok())?
}

/// One compressed, unmasked, unfragmented message as frame bytes: make it once, write it to every subscriber.
///
/// Below [`WORTH_BYTES_MIN`] an ordinary frame ([`super::encode`]) costs less; any message may go uncompressed.
pub fn message(kind: DataKind, payload: &[u8], window_bits: u8) -> Bytes {
    let compressed = compress(payload, window_bits);
    let header = super::header(kind, true, true, compressed.len());
    let mut frame = BytesMut::with_capacity(header.len() + compressed.len());
    frame.extend_from_slice(&header);
    frame.extend_from_slice(&compressed);
    frame.freeze()
}

/// The payload of a compressed message: raw DEFLATE up to a sync flush, without its last four bytes.
pub fn compress(payload: &[u8], window_bits: u8) -> Vec<u8> {
    let window_bits = window_bits.clamp(WINDOW_BITS_MIN, WINDOW_BITS_MAX);
    DEFLATERS.with_borrow_mut(|deflaters| {
        let slot = &mut deflaters[usize::from(window_bits - WINDOW_BITS_MIN)];
        let deflater = slot.get_or_insert_with(|| Compress::new_with_window_bits(Compression::new(LEVEL), false, window_bits));
        deflater.reset();
        let mut output = Vec::with_capacity(payload.len() / 2 + 64);
        loop {
            let taken = deflater.total_in() as usize;
            // `Compress` fails only on a wrong call, never on input.
            let status = deflater.compress_vec(&payload[taken..], &mut output, FlushCompress::Sync);
            debug_assert!(status.is_ok());
            if output.len() < output.capacity() || status.is_err() {
                break;
            }
            output.reserve(output.capacity());
        }
        if output.ends_with(&TAIL) {
            output.truncate(output.len() - TAIL.len());
        }
        output
    })
}

/// Inflates the payload of a compressed message; stops as soon as there is more than `message_bytes_max`.
///
/// Read with the leniency of the common zlib receivers: a sender may use final blocks, or leave the four bytes at the end.
pub fn inflate(payload: &[u8], message_bytes_max: usize) -> Result<Vec<u8>, Violation> {
    INFLATER.with_borrow_mut(|slot| {
        let inflater = slot.get_or_insert_with(|| Decompress::new(false));
        inflater.reset(false);
        let guess = payload.len().saturating_mul(3).clamp(64, 64 * 1024);
        let mut output = Vec::with_capacity(guess.min(message_bytes_max.saturating_add(1)));
        if inflate_part(inflater, payload, message_bytes_max, &mut output)? == Status::Ok {
            inflate_part(inflater, &TAIL, message_bytes_max, &mut output)?;
        }
        Ok(output)
    })
}

/// Inflates all of `part`; `StreamEnd` when it ended with a final block.
fn inflate_part(inflater: &mut Decompress, mut part: &[u8], message_bytes_max: usize, output: &mut Vec<u8>) -> Result<Status, Violation> {
    loop {
        let before = inflater.total_in();
        let status = inflater.decompress_vec(part, output, FlushDecompress::Sync).map_err(|_| Violation::InvalidDeflate)?;
        if output.len() > message_bytes_max {
            return Err(Violation::MessageTooBig);
        }
        part = &part[(inflater.total_in() - before) as usize..];
        if status == Status::StreamEnd {
            inflater.reset(false);
            if part.is_empty() {
                return Ok(Status::StreamEnd);
            }
        } else if output.len() < output.capacity() {
            // There was room, so inflate stopped for want of input.
            return if part.is_empty() { Ok(Status::Ok) } else { Err(Violation::InvalidDeflate) };
        } else {
            // Up to one byte more than allowed, which is how too much is noticed.
            let room = message_bytes_max.saturating_add(1) - output.len();
            output.reserve_exact(output.len().clamp(64, 1 << 20).min(room).max(1));
        }
    }
}

/// How many compressed bytes a message may have: what its limit allows, and room for blocks that deflate could not shrink.
pub(super) fn compressed_bytes_max(message_bytes_max: usize) -> usize {
    message_bytes_max.saturating_add(message_bytes_max / 64).saturating_add(64)
}

thread_local! {
    static INFLATER: RefCell<Option<Decompress>> = const { RefCell::new(None) };
    static DEFLATERS: RefCell<[Option<Compress>; 7]> = const { RefCell::new([const { None }; 7]) };
}

/// What our own client offers.
pub const OFFER: &str = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";

/// Messages with fewer bytes are not worth compressing.
pub const WORTH_BYTES_MIN: usize = 512;
/// The largest window, and the one of clients that don't restrict it.
pub const WINDOW_BITS_MAX: u8 = 15;

const NAME: &str = "permessage-deflate";
const TAIL: [u8; 4] = [0, 0, 0xff, 0xff];
const WINDOW_BITS_MIN: u8 = 9;
/// Measured on JSON of 600 bytes to 60 KB: within 1 % of level 3 in size for about two thirds of its time at 60 KB (130 µs),
/// where level 1 takes half of that and gives frames 15 to 50 % larger. Every subscriber pays for size, one shard for time.
const LEVEL: u32 = 2;

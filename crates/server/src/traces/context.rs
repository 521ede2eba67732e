//! Where a span belongs: W3C Trace Context, as callers send it in `traceparent`.
//!
//! ```text
//! traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01
//!              │  trace id                         span id          flags: 01 is sampled
//!              version
//! ```
//!
//! Invariant: no id is all zeros, and nothing but hexadecimal digits of the caller ever reaches a span.

/// Bytes of a trace's id.
pub(crate) type TraceId = [u8; 16];
/// Bytes of a span's id.
pub(crate) type SpanId = [u8; 8];

/// A span of a trace, ours or a caller's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Context {
    pub(crate) trace: TraceId,
    pub(crate) span: SpanId,
    pub(crate) sampled: bool,
}

impl Context {
    /// Reads `traceparent`. A version that is not known yet is read as far as it agrees with the first, as the standard asks for.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut fields = text.trim().split('-');
        let version = hex::<1>(fields.next()?)?[0];
        let trace = hex::<16>(fields.next()?)?;
        let span = hex::<8>(fields.next()?)?;
        let flags = hex::<1>(fields.next()?)?[0];
        let known = match version {
            0 => fields.next().is_none(),
            0xff => false,
            _ => true,
        };
        (known && trace != [0; 16] && span != [0; 8]).then_some(Self { trace, span, sampled: flags & 1 == 1 })
    }
}

/// So many bytes as hexadecimal digits in lower case.
fn hex<const BYTES: usize>(text: &str) -> Option<[u8; BYTES]> {
    if text.len() != 2 * BYTES || !text.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f')) {
        return None;
    }
    let mut bytes = [0; BYTES];
    for (byte, digits) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    }
    Some(bytes)
}

/// The hexadecimal digits of an id.
pub(crate) fn digits(id: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    id.iter().flat_map(|byte| [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]).map(char::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_traceparent_is_read_as_the_standard_says() {
        let check = |text: &str, expected: Option<(&str, &str, bool)>| {
            let found = Context::parse(text).map(|context| (digits(&context.trace), digits(&context.span), context.sampled));
            assert_eq!(found, expected.map(|(trace, span, sampled)| (trace.to_owned(), span.to_owned(), sampled)), "{text}");
        };
        let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
        let span = "00f067aa0ba902b7";
        check(&format!("00-{trace}-{span}-01"), Some((trace, span, true)));
        check(&format!(" 00-{trace}-{span}-00 "), Some((trace, span, false)));
        check(&format!("00-{trace}-{span}-03"), Some((trace, span, true)));
        check(&format!("cc-{trace}-{span}-01-what-comes-later"), Some((trace, span, true)));
        check(&format!("00-{trace}-{span}-01-x"), None);
        check(&format!("ff-{trace}-{span}-01"), None);
        check(&format!("00-{}-{span}-01", "0".repeat(32)), None);
        check(&format!("00-{trace}-{}-01", "0".repeat(16)), None);
        check(&format!("00-{}-{span}-01", trace.to_uppercase()), None);
        check(&format!("00-{trace}-{span}"), None);
        check(&format!("0-{trace}-{span}-01"), None);
        check(&format!("00-{trace}é-{span}-01"), None);
        check("", None);
    }
}

//! Where a span belongs: W3C Trace Context, as callers send it in `traceparent`.
//!
//! ```text
//! traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01
//!              │  trace id                         span id          flags: 01 is sampled
//!              version
//! ```
//!
//! What systems of others note in `tracestate` goes on as it came, to spans and back ends, and is never looked into.
//!
//! Invariant: no id is all zeros, and of what a caller sends only hexadecimal digits and a bounded, printable `tracestate` go anywhere.

use std::fmt;
use std::sync::Arc;

use http::{HeaderName, HeaderValue};
use omnivox_auth::secret::hex;

/// Bytes of a trace's id.
pub type TraceId = [u8; 16];
/// Bytes of a span's id.
pub type SpanId = [u8; 8];

/// The longest `tracestate` that goes on: what the standard asks everybody to take at least.
const STATE_BYTES_MAX: usize = 512;
/// The most members that it may have, by the standard.
const STATE_MEMBERS_MAX: usize = 32;

/// A span of a trace, ours or a caller's. `Display` is its `traceparent`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Context {
    /// The trace.
    pub trace: TraceId,
    /// The span.
    pub span: SpanId,
    /// Whether the trace is made.
    pub sampled: bool,
    /// `tracestate`, if whoever began the trace sent one.
    pub state: Option<Arc<str>>,
}

impl Context {
    /// Reads `traceparent`. A version that is not known yet is read as far as it agrees with the first, as the standard asks for.
    pub fn parse(text: &str) -> Option<Self> {
        let mut fields = text.trim().split('-');
        let version = unhex::<1>(fields.next()?)?[0];
        let trace = unhex::<16>(fields.next()?)?;
        let span = unhex::<8>(fields.next()?)?;
        let flags = unhex::<1>(fields.next()?)?[0];
        let known = match version {
            0 => fields.next().is_none(),
            0xff => false,
            _ => true,
        };
        (known && trace != [0; 16] && span != [0; 8]).then_some(Self { trace, span, sampled: flags & 1 == 1, state: None })
    }

    /// With the `tracestate` that came with it, in one header or several. One that is no `tracestate`, or too long, is left behind, as the standard
    /// has it.
    #[must_use]
    pub fn with_state<'a>(mut self, lines: impl Iterator<Item = &'a [u8]>) -> Self {
        let lines: Vec<&[u8]> = lines.map(<[u8]>::trim_ascii).filter(|line| !line.is_empty()).collect();
        self.state = String::from_utf8(lines.join(&b","[..])).ok().filter(|text| is_state(text)).map(Arc::from);
        self
    }

    /// The headers by which a request says that it is a part of this span.
    pub fn headers(&self) -> impl Iterator<Item = (HeaderName, HeaderValue)> {
        let header = |name, text: &str| Some((HeaderName::from_static(name), HeaderValue::from_str(text).ok()?));
        let state = self.state.as_deref().and_then(|state| header("tracestate", state));
        header("traceparent", &self.to_string()).into_iter().chain(state)
    }
}

impl fmt::Display for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{}-{}-{:02x}", hex(&self.trace), hex(&self.span), u8::from(self.sampled))
    }
}

/// Whether it is a list of `key=value` that may stand in a header.
fn is_state(text: &str) -> bool {
    let members = || text.split(',').map(str::trim_ascii).filter(|member| !member.is_empty());
    let printable = text.bytes().all(|byte| matches!(byte, b' '..=b'~' | b'\t'));
    let whole = members().all(|member| member.split_once('=').is_some_and(|(key, value)| !key.is_empty() && !value.is_empty()));
    text.len() <= STATE_BYTES_MAX && printable && whole && (1..=STATE_MEMBERS_MAX).contains(&members().count())
}

/// So many bytes, from hexadecimal digits in lower case.
fn unhex<const BYTES: usize>(text: &str) -> Option<[u8; BYTES]> {
    if text.len() != 2 * BYTES || !text.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f')) {
        return None;
    }
    let mut bytes = [0; BYTES];
    for (byte, digits) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_traceparent_is_read_as_the_standard_says() {
        let check = |text: &str, expected: Option<(&str, &str, bool)>| {
            let found = Context::parse(text).map(|context| (hex(&context.trace), hex(&context.span), context.sampled));
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

    #[test]
    fn a_context_goes_on_in_the_headers_of_a_request() {
        let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let check = |parent: &str, state: &[&str], expected: &[(&str, &str)]| {
            let context = Context::parse(parent).expect("it is one").with_state(state.iter().map(|line| line.as_bytes()));
            let headers: Vec<_> = context.headers().map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned())).collect();
            let expected: Vec<_> = expected.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
            assert_eq!(headers, expected, "{state:?}");
        };
        let alone = [("traceparent", parent)];
        check(parent, &[], &alone);
        check(&parent.replace("-01", "-00"), &[], &[("traceparent", &parent.replace("-01", "-00"))]);
        check(&parent.replace("00-4b", "cc-4b"), &[], &alone);
        check(parent, &["rojo=00f067aa0ba902b7,congo=t61rcWkgMzE"], &[alone[0], ("tracestate", "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE")]);
        check(parent, &[" a=1", "b=2 , c=3"], &[alone[0], ("tracestate", "a=1,b=2 , c=3")]);
        check(parent, &["a=\u{e9}"], &alone);
        check(parent, &["a=1\u{7f}"], &alone);
        check(parent, &["a"], &alone);
        check(parent, &["=1"], &alone);
        check(parent, &["", " "], &alone);
        check(parent, &[&format!("a={}", "x".repeat(511))], &alone);
        check(parent, &[&vec!["a=1"; 33].join(",")], &alone);
    }
}

//! URLs as URL patterns see them: split into components and written in one way.
//!
//! It is the part of the URL standard that channel names need: scheme, host in ASCII, port, path without dot segments, query, fragment;
//! credentials are dropped. A name that is no URL, even as a relative one, has no components and no URL pattern matches it.

use std::fmt::Write as _;
use std::sync::Arc;

/// Stands between the components of a [`Url::subject`]; no component holds it.
pub(super) const SEPARATOR: u8 = 0;

/// The components of a URL.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Url {
    pub(super) protocol: String,
    pub(super) hostname: String,
    pub(super) port: String,
    pub(super) pathname: String,
    pub(super) search: String,
    pub(super) hash: String,
    /// The path is one text and not segments: `urn:isbn:1`.
    opaque: bool,
}

/// What relative names and relative patterns stand below: the URL of the place where they are spoken of.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Base(Arc<Url>);

impl Base {
    /// Parses an absolute URL with a path of segments.
    pub fn parse(text: &str) -> Option<Self> {
        Url::parse(text, None).filter(|url| !url.opaque).map(|url| Self(Arc::new(url)))
    }

    /// The path of the URL that a name is, without dot segments and with escapes only where they are needed.
    pub fn path(&self, name: &str) -> Option<String> {
        let url = Url::parse(name, Some(&self.0))?;
        let mut path = String::with_capacity(url.pathname.len());
        let mut rest = url.pathname.as_str();
        while let Some(at) = rest.find('%') {
            let escape = rest.get(at + 1..at + 3).and_then(|digits| u8::from_str_radix(digits, 16).ok());
            let plain = escape.filter(|byte| byte.is_ascii_alphanumeric() || b"-._~".contains(byte));
            path.push_str(&rest[..at]);
            path.push(plain.map_or('%', char::from));
            rest = &rest[at + if plain.is_some() { 3 } else { 1 }..];
        }
        path.push_str(rest);
        Some(without_dots(&path))
    }

    pub(super) fn url(&self) -> &Url {
        &self.0
    }

    /// The components of a name, joined, if it is a URL.
    pub(super) fn subject(&self, name: &str) -> Option<Box<[u8]>> {
        Url::parse(name, Some(&self.0)).map(|url| url.subject())
    }
}

impl Default for Base {
    /// A place without a name: relative names and patterns meet there, and nothing else is there.
    fn default() -> Self {
        let url = Url { protocol: "https".into(), hostname: "localhost".into(), pathname: "/.well-known/mercure".into(), ..Url::default() };
        Self(Arc::new(url))
    }
}

impl Url {
    pub(super) fn parse(text: &str, base: Option<&Self>) -> Option<Self> {
        if text.bytes().any(|byte| byte < 0x20) {
            return None;
        }
        let text = text.trim_matches(' ');
        let (text, hash) = text.split_once('#').map_or((text, ""), |(text, hash)| (text, hash));
        let (front, search) = text.split_once('?').map_or((text, None), |(front, search)| (front, Some(search)));
        let mut url = match scheme(front) {
            Some((scheme, rest)) => Self::absolute(&scheme.to_ascii_lowercase(), rest)?,
            None => Self::relative(front, search.is_some(), base?)?,
        };
        if let Some(search) = search {
            url.search = encoded(search, b" \"#<>'");
        }
        url.hash = encoded(hash, b" \"<>`");
        Some(url)
    }

    fn absolute(scheme: &str, rest: &str) -> Option<Self> {
        let mut url = Self { protocol: scheme.to_owned(), ..Self::default() };
        if is_special(scheme) {
            url.locate(rest.trim_start_matches(['/', '\\']))?;
        } else if let Some(behind) = rest.strip_prefix("//") {
            url.locate(behind)?;
        } else if rest.starts_with('/') {
            url.pathname = without_dots(rest);
        } else {
            url.opaque = true;
            url.pathname = encoded(rest, b"");
        }
        Some(url)
    }

    fn relative(path: &str, has_search: bool, base: &Self) -> Option<Self> {
        if base.opaque {
            return None;
        }
        let mut url = Self { hash: String::new(), ..base.clone() };
        if path.is_empty() {
            if has_search {
                url.search.clear();
            }
            return Some(url);
        }
        url.search.clear();
        if let Some(behind) = path.strip_prefix("//") {
            url.locate(behind)?;
        } else if path.starts_with(['/', '\\']) {
            url.pathname = without_dots(path);
        } else {
            let folder = &base.pathname[..base.pathname.rfind('/').map_or(0, |at| at + 1)];
            url.pathname = without_dots(&format!("{folder}{path}"));
        }
        Some(url)
    }

    /// Reads host, port and path.
    fn locate(&mut self, text: &str) -> Option<()> {
        let end = text.find(['/', '\\']).unwrap_or(text.len());
        let (authority, path) = text.split_at(end);
        let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
        let (host, port) = match host.rsplit_once(':') {
            Some((host, port)) if !port.contains(']') => (host, port),
            _ => (host, ""),
        };
        let special = is_special(&self.protocol);
        if special && host.is_empty() && self.protocol != "file" {
            return None;
        }
        let forbidden = |byte: u8| !byte.is_ascii_graphic() || b"#/<>?@\\^|%".contains(&byte);
        if host.bytes().any(forbidden) || !port.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        self.hostname = host.to_ascii_lowercase();
        self.port = match port {
            "" => String::new(),
            digits => Some(digits.parse::<u16>().ok()?)
                .filter(|port| Some(*port) != default_port(&self.protocol))
                .map(|port| port.to_string())
                .unwrap_or_default(),
        };
        self.pathname = if path.is_empty() && !special { String::new() } else { without_dots(path) };
        Some(())
    }

    /// The components in a row.
    fn subject(&self) -> Box<[u8]> {
        let parts = [&self.protocol, &self.hostname, &self.port, &self.pathname, &self.search, &self.hash];
        parts.map(|part| part.as_bytes()).join(&SEPARATOR).into()
    }
}

/// Where the path ends in a subject.
pub(super) fn path_end(subject: &[u8]) -> usize {
    let mut separators = subject.iter().enumerate().filter(|(_, byte)| **byte == SEPARATOR);
    separators.nth(3).map_or(subject.len(), |(at, _)| at)
}

pub(super) fn is_special(scheme: &str) -> bool {
    SPECIAL.iter().any(|(known, _)| *known == scheme)
}

pub(super) fn default_port(scheme: &str) -> Option<u16> {
    SPECIAL.iter().find(|(known, _)| *known == scheme).and_then(|(_, port)| *port)
}

/// The schemes with hosts and default ports.
pub(super) const SPECIAL: [(&str, Option<u16>); 6] =
    [("https", Some(443)), ("http", Some(80)), ("wss", Some(443)), ("ws", Some(80)), ("ftp", Some(21)), ("file", None)];

fn scheme(text: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = text.split_once(':')?;
    let good = scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
    (good && scheme.starts_with(|first: char| first.is_ascii_alphabetic())).then_some((scheme, rest))
}

/// A path with its dot segments resolved.
fn without_dots(path: &str) -> String {
    let path = path.strip_prefix(['/', '\\']).unwrap_or(path);
    let mut kept: Vec<&str> = Vec::new();
    let segments: Vec<&str> = path.split(['/', '\\']).collect();
    for (at, segment) in segments.iter().enumerate() {
        let last = at + 1 == segments.len();
        let plain = segment.to_ascii_lowercase().replace("%2e", ".");
        match plain.as_str() {
            "." | ".." => {
                if plain == ".." {
                    kept.pop();
                }
                if last {
                    kept.push("");
                }
            }
            _ => kept.push(segment),
        }
    }
    kept.iter().fold(String::new(), |mut path, segment| {
        path.push('/');
        path.push_str(&encoded(segment, b" \"<>`{}^"));
        path
    })
}

/// The text with these bytes, controls and everything beyond ASCII percent-encoded.
pub(super) fn encoded(text: &str, also: &[u8]) -> String {
    text.bytes().fold(String::with_capacity(text.len()), |mut encoded, byte| {
        if !(0x20..=0x7e).contains(&byte) || also.contains(&byte) {
            let _ = write!(encoded, "%{byte:02X}");
        } else {
            encoded.push(char::from(byte));
        }
        encoded
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_split_and_written_in_one_way() {
        let base = Base::parse("https://Hub.example:443/.well-known/mercure?x").unwrap();
        for (name, expected) in [
            ("https://example.com/a", Some("https|example.com||/a||")),
            ("HTTPS://EXAMPLE.com:443/A/./b/../c?q=1#f", Some("https|example.com||/A/c|q=1|f")),
            ("http://u:p@example.com:8080", Some("http|example.com|8080|/||")),
            ("/books/1", Some("https|hub.example||/books/1||")),
            ("foo", Some("https|hub.example||/.well-known/foo||")),
            ("?q", Some("https|hub.example||/.well-known/mercure|q|")),
            ("", Some("https|hub.example||/.well-known/mercure|x|")),
            ("//other/x", Some("https|other||/x||")),
            ("urn:uuid:1", Some("urn|||uuid:1||")),
            ("https://example.com/ü b", Some("https|example.com||/%C3%BC%20b||")),
            ("https://[::1]:9/%2e%2E/", Some("https|[::1]|9|/||")),
            ("https://ex ample/", None),
            ("https://example.com:99999/", None),
            ("https:///", None),
            ("a\nb", None),
        ] {
            let subject = base.subject(name).map(|subject| String::from_utf8_lossy(&subject).replace('\0', "|"));
            assert_eq!(subject.as_deref(), expected, "{name}");
        }
        assert_eq!((Base::parse("/x"), Base::parse("urn:a")), (None, None));
    }
}

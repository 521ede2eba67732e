//! Where the server is: the `--url` of the client commands, parsed once.

use std::fmt;

/// A server's address with an optional path in front of its API: `https://example.com/realtime`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    /// Whether the connection is encrypted.
    pub(crate) tls: bool,
    /// Name or address, an IPv6 address without its brackets.
    pub(crate) host: String,
    /// The port.
    pub(crate) port: u16,
    /// What stands before every path, without a slash at its end.
    base: String,
}

impl Target {
    /// Parses `http`, `https`, `ws` or `wss` URLs; without a scheme it is `http`.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let (scheme, rest) = text.split_once("://").unwrap_or(("http", text));
        let tls = match scheme {
            "http" | "ws" => false,
            "https" | "wss" => true,
            other => return Err(format!("{other}:// is not http, https, ws or wss")),
        };
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        if authority.contains('@') {
            return Err("a URL does not carry credentials here; give them with --token".to_owned());
        }
        if path.contains(['?', '#']) || authority.contains(['?', '#']) {
            return Err("the URL of a server has no query and no fragment".to_owned());
        }
        if text.chars().any(|character| character.is_whitespace() || character.is_control()) {
            return Err("a URL has no spaces and no control characters".to_owned());
        }
        let (host, port) = split_port(authority)?;
        let port = port.unwrap_or(if tls { 443 } else { 80 });
        Ok(Self { tls, host: host.to_owned(), port, base: path.trim_end_matches('/').to_owned() })
    }

    /// The `Host` header: the port only where it is not the scheme's own.
    pub(crate) fn authority(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        let usual = if self.tls { 443 } else { 80 };
        if self.port == usual { host } else { format!("{host}:{}", self.port) }
    }

    /// The request target of a path of the API with its query.
    pub(crate) fn path(&self, path: &str, query: &[(&str, &str)]) -> String {
        let mut out = format!("{}{path}", self.base);
        for (index, (key, value)) in query.iter().enumerate() {
            out.push(if index == 0 { '?' } else { '&' });
            out.push_str(key);
            out.push('=');
            percent_encode(value, &mut out);
        }
        out
    }
}

/// Splits `host:port`, where an IPv6 host stands in brackets.
fn split_port(authority: &str) -> Result<(&str, Option<u16>), String> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (host, after) = rest.split_once(']').ok_or("an IPv6 address ends with `]`")?;
            (host, after.strip_prefix(':').or_else(|| (!after.is_empty()).then_some("?")))
        }
        None => match authority.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        },
    };
    if host.is_empty() {
        return Err("the URL names no host".to_owned());
    }
    let port = port.map(|port| port.parse().map_err(|_| format!("{port:?} is not a port"))).transpose()?;
    Ok((host, port))
}

/// Appends a query value; everything but unreserved characters is escaped.
fn percent_encode(value: &str, out: &mut String) {
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "https" } else { "http" };
        write!(formatter, "{scheme}://{}{}", self.authority(), self.base)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read_as_people_write_them() {
        let check = |text: &str, normal: &str, host: &str, port: u16| {
            let target = Target::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!((target.to_string().as_str(), target.host.as_str(), target.port), (normal, host, port));
        };
        check("http://127.0.0.1:8080", "http://127.0.0.1:8080", "127.0.0.1", 8080);
        check("localhost:9", "http://localhost:9", "localhost", 9);
        check("wss://example.com/rt/", "https://example.com/rt", "example.com", 443);
        check("https://example.com:8443", "https://example.com:8443", "example.com", 8443);
        check("http://[::1]:8080", "http://[::1]:8080", "::1", 8080);
        check("http://[::1]", "http://[::1]", "::1", 80);
    }

    #[test]
    fn wrong_urls_say_why() {
        let check = |text: &str, part: &str| {
            let error = Target::parse(text).expect_err(text);
            assert!(error.contains(part), "{text}: {error}");
        };
        check("ftp://a", "ftp:// is not http");
        check("http://", "no host");
        check("http://a:b", "\"b\" is not a port");
        check("http://a:70000", "not a port");
        check("http://[::1", "ends with `]`");
        check("http://[::1]x", "not a port");
        check("http://user:pass@host", "--token");
        check("http://a/?x=1", "no query");
        check("http://a?x=1", "no query");
        check("http://a b", "no spaces");
        check("http://a/\r\nX: y", "no spaces");
    }

    #[test]
    fn paths_escape_what_a_query_cannot_hold() {
        let target = Target::parse("http://h/base").expect("a URL");
        assert_eq!(target.path("/v1/sse", &[("channel", "a b&c"), ("channel", "ü")]), "/base/v1/sse?channel=a%20b%26c&channel=%C3%BC");
    }
}

//! URLs of back ends: `http` or `https`, a host, perhaps a port, path and query; nothing else.

use std::fmt;
use std::str::FromStr;

use http::Uri;

/// The longest URL.
const BYTES_MAX: usize = 2048;

/// The URL of a back end. What is behind the `?` never appears in `Debug` or `Display`: some put secrets there.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Url {
    origin: Origin,
    target: Box<str>,
}

/// Scheme, host and port.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Origin {
    pub tls: bool,
    /// In small letters, an IPv6 address without its brackets.
    pub host: Box<str>,
    pub port: u16,
}

/// Why a text is no URL of a back end.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0}; write `https://host/path` or `http://host:port/path`")]
pub struct InvalidUrl(&'static str);

impl Url {
    /// Reads a URL.
    pub fn parse(text: &str) -> Result<Self, InvalidUrl> {
        if text.len() > BYTES_MAX {
            return Err(InvalidUrl("the URL is longer than 2048 bytes"));
        }
        if text.contains('#') {
            return Err(InvalidUrl("the URL has a fragment (`#`), which is never sent"));
        }
        let uri: Uri = text.parse().map_err(|_| InvalidUrl("this is no URL"))?;
        let tls = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            Some(_) => return Err(InvalidUrl("the scheme is neither `http` nor `https`")),
            None => return Err(InvalidUrl("the URL has no scheme")),
        };
        let authority = uri.authority().ok_or(InvalidUrl("the URL has no host"))?;
        if authority.as_str().contains('@') {
            return Err(InvalidUrl("the URL has a user name or password; requests are signed instead"));
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
        if host.is_empty() {
            return Err(InvalidUrl("the URL has no host"));
        }
        let port = match authority.as_str()[authority.host().len()..].strip_prefix(':').map(str::parse) {
            None if tls => 443,
            None => 80,
            Some(Ok(0)) => return Err(InvalidUrl("port 0 can't be connected to")),
            Some(Ok(port)) => port,
            Some(Err(_)) => return Err(InvalidUrl("the port is no number up to 65535")),
        };
        let target = uri.path_and_query().map_or("/", |target| target.as_str());
        let target = if target.starts_with('/') { target.into() } else { format!("/{target}").into() };
        Ok(Self { origin: Origin { tls, host: host.into(), port }, target })
    }

    /// The host.
    pub fn host(&self) -> &str {
        &self.origin.host
    }

    /// The port, that of the scheme when it names none.
    pub fn port(&self) -> u16 {
        self.origin.port
    }

    /// Path and query, as they are sent.
    pub fn target(&self) -> &str {
        &self.target
    }

    pub(crate) fn origin(&self) -> Origin {
        self.origin.clone()
    }

    /// What the `Host` header says.
    pub(crate) fn authority(&self) -> String {
        let Origin { tls, host, port } = &self.origin;
        let host = if host.contains(':') { format!("[{host}]") } else { host.to_string() };
        if *port == if *tls { 443 } else { 80 } { host } else { format!("{host}:{port}") }
    }
}

impl FromStr for Url {
    type Err = InvalidUrl;

    fn from_str(text: &str) -> Result<Self, InvalidUrl> {
        Self::parse(text)
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.origin.tls { "https" } else { "http" };
        let (path, query) = self.target.split_once('?').map_or((&*self.target, ""), |(path, _)| (path, "?…"));
        write!(f, "{scheme}://{}{path}{query}", self.authority())
    }
}

impl fmt::Debug for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_urls_of_back_ends_are_read() {
        let check = |text: &str, expected: &str| {
            let found = Url::parse(text).map_or_else(|error| error.to_string(), |url| format!("{url} {}", url.target()));
            assert!(found.starts_with(expected), "{text}: {found}");
        };
        check("https://Example.com", "https://example.com/ /");
        check("https://example.com:443/a", "https://example.com/a /a");
        check("http://example.com:443/a", "http://example.com:443/a /a");
        check("http://example.com?key=secret", "http://example.com/?… /?key=secret");
        check("http://[::1]:8080/x?y", "http://[::1]:8080/x?… /x?y");
        check("http://127.0.0.1:9/", "http://127.0.0.1:9/ /");
        check("ftp://example.com/", "the scheme is neither");
        check("unix:/run/x", "");
        check("/path", "the URL has no scheme");
        check("http://", "this is no URL");
        check("http://a b/", "this is no URL");
        check("http://u:p@example.com/", "the URL has a user name");
        check("http://example.com/#x", "the URL has a fragment");
        check("http://example.com:0/", "port 0");
        check("http://example.com:70000/", "the port is no number");
        check("http://exämple.com/", "this is no URL");
        check(&format!("http://example.com/{}", "x".repeat(3000)), "the URL is longer");
    }
}

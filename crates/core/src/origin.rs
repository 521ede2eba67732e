//! Where web pages come from: which may come, and which may read the answers to their scripts.
//!
//! ```
//! use omnivox_core::origin::{Origins, Reader};
//! let origins = Origins::new(vec!["https://*.example.com".to_owned()]);
//! assert_eq!(origins.reader("https://shop.example.com"), Some(Reader::Page));
//! origins.replace(vec!["*".to_owned()]);
//! assert_eq!(origins.reader("https://any.test"), Some(Reader::Anyone));
//! ```
//!
//! Invariant: the origin `null` is never let in by a wildcard; pages without an origin of their own share it.

use std::sync::{Arc, PoisonError, RwLock};

/// Whether a page of `origin` is let in by a list of exact origins, `https://*.example.com`, or `*`.
pub fn lets_in(settings: &[String], origin: &str) -> bool {
    if origin == "null" {
        return settings.iter().any(|setting| setting == "null");
    }
    Origin::parse(origin).is_some_and(|page| settings.iter().any(|setting| page.matches(setting)))
}

/// The pages that may read answers. Clones are the same list, so that all protocols follow a reload at once.
#[derive(Clone, Debug, Default)]
pub struct Origins(Arc<RwLock<Arc<[String]>>>);

/// As whom a page may read an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reader {
    /// As any page: without credentials that the browser adds.
    Anyone,
    /// As itself, with credentials.
    Page,
}

impl PartialEq for Origins {
    fn eq(&self, other: &Self) -> bool {
        self.list() == other.list()
    }
}

impl Origins {
    /// A list.
    pub fn new(list: Vec<String>) -> Self {
        Self(Arc::new(RwLock::new(list.into())))
    }

    /// Another list from now on, for all clones.
    pub fn replace(&self, list: Vec<String>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = list.into();
    }

    /// What is in the list.
    pub fn list(&self) -> Arc<[String]> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether the page may read, and as whom.
    pub fn reader(&self, origin: &str) -> Option<Reader> {
        let list = self.list();
        let named = list.iter().any(|setting| setting != "*" && lets_in(std::slice::from_ref(setting), origin));
        let anyone = || list.iter().any(|setting| setting == "*").then_some(Reader::Anyone);
        if named { Some(Reader::Page) } else { anyone() }
    }
}

/// `scheme://authority`, nothing behind it.
#[derive(Clone, Copy, Debug)]
pub struct Origin<'a> {
    text: &'a str,
    scheme: &'a str,
    authority: &'a str,
}

impl<'a> Origin<'a> {
    /// Reads one; nothing may stand behind the authority, and no user before it.
    pub fn parse(text: &'a str) -> Option<Self> {
        let (scheme, authority) = text.split_once("://")?;
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~:[]".contains(&byte);
        let scheme_is_one = !scheme.is_empty() && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
        (scheme_is_one && !authority.is_empty() && authority.len() <= 300 && authority.bytes().all(plain)).then_some(Self {
            text,
            scheme,
            authority,
        })
    }

    /// As it was written.
    pub fn text(&self) -> &'a str {
        self.text
    }

    /// The origin of a whole address. User information in it is refused, as the host is then easily mistaken.
    pub fn of_url(url: &'a str) -> Option<Self> {
        let start = url.find("://")? + 3;
        let end = url[start..].find(['/', '?', '#']).map_or(url.len(), |end| start + end);
        Self::parse(&url[..end])
    }

    /// Whether a setting means it: an exact origin, `https://*.example.com`, or `*`.
    pub fn matches(&self, setting: &str) -> bool {
        if setting == "*" {
            return true;
        }
        let Some((scheme, authority)) = setting.trim_end_matches('/').split_once("://") else { return false };
        if !scheme.eq_ignore_ascii_case(self.scheme) {
            return false;
        }
        let (page, authority) = (without_default_port(self.scheme, self.authority), without_default_port(scheme, authority));
        match authority.strip_prefix("*.") {
            None => page.eq_ignore_ascii_case(authority),
            Some(parent) => page.len().checked_sub(parent.len() + 1).is_some_and(|at| {
                at > 0 && page.as_bytes()[at] == b'.' && page.is_char_boundary(at + 1) && page[at + 1..].eq_ignore_ascii_case(parent)
            }),
        }
    }

    /// Whether the page comes from the very host that it asks.
    pub fn is_at(&self, host: &str, secure: bool) -> bool {
        let trusted = self.scheme == "https" || (self.scheme == "http" && !secure);
        trusted && without_default_port(self.scheme, self.authority).eq_ignore_ascii_case(without_default_port(self.scheme, host))
    }
}

fn without_default_port<'a>(scheme: &str, authority: &'a str) -> &'a str {
    let port = if scheme.eq_ignore_ascii_case("https") { ":443" } else { ":80" };
    authority.strip_suffix(port).unwrap_or(authority)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_read_as_themselves_where_they_are_named() {
        let check = |settings: &str, origin: &str, expected| {
            let origins = Origins::new(settings.split_whitespace().map(str::to_owned).collect());
            assert_eq!(origins.reader(origin), expected, "{settings} {origin}");
        };
        check("", "https://a.test", None);
        check("https://a.test", "https://A.test", Some(Reader::Page));
        check("https://a.test", "https://a.test:443", Some(Reader::Page));
        check("https://a.test", "http://a.test", None);
        check("https://*.a.test", "https://b.a.test", Some(Reader::Page));
        check("https://*.a.test", "https://a.test", None);
        check("* https://a.test", "https://a.test", Some(Reader::Page));
        check("* https://a.test", "https://b.test", Some(Reader::Anyone));
        check("*", "null", Some(Reader::Anyone));
        check("null", "null", Some(Reader::Page));
        check("https://a.test", "null", None);
    }

    #[test]
    fn clones_follow() {
        let origins = Origins::default();
        let clone = origins.clone();
        origins.replace(vec!["https://a.test".to_owned()]);
        assert_eq!(clone.reader("https://a.test"), Some(Reader::Page));
    }
}

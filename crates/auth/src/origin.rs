//! Which web pages may come, and when a cookie counts.
//!
//! A browser sends cookies with requests that *any* page makes, so a cookie alone proves nothing about who asks. It counts only together
//! with a sign of the page: `Origin`, else `Referer`, else `Sec-Fetch-Site: same-origin`.
//!
//! ```
//! use omnivox_auth::origin::allowed;
//! let settings = ["https://example.com".to_owned(), "https://*.example.com".to_owned()];
//! assert!(allowed(&settings, "https://shop.example.com").is_ok());
//! assert!(allowed(&settings, "https://example.com.evil.test").is_err());
//! ```
//!
//! Invariant: the origin `null` is never allowed by a wildcard; pages without an origin of their own share it.

use omnivox_core::origin::Origin;

use crate::error::{AuthError, quoted};

/// Whether a page of `origin` may come, by the app's `allowed_origins`: exact origins, `https://*.example.com`, or `*`.
pub fn allowed(settings: &[String], origin: &str) -> Result<(), AuthError> {
    if omnivox_core::origin::lets_in(settings, origin) { Ok(()) } else { Err(AuthError::Origin(quoted(origin))) }
}

/// What a request says of the page that made it.
#[derive(Clone, Copy, Debug, Default)]
pub struct PageSigns<'a> {
    /// `Origin`.
    pub origin: Option<&'a str>,
    /// `Referer`.
    pub referer: Option<&'a str>,
    /// `Sec-Fetch-Site`.
    pub fetch_site: Option<&'a str>,
    /// `Host`, as the front door believes it.
    pub host: Option<&'a str>,
    /// Whether the request came over TLS. Then the server's own page must have, too: anyone on the way can write a page without.
    pub secure: bool,
}

/// Whether the cookie of a request counts as a credential. `*` in the settings is not enough here: any page could then act for the user.
pub fn cookie_counts(settings: &[String], signs: &PageSigns<'_>) -> Result<(), AuthError> {
    let page = match (signs.origin, signs.referer) {
        (Some(origin), _) => Origin::parse(origin).ok_or_else(|| AuthError::Origin(quoted(origin)))?,
        (None, Some(referer)) => Origin::of_url(referer).ok_or(AuthError::CookieWithoutOrigin)?,
        (None, None) if signs.fetch_site == Some("same-origin") => return Ok(()),
        (None, None) => return Err(AuthError::CookieWithoutOrigin),
    };
    let own = signs.host.is_some_and(|host| page.is_at(host, signs.secure));
    let listed = settings.iter().any(|setting| setting != "*" && page.matches(setting));
    if own || listed { Ok(()) } else { Err(AuthError::Origin(quoted(page.text()))) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(settings: &str) -> Vec<String> {
        settings.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn pages_come_from_listed_origins() {
        let check =
            |settings: &str, origin: &str, fine: bool| assert_eq!(allowed(&list(settings), origin).is_ok(), fine, "{settings} {origin}");
        check("https://a.test", "https://a.test", true);
        check("https://a.test/", "https://A.test:443", true);
        check("https://a.test:8443", "https://a.test:8443", true);
        check("https://a.test", "https://a.test:8443", false);
        check("https://a.test", "http://a.test", false);
        check("https://a.test", "https://a.test.evil.test", false);
        check("https://a.test", "https://evil.test/https://a.test", false);
        check("https://a.test", "https://a.test@evil.test", false);
        check("https://*.a.test", "https://b.a.test", true);
        check("https://*.a.test", "https://c.b.a.test", true);
        check("https://*.a.test", "https://a.test", false);
        check("https://*.a.test", "https://ba.test", false);
        check("https://*.a.test", "https://.a.test", false);
        check("https://*.a.test", "https://evil.test:a.test", false);
        check("*", "https://any.test", true);
        check("*", "null", false);
        check("* null", "null", true);
        check("*", "", false);
        check("*", "https://é.test", false);
        check("*", "https://", false);
        check("", "https://a.test", false);
        check("chrome-extension://abc", "chrome-extension://abc", true);
        check("capacitor://localhost", "capacitor://localhost", true);
    }

    #[test]
    fn a_cookie_counts_only_with_a_sign_of_its_page() {
        let check = |settings: &str, origin: &str, referer: &str, site: &str, fine: bool| {
            let sign = |text| Some(text).filter(|text: &&str| !text.is_empty());
            let signs =
                PageSigns { origin: sign(origin), referer: sign(referer), fetch_site: sign(site), host: Some("hub.test"), secure: true };
            assert_eq!(cookie_counts(&list(settings), &signs).is_ok(), fine, "{settings} {signs:?}");
        };
        check("https://a.test", "https://a.test", "", "cross-site", true);
        check("", "https://hub.test", "", "", true);
        check("", "https://hub.test:443", "", "", true);
        check("", "https://hub.test:444", "", "", false);
        check("", "http://hub.test", "", "", false);
        check("", "ftp://hub.test", "", "", false);
        check("*", "https://evil.test", "", "", false);
        check("*", "null", "", "same-origin", false);
        check("", "https://evil.test", "https://hub.test/", "same-origin", false);
        check("", "", "https://hub.test/page?x", "", true);
        check("", "", "https://evil.test/https://hub.test/", "", false);
        check("", "", "https://hub.test@evil.test/", "", false);
        check("", "", "https://hub.test", "", true);
        check("", "", "about:blank", "", false);
        check("", "", "", "same-origin", true);
        check("", "", "", "same-site", false);
        check("", "", "", "none", false);
        check("*", "", "", "", false);
        let plain = PageSigns { origin: Some("http://hub.test"), host: Some("hub.test:80"), ..PageSigns::default() };
        assert!(cookie_counts(&[], &plain).is_ok(), "a server without TLS has pages without");
    }
}

//! Who asks: the token of a header, of the query (first generation) or of a cookie, and which generation it speaks.
//!
//! The generation is read from the token before anybody verified it, so it decides only the manner of a refusal. The payload that others see of
//! a subscriber is read the same way, but used only once the hub has taken the token.
//!
//! Invariant: a header that is there but can't be read is an error and never "no credential"; a cookie publishes only from a page that may.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use omnivox_core::command::Connect;
use omnivox_core::{Command, Credential, Request};
use serde_json::Value;

use super::MercureSettings;
use super::form::Form;
use super::refusal::Refusal;

/// The cookie of the first generation.
const FIRST_COOKIE: &str = "mercureAuthorization";
/// The claim of the first generation, when it is namespaced.
const NAMESPACED_CLAIM: &str = "https://mercure.rocks/";
/// The type of the second generation's details.
const DETAIL_TYPE: &str = "https://mercure.rocks/authorization-detail";

/// Who asks.
#[derive(Clone, Debug)]
pub(super) struct Who {
    connect: Box<Connect>,
    first: bool,
}

impl Who {
    /// Reads the credential of a request.
    pub(super) fn of(request: &Request<'_>, form: &Form<'_>, settings: &MercureSettings) -> Result<Self, Refusal> {
        let token = match authorization(request)? {
            Some(token) => Some(token),
            None => match form.first("authorization") {
                Some(token) => Some(token.to_owned()),
                None => cookie(request, settings)?,
            },
        };
        let first = token.as_deref().is_none_or(|token| !speaks_second(token));
        let credential = token.map_or(Credential::Anonymous, |token| Credential::Token(token.into()));
        let header = |name| request.header(name).map(Into::into);
        Ok(Self { connect: Box::new(Connect { credential, host: header("host"), origin: header("origin") }), first })
    }

    pub(super) fn command(&self) -> Command {
        Command::Connect(self.connect.clone())
    }

    pub(super) fn is_anonymous(&self) -> bool {
        self.connect.credential == Credential::Anonymous
    }

    /// Whether the token is of the first generation.
    pub(super) fn is_first(&self) -> bool {
        self.first
    }

    /// What others see of a subscriber that asked for the selector, as JSON. Only for a token that was verified.
    pub(super) fn payload(&self, selector: &str) -> Option<String> {
        let Credential::Token(token) = &self.connect.credential else { return None };
        let claims = part(token, 1)?;
        let claim = claims.get(NAMESPACED_CLAIM).or_else(|| claims.get("mercure"));
        let second = claims.get("authorization_details").and_then(Value::as_array).into_iter().flatten().find_map(|detail| {
            let ours = detail.get("type").and_then(Value::as_str) == Some(DETAIL_TYPE);
            let lists = |name: &str, test: &dyn Fn(&Value) -> bool| {
                detail.get(name).and_then(Value::as_array).is_some_and(|values| values.iter().any(test))
            };
            let subscribes = lists("actions", &|action| action == "subscribe");
            let meant = lists("topics", &|topic| topic.get("match").is_some_and(|text| text == "*" || text == selector));
            detail.get("payload").filter(|_| ours && subscribes && meant)
        });
        let payload = second.or_else(|| claim?.get("payload")).filter(|payload| !payload.is_null())?;
        Some(payload.to_string())
    }
}

/// The token of the header, if there is one.
fn authorization(request: &Request<'_>) -> Result<Option<String>, Refusal> {
    let mut values = request.header_values("authorization");
    let Some(value) = values.next() else { return Ok(None) };
    let malformed = || Refusal::invalid_request("the Authorization header is not one `Bearer` token");
    if values.next().is_some() {
        return Err(malformed());
    }
    let text = std::str::from_utf8(value).map_err(|_| malformed())?;
    let (scheme, token) = text.trim().split_once(' ').ok_or_else(malformed)?;
    let token = token.trim();
    let good = scheme.eq_ignore_ascii_case("bearer") && !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic());
    if good { Ok(Some(token.to_owned())) } else { Err(malformed()) }
}

/// The token of a cookie, if there is one and the page may use it.
fn cookie(request: &Request<'_>, settings: &MercureSettings) -> Result<Option<String>, Refusal> {
    let cookie = |name| request.cookie(name).map_err(|several| Refusal::invalid_request(several.to_string()));
    let found = cookie(&settings.cookie_name)?.map_or_else(|| cookie(FIRST_COOKIE), |token| Ok(Some(token)))?;
    let Some(token) = found else { return Ok(None) };
    if request.method == "POST" && !may_publish(request, settings) {
        return Err(Refusal::invalid_request(
            "publishing with a cookie needs an `Origin` or `Referer` of this server or of `mercure.publish_origins`",
        ));
    }
    Ok(Some(token.to_owned()))
}

/// Whether the page that made the request may publish with a cookie: any page could make the browser send it.
fn may_publish(request: &Request<'_>, settings: &MercureSettings) -> bool {
    let page = request.header("origin").or_else(|| request.header("referer"));
    let Some(origin) = page.and_then(origin_of) else { return false };
    let scheme = if request.secure { "https" } else { "http" };
    let own = request.header("host").is_some_and(|host| origin.eq_ignore_ascii_case(&format!("{scheme}://{host}")));
    own || settings.public_origin.as_deref().is_some_and(|own| own.eq_ignore_ascii_case(origin))
        || settings.publish_origins.iter().any(|setting| covers(setting, origin))
}

/// The origin that a URL begins with.
fn origin_of(url: &str) -> Option<&str> {
    let host = url.find("://")? + 3;
    let end = url[host..].find(['/', '?', '#']).map_or(url.len(), |end| host + end);
    (end > host).then_some(&url[..end])
}

/// Whether a setting, which may have one `*` for one or more labels of the host, means the origin.
fn covers(setting: &str, origin: &str) -> bool {
    if setting == "*" {
        return true;
    }
    match setting.split_once('*') {
        None => setting.eq_ignore_ascii_case(origin),
        Some((before, behind)) => {
            let middle = origin.get(before.len()..origin.len().saturating_sub(behind.len())).unwrap_or_default();
            let ends = origin.get(..before.len()).is_some_and(|start| start.eq_ignore_ascii_case(before))
                && origin.get(origin.len().saturating_sub(behind.len())..).is_some_and(|end| end.eq_ignore_ascii_case(behind));
            ends && !middle.is_empty() && middle.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-.".contains(&byte))
        }
    }
}

/// Whether a token is an access token of the second generation, by its own account.
fn speaks_second(token: &str) -> bool {
    let typed = part(token, 0).and_then(|header| header.get("typ")?.as_str().map(str::to_ascii_lowercase));
    matches!(typed.as_deref(), Some("at+jwt" | "application/at+jwt"))
        || part(token, 1).is_some_and(|claims| claims.get("authorization_details").is_some())
}

/// The longest token that is looked into before it is verified.
const TOKEN_BYTES_MAX: usize = 16 << 10;

fn part(token: &str, index: usize) -> Option<Value> {
    let text = token.split('.').nth(index).filter(|_| token.len() <= TOKEN_BYTES_MAX)?;
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(text.trim_end_matches('=')).ok()?).ok()
}

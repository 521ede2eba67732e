//! The answer of a back end, read strictly: what is misspelt must not be taken for "no opinion".
//!
//! ```json
//! {"allow": false, "code": "forbidden", "reason": "the room is full"}
//! ```

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use omnivox_auth::claims::{Claims, permissions_named};
use omnivox_core::call::{Answer, Emit};
use omnivox_core::command::Denied;
use omnivox_core::grants::{Grant, Permissions};
use omnivox_core::{Payload, UserId};
use serde::Deserialize;
use serde_json::value::RawValue;

/// The longest reason that is shown to a client, in bytes.
const REASON_BYTES_MAX: usize = 500;
/// The longest that a hook may let somebody in for, in seconds: a year.
const EXPIRES_S_MAX: u64 = 366 * 24 * 3600;

/// What a back end says, whatever it was asked.
#[derive(Clone, Debug, Default)]
pub(crate) struct Verdict {
    /// Whether it may be done; `None` leaves that to the credential and the namespaces.
    pub allow: Option<bool>,
    /// The refusal when it may not.
    pub denied: Option<Denied>,
    /// Who comes.
    pub user: Option<UserId>,
    /// What others may see of the user: JSON.
    pub info: Option<Arc<str>>,
    /// For how many milliseconds the connection is let in.
    pub expires_in_ms: Option<u64>,
    /// What it may do.
    pub grants: Vec<Grant>,
    /// What the session may do with the channel that it subscribes to.
    pub permissions: Option<Permissions>,
    /// What is published instead.
    pub payload: Option<Payload>,
    /// Nothing is published, and the publisher is not told.
    pub drop: bool,
    /// What is to be done for a call.
    pub answer: Answer,
    /// When it was asked for, in milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// For how many milliseconds the same may be answered the same, when that is less than the setting allows.
    pub cache_ms: Option<u64>,
}

/// The members of an answer.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct Written {
    allow: Option<bool>,
    code: Option<String>,
    reason: Option<String>,
    user: Option<String>,
    info: Option<Box<RawValue>>,
    expires_in_s: Option<u64>,
    channels: Option<Box<RawValue>>,
    permissions: Option<Vec<Box<str>>>,
    data: Option<Box<RawValue>>,
    text: Option<String>,
    base64: Option<String>,
    drop: bool,
    result: Option<Box<RawValue>>,
    ack: Option<Vec<Box<RawValue>>>,
    emits: Vec<WrittenEmit>,
    join: Vec<Box<str>>,
    leave: Vec<Box<str>>,
    disconnect: bool,
    cache_ms: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenEmit {
    #[serde(default)]
    to: Vec<Box<str>>,
    #[serde(default)]
    users: Vec<String>,
    #[serde(default)]
    except_caller: bool,
    event: String,
    #[serde(default)]
    data: Option<Box<RawValue>>,
    #[serde(default)]
    args: Option<Vec<Box<RawValue>>>,
}

impl Verdict {
    /// Reads an answer's body; an empty one has no opinion. The error says what is wrong with it, for the operator.
    pub(crate) fn parse(body: &[u8]) -> Result<Self, String> {
        if body.trim_ascii().is_empty() {
            return Ok(Self::default());
        }
        // The reader would take a list for the fields in their order.
        if !body.trim_ascii_start().starts_with(b"{") {
            return Err("it is no JSON object".to_owned());
        }
        let written: Written = serde_json::from_slice(body).map_err(|error| error.to_string())?;
        let payload = payload(written.data.as_deref(), written.text, written.base64.as_deref())?;
        let denied = (written.allow == Some(false)).then(|| refusal(written.code.as_deref(), written.reason)).transpose()?;
        if written.expires_in_s.is_some_and(|seconds| seconds == 0 || seconds > EXPIRES_S_MAX) {
            return Err(format!("`expires_in_s` is not between 1 and {EXPIRES_S_MAX}"));
        }
        let gives = written.user.is_some() || written.info.is_some() || written.channels.is_some() || written.permissions.is_some();
        if (gives || written.expires_in_s.is_some()) && written.allow != Some(true) {
            return Err("`user`, `info`, `channels`, `permissions` and `expires_in_s` come with `\"allow\": true`".to_owned());
        }
        let user =
            written.user.filter(|user| !user.is_empty()).map(|user| UserId::parse(&user).map_err(|error| format!("`user`: {error}")));
        let (grants, info) = claimed(written.channels.as_deref(), written.info.as_deref())?;
        let permissions = written.permissions.as_deref().map(permissions_named).transpose();
        let permissions = permissions.map_err(|name| format!("`permissions` has {name:?}, which is none"))?;
        let arguments = match (written.ack, written.result) {
            (Some(_), Some(_)) => return Err("it has both `result` and `ack`".to_owned()),
            (Some(values), None) => Some(values.iter().map(|value| bytes(value)).collect()),
            (None, result) => result.map(|value| std::iter::once(bytes(&value)).collect()),
        };
        let emits = written.emits.into_iter().map(emit).collect::<Result<_, _>>()?;
        let answer = Answer { arguments, emits, join: written.join, leave: written.leave, disconnect: written.disconnect };
        Ok(Self {
            allow: written.allow,
            denied,
            user: user.transpose()?,
            info,
            expires_in_ms: written.expires_in_s.map(|seconds| seconds * 1000),
            grants,
            permissions,
            payload,
            drop: written.drop,
            answer,
            at_ms: 0,
            cache_ms: written.cache_ms,
        })
    }
}

fn bytes(value: &RawValue) -> Bytes {
    Bytes::copy_from_slice(value.get().as_bytes())
}

fn payload(data: Option<&RawValue>, text: Option<String>, base64: Option<&str>) -> Result<Option<Payload>, String> {
    let base64 = base64.map(|text| STANDARD.decode(text).map_err(|_| "`base64` is no base64".to_owned())).transpose()?;
    match (data, text, base64) {
        (None, None, None) => Ok(None),
        (Some(json), None, None) => Ok(Some(Payload::Json(bytes(json)))),
        (None, Some(text), None) => Ok(Some(Payload::Text(text.into()))),
        (None, None, Some(binary)) => Ok(Some(Payload::Binary(binary.into()))),
        _ => Err("it has more than one of `data`, `text` and `base64`".to_owned()),
    }
}

/// The refusal that the client sees in the words of its protocol.
fn refusal(code: Option<&str>, reason: Option<String>) -> Result<Denied, String> {
    let mut reason = reason.filter(|reason| !reason.is_empty()).unwrap_or_else(|| "the application does not allow it".to_owned());
    if reason.len() > REASON_BYTES_MAX {
        return Err(format!("`reason` has {} bytes; at most {REASON_BYTES_MAX} are shown to a client", reason.len()));
    }
    // It may become a part of a header or a log line.
    reason.retain(|character| !character.is_control());
    let words = reason.into();
    Ok(match code.unwrap_or("forbidden") {
        "forbidden" => Denied::Forbidden(words),
        "unauthorized" => Denied::Unauthorized(words),
        "expired" => Denied::Expired(words),
        "invalid" => Denied::Invalid(words),
        "not_found" => Denied::NotFound(words),
        "unavailable" => Denied::Unavailable(words),
        other => {
            return Err(format!("`code` is {other:?}; there are forbidden, unauthorized, expired, invalid, not_found and unavailable"));
        }
    })
}

/// The refusal of something that a hook was asked about: the hook is the rule, so its name comes first.
pub(crate) fn refused_by(hook: &str, denied: &Denied) -> Denied {
    let named = |words: &str| format!("hook `{hook}`: {words}").into();
    match denied {
        Denied::Unauthorized(words) => Denied::Unauthorized(named(words)),
        Denied::Expired(words) => Denied::Expired(named(words)),
        Denied::Forbidden(words) => Denied::Forbidden(named(words)),
        Denied::Invalid(words) => Denied::Invalid(named(words)),
        Denied::NotFound(words) => Denied::NotFound(named(words)),
        Denied::Limit { setting, words } => Denied::Limit { setting, words: named(words) },
        Denied::Unavailable(words) => Denied::Unavailable(named(words)),
    }
}

/// Grants and the user's info, by the rules that hold for tokens.
fn claimed(channels: Option<&RawValue>, info: Option<&RawValue>) -> Result<(Vec<Grant>, Option<Arc<str>>), String> {
    let named = [("channels", channels), ("info", info)];
    let claims: BTreeMap<&str, &RawValue> = named.into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
    if claims.is_empty() {
        return Ok((Vec::new(), None));
    }
    let json = serde_json::to_vec(&claims).map_err(|error| error.to_string())?;
    let claims = Claims::parse(&json).map_err(|error| error.to_string())?;
    let grants = claims.channels().map_err(|error| error.to_string())?;
    Ok((grants, claims.info().map_err(|error| error.to_string())?))
}

fn emit(written: WrittenEmit) -> Result<Emit, String> {
    let user = |user: String| UserId::parse(&user).map_err(|error| format!("`users`: {error}"));
    let arguments = match (written.args, written.data) {
        (Some(_), Some(_)) => return Err("an emit has both `data` and `args`".to_owned()),
        (Some(values), None) => values.iter().map(|value| bytes(value)).collect(),
        (None, data) => data.iter().map(|value| bytes(value)).collect(),
    };
    if written.event.is_empty() {
        return Err("an emit has no `event`".to_owned());
    }
    let users = written.users.into_iter().map(user).collect::<Result<_, _>>()?;
    Ok(Emit { to: written.to, users, except_caller: written.except_caller, event: written.event.into(), arguments })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read_strictly() {
        let check = |body: &str, expected: &str| {
            let found = match Verdict::parse(body.as_bytes()) {
                Ok(verdict) => format!("{verdict:?}"),
                Err(error) => format!("refused: {error}"),
            };
            assert!(found.contains(expected), "{body}: {found}");
        };
        check("", "allow: None");
        check("{}", "allow: None");
        check(r#"{"allow":true,"cache_ms":5}"#, "cache_ms: Some(5)");
        check(r#"{"allow":false}"#, "Forbidden(\"the application does not allow it\")");
        check(r#"{"allow":false,"code":"expired","reason":"a\r\nb"}"#, "Expired(\"ab\")");
        check(r#"{"allow":false,"code":"teapot"}"#, "refused: `code` is \"teapot\"");
        check(r#"{"alow":false}"#, "refused: unknown field `alow`");
        check("nonsense", "refused: it is no JSON object");
        check("[]", "refused: it is no JSON object");
        check("{", "refused: EOF");
        check(&format!(r#"{{"allow":false,"reason":"{}"}}"#, "x".repeat(501)), "refused: `reason` has 501 bytes");
        check(r#"{"allow":true,"user":"ana","info":{"name":"Ana"},"expires_in_s":60}"#, "user: Some(\"ana\")");
        check(r#"{"expires_in_s":0}"#, "refused: `expires_in_s`");
        check(r#"{"user":"ana"}"#, "come with `\"allow\": true`");
        check(r#"{"allow":true,"channels":{"chat:*":["subscribe"]}}"#, "permissions: subscribe");
        check(r#"{"allow":true,"channels":{"chat:*":["fly"]}}"#, "refused: ");
        check(r#"{"allow":true,"permissions":["publish","history"]}"#, "permissions: Some(publish,history)");
        check(r#"{"allow":true,"permissions":["fly"]}"#, "refused: `permissions` has \"fly\"");
        check(r#"{"data":{"a": 1}}"#, r#"payload: Some(Json(b"{\"a\": 1}"))"#);
        check(r#"{"text":"a"}"#, "Some(Text(");
        check(r#"{"base64":"AAEC"}"#, "Some(Binary(");
        check(r#"{"base64":"?"}"#, "refused: `base64` is no base64");
        check(r#"{"data":1,"text":"a"}"#, "refused: it has more than one");
        check(r#"{"drop":true}"#, "drop: true");
        check(r#"{"result":[1, 2]}"#, r#"arguments: Some([b"[1, 2]"])"#);
        check(r#"{"ack":[1,"b"]}"#, r#"arguments: Some([b"1", b"\"b\""])"#);
        check(r#"{"ack":[],"result":1}"#, "refused: it has both");
        check(
            r#"{"emits":[{"to":["a"],"event":"e","args":[1,2],"except_caller":true}],"join":["a"],"leave":["b"]}"#,
            "except_caller: true",
        );
        check(r#"{"emits":[{"event":""}]}"#, "refused: an emit has no `event`");
        check(r#"{"emits":[{"event":"e","data":1,"args":[]}]}"#, "refused: an emit has both");
        check(r#"{"emits":[{"event":"e","users":[""]}]}"#, "refused: `users`");
    }
}

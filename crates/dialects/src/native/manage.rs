//! What back ends do with the connections of others: list those of a user, end them, and refuse what brought them.
//!
//! ```text
//! GET  /v1/connections?user=ana                       {"connections":[{"session":"…","address":"…",…}],"more":false}
//! POST /v1/disconnect  {"user":"ana"}                 {"ok":true}     the user may come back
//! POST /v1/revoke      {"user":"ana"} or a token's id {"ok":true}     with a newer token, or another one
//! ```
//!
//! Invariant: a body names exactly one thing, so that a misspelt field never ends more than was meant.

use std::sync::Arc;

use bytes::BytesMut;
use omnivox_core::command::{Connection, Manage};
use omnivox_core::{Request, SessionId, UserId};

use super::api::{Call, json_only};
use super::codes::Refusal;
use super::fields::Fields;
use super::render::Object;
use super::request::Parameters;

/// `GET /v1/connections`.
pub(super) fn connections(parameters: &Parameters<'_>) -> Result<Call, Refusal> {
    let name = parameters.first("user").ok_or_else(|| Refusal::message("`user` is missing; name whose connections you mean"))?;
    Ok(Call::Connections(user(name)?))
}

/// `POST /v1/disconnect`.
pub(super) fn disconnect(request: &Request<'_>) -> Result<Call, Refusal> {
    json_only(request)?;
    Ok(Call::Manage(match whom(request.body)? {
        Whom::User(user) => Manage::DisconnectUser(user),
        Whom::Session(session) => Manage::DisconnectSession(session),
        Whom::Token(_) => return Err(Refusal::message("a `token` is revoked, not disconnected; use `/v1/revoke`")),
    }))
}

/// `POST /v1/revoke`.
pub(super) fn revoke(request: &Request<'_>) -> Result<Call, Refusal> {
    json_only(request)?;
    Ok(Call::Manage(match whom(request.body)? {
        Whom::User(user) => Manage::RevokeUser(user),
        Whom::Session(session) => Manage::RevokeSession(session),
        Whom::Token(token) => Manage::RevokeToken(token),
    }))
}

/// Who or what is meant.
enum Whom {
    User(UserId),
    Session(SessionId),
    Token(Arc<str>),
}

fn whom(body: &[u8]) -> Result<Whom, Refusal> {
    const WANTED: &str = "name one of `user`, `session` and `token` (a token's `jti`)";
    let fields = Fields::parse(body)?;
    match (fields.text("user")?, fields.text("session")?, fields.text("token")?) {
        (Some(name), None, None) => Ok(Whom::User(user(&name)?)),
        (None, Some(session), None) => match SessionId::parse(&session) {
            Some(session) => Ok(Whom::Session(session)),
            None => Err(Refusal::message("`session` is no session's id; `/v1/connections` lists them")),
        },
        (None, None, Some(token)) if (1..=TOKEN_ID_BYTES_MAX).contains(&token.len()) => Ok(Whom::Token(Arc::from(&*token))),
        (None, None, Some(_)) => Err(Refusal::message("`token` is the `jti` of a token, 1 to 255 bytes, and not the token itself")),
        _ => Err(Refusal::message(WANTED)),
    }
}

fn user(name: &str) -> Result<UserId, Refusal> {
    UserId::parse(name).map_err(|why| Refusal::message(format!("`user` is no user: {why}")))
}

/// The longest id of a token.
const TOKEN_ID_BYTES_MAX: usize = 255;

/// Writes who is connected as a user.
pub(super) fn connections_body(connections: &[Connection], more: bool, into: &mut BytesMut) {
    let mut object = Object::begin(into);
    object.list("connections", connections, |connection, into| {
        let mut object = Object::begin(into);
        object.text("session", &connection.session.to_string());
        object.text("dialect", connection.dialect);
        object.number("subscriptions", connection.subscriptions);
        match &connection.token_id {
            Some(token) => object.text("token", token),
            None => object.raw("token", b"null"),
        }
        object.end();
    });
    object.flag("more", more);
    object.end();
}

/// Says that it was done.
pub(super) fn done_body(into: &mut BytesMut) {
    let mut object = Object::begin(into);
    object.flag("ok", true);
    object.end();
}

/// Writes a ticket.
pub(super) fn ticket_body(ticket: &str, ttl_ms: u64, into: &mut BytesMut) {
    let mut object = Object::begin(into);
    object.text("ticket", ticket);
    object.number("expires_in_ms", usize::try_from(ttl_ms).unwrap_or(usize::MAX));
    object.end();
}

//! What back ends ask about webhooks: how deliveries went, and whether one works.
//!
//! ```text
//! GET  /v1/webhooks/deliveries?webhook=audit&status=failed&limit=10     {"deliveries":[{"id":"…","status":"failed",…}]}
//! POST /v1/webhooks/test  {"webhook":"audit"}                           {"id":"…"}: the event that it will get
//! ```

use bytes::BytesMut;
use omnivox_core::command::Manage;
use omnivox_core::webhook::{Attempt, AttemptQuery, AttemptStatus};
use omnivox_core::{Limits, Request};

use super::api::{Call, json_only};
use super::codes::Refusal;
use super::fields::Fields;
use super::render::Object;
use super::request::Parameters;

/// Attempts in an answer when nobody says how many.
const ATTEMPTS: usize = 100;

/// `GET /v1/webhooks/deliveries`.
pub(super) fn deliveries(parameters: &Parameters<'_>, limits: &Limits) -> Result<Call, Refusal> {
    let status = match parameters.first("status") {
        None => None,
        Some(word) => {
            let unknown = || Refusal::message("`status` is none of `delivered`, `retrying` and `failed`");
            Some(AttemptStatus::named(word).ok_or_else(unknown)?)
        }
    };
    let most = parameters.number("limit")?.unwrap_or(ATTEMPTS).clamp(1, limits.history_page_max);
    Ok(Call::Manage(Manage::Deliveries(AttemptQuery { webhook: parameters.first("webhook").map(Into::into), status, most })))
}

/// `POST /v1/webhooks/test`.
pub(super) fn test(request: &Request<'_>) -> Result<Call, Refusal> {
    json_only(request)?;
    let webhook = Fields::parse(request.body)?.text("webhook")?;
    let webhook = webhook.ok_or_else(|| Refusal::message("`webhook` is missing; name the one that shall get the event"))?;
    Ok(Call::Manage(Manage::TestWebhook(webhook.as_ref().into())))
}

/// Writes how deliveries went.
pub(super) fn deliveries_body(attempts: &[Attempt], into: &mut BytesMut) {
    let mut object = Object::begin(into);
    object.list("deliveries", attempts, |attempt, into| {
        let mut object = Object::begin(into);
        object.text("id", &attempt.id);
        object.text("webhook", &attempt.webhook);
        object.text("status", attempt.status.word());
        object.number("attempt", attempt.attempt as usize);
        object.number("events", attempt.events);
        whole(&mut object, "at", Some(attempt.at_ms));
        whole(&mut object, "duration_ms", Some(attempt.duration_ms));
        whole(&mut object, "answer", attempt.answer.map(u64::from));
        match &attempt.error {
            Some(error) => object.text("error", error),
            None => object.raw("error", b"null"),
        }
        whole(&mut object, "next_at", attempt.next_at_ms);
        object.end();
    });
    object.end();
}

fn whole(object: &mut Object<'_>, name: &str, value: Option<u64>) {
    match value {
        Some(value) => object.number(name, usize::try_from(value).unwrap_or(usize::MAX)),
        None => object.raw(name, b"null"),
    }
}

/// Writes the id of the event that a webhook will get.
pub(super) fn tested_body(id: &str, into: &mut BytesMut) {
    let mut object = Object::begin(into);
    object.text("id", id);
    object.end();
}

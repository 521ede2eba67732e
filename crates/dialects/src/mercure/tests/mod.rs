//! Transcripts of Mercure, one file for each side of it.

mod publish;
mod subscribe;
mod subscriptions;

use omnivox_testkit::transcript;

use super::{Mercure, MercureSettings};

fn mercure() -> Mercure {
    Mercure::new(MercureSettings::default())
}

#[track_caller]
fn check(text: &str) {
    transcript::check(&mercure(), text);
}

/// A token with these claims that nobody signed: the model hub takes any.
fn token(typ: &str, claims: &str) -> String {
    use base64::Engine as _;
    let encode = |text: &str| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(text);
    format!("{}.{}.c2lnbmF0dXJl", encode(&format!("{{\"alg\":\"HS256\",\"typ\":\"{typ}\"}}")), encode(claims))
}

fn first(claims: &str) -> String {
    token("JWT", claims)
}

fn second() -> String {
    token(
        "at+jwt",
        r#"{"authorization_details":[{"type":"https://mercure.rocks/authorization-detail","actions":["subscribe"],"topics":[{"match":"a"}],"payload":{"n":2}}]}"#,
    )
}

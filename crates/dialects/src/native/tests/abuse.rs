//! What breaks the protocol or a limit: an error that names it, and nobody else notices.

use super::check;
use crate::native::fields::nests_deeper;
use crate::native::{DEPTH_MAX, Native, NativeSettings, RESERVED_TYPES, fuzzing};
use omnivox_core::Limits;
use omnivox_testkit::transcript;
use proptest::prelude::*;
use std::time::Instant;

#[test]
fn messages_that_mean_nothing_get_an_error() {
    let long = format!(r#"{{"type":"{}"}}"#, "x".repeat(2000));
    let deep = format!(r#"{{"type":"publish","channel":"a","data":{}}}"#, "[".repeat(60_000));
    for (message, code) in [
        ("", "invalid_json"),
        ("not json", "invalid_json"),
        ("[]", "invalid_json"),
        ("null", "invalid_json"),
        (r#"{"type":"ping"} trailing"#, "invalid_json"),
        ("\u{feff}{\"type\":\"ping\"}", "invalid_json"),
        (deep.as_str(), "invalid_json"),
        ("{}", "invalid_message"),
        (r#"{"type":7}"#, "invalid_message"),
        (r#"{"type":null}"#, "invalid_message"),
        (r#"{"type":""}"#, "invalid_message"),
        (r#"{"type":"subscribe"}"#, "invalid_message"),
        (r#"{"type":"subscribe","channel":7}"#, "invalid_message"),
        (r#"{"type":"subscribe","channel":"\ud800"}"#, "invalid_message"),
        (r#"{"type":"subscribe","channel":""}"#, "invalid_channel"),
        (r#"{"type":"subscribe","channel":"a\u007fb"}"#, "invalid_channel"),
        (r#"{"type":"subscribe","channel":"a","since":{"an":"object"}}"#, "invalid_mark"),
        (r#"{"type":"subscribe","channel":"a","since":-1}"#, "invalid_mark"),
        (r#"{"type":"subscribe","channel":"a","presence":1}"#, "invalid_message"),
        (r#"{"type":"publish","channel":"a","event":7,"data":1}"#, "invalid_message"),
        (r#"{"type":"publish","channel":"a"}"#, "invalid_message"),
        (r#"{"type":"publish","channel":"a","room":"b","data":1}"#, "invalid_message"),
        (r#"{"type":"publish","channel":"a","channels":["b"],"data":1}"#, "invalid_message"),
        (r#"{"type":"chat","channel":"a","room":"b"}"#, "invalid_message"),
        (r#"{"type":"connect"}"#, "invalid_message"),
        (r#"{"type":"enter","channel":"a","key":"a\nb"}"#, "invalid_message"),
        (r#"{"type":"history","channel":"a","limit":1.5}"#, "invalid_message"),
        (r#"{"type":"history","channel":"a","before":"z.1"}"#, "invalid_mark"),
        (long.as_str(), "limit_exceeded"),
        (r#"{"type":"chat","room":["a"]}"#, "invalid_message"),
    ] {
        check(&format!(
            "> WS /v1/ws\n< 101\n> {message}\n< {{\"type\":\"error\",\"code\":\"{code}\",\"message\":\"…\n> {{\"type\":\"ping\"}}\n< {{\"type\":\"pong\"}}"
        ));
    }
}

#[test]
fn every_type_of_the_server_is_refused() {
    for kind in RESERVED_TYPES {
        let asks =
            ["call", "connect", "enter", "history", "leave", "ping", "presence", "publish", "signal", "subscribe", "unsubscribe", "update"]
                .contains(&kind);
        if !asks {
            check(&format!(
                "> WS /v1/ws\n< 101\n> {{\"type\":\"{kind}\",\"room\":\"a\",\"ref\":1}}\n< {{\"type\":\"error\",\"code\":\"reserved_type\",…,\"for\":\"{kind}\",\"channel\":\"a\",\"ref\":1}}"
            ));
        }
    }
}

#[test]
fn an_answer_repeats_the_ref_whatever_was_wrong() {
    let long = "x".repeat(300);
    check(&format!(
        r#"
        > WS /v1/ws
        < 101
        > {{"ref":"r1"}}
        < {{"type":"error","code":"invalid_message","message":"…","ref":"r1"}}
        > {{"type":"subscribe","ref":{{"a":[1, 2]}}}}
        < {{"type":"error","code":"invalid_message","message":"…","for":"subscribe","ref":{{"a":[1, 2]}}}}
        > {{"type":"subscribe","room":"a","since":-1,"ref":2}}
        < {{"type":"error","code":"invalid_mark","message":"…","for":"subscribe","channel":"a","ref":2}}
        > {{"type":"ping","ref":"{long}"}}
        < {{"type":"error","code":"invalid_message","message":"…256 bytes","for":"ping"}}
        > {{"type":"chat","room":"a","ref":"{long}"}}
        "#
    ));
}

#[test]
fn messages_that_wait_for_answers_are_bounded() {
    let limits = Limits { commands_in_flight_max: 2, ..Limits::default() };
    transcript::check(
        &Native::new(NativeSettings { limits, ..NativeSettings::default() }),
        r#"
        > WS /v1/ws
        < 101
        ! hold
        > {"type":"subscribe","channel":"a"}
        > {"type":"subscribe","channel":"b"}
        > {"type":"subscribe","channel":"c","ref":1}
        < {"type":"error","code":"limit_exceeded","message":"…(limits.commands_in_flight_max)","for":"subscribe","channel":"c","ref":1}
        ! release
        < …
        < …
        > {"type":"unsubscribe","channel":"c"}
        < {"type":"error","code":"not_subscribed",…
        "#,
    );
}

#[test]
fn what_waits_for_a_credential_is_bounded() {
    let limits = Limits { commands_in_flight_max: 2, ..Limits::default() };
    transcript::check(
        &Native::new(NativeSettings { limits, ..NativeSettings::default() }),
        r#"
        ! deny connect unauthorized who
        > WS /v1/ws
        < 101
        ! hold
        > {"type":"connect","token":"t"}
        > 1
        > 2
        > 3
        < [close] 1002 too much was sent …
        < [closed]
        "#,
    );
}

#[test]
fn an_application_message_goes_to_a_bounded_number_of_channels() {
    let limits = Limits { channels_per_publication_max: 1, ..Limits::default() };
    transcript::check(
        &Native::new(NativeSettings { limits, ..NativeSettings::default() }),
        r#"
        > WS /v1/ws?channel=a&channel=b
        < 101
        < …
        < …
        > {"type":"chat"}
        < {"type":"error","code":"limit_exceeded","message":"…(limits.channels_per_publication_max)","for":"chat"}
        > {"type":"chat","room":"a"}
        < {"type":"chat","channel":"a","id":"z-1"}
        "#,
    );
}

#[test]
fn a_request_names_a_bounded_number_of_channels() {
    let limits = Limits { channels_per_connection_max: 2, ..Limits::default() };
    transcript::check(
        &Native::new(NativeSettings { limits, ..NativeSettings::default() }),
        r#"
        > GET /v1/poll?channel=a&channel=b&channel=a
        < 429 application/json {"error":{"code":"limit_exceeded","message":"…(limits.channels_per_connection_max)"}}
        > GET /v1/poll?channel=a&channel=a
        < 200 application/json …
        "#,
    );
}

#[test]
fn paths_that_are_not_there() {
    check(
        r#"
        > GET /v1/nothing
        < 404 application/json {"error":{"code":"not_found",…
        > GET /v1/ws
        < 426 application/json {"error":{"code":"upgrade_required",…
            upgrade: websocket
            sec-websocket-version: 13
        > POST /v1/ws
        < 405 application/json …
        > DELETE /v1/history?channel=a
        < 405 application/json …
        "#,
    );
}

#[test]
fn depth_is_counted_outside_of_text() {
    let nested = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
    for (text, expected) in [
        (nested(DEPTH_MAX), false),
        (nested(DEPTH_MAX + 1), true),
        ("[]".repeat(1000), false),
        (format!("\"{}\"", "[".repeat(1000)), false),
        (format!("\"\\\"{}\"", "[".repeat(1000)), false),
        (format!("\"\\\\\"{}", "[".repeat(1000)), true),
        ("{\"a\":".repeat(DEPTH_MAX + 1), true),
    ] {
        assert_eq!(nests_deeper(text.as_bytes(), DEPTH_MAX), expected, "{}", &text[..20]);
    }
}

#[test]
fn credentials_are_in_no_debug_output() {
    let text = r#"{"type":"connect","token":"sesame"}"#;
    let (_, message) = crate::native::message::ClientMessage::parse(text, &Limits::default()).unwrap();
    assert!(!format!("{message:?}").contains("sesame"), "{message:?}");
}

/// The bodies of the fuzz targets, fed with what looks like messages and requests.
mod generated {
    use super::*;

    fn message() -> impl Strategy<Value = String> {
        let word = prop_oneof![
            Just("subscribe"),
            Just("publish"),
            Just("chat"),
            Just("channel"),
            Just("room"),
            Just("id"),
            Just("i\\u0064"),
            Just("data"),
            Just("since"),
            Just("type"),
            Just("ref"),
            Just("binary")
        ];
        let value = prop_oneof![
            word.clone().prop_map(|word| format!("\"{word}\"")),
            Just("true".to_owned()),
            Just("null".to_owned()),
            Just("7".to_owned()),
            Just("{\"a\":[1,\"\\n\"]}".to_owned()),
            any::<String>().prop_map(|text| serde_json::Value::from(text).to_string()),
        ];
        let kind = word.clone().prop_map(|word| format!("\"type\":\"{word}\""));
        let members = prop::collection::vec((word, value).prop_map(|(name, value)| format!("\"{name}\":{value}")), 0..6);
        (kind, members).prop_map(|(kind, members)| {
            format!("{{{kind},\"room\":\"a\",{}\"x\":1}}", members.iter().fold(String::new(), |all, member| all + member + ","))
        })
    }

    proptest! {
        #[test]
        fn no_conversation_breaks_the_dialect(messages in prop::collection::vec(message(), 0..8)) {
            fuzzing::conversation(Instant::now(), messages.join("\n").as_bytes());
        }

        #[test]
        fn no_bytes_break_the_dialect(data in prop::collection::vec(any::<u8>(), 0..200)) {
            fuzzing::conversation(Instant::now(), &data);
            fuzzing::request(Instant::now(), &data);
        }

        #[test]
        fn no_request_breaks_the_dialect(
            path in prop_oneof![Just("/v1/sse"), Just("/v1/poll"), Just("/v1/history"), Just("/v1/publish"), Just("/v1/ws"), Just("/x")],
            method in prop_oneof![Just("GET"), Just("POST"), Just("OPTIONS"), Just("HEAD")],
            query in "(channel|room|last|since|limit|timeout|lastEventId)=[a-z0-9%.\\-]{0,5}(&(channel|last|limit|before|order)=[a-z0-9%.\\-]{0,5}){0,4}",
            mark in "[ -~]{0,20}",
        ) {
            let request = format!("{method} {path}?{query}\nlast-event-id: {mark}\ncontent-type: application/json\n\n{{\"channel\":\"a\",\"data\":1}}");
            fuzzing::request(Instant::now(), request.as_bytes());
        }
    }
}

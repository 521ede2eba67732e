//! The HTTP API: one request, one answer.

use super::check;
use crate::native::{Native, NativeSettings};
use omnivox_core::Limits;
use omnivox_testkit::transcript;

#[test]
fn a_batch_has_a_result_for_each_message() {
    check(
        r#"
        ! deny item forbidden no
        > POST /v1/publish
            content-type: application/json
            | {"messages":[{"channel":"a","data":1},{"channel":"","data":2},{"room":"b","event":"e","data":3},{"data":4}]}
        < 200 application/json {"results":[{"error":{"code":"forbidden","message":"no"}},{"error":{"code":"invalid_channel",…}},{"channel":"b","id":"z-1","duplicate":false},{"error":{"code":"invalid_message",…}}]}
        ? publish a 1 & b event=e 3
        > POST /v1/publish
            content-type: application/json
            | {"messages":[]}
        < 200 application/json {"results":[]}
        > POST /v1/publish
            content-type: application/json
            | {"messages":[{"channel":"","data":2}]}
        < 200 application/json {"results":[{"error":{"code":"invalid_channel",…}}]}
        "#,
    );
}

#[test]
fn wrong_publications_are_refused() {
    let long = "x".repeat(256);
    let name = format!(r#"{{"channel":"{long}","data":1}}"#);
    let event = format!(r#"{{"channel":"a","event":"{long}","data":1}}"#);
    let id = format!(r#"{{"channel":"a","id":"{long}","data":1}}"#);
    let deep = format!(r#"{{"channel":"a","data":{}1{}}}"#, "[".repeat(200), "]".repeat(200));
    let large = format!(r#"{{"channel":"a","data":"{}"}}"#, "x".repeat(64 << 10));
    let channels = format!(r#"{{"channels":[{}],"data":1}}"#, vec![r#""a""#; 101].join(","));
    for (body, expected) in [
        ("", r#"400 application/json {"error":{"code":"invalid_json""#),
        ("[]", r#"400 application/json {"error":{"code":"invalid_json""#),
        (r#"{"channel":"a","data":1"#, r#"400 application/json {"error":{"code":"invalid_json""#),
        (r#"{"channel":"a","data":1} x"#, r#"400 application/json {"error":{"code":"invalid_json""#),
        (r#"{"data":1}"#, r#"400 application/json {"error":{"code":"invalid_message""#),
        (r#"{"channel":"a"}"#, r#"400 application/json {"error":{"code":"invalid_message""#),
        (r#"{"channel":7,"data":1}"#, r#"400 application/json {"error":{"code":"invalid_message""#),
        (r#"{"channel":"a\u0000b","data":1}"#, r#"400 application/json {"error":{"code":"invalid_channel""#),
        (r#"{"channel":"\ud800","data":1}"#, r#"400 application/json {"error":{"code":"invalid_message""#),
        (r#"{"channels":[],"data":1}"#, r#"400 application/json {"error":{"code":"invalid_message""#),
        (r#"{"channels":"a","data":1}"#, r#"400 application/json {"error":{"code":"invalid_message""#),
        (r#"{"channel":"a","event":"a\nb","data":1}"#, r#"400 application/json {"error":{"code":"invalid_message""#),
        (r#"{"channel":"a","event":"","data":1}"#, r#"400 application/json {"error":{"code":"invalid_message""#),
        (r#"{"channel":"a","data":"?","encoding":"base64"}"#, r#"400 application/json {"error":{"code":"invalid_message""#),
        (r#"{"channel":"a","data":"","encoding":"gzip"}"#, r#"400 application/json {"error":{"code":"invalid_message""#),
        (r#"{"messages":{}}"#, r#"400 application/json {"error":{"code":"invalid_message""#),
        (
            r#"{"messages":[],"channel":"b","data":2}"#,
            r#"400 application/json {"error":{"code":"invalid_message","message":"`channel` beside `messages` would be lost"#,
        ),
        (name.as_str(), r#"400 application/json {"error":{"code":"invalid_channel""#),
        (event.as_str(), r#"429 application/json {"error":{"code":"limit_exceeded","message":"…(limits.event_name_bytes_max)"#),
        (id.as_str(), r#"429 application/json {"error":{"code":"limit_exceeded","message":"…(limits.publication_id_bytes_max)"#),
        (deep.as_str(), r#"400 application/json {"error":{"code":"invalid_json","message":"…128"#),
        (large.as_str(), r#"429 application/json {"error":{"code":"limit_exceeded","message":"…(limits.message_bytes_max)"#),
        (channels.as_str(), r#"429 application/json {"error":{"code":"limit_exceeded","message":"…(limits.channels_per_publication_max)"#),
    ] {
        check(&format!("> POST /v1/publish\n    content-type: application/json\n    | {body}\n< {expected}…"));
    }
}

#[test]
fn a_batch_is_bounded() {
    let limits = Limits { batch_publications_max: 2, ..Limits::default() };
    transcript::check(
        &Native::new(NativeSettings { limits, ..NativeSettings::default() }),
        r#"
        > POST /v1/publish
            content-type: application/json
            | {"messages":[1,2,3]}
        < 429 application/json {"error":{"code":"limit_exceeded","message":"…(limits.batch_publications_max)"}}
            retry-after: 1
        "#,
    );
}

/// A web page can post a form or plain text to any address without asking; it can't post JSON.
#[test]
fn only_json_is_taken() {
    for content_type in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "application/jsonp", ""] {
        check(&format!(
            "> POST /v1/publish\n    content-type: {content_type}\n    | {{\"channel\":\"a\",\"data\":1}}\n< 415 application/json {{\"error\":{{\"code\":\"unsupported_media_type\",…"
        ));
    }
    check(
        r#"
        > POST /v1/publish
            | {"channel":"a","data":1}
        < 415 application/json …
        > GET /v1/publish
        < 405 application/json …
            allow: POST, OPTIONS
        > POST /v1/publish
            content-type: Application/JSON ; charset=utf-8
            | {"channel":"a","data":1}
        < 200 application/json {"channel":"a","id":"z-1","duplicate":false}
        "#,
    );
}

#[test]
fn payloads_pass_byte_for_byte() {
    for payload in ["1", "-0.5e3", "12345678901234567890123", r#""\u0000\ud83d\ude00""#, "null", "[ ]", r#"{"b":1,"a":{"b":[1,2]},"b":2}"#]
    {
        check(&format!(
            r#"
            > POST /v1/publish
                content-type: application/json
                | {{"channel":"a","data":{payload}}}
            < 200 …
            > GET /v1/history?channel=a
            < 200 application/json {{"channel":"a","events":[{{"type":"message","channel":"a","id":"z-1","event":"message","data":{payload}}}],"id":"z-1","gap":false,"more":false}}
            "#
        ));
    }
}

#[test]
fn history_over_http() {
    check(
        r#"
        ! publish a 1
        ! publish a 2
        ! publish a 3
        > GET /v1/history?channel=a&limit=2
        < 200 application/json {"channel":"a","events":[{…"data":2},{…"data":3}],"id":"z-3","gap":false,"more":true}
        > GET /v1/history?channel=a&limit=2&order=newest
        < 200 application/json {"channel":"a","events":[{…"data":3},{…"data":2}],…
        > GET /v1/history?channel=a&since=z-1
        < 200 application/json {"channel":"a","events":[{…"data":2},{…"data":3}],"id":"z-3","gap":false,"more":false}
        > GET /v1/history?channel=a&since=1&before=3
        < 200 application/json {"channel":"a","events":[{…"data":2}],…
        > GET /v1/history?channel=a&since=y-1
        < 200 application/json {…"gap":true,…
        > GET /v1/history?channel=a&limit=0
        < 200 application/json {"channel":"a","events":[],"id":"z-3",…
        > GET /v1/history?room=never
        < 200 application/json {"channel":"never","events":[],"id":"z-0","gap":false,"more":false}
        > GET /v1/history?channel=a&channel=b
        < 400 application/json {"error":{"code":"invalid_channel",…
        > GET /v1/history?channel=a&order=up
        < 400 application/json …
        > GET /v1/history?channel=a&limit=-1
        < 400 application/json …
        > GET /v1/history?channel=a&before=earliest
        < 400 application/json {"error":{"code":"invalid_mark",…
        "#,
    );
}

#[test]
fn presence_and_channels_over_http() {
    check(
        r#"
        ! enter a bob {"x": 1}
        ! publish ab 1
        > GET /v1/presence?channel=a
        < 200 application/json {"channel":"a","members":[{"session":"00000009-0-0-0","key":"bob","user":"bob","data":{"x": 1}}]}
        > GET /v1/presence?channel=never
        < 200 application/json {"channel":"never","members":[]}
        > GET /v1/channels?prefix=a
        < 200 application/json {"channels":[{"channel":"ab","id":"z-1","members":0}]}
        ! deny channels forbidden that takes manage
        > GET /v1/channels
        < 403 application/json …
        "#,
    );
}

#[test]
fn every_call_introduces_its_client() {
    check(
        r#"
        > GET /v1/presence?channel=a
            authorization: bearer tok
        ? connect token tok
        < 200 …
        > GET /v1/presence?channel=a
            authorization: Basic !!!
        < 401 application/json {"error":{"code":"unauthorized",…
            www-authenticate: Bearer
        ! deny connect expired too late
        > POST /v1/publish
            content-type: application/json
            | {"channel":"a","data":1}
        < 401 application/json {"error":{"code":"expired",…
        ! hold
        > GET /v1/presence?channel=a
        ! close overloaded
        < 503 application/json {"error":{"code":"unavailable",…
        "#,
    );
}

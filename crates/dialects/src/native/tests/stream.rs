//! Event streams.

use super::{check, native};
use crate::native::{Native, NativeSettings};
use omnivox_core::Framing;
use omnivox_core::origin::Origins;
use omnivox_testkit::transcript::{self, Stage};

#[test]
fn a_stream_resumes_all_its_channels() {
    for request in [
        "GET /v1/sse?channel=a&channel=b\n    last-event-id: z.1",
        "GET /v1/sse?channel=a&channel=b&lastEventId=z.1",
        "GET /v1/sse?channel=a&channel=b&lastEventID=z.1",
        "GET /v1/sse?channel=a&channel=b&last-event-id=z.1",
        "GET /v1/sse?channel=a&channel=b&Last-Event-ID=z.1",
        "GET /v1/sse?channel=a&channel=b&last_event_id=z.1",
        "GET /v1/sse?channel=a&channel=b&lastEvent=z.1",
        "GET /v1/sse?channel=a&channel=b&since=z.1",
        "GET /v1/sse?channel=a&channel=b&lastEventId=z.0\n    last-event-id: z.1",
    ] {
        check(&format!(
            "
! publish a 1
! publish b 2
! publish c 3
! publish a 4
> {request}
< 200 text/event-stream
< :ok⏎⏎retry: 2000⏎⏎
< id: z.2⏎data: {{\"type\":\"message\",\"channel\":\"b\",\"id\":\"z-1\",\"event\":\"message\",\"data\":2}}⏎⏎
< id: z.4⏎data: {{…\"id\":\"z-2\",\"event\":\"message\",\"data\":4}}⏎⏎
< id: z.4⏎⏎
! publish b 5
< id: z.5⏎data: …
"
        ));
    }
}

#[test]
fn a_stream_of_one_channel_takes_any_mark() {
    for mark in ["z-1", "z.1", "1"] {
        check(&format!(
            "
! publish a 1
! publish a 2
> GET /v1/sse?room=a
    last-event-id: {mark}
< …
< …
< id: z.2⏎data: …\"data\":2}}⏎⏎
< id: z.2⏎⏎
"
        ));
    }
}

/// What a client repeats may come from another server or another life of this one: it is told, and goes on.
#[test]
fn marks_that_mean_nothing_are_a_gap() {
    for (channels, mark) in [("channel=a", "y-7"), ("channel=a", "not ours!"), ("channel=a&channel=b", "z-1"), ("channel=a", "urn:uuid:1")]
    {
        // What is well formed but gone is followed by what is left.
        let left = if mark == "y-7" { "\n< id: z.1⏎data: …" } else { "" };
        let second = if channels.contains('b') { "\n< event: error⏎data: {…\"channel\":\"b\"}⏎⏎" } else { "" };
        check(&format!(
            "
! publish a 1
> GET /v1/sse?{channels}
    last-event-id: {mark}
< 200 text/event-stream
< :ok⏎⏎retry: 2000⏎⏎
< event: error⏎data: {{\"code\":\"gap\",\"message\":\"…\",\"channel\":\"a\"}}⏎⏎{second}{left}
< id: z.1⏎⏎
"
        ));
    }
}

#[test]
fn a_stream_tells_of_presence_gaps_and_ends() {
    check(
        r#"
        > GET /v1/sse?channel=a&presence=1
        < …
        < …
        < id: z.0⏎⏎
        ! enter a bob
        < event: presence⏎data: {"type":"presence","channel":"a","action":"enter","member":{"session":"00000009-0-0-0","key":"bob","user":"bob","data":null}}⏎⏎
        ! gap a
        < event: error⏎data: {"code":"gap","message":"…","channel":"a"}⏎⏎
        ! direct event=x 1
        < data: {"type":"message","event":"x","data":1}⏎⏎
        ! unsubscribed a
        < event: unsubscribed⏎data: {"type":"unsubscribed","channel":"a"}⏎⏎
        "#,
    );
}

#[test]
fn an_alias_shows_payloads_alone() {
    check(
        r#"
        > GET /api/notifications
        < 200 text/event-stream
        < :ok⏎⏎retry: 2000⏎⏎
        < id: z.0⏎⏎
        ! publish notifications {"msg":"hi","time":1}
        < id: z.1⏎data: {"msg":"hi","time":1}⏎⏎
        ! publish notifications event=alert text one⏎two\x0dthree
        < id: z.2⏎event: alert⏎data: one⏎data: two⏎data: three⏎⏎
        ! publish notifications binary 00ff
        < id: z.3⏎data: {"data":"AP8=","encoding":"base64"}⏎⏎
        ! publish notifications {"a":⏎1}
        < id: z.4⏎data: {"a":⏎data: 1}⏎⏎
        ! direct event=x 1
        < event: x⏎data: 1⏎⏎
        "#,
    );
}

/// No event name or text can add a line to the stream; in a format that has no room for such a name the event is not shown.
#[test]
fn nothing_breaks_out_of_its_line() {
    check(
        r#"
        > GET /v1/sse?channel=a
        < …
        < …
        < …
        ! publish a event=x⏎id:7 text one⏎⏎event:\x0dforged
        < id: z.1⏎data: {"type":"message","channel":"a","id":"z-1","event":"x\nid:7","data":"one\n\nevent:\rforged"}⏎⏎
        data> GET /v1/sse?channel=a&format=data
        data< …
        data< …
        data< …
        ! publish a event=x⏎id:7 1
        < …
        ! publish a event=y 2
        < …
        data< id: z.3⏎event: y⏎data: 2⏎⏎
        "#,
    );
}

#[test]
fn what_is_refused_for_good_is_a_status() {
    check(
        r#"
        ! deny subscribe forbidden you may not
        > GET /v1/sse?channel=a
            origin: https://example.org
        < 403 application/json {"error":{"code":"forbidden","message":"you may not"}}
            access-control-allow-origin: *
            cache-control: no-store
        ! deny connect unauthorized who are you
        > GET /v1/sse?channel=a
        < 401 application/json …
            www-authenticate: Bearer
        > GET /v1/sse
        < 400 application/json {"error":{"code":"invalid_channel",…
        > GET /v1/sse?channel=
        < 400 application/json {"error":{"code":"invalid_channel",…
        > GET /v1/sse?channel=%00
        < 400 application/json {"error":{"code":"invalid_channel",…
        > GET /v1/sse?channel=%ff
        < 400 application/json {"error":{"code":"invalid_utf8",…
        > GET /v1/sse?channel=%zz
        < 400 application/json {"error":{"code":"invalid_escape",…
        > GET /v1/sse?channel=a&since=what
        < 400 application/json {"error":{"code":"invalid_mark",…
        > GET /v1/sse?channel=a&channel=b&since=4
        < 400 application/json {"error":{"code":"invalid_mark",…
        > GET /v1/sse?channel=a&format=xml
        < 400 application/json {"error":{"code":"invalid_message",…
        > GET /v1/sse?channel=a&presence=maybe
        < 400 application/json {"error":{"code":"invalid_message",…
        > POST /v1/sse?channel=a
        < 405 application/json {"error":{"code":"method_not_allowed",…
            allow: GET, HEAD, OPTIONS
        > WS /v1/sse?channel=a
        < 400 application/json {"error":{"code":"not_a_websocket",…
        "#,
    );
}

/// A browser never comes back after a status, so what may be asked again later is a stream that says so.
#[test]
fn what_passes_is_a_stream_that_says_come_back() {
    check(
        r#"
        ! deny connect unavailable the broker does not answer
        > GET /v1/sse?channel=a
        < 200 text/event-stream event: error⏎retry: 2007⏎data: {"code":"unavailable","message":"the broker does not answer"}⏎⏎
            cache-control: no-cache, no-transform
        ! deny subscribe limit_exceeded too many
        > GET /v1/sse?channel=a
        < 200 text/event-stream event: error⏎retry: 2015⏎data: {"code":"limit_exceeded",…
        ! hold
        > GET /v1/sse?channel=a
        ! close drain
        < 200 text/event-stream event: error⏎retry: 2023⏎data: {"code":"drain",…
        "#,
    );
}

#[test]
fn goodbyes_say_whether_to_come_back() {
    check(
        r#"
        > GET /v1/sse?channel=a
        < …
        < …
        < …
        ! close drain
        < event: error⏎retry: 2007⏎data: {"code":"drain","message":"the server restarts; connect again and resume from the last id"}⏎⏎
        < [closed]
        > GET /v1/sse?channel=a
        < …
        < …
        < …
        ! close expired
        < event: error⏎data: {"code":"expired","message":"…"}⏎⏎
        < [closed]
        "#,
    );
}

#[test]
fn bodies_without_chunks_are_plain() {
    Stage::new(&native()).stream_framing(Framing::Bare).play(
        r#"
        > GET /v1/sse?channel=a
        < 200 text/event-stream
        < :ok⏎⏎retry: 2000⏎⏎
        < id: z.0⏎⏎
        ! publish a 1
        < id: z.1⏎data: …
        "#,
    );
}

#[test]
fn pages_of_other_origins_are_told_what_they_may_read() {
    let cors_origins = Origins::new(vec!["https://app.example.org".to_owned()]);
    transcript::check(
        &Native::new(NativeSettings { cors_origins, ..NativeSettings::default() }),
        r#"
        > OPTIONS /v1/sse
            origin: https://app.example.org
            access-control-request-headers: last-event-id
        < 204
            access-control-allow-origin: https://app.example.org
            access-control-allow-credentials: true
            access-control-allow-headers: Authorization, Content-Type, Last-Event-ID, Cache-Control, Prefer
            access-control-allow-methods: GET, HEAD, OPTIONS
            access-control-max-age: 7200
            vary: Origin, Authorization
        > OPTIONS /v1/publish
            origin: https://evil.example.org
        < 204
            !access-control-allow-origin
            !access-control-allow-methods
        > GET /v1/sse?channel=a
            origin: https://app.example.org
        < 200 text/event-stream
            access-control-allow-origin: https://app.example.org
            access-control-allow-credentials: true
            access-control-expose-headers: Retry-After
        < …
        < …
        a> GET /v1/poll?channel=a&last=0
            origin: https://app.example.org
        b> GET /v1/poll?channel=a&last=0
            origin: https://evil.example.org
        ! publish a 1
        < …
        a< 200 application/json …
            access-control-allow-origin: https://app.example.org
            access-control-allow-credentials: true
            vary: Origin, Authorization
        b< 200 application/json …
            !access-control-allow-origin
            vary: Origin, Authorization
        "#,
    );
}

#[test]
fn the_head_can_be_asked_for_alone() {
    check(
        r#"
        > HEAD /v1/sse?channel=a
        < 200 text/event-stream
            cache-control: no-cache, no-transform
        > HEAD /v1/poll?channel=a
        < 200 application/json
        > HEAD /v1/history?channel=a
        < 200 application/json
        "#,
    );
}

//! The WebSocket protocol.

use super::check;
use crate::native::{Native, NativeSettings};
use omnivox_core::Limits;
use omnivox_testkit::transcript;

#[test]
fn subscribe_gives_what_was_missed_first() {
    check(
        r#"
        ! publish a {"n":1}
        ! publish a {"n":2}
        ! publish a event=chat {"n":3}
        > WS /v1/ws
        < 101
        > {"type":"subscribe","channel":"a","since":"z-1"}
        < {"type":"message","channel":"a","id":"z-2","event":"message","data":{"n":2}}
        < {"type":"message","channel":"a","id":"z-3","event":"chat","data":{"n":3}}
        < {"type":"subscribed","channel":"a","id":"z-3","gap":false,"recovered":2}
        ! publish a {"n":4}
        < {"type":"message","channel":"a","id":"z-4","event":"message","data":{"n":4}}
        "#,
    );
}

#[test]
fn every_kind_of_mark_resumes() {
    for since in [r#""z-1""#, r#""z.1""#, "1", r#""1""#] {
        check(&format!(
            r#"
            ! publish a 1
            ! publish a 2
            > WS /v1/ws
            < 101
            > {{"type":"subscribe","channel":"a","since":{since}}}
            < {{"type":"message","channel":"a","id":"z-2","event":"message","data":2}}
            < {{"type":"subscribed","channel":"a","id":"z-2","gap":false,"recovered":1}}
            "#
        ));
    }
    check(
        r#"
        ! publish a 1
        > WS /v1/ws
        < 101
        > {"type":"subscribe","channel":"a","since":"earliest"}
        < …"data":1}
        < {"type":"subscribed","channel":"a","id":"z-1","gap":false,"recovered":1}
        "#,
    );
}

#[test]
fn what_is_gone_is_told() {
    check(
        r#"
        ! publish a 1
        ! publish a 2
        ! publish a 3
        ! keep 1
        > WS /v1/ws
        < 101
        > {"type":"subscribe","channel":"a","since":"z-1"}
        < {"type":"gap","channel":"a"}
        < …"id":"z-3"…
        < {"type":"subscribed","channel":"a","id":"z-3","gap":true,"recovered":1}
        > {"type":"subscribe","channel":"a","since":"y-3"}
        < {"type":"gap","channel":"a"}
        < …"id":"z-3"…
        < {"type":"subscribed","channel":"a","id":"z-3","gap":true,"recovered":1}
        ! gap a
        < {"type":"gap","channel":"a"}
        "#,
    );
}

#[test]
fn unsubscribe_ends_delivery() {
    check(
        r#"
        > WS /v1/ws
        < 101
        > {"type":"subscribe","channel":"a"}
        < …
        > {"type":"unsubscribe","room":"a","ref":"x"}
        < {"type":"unsubscribed","channel":"a","ref":"x"}
        ! publish a 1
        > {"type":"unsubscribe","channel":"a","ref":2}
        < {"type":"error","code":"not_subscribed","message":"…","for":"unsubscribe","channel":"a","ref":2}
        > {"type":"subscribe","channel":"a"}
        < …
        ! unsubscribed a
        < {"type":"unsubscribed","channel":"a"}
        "#,
    );
}

#[test]
fn publish_is_answered_with_its_place() {
    check(
        r#"
        > WS /v1/ws
        < 101
        > {"type":"publish","channel":"a","event":"e","data":[1, "two"],"id":"k","ref":{"a":1}}
        < {"type":"published","channel":"a","id":"z-1","duplicate":false,"ref":{"a":1}}
        ? publish a event=e id=k [1, "two"]
        > {"type":"publish","channel":"a","event":"e","data":[1, "two"],"id":"k"}
        < {"type":"published","channel":"a","id":"z-1","duplicate":true}
        > {"type":"publish","channels":["a","b","a"],"data":null}
        < {"type":"published","channel":"a","id":"z-2","duplicate":false}
        ? publish a+b null
        "#,
    );
}

#[test]
fn a_client_in_several_channels_gets_a_message_once() {
    check(
        r#"
        > WS /v1/ws
        < 101
        > {"type":"subscribe","channel":"a"}
        < …
        > {"type":"subscribe","channel":"b"}
        < …
        > {"type":"chat"}
        ? publish a+b event=chat flat {}
        < {"type":"chat","channel":"a","id":"z-1"}
        ! publish c+b 1
        < …"channel":"b","id":"z-2"…
        "#,
    );
}

#[test]
fn the_sender_can_be_left_out() {
    check(
        r#"
        a> WS /v1/ws
        a< 101
        a> {"type":"subscribe","channel":"a"}
        a< …
        b> WS /v1/ws
        b< 101
        b> {"type":"subscribe","channel":"a"}
        b< …
        a> {"type":"publish","channel":"a","data":1,"exclude_sender":true}
        a< {"type":"published","channel":"a","id":"z-1","duplicate":false}
        b< {"type":"message","channel":"a","id":"z-1","event":"message","data":1}
        "#,
    );
}

#[test]
fn no_client_forges_channel_and_id() {
    check(
        r#"
        > WS /v1/ws
        < 101
        > {"type":"subscribe","channel":"a"}
        < …
        > {"type":"chat","channel":"b","id":"forged","channel":"a","i\u0064":"forged","x":1,"\u0063hannel":"a","room":"a"}
        < {"type":"chat","channel":"a","id":"z-1","x":1}
        > {"type":"chat","room":"a","event":"mine","data":{"channel":"inner"},"ref":[1]}
        < {"type":"chat","channel":"a","id":"z-2","event":"mine","data":{"channel":"inner"},"ref":[1]}
        > { "type" : "say" , "quo\"te" : "\u00e9\ud83d\ude00" , "n" : 1.50 }
        < {"type":"say","channel":"a","id":"z-3","quo\"te":"\u00e9\ud83d\ude00","n":1.50}
        "#,
    );
}

#[test]
fn application_messages_need_a_channel() {
    check(
        r#"
        > WS /v1/ws
        < 101
        > {"type":"chat","ref":1}
        < {"type":"error","code":"invalid_channel","message":"…","for":"chat","ref":1}
        > {"type":"chat","room":"b"}
        ? publish b event=chat flat {}
        ! deny subscribe forbidden no
        > {"type":"subscribe","channel":"a","ref":2}
        < {"type":"error","code":"forbidden","message":"no","for":"subscribe","channel":"a","ref":2}
        > {"type":"chat"}
        < {"type":"error","code":"invalid_channel",…
        ! deny publish forbidden no
        > {"type":"chat","room":"b","ref":3}
        < {"type":"error","code":"forbidden","message":"no","for":"chat","channel":"b","ref":3}
        ! deny item forbidden no
        > {"type":"chat","room":"b"}
        < {"type":"error","code":"forbidden","message":"no","for":"chat","channel":"b"}
        "#,
    );
}

#[test]
fn a_binary_message_follows_its_header() {
    check(
        r#"
        a> WS /v1/ws
        a< 101
        a> {"type":"subscribe","channel":"a"}
        a< …
        s> GET /v1/sse?channel=a
        s< …
        s< …
        s< …
        a> {"type":"publish","channel":"a","event":"blob","binary":true,"ref":1}
        a> [binary] 00ff10
        a< {"type":"message","channel":"a","id":"z-1","event":"blob","binary":true,"bytes":3}
        a< [binary] 00ff10
        s< id: z.1⏎data: {"type":"message","channel":"a","id":"z-1","event":"blob","data":"AP8Q","encoding":"base64"}⏎⏎
        a< {"type":"published","channel":"a","id":"z-1","duplicate":false,"ref":1}
        a> [binary] 00
        a< {"type":"error","code":"invalid_message","message":"…"}
        a> {"type":"publish","channel":"a","binary":true,"ref":2}
        a> {"type":"ping","ref":3}
        a< {"type":"error","code":"invalid_message","message":"…","for":"publish","channel":"a","ref":2}
        a< {"type":"pong","ref":3}
        a> {"type":"publish","channel":"a","data":"AP8Q","encoding":"base64"}
        a< {"type":"message","channel":"a","id":"z-2","event":"message","binary":true,"bytes":3}
        a< [binary] 00ff10
        s< …"data":"AP8Q","encoding":"base64"}⏎⏎
        a< {"type":"published",…
        "#,
    );
}

#[test]
fn presence_is_seen_by_those_who_asked() {
    check(
        r#"
        a> WS /v1/ws
        a< 101
        a> {"type":"subscribe","channel":"r","presence":true}
        a< …
        b> WS /v1/ws
        b< 101
        b> {"type":"subscribe","channel":"r"}
        b< …
        b> {"type":"enter","channel":"r","data":{"name": "Ann"},"ref":1}
        a< {"type":"presence","channel":"r","action":"enter","member":{"session":"00000001-0-1-0","key":"","user":null,"data":{"name": "Ann"}}}
        b< {"type":"entered","channel":"r","ref":1}
        b> {"type":"update","channel":"r","data":2}
        a< {"type":"presence","channel":"r","action":"update","member":{"session":"00000001-0-1-0","key":"","user":null,"data":2}}
        b< {"type":"updated","channel":"r"}
        ! enter r bob {"x":1}
        a< {"type":"presence","channel":"r","action":"enter","member":{"session":"00000009-0-0-0","key":"bob","user":"bob","data":{"x":1}}}
        b> {"type":"presence","channel":"r","ref":2}
        b< {"type":"members","channel":"r","members":[{"session":"00000001-0-1-0","key":"","user":null,"data":2},{"session":"00000009-0-0-0","key":"bob","user":"bob","data":{"x":1}}],"ref":2}
        b> {"type":"leave","channel":"r"}
        a< {"type":"presence","channel":"r","action":"leave",…
        b< {"type":"left","channel":"r"}
        b> {"type":"update","channel":"r","data":1}
        b< {"type":"error","code":"not_found",…,"for":"update","channel":"r"}
        b> {"type":"enter","channel":"r","key":"tab-2"}
        a< …"key":"tab-2","user":null,"data":null}}
        b< {"type":"entered","channel":"r"}
        b> [gone]
        a< {"type":"presence","channel":"r","action":"leave",…"key":"tab-2"…
        "#,
    );
}

#[test]
fn history_is_read_in_pages() {
    check(
        r#"
        ! publish a 1
        ! publish a 2
        ! publish a 3
        ! publish a 4
        > WS /v1/ws
        < 101
        > {"type":"history","channel":"a","limit":2,"ref":1}
        ? history a most 2 newest first
        < {"type":"history","channel":"a","events":[{…"data":3},{…"data":4}],"id":"z-4","gap":false,"more":true,"ref":1}
        > {"type":"history","channel":"a","limit":2,"before":"z-3"}
        < {"type":"history","channel":"a","events":[{…"data":1},{…"data":2}],"id":"z-4","gap":false,"more":false}
        > {"type":"history","channel":"a","since":1,"limit":2}
        ? history a since 1 most 2
        < {"type":"history","channel":"a","events":[{…"data":2},{…"data":3}],"id":"z-4","gap":false,"more":true}
        > {"type":"history","channel":"a","newest_first":true,"limit":2,"before":4}
        < {"type":"history","channel":"a","events":[{…"data":3},{…"data":2}],"id":"z-4","gap":false,"more":true}
        "#,
    );
}

#[test]
fn a_page_is_bounded_in_bytes() {
    let limits = Limits { outbox_bytes_soft: 1, ..Limits::default() };
    transcript::check(
        &Native::new(NativeSettings { limits, ..NativeSettings::default() }),
        r#"
        ! publish a 1
        ! publish a 2
        > WS /v1/ws
        < 101
        > {"type":"history","channel":"a","since":"earliest"}
        < {"type":"history","channel":"a","events":[{…"data":1}],"id":"z-2","gap":false,"more":true}
        p> GET /v1/poll?channel=a&last=earliest
        p< 200 application/json {"events":[{…"data":1}],"last":"z-1","gap":false,"more":true}
        "#,
    );
}

#[test]
fn the_request_names_channels_to_begin_with() {
    check(
        r#"
        ! publish a 1
        ! publish b 2
        > WS /ws?channel=a&room=b&since=z.1
            sec-websocket-protocol: other, omnivox
        < 101
            sec-websocket-protocol: omnivox
        < …"channel":"b","id":"z-1"…
        < {"type":"subscribed","channel":"a","id":"z-1","gap":false,"recovered":0}
        < {"type":"subscribed","channel":"b","id":"z-1","gap":false,"recovered":1}
        "#,
    );
}

#[test]
fn a_credential_of_the_request_is_judged_before_the_upgrade() {
    check(
        r#"
        ! user ann
        > WS /v1/ws
            authorization: Bearer tok
        < 101
        ? connect token tok
        > [gone]
        > WS /v1/ws?ticket=one%2Btwo
        < 101
        ? connect ticket one+two
        > [gone]
        > WS /v1/ws
            authorization: Basic a2V5OnNlY3JldA==
        < 101
        ? connect key key secret
        > [gone]
        ! deny connect expired too late
        > WS /v1/ws
            authorization: Bearer tok
            origin: https://example.org
        < 401 application/json {"error":{"code":"expired","message":"too late"}}
            www-authenticate: Bearer
            access-control-allow-origin: *
        ! deny connect forbidden your origin is not allowed
        > WS /v1/ws
        < 403 application/json {"error":{"code":"forbidden",…
        > WS /v1/ws
            authorization: Negotiate abc
        < 401 application/json {"error":{"code":"unauthorized",…
        "#,
    );
}

#[test]
fn a_first_message_shows_the_credential_when_one_is_needed() {
    check(
        r#"
        ! user ann
        ! deny connect unauthorized a credential is needed
        > WS /v1/ws?channel=a
        < 101
        > {"type":"subscribe","channel":"b","ref":1}
        < {"type":"error","code":"unauthorized","message":"…","for":"subscribe","channel":"b","ref":1}
        > {"type":"ping"}
        < {"type":"pong"}
        ! hold
        > {"type":"connect","token":"tok","ref":2}
        # What comes behind it waits, and is not lost.
        > {"type":"subscribe","channel":"b"}
        > {"type":"publish","channel":"b","binary":true}
        > [binary] 01
        ! release
        ? connect token tok
        < {"type":"connected","user":"ann","ref":2}
        < {"type":"message","channel":"b",…
        < [binary] 01
        < {"type":"subscribed","channel":"a",…
        < {"type":"subscribed","channel":"b",…
        < {"type":"published","channel":"b",…
        @ +60s
        > {"type":"ping"}
        < {"type":"pong"}
        "#,
    );
}

#[test]
fn a_client_without_a_credential_is_closed() {
    check(
        r#"
        ! deny connect unauthorized a credential is needed
        > WS /v1/ws
        < 101
        @ +9999ms
        > {"type":"ping"}
        < {"type":"pong"}
        @ +1ms
        < [close] 4401 no credential came; send `connect` with a token
        < [closed]
        ! deny connect unauthorized a credential is needed
        > WS /v1/ws
        < 101
        ! deny connect unauthorized no such token
        > {"type":"connect","token":"x","ref":1}
        < {"type":"error","code":"unauthorized","message":"no such token","for":"connect","ref":1}
        < [close] 4401 no such token
        < [closed]
        "#,
    );
}

#[test]
fn a_credential_can_be_renewed() {
    check(
        r#"
        > WS /v1/ws
            host: app.example.org
            origin: https://page.example.org
        < 101
        ? connect anonymous
        ? came to app.example.org from https://page.example.org
        ! user ann
        > {"type":"connect","token":"new","ref":1}
        < {"type":"connected","user":"ann","ref":1}
        ? connect token new
        ? came to app.example.org from https://page.example.org
        ! deny connect expired too late
        > {"type":"connect","ticket":"old"}
        < {"type":"error","code":"expired","message":"too late","for":"connect"}
        > {"type":"ping"}
        < {"type":"pong"}
        "#,
    );
}

#[test]
fn goodbyes_have_their_codes() {
    for (reason, expected) in [
        ("drain", "1012 the server restarts"),
        ("slow_consumer", "4008 too much was waiting"),
        ("heartbeat_lost", "4000 nothing came back"),
        ("protocol", "1002 it broke"),
        ("too_large", "1009 a message is larger"),
        ("expired", "4401 the credential has expired"),
        ("kicked", "4403 the connection was ended"),
        ("overloaded", "1013 the server has no room"),
        ("normal", "1000 goodbye"),
        ("internal", "1011 the server has a defect"),
    ] {
        check(&format!("> WS /v1/ws\n< 101\n! close {reason}\n< [close] {expected}…\n< [closed]"));
    }
}

#[test]
fn a_direct_message_has_no_channel() {
    check(
        r#"
        > WS /v1/ws
        < 101
        ! direct event=hello {"a":1}
        < {"type":"message","event":"hello","data":{"a":1}}
        "#,
    );
}

#[test]
fn the_echo_gives_back_what_it_gets() {
    check(
        r#"
        > WS /echo
        < 101
        > {"type":"subscribe"}
        < {"type":"subscribe"}
        > [binary] 00ff
        < [binary] 00ff
        ! close drain
        < [close] 1012 …
        < [closed]
        "#,
    );
}

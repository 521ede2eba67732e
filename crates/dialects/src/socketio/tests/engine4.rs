//! Engine.IO 4 against the echo: the cases of the protocol's own suite, and the rules that it does not try.

use super::super::{SocketIoSettings, Transports};
use super::check;
use omnivox_core::origin::Origins;

fn echo(text: &str) {
    check(SocketIoSettings::engineio_suite(), text);
}

#[test]
fn polling_handshakes() {
    echo(
        r#"
        > GET /engine.io/?EIO=4&transport=polling
        < 200 text/plain; charset=UTF-8 0{"sid":"$sid1","upgrades":["websocket"],"pingInterval":300,"pingTimeout":200,"maxPayload":1000000}
            cache-control: no-store
            access-control-allow-origin: *
            !set-cookie
        > GET /engine.io/?transport=polling
        < 400 application/json {"code":5,"message":"Unsupported protocol version"}
        > GET /engine.io/?EIO=abc&transport=polling
        < 400 application/json {"code":5,"message":"Unsupported protocol version"}
        > GET /engine.io/?EIO=4
        < 400 application/json {"code":0,"message":"Transport unknown"}
            access-control-allow-origin: *
        > GET /engine.io/?EIO=4&transport=abc
        < 400 application/json {"code":0,"message":"Transport unknown"}
        > GET /engine.io/?EIO=4&transport=webtransport
        < 400 application/json {"code":0,"message":"Transport unknown"}
        > POST /engine.io/?EIO=4&transport=polling
        < 400 application/json {"code":2,"message":"Bad handshake method"}
        > PUT /engine.io/?EIO=4&transport=polling
        < 400 application/json {"code":2,"message":"Bad handshake method"}
        > GET /engine.io/?EIO=4&transport=websocket
        < 400 application/json {"code":3,"message":"Bad request"}
        > GET /engine.io/?EIO=4&transport=polling&sid=nobody
        < 400 application/json {"code":1,"message":"Session ID unknown"}
        > GET /engine.io/?EIO=4&transport=polling&sid=$sid20
        < 400 application/json {"code":1,"message":"Session ID unknown"}
        "#,
    );
}

#[test]
fn websocket_handshakes() {
    echo(
        r#"
        > WS /engine.io/?EIO=4&transport=websocket
        < 101
        < 0{"sid":"$sid1","upgrades":[],"pingInterval":300,"pingTimeout":200,"maxPayload":1000000}
        > [gone]
        > WS /engine.io/?EIO=abc&transport=websocket
        < 400 text/html Unsupported protocol version
        > WS /engine.io/?transport=websocket
        < 400 text/html Unsupported protocol version
        > WS /engine.io/?EIO=4&transport=abc
        < 400 text/html Transport unknown
        > WS /engine.io/?EIO=4
        < 400 text/html Transport unknown
        > WS /engine.io/?EIO=4&transport=polling
        < 400 text/html Bad request
        > WS /engine.io/?EIO=4&transport=websocket&sid=nobody
        < 400 text/html Session ID unknown
        > WS /engine.io/?EIO=4&transport=websocket&sid=$sid20
        < 400 text/html Session ID unknown
        "#,
    );
}

#[test]
fn a_strange_origin_is_a_bad_request() {
    echo(
        "> GET /engine.io/?EIO=4&transport=polling\n    origin: http://a\u{1}b\n< 400 application/json {\"code\":3,\"message\":\"Bad request\"}",
    );
    echo("> GET /engine.io/?EIO=4&transport=polling\n    origin: http://müller\n< 200 …");
}

#[test]
fn polled_messages() {
    echo(
        r#"
        > GET /engine.io/?EIO=4&transport=polling
        < 200 …
        > POST /engine.io/?EIO=4&transport=polling&sid=$sid1
            content-type: text/plain;charset=UTF-8
            | 4hello
        < 200 text/html ok
            cache-control: no-store
            access-control-allow-origin: *
        > GET /engine.io/?EIO=4&transport=polling&sid=$sid1
        < 200 text/plain; charset=UTF-8 4hello
            cache-control: no-store
            access-control-allow-origin: *
        > POST /engine.io/?EIO=4&transport=polling&sid=$sid1
            | 4test1\x1e4test2\x1e4test3
        < 200 text/html ok
        > GET /engine.io/?EIO=4&transport=polling&sid=$sid1
        < 200 text/plain; charset=UTF-8 4test1\x1e4test2\x1e4test3
        > POST /engine.io/?EIO=4&transport=polling&sid=$sid1
            | 4hello\x1ebAQIDBA==
        < 200 text/html ok
        > GET /engine.io/?EIO=4&transport=polling&sid=$sid1
        < 200 text/plain; charset=UTF-8 4hello\x1ebAQIDBA==
        # A poll that came first is held until there is something.
        poll> GET /engine.io/?EIO=4&transport=polling&sid=$sid1
        > POST /engine.io/?EIO=4&transport=polling&sid=$sid1
            | 4€
        < 200 text/html ok
        poll< 200 text/plain; charset=UTF-8 4€
        "#,
    );
}

#[test]
fn socket_messages() {
    echo(
        r#"
        > WS /engine.io/?EIO=4&transport=websocket
        < 101
        < 0…
        > 4hello
        < 4hello
        > [binary] 01020304
        < [binary] 01020304
        > bAQID
        < [binary] 010203
        "#,
    );
}

#[test]
fn what_is_no_packet_ends_the_session() {
    for body in ["abc", "4a\\x1e", "\\x1e", "7", "b!!", "2"] {
        echo(&format!(
            r#"
            > GET /engine.io/?EIO=4&transport=polling
            < 200 …
            poll> GET /engine.io/?EIO=4&transport=polling&sid=$sid1
            > POST /engine.io/?EIO=4&transport=polling&sid=$sid1
                | {body}
            < 400
                access-control-allow-origin: *
            poll< 200 text/plain; charset=UTF-8 …1
            > GET /engine.io/?EIO=4&transport=polling&sid=$sid1
            < 400 application/json {{"code":1,"message":"Session ID unknown"}}
            "#
        ));
    }
    for message in ["abc", "2", "2probe", "7"] {
        echo(&format!(
            "> WS /engine.io/?EIO=4&transport=websocket\n< 101\n< 0…\n> {message}\n< [close]\n< [closed]\n\
             > GET /engine.io/?EIO=4&transport=polling&sid=$sid1\n< 400 …"
        ));
    }
}

#[test]
fn bodies_that_a_poll_does_not_take() {
    echo(&format!(
        r#"
        > GET /engine.io/?EIO=4&transport=polling
        < 200 …
        # Too large: the request is dropped, the session lives.
        > POST /engine.io/?EIO=4&transport=polling&sid=$sid1
            | 4{}
        < 413
        > PUT /engine.io/?EIO=4&transport=polling&sid=$sid1
        < 500
        > POST /engine.io/?EIO=4&transport=polling&sid=$sid1
            | 4hello
        < 200 text/html ok
        > GET /engine.io/?EIO=4&transport=polling&sid=$sid1
        < 200 text/plain; charset=UTF-8 4hello
        # Binary bodies are of an earlier revision.
        > POST /engine.io/?EIO=4&transport=polling&sid=$sid1
            content-type: application/octet-stream
            | 4hello
        < 400
        > GET /engine.io/?EIO=4&transport=polling&sid=$sid1
        < 400 …
        "#,
        "x".repeat(1_000_000)
    ));
}

#[test]
fn polls_at_the_same_time_end_the_session() {
    echo(
        r#"
        > GET /engine.io/?EIO=4&transport=polling
        < 200 …
        a> GET /engine.io/?EIO=4&transport=polling&sid=$sid1
        b> GET /engine.io/?EIO=4&transport=polling&sid=$sid1
        b< 400
        a< 200 text/plain; charset=UTF-8 1
        > GET /engine.io/?EIO=4&transport=polling&sid=$sid1
        < 400 application/json {"code":1,"message":"Session ID unknown"}
        "#,
    );
}

#[test]
fn a_cancelled_poll_ends_the_session() {
    echo(
        r#"
        > GET /engine.io/?EIO=4&transport=polling
        < 200 …
        > GET /engine.io/?EIO=4&transport=polling&sid=$sid1
        > [gone]
        > GET /engine.io/?EIO=4&transport=polling&sid=$sid1
        < 400 application/json {"code":1,"message":"Session ID unknown"}
        "#,
    );
}

#[test]
fn the_server_pings() {
    echo(
        r#"
        > GET /engine.io/?EIO=4&transport=polling
        < 200 …
        > GET /engine.io/?EIO=4&transport=polling&sid=$sid1
        @ +299ms
        @ +1ms
        < 200 text/plain; charset=UTF-8 2
        > POST /engine.io/?EIO=4&transport=polling&sid=$sid1
            | 3
        < 200 text/html ok
        # Without a poll the ping waits for the next one.
        @ +300ms
        > GET /engine.io/?EIO=4&transport=polling&sid=$sid1
        < 200 text/plain; charset=UTF-8 2
        > POST /engine.io/?EIO=4&transport=polling&sid=$sid1
            | 3
        < 200 text/html ok
        @ +499ms
        > GET /engine.io/?EIO=4&transport=polling&sid=$sid1
        < 200 text/plain; charset=UTF-8 2
        @ +1ms
        > GET /engine.io/?EIO=4&transport=polling&sid=$sid1
        < 400 application/json {"code":1,"message":"Session ID unknown"}
        "#,
    );
    echo(
        r#"
        > WS /engine.io/?EIO=4&transport=websocket
        < 101
        < 0…
        @ +300ms
        < 2
        > 3
        @ +300ms
        < 2
        > 3
        # A pong that nobody asked for, and any other message, change nothing.
        @ +100ms
        > 3
        > 4x
        < 4x
        @ +200ms
        < 2
        > 4x
        < 4x
        @ +200ms
        < [close]
        < [closed]
        "#,
    );
}

#[test]
fn a_held_poll_hears_of_the_end() {
    echo(
        r#"
        > GET /engine.io/?EIO=4&transport=polling
        < 200 …
        > GET /engine.io/?EIO=4&transport=polling&sid=$sid1
        @ +300ms
        < 200 text/plain; charset=UTF-8 2
        > GET /engine.io/?EIO=4&transport=polling&sid=$sid1
        @ +200ms
        < 200 text/plain; charset=UTF-8 1
        "#,
    );
}

#[test]
fn clients_say_goodbye() {
    echo(
        r#"
        > GET /engine.io/?EIO=4&transport=polling
        < 200 …
        poll> GET /engine.io/?EIO=4&transport=polling&sid=$sid1
        > POST /engine.io/?EIO=4&transport=polling&sid=$sid1
            | 1
        < 200 text/html ok
        poll< 200 text/plain; charset=UTF-8 6
        > GET /engine.io/?EIO=4&transport=polling&sid=$sid1
        < 400 application/json {"code":1,"message":"Session ID unknown"}
        > WS /engine.io/?EIO=4&transport=websocket
        < 101
        < 0…
        > 1
        < [close]
        < [closed]
        "#,
    );
    // The poll and the goodbye are on different connections: either may come first.
    echo(
        r#"
        > GET /engine.io/?EIO=4&transport=polling
        < 200 …
        > POST /engine.io/?EIO=4&transport=polling&sid=$sid1
            | 1
        < 200 text/html ok
        poll> GET /engine.io/?EIO=4&transport=polling&sid=$sid1
        poll< 200 text/plain; charset=UTF-8 6
        > GET /engine.io/?EIO=4&transport=polling&sid=$sid1
        < 400 …
        > GET /engine.io/?EIO=4&transport=polling
        < 200 …
        > POST /engine.io/?EIO=4&transport=polling&sid=$sid5
            | 1\x1e4unheard
        < 200 text/html ok
        @ +100ms
        > GET /engine.io/?EIO=4&transport=polling&sid=$sid5
        < 400 …
        "#,
    );
}

#[test]
fn cross_origin_rules() {
    let settings = |origins| SocketIoSettings { cors_origins: origins, ..SocketIoSettings::engineio_suite() };
    check(
        settings(Origins::new(vec!["https://a.example".to_owned()])),
        r#"
        > GET /engine.io/?EIO=4&transport=polling
            origin: https://a.example
        < 200 …
            access-control-allow-origin: https://a.example
            access-control-allow-credentials: true
            vary: Origin
        > GET /engine.io/?EIO=4&transport=polling
            origin: https://b.example
        < 200 …
            !access-control-allow-origin
            !access-control-allow-credentials
            vary: Origin
        > GET /engine.io/?EIO=9&transport=polling
            origin: https://a.example
        < 400 …
            access-control-allow-origin: https://a.example
        > OPTIONS /engine.io/?EIO=4&transport=polling
            origin: https://a.example
            access-control-request-method: POST
            access-control-request-headers: x-custom, authorization
        < 204
            access-control-allow-origin: https://a.example
            access-control-allow-methods: GET,POST
            access-control-allow-headers: x-custom, authorization
            vary: Origin
        > OPTIONS /engine.io/?EIO=4&transport=polling
            origin: https://b.example
        < 204
            !access-control-allow-origin
            !access-control-allow-methods
        "#,
    );
    check(
        settings(Origins::default()),
        "> GET /engine.io/?EIO=4&transport=polling\n    origin: https://a.example\n< 200 …\n    !access-control-allow-origin\n    !vary",
    );
}

#[test]
fn what_can_be_set() {
    let cookie = SocketIoSettings { cookie: Some("io".to_owned()), ..SocketIoSettings::engineio_suite() };
    check(
        cookie,
        r#"
        > GET /engine.io/?EIO=4&transport=polling
        < 200 …
            set-cookie: io=$sid1; Path=/; HttpOnly; SameSite=Lax
        > POST /engine.io/?EIO=4&transport=polling&sid=$sid1
            | 4x
        < 200 …
            !set-cookie
        > WS /engine.io/?EIO=4&transport=websocket
        < 101
            set-cookie: io=$sid3; Path=/; HttpOnly; SameSite=Lax
        < 0…
        "#,
    );
    let transports = |polling, websocket, upgrades| SocketIoSettings {
        transports: Transports { polling, websocket, upgrades },
        ..SocketIoSettings::engineio_suite()
    };
    check(transports(true, true, false), "> GET /engine.io/?EIO=4&transport=polling\n< 200 …\"upgrades\":[],…");
    check(
        transports(true, false, true),
        "> GET /engine.io/?EIO=4&transport=polling\n< 200 …\"upgrades\":[],…\n> WS /engine.io/?EIO=4&transport=websocket\n< 400 text/html Transport unknown",
    );
    check(transports(false, true, true), "> GET /engine.io/?EIO=4&transport=polling\n< 400 …");
    let current = SocketIoSettings { allow_eio3: false, ..SocketIoSettings::engineio_suite() };
    check(
        current,
        "> GET /engine.io/?EIO=3&transport=polling\n< 400 application/json {\"code\":5,\"message\":\"Unsupported protocol version\"}",
    );
}

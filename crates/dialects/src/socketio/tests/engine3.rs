//! Engine.IO 3 against the echo: the cases of its suite, JSONP, and what it does otherwise than revision 4.

use super::super::SocketIoSettings;
use super::check;

fn echo(text: &str) {
    check(SocketIoSettings::engineio_suite(), text);
}

#[test]
fn handshakes() {
    echo(
        r#"
        > GET /engine.io/?EIO=3&transport=polling
        < 200 text/plain; charset=UTF-8 130:0{"sid":"$sid1","upgrades":["websocket"],"pingInterval":300,"pingTimeout":200,"maxPayload":1000000}
        > GET /engine.io/?EIO=3&transport=abc
        < 400 application/json {"code":0,"message":"Transport unknown"}
        > POST /engine.io/?EIO=3&transport=polling
        < 400 application/json {"code":2,"message":"Bad handshake method"}
        > WS /engine.io/?EIO=3&transport=websocket
        < 101
        < 0{"sid":"$sid4","upgrades":[],"pingInterval":300,"pingTimeout":200,"maxPayload":1000000}
        > [gone]
        > WS /engine.io/?EIO=3&transport=abc
        < 400 text/html Transport unknown
        "#,
    );
}

#[test]
fn polled_messages() {
    echo(
        r#"
        > GET /engine.io/?EIO=3&transport=polling&b64=1
        < 200 …
        > POST /engine.io/?EIO=3&transport=polling&sid=$sid1
            | 6:4hello6:4world2:4€
        < 200 text/html ok
        > GET /engine.io/?EIO=3&transport=polling&sid=$sid1
        < 200 text/plain; charset=UTF-8 6:4hello6:4world2:4€
        > POST /engine.io/?EIO=3&transport=polling&sid=$sid1
            | 6:4hello10:b4AQIDBA==
        < 200 text/html ok
        > GET /engine.io/?EIO=3&transport=polling&sid=$sid1
        < 200 text/plain; charset=UTF-8 6:4hello10:b4AQIDBA==
        # A poll that came first is held, and answers with all that one request brought.
        poll> GET /engine.io/?EIO=3&transport=polling&sid=$sid1
        > POST /engine.io/?EIO=3&transport=polling&sid=$sid1
            | 2:4a2:4b
        < 200 text/html ok
        poll< 200 text/plain; charset=UTF-8 2:4a2:4b
        "#,
    );
    // A client that takes binary bodies gets them when there is anything binary, and only then.
    echo(
        r#"
        > GET /engine.io/?EIO=3&transport=polling
        < 200 text/plain…
        > POST /engine.io/?EIO=3&transport=polling&sid=$sid1
            content-type: application/octet-stream
            | \x00\x03\x7f
        < 400
        "#,
    );
}

#[test]
fn binary_bodies() {
    // The notation has no bytes beyond ASCII: lengths end with 0xFF, so that the answer is shown in hexadecimal.
    echo(
        r#"
        > GET /engine.io/?EIO=3&transport=polling
        < 200 text/plain…
        > POST /engine.io/?EIO=3&transport=polling&sid=$sid1
            | 2:4a10:b4AQIDBA==
        < 200 text/html ok
        > GET /engine.io/?EIO=3&transport=polling&sid=$sid1
        < 200 application/octet-stream [binary] 0002ff34610105ff0401020304
        "#,
    );
}

#[test]
fn socket_messages() {
    echo(
        r#"
        > WS /engine.io/?EIO=3&transport=websocket
        < 101
        < 0…
        > 4hello
        < 4hello
        > [binary] 0401020304
        < [binary] 0401020304
        > 2
        < 3
        > [binary] 0501
        < [close]
        < [closed]
        "#,
    );
}

#[test]
fn what_is_no_packet_ends_the_session() {
    for body in ["abc", "0:", "2:4", "1:7", ":4a", "99:4a"] {
        echo(&format!(
            r#"
            > GET /engine.io/?EIO=3&transport=polling
            < 200 …
            poll> GET /engine.io/?EIO=3&transport=polling&sid=$sid1
            > POST /engine.io/?EIO=3&transport=polling&sid=$sid1
                | {body}
            < 400
            poll< 200 text/plain; charset=UTF-8 1:1
            > GET /engine.io/?EIO=3&transport=polling&sid=$sid1
            < 400 …
            "#
        ));
    }
    echo("> WS /engine.io/?EIO=3&transport=websocket\n< 101\n< 0…\n> abc\n< [close]\n< [closed]");
}

#[test]
fn the_client_pings() {
    echo(
        r#"
        > GET /engine.io/?EIO=3&transport=polling
        < 200 …
        @ +499ms
        > POST /engine.io/?EIO=3&transport=polling&sid=$sid1
            | 1:2
        < 200 text/html ok
        > GET /engine.io/?EIO=3&transport=polling&sid=$sid1
        < 200 text/plain; charset=UTF-8 1:3
        @ +499ms
        > POST /engine.io/?EIO=3&transport=polling&sid=$sid1
            | 1:2
        < 200 text/html ok
        > GET /engine.io/?EIO=3&transport=polling&sid=$sid1
        < 200 text/plain; charset=UTF-8 1:3
        @ +500ms
        > POST /engine.io/?EIO=3&transport=polling&sid=$sid1
            | 1:2
        < 400 application/json {"code":1,"message":"Session ID unknown"}
        > WS /engine.io/?EIO=3&transport=websocket
        < 101
        < 0…
        @ +500ms
        < [close]
        < [closed]
        "#,
    );
}

#[test]
fn clients_say_goodbye() {
    echo(
        r#"
        > GET /engine.io/?EIO=3&transport=polling
        < 200 …
        poll> GET /engine.io/?EIO=3&transport=polling&sid=$sid1
        > POST /engine.io/?EIO=3&transport=polling&sid=$sid1
            | 1:1
        < 200 text/html ok
        poll< 200 text/plain; charset=UTF-8 1:6
        > GET /engine.io/?EIO=3&transport=polling&sid=$sid1
        < 400 …
        > GET /engine.io/?EIO=3&transport=polling
        < 200 …
        > POST /engine.io/?EIO=3&transport=polling&sid=$sid5
            | 1:1
        < 200 text/html ok
        > GET /engine.io/?EIO=3&transport=polling&sid=$sid5
        < 200 text/plain; charset=UTF-8 1:6
        "#,
    );
}

#[test]
fn upgrades() {
    echo(
        r#"
        > GET /engine.io/?EIO=3&transport=polling
        < 200 …
        poll> GET /engine.io/?EIO=3&transport=polling&sid=$sid1
        ws> WS /engine.io/?EIO=3&transport=websocket&sid=$sid1
        ws< 101
        ws> 2probe
        ws< 3probe
        poll< 200 text/plain; charset=UTF-8 1:6
        ws> 5
        ws> 4hello
        ws< 4hello
        > GET /engine.io/?EIO=3&transport=polling&sid=$sid1
        < 400 application/json {"code":3,"message":"Bad request"}
        other> WS /engine.io/?EIO=3&transport=websocket&sid=$sid1
        other< 101
        other< [close]
        other< [closed]
        ws> 4still
        ws< 4still
        "#,
    );
}

#[test]
fn jsonp() {
    echo(
        r#"
        > GET /engine.io/?EIO=3&transport=polling&j=0
        < 200 text/plain; charset=UTF-8 ___eio[0]("130:0{\"sid\":\"$sid1\",…}");
        > POST /engine.io/?EIO=3&transport=polling&j=1&sid=$sid1
            content-type: application/x-www-form-urlencoded
            | d=10%3A4h%22e%5Cnl%5C%5Cnlo10%3Ab4AQIDBA%3D%3D
        < 200 text/html ok
        > GET /engine.io/?EIO=3&transport=polling&j=2);alert(&sid=$sid1
        < 200 text/plain; charset=UTF-8 ___eio[2]("10:4h\"e\nl\\nlo10:b4AQIDBA==");
        > POST /engine.io/?EIO=3&transport=polling&j=3&sid=$sid1
            | nothing=1
        < 400
        "#,
    );
}

#[test]
fn a_client_that_never_polls_is_cut_off() {
    let settings = SocketIoSettings { queue_bytes_max: 100, ..SocketIoSettings::engineio_suite() };
    check(
        settings,
        &format!(
            r#"
            > GET /engine.io/?EIO=3&transport=polling
            < 200 …
            > POST /engine.io/?EIO=3&transport=polling&sid=$sid1
                | 61:4{0}
            < 200 text/html ok
            > POST /engine.io/?EIO=3&transport=polling&sid=$sid1
                | 61:4{0}
            < 200 text/html ok
            > GET /engine.io/?EIO=3&transport=polling&sid=$sid1
            < 400 …
            "#,
            "x".repeat(60)
        ),
    );
}

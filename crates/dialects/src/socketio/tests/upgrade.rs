//! From polling to WebSocket: nothing lost, doubled or reordered at any moment.

use super::super::SocketIoSettings;
use super::{check, plain};

fn echo(text: &str) {
    check(SocketIoSettings::engineio_suite(), text);
}

#[test]
fn the_whole_way() {
    echo(
        r#"
        > GET /engine.io/?EIO=4&transport=polling
        < 200 …
        poll> GET /engine.io/?EIO=4&transport=polling&sid=$sid1
        ws> WS /engine.io/?EIO=4&transport=websocket&sid=$sid1
        ws< 101
        # The poll that waits comes back at once, so that the client can stop polling.
        ws> 2probe
        ws< 3probe
        poll< 200 text/plain; charset=UTF-8 6
        ws> 5
        ws> 4hello
        ws< 4hello
        # Polling is over, and a further WebSocket is not wanted; the session does not mind.
        > GET /engine.io/?EIO=4&transport=polling&sid=$sid1
        < 400 application/json {"code":3,"message":"Bad request"}
        > POST /engine.io/?EIO=4&transport=polling&sid=$sid1
            | 4x
        < 400 application/json {"code":3,"message":"Bad request"}
        other> WS /engine.io/?EIO=4&transport=websocket&sid=$sid1
        other< 101
        other< [close]
        other< [closed]
        ws> 4still
        ws< 4still
        ws> [gone]
        > GET /engine.io/?EIO=4&transport=polling&sid=$sid1
        < 400 application/json {"code":1,"message":"Session ID unknown"}
        "#,
    );
}

#[test]
fn messages_in_between() {
    check(
        plain(),
        r#"
        > GET /socket.io/?EIO=4&transport=polling
        < 200 …
        > POST /socket.io/?EIO=4&transport=polling&sid=$sid1
            | 40
        < 200 text/html ok
        > GET /socket.io/?EIO=4&transport=polling&sid=$sid1
        < 200 text/plain; charset=UTF-8 40{"sid":"$id1"}
        > POST /socket.io/?EIO=4&transport=polling&sid=$sid1
            | 42["join","a"]
        < 200 text/html ok
        ws> WS /socket.io/?EIO=4&transport=websocket&sid=$sid1
        ws< 101
        # Before the probe: by polling.
        ! publish a "1"
        > GET /socket.io/?EIO=4&transport=polling&sid=$sid1
        < 200 text/plain; charset=UTF-8 42["message","1"]
        ws> 2probe
        ws< 3probe
        # Between probe and upgrade: by a poll if there is one, and a poll does not wait any more.
        > GET /socket.io/?EIO=4&transport=polling&sid=$sid1
        < 200 text/plain; charset=UTF-8 6
        ! publish a "2"
        > GET /socket.io/?EIO=4&transport=polling&sid=$sid1
        < 200 text/plain; charset=UTF-8 42["message","2"]\x1e6
        ! publish a "3"
        ! publish a "4"
        ws> 5
        ws< 42["message","3"]
        ws< 42["message","4"]
        ! publish a "5"
        ws< 42["message","5"]
        "#,
    );
}

#[test]
fn heartbeats_go_on() {
    echo(
        r#"
        > GET /engine.io/?EIO=4&transport=polling
        < 200 …
        ws> WS /engine.io/?EIO=4&transport=websocket&sid=$sid1
        ws< 101
        ws> 2probe
        ws< 3probe
        @ +200ms
        ws> 5
        @ +100ms
        ws< 2
        @ +199ms
        ws> 3
        @ +300ms
        ws< 2
        @ +200ms
        ws< [close]
        ws< [closed]
        "#,
    );
}

#[test]
fn a_poll_that_is_there_at_the_upgrade_gets_its_noop() {
    for version in ["4", "3"] {
        let noop = if version == "4" { "6" } else { "1:6" };
        let hello = "4hello";
        echo(&format!(
            r#"
            > GET /engine.io/?EIO={version}&transport=polling
            < 200 …
            ws> WS /engine.io/?EIO={version}&transport=websocket&sid=$sid1
            ws< 101
            ws> 2probe
            ws< 3probe
            poll> GET /engine.io/?EIO={version}&transport=polling&sid=$sid1
            poll< 200 text/plain; charset=UTF-8 {noop}
            ws> 5
            ws> {hello}
            ws< {hello}
            "#
        ));
    }
}

#[test]
fn an_upgrade_that_fails_changes_nothing() {
    for (strange, said) in
        [("4hello", "a message"), ("5", "no probe before"), ("2", "a ping"), ("[binary] 00", "binary data"), ("x", "no packet")]
    {
        echo(&format!(
            r#"
            # {said}
            > GET /engine.io/?EIO=4&transport=polling
            < 200 …
            ws> WS /engine.io/?EIO=4&transport=websocket&sid=$sid1
            ws< 101
            ws> {strange}
            ws< [close]
            ws< [closed]
            > POST /engine.io/?EIO=4&transport=polling&sid=$sid1
                | 4alive
            < 200 text/html ok
            > GET /engine.io/?EIO=4&transport=polling&sid=$sid1
            < 200 text/plain; charset=UTF-8 4alive
            # It may be tried again.
            ws> WS /engine.io/?EIO=4&transport=websocket&sid=$sid1
            ws< 101
            ws> 2probe
            ws< 3probe
            ws> 5
            ws> 4hello
            ws< 4hello
            "#
        ));
    }
}

#[test]
fn candidates_come_and_go() {
    let slow = SocketIoSettings { ping_interval: std::time::Duration::from_secs(60), ..SocketIoSettings::engineio_suite() };
    check(
        slow,
        r#"
        > GET /engine.io/?EIO=4&transport=polling
        < 200 …
        ws> WS /engine.io/?EIO=4&transport=websocket&sid=$sid1
        ws< 101
        # One at a time.
        other> WS /engine.io/?EIO=4&transport=websocket&sid=$sid1
        other< 101
        other< [close]
        other< [closed]
        ws> [gone]
        ws> WS /engine.io/?EIO=4&transport=websocket&sid=$sid1
        ws< 101
        ws> 2probe
        ws< 3probe
        # Ten seconds for the whole way.
        @ +9999ms
        @ +1ms
        ws< [close]
        ws< [closed]
        > GET /engine.io/?EIO=4&transport=polling&sid=$sid1
        ! close drain
        < 200 text/plain; charset=UTF-8 1
        "#,
    );
    echo(
        r#"
        > GET /engine.io/?EIO=4&transport=polling
        < 200 …
        ws> WS /engine.io/?EIO=4&transport=websocket&sid=$sid1
        ws< 101
        # The session ends, and the candidate with it.
        @ +300ms
        @ +200ms
        ws< [close]
        ws< [closed]
        "#,
    );
}

#[test]
fn revision_3_sends_what_waited() {
    echo(
        r#"
        > GET /engine.io/?EIO=3&transport=polling
        < 200 …
        > POST /engine.io/?EIO=3&transport=polling&sid=$sid1
            | 2:4a6:b4AQID
        < 200 text/html ok
        ws> WS /engine.io/?EIO=3&transport=websocket&sid=$sid1
        ws< 101
        ws> 2probe
        ws< 3probe
        ws> 5
        ws< 4a
        ws< [binary] 04010203
        "#,
    );
}

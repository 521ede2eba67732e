//! The cases of the protocol's own suites (`docs/*-protocol/*-test-suite` of the Socket.IO repository), each with the test that ports it.
//!
//! | case | Engine.IO 4 | Socket.IO 5 | Engine.IO 3 |
//! | --- | --- | --- | --- |
//! | polling: opens | engine4::polling_handshakes | suites::the_engine_below | engine3::handshakes |
//! | polling: wrong `EIO` | engine4::polling_handshakes | suites::the_engine_below | – |
//! | polling: wrong `transport` | engine4::polling_handshakes | suites::the_engine_below | suites::no_transport |
//! | polling: wrong method | engine4::polling_handshakes | suites::the_engine_below | engine3::handshakes |
//! | WebSocket: opens | engine4::websocket_handshakes | suites::the_engine_below | engine3::handshakes |
//! | WebSocket: wrong `EIO` | engine4::websocket_handshakes | suites::the_engine_below | engine4::websocket_handshakes |
//! | WebSocket: wrong `transport` | engine4::websocket_handshakes | suites::the_engine_below | suites::no_transport |
//! | polling: one text | engine4::polled_messages | – | suites::one_text_by_polling |
//! | polling: several texts | engine4::polled_messages | – | engine3::polled_messages |
//! | polling: text and base64 | engine4::polled_messages | – | engine3::polled_messages |
//! | polling: text and binary | – | – | engine3::binary_bodies |
//! | polling: no packet | engine4::what_is_no_packet_ends_the_session | – | engine3::what_is_no_packet_ends_the_session |
//! | polling: two polls | engine4::polls_at_the_same_time_end_the_session | – | – |
//! | polling: cancelled | engine4::a_cancelled_poll_ends_the_session | – | – |
//! | WebSocket: text | engine4::socket_messages | – | engine3::socket_messages |
//! | WebSocket: binary | engine4::socket_messages | – | engine3::socket_messages |
//! | WebSocket: no packet | engine4::what_is_no_packet_ends_the_session | – | engine3::what_is_no_packet_ends_the_session |
//! | polling: heartbeats | suites::the_engine_below | suites::the_engine_below | engine3::the_client_pings |
//! | polling: no heartbeat | suites::the_engine_below | suites::the_engine_below | engine3::the_client_pings |
//! | WebSocket: heartbeats | suites::the_engine_below | suites::the_engine_below | suites::pings_by_websocket |
//! | WebSocket: no heartbeat | suites::the_engine_below | suites::the_engine_below | engine3::the_client_pings |
//! | polling: goodbye | engine4::clients_say_goodbye | suites::the_engine_below | engine3::clients_say_goodbye |
//! | WebSocket: goodbye | engine4::clients_say_goodbye | suites::the_engine_below | suites::goodbye_by_websocket |
//! | upgrade | upgrade::a_poll_that_is_there_at_the_upgrade_gets_its_noop | suites::the_engine_below | upgrade::a_poll_that_is_there_at_the_upgrade_gets_its_noop |
//! | upgraded: further requests | upgrade::the_whole_way | suites::the_engine_below | engine3::upgrades |
//! | upgraded: further WebSockets | upgrade::the_whole_way | suites::the_engine_below | engine3::upgrades |
//! | connects to `/` | – | socketio5::namespaces_are_connected | – |
//! | connects to `/` with a payload | – | socketio5::namespaces_are_connected | – |
//! | connects to `/custom` | – | socketio5::namespaces_are_connected | – |
//! | connects to `/custom` with a payload | – | socketio5::namespaces_are_connected | – |
//! | unknown namespace | – | socketio5::namespaces_are_connected | – |
//! | wrong first packet | – | socketio5::a_strange_first_packet_ends_the_connection | – |
//! | no first packet | – | suites::the_engine_below | – |
//! | leaves `/` | – | suites::the_main_namespace_is_left | – |
//! | leaves `/custom` | – | socketio5::namespaces_are_left | – |
//! | text | – | socketio5::messages_and_acknowledgements | – |
//! | binary | – | socketio5::messages_and_acknowledgements | – |
//! | text, acknowledged | – | socketio5::messages_and_acknowledgements | – |
//! | binary, acknowledged | – | socketio5::messages_and_acknowledgements | – |
//! | unknown type | – | socketio5::a_broken_packet_ends_the_connection | – |
//! | wrong payload | – | socketio5::a_broken_packet_ends_the_connection | – |
//! | wrong acknowledgement id | – | socketio5::a_broken_packet_ends_the_connection | – |

use super::super::SocketIoSettings;
use super::check;

fn echo(text: &str) {
    check(SocketIoSettings::engineio_suite(), text);
}

#[test]
fn every_case_has_its_test() {
    let sources = [
        ("engine3", include_str!("engine3.rs")),
        ("engine4", include_str!("engine4.rs")),
        ("socketio5", include_str!("socketio5.rs")),
        ("suites", include_str!("suites.rs")),
        ("upgrade", include_str!("upgrade.rs")),
    ];
    let rows = include_str!("suites.rs").lines().filter_map(|line| line.strip_prefix("//! | ")).skip(2);
    let mut cases = [0; 3];
    for row in rows {
        let columns = row.trim_end_matches(" |").split(" | ").collect::<Vec<_>>();
        assert_eq!(columns.len(), 4, "{row}");
        for (suite, port) in columns[1..].iter().enumerate().filter(|(_, port)| **port != "–") {
            let there = port.split_once("::").is_some_and(|(module, name)| {
                sources.iter().any(|(file, source)| *file == module && source.contains(&format!("\n#[test]\nfn {name}() {{")))
            });
            assert!(there, "{row}: no test {port}");
            cases[suite] += 1;
        }
    }
    assert_eq!(cases, [25, 32, 23], "as many as the suites run: Engine.IO 4, Socket.IO 5, Engine.IO 3");
}

#[test]
fn the_engine_below() {
    // Engine.IO's own cases, which the suite of Socket.IO has again with its path.
    for (path, settings) in
        [("/engine.io/", SocketIoSettings::engineio_suite as fn() -> SocketIoSettings), ("/socket.io/", SocketIoSettings::socketio_suite)]
    {
        for text in ENGINE_CASES {
            check(settings(), &text.replace("PATH", path));
        }
    }
}

const ENGINE_CASES: &[&str] = &[
    // Opening, and what is refused.
    r#"
    > GET PATH?EIO=4&transport=polling
    < 200 text/plain; charset=UTF-8 0{"sid":"$sid1","upgrades":["websocket"],"pingInterval":300,"pingTimeout":200,"maxPayload":1000000}
    > GET PATH?transport=polling
    < 400 …
    > GET PATH?EIO=abc&transport=polling
    < 400 …
    > GET PATH?EIO=4
    < 400 …
    > GET PATH?EIO=4&transport=abc
    < 400 …
    > POST PATH?EIO=4&transport=polling
    < 400 …
    > PUT PATH?EIO=4&transport=polling
    < 400 …
    "#,
    r#"
    > WS PATH?EIO=4&transport=websocket
    < 101
    < 0{"sid":"$sid1","upgrades":[],"pingInterval":300,"pingTimeout":200,"maxPayload":1000000}
    > [gone]
    > WS PATH?transport=websocket
    < 400 …
    > WS PATH?EIO=abc&transport=websocket
    < 400 …
    > WS PATH?EIO=4
    < 400 …
    > WS PATH?EIO=4&transport=abc
    < 400 …
    "#,
    // Three heartbeats, and none.
    r#"
    > GET PATH?EIO=4&transport=polling
    < 200 …
    > GET PATH?EIO=4&transport=polling&sid=$sid1
    @ +300ms
    < 200 text/plain; charset=UTF-8 2
    > POST PATH?EIO=4&transport=polling&sid=$sid1
        | 3
    < 200 text/html ok
    > GET PATH?EIO=4&transport=polling&sid=$sid1
    @ +300ms
    < 200 text/plain; charset=UTF-8 2
    > POST PATH?EIO=4&transport=polling&sid=$sid1
        | 3
    < 200 text/html ok
    > GET PATH?EIO=4&transport=polling&sid=$sid1
    @ +300ms
    < 200 text/plain; charset=UTF-8 2
    > POST PATH?EIO=4&transport=polling&sid=$sid1
        | 3
    < 200 text/html ok
    "#,
    r#"
    > GET PATH?EIO=4&transport=polling
    < 200 …
    @ +500ms
    > GET PATH?EIO=4&transport=polling&sid=$sid1
    < 400 …
    "#,
    r#"
    > WS PATH?EIO=4&transport=websocket
    < 101
    < 0…
    @ +300ms
    < 2
    > 3
    @ +300ms
    < 2
    > 3
    @ +300ms
    < 2
    > 3
    "#,
    r#"
    > WS PATH?EIO=4&transport=websocket
    < 101
    < 0…
    @ +300ms
    < 2
    @ +200ms
    < [close]
    < [closed]
    "#,
    // Goodbyes.
    r#"
    > GET PATH?EIO=4&transport=polling
    < 200 …
    poll> GET PATH?EIO=4&transport=polling&sid=$sid1
    > POST PATH?EIO=4&transport=polling&sid=$sid1
        | 1
    < 200 text/html ok
    poll< 200 text/plain; charset=UTF-8 6
    > GET PATH?EIO=4&transport=polling&sid=$sid1
    < 400 …
    "#,
    "> WS PATH?EIO=4&transport=websocket\n< 101\n< 0…\n> 1\n< [close]\n< [closed]",
    // The upgrade, and what comes too late.
    r#"
    > GET PATH?EIO=4&transport=polling
    < 200 …
    ws> WS PATH?EIO=4&transport=websocket&sid=$sid1
    ws< 101
    ws> 2probe
    ws< 3probe
    ws> 5
    > GET PATH?EIO=4&transport=polling&sid=$sid1
    < 400 …
    other> WS PATH?EIO=4&transport=websocket&sid=$sid1
    other< 101
    other< [close]
    other< [closed]
    "#,
];

#[test]
fn the_main_namespace_is_left() {
    check(
        SocketIoSettings::socketio_suite(),
        "> WS /socket.io/?EIO=4&transport=websocket\n< 101\n< 0…\n> 40\n< 40…\n< 42[\"auth\",{}]\n> 41\n@ +300ms\n< 2",
    );
}

#[test]
fn no_transport() {
    echo("> GET /engine.io/?EIO=3\n< 400 …\n> GET /engine.io/?EIO=3&transport=abc\n< 400 …");
    echo("> WS /engine.io/?EIO=3\n< 400 …\n> WS /engine.io/?EIO=3&transport=abc\n< 400 …");
}

#[test]
fn one_text_by_polling() {
    echo(
        r#"
        > GET /engine.io/?EIO=3&transport=polling
        < 200 …
        > POST /engine.io/?EIO=3&transport=polling&sid=$sid1
            | 6:4hello
        < 200 text/html ok
        > GET /engine.io/?EIO=3&transport=polling&sid=$sid1
        < 200 text/plain; charset=UTF-8 6:4hello
        "#,
    );
}

#[test]
fn pings_by_websocket() {
    echo("> WS /engine.io/?EIO=3&transport=websocket\n< 101\n< 0…\n> 2\n< 3\n> 2\n< 3\n> 2\n< 3");
}

#[test]
fn goodbye_by_websocket() {
    echo("> WS /engine.io/?EIO=3&transport=websocket\n< 101\n< 0…\n> 1\n< [close]\n< [closed]");
}

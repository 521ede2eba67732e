//! Connection state recovery: a lost socket is taken up again with its id, its rooms and everything that it missed, or not at all.

use super::super::SocketIoSettings;
use super::check;

fn recovering(text: &str) {
    check(SocketIoSettings::default(), text);
}

/// A client in `/` and the room `a`.
const JOINED: &str = r#"
        > WS /socket.io/?EIO=4&transport=websocket
        < 101
        < 0…
        > 40
        < 40{"sid":"$id1","pid":"$pid1"}
        > 42["join","a"]
"#;

#[track_caller]
fn joined(text: &str) {
    recovering(&format!("{JOINED}{text}"));
}

#[test]
fn across_a_blip_and_more_than_once() {
    joined(
        r#"
        ! publish a 1
        < 42["message",1,"z.1"]
        > [gone]
        ! publish a "2"
        ! publish other 3
        ! publish a event=e 4
        > WS /socket.io/?EIO=4&transport=websocket
        < 101
        < 0…
        > 40{"pid":"$pid1","offset":"z.1"}
        < 42["message","2","z.2"]
        < 42["e",4,"z.4"]
        < 40{"sid":"$id1","pid":"$pid1"}
        ! publish a 5
        < 42["message",5,"z.5"]
        > [gone]
        ! publish a 6
        > GET /socket.io/?EIO=4&transport=polling
        < 200 …
        > POST /socket.io/?EIO=4&transport=polling&sid=$sid3
            | 40{"pid":"$pid1","offset":"z.5"}
        < 200 text/html ok
        > GET /socket.io/?EIO=4&transport=polling&sid=$sid3
        < 200 text/plain; charset=UTF-8 42["message",6,"z.6"]\x1e40{"sid":"$id1","pid":"$pid1"}
        ! publish a 7
        > GET /socket.io/?EIO=4&transport=polling&sid=$sid3
        < 200 text/plain; charset=UTF-8 42["message",7,"z.7"]
        "#,
    );
}

#[test]
fn a_drop_that_the_server_has_not_noticed() {
    joined(
        r#"
        ! publish a 1
        < 42["message",1,"z.1"]
        # The old connection is dead, but nobody knows; what is sent there is lost.
        ! publish a 2
        < 42["message",2,"z.2"]
        new> WS /socket.io/?EIO=4&transport=websocket
        new< 101
        new< 0…
        new> 40{"pid":"$pid1","offset":"z.1"}
        new< 42["message",2,"z.2"]
        new< 40{"sid":"$id1","pid":"$pid1"}
        # When it is noticed at last, that takes nothing from the new one.
        @ +25s
        < 2
        new< 2
        new> 3
        @ +20s
        < [close]
        < [closed]
        new> [gone]
        ! publish a 3
        again> WS /socket.io/?EIO=4&transport=websocket
        again< 101
        again< 0…
        again> 40{"pid":"$pid1","offset":"z.2"}
        again< 42["message",3,"z.3"]
        again< 40{"sid":"$id1","pid":"$pid1"}
        "#,
    );
}

#[test]
fn a_client_that_had_received_nothing() {
    joined(
        r#"
        > 42["join","b"]
        > [gone]
        ! publish a 1
        ! publish b 2
        > WS /socket.io/?EIO=4&transport=websocket
        < 101
        < 0…
        > 40{"pid":"$pid1"}
        < 42["message",1,"z.1"]
        < 42["message",2,"z.2"]
        < 40{"sid":"$id1","pid":"$pid1"}
        "#,
    );
    // Nothing from before it joined, though another room reaches further back.
    joined(
        r#"
        ! publish b "before"
        > 42["join","b"]
        ! publish b 2
        < 42["message",2,"z.2"]
        > [gone]
        > WS /socket.io/?EIO=4&transport=websocket
        < 101
        < 0…
        > 40{"pid":"$pid1"}
        < 42["message",2,"z.2"]
        < 40{"sid":"$id1","pid":"$pid1"}
        "#,
    );
}

#[test]
fn a_client_in_no_room_keeps_its_id() {
    recovering(
        r#"
        > WS /socket.io/?EIO=4&transport=websocket
        < 101
        < 0…
        > 40
        < 40{"sid":"$id1","pid":"$pid1"}
        > [gone]
        > WS /socket.io/?EIO=4&transport=websocket
        < 101
        < 0…
        > 40{"pid":"$pid1"}
        < 40{"sid":"$id1","pid":"$pid1"}
        "#,
    );
}

#[test]
fn its_own_messages_do_not_come_back() {
    joined(
        r#"
        > 42["chat","mine"]
        > 42["publish","a","all","mine too"]
        < 42["all","mine too","z.2"]
        > 42["chat","mine again"]
        > [gone]
        > WS /socket.io/?EIO=4&transport=websocket
        < 101
        < 0…
        > 40{"pid":"$pid1"}
        < 42["all","mine too","z.2"]
        < 40{"sid":"$id1","pid":"$pid1"}
        > [gone]
        > WS /socket.io/?EIO=4&transport=websocket
        < 101
        < 0…
        > 40{"pid":"$pid1","offset":"z.2"}
        < 40{"sid":"$id1","pid":"$pid1"}
        "#,
    );
}

#[test]
fn what_ends_the_memory() {
    let anew = |words: &str, auth: &str| {
        joined(&format!(
            r#"
        ! publish a 1
        < 42["message",1,"z.1"]
        {words}
        > WS /socket.io/?EIO=4&transport=websocket
        < 101
        < 0…
        > 40{auth}
        < 40{{"sid":"$id2","pid":"$pid2"}}
        ! publish a 9
        "#
        ));
    };
    let known = r#"{"pid":"$pid1","offset":"z.1"}"#;
    anew("> [gone]\n        @ +121s", known);
    anew("> 41\n        > [gone]", known);
    anew("! close kicked\n        < 42[\"error\",…]\n        < 41\n        < [close]\n        < [closed]", known);
    anew("> [gone]", r#"{"pid":"$pid9","offset":"z.1"}"#);
    anew("> [gone]", r#"{"pid":"$pid1","offset":"the last argument was a text"}"#);
    anew("> [gone]", r#"{"pid":"$pid1","offset":"y.1"}"#);
    anew("> [gone]", r#"{"pid":7,"offset":"z.1"}"#);
    anew("> [gone]\n        ! deny subscribe forbidden not any more", known);
    anew("> [gone]\n        ! user somebody-else", r#"{"pid":"$pid1","offset":"z.1","token":"t"}"#);
    anew("> [gone]\n        ! keep 1\n        ! publish a 2\n        ! publish a 3\n        ! publish a 4", known);
    // Another namespace is another socket.
    joined(
        r#"
        > [gone]
        > WS /socket.io/?EIO=4&transport=websocket
        < 101
        < 0…
        > 40/n,{"pid":"$pid1"}
        < 40/n,{"sid":"$id2","pid":"$pid2"}
        "#,
    );
}

#[test]
fn the_server_goes_and_comes_back() {
    joined(
        r#"
        ! close drain
        < [close]
        < [closed]
        ! publish a 1
        > WS /socket.io/?EIO=4&transport=websocket
        < 101
        < 0…
        > 40{"pid":"$pid1"}
        < 42["message",1,"z.1"]
        < 40{"sid":"$id1","pid":"$pid1"}
        "#,
    );
}

#[test]
fn many_missed_messages_come_in_pages() {
    let dialect = super::super::SocketIo::new(SocketIoSettings::default());
    let mut stage = omnivox_testkit::transcript::Stage::new(&dialect).missed_max(2);
    let text = format!(
        r#"{JOINED}
        > [gone]
        ! publish a 1
        ! publish a 2
        ! publish a 3
        ! publish a 4
        ! publish a 5
        > WS /socket.io/?EIO=4&transport=websocket
        < 101
        < 0…
        > 40{{"pid":"$pid1"}}
        < 42["message",1,"z.1"]
        < 42["message",2,"z.2"]
        < 42["message",3,"z.3"]
        < 42["message",4,"z.4"]
        < 42["message",5,"z.5"]
        < 40{{"sid":"$id1","pid":"$pid1"}}
        "#
    );
    stage.play(&super::named(&text));
}

#[test]
fn a_connection_that_is_lost_while_it_is_recovered() {
    joined(
        r#"
        > [gone]
        ! publish a 1
        ! hold
        > WS /socket.io/?EIO=4&transport=websocket
        < 101
        < 0…
        > 40{"pid":"$pid1"}
        > [gone]
        ! release
        > WS /socket.io/?EIO=4&transport=websocket
        < 101
        < 0…
        > 40{"pid":"$pid1"}
        < 42["message",1,"z.1"]
        < 40{"sid":"$id1","pid":"$pid1"}
        "#,
    );
}

#[test]
fn offsets_never_lie() {
    joined(
        r#"
        # A message outside all channels has no place, and a text at its end must not be taken for one.
        ! direct event=only "text"
        < 42["only","text",null]
        ! publish a binary 616263
        < 451-["message",{"_placeholder":true,"num":0},"z.1"]
        < [binary] 616263
        > 42["join"]
        < 42["error",{…}]
        "#,
    );
}

#[test]
fn presence_comes_back_too() {
    recovering(
        r#"
        > WS /socket.io/?EIO=4&transport=websocket
        < 101
        < 0…
        > 40
        < 40{"sid":"$id1","pid":"$pid1"}
        > 42["join",{"room":"a","presence":{"n":1}}]
        < 42["presence",{"action":"enter",…}]
        > [gone]
        > WS /socket.io/?EIO=4&transport=websocket
        < 101
        < 0…
        > 40{"pid":"$pid1"}
        < 40{"sid":"$id1","pid":"$pid1"}
        < 42["presence",{"action":"enter","room":"a","member":{"id":"$id1","data":{"n":1}}}]
        "#,
    );
}

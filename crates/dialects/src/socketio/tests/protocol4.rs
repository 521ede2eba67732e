//! Socket.IO 4 over Engine.IO 3: clients of the versions 1 and 2.

use super::super::SocketIoSettings;
use super::check;

fn old(text: &str) {
    check(SocketIoSettings { allow_eio3: true, ..SocketIoSettings::default() }, text);
}

#[test]
fn the_main_namespace_is_connected_without_asking() {
    old(r#"
        > GET /socket.io/?EIO=3&transport=polling&token=abc
        < 200 text/plain; charset=UTF-8 …:0{"sid":"$sid1",…}
        ? connect token abc
        > GET /socket.io/?EIO=3&transport=polling&sid=$sid1
        < 200 text/plain; charset=UTF-8 2:40
        > POST /socket.io/?EIO=3&transport=polling&sid=$sid1
            | 23:40/admin?token=1&x=y,10:40/admin?x
        < 400
        "#);
    old(r#"
        > WS /socket.io/?EIO=3&transport=websocket
        < 101
        < 0…
        < 40
        ? connect anonymous
        > 40/admin?token=1&x=y,
        < 40/admin,
        > 420["join","r"]
        < 430[{"ok":true,"rooms":["r"],"offset":"z.0","gap":false,"recovered":0}]
        > 42/admin,["join","r"]
        # The rooms are shared with everybody, each namespace has its own, and there is no offset behind the arguments.
        ! publish r {"a":1}
        < 42["message",{"a":1}]
        ! publish admin/r event=e "x"
        < 42/admin,["e","x"]
        > 41/admin
        ! publish admin/r event=e "x"
        > 2
        < 3
        "#);
}

#[test]
fn refusals_are_error_packets() {
    old(r#"
        ! deny connect unauthorized no such token
        > WS /socket.io/?EIO=3&transport=websocket
        < 101
        < 0…
        < 44"no such token"
        "#);
}

#[test]
fn binary_data() {
    old(r#"
        > WS /socket.io/?EIO=3&transport=websocket
        < 101
        < 0…
        < 40
        > 42["join","r"]
        ! publish r binary 616263
        < 451-["message",{"_placeholder":true,"num":0}]
        < [binary] 04616263
        > 451-["publish","r","e",{"b":{"_placeholder":true,"num":0}}]
        > [binary] 040102
        < 451-["e",{"b":{"_placeholder":true,"num":0}}]
        < [binary] 040102
        poll> GET /socket.io/?EIO=3&transport=polling&b64=1
        poll< 200 …
        poll> GET /socket.io/?EIO=3&transport=polling&sid=$sid2
        poll< 200 text/plain; charset=UTF-8 2:40
        poll> POST /socket.io/?EIO=3&transport=polling&sid=$sid2
            | 14:42["join","r"]
        poll< 200 text/html ok
        poll> GET /socket.io/?EIO=3&transport=polling&sid=$sid2
        ! publish r binary 616263
        < 451-["message",{"_placeholder":true,"num":0}]
        < [binary] 04616263
        poll< 200 text/plain; charset=UTF-8 45:451-["message",{"_placeholder":true,"num":0}]6:b4YWJj
        "#);
}

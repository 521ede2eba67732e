//! Socket.IO 5: the cases of its suite, and what ends a connection.

use super::super::{NamespaceSettings, SocketIoSettings};
use super::{check, plain};

fn suite(text: &str) {
    check(SocketIoSettings::socketio_suite(), text);
}

#[test]
fn namespaces_are_connected() {
    suite(
        r#"
        > WS /socket.io/?EIO=4&transport=websocket
        < 101
        < 0…
        > 40
        < 40{"sid":"$id1"}
        < 42["auth",{}]
        > 40/custom
        < 40/custom,{"sid":"$id1b"}
        < 42/custom,["auth",{}]
        > [gone]
        > WS /socket.io/?EIO=4&transport=websocket
        < 101
        < 0…
        > 40{"token":"123"}
        < 40{"sid":"$id2"}
        < 42["auth",{"token":"123"}]
        > 40/custom,{"token":"abc"}
        < 40/custom,{"sid":"$id2b"}
        < 42/custom,["auth",{"token":"abc"}]
        # Nobody has to be in the main namespace.
        > [gone]
        > WS /socket.io/?EIO=4&transport=websocket
        < 101
        < 0…
        > 40/random
        < 44/random,{"message":"Invalid namespace"}
        > 40/custom,
        < 40/custom,{"sid":"$id3"}
        < 42/custom,["auth",{}]
        "#,
    );
}

#[test]
fn who_connects_nothing_is_cut_off() {
    suite(
        r#"
        > WS /socket.io/?EIO=4&transport=websocket
        < 101
        < 0…
        > 40/random
        < 44/random,{"message":"Invalid namespace"}
        @ +300ms
        < 2
        > 3
        @ +300ms
        < 2
        > 3
        @ +300ms
        < 2
        > 3
        @ +100ms
        < [close]
        < [closed]
        > GET /socket.io/?EIO=4&transport=polling
        < 200 …
        @ +300ms
        > GET /socket.io/?EIO=4&transport=polling&sid=$sid2
        < 200 text/plain; charset=UTF-8 2
        > POST /socket.io/?EIO=4&transport=polling&sid=$sid2
            | 3\x1e40
        < 200 text/html ok
        @ +299ms
        @ +1ms
        > GET /socket.io/?EIO=4&transport=polling&sid=$sid2
        < 200 text/plain; charset=UTF-8 40{"sid":"$id2"}\x1e42["auth",{}]\x1e2
        > POST /socket.io/?EIO=4&transport=polling&sid=$sid2
            | 3
        < 200 text/html ok
        @ +400ms
        > POST /socket.io/?EIO=4&transport=polling&sid=$sid2
            | 42["message"]
        < 200 text/html ok
        "#,
    );
}

#[test]
fn a_strange_first_packet_ends_the_connection() {
    for packet in ["4", "4abc", "40[]", "40\"x\"", "40{", "41", "42[\"x\"]", "43[]", "44{\"message\":\"x\"}", "49", "4/custom", "41{}"] {
        suite(&format!("> WS /socket.io/?EIO=4&transport=websocket\n< 101\n< 0…\n> {packet}\n< [close]\n< [closed]"));
    }
}

#[test]
fn a_broken_packet_ends_the_connection() {
    for packet in [
        "4abc",
        "42{}",
        "42abc[\"message-with-ack\"]",
        "42",
        "42[]",
        "42[{}]",
        "42[null]",
        "42[\"connect\"]",
        "42[\"connect_error\"]",
        "42[\"disconnect\"]",
        "42[\"disconnecting\"]",
        "42[\"newListener\"]",
        "42[\"removeListener\"]",
        "42[\"message\",]",
        "40",
        "40{}",
        "41{}",
        "43{}",
        "44\"x\"",
        "42/other,[\"x\"]",
        "45[\"x\"]",
        "4510000-[\"x\"]",
        "4511-[\"x\"]",
        "45a-[\"x\"]",
        "451-{\"a\":1}",
        "[binary] 00",
    ] {
        suite(&format!(
            "> WS /socket.io/?EIO=4&transport=websocket\n< 101\n< 0…\n> 40\n< 40…\n< 42[\"auth\",{{}}]\n> {packet}\n< [close]\n< [closed]"
        ));
    }
    // What is announced must come, and nothing else.
    suite(
        "> WS /socket.io/?EIO=4&transport=websocket\n< 101\n< 0…\n> 40\n< 40…\n< 42…\n> 451-[\"message\",{\"_placeholder\":true,\"num\":0}]\n> 42[\"message\"]\n< [close]\n< [closed]",
    );
    suite(
        "> WS /socket.io/?EIO=4&transport=websocket\n< 101\n< 0…\n> 40\n< 40…\n< 42…\n> 451-[\"message\",{\"_placeholder\":true,\"num\":1}]\n> [binary] 00\n< [close]\n< [closed]",
    );
}

#[test]
fn messages_and_acknowledgements() {
    suite(
        r#"
        > WS /socket.io/?EIO=4&transport=websocket
        < 101
        < 0…
        > 40
        < 40…
        < 42["auth",{}]
        > 42["message",1,"2",{"3":[true]}]
        < 42["message-back",1,"2",{"3":[true]}]
        > 42["message"]
        < 42["message-back"]
        > 450-["message",1]
        < 42["message-back",1]
        > 42456["message-with-ack",1,"2",{"3":[false]}]
        < 43456[1,"2",{"3":[false]}]
        > 452-["message",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]
        > [binary] 010203
        > [binary] 040506
        < 452-["message-back",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]
        < [binary] 010203
        < [binary] 040506
        > 452-789["message-with-ack",{"_placeholder":true,"num":1},{"a":{"_placeholder":true,"num":0}}]
        > [binary] 010203
        > [binary] 040506
        < 462-789[{"_placeholder":true,"num":0},{"a":{"_placeholder":true,"num":1}}]
        < [binary] 040506
        < [binary] 010203
        # Answers to nothing are ignored.
        > 437["x"]
        > 461-8[{"_placeholder":true,"num":0}]
        > [binary] 00
        > 42["message","still here"]
        < 42["message-back","still here"]
        "#,
    );
}

#[test]
fn polls_carry_attachments_as_base64() {
    suite(
        r#"
        > GET /socket.io/?EIO=4&transport=polling
        < 200 …
        > POST /socket.io/?EIO=4&transport=polling&sid=$sid1
            | 40
        < 200 text/html ok
        > GET /socket.io/?EIO=4&transport=polling&sid=$sid1
        < 200 text/plain; charset=UTF-8 40{"sid":"$id1"}\x1e42["auth",{}]
        > POST /socket.io/?EIO=4&transport=polling&sid=$sid1
            | 451-["message",{"_placeholder":true,"num":0}]\x1ebAQIDBA==\x1e42["message",1]
        < 200 text/html ok
        > GET /socket.io/?EIO=4&transport=polling&sid=$sid1
        < 200 text/plain; charset=UTF-8 451-["message-back",{"_placeholder":true,"num":0}]\x1ebAQIDBA==\x1e42["message-back",1]
        "#,
    );
}

#[test]
fn namespaces_are_left() {
    suite(
        r#"
        > WS /socket.io/?EIO=4&transport=websocket
        < 101
        < 0…
        > 40
        < 40…
        < 42["auth",{}]
        > 40/custom
        < 40/custom…
        < 42/custom,["auth",{}]
        > 41/custom
        > 42["message",1]
        < 42["message-back",1]
        # Left for good, until it is connected again.
        > 40/custom
        < 40/custom,…
        < 42/custom,["auth",{}]
        > 41
        @ +300ms
        < 2
        > 3
        > 41/custom,
        > 42["message"]
        < [close]
        < [closed]
        "#,
    );
}

#[test]
fn any_namespace_unless_they_are_listed() {
    check(
        plain(),
        "> WS /socket.io/?EIO=4&transport=websocket\n< 101\n< 0…\n> 40/anything/at all\n< 40/anything/at all,{\"sid\":\"$id1\"}",
    );
    let long = "x".repeat(255);
    check(
        plain(),
        &format!(
            "> WS /socket.io/?EIO=4&transport=websocket\n< 101\n< 0…\n> 40/{long},\n< 44/{long},{{\"message\":\"Invalid namespace\"}}"
        ),
    );
    // {type:0,nsp:"a"}: only MessagePack can name a namespace without a slash.
    check(
        plain(),
        "> WS /socket.io/?EIO=4&transport=websocket\n< 101\n< 0…\n> [binary] 82a47479706500a36e7370a161\n< [binary] 83a47479706504a36e7370a161…",
    );
    let listed = SocketIoSettings { namespaces: NamespaceSettings::Listed(vec!["/a".to_owned()]), ..plain() };
    check(
        listed,
        "> WS /socket.io/?EIO=4&transport=websocket\n< 101\n< 0…\n> 40\n< 44{\"message\":\"Invalid namespace\"}\n> 40/a\n< 40/a,{\"sid\":\"$id1\"}",
    );
    let few = SocketIoSettings { namespaces_max: 1, ..plain() };
    check(
        few,
        r#"
        > WS /socket.io/?EIO=4&transport=websocket
        < 101
        < 0…
        > 40
        < 40…
        > 40/b
        < 44/b,{"message":"one connection has at most 1 namespaces (socketio.namespaces_max)","data":{"code":"limit_exceeded"}}
        "#,
    );
}

#[test]
fn credentials_are_the_hubs_to_judge() {
    check(
        plain(),
        r#"
        > WS /socket.io/?EIO=4&transport=websocket
            host: chat.example
            origin: https://a.example
        < 101
        < 0…
        ! deny connect unauthorized the token is not signed
        > 40{"token":"bad"}
        ? connect token bad…
        < 44{"message":"the token is not signed","data":{"code":"unauthorized"}}
        # The connection stays, and may be used to try again.
        > 40{"token":"good"}
        ? connect token good…
        < 40{"sid":"$id1"}
        # Further namespaces share the credential, said again or not.
        > 40/a,{"token":"good"}
        < 40/a,…
        > 40/b
        < 40/b,…
        # One may also follow who came without.
        > [gone]
        > WS /socket.io/?EIO=4&transport=websocket
        < 101
        < 0…
        > 40
        ? connect anonymous
        < 40…
        > 40/c,{"token":"late"}
        ? connect token late
        < 40/c,…
        "#,
    );
    check(
        plain(),
        r#"
        ! user alice
        > WS /socket.io/?EIO=4&transport=websocket
            authorization: Bearer header-token
        < 101
        < 0…
        > 40
        ? connect token header-token
        < 40{"sid":"$id1"}
        > 40/c,{"token":"other"}
        < 44/c,{"message":"one connection has one credential; connect this namespace with `forceNew: true`","data":{"code":"invalid"}}
        > [gone]
        > WS /socket.io/?EIO=4&transport=websocket
        < 101
        < 0…
        > 40{"ticket":"once"}
        ? connect ticket once
        < 40…
        > [gone]
        > WS /socket.io/?EIO=4&transport=websocket
        < 101
        < 0…
        > 40{"key":"k","secret":"s"}
        ? connect key k s
        < 40…
        > [gone]
        > WS /socket.io/?EIO=4&transport=websocket
        < 101
        < 0…
        > 40{"token":7}
        ? connect anonymous
        < 40…
        "#,
    );
}

#[test]
fn namespaces_wait_for_their_credential() {
    check(
        plain(),
        r#"
        > WS /socket.io/?EIO=4&transport=websocket
        < 101
        < 0…
        ! hold
        > 40
        > 40/a
        > 3
        ! release
        < 40{"sid":"$id1"}
        < 40/a,{"sid":"$id1b"}
        "#,
    );
    check(plain(), "> WS /socket.io/?EIO=4&transport=websocket\n< 101\n< 0…\n! hold\n> 40\n> 40\n< [close]\n< [closed]");
    check(plain(), "> WS /socket.io/?EIO=4&transport=websocket\n< 101\n< 0…\n! hold\n> 40\n> 42[\"early\"]\n< [close]\n< [closed]");
}

#[test]
fn goodbyes_of_the_server() {
    for (reason, packets) in [
        ("drain", ""),
        ("slow_consumer", ""),
        ("overloaded", ""),
        (
            "kicked",
            "< 42[\"error\",{\"code\":\"kicked\",\"message\":\"the connection was ended by the operator\"}]\n< 41\n< 42/a,[\"error\",…]\n< 41/a,\n",
        ),
        (
            "expired",
            "< 42[\"error\",{\"code\":\"expired\",\"message\":\"the credential is no longer valid; connect with a new one\"}]\n< 41\n< 42/a,[\"error\",…]\n< 41/a,\n",
        ),
    ] {
        check(
            plain(),
            &format!(
                "> WS /socket.io/?EIO=4&transport=websocket\n< 101\n< 0…\n> 40\n< 40…\n> 40/a\n< 40/a,…\n! close {reason}\n{packets}< [close]\n< [closed]"
            ),
        );
    }
    check(
        plain(),
        r#"
        > GET /socket.io/?EIO=4&transport=polling
        < 200 …
        > POST /socket.io/?EIO=4&transport=polling&sid=$sid1
            | 40
        < 200 text/html ok
        > GET /socket.io/?EIO=4&transport=polling&sid=$sid1
        < 200 …
        > GET /socket.io/?EIO=4&transport=polling&sid=$sid1
        ! close kicked
        < 200 text/plain; charset=UTF-8 42["error",…]\x1e41\x1e1
        "#,
    );
}

#[test]
fn messagepack() {
    // {type:0,nsp:"/"}, {type:2,nsp:"/",data:["message",1,bin 0102],id:3}, {type:1,nsp:"/"}
    suite(
        r#"
        > WS /socket.io/?EIO=4&transport=websocket
        < 101
        < 0…
        > [binary] 82a47479706500a36e7370a12f
        < [binary] 83a47479706500a36e7370a12fa46461746181a3736964b4…
        < [binary] 83a47479706502a36e7370a12fa46461746192a46175746880
        > [binary] 84a47479706502a36e7370a12fa46461746193b06d6573736167652d776974682d61636b01c4020102a2696403
        < [binary] 84a47479706503a36e7370a12fa46461746192 01c4020102a2696403
        > [binary] 82a47479706500a36e7370a22f78
        < [binary] 83a47479706504a36e7370a22f78a46461746181a76d657373616765b1496e76616c6964206e616d657370616365
        > [binary] 82a47479706501a36e7370a12f
        > [binary] c1
        < [close]
        < [closed]
        "#
        .replace("92 01c4", "9201c4")
        .as_str(),
    );
    suite(
        "> WS /socket.io/?EIO=4&transport=websocket\n< 101\n< 0…\n> [binary] 82a47479706500a36e7370a12f\n< [binary] …\n< [binary] …\n> 42[\"message\"]\n< [close]\n< [closed]",
    );
}

//! Rooms are channels: joining, leaving, publishing, and what other dialects' publications look like.

use super::super::SocketIoSettings;
use super::{check, plain};

/// A client in `/` over a WebSocket.
const CONNECTED: &str = "> WS /socket.io/?EIO=4&transport=websocket\n< 101\n< 0…\n> 40\n< 40…\n";

#[track_caller]
fn connected(text: &str) {
    let lines: String = text.lines().map(|line| format!("{}\n", line.strip_prefix("        ").unwrap_or(line))).collect();
    check(plain(), &format!("{CONNECTED}{lines}"));
}

#[test]
fn rooms_are_joined_and_left() {
    connected(
        r#"
        > 421["join","a"]
        ? subscribe a
        < 431[{"ok":true,"rooms":["a"],"offset":"z.0","gap":false,"recovered":0}]
        > 42["subscribe",["b/c",4]]
        ? subscribe b%2Fc+4
        # What it is in already is not joined again.
        > 422["join",["a","d"]]
        ? subscribe d
        < 432[{"ok":true,"rooms":["d"],"offset":"z.0","gap":false,"recovered":0}]
        > 423["join","a"]
        < 433[{"ok":true,"rooms":["a"]}]
        ! publish a 1
        < 42["message",1]
        ! publish b%2Fc+a 2
        < 42["message",2]
        > 424["leave","a"]
        ? unsubscribe a
        < 434[{"ok":true}]
        > 425["unsubscribe",["b/c","4","nowhere"]]
        ? unsubscribe b%2Fc
        ? unsubscribe 4
        < 435[{"ok":true}]
        ! publish a 3
        > 426["leave","a"]
        < 436[{"ok":true}]
        "#,
    );
}

#[test]
fn joins_tell_what_was_missed() {
    connected(
        r#"
        ! publish a 1
        ! publish a 2
        > 421["join",{"room":"a","since":"z.1"}]
        ? subscribe a since z.1
        < 42["message",2]
        < 431[{"ok":true,"rooms":["a"],"offset":"z.2","gap":false,"recovered":1}]
        ! gap a
        < 42["gap",{"room":"a"}]
        "#,
    );
}

#[test]
fn refusals_are_told() {
    connected(
        r#"
        ! deny subscribe forbidden not for you
        > 421["join","a"]
        < 431[{"ok":false,"error":{"code":"forbidden","message":"not for you"}}]
        ! deny subscribe forbidden not for you
        > 42["join","a"]
        < 42["error",{"code":"forbidden","message":"not for you","event":"join"}]
        ! publish a 1
        > 422["join"]
        < 432[{"ok":false,"error":{"code":"invalid","message":"the first argument is a room, a list of rooms, or {room, since?, presence?}"}}]
        > 42["join",{"room":"a","since":"?"}]
        < 42["error",{"code":"invalid","message":"the mark is not one…","event":"join"}]
        ! deny item forbidden you only listen
        > 423["publish","a","e",1]
        < 433[{"ok":false,"error":{"code":"forbidden","message":"you only listen"}}]
        > 424["publish","a"]
        < 434[{"ok":false,"error":{"code":"invalid",…}}]
        > 425["presence",["a","b"]]
        < 435[{"ok":false,"error":{"code":"invalid","message":"name one room"}}]
        > 426["publish","a","connect"]
        < 436[{"ok":false,"error":{"code":"invalid","message":"`connect` is an event of the client library itself"}}]
        "#,
    );
    let few = SocketIoSettings { commands_in_flight_max: 1, ..plain() };
    check(
        few,
        &format!(
            "{CONNECTED}! hold\n> 42[\"join\",\"a\"]\n> 421[\"join\",\"b\"]\n< 431[{{\"ok\":false,\"error\":{{\"code\":\"limit_exceeded\",\"message\":\"1 commands of this connection wait for an answer already (limits.commands_in_flight_max)\"}}}}]"
        ),
    );
}

#[test]
fn a_leave_overtakes_no_join() {
    connected(
        r#"
        ! hold
        > 421["join",["a","b"]]
        > 422["leave","a"]
        ! release
        < 431[{"ok":true,"rooms":["b"],…}]
        < 432[{"ok":true}]
        ? subscribe a+b
        ? unsubscribe a
        ! publish a 1
        ! publish b 2
        < 42["message",2]
        # A namespace that was left meanwhile is in no room.
        ! hold
        > 423["join","c"]
        > 41
        ! release
        ? unsubscribe c
        ! publish c 3
        "#,
    );
}

#[test]
fn publications_of_clients() {
    connected(
        r#"
        > 42["join","a"]
        > 421["publish","a","e",{"x":1}]
        ? publish a event=e {"x":1}
        < 42["e",{"x":1}]
        < 431[{"ok":true,"id":"z-1","offset":"z.1"}]
        > 42["publish",["a","b"],"message","hi"]
        ? publish a+b "hi"
        < 42["message","hi"]
        # Several arguments, or none, come out as they went in.
        > 42["publish","a","e",1,"2",[3]]
        ? publish a event=e [1,"2",[3]]
        < 42["e",1,"2",[3]]
        > 42["publish","a","e"]
        ? publish a event=e null
        < 42["e"]
        > 422["publish",{"room":"a","event":"e","data":[1,2],"id":"once"}]
        ? publish a event=e id=once [1,2]
        < 42["e",[1,2]]
        < 432[{"ok":true,…}]
        > 423["publish",{"room":"a","event":"e","data":[1,2],"id":"once"}]
        < 433[{"ok":true,…}]
        # To a room that it is not in.
        > 424["publish","elsewhere","e",1]
        < 434[{"ok":true,"id":"z-1",…}]
        "#,
    );
}

#[test]
fn other_events_go_to_the_others_in_the_rooms() {
    check(
        plain(),
        r#"
        a> WS /socket.io/?EIO=4&transport=websocket
        a< 101
        a< 0…
        a> 40
        a< 40…
        b> WS /socket.io/?EIO=4&transport=websocket
        b< 101
        b< 0…
        b> 40
        b< 40…
        # Nobody is there to hear: no mistake.
        a> 421["chat","hello"]
        a< 431[{"ok":true}]
        a> 42["join",["r","s"]]
        b> 42["join",["s","r"]]
        # Once, however many rooms they share.
        a> 422["chat","hello",{"n":1}]
        ? publish r+s event=chat but the sender ["hello",{"n":1}]
        b< 42["chat","hello",{"n":1}]
        a< 432[{"ok":true,"id":"z-1","offset":"z.1"}]
        b> 42["typing"]
        a< 42["typing"]
        b> 451-["file",{"name":"x","data":{"_placeholder":true,"num":0}}]
        b> [binary] 0102
        ? publish s+r event=file but the sender {"name":"x","data":{"_placeholder":true,"num":0,"base64":"AQI="}}
        a< 451-["file",{"name":"x","data":{"_placeholder":true,"num":0}}]
        a< [binary] 0102
        b> 451-["raw",{"_placeholder":true,"num":0}]
        b> [binary] 6869
        ? publish s+r event=raw but the sender hi
        a< 451-["raw",{"_placeholder":true,"num":0}]
        a< [binary] 6869
        # A placeholder that a client wrote itself is plain data.
        b> 42["trick",{"_placeholder":true,"num":5}]
        a< 42["trick",{"_placeholder":true,"num":5}]
        b> 42[7,"a number for a name"]
        a< 42["7","a number for a name"]
        "#,
    );
}

#[test]
fn publications_of_other_dialects() {
    connected(
        r#"
        > 42["join","a"]
        ! publish a "text"
        < 42["message","text"]
        ! publish a event=typed {"b":1}
        < 42["typed",{"b":1}]
        ! publish a [1,2]
        < 42["message",[1,2]]
        ! publish a flat event=note {"text":"hi"}
        < 42["note",{"text":"hi"}]
        ! publish a text a "quoted" line
        < 42["message","a \"quoted\" line"]
        ! publish a event=e"vil 1
        < 42["e\"vil",1]
        ! publish a binary 616263
        < 451-["message",{"_placeholder":true,"num":0}]
        < [binary] 616263
        # These would end the connection of a client that took them for the library's own.
        ! publish a event=connect 1
        ! publish a event=disconnect 1
        ! publish a event=newListener 1
        ! publish a {"_placeholder":true,"num":0}
        < 42["message",{"_placeholder":true,"num":0}]
        ! direct event=only {"for":"you"}
        < 42["only",{"for":"you"}]
        "#,
    );
}

#[test]
fn namespaces_have_their_own_rooms() {
    connected(
        r#"
        > 40/n
        < 40/n,…
        > 42["join","r"]
        > 42/n,["join","r"]
        ? subscribe r
        ? subscribe n/r
        > 42["join","n/r"]
        ? subscribe n%2Fr
        ! publish r 1
        < 42["message",1]
        ! publish n/r 2
        < 42/n,["message",2]
        ! publish n%2Fr 3
        < 42["message",3]
        > 42/n,["publish","r","e",4]
        ? publish n/r event=e 4
        < 42/n,["e",4]
        > 41/n
        ? unsubscribe n/r
        ! publish n/r 5
        ! publish r 6
        < 42["message",6]
        "#,
    );
}

#[test]
fn presence() {
    connected(
        r#"
        ! enter a bob {"name":"Bob"}
        > 421["join",{"room":"a","presence":{"name":"Me"}}]
        < 431[{"ok":true,…}]
        < 42["presence",{"action":"enter","room":"a","member":{"id":"$id1","data":{"name":"Me"}}}]
        ? subscribe a with presence
        ? enter a $id1 {"name":"Me"}
        > 422["presence","a"]
        < 432[{"ok":true,"room":"a","members":[{…]
        ! leave a bob
        < 42["presence",{"action":"leave","room":"a","member":{"id":"bob","user":"bob","data":{"name":"Bob"}}}]
        > 42["leave","a"]
        # It does not hear of its own going.
        ? unsubscribe a
        ? leave a $id1
        "#,
    );
}

#[test]
fn somebody_else_ends_a_subscription() {
    connected(
        r#"
        > 42["join",["a","b"]]
        ! unsubscribed a
        > 42["x",1]
        ? publish b event=x but the sender 1
        > 42["join","a"]
        ? subscribe a
        "#,
    );
}

#[test]
fn messagepack_clients_share_the_rooms() {
    // {type:2,nsp:"/",data:["join","a"]}; {type:2,nsp:"/",data:["publish","a","e",bin 0102]}
    check(
        plain(),
        r#"
        m> WS /socket.io/?EIO=4&transport=websocket
        m< 101
        m< 0…
        m> [binary] 82a47479706500a36e7370a12f
        m< [binary] 83…
        m> [binary] 83a47479706502a36e7370a12fa46461746192a46a6f696ea161
        t> WS /socket.io/?EIO=4&transport=websocket
        t< 101
        t< 0…
        t> 40
        t< 40…
        t> 42["join","a"]
        ! publish a event=e {"x":[1.5,"y"]}
        m< [binary] 83a47479706502a36e7370a12fa46461746192a16581a17892cb3ff8000000000000a179
        t< 42["e",{"x":[1.5,"y"]}]
        m> [binary] 83a47479706502a36e7370a12fa46461746194a77075626c697368a161a165c4020102
        m< [binary] 83a47479706502a36e7370a12fa46461746192a165c4020102
        t< 451-["e",{"_placeholder":true,"num":0}]
        t< [binary] 0102
        "#,
    );
}

#[test]
fn members_of_a_room_signal_to_each_other() {
    connected(
        r#"
        > 421["room:enter",{"room":"a","seat":"0123456789abcdef","data":{"name":"Ana"}}]
        ? seat a secret 0123456789abcdef {"name":"Ana"}
        < 431[{"ok":true,"room":"a","member":"~1","peers":[],"iceServers":[{"urls":["stun:relay.test:3478"]},{"urls":["turn:relay.test:3478?transport=udp","turn:relay.test:3478?transport=tcp"],"username":"1700000600:demo/ana/room","credential":"cGFzc3dvcmQ="}],"ttl":600,"expires_at":1700000600}]
        > 422["room:signal",{"room":"a","to":"~1","data":[1]}]
        ? signal a ~1 [1]
        < 42["signal",{"channel":"a","from":"~1","data":[1]}]
        < 432[{"ok":true}]
        > 423["room:signal",{"room":"a","to":"~9","data":1}]
        < 433[{"ok":false,"error":{"code":"not_found","message":"…"}}]
        > 424["room:signal",{"room":"a","data":1}]
        < 434[{"ok":false,"error":{"code":"invalid","message":"`to` is missing in `room:signal`"}}]
        > 425["room:enter","a"]
        < 435[{"ok":false,"error":{"code":"invalid","message":"`room:enter` takes one object…
        > 426["room:leave",{"room":"a","member":"~1"}]
        ? leave a ~1
        < 436[{"ok":true}]
        "#,
    );
}

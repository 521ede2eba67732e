//! Socket.IO in the suite of all dialects. Its revisions and transports have transcripts of their own beside the code.

use omnivox_dialects::socketio::{SocketIo, SocketIoSettings};
use omnivox_testkit::dialect::Conversations;

omnivox_testkit::dialect_suite! {
    dialect: || SocketIo::new(SocketIoSettings { allow_eio3: true, ..SocketIoSettings::default() }),
    conversations: Conversations {
        connect: r#"
            > WS /socket.io/?EIO=4&transport=websocket
            < 101
            < 0{"sid":"…
            > 40{"token":"sesame"}
            ? connect token sesame…
            < 40{"sid":"…","pid":"…"}
            # Another namespace is another socket.
            > 40/admin,
            < 40/admin,{"sid":"…
            p> GET /socket.io/?EIO=4&transport=polling
            p< 200 text/plain; charset=UTF-8 0{"sid":"…"upgrades":["websocket"],…
        "#,
        subscribe: r#"
            > WS /socket.io/?EIO=4&transport=websocket
            < 101
            < 0…
            > 40
            < 40…
            > 421["join","a"]
            ? subscribe a
            < 431[{"ok":true,"rooms":["a"],"offset":"z.0","gap":false,"recovered":0}]
            ! publish a event=x {"n":1}
            < 42["x",{"n":1},"z.1"]
            > 422["leave","a"]
            < 432[{"ok":true}]
            ! publish a 2
        "#,
        publish: r#"
            > WS /socket.io/?EIO=4&transport=websocket
            < 101
            < 0…
            > 40
            < 40…
            > 421["publish","a","e",{"n":1}]
            ? publish a event=e…{"n":1}…
            < 431[{"ok":true,"id":"z-1","offset":"z.1"}]
        "#,
        resume: r#"
            ! publish a 1
            ! publish a 2
            > WS /socket.io/?EIO=4&transport=websocket
            < 101
            < 0…
            > 40
            < 40…
            > 421["join",{"room":"a","since":"z.1"}]
            ? subscribe a since z.1
            < 42["message",2,"z.2"]
            < 431[{"ok":true,"rooms":["a"],"offset":"z.2","gap":false,"recovered":1}]
        "#,
        presence: r#"
            > WS /socket.io/?EIO=4&transport=websocket
            < 101
            < 0…
            > 40
            < 40…
            > 421["join",{"room":"a","presence":{"n":1}}]
            < 431[{"ok":true,…
            < 42["presence",{"action":"enter","room":"a","member":{"id":"…","data":{"n":1}}}]
            ! enter a bob {"x":1}
            < 42["presence",{"action":"enter","room":"a","member":{…"data":{"x":1}}}]
            ! leave a bob
            < 42["presence",{"action":"leave","room":"a",…
        "#,
        deny: r#"
            > WS /socket.io/?EIO=4&transport=websocket
            < 101
            < 0…
            ! deny connect unauthorized the token is not signed
            > 40{"token":"bad"}
            < 44{"message":"the token is not signed","data":{"code":"unauthorized"}}
            > 40
            < 40…
            ! deny subscribe forbidden not for you
            > 421["join","a"]
            < 431[{"ok":false,"error":{"code":"forbidden","message":"not for you"}}]
            ! publish a 1
        "#,
        slow_consumer: r#"
            > WS /socket.io/?EIO=4&transport=websocket
            < 101
            < 0…
            > 40
            < 40…
            ! close slow_consumer
            < [close]
            < [closed]
        "#,
        drain: r#"
            > WS /socket.io/?EIO=4&transport=websocket
            < 101
            < 0…
            > 40
            < 40…
            # Without a packet of farewell: after one the client would not come back by itself.
            ! close drain
            < [close]
            < [closed]
        "#,
        garbage: r#"
            a> WS /socket.io/?EIO=4&transport=websocket
            a< 101
            a< 0…
            a> 40
            a< 40…
            a> 42["message",]
            a< [close]
            a< [closed]
            b> WS /socket.io/?EIO=4&transport=websocket
            b< 101
            b< 0…
            b> neither
            b< [close]
            b< [closed]
            p> GET /socket.io/?EIO=4&transport=polling&sid=nobody
            p< 400 application/json {"code":1,"message":"Session ID unknown"}
            p> GET /socket.io/?EIO=4&transport=smoke
            p< 400 application/json {"code":0,"message":"Transport unknown"}
        "#,
        doors: &[
            "WS /socket.io/?EIO=4&transport=websocket",
            "WS /socket.io/?EIO=4&transport=websocket&sid=$key",
            "WS /socket.io/?EIO=3&transport=websocket",
            "GET /socket.io/?EIO=4&transport=polling",
            "GET /socket.io/?EIO=4&transport=polling&sid=$key",
            "POST /socket.io/?EIO=4&transport=polling&sid=$key",
            "GET /socket.io/?EIO=3&transport=polling",
            "GET /socket.io/?EIO=3&transport=polling&sid=$key&b64=1",
            "POST /socket.io/?EIO=3&transport=polling&sid=$key\ncontent-type: application/octet-stream",
            "POST /socket.io/?EIO=3&transport=polling&sid=$key&j=1",
            "OPTIONS /socket.io/?EIO=4&transport=polling\norigin: https://example.org",
        ],
        words: &[
            "40",
            "40{\"token\":\"sesame\"}",
            "40/admin,",
            "41",
            "3",
            "2probe",
            "5",
            "1",
            "421[\"join\",\"a\"]",
            "42[\"join\",{\"room\":\"a\",\"since\":\"1.0\",\"presence\":{\"n\":1}}]",
            "422[\"publish\",\"a\",\"e\",{\"n\":1}]",
            "42[\"chat\",\"hello\"]",
            "451-[\"file\",{\"_placeholder\":true,\"num\":0}]",
            "bAQID",
            "423[\"leave\",\"a\"]",
            "40\x1e421[\"join\",\"a\"]\x1e42[\"chat\",1]",
            "2:40",
            "d=2%3A40",
        ],
    },
}

//! PeerJS in the suite of all dialects: its peers have seats and signal to each other, where others subscribe and publish.

use omnivox_dialects::peerjs::{PeerJs, PeerJsSettings};
use omnivox_testkit::dialect::Conversations;

omnivox_testkit::dialect_suite! {
    dialect: || PeerJs::new(PeerJsSettings { discovery: true, ..PeerJsSettings::default() }),
    conversations: Conversations {
        connect: r#"
            > WS /peerjs/peerjs?key=peerjs&id=ana&token=t1
            < 101
            ? connect anonymous
            ? seat peerjs name ana token t1
            < {"type":"OPEN"}
        "#,
        subscribe: r#"
            a> WS /peerjs/peerjs?key=peerjs&id=ana&token=t1
            a< 101
            ? seat peerjs name ana token t1
            a< {"type":"OPEN"}
            b> WS /peerjs/peerjs?key=peerjs&id=bob&token=t2
            b< 101
            b< {"type":"OPEN"}
            b> {"type":"OFFER","dst":"ana","payload":1}
            a< {"type":"OFFER","src":"bob","dst":"ana","payload":1}
        "#,
        publish: r#"
            a> WS /peerjs/peerjs?key=peerjs&id=ana&token=t1
            a< 101
            a< {"type":"OPEN"}
            b> WS /peerjs/peerjs?key=peerjs&id=bob&token=t2
            b< 101
            b< {"type":"OPEN"}
            a> {"type":"CANDIDATE","dst":"bob","payload":{"n":1}}
            ? signal peerjs ~bob …
            b< {"type":"CANDIDATE","src":"ana","dst":"bob","payload":{"n":1}}
        "#,
        resume: r#"
            a> WS /peerjs/peerjs?key=peerjs&id=ana&token=t1
            a< 101
            ? seat peerjs name ana token t1
            a< {"type":"OPEN"}
            # What is for somebody who is away waits, and comes when they are back.
            a> {"type":"OFFER","dst":"bob","payload":1}
            @ +1s
            b> WS /peerjs/peerjs?key=peerjs&id=bob&token=t2
            b< 101
            b< {"type":"OPEN"}
            @ +300ms
            b< {"type":"OFFER","src":"ana","dst":"bob","payload":1}
        "#,
        presence: r#"
            a> WS /peerjs/peerjs?key=peerjs&id=ana&token=t1
            a< 101
            a< {"type":"OPEN"}
            ! enter peerjs bob {"x":1}
            # Members of other dialects are no peers: nobody could signal to them.
            > GET /peerjs/peerjs/peers
            < 200 application/json ["ana"]
        "#,
        deny: r#"
            ! deny seat forbidden not for you
            > WS /peerjs/peerjs?key=peerjs&id=ana&token=t1
            < 101
            < {"type":"…
            < [close]
            < [closed]
        "#,
        slow_consumer: r#"
            > WS /peerjs/peerjs?key=peerjs&id=ana&token=t1
            < 101
            < {"type":"OPEN"}
            ! close slow_consumer
            < [close]
            < [closed]
        "#,
        drain: r#"
            > WS /peerjs/peerjs?key=peerjs&id=ana&token=t1
            < 101
            < {"type":"OPEN"}
            ! close drain
            < [close]
            < [closed]
        "#,
        garbage: r#"
            > WS /peerjs/peerjs?key=peerjs&id=ana&token=t1
            < 101
            < {"type":"OPEN"}
            > not JSON
            > {"type":7}
            > {"type":"OFFER"}
            > [binary] 00
            h> GET /peerjs/a/b/c
            h< 404 …
        "#,
        doors: &[
            "WS /peerjs/peerjs?key=peerjs&id=ana&token=t1",
            "WS /peerjs/peerjs?key=peerjs&id=bob&token=t2",
            "WS /peerjs/peerjs?key=peerjs",
            "GET /peerjs/",
            "GET /peerjs/peerjs/id",
            "GET /peerjs/peerjs/peers",
            "OPTIONS /peerjs/peerjs/id\norigin: https://example.org",
        ],
        words: &[
            r#"{"type":"OFFER","dst":"bob","payload":{"sdp":"v=0"}}"#,
            r#"{"type":"CANDIDATE","dst":"ana","payload":null}"#,
            r#"{"type":"LEAVE"}"#,
            r#"{"type":"EXPIRE","dst":"bob"}"#,
            r#"{"type":"HEARTBEAT"}"#,
        ],
    },
}

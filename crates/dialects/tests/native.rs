//! The native dialect in the suite of all dialects. Its transports have transcripts of their own beside the code.

use omnivox_dialects::native::{Native, NativeSettings};
use omnivox_testkit::dialect::Conversations;

omnivox_testkit::dialect_suite! {
    dialect: || Native::new(NativeSettings::default()),
    conversations: Conversations {
        connect: r#"
            > WS /v1/ws
            < 101
            ? connect anonymous
            > [gone]
            ! user ann
            > WS /v1/ws
                authorization: Bearer sesame
            ? connect token sesame
            < 101
            > {"type":"ping"}
            < {"type":"pong"}
        "#,
        subscribe: r#"
            a> WS /v1/ws
            a< 101
            a> {"type":"subscribe","channel":"a","ref":1}
            ? subscribe a
            a< {"type":"subscribed","channel":"a","id":"z-0","gap":false,"recovered":0,"ref":1}
            s> GET /v1/sse?channel=a
            s< 200 text/event-stream
            s< :ok…
            s< id: z.0⏎⏎
            p> GET /v1/poll?channel=a&last=0
            ! publish a event=x {"n":1}
            a< {"type":"message","channel":"a","id":"z-1","event":"x","data":{"n":1}}
            s< id: z.1⏎data: {"type":"message","channel":"a","id":"z-1","event":"x","data":{"n":1}}⏎⏎
            p< 200 application/json {"events":[{…"data":{"n":1}}],"last":"z-1","gap":false,"more":false}
            a> {"type":"unsubscribe","channel":"a"}
            a< {"type":"unsubscribed","channel":"a"}
            ! publish a 2
            s< id: z.2⏎…
        "#,
        publish: r#"
            > WS /v1/ws
            < 101
            > {"type":"publish","channel":"a","event":"e","data":[1],"id":"k"}
            < {"type":"published","channel":"a","id":"z-1","duplicate":false}
            ? publish a event=e id=k [1]
            > {"type":"publish","channel":"a","event":"e","data":[1],"id":"k"}
            < {"type":"published","channel":"a","id":"z-1","duplicate":true}
            h> POST /v1/publish
                content-type: application/json
                | {"channel":"a","data":2}
            h< 200 application/json {"channel":"a","id":"z-2","duplicate":false}
        "#,
        resume: r#"
            ! publish a 1
            ! publish b 2
            ! publish a 3
            > WS /v1/ws
            < 101
            > {"type":"subscribe","channel":"a","since":"z-1"}
            ? subscribe a since z-1
            < {"type":"message","channel":"a","id":"z-2","event":"message","data":3}
            < {"type":"subscribed","channel":"a","id":"z-2","gap":false,"recovered":1}
            > {"type":"subscribe","channel":"b","since":"y-1"}
            < {"type":"gap","channel":"b"}
            < {"type":"message","channel":"b",…
            < {"type":"subscribed","channel":"b","id":"z-1","gap":true,"recovered":1}
            s> GET /v1/sse?channel=a&channel=b
                last-event-id: z.2
            s< …
            s< …
            s< id: z.3⏎data: …"data":3}⏎⏎
            s< id: z.3⏎⏎
        "#,
        presence: r#"
            > WS /v1/ws
            < 101
            > {"type":"subscribe","channel":"a","presence":true}
            < {"type":"subscribed",…
            ! enter a bob {"x":1}
            < {"type":"presence","channel":"a","action":"enter","member":{…"user":"bob","data":{"x":1}}}
            > {"type":"enter","channel":"a","data":2}
            < {"type":"presence","channel":"a","action":"enter",…
            < {"type":"entered","channel":"a"}
            > {"type":"presence","channel":"a"}
            < {"type":"members","channel":"a","members":[{…},{…}]}
            ! leave a bob
            < {"type":"presence","channel":"a","action":"leave",…
        "#,
        deny: r#"
            > WS /v1/ws
            < 101
            ! deny subscribe forbidden not for you
            > {"type":"subscribe","channel":"a","ref":7}
            < {"type":"error","code":"forbidden","message":"not for you","for":"subscribe","channel":"a","ref":7}
            ! publish a 1
            ! deny item forbidden you only listen
            > {"type":"publish","channel":"a","data":1}
            < {"type":"error","code":"forbidden","message":"you only listen","for":"publish","channel":"a"}
            ! deny connect unauthorized who are you
            > GET /v1/sse?channel=a
            < 401 application/json {"error":{"code":"unauthorized","message":"who are you"}}
        "#,
        slow_consumer: r#"
            > WS /v1/ws
            < 101
            ! close slow_consumer
            < [close] 4008 …
            < [closed]
        "#,
        drain: r#"
            > WS /v1/ws
            < 101
            p> GET /v1/poll?channel=a&last=0
            ! close drain
            < [close] 1012 …
            < [closed]
            p< 200 application/json {"events":[],"last":"z-0","gap":false,"more":false}
        "#,
        garbage: r#"
            > WS /v1/ws
            < 101
            > not json
            < {"type":"error","code":"invalid_json",…
            > {"type":7}
            < {"type":"error","code":"invalid_message",…
            > [binary] 00
            < {"type":"error","code":"invalid_message",…
            > {"type":"ping"}
            < {"type":"pong"}
            h> POST /v1/publish
                content-type: application/json
                | {
            h< 400 application/json {"error":{"code":"invalid_json",…
        "#,
        doors: &[
            "WS /v1/ws",
            "WS /v1/ws?channel=a&room=b&since=z.1\nauthorization: Bearer sesame",
            "GET /v1/sse?channel=a\nlast-event-id: 1.1",
            "GET /v1/poll?channel=a&last=0",
            "GET /v1/poll?channel=a",
            "POST /v1/publish\ncontent-type: application/json",
            "GET /v1/history?channel=a&limit=2",
            "GET /v1/presence?channel=a",
            "GET /v1/channels",
            "POST /v1/ticket",
            "OPTIONS /v1/publish\norigin: https://example.org",
        ],
        words: &[
            r#"{"type":"subscribe","channel":"a","since":"1-0","presence":true,"ref":1}"#,
            r#"{"type":"publish","channels":["a","b"],"event":"e","data":{"n":1},"id":"k","ref":{"a":[1]}}"#,
            r#"{"type":"publish","channel":"a","binary":true}"#,
            r#"{"channel":"a","event":"e","data":"AP8Q","encoding":"base64"}"#,
            r#"{"messages":[{"channel":"a","data":1},{"channel":"","data":2}]}"#,
            r#"{"type":"chat","room":"a","text":"hi","i\u0064":1}"#,
            r#"{"type":"connect","token":"sesame"}"#,
            r#"{"type":"enter","channel":"a","key":"k","data":1}"#,
            r#"{"type":"history","channel":"a","limit":2,"before":"1-3"}"#,
            r#"{"type":"unsubscribe","channel":"a"}"#,
            r#"{"type":"ping"}"#,
        ],
    },
}

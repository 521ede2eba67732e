//! Patterns over all transports.

use super::check;

#[test]
fn a_websocket_follows_a_pattern_and_resumes_by_cursor() {
    check(
        r#"
        ! publish chat:a 1
        ! publish news 2
        ! publish chat:b flat event=chat {"text":"hi"}
        > WS /v1/ws
        < 101
        > {"type":"subscribe","pattern":"chat:*","since":"z.1","ref":1}
        ? subscribe  pattern chat:* since z.1
        < {"type":"message","channel":"chat:b","id":"z-1","cursor":"z.3","event":"chat","data":{"text":"hi"}}
        < {"type":"subscribed","pattern":"chat:*","id":"z.3","gap":false,"recovered":1,"ref":1}
        ! publish chat:c+chat:a 4
        < {"type":"message","channel":"chat:c","id":"z-1","cursor":"z.4","event":"message","data":4}
        ! publish other 5
        > {"type":"subscribe","pattern":"/books/{id}"}
        < {"type":"subscribed","pattern":"/books/{id}","id":"z.5","gap":false,"recovered":0}
        ! publish /books/1 binary 00ff
        < {"type":"message","channel":"/books/1","id":"z-1","cursor":"z.6","event":"message","binary":true,"bytes":2}
        < [binary] 00ff
        > {"type":"unsubscribe","pattern":"chat:*"}
        < {"type":"unsubscribed","pattern":"chat:*"}
        ! publish chat:a 7
        "#,
    );
}

#[test]
fn streams_and_polls_follow_patterns() {
    check(
        r#"
        ! publish chat:a 1
        s> GET /v1/sse?pattern=chat:*&channel=news
            last-event-id: z.0
        s< 200 text/event-stream
        s< :ok⏎⏎retry: 2000⏎⏎
        s< id: z.1⏎data: {"type":"message","channel":"chat:a","id":"z-1","event":"message","data":1}⏎⏎
        s< id: z.1⏎⏎
        p> GET /v1/poll?pattern=*&last=z.1
        ! publish news+chat:b 2
        s< id: z.2⏎data: {"type":"message","channel":"news",…
        p< 200 application/json {"events":[{"type":"message","channel":"news",…}],"last":"z.2","gap":false,"more":false}
        p> GET /v1/poll?pattern=chat:*&last=z.1
        p< 200 application/json {"events":[{…"channel":"chat:b",…}],"last":"z.2","gap":false,"more":false}
        g> GET /v1/sse?pattern=chat:*
            last-event-id: not ours!
        g< 200 text/event-stream
        g< :ok⏎⏎retry: 2000⏎⏎
        g< event: error⏎data: {"code":"gap","message":"…","channel":"chat:*"}⏎⏎
        g< id: z.2⏎⏎
        "#,
    );
}

#[test]
fn presence_comes_to_patterns_that_ask_for_it() {
    check(
        r#"
        > GET /v1/sse?pattern=room:*&presence=1
        < …
        < …
        < …
        ! enter room:1 bob
        < event: presence⏎data: {"type":"presence","channel":"room:1","action":"enter",…
        "#,
    );
}

#[test]
fn what_is_no_pattern_is_refused() {
    check(
        r#"
        > GET /v1/sse?pattern=
        < 400 application/json {"error":{"code":"invalid_pattern",…
        > GET /v1/sse?pattern=a%7B
        < 400 application/json {"error":{"code":"invalid_pattern",…
        > GET /v1/sse?pattern=a*&since=z-1
        < 400 application/json {"error":{"code":"invalid_mark",…
        > WS /v1/ws
        < 101
        > {"type":"subscribe","pattern":"a*","channel":"b"}
        < {"type":"error","code":"invalid_message",…
        > {"type":"subscribe","pattern":"a*","since":4}
        < {"type":"error","code":"invalid_mark",…
        > {"type":"unsubscribe","pattern":"a*","ref":1}
        < {"type":"error","code":"not_subscribed","message":"…","for":"unsubscribe","pattern":"a*","ref":1}
        > {"type":"unsubscribe","pattern":""}
        < {"type":"error","code":"invalid_pattern",…
        "#,
    );
}

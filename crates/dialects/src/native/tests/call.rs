//! Calls of the application: its answer, and what it wants done with its caller.

use super::check;

#[test]
fn a_call_is_answered() {
    check(
        r#"
        > WS /v1/ws
        < 101
        > {"type":"call","method":"say","data":{"a": 1},"ref":"r"}
        ? call say {"a": 1}
        < {"type":"called","method":"say","data":{"a": 1},"ref":"r"}
        > {"type":"call","method":"say"}
        < {"type":"called","method":"say","data":null}
        > {"type":"call","method":"nothing","data":1}
        < {"type":"called","method":"nothing","data":null}
        > {"type":"call","method":"fly","ref":2}
        < {"type":"error","code":"not_found","message":"there is no method `fly`","for":"call","ref":2}
        > {"type":"call","data":1}
        < {"type":"error","code":"invalid_message","message":"`method` is missing…
        > {"type":"call","method":""}
        < {"type":"error","code":"invalid_message","message":"`method` is empty…
        > {"type":"called","method":"x"}
        < {"type":"error","code":"reserved_type",…
        "#,
    );
}

#[test]
fn what_the_application_wants_is_done() {
    check(
        r#"
        > WS /v1/ws
        < 101
        > {"type":"call","method":"join","data":"den"}
        ? call join "den"
        ? subscribe den
        < {"type":"called","method":"join","data":"den"}
        < {"type":"subscribed","channel":"den",…
        ! publish den 1
        < {"type":"message","channel":"den",…
        > {"type":"call","method":"leave","data":"den"}
        ? unsubscribe den
        < {"type":"called","method":"leave","data":"den"}
        < {"type":"unsubscribed","channel":"den"}
        ! publish den 2
        > {"type":"call","method":"emit","data":7}
        < {"type":"message","event":"first","data":7}
        < {"type":"message","event":"second","data":7}
        < {"type":"called","method":"emit","data":7}
        > {"type":"call","method":"disconnect"}
        < {"type":"called","method":"disconnect","data":null}
        < [close] 4403 …
        < [closed]
        "#,
    );
}

#[test]
fn a_request_calls_too() {
    check(
        r#"
        > POST /v1/call
            content-type: application/json
            | {"method":"emit","data":[1]}
        ? call emit [1]
        < 200 application/json {"data":[1],"emits":[{"event":"first","data":[1]},{"event":"second","data":[1]}]}
        > POST /v1/call
            content-type: text/plain
            | {"method":"say"}
        < 415 application/json …
        > GET /v1/call
        < 405 …
        "#,
    );
}

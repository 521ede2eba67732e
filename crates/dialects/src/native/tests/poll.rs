//! Polls, held and short.

use super::{check, native};
use crate::native::{Native, NativeSettings};
use omnivox_testkit::transcript::{self, Stage};

#[test]
fn a_first_poll_tells_where_the_channels_stand() {
    check(
        r#"
        ! publish a 1
        ! publish b 2
        ! publish a 3
        > GET /v1/poll?channel=a
        < 200 application/json {"events":[],"last":"z-2","gap":false,"more":false}
            cache-control: no-store
            vary: Origin, Authorization
        > GET /v1/poll?channel=a&channel=b
        < 200 application/json {"events":[],"last":"z.3","gap":false,"more":false}
        > GET /v1/poll?channel=a&last=null&timeout=0
        < 200 application/json {"events":[],"last":"z-2",…
        > GET /poll
        < 200 application/json {"events":[],"last":"z-0",…
        "#,
    );
}

#[test]
fn what_is_new_is_answered_at_once() {
    check(
        r#"
        ! publish a 1
        ! publish b 2
        ! publish a event=x 3
        > GET /v1/poll?channel=a&last=1
        < 200 application/json {"events":[{"type":"message","channel":"a","id":"z-2","event":"x","data":3}],"last":"z-2","gap":false,"more":false}
        > GET /v1/poll?channel=a&channel=b&last=z.1
        < 200 application/json {"events":[{…"data":2},{…"data":3}],"last":"z.3","gap":false,"more":false}
        > GET /v1/poll?channel=a&last=earliest&limit=1
        < 200 application/json {"events":[{…"data":1}],"last":"z-1","gap":false,"more":true}
        > GET /v1/poll?channel=a&channel=b&last=earliest&limit=2
        < 200 application/json {"events":[{…"data":1},{…"data":2}],"last":"z.2","gap":false,"more":true}
        > GET /v1/poll?channel=a&last=42
        < 200 application/json {"events":[…],"last":"z-2","gap":true,"more":false}
        > GET /v1/poll?channel=a&last=y-1
        < 200 application/json {"events":[…],"last":"z-2","gap":true,"more":false}
        "#,
    );
}

#[test]
fn a_page_of_the_hub_is_not_the_end() {
    Stage::new(&native()).missed_max(1).play(
        r#"
        ! publish a 1
        ! publish b 2
        > GET /v1/poll?channel=a&channel=b&last=earliest
        < 200 application/json {"events":[{…"data":1}],"last":"z.1","gap":false,"more":true}
        > GET /v1/poll?channel=a&channel=b&last=z.1
        < 200 application/json {"events":[{…"data":2}],"last":"z.2","gap":false,"more":false}
        "#,
    );
}

#[test]
fn a_poll_without_news_is_held() {
    check(
        r#"
        a> GET /v1/poll?channel=a&last=0
        b> GET /v1/poll?channel=a&channel=b&last=z.0
        ! publish a {"n":1}
        a< 200 application/json {"events":[{"type":"message","channel":"a","id":"z-1","event":"message","data":{"n":1}}],"last":"z-1","gap":false,"more":false}
            vary: Origin, Authorization
        b< 200 application/json {"events":[{…"id":"z-1"…}],"last":"z.1","gap":false,"more":false}
        # Nobody is subscribed any more.
        ! publish a 2
        "#,
    );
}

#[test]
fn a_held_poll_ends_with_the_same_mark() {
    // Up to a tenth earlier, so that clients don't ask all at once: 30 s less 1/255 of 3 s for each of the first bytes.
    check(
        r#"
        a> GET /v1/poll?channel=a&last=0
        @ +29980ms
        @ +20ms
        a< 200 application/json {"events":[],"last":"z-0","gap":false,"more":false}
        a> GET /v1/poll?channel=a&last=0&timeout=2.5
        @ +2400ms
        @ +100ms
        a< 200 application/json {"events":[],"last":"z-0","gap":false,"more":false}
        a> GET /v1/poll?channel=a&last=0
            prefer: respond-async, wait=1
        @ +1s
        a< 200 …
        a> GET /v1/poll?channel=a&last=0&timeout=0
        a< 200 application/json {"events":[],"last":"z-0","gap":false,"more":false}
        a> GET /v1/poll?channel=a&last=0&timeout=86400
        @ +30s
        a< 200 …
        "#,
    );
}

#[test]
fn a_poll_is_answered_when_the_server_goes() {
    check(
        r#"
        > GET /v1/poll?channel=a&last=0
        ! close drain
        < 200 application/json {"events":[],"last":"z-0","gap":false,"more":false}
        > GET /v1/poll?channel=a&last=0
        ! close kicked
        < 403 application/json {"error":{"code":"kicked",…
        > GET /v1/poll?channel=a&last=0
        ! gap a
        < 200 application/json {"events":[],"last":null,"gap":true,"more":false}
        > GET /v1/poll?channel=a&last=0
        ! unsubscribed a
        < 200 application/json {"events":[],"last":"z-0",…
        ! hold
        > GET /v1/poll?channel=a&last=0
        ! close drain
        < 503 application/json {"error":{"code":"drain",…
            retry-after: 1
        "#,
    );
}

#[test]
fn a_client_that_gives_up_leaves_nothing() {
    check("> GET /v1/poll?channel=a&last=0\n> [gone]\n! publish a 1\n@ +60s");
}

#[test]
fn wrong_polls_are_refused() {
    check(
        r#"
        > GET /v1/poll
        < 400 application/json {"error":{"code":"invalid_channel",…
        > WS /v1/ws?channel=
        < 400 application/json {"error":{"code":"invalid_channel",…
        > GET /v1/poll?channel=a&timeout=soon
        < 400 application/json {"error":{"code":"invalid_message",…
        > GET /v1/poll?channel=a&timeout=-1
        < 400 application/json {"error":{"code":"invalid_message",…
        > GET /v1/poll?channel=a&timeout=NaN
        < 400 application/json {"error":{"code":"invalid_message",…
        > GET /v1/poll?channel=a&last=%20
        < 400 application/json {"error":{"code":"invalid_mark",…
        > GET /v1/poll?channel=a&channel=b&last=1
        < 400 application/json {"error":{"code":"invalid_mark",…
        > GET /v1/poll?channel=a&limit=many
        < 400 application/json {"error":{"code":"invalid_message",…
        ! deny subscribe forbidden no
        > GET /v1/poll?channel=a
        < 403 application/json …
        ! deny subscribe unavailable not now
        > GET /v1/poll?channel=a
        < 503 application/json …
            retry-after: 1
        "#,
    );
}

#[test]
fn every_origin_may_read_when_all_may() {
    transcript::check(
        &Native::new(NativeSettings::default()),
        r#"
        > GET /v1/poll?channel=a&last=0
            origin: https://example.org
        ! publish a 1
        < 200 application/json …
            access-control-allow-origin: *
            !access-control-allow-credentials
        "#,
    );
}

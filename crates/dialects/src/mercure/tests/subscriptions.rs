//! The subscription API and its events.

use super::{first, second};
use crate::mercure::{Mercure, MercureSettings};
use omnivox_testkit::transcript;

#[track_caller]
fn check(text: &str) {
    transcript::check(&Mercure::new(MercureSettings { subscriptions: true, ..MercureSettings::default() }), text);
}

const FIRST: &str = "urn:uuid:01010101-0101-4101-8101-010101010101";
const SECOND: &str = "urn:uuid:02020202-0202-4202-8202-020202020202";

/// A subscriber in `subscriptions`, percent-encoded as a segment.
fn encoded(subscriber: &str) -> String {
    subscriber.replace(':', "%3A")
}

#[test]
fn subscriptions_come_and_go_in_the_shape_of_each_generation() {
    let (one, two) = (encoded(SECOND), SECOND);
    let claims = r#"{"mercure":{"subscribe":["*"],"payload":{"n":1}}}"#;
    let (old, new) = (first(claims), second());
    check(&format!(
        r#"
! grant subscribe *
old> GET /.well-known/mercure?topic=/.well-known/mercure/subscriptions%7B/topic%7D%7B/subscriber%7D
    authorization: Bearer {old}
old< 200 text/event-stream
old< :⏎
old< id: urn:uuid:00000000-0000-8002-8c00-000000000001⏎data: {{"@context":"https://mercure.rocks/",…"subscriber":"{FIRST}",…}}⏎⏎
a> GET /.well-known/mercure?topic=https://example.com/%7Bid%7D
    authorization: Bearer {old}
a< 200 text/event-stream
a< :⏎
old< id: urn:uuid:00000000-0000-8002-8c00-000000000003⏎data: {{"@context":"https://mercure.rocks/","active":true,"id":"/.well-known/mercure/subscriptions/https%3A%2F%2Fexample.com%2F%7Bid%7D/{one}","payload":{{"n":1}},"subscriber":"{two}","topic":"https://example.com/{{id}}","type":"Subscription"}}⏎⏎
a> [gone]
old< id: urn:uuid:00000000-0000-8002-8c00-000000000005⏎data: {{…"active":false,…"topic":"https://example.com/{{id}}",…}}⏎⏎
late> GET /.well-known/mercure?topic=/.well-known/mercure/subscriptions%7B/topic%7D%7B/subscriber%7D&lastEventID=urn:uuid:00000000-0000-8002-8c00-000000000001
    authorization: Bearer {old}
late< 200 text/event-stream
    last-event-id: urn:uuid:00000000-0000-8002-8c00-000000000001
late< :⏎
late< id: urn:uuid:00000000-0000-8002-8c00-000000000003⏎data: {{…"active":true,…}}⏎⏎
late< id: urn:uuid:00000000-0000-8002-8c00-000000000005⏎data: {{…"active":false,…}}⏎⏎
late< …
old< …
"#
    ));
    check(&format!(
        r#"
! grant subscribe *
new> GET /.well-known/mercure?match_urlpattern=/.well-known/mercure/subscriptions/*
    authorization: Bearer {new}
new< 200 text/event-stream
new< :⏎
new< event: mercure⏎id: urn:uuid:00000000-0000-8002-8c00-000000000002⏎data: {{…"match_type":"urlpattern",…"subscriber":"{FIRST}",…}}⏎⏎
a> GET /.well-known/mercure?match=a
    authorization: Bearer {new}
a< 200 text/event-stream
a< :⏎
new< event: mercure⏎id: urn:uuid:00000000-0000-8002-8c00-000000000004⏎data: {{"active":true,"id":"/.well-known/mercure/subscriptions/exact/a/{one}","match":"a","match_type":"exact","payload":{{"n":2}},"subscriber":"{two}","type":"subscription"}}⏎⏎
"#
    ));
}

#[test]
fn the_subscription_api_lists_what_is_there() {
    let (old, new) = (first("{}"), second());
    let (id, segment) = (FIRST, encoded(FIRST));
    check(&format!(
        r#"
! grant subscribe /.well-known/mercure/subscriptions{{/topic}}{{/subscriber}}{{/x}}
s> GET /.well-known/mercure?topic=a%20b
s< …
s< …
> GET /.well-known/mercure/subscriptions
    authorization: Bearer {old}
< 200 application/ld+json {{"@context":"https://mercure.rocks/","id":"/.well-known/mercure/subscriptions","lastEventID":"urn:uuid:00000000-0000-8002-8c00-000000000002","subscriptions":[{{"active":true,"id":"/.well-known/mercure/subscriptions/a%20b/{segment}","subscriber":"{id}","topic":"a b","type":"Subscription"}}],"type":"Subscriptions"}}
    etag: "urn:uuid:00000000-0000-8002-8c00-000000000002"
> GET /.well-known/mercure/subscriptions/a%20b/{segment}
    authorization: Bearer {old}
< 200 application/ld+json {{"@context":"https://mercure.rocks/","active":true,"id":"…","lastEventID":"urn:uuid:00000000-0000-8002-8c00-000000000002","subscriber":"{id}","topic":"a b","type":"Subscription"}}
> GET /.well-known/mercure/subscriptions/other
    authorization: Bearer {old}
< 200 application/ld+json {{…"subscriptions":[],…}}
> GET /.well-known/mercure/subscriptions/other/x
    authorization: Bearer {old}
< 404 text/plain; charset=utf-8 there is no such subscription⏎
! publish q 1
> GET /.well-known/mercure/subscriptions/exact/a%20b
    authorization: Bearer {new}
< 200 application/json {{"id":"/.well-known/mercure/subscriptions/exact/a%20b","subscriptions":[{{"active":true,…"match":"a b","match_type":"exact",…}}],"type":"subscriptions"}}
    link: </.well-known/mercure>; rel="mercure"; last-event-id="urn:uuid:00000000-0000-8002-8c00-000000000003"; type="mercure"; content-type="application/json"
> GET /.well-known/mercure/subscriptions
    authorization: Bearer {new}
    if-none-match: "urn:uuid:00000000-0000-8002-8c00-000000000003"
< 304
> GET /.well-known/mercure/subscriptions/exact/a%20b/{segment}
    authorization: Bearer {new}
< 200 application/json {{"active":true,"id":"/.well-known/mercure/subscriptions/exact/a%20b/{segment}","match":"a b","match_type":"exact","subscriber":"{id}","type":"subscription"}}
    etag: "urn:uuid:00000000-0000-8002-8c00-000000000003"
> GET /.well-known/mercure/subscriptions/urlpattern/a%20b/{segment}
    authorization: Bearer {new}
< 404 text/plain; charset=utf-8 there is no such subscription⏎
> GET /.well-known/mercure/subscriptions/urlpattern
    authorization: Bearer {new}
< 200 application/json {{…"subscriptions":[],…}}
> GET /.well-known/mercure/subscriptions/regex/a
    authorization: Bearer {new}
< 400 text/plain; charset=utf-8 …
> GET /.well-known/mercure/subscriptions/a/b/c/d
    authorization: Bearer {new}
< 404 text/plain; charset=utf-8 …
s> [gone]
> GET /.well-known/mercure/subscriptions
    authorization: Bearer {new}
< 200 application/json {{…"subscriptions":[],…}}
"#
    ));
}

#[test]
fn before_the_first_update_the_cursor_is_the_beginning() {
    let old = first("{}");
    check(&format!(
        r#"
! grant subscribe *
> GET /.well-known/mercure/subscriptions
    authorization: Bearer {old}
< 200 application/ld+json {{"@context":"https://mercure.rocks/","id":"/.well-known/mercure/subscriptions","lastEventID":"earliest","subscriptions":[],"type":"Subscriptions"}}
    etag: "earliest"
"#
    ));
}

/// Subscription events are private: who may not see them has them neither live nor from history, in either shape.
#[test]
fn nobody_learns_of_subscriptions_without_a_grant() {
    check(
        r#"
n> GET /.well-known/mercure?topic=*&match=*
n< …
n< …
a> GET /.well-known/mercure?topic=a
a< …
a< …
a> [gone]
e> GET /.well-known/mercure?topic=*&last_event_id=earliest
e< …
e< :⏎
! publish a 1
n< …data: 1⏎⏎
e< …data: 1⏎⏎
"#,
    );
}

#[test]
fn only_tokens_that_cover_the_path_see_subscriptions() {
    let (old, new) = (first("{}"), second());
    check(&format!(
        r#"
> GET /.well-known/mercure/subscriptions
< 401 text/plain; charset=utf-8 Unauthorized⏎
    www-authenticate: Bearer resource_metadata=…
> GET /.well-known/mercure/subscriptions
    authorization: Bearer {old}
< 401 text/plain; charset=utf-8 Unauthorized⏎
> GET /.well-known/mercure/subscriptions
    authorization: Bearer {new}
< 403 text/plain; charset=utf-8 Forbidden⏎
    www-authenticate: Bearer error="insufficient_scope", …
"#
    ));
    // What somebody else puts into such a set is not shown.
    check(&format!(
        r#"
! grant subscribe *
! enter /.well-known/mercure/subscriptions/a/b bob {{"subscriber":"x","topic":"y"}}
> GET /.well-known/mercure/subscriptions
    authorization: Bearer {old}
< 200 application/ld+json {{…"subscriptions":[],…}}
"#
    ));
}

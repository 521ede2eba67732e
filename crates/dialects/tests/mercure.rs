//! Mercure in the suite of all dialects. Its two generations have transcripts of their own beside the code.

use omnivox_dialects::mercure::{Mercure, MercureSettings};
use omnivox_testkit::dialect::Conversations;

omnivox_testkit::dialect_suite! {
    dialect: || Mercure::new(MercureSettings { subscriptions: true, ..MercureSettings::default() }),
    conversations: Conversations {
        connect: "
            > GET /.well-known/mercure?topic=a
            ? connect anonymous
            < 200 text/event-stream
            < :⏎
            > [gone]
            ! user ann
            > GET /.well-known/mercure?match=a
                authorization: Bearer sesame
            ? connect token sesame
            < 200 text/event-stream
            < :⏎
        ",
        subscribe: "
            > GET /.well-known/mercure?topic=https://example.com/%7Bid%7D&topic=a
            ? subscribe a pattern https://example.com/{id}
            < 200 text/event-stream
            < :⏎
            ! publish a event=x one
            < event: x⏎id: urn:uuid:…⏎data: one⏎⏎
            ! publish https://example.com/1+a {\"n\":2}
            < id: urn:uuid:…⏎data: {\"n\":2}⏎⏎
            ! publish https://example.com/1/2 3
        ",
        publish: "
            s> GET /.well-known/mercure?match=a
            s< 200 text/event-stream
            s< :⏎
            > POST /.well-known/mercure
                content-type: application/x-www-form-urlencoded
                authorization: Bearer sesame
                | topic=a&data=one&id=first&type=x
            ? connect token sesame
            ? publish a event=x one
            s< event: x⏎id: first⏎data: one⏎⏎
            < 200 text/plain; charset=utf-8 first
        ",
        resume: "
            ! publish a name=first 1
            ! publish a 2
            > GET /.well-known/mercure?topic=a&lastEventID=first
            ? subscribe a since z.1
            < 200 text/event-stream
                last-event-id: first
            < :⏎
            < …data: 2⏎⏎
            e> GET /.well-known/mercure?match=a&last_event_id=earliest
            ? subscribe a since earliest
            e< 200 text/event-stream
                mercure-last-event-id: earliest
            e< :⏎
            e< id: first⏎data: 1⏎⏎
            e< …data: 2⏎⏎
        ",
        presence: "
            ! grant subscribe *
            s> GET /.well-known/mercure?topic=/.well-known/mercure/subscriptions%7B/topic%7D%7B/subscriber%7D
                authorization: Bearer sesame
            s< 200 text/event-stream
            s< :⏎
            s< …\"active\":true…
            a> GET /.well-known/mercure?topic=a
            a< 200 text/event-stream
            a< :⏎
            s< …\"active\":true…\"topic\":\"a\"…
            # What another dialect puts beside them is nobody's subscription.
            ! enter /.well-known/mercure/subscriptions/a/b bob {\"subscriber\":\"bob\",\"topic\":\"b\"}
            > GET /.well-known/mercure/subscriptions/a
                authorization: Bearer sesame
            < 200 application/ld+json {…\"subscriptions\":[{…\"topic\":\"a\",\"type\":\"Subscription\"}],\"type\":\"Subscriptions\"}
            a> [gone]
            s< …\"active\":false…\"topic\":\"a\"…
        ",
        deny: "
            ! deny subscribe forbidden not for you
            > GET /.well-known/mercure?topic=a
                authorization: Bearer sesame
            < 401 text/plain; charset=utf-8 Unauthorized⏎
            ! deny item forbidden you only listen
            > POST /.well-known/mercure
                content-type: application/x-www-form-urlencoded
                authorization: Bearer sesame
                | topic=a
            < 401 text/plain; charset=utf-8 Unauthorized⏎
        ",
        slow_consumer: "
            > GET /.well-known/mercure?topic=a
            < 200 text/event-stream
            < :⏎
            # The stream ends; the client comes back with the id of the last event.
            ! close slow_consumer
            < [closed]
        ",
        drain: "
            > GET /.well-known/mercure?topic=a
            < 200 text/event-stream
            < :⏎
            ! close drain
            < [closed]
        ",
        garbage: "
            > GET /.well-known/mercure
            < 400 text/plain; charset=utf-8 …
            > GET /.well-known/mercure?match_urlpattern=/(
            < 400 text/plain; charset=utf-8 …
            > POST /.well-known/mercure
                content-type: application/x-www-form-urlencoded
                | topic=%zz
            < 400 text/plain; charset=utf-8 …
            > GET /.well-known/mercure/subscriptions/%zz
            < 400 text/plain; charset=utf-8 …
            > PUT /.well-known/mercure
            < 405 text/plain; charset=utf-8 …
        ",
        doors: &[
            "GET /.well-known/mercure?topic=a",
            "GET /.well-known/mercure?topic=https://example.com/%7Bid%7D&lastEventID=earliest\nauthorization: Bearer a.b.c",
            "GET /.well-known/mercure?match=a&match_urlpattern=/b/:id\nlast-event-id: 1.1",
            "HEAD /.well-known/mercure?match=*",
            "QUERY /.well-known/mercure\ncontent-type: application/x-www-form-urlencoded",
            "POST /.well-known/mercure\ncontent-type: application/x-www-form-urlencoded",
            "POST /.well-known/mercure\ncontent-type: application/x-www-form-urlencoded\ncookie: mercureAuthorization=a.b.c\norigin: http://a",
            "GET /.well-known/mercure/subscriptions",
            "GET /.well-known/mercure/subscriptions/exact/a",
            "GET /.well-known/oauth-protected-resource/.well-known/mercure",
            "OPTIONS /.well-known/mercure\norigin: https://example.org",
        ],
        words: &[
            "topic=a&data=one",
            "topic=a&topic=https://example.com/1&data=%7B%7D&private=on&id=x&type=t&retry=10",
            "match=a&match_urlpattern=/b/:id(\\d%2B)&last_event_id=earliest",
            "topic=*",
            "topic=/.well-known/mercure/subscriptions/x",
            "data=",
        ],
    },
}

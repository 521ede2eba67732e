//! Event streams: matchers, marks and refusals of both generations.

use super::{check, mercure};
use crate::mercure::{Mercure, MercureSettings};
use omnivox_core::Framing;
use omnivox_testkit::transcript::{self, Stage};
use std::time::Duration;

const EVENT: &str = "id: urn:uuid:00000000-0000-8002-8c00-000000000001⏎data: 1⏎⏎";

/// What the conformance suites of both generations ask for, and whether it must arrive.
#[test]
fn selectors_of_both_generations_select() {
    for (query, topics, received) in [
        ("topic=raw", "raw", true),
        ("topic=foo&topic=raw", "raw", true),
        ("topic=https://example.net/foo/1", "https://example.net/foo/1", true),
        ("topic=https://example.net/foo/%7Brandom%7D", "https://example.net/foo/1", true),
        ("topic=*", "anything", true),
        ("topic=other", "raw", false),
        ("topic=https://example.net/foo/other", "https://example.net/foo/1", false),
        ("topic=https://example.net/bar/%7Bvar%7D", "https://example.net/foo/1", false),
        ("topic=canonical", "alternate+canonical", true),
        ("topic=a%7Bb", "a{b", true),
        ("match=raw", "raw", true),
        ("match_exact=raw", "raw", true),
        ("match=*", "anything", true),
        ("match=https://example.net/foo/%7Bx%7D", "https://example.net/foo/1", false),
        ("match_urlpattern=https://example.net/foo/:random", "https://example.net/foo/1", true),
        ("match_urlpattern=/foo/:random", "/foo/1", true),
        ("match_urlpattern=/foo/:random", "http://hub.test/foo/1", true),
        ("match_urlpattern=*", "anything", true),
        ("match_urlpattern=https://example.net/bar/:var", "https://example.net/foo/1", false),
        ("match=other", "raw", false),
        ("match=a&topic=b", "b", true),
        ("topic=a&topic=*&match=a&match_urlpattern=*", "a", true),
    ] {
        let expected = if received { format!("< {EVENT}\n") } else { String::new() };
        check(&format!(
            "> GET /.well-known/mercure?{query}\n    host: hub.test\n< 200 text/event-stream\n< :⏎\n! publish {topics} 1\n{expected}"
        ));
        // Nobody without a token receives a private update.
        check(&format!(
            "> GET /.well-known/mercure?{query}\n    host: hub.test\n< 200 text/event-stream\n< :⏎\n! publish {topics} granted 1\n"
        ));
    }
}

#[test]
fn private_updates_go_to_tokens_that_cover_a_topic() {
    for (grant, received) in [("alternate", true), ("can{x}", true), ("*", true), ("other", false), ("a{/x}", false)] {
        let expected = if received { format!("s< {EVENT}\n") } else { String::new() };
        check(&format!(
            "! grant subscribe {grant}
s> GET /.well-known/mercure?topic=canonical
    authorization: Bearer a.b.c
s< …
s< …
n> GET /.well-known/mercure?topic=canonical
n< …
n< …
! publish canonical+alternate granted 1
{expected}"
        ));
        let expected = if received { format!("s< {EVENT}\n") } else { String::new() };
        check(&format!(
            "! grant subscribe {grant}
! publish canonical+alternate granted 1
s> GET /.well-known/mercure?topic=canonical&last_event_id=earliest
    authorization: Bearer a.b.c
s< …
s< :⏎
{expected}"
        ));
    }
}

#[test]
fn a_stream_begins_with_a_head_for_proxies() {
    check(
        "
        > GET /.well-known/mercure?topic=a
        < 200 text/event-stream
            cache-control: private, no-cache, no-store, must-revalidate, max-age=0
            x-accel-buffering: no
            pragma: no-cache
            !last-event-id
            !mercure-last-event-id
        < :⏎
        > HEAD /.well-known/mercure?match=a
        < 200 text/event-stream
        ",
    );
    Stage::new(&mercure()).stream_framing(Framing::Bare).play("> GET /.well-known/mercure?topic=a\n< 200 text/event-stream\n< :⏎\n! publish a event=x {\"a\":⏎1}\n< event: x⏎id: urn:uuid:…⏎data: {\"a\":⏎data: 1}⏎⏎");
}

#[test]
fn a_query_may_be_long() {
    check(&format!(
        "
> QUERY /.well-known/mercure?last_event_id=earliest&topic=a
    content-type: application/x-www-form-urlencoded
    | match=b&last_event_id=nothing
? subscribe a+b since earliest
< 200 text/event-stream
    mercure-last-event-id: earliest
< :⏎
! publish b 1
< {EVENT}
"
    ));
}

#[test]
fn what_can_not_be_selected_is_refused() {
    let long = "x".repeat(4097);
    for (query, words) in [
        ("", "missing \"match\" subscription parameter"),
        ("unknown=1", "missing \"match\""),
        ("topic=", "is empty"),
        ("match=a%00", "control characters"),
        ("match=a%E2%80%8Bb", "control characters"),
        ("match=%ff", "UTF-8"),
        ("Match=a", "in lower case"),
        ("match_regex=a", "another matcher"),
        ("MATCH_exact=a", "in lower case"),
        ("match_urlpattern=/(", "expression"),
        ("match_urlpattern=/((a%2B)%2B)", "expression"),
        ("match_urlpattern=/(a%7B5000%7D)", "too large"),
        (&*format!("match={long}"), "4096 bytes"),
        // A name has at most 255 bytes in every dialect; a pattern may have more.
        (&*format!("topic={}", &long[..256]), "the name has 256 bytes"),
        (&*format!("match={}", &long[..256]), "the name has 256 bytes"),
        ("match_urlpattern=/((((((((((a*)*)*)*)*)*)*)*)*)*)", "expression"),
        ("match_urlpattern=/(a%7B1,999%7D%7B1,999%7D)", "too large"),
        (&*format!("match_urlpattern=/{}", "(ab|cd|ef)".repeat(400)), "too large"),
        (&*(0..1001).map(|n| format!("topic={n}&")).collect::<String>(), "at most 1000 topics"),
        ("topic=a&last_event_id=%0A", "control characters"),
    ] {
        check(&format!("> GET /.well-known/mercure?{query}\n< 400 text/plain; charset=utf-8 …{words}…\n"));
    }
}

/// The id of the last event comes in four places; the answer says from which event on the stream goes.
#[test]
fn a_stream_resumes_from_the_last_event() {
    let first = "urn:uuid:00000000-0000-8002-8c00-000000000001";
    for (query, header, preceding) in [
        (String::new(), format!("last-event-id: {first}"), first),
        (format!("&last_event_id={first}"), "x-none: 1".to_owned(), first),
        (format!("&lastEventID={first}"), "x-none: 1".to_owned(), first),
        (format!("&Last-Event-ID={first}"), "x-none: 1".to_owned(), first),
        ("&lastEventID=earliest".to_owned(), format!("last-event-id: {first}"), first),
        ("&last_event_id=z.1".to_owned(), "last-event-id:".to_owned(), "z.1"),
        ("&lastEventID=named".to_owned(), "x-none: 1".to_owned(), "named"),
    ] {
        for selectors in ["topic=a", "topic=*", "match_urlpattern=/a&topic=b"] {
            check(&format!(
                "
! publish /a+a name=named 1
! publish a+/a {{\"n\":2}}
! publish c+/a+a 3
> GET /.well-known/mercure?{selectors}{query}
    {header}
< 200 text/event-stream
    last-event-id: {preceding}
    mercure-last-event-id: {preceding}
< :⏎
< id: urn:uuid:00000000-0000-8002-8c00-000000000002⏎data: {{\"n\":2}}⏎⏎
< id: urn:uuid:00000000-0000-8002-8c00-000000000003⏎data: 3⏎⏎
! publish a+/a 4
< …data: 4⏎⏎
"
            ));
        }
    }
}

#[test]
fn a_resume_that_may_lack_something_says_earliest() {
    // Unknown: nothing is replayed. Everything: all is replayed. Gone: what is left is replayed.
    check(
        "
        ! publish a 1
        u> GET /.well-known/mercure?topic=a&lastEventID=unknown
        u< 200 text/event-stream
            last-event-id: earliest
        u< :⏎
        u> [gone]
        e> GET /.well-known/mercure?topic=a&lastEventID=earliest
        e< 200 text/event-stream
            mercure-last-event-id: earliest
        e< :⏎
        e< …data: 1⏎⏎
        e> [gone]
        ! keep 1
        ! publish a 2
        ! publish a 3
        g> GET /.well-known/mercure?topic=a&last_event_id=urn:uuid:00000000-0000-8002-8c00-000000000001
        g< 200 text/event-stream
            last-event-id: earliest
        g< :⏎
        g< …data: 3⏎⏎
        p> GET /.well-known/mercure?topic=*&last_event_id=urn:uuid:00000000-0000-8002-8c00-000000000001
        p< 200 text/event-stream
            last-event-id: earliest
        p< :⏎
        p< …data: 3⏎⏎
        ",
    );
    // Empty: nothing is replayed, and the answer says that nothing is known of what was before.
    for (query, header) in [("&last_event_id=", "x-none: 1"), ("&lastEventID=", "x-none: 1"), ("", "last-event-id:")] {
        check(&format!(
            "! publish a 1\n> GET /.well-known/mercure?topic=a{query}\n    {header}\n< 200 text/event-stream\n    mercure-last-event-id: earliest\n< :⏎\n! publish a 2\n< …data: 2⏎⏎\n"
        ));
    }
    // Of several updates with one id the earliest counts.
    check(
        "
        ! publish a name=twice 1
        ! publish a name=twice 2
        > GET /.well-known/mercure?topic=a&lastEventID=twice
        < 200 text/event-stream
            last-event-id: twice
        < :⏎
        < id: twice⏎data: 2⏎⏎
        ",
    );
    // Whoever may not read what was, begins now: a browser would not come back after a refusal.
    check(
        "
        ! publish a 1
        ! deny subscribe forbidden no history
        > GET /.well-known/mercure?topic=a&lastEventID=earliest
        < 200 text/event-stream
            last-event-id: earliest
        < :⏎
        ",
    );
}

/// A header that can't be read is no credential in the first generation, and a bad request in the second.
#[test]
fn a_bad_header_is_refused_in_the_words_of_the_request() {
    for wrong in ["Basic YTpi", "Bearer", "Bearer a b"] {
        for (query, status) in
            [("topic=a", "401 text/plain; charset=utf-8 Unauthorized⏎"), ("match=a", "400 …"), ("match=a&topic=a", "400 …")]
        {
            check(&format!(
                "> GET /.well-known/mercure?{query}\n    authorization: {wrong}\n< {status}\n    www-authenticate: Bearer error=\"invalid_request\", …\n"
            ));
        }
    }
}

/// A pattern has room for 4096 bytes although a name has not.
#[test]
fn long_patterns_select() {
    for query in [format!("topic=/{}/%7Bid%7D", "a".repeat(200)), format!("match_urlpattern=/{}/:id", "a".repeat(200))] {
        check(&format!(
            "> GET /.well-known/mercure?{query}\n    host: hub.test\n< 200 text/event-stream\n< :⏎\n! publish /{}/1 1\n< {EVENT}\n",
            "a".repeat(200)
        ));
    }
    check(&format!("> GET /.well-known/mercure?topic=/{}/%7Bid%7D\n< 200 text/event-stream\n< :⏎\n", "a".repeat(4000)));
}

#[test]
fn refusals_and_goodbyes() {
    check(
        "
        ! deny subscribe forbidden no
        > GET /.well-known/mercure?topic=a
        < 401 text/plain; charset=utf-8 Unauthorized⏎
            www-authenticate: Bearer resource_metadata=…
        ! deny connect unavailable the broker is away
        > GET /.well-known/mercure?topic=a
        < 503 text/plain; charset=utf-8 the broker is away⏎
        > GET /.well-known/mercure?topic=a
        < …
        < …
        ! close expired
        < [closed]
        ! hold
        > GET /.well-known/mercure?topic=a
        ! close drain
        < 503 text/plain; charset=utf-8 …
        ",
    );
    let connection_time_max = Some(Duration::from_secs(600));
    transcript::check(
        &Mercure::new(MercureSettings { connection_time_max, ..MercureSettings::default() }),
        "> GET /.well-known/mercure?topic=a\n< …\n< …\n@ +480s\n@ +120s\n< [closed]\n",
    );
}

/// Whatever the network sends as id, type or data, an event stays one event.
#[test]
fn nothing_breaks_out_of_its_line() {
    check(
        "
        > GET /.well-known/mercure?topic=a
        < …
        < …
        ! publish a event=x⏎id:7 text forged
        ! publish a text one⏎⏎event:\\x0dforged
        < id: urn:uuid:…⏎data: one⏎data: ⏎data: event:⏎data: forged⏎⏎
        ! publish a binary 00ff
        < id: urn:uuid:…⏎data: AP8=⏎⏎
        ! gap a
        ! direct event=x 1
        < event: x⏎data: 1⏎⏎
        ",
    );
}

//! Publishing over HTTP, in both generations.

use super::{check, first, mercure, second};
use crate::mercure::{Mercure, MercureSettings};
use omnivox_core::origin::Origins;
use omnivox_testkit::transcript;

const FORM: &str = "content-type: application/x-www-form-urlencoded";

#[test]
fn an_update_is_one_form() {
    check(
        "
        s> GET /.well-known/mercure?topic=https://example.com/books/1
        s< 200 text/event-stream
        s< :⏎
        > POST /.well-known/mercure
            content-type: application/x-www-form-urlencoded; charset=utf-8
            authorization: Bearer abc.def.ghi
            | topic=https%3A%2F%2Fexample.com%2Fbooks%2F1&topic=alternate&data=one%0Atwo%0D%0Athree&type=book&retry=1500&id=my-id
        ? connect token abc.def.ghi
        ? publish https://example.com/books/1+alternate event=book one⏎two\\x0d⏎three
        s< event: book⏎retry: 1500⏎id: my-id⏎data: one⏎data: two⏎data: three⏎⏎
        < 200 text/plain; charset=utf-8 my-id
        > POST /.well-known/mercure
            content-type: application/x-www-form-urlencoded
            | topic=https://example.com/books/1&data=
        s< id: urn:uuid:00000000-0000-8002-8c00-000000000002⏎data: ⏎⏎
        < 200 text/plain; charset=utf-8 urn:uuid:00000000-0000-8002-8c00-000000000002
        > POST /.well-known/mercure
            content-type: application/x-www-form-urlencoded
            | topic=x&data=%7B%22a%22%3A1%7D&private
        ? publish x granted {\"a\":1}
        < 200 text/plain; charset=utf-8 urn:uuid:…
        ",
    );
}

/// What `symfony/mercure` writes: repeated topics without brackets, PHP's `urlencode` (blanks are `+`), `private=on`, and nothing for what is
/// not set.
#[test]
fn requests_of_symfony_publish_unchanged() {
    check(
        "
        s> GET /.well-known/mercure?topic=https://example.com/books/1
        s< 200 text/event-stream
        s< :⏎
        > POST /.well-known/mercure
            accept: */*
            content-type: application/x-www-form-urlencoded
            authorization: Bearer eyJ0eXAiOiJKV1QiLCJhbGciOiJIUzI1NiJ9.eyJtZXJjdXJlIjp7InB1Ymxpc2giOlsiKiJdfX0.c2ln
            user-agent: Symfony HttpClient (Curl)
            accept-encoding: gzip
            | topic=https%3A%2F%2Fexample.com%2Fbooks%2F1&data=%7B%22status%22%3A%22Out+of+stock%22%7D
        ? publish https://example.com/books/1 {\"status\":\"Out of stock\"}
        s< id: urn:uuid:…⏎data: {\"status\":\"Out of stock\"}⏎⏎
        < 200 text/plain; charset=utf-8 urn:uuid:…
        > POST /.well-known/mercure
            content-type: application/x-www-form-urlencoded
            authorization: Bearer eyJ0eXAiOiJKV1QiLCJhbGciOiJIUzI1NiJ9.eyJtZXJjdXJlIjp7InB1Ymxpc2giOlsiKiJdfX0.c2ln
            | topic=https%3A%2F%2Fexample.com%2Fbooks%2F1&topic=https%3A%2F%2Fexample.com%2Fusers%2Fd%C3%A9j%C3%A0&data=%3Cturbo-stream+action%3D%22append%22%3E%0A%3C%2Fturbo-stream%3E&private=on&id=urn%3Auuid%3A5e94c686-2c0b-4f9b-958c-92ccc3bbb4eb&type=book&retry=3000
        ? publish https://example.com/books/1+https://example.com/users/déjà event=book granted <turbo-stream action=\"append\">⏎</turbo-stream>
        < 200 text/plain; charset=utf-8 urn:uuid:5e94c686-2c0b-4f9b-958c-92ccc3bbb4eb
        ",
    );
}

#[test]
fn what_makes_no_update_is_refused() {
    let long = "x".repeat(256);
    for (body, status, words) in [
        ("data=1", 400, "Missing \"topic\" parameter"),
        ("topic=", 400, "a topic is no channel: the name is empty"),
        (&*format!("topic={long}"), 400, "the name has 256 bytes"),
        ("topic=a%00b", 400, "control characters"),
        ("topic=a%E2%80%8Eb", 400, "control characters"),
        ("topic=%ff", 400, "UTF-8"),
        ("topic=%zz", 400, "hexadecimal"),
        ("topic=*", 400, "stands for all"),
        ("topic=a&retry=1s", 400, "Invalid \"retry\" parameter"),
        ("topic=a&id=%23x", 400, "an id has no"),
        ("topic=a&id=earliest", 400, "an id has no"),
        ("topic=a&id=a%0Ab", 400, "an id has no"),
        (&*format!("topic=a&id={long}"), 400, "at most 255 bytes"),
        ("topic=a&type=x%0Ay", 400, "the type has control characters"),
        ("topic=/.well-known/mercure", 403, "are the hub's"),
        ("topic=/.well-known/mercure/subscriptions/x/y", 403, "are the hub's"),
        ("topic=/foo/../.well-known/%6Dercure/x", 403, "are the hub's"),
        ("topic=https://any.example/.well-known/mercure/x", 403, "are the hub's"),
        (&*(0..101).map(|n| format!("topic={n}&")).collect::<String>(), 400, "at most 100 topics"),
    ] {
        check(&format!("> POST /.well-known/mercure\n    {FORM}\n    | {body}\n< {status} text/plain; charset=utf-8 …{words}…\n"));
    }
    check(&format!(
        "
> POST /.well-known/mercure
    content-type: application/json
    | {{\"topic\":\"a\"}}
< 400 text/plain; charset=utf-8 …must be a form…
> POST /.well-known/mercure
    {FORM}
    authorization: Bearer {second}
    | topic=/.well-known/mercure/x
< 400 text/plain; charset=utf-8 …are the hub's…
> POST /.well-known/mercure
    {FORM}
    authorization: Bearer {second}
    | topic=a&type=mercure
< 400 text/plain; charset=utf-8 …is the hub's…
> PUT /.well-known/mercure
< 405 text/plain; charset=utf-8 …
    allow: GET, HEAD, POST, QUERY, OPTIONS
",
        second = second()
    ));
}

/// 0.x answers 401 to everything that a token does not allow; 1.0 tells what is wrong.
#[test]
fn each_generation_is_refused_in_its_words() {
    let metadata = "resource_metadata=\"http://hub.test/.well-known/oauth-protected-resource/.well-known/mercure\"";
    for (token, denial, status, header) in [
        (None, "item forbidden", "401 text/plain; charset=utf-8 Unauthorized⏎", format!("Bearer {metadata}")),
        (None, "connect unauthorized", "401 text/plain; charset=utf-8 Unauthorized⏎", format!("Bearer {metadata}")),
        (
            Some(first("{}")),
            "item forbidden",
            "401 text/plain; charset=utf-8 Unauthorized⏎",
            format!("Bearer error=\"insufficient_scope\", {metadata}"),
        ),
        (
            Some(second()),
            "item forbidden",
            "403 text/plain; charset=utf-8 Forbidden⏎",
            format!("Bearer error=\"insufficient_scope\", {metadata}"),
        ),
        (
            Some(second()),
            "connect unauthorized",
            "401 text/plain; charset=utf-8 Unauthorized⏎",
            format!("Bearer error=\"invalid_token\", {metadata}"),
        ),
        (
            Some(first("{}")),
            "connect expired",
            "401 text/plain; charset=utf-8 Unauthorized⏎",
            format!("Bearer error=\"invalid_token\", {metadata}"),
        ),
    ] {
        let authorization = token.map(|token| format!("\n    authorization: Bearer {token}")).unwrap_or_default();
        check(&format!(
            "! deny {denial} no\n> POST /.well-known/mercure\n    host: hub.test\n    {FORM}{authorization}\n    | topic=a\n< {status}\n    www-authenticate: {header}\n"
        ));
    }
    for wrong in ["Basic YTpi", "Bearer", "Bearer a b", "Bearer é"] {
        check(&format!(
            "> POST /.well-known/mercure\n    host: hub.test\n    {FORM}\n    authorization: {wrong}\n    | topic=a\n< 400 text/plain; charset=utf-8 …\n    www-authenticate: Bearer error=\"invalid_request\", {metadata}\n"
        ));
    }
    check(&format!(
        "> POST /.well-known/mercure\n    {FORM}\n    authorization: Bearer a.b.c\n    authorization: Bearer a.b.c\n    | topic=a\n< 400 text/plain; charset=utf-8 …\n"
    ));
}

/// A browser sends cookies for any page, so the page must be one that may publish.
#[test]
fn cookies_publish_only_from_pages_that_may() {
    let settings = MercureSettings {
        publish_origins: vec!["https://app.example".to_owned(), "https://*.good.example".to_owned()],
        cookie_name: "my_cookie".to_owned(),
        ..MercureSettings::default()
    };
    let mercure = Mercure::new(settings);
    for (page, allowed) in [
        ("origin: https://app.example", true),
        ("origin: https://a.good.example", true),
        ("origin: http://hub.test", true),
        ("referer: https://app.example/page?x", true),
        ("origin: https://good.example", false),
        ("origin: https://evil.example/.good.example", false),
        ("origin: https://hub.test", false),
        ("origin: null", false),
        ("x-nothing: 1", false),
    ] {
        for cookie in ["my_cookie=a.b.c", "mercureAuthorization=a.b.c"] {
            let answer =
                if allowed { "? connect token a.b.c…\n< 200 …" } else { "< 400 text/plain; charset=utf-8 …publish_origins…" };
            transcript::check(
                &mercure,
                &format!(
                    "> POST /.well-known/mercure\n    host: hub.test\n    {FORM}\n    {page}\n    cookie: {cookie}\n    | topic=a\n{answer}\n"
                ),
            );
        }
    }
    // A header goes before a cookie, a cookie after the query.
    transcript::check(
        &mercure,
        "
        > GET /.well-known/mercure?topic=a&authorization=q.q.q
            cookie: my_cookie=c.c.c
        ? connect token q.q.q
        < …
        < …
        > GET /.well-known/mercure?topic=a&authorization=q.q.q
            authorization: bearer h.h.h
            cookie: my_cookie=c.c.c
        ? connect token h.h.h
        < …
        < …
        > GET /.well-known/mercure?topic=a
            cookie: other=1; my_cookie=c.c.c
        ? connect token c.c.c
        < …
        < …
        ",
    );
}

/// One of two cookies may come from a page that a stranger controls.
#[test]
fn several_cookies_of_one_name_are_refused() {
    let words = "the request has several cookies of the same name; remove those that other paths or parent domains set⏎";
    for name in ["__Secure-mercure_access_token", "mercureAuthorization"] {
        for (request, status) in [
            (
                format!("POST /.well-known/mercure\n    origin: http://hub.test\n    {FORM}\n    | topic=a"),
                format!("400 text/plain; charset=utf-8 {words}"),
            ),
            ("GET /.well-known/mercure?match=a".to_owned(), format!("400 text/plain; charset=utf-8 {words}")),
            ("GET /.well-known/mercure?topic=a".to_owned(), "401 text/plain; charset=utf-8 Unauthorized⏎".to_owned()),
        ] {
            let (line, rest) = request.split_once('\n').map_or((&*request, String::new()), |(line, rest)| (line, format!("\n{rest}")));
            for cookies in [format!("cookie: {name}=a.b.c; {name}=x.y.z"), format!("cookie: {name}=a.b.c\n    cookie: {name}=a.b.c")] {
                check(&format!(
                    "> {line}\n    host: hub.test\n    {cookies}{rest}\n< {status}\n    www-authenticate: Bearer error=\"invalid_request\", resource_metadata=\"http://hub.test/.well-known/oauth-protected-resource/.well-known/mercure\"\n"
                ));
            }
        }
    }
    // That of the second generation counts before that of the first, and one that is empty is none.
    check(
        "
        > GET /.well-known/mercure?match=a
            cookie: mercureAuthorization=a; __Secure-mercure_access_token=c.c.c; mercureAuthorization=b; __Secure-mercure_access_token=
        ? connect token c.c.c
        < …
        < …
        ",
    );
}

#[test]
fn pages_of_other_origins_are_told_what_they_may_read() {
    let cors_origins = Origins::new(vec!["https://app.example".to_owned()]);
    transcript::check(
        &Mercure::new(MercureSettings { cors_origins, ..MercureSettings::default() }),
        "
        > OPTIONS /.well-known/mercure
            origin: https://app.example
        < 204
            access-control-allow-origin: https://app.example
            access-control-allow-credentials: true
            access-control-allow-methods: GET, HEAD, POST, QUERY, OPTIONS
        > GET /.well-known/mercure?topic=a
            origin: https://app.example
        < 200 text/event-stream
            access-control-allow-origin: https://app.example
        < …
        > GET /.well-known/mercure?topic=a
            origin: https://evil.example
        < 200 text/event-stream
            !access-control-allow-origin
        < …
        ",
    );
    transcript::check(
        &mercure(),
        "
        > OPTIONS /.well-known/mercure
            origin: https://app.example
        < 204
            !access-control-allow-origin
        ",
    );
}

#[test]
fn the_metadata_document_tells_where_tokens_come_from() {
    let settings = MercureSettings {
        authorization_servers: vec!["https://login.example".to_owned()],
        public_origin: Some("https://hub.example".to_owned()),
        ..MercureSettings::default()
    };
    transcript::check(
        &Mercure::new(settings),
        r#"
        > GET /.well-known/oauth-protected-resource/.well-known/mercure
        < 200 application/json {"authorization_details_types_supported":["https://mercure.rocks/authorization-detail"],"authorization_servers":["https://login.example"],"bearer_methods_supported":["header"],"mercure_cookie":"__Secure-mercure_access_token","mercure_matcher_types_supported":["exact","urlpattern"],"resource":"https://hub.example/.well-known/mercure"}
        "#,
    );
}

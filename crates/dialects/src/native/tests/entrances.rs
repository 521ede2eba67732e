//! The ways in which requests show who asks, and what back ends do with others.

use super::check;

#[test]
fn each_way_becomes_one_credential() {
    check(
        r#"
        > GET /v1/channels
            authorization: Bearer a.b.c
        ? connect token a.b.c
        ? channels
        < …
        > GET /v1/channels
            authorization: bearer ovt_x
        ? connect ticket ovt_x
        ? channels
        < …
        > GET /v1/channels?ticket=ovt_y
        ? connect ticket ovt_y
        ? channels
        < …
        > GET /v1/channels
            authorization: Basic c2hvcDpzOmVjcmV0
        ? connect key shop s:ecret
        ? channels
        < …
        > GET /v1/channels?prefix=a
            authorization: Omnivox-HMAC key=shop,t=1,n=123456,v1=00
        ? connect signed Omnivox-HMAC key=shop,t=1,n=123456,v1=00 GET /v1/channels?prefix=a
        ? channels a
        < …
        > GET /v1/channels
            cookie: other=1; omnivox_token=a.b.c
            referer: https://page.test/x
            sec-fetch-site: same-site
        ? connect cookie a.b.c from https://page.test/x site same-site
        ? channels
        < …
        > GET /v1/channels?ticket=ovt_y
            cookie: omnivox_token=a.b.c
            authorization: Bearer d.e.f
        ? connect token d.e.f
        ? channels
        < …
        "#,
    );
}

#[test]
fn a_subprotocol_holds_a_token_and_is_never_repeated() {
    check(
        r#"
        a> WS /v1/ws
            sec-websocket-protocol: omnivox, omnivox.token.a.b.c
        ? connect token a.b.c
        a< 101
            sec-websocket-protocol: omnivox
        b> WS /v1/ws
            sec-websocket-protocol: omnivox.token.ovt_x, omnivox
        ? connect ticket ovt_x
        b< 101
            sec-websocket-protocol: omnivox
        "#,
    );
}

#[test]
fn what_can_be_meant_in_two_ways_is_refused() {
    for (request, words) in [
        ("WS /v1/ws\n    sec-websocket-protocol: omnivox.token.a.b.c", "a token in a subprotocol comes beside `omnivox`"),
        ("WS /v1/ws\n    sec-websocket-protocol: omnivox, omnivox.token.a, omnivox.token.b", "two subprotocols hold a token"),
        ("GET /v1/channels\n    cookie: omnivox_token=a; omnivox_token=b", "several cookies of the same name"),
        ("GET /v1/channels\n    cookie: omnivox_token=a\n    cookie: omnivox_token=b", "several cookies of the same name"),
        ("GET /v1/channels\n    authorization: Bearer a\n    authorization: Bearer b", "not one `Authorization` header"),
    ] {
        check(&format!("> {request}\n< 400 application/json {{\"error\":{{\"code\":\"invalid\",\"message\":\"…{words}…\"}}}}\n"));
    }
    for request in ["authorization: Digest x", "authorization: Bearer", "authorization: Basic !"] {
        check(&format!("> GET /v1/channels\n    {request}\n< 401 application/json {{\"error\":{{\"code\":\"unauthorized\",…}}}}\n"));
    }
}

#[test]
fn back_ends_ask_about_webhooks() {
    check(
        r#"
        > GET /v1/webhooks/deliveries
        ? connect anonymous
        ? manage Deliveries(AttemptQuery { webhook: None, status: None, most: 100 })
        < 200 application/json {"deliveries":[{"id":"e-1","webhook":"audit","status":"retrying","attempt":1,"events":2,"at":1700000000000,"duration_ms":7,"answer":503,"error":null,"next_at":1700000001000}]}
            cache-control: no-store
        > GET /v1/webhooks/deliveries?webhook=audit&status=failed&limit=100000
        ? connect anonymous
        ? manage Deliveries(AttemptQuery { webhook: Some("audit"), status: Some(Failed), most: 1000 })
        < 200 …
        > GET /v1/webhooks/deliveries?status=lost
        < 400 …`status` is none of…
        > POST /v1/webhooks/test
            content-type: application/json
            | {"webhook":"audit"}
        ? connect anonymous
        ? manage TestWebhook("audit")
        < 202 application/json {"id":"e-2"}
        > POST /v1/webhooks/test
            content-type: application/json
            | {}
        < 400 …`webhook` is missing…
        > POST /v1/webhooks/test
            content-type: text/plain
            | {"webhook":"audit"}
        < 415 …
        "#,
    );
}

#[test]
fn back_ends_get_tickets_and_end_others() {
    check(
        r#"
        > POST /v1/ticket
            authorization: Bearer a.b.c
        ? connect token a.b.c
        ? ticket
        < 200 application/json {"ticket":"ticket","expires_in_ms":30000}
            cache-control: no-store
        > GET /v1/connections?user=ana
        ? connect anonymous
        ? connections ana
        < 200 application/json {"connections":[],"more":false}
        > POST /v1/disconnect
            content-type: application/json
            | {"user":"ana"}
        ? connect anonymous
        ? manage DisconnectUser("ana")
        < 200 application/json {"ok":true}
        > POST /v1/disconnect
            content-type: application/json
            | {"session":"0000001a-2-1e-1"}
        ? connect anonymous
        ? manage DisconnectSession(0000001a-2-1e-1)
        < 200 application/json {"ok":true}
        > POST /v1/revoke
            content-type: application/json
            | {"token":"7f3a"}
        ? connect anonymous
        ? manage RevokeToken("7f3a")
        < 200 application/json {"ok":true}
        > POST /v1/revoke
            content-type: application/json
            | {"user":"ana"}
        ? connect anonymous
        ? manage RevokeUser("ana")
        < 200 application/json {"ok":true}
        "#,
    );
    for (path, body, words) in [
        ("revoke", "{}", "name one of `user`, `session` and `token`"),
        ("revoke", r#"{"user":"ana","token":"x"}"#, "name one of"),
        ("revoke", r#"{"usre":"ana"}"#, "name one of"),
        ("revoke", r#"{"token":""}"#, "`token` is the `jti`"),
        ("revoke", r#"{"session":"x"}"#, "`session` is no session's id"),
        ("disconnect", r#"{"token":"x"}"#, "use `/v1/revoke`"),
        ("disconnect", r#"{"user":""}"#, "`user` is no user"),
    ] {
        let answer = format!("< 400 application/json {{\"error\":{{\"code\":\"invalid_message\",\"message\":\"…{words}…\"}}}}");
        check(&format!("> POST /v1/{path}\n    content-type: application/json\n    | {body}\n{answer}\n"));
    }
    check("> POST /v1/revoke\n    content-type: text/plain\n    | {\"user\":\"ana\"}\n< 415 …\n");
}

//! Rooms: seats, signals, and servers for peer connections in every form.

use super::check;

#[test]
fn two_members_signal_to_each_other_and_to_nobody_else() {
    check(
        r#"
        a> WS /v1/ws?channel=room
        a< 101
        a< {"type":"subscribed","channel":"room",…
        a> {"type":"subscribe","channel":"room","presence":true}
        a< {"type":"subscribed","channel":"room",…
        a> {"type":"enter","channel":"room","seat":"0123456789abcdef","data":{"name":"Ana"},"ref":1}
        ? seat room secret 0123456789abcdef {"name":"Ana"}
        a< {"type":"presence","channel":"room","action":"enter","member":{"session":"…","key":"~1","user":null,"data":{"name":"Ana"}}}
        a< {"type":"entered","channel":"room","member":"~1","peers":[],"iceServers":[{"urls":["stun:relay.test:3478"]},{"urls":["turn:relay.test:3478?transport=udp","turn:relay.test:3478?transport=tcp"],"username":"1700000600:demo/ana/room","credential":"cGFzc3dvcmQ="}],"ttl":600,"expires_at":1700000600,"ref":1}
        b> WS /v1/ws
        b< 101
        b> {"type":"enter","channel":"room","seat":"fedcba9876543210"}
        a< {"type":"presence",…"key":"~2"…
        b< {"type":"entered","channel":"room","member":"~2","peers":[{"member":"~1","polite":true,"session":"…","user":null,"data":{"name":"Ana"}}],"iceServers":…
        c> WS /v1/ws?channel=room
        c< 101
        c< {"type":"subscribed",…
        b> {"type":"signal","channel":"room","to":"~1","from":"~9","data":{"description":{"type":"offer"}}}
        ? signal room ~1 {"description":{"type":"offer"}}
        a< {"type":"signal","channel":"room","from":"~2","data":{"description":{"type":"offer"}}}
        a> {"type":"signal","room":"room","to":"~2","data":[]}
        b< {"type":"signal","channel":"room","from":"~1","data":[]}
        b> {"type":"signal","channel":"room","to":"~7","data":1,"ref":5}
        b< {"type":"error","code":"not_found","message":"…","for":"signal","channel":"room","ref":5}
        c> {"type":"signal","channel":"room","to":"~1","data":1}
        c< {"type":"error","code":"forbidden",…
        b> {"type":"leave","channel":"room","key":"~2"}
        a< {"type":"presence","channel":"room","action":"leave",…"key":"~2"…
        b< {"type":"left","channel":"room"}
        "#,
    );
}

#[test]
fn a_seat_comes_back_with_its_secret() {
    check(
        r#"
        a> WS /v1/ws
        a< 101
        a> {"type":"enter","channel":"room","seat":"0123456789abcdef"}
        a< {"type":"entered","channel":"room","member":"~1",…
        b> WS /v1/ws
        b< 101
        b> {"type":"enter","channel":"room","seat":"0123456789abcdef","member":"~1"}
        ? seat room secret 0123456789abcdef as ~1
        b< {"type":"entered","channel":"room","member":"~1","peers":[],…
        "#,
    );
}

#[test]
fn what_is_no_signal_is_refused() {
    let refused = |message: &str, words: &str| {
        check(&format!("> WS /v1/ws\n< 101\n> {message}\n< {{\"type\":\"error\",\"code\":\"{words}…\n"));
    };
    refused(r#"{"type":"signal","channel":"room","data":1}"#, r#"invalid_message","message":"`to` is missing"#);
    refused(r#"{"type":"signal","to":"~1","data":1}"#, r#"invalid_message","message":"`channel` is missing"#);
    refused(r#"{"type":"signal","channel":"room","to":7}"#, r#"invalid_message","message":"`to` is not text"#);
    refused(r#"{"type":"enter","channel":"room","seat":7}"#, r#"invalid_message","message":"`seat` is not text"#);
    refused(r#"{"type":"entered","channel":"room"}"#, "reserved_type");
}

#[test]
fn servers_come_in_the_form_that_a_client_knows() {
    let check_form = |form: &str, expected: &str| {
        check(&format!("> GET /v1/ice?channel=room&ttl=600{form}\n? ice room for 600 s\n< {expected}\n    cache-control: no-store\n"));
    };
    let login = r#""username":"1700000600:demo/ana/room","credential":"cGFzc3dvcmQ=""#;
    let password = r#""username":"1700000600:demo/ana/room","password":"cGFzc3dvcmQ=""#;
    let (stun, udp, tcp) = ("stun:relay.test:3478", "turn:relay.test:3478?transport=udp", "turn:relay.test:3478?transport=tcp");
    check_form(
        "",
        &format!(
            r#"200 application/json {{"iceServers":[{{"urls":["{stun}"]}},{{"urls":["{udp}","{tcp}"],{login}}}],"ttl":600,"expires_at":1700000600}}"#
        ),
    );
    check_form(
        "&format=twilio",
        &format!(
            r#"201 application/json {{{password},"ttl":"600","ice_servers":[{{"url":"{stun}","urls":"{stun}"}},{{"url":"{udp}","urls":"{udp}",{login}}},{{"url":"{tcp}","urls":"{tcp}",{login}}}]}}"#
        ),
    );
    check_form("&format=cloudflare", &format!(r#"201 application/json {{"iceServers":{{"urls":["{stun}","{udp}","{tcp}"],{login}}}}}"#));
    check_form(
        "&format=metered",
        &format!(r#"200 application/json [{{"urls":"{stun}"}},{{"urls":"{udp}",{login}}},{{"urls":"{tcp}",{login}}}]"#),
    );
    for form in ["matrix", "turnrest"] {
        check_form(&format!("&format={form}"), &format!(r#"200 application/json {{{password},"uris":["{udp}","{tcp}"],"ttl":600}}"#));
    }
    check(
        "> GET /v1/ice?format=other\n< 400 application/json {\"error\":{\"code\":\"invalid_message\",\"message\":\"`format` is none of…\n",
    );
    check(
        "! deny ice not_found this server has no relay\n> GET /v1/ice?channel=room\n< 404 application/json {\"error\":{\"code\":\"not_found\",…\n",
    );
}

#[test]
fn a_seat_without_a_connection_has_an_inbox_on_a_stream() {
    check(
        r#"
        e> POST /v1/rooms/enter
            content-type: application/json
            | {"channel":"room","seat":"0123456789abcdef","data":{"name":"Ana"}}
        ? connect anonymous
        ? seat room secret 0123456789abcdef on lease {"name":"Ana"}
        e< 200 application/json {"type":"entered","channel":"room","member":"~1","peers":[],"iceServers":…"expires_at":1700000600,"inbox":"~1.key","last":"z.0","kept_ms":15000}
            cache-control: no-store
        s> GET /v1/sse?channel=room&inbox=~1.key&since=z.0
        ? connect anonymous
        ? keep ~1.key
        s< 200 text/event-stream
        s< :ok⏎⏎retry: 2000⏎⏎
        s< id: z.0⏎⏎
        b> WS /v1/ws
        b< 101
        b> {"type":"enter","channel":"room","seat":"fedcba9876543210"}
        b< {"type":"entered",…"peers":[{"member":"~1",…
        b> {"type":"signal","channel":"room","to":"~1","data":{"description":{"type":"offer"}}}
        s< id: z.1⏎data: {"type":"signal","channel":"room","from":"~2","data":{"description":{"type":"offer"}}}⏎⏎
        a> POST /v1/rooms/signal
            content-type: application/json
            | {"channel":"room","seat":"0123456789abcdef","member":"~1","to":"~2","from":"~9","data":[1]}
        ? connect anonymous
        ? signal room ~2 from secret 0123456789abcdef as ~1 [1]
        b< {"type":"signal","channel":"room","from":"~1","data":[1]}
        a< 202 application/json {"type":"signalled","channel":"room"}
        @ +5s
        ? keep ~1.key
        l> POST /v1/rooms/leave
            content-type: application/json
            | {"channel":"room","seat":"0123456789abcdef","member":"~1"}
        ? connect anonymous
        ? vacate room secret 0123456789abcdef as ~1
        l< 200 application/json {"type":"left","channel":"room"}
        "#,
    );
}

#[test]
fn an_inbox_is_read_by_polls_and_resumes() {
    check(
        r#"
        e> POST /v1/rooms/enter
            content-type: application/json
            | {"channel":"room","seat":"0123456789abcdef"}
        e< 200 application/json {"type":"entered",…"inbox":"~1.key","last":"z.0","kept_ms":15000}
        b> WS /v1/ws
        b< 101
        b> {"type":"enter","channel":"room","seat":"fedcba9876543210"}
        b< {"type":"entered",…
        b> {"type":"signal","channel":"room","to":"~1","data":1}
        p> GET /v1/poll?inbox=~1.key&last=z.0
        ? connect anonymous
        ? keep ~1.key
        p< 200 application/json {"events":[{"type":"signal","channel":"room","from":"~2","data":1}],"last":"z.1","gap":false,"more":false}
        q> GET /v1/poll?inbox=~1.key&last=z.1&timeout=20
        @ +5s
        ? keep ~1.key
        b> {"type":"signal","channel":"room","to":"~1","data":2}
        q< 200 application/json {"events":[{"type":"signal","channel":"room","from":"~2","data":2}],"last":"z.2","gap":false,"more":false}
        w> GET /v1/poll?inbox=~1.wrong&last=z.1
        w< 404 application/json {"error":{"code":"not_found",…
        "#,
    );
}

#[test]
fn requests_of_rooms_are_refused_with_what_is_wrong() {
    let refused = |path: &str, body: &str, status: u16, words: &str| {
        check(&format!(
            "> POST /v1/rooms/{path}\n    content-type: application/json\n    | {body}\n< {status} application/json {{\"error\":{{\"code\":\"{words}…\n"
        ));
    };
    refused("enter", r#"{"channel":"room"}"#, 400, r#"invalid_message","message":"`seat` is missing"#);
    refused("enter", r#"{"seat":"0123456789abcdef"}"#, 400, r#"invalid_message","message":"`channel` is missing"#);
    refused("signal", r#"{"channel":"room","to":"~1","data":1}"#, 400, r#"invalid_message","message":"`seat` is missing"#);
    refused("signal", r#"{"channel":"room","seat":"0123456789abcdef","data":1}"#, 400, r#"invalid_message","message":"`to` is missing"#);
    refused("signal", r#"{"channel":"room","seat":"0123456789abcdef","to":"~2"}"#, 404, r#"not_found","message":"this seat is not kept"#);
    refused("leave", r#"{"channel":"room","seat":"0123456789abcdef"}"#, 404, r#"not_found"#);
    refused("leave", r#"{"channel":"room""#, 400, r#"invalid_json"#);
    check(
        "> POST /v1/rooms/enter\n    content-type: text/plain\n    | {}\n< 415 application/json {\"error\":{\"code\":\"unsupported_media_type\"…\n",
    );
    check("> GET /v1/rooms/enter\n< 405 application/json {\"error\":{\"code\":\"method_not_allowed\"…\n    allow: POST, OPTIONS\n");
}

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

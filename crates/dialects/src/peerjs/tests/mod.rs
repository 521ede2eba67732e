//! Transcripts of PeerJS: the handshake, messages between peers, those who are absent, and the HTTP paths.

use omnivox_core::origin::Origins;
use omnivox_testkit::transcript;

use super::*;

#[track_caller]
fn check(text: &str) {
    transcript::check(&PeerJs::new(PeerJsSettings::default()), text);
}

#[test]
fn two_peers_exchange_messages() {
    check(
        r#"
        a> WS /peerjs/peerjs?key=peerjs&id=ana&token=t1&version=1.5.5
        a< 101
        ? seat peerjs name ana token t1
        a< {"type":"OPEN"}
        b> WS /peerjs/peerjs?key=peerjs&id=bob&token=t2
        b< 101
        b< {"type":"OPEN"}
        a> {"type":"OFFER","src":"mallory","dst":"bob","payload":{"sdp": 1,"connectionId":"c"},"more":1}
        b< {"type":"OFFER","src":"ana","dst":"bob","payload":{"sdp": 1,"connectionId":"c"}}
        b> {"type":"ANSWER","dst":"ana","payload":[1]}
        a< {"type":"ANSWER","src":"bob","dst":"ana","payload":[1]}
        b> {"type":"CANDIDATE","dst":"ana","payload":null}
        a< {"type":"CANDIDATE","src":"bob","dst":"ana"}
        b> {"type":"LEAVE","dst":"ana"}
        a< {"type":"LEAVE","src":"bob","dst":"ana"}
        a> {"type":"EXPIRE","dst":"bob"}
        b< {"type":"EXPIRE","src":"ana","dst":"bob"}
        "#,
    );
}

#[test]
fn the_address_is_checked_after_the_handshake() {
    let refused = |query: &str, kind: &str, words: &str| {
        check(&format!(
            "> WS /peerjs/peerjs{query}\n< 101\n< {{\"type\":\"{kind}\",\"payload\":{{\"msg\":\"{words}\"}}}}\n< [close]\n< [closed]\n"
        ));
    };
    let incomplete = "No id, token, or key supplied to websocket server";
    refused("", "ERROR", incomplete);
    refused("?id=a&token=t", "ERROR", incomplete);
    refused("?key=peerjs&id=&token=t", "ERROR", incomplete);
    refused("?key=other&id=a&token=t", "ERROR", "Invalid key provided");
    check(
        r#"
        ! deny seat limit_exceeded full
        > WS /peerjs/peerjs?key=peerjs&id=a&token=t
        < 101
        < {"type":"ERROR","payload":{"msg":"Server has reached its concurrent user limit"}}
        < [close]
        < [closed]
        "#,
    );
}

#[test]
fn an_id_is_its_owners() {
    check(
        r#"
        a> WS /peerjs/peerjs?key=peerjs&id=ana&token=t1
        a< 101
        a< {"type":"OPEN"}
        b> WS /peerjs/peerjs?key=peerjs&id=ana&token=t2
        b< 101
        b< {"type":"ID-TAKEN","payload":{"msg":"ID is taken"}}
        b< [close]
        b< [closed]
        a> {"type":"LEAVE"}
        ? leave peerjs ~ana
        c> WS /peerjs/peerjs?key=peerjs&id=ana&token=t2
        c< 101
        c< {"type":"OPEN"}
        "#,
    );
}

#[test]
fn messages_wait_for_an_absent_peer() {
    check(
        r#"
        a> WS /peerjs/peerjs?key=peerjs&id=ana&token=t1
        a< 101
        a< {"type":"OPEN"}
        a> {"type":"OFFER","dst":"bob","payload":1}
        a> {"type":"CANDIDATE","dst":"bob","payload":2}
        a> {"type":"LEAVE","dst":"bob"}
        @ +4s
        b> WS /peerjs/peerjs?key=peerjs&id=bob&token=t2
        b< 101
        b< {"type":"OPEN"}
        @ +300ms
        b< {"type":"OFFER","src":"ana","dst":"bob","payload":1}
        b< {"type":"CANDIDATE","src":"ana","dst":"bob","payload":2}
        @ +10s
        "#,
    );
}

#[test]
fn a_peer_that_never_comes_expires_once() {
    check(
        r#"
        > WS /peerjs/peerjs?key=peerjs&id=ana&token=t1
        < 101
        < {"type":"OPEN"}
        > {"type":"OFFER","dst":"bob","payload":1}
        > {"type":"CANDIDATE","dst":"bob","payload":2}
        @ +4s
        @ +2s
        < {"type":"EXPIRE","src":"bob","dst":"ana"}
        @ +10s
        "#,
    );
}

#[test]
fn a_silent_peer_is_sent_away() {
    check(
        r#"
        > WS /peerjs/peerjs?key=peerjs&id=ana&token=t1
        < 101
        < {"type":"OPEN"}
        @ +50s
        > {"type":"HEARTBEAT"}
        @ +59s
        > not JSON
        > {"type":"UNKNOWN","dst":"ana"}
        > {"type":7}
        @ +59s
        > {"type":"HEARTBEAT"}
        @ +61s
        < [close]
        < [closed]
        "#,
    );
}

#[test]
fn the_http_paths_answer() {
    check(
        r#"
        > GET /peerjs/
            origin: https://example.org
        < 200 application/json {"name":"PeerJS Server","description":"A server side element to broker connections between PeerJS clients.","website":"https://peerjs.com/"}
            access-control-allow-origin: https://example.org
        > GET /peerjs/anykey/id?ts=1&version=2
        < 200 text/html; charset=utf-8 …-4…
            cache-control: no-store
        > GET /peerjs/peerjs/peers
        < 401 text/html; charset=utf-8 Unauthorized
        > GET /peerjs/peerjs
        < 426 …
        > GET /peerjs/a/b/c
        < 404 …
        > POST /peerjs/
        < 405 …
        > OPTIONS /peerjs/peerjs/id
            origin: https://example.org
        < 204
            access-control-allow-origin: https://example.org
        "#,
    );
}

#[test]
fn peers_are_listed_only_where_that_is_wanted() {
    let settings = PeerJsSettings {
        discovery: true,
        cors_origins: Origins::new(vec!["https://a.example".to_owned()]),
        path: "/".to_owned(),
        ..PeerJsSettings::default()
    };
    transcript::check(
        &PeerJs::new(settings),
        r#"
        a> WS /peerjs?key=peerjs&id=ana&token=t1
        a< 101
        a< {"type":"OPEN"}
        > GET /peerjs/peers
            origin: https://b.example
        < 200 application/json ["ana"]
            !access-control-allow-origin
        "#,
    );
}

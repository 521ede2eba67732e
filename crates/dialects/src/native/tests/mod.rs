//! Transcripts of the native dialect, one file for each transport.

mod abuse;
mod api;
mod call;
mod entrances;
mod openapi;
mod patterns;
mod poll;
mod rendering;
mod rooms;
mod stream;
mod websocket;

use omnivox_testkit::transcript;

use super::*;

/// The dialect as `omnivox dev` mounts it, more or less.
fn native() -> Native {
    let alias = |path: &str, transport, channel: &str, format| Alias {
        path: path.to_owned(),
        transport,
        channels: vec![ChannelName::parse(channel).unwrap()],
        format,
    };
    let aliases = vec![
        alias("/poll", Transport::Poll, "general", Format::Envelope),
        alias("/api/notifications", Transport::Sse, "notifications", Format::Data),
        Alias::new("/ws", Transport::Ws),
    ];
    Native::new(NativeSettings { aliases, echo: Some("/echo".to_owned()), ..NativeSettings::default() })
}

#[track_caller]
fn check(text: &str) {
    transcript::check(&native(), text);
}

#[test]
fn a_message_reaches_every_subscriber_of_the_room() {
    check(
        r#"
        a> WS /v1/ws
        a< 101
        ? connect anonymous
        a> {"type":"subscribe","room":"general","ref":7}
        a< {"type":"subscribed","channel":"general","id":"z-0","gap":false,"recovered":0,"ref":7}
        s> GET /v1/sse?channel=general&channel=news
            accept: text/event-stream
        s< 200 text/event-stream
            cache-control: no-cache, no-transform
            x-accel-buffering: no
            !content-length
        s< :ok⏎⏎retry: 2000⏎⏎
        s< id: z.0⏎⏎
        p> GET /poll?last=0
        f> GET /v1/sse?channel=general&format=data
        f< 200 text/event-stream
        f< …
        f< …
        a> {"type":"chat","user":"me","text":"hi"}
        a< {"type":"chat","channel":"general","id":"z-1","user":"me","text":"hi"}
        s< id: z.1⏎data: {"type":"chat","channel":"general","id":"z-1","user":"me","text":"hi"}⏎⏎
        p< 200 application/json {"events":[{"type":"chat","channel":"general","id":"z-1","user":"me","text":"hi"}],"last":"z-1","gap":false,"more":false}
            cache-control: no-store
        f< id: z.1⏎event: chat⏎data: {"user":"me","text":"hi"}⏎⏎
        h> POST /v1/publish
            content-type: application/json; charset=utf-8
            | {"channel":"general","event":"x","data":{"n": 1},"id":"one"}
        a< {"type":"message","channel":"general","id":"z-2","event":"x","data":{"n": 1}}
        s< id: z.2⏎data: {"type":"message","channel":"general","id":"z-2","event":"x","data":{"n": 1}}⏎⏎
        f< id: z.2⏎event: x⏎data: {"n": 1}⏎⏎
        h< 200 application/json {"channel":"general","id":"z-2","duplicate":false}
        "#,
    );
}

/// The code of a line such as `Self::Size => "chunk_size",` or `Self::BareCr => (400, "bare_cr", "…"),`.
fn code_behind_an_arrow(line: &str) -> Option<&str> {
    let (code, _) = line.split_once(" => ")?.1.split_once('"')?.1.split_once('"')?;
    Some(code).filter(|code| code.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_'))
}

/// The page on the protocol lists every reserved type and every close code, and all paths.
#[test]
fn the_protocol_page_is_complete() {
    let page = include_str!("../../../../../docs/protocol-native.md");
    assert!(RESERVED_TYPES.is_sorted(), "they are searched by halves");
    let listed = RESERVED_TYPES.map(|kind| format!("`{kind}`")).join(", ");
    assert!(page.contains(&listed), "docs/protocol-native.md lacks the list {listed}");
    for (path, _) in PATHS {
        assert!(page.contains(&format!("`{path}`")), "docs/protocol-native.md lacks {path}");
    }
    for code in codes::tests::every_close_code() {
        assert!(page.contains(&format!("| {code} |")), "docs/protocol-native.md lacks close code {code}");
    }
    for code in codes::tests::EVERY_CODE {
        assert!(page.contains(&format!("`{code}`")), "docs/protocol-native.md lacks error code {code}");
    }
    // What the wire refuses by itself: each code stands behind an arrow there, alone or behind its status.
    let refusals = [
        include_str!("../../../../wire/src/http1/error.rs"),
        include_str!("../../../../wire/src/http1/chunked.rs"),
        include_str!("../../../../wire/src/http1/path.rs"),
        include_str!("../../../../wire/src/http1/query.rs"),
        include_str!("../../../../wire/src/ws/handshake.rs"),
    ];
    let codes: Vec<&str> = refusals.iter().flat_map(|source| source.lines()).filter_map(code_behind_an_arrow).collect();
    assert!(codes.len() > 40, "{codes:?}");
    for code in codes.into_iter().filter(|code| *code != "status_line") {
        assert!(page.contains(&format!("`{code}`")), "docs/protocol-native.md lacks error code {code}");
    }
}

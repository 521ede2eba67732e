//! `publish` and `subscribe` against a scripted server: what they send, what they print, how they end.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Output, Stdio};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::BytesMut;
use omnivox_wire::http1::{HeadLimits, RequestHead};
use omnivox_wire::ws::{DataKind, Decoder, Message, Role, close, encode, handshake};

/// Serves one scripted connection after another on a free port, and gives back all that was received on each.
fn serve(script: Vec<fn(&mut Peer)>) -> (String, JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let serving = std::thread::spawn(move || {
        let play = |connection: fn(&mut Peer)| {
            let (stream, _) = listener.accept().expect("a connection");
            let mut peer = Peer { stream, heard: String::new() };
            connection(&mut peer);
            peer.heard
        };
        script.into_iter().map(play).collect()
    });
    (url, serving)
}

/// The server's end of a connection.
struct Peer {
    stream: TcpStream,
    heard: String,
}

impl Peer {
    /// Reads a request head and its body; an empty answer means that the client has gone.
    fn request(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        loop {
            let mut buffer = [0; 4096];
            let read = self.stream.read(&mut buffer).unwrap_or(0);
            bytes.extend_from_slice(&buffer[..read]);
            let complete = match RequestHead::parse(&bytes, &HeadLimits::default()).expect("a sound request") {
                Some((head, end)) => {
                    let length = head.header("content-length").map_or(0, |value| String::from_utf8_lossy(value).parse().expect("a length"));
                    bytes.len() >= end + length
                }
                None => false,
            };
            if complete || read == 0 {
                self.heard.push_str(&String::from_utf8_lossy(&bytes));
                return bytes;
            }
        }
    }

    fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = self.stream.write_all(bytes.as_ref());
    }

    fn answer(&mut self, status: u16, body: &str) {
        self.request();
        self.send(format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\n\r\n{body}", body.len()));
    }

    /// Opens an event stream with these chunks.
    fn stream(&mut self, chunks: &[&str]) {
        self.request();
        self.send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n");
        for chunk in chunks {
            self.send(format!("{:x}\r\n{chunk}\r\n", chunk.len()));
        }
    }

    /// Opens a WebSocket, hears one text of the client and says these.
    fn websocket(&mut self, texts: &[&str]) {
        let request = self.request();
        let (head, _) = RequestHead::parse(&request, &HeadLimits::default()).expect("sound").expect("complete");
        let accept = handshake::check(&head).expect("a handshake");
        let mut out = BytesMut::new();
        handshake::respond(&accept, None, None, [("Server", "script")], &mut out);
        self.send(&out);
        let mut decoder = Decoder::new(Role::Server, 65_536, None);
        let mut buffer = [0; 4096];
        let mut wish = None;
        while wish.is_none() {
            let read = self.stream.read(&mut buffer).expect("the client's wish");
            let step = decoder.step(&mut buffer[..read]).expect("sound frames");
            wish = step.message.map(|message| match message {
                Message::Text(text) => text.to_owned(),
                other => panic!("{other:?}"),
            });
        }
        self.heard.push_str(&wish.unwrap_or_default());
        let mut out = BytesMut::new();
        for text in texts {
            encode(DataKind::Text, text.as_bytes(), &mut out);
        }
        self.send(&out);
    }

    fn say_goodbye(&mut self, code: u16, reason: &str) {
        let mut out = BytesMut::new();
        close(code, reason, &mut out);
        self.send(&out);
        let _ = self.stream.read(&mut [0; 64]);
    }
}

fn omnivox(url: &str, arguments: &[&str], input: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_omnivox"))
        .args(arguments)
        .env_clear()
        .env("OMNIVOX_URL", url)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary runs");
    child.stdin.take().expect("piped").write_all(input.as_bytes()).expect("it reads");
    finish(child)
}

/// Waits for the end of a command; one that never ends is killed, so that its test fails instead of hanging.
fn finish(child: Child) -> Output {
    let id = child.id().to_string();
    let (ended, end) = std::sync::mpsc::channel::<()>();
    let watch = std::thread::spawn(move || {
        if end.recv_timeout(PATIENCE) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
            let _ = Command::new("/bin/kill").args(["-9", &id]).status();
        }
    });
    let output = child.wait_with_output().expect("it ends");
    drop(ended);
    watch.join().expect("the watch ends");
    output
}

/// No command here takes a second.
const PATIENCE: Duration = Duration::from_secs(60);

/// Runs a command against a script and holds exit code and output; gives what the server heard.
fn check(script: Vec<fn(&mut Peer)>, arguments: &[&str], code: i32, stdout: &str, stderr: &str) -> Vec<String> {
    let (url, serving) = serve(script);
    let output = omnivox(&url, arguments, "");
    let err = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {err}");
    assert_eq!(String::from_utf8_lossy(&output.stdout), stdout, "{arguments:?}: {err}");
    assert!(err.contains(stderr), "{arguments:?}: stderr lacks {stderr:?}: {err}");
    serving.join().expect("the script was played to its end")
}

#[test]
fn publish_sends_the_payload_as_it_is_and_prints_the_answer() {
    let accepted = |peer: &mut Peer| peer.answer(200, "{\"id\":\n\"e-1\"}");
    let heard = check(
        vec![accepted],
        &["publish", "general", r#"{"b":1.0,"a":2}"#, "--event", "chat", "--id", "k", "--token", "secret"],
        0,
        "{\"id\": \"e-1\"}\n",
        "",
    );
    assert!(heard[0].starts_with("POST /v1/publish HTTP/1.1\r\nHost: 127.0.0.1:"), "{}", heard[0]);
    assert!(heard[0].contains("\r\nAuthorization: Bearer secret\r\n"), "{}", heard[0]);
    assert!(heard[0].contains("\r\nContent-Type: application/json\r\n"), "{}", heard[0]);
    assert!(heard[0].ends_with(r#"{"channel":"general","event":"chat","id":"k","data":{"b":1.0,"a":2}}"#), "{}", heard[0]);

    let heard = check(vec![accepted], &["publish", "general", "hi", "--text"], 0, "{\"id\": \"e-1\"}\n", "");
    assert!(heard[0].ends_with(r#""data":"hi"}"#), "{}", heard[0]);

    let (url, serving) = serve(vec![accepted]);
    assert!(omnivox(&url, &["publish", "general", "-"], "[1]").status.success());
    assert!(serving.join().expect("played")[0].ends_with(r#""data":[1]}"#));
}

#[test]
fn every_way_to_fail_has_its_exit_code() {
    let publish = ["publish", "general", "1"];
    check(vec![|peer| peer.answer(403, r#"{"error":{"code":"forbidden","message":"no grant"}}"#)], &publish, 4, "", "403: no grant");
    check(vec![|peer| peer.answer(429, "")], &publish, 4, "", "429");
    check(vec![|peer| peer.answer(500, "oops")], &publish, 5, "", "500: oops");
    check(vec![|peer| peer.send("SSH-2.0-OpenSSH_9.2\r\n\r\n")], &publish, 5, "", "does not speak HTTP");
    check(vec![|peer| drop(peer.request())], &publish, 3, "", "the server closed it");
    check(vec![], &["publish", "general", "{not json"], 2, "", "DATA is not JSON");
    check(vec![], &["publish", "general", "1", "--url", "ftp://x"], 2, "", "ftp:// is not http");
    check(vec![|peer| peer.answer(404, "nothing here")], &["subscribe", "a"], 4, "", "404: nothing here");
    check(vec![|peer| peer.answer(200, "<html>")], &["subscribe", "a", "--transport", "sse"], 5, "", "something else than an event stream");
    check(vec![|peer| peer.answer(200, "<html>")], &["subscribe", "a", "--transport", "poll"], 5, "", "answered no poll");

    // The port was free a moment ago, and nothing listens on it.
    let port = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port").port();
    let output = omnivox(&format!("http://127.0.0.1:{port}"), &publish, "");
    assert_eq!(output.status.code(), Some(3));
    let output = omnivox(&format!("http://127.0.0.1:{port}"), &["subscribe", "a"], "");
    assert_eq!(output.status.code(), Some(3), "the first connection must succeed");
    let output = omnivox("", &["bench", "echo", "--target", &format!("127.0.0.1:{port}")], "");
    assert_eq!(output.status.code(), Some(3), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(String::from_utf8_lossy(&output.stderr).contains("nothing answers at 127.0.0.1:"));
}

#[test]
fn a_websocket_subscriber_comes_back_from_the_last_message_that_it_printed() {
    let first = |peer: &mut Peer| {
        peer.websocket(&[
            r#"{"type":"subscribed","channel":"a","id":"e-4","gap":false}"#,
            r#"{"type":"message","channel":"a","id":"e-5","event":"chat","data":{"n":1}}"#,
        ]);
        peer.say_goodbye(1012, "restart");
    };
    let second = |peer: &mut Peer| {
        peer.websocket(&[
            r#"{"type":"message","channel":"a","id":"e-6","data":2}"#,
            r#"{"type":"subscribed","channel":"a","id":"e-6","gap":true}"#,
            r#"{"type":"chat","text":"x","channel":"a","id":"e-7"}"#,
        ]);
    };
    let heard = check(
        vec![first, second],
        &["subscribe", "a", "--count", "3", "--since", "e-4"],
        0,
        "{\"n\":1}\n2\n{\"type\":\"chat\",\"text\":\"x\",\"channel\":\"a\",\"id\":\"e-7\"}\n",
        "gap: messages of a may be missing",
    );
    assert!(heard[0].starts_with("GET /v1/ws HTTP/1.1\r\n"), "{}", heard[0]);
    assert!(heard[0].ends_with(r#"{"channel":"a","since":"e-4","type":"subscribe"}"#), "{}", heard[0]);
    assert!(heard[1].ends_with(r#"{"channel":"a","since":"e-5","type":"subscribe"}"#), "{}", heard[1]);
}

#[test]
fn a_text_that_can_not_be_read_is_noted_and_a_payload_need_not_be() {
    let script = |peer: &mut Peer| {
        peer.websocket(&[
            r#"{"type":"subscribed","channel":"a","id":"e-4","gap":false}"#,
            "not json",
            r#"{"no":"type"}"#,
            r#"{"type":"chat","text":"\ud800","n":1e999,"\ud800":1,"channel":"a","id":"e-5"}"#,
        ]);
    };
    let line = "{\"type\":\"chat\",\"text\":\"\\ud800\",\"n\":1e999,\"\\ud800\":1,\"channel\":\"a\",\"id\":\"e-5\"}\n";
    check(vec![script], &["subscribe", "a", "--count", "1"], 0, line, "is not shown: not json\n");
}

#[test]
fn a_gap_is_said_once() {
    let script = |peer: &mut Peer| {
        peer.websocket(&[
            r#"{"type":"gap","channel":"a"}"#,
            r#"{"type":"message","channel":"a","id":"e-6","data":2}"#,
            r#"{"type":"subscribed","channel":"a","id":"e-6","gap":true}"#,
            r#"{"type":"message","channel":"a","id":"e-7","data":3}"#,
        ]);
    };
    let said = "omnivox: gap: messages of a may be missing before this point\nomnivox: subscribed\n";
    check(vec![script], &["subscribe", "a", "--count", "2", "--since", "e-4"], 0, "2\n3\n", said);
}

#[test]
fn a_websocket_that_refuses_is_not_tried_again() {
    let denied = |peer: &mut Peer| peer.websocket(&[r#"{"type":"error","code":"forbidden","message":"no grant"}"#]);
    check(vec![denied], &["subscribe", "a"], 4, "", "the server refused: no grant");
    let kicked = |peer: &mut Peer| {
        peer.websocket(&[r#"{"type":"subscribed","channel":"a"}"#]);
        peer.say_goodbye(4403, "kicked");
    };
    check(vec![kicked], &["subscribe", "a"], 4, "", "kicked (4403)");
}

#[test]
fn an_event_stream_comes_back_with_its_last_id() {
    let first = |peer: &mut Peer| peer.stream(&[":ok\n\nid: e.1\n\n", "retry: 250\nid: e.2\nda", "ta: {\"n\":1}\n\nid: e.3\n\n"]);
    let second = |peer: &mut Peer| {
        peer.stream(&[
            "event: error\ndata: {\"code\":\"gap\",\"message\":\"load again\",\"channel\":\"a\"}\n\n",
            "id: e.4\ndata: {\"type\":\"message\",\"channel\":\"a\",\"data\":[2]}\n\n",
        ]);
    };
    let heard = check(
        vec![first, second],
        &["subscribe", "a", "b c", "--transport", "sse", "--count", "2", "--since", "e.0"],
        0,
        "{\"n\":1}\n[2]\n",
        "gap: messages of a may be missing",
    );
    assert!(heard[0].starts_with("GET /v1/sse?channel=a&channel=b%20c&since=e.0 HTTP/1.1\r\n"), "{}", heard[0]);
    assert!(!heard[0].contains("Last-Event-ID"), "{}", heard[0]);
    assert!(heard[1].starts_with("GET /v1/sse?channel=a&channel=b%20c HTTP/1.1\r\n"), "{}", heard[1]);
    assert!(heard[1].contains("\r\nLast-Event-ID: e.3\r\n"), "{}", heard[1]);
}

#[test]
fn a_poller_asks_on_from_the_mark_of_the_last_answer() {
    let first = |peer: &mut Peer| {
        peer.answer(200, r#"{"events":[],"last":"e.1"}"#);
        peer.answer(200, r#"{"events":[{"type":"message","channel":"a","id":"e-9","data":1}],"last":"e.2"}"#);
        peer.request();
    };
    let second = |peer: &mut Peer| {
        peer.answer(200, r#"{"events":[],"last":"e.2"}"#);
        peer.answer(200, r#"{"events":[{"type":"message","channel":"a","id":"f-1","data":2}],"last":"f.1","gap":true}"#);
    };
    let heard = check(
        vec![first, second],
        &["subscribe", "a", "--transport", "poll", "--count", "2", "--json"],
        0,
        "{\"type\":\"message\",\"channel\":\"a\",\"id\":\"e-9\",\"data\":1}\n{\"type\":\"message\",\"channel\":\"a\",\"id\":\"f-1\",\"data\":2}\n",
        "gap: messages may be missing",
    );
    let asked: Vec<&str> = heard.iter().flat_map(|part| part.lines()).filter_map(|line| line.strip_prefix("GET /v1/poll?")).collect();
    let expected =
        ["channel=a&timeout=0", "channel=a&last=e.1", "channel=a&last=e.2", "channel=a&last=e.2&timeout=0", "channel=a&last=e.2"];
    assert_eq!(asked, expected.map(|query| format!("{query} HTTP/1.1")));
}

#[test]
fn a_reader_that_has_seen_enough_is_no_failure() {
    let (url, serving) = serve(vec![|peer| {
        peer.stream(&["data: 1\n\n"]);
        // Until the client has gone.
        while peer.stream.write_all(b"9\r\ndata: 2\n\n\r\n").is_ok() {}
    }]);
    let mut child = Command::new(env!("CARGO_BIN_EXE_omnivox"))
        .args(["subscribe", "a", "--transport", "sse"])
        .env_clear()
        .env("OMNIVOX_URL", &url)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the binary runs");
    let mut line = [0; 2];
    let mut out = child.stdout.take().expect("piped");
    out.read_exact(&mut line).expect("a first line");
    drop(out);
    assert_eq!(&line, b"1\n");
    assert!(finish(child).status.success());
    serving.join().expect("played");
}

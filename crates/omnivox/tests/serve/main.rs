//! `dev` and `serve` as a person and an init system meet them: ready, reachable over every transport, gone when told; TLS in [`secure`], sockets
//! without a port or from a parent in [`sockets`]; what is printed in [`subscriptions`].

mod program;
mod secure;
mod sockets;
mod subscriptions;

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;

use program::{File, OPEN, PATIENCE, Server, command};

#[test]
fn dev_carries_a_message_over_every_transport_and_ends_with_code_0() {
    let server = Server::start(&["dev", "--port", "0"]);
    let first = server.omnivox(&["publish", "general", r#"{"n":1}"#, "--event", "chat"]);
    assert!(first.contains(r#""channel":"general""#), "{first}");
    server.omnivox(&["publish", "general", "[2,  3]"]);
    for transport in ["ws", "sse", "poll"] {
        let heard = server.omnivox(&["subscribe", "general", "--transport", transport, "--since", "earliest", "--count", "2"]);
        assert_eq!(heard, "{\"n\":1}\n[2,  3]\n", "{transport}");
    }
    let envelope = server.omnivox(&["subscribe", "general", "--since", "earliest", "--count", "1", "--json"]);
    assert!(envelope.contains(r#""event":"chat","data":{"n":1}"#), "{envelope}");
    server.signal("-TERM");
    assert_eq!(server.ended().code(), Some(0));
}

#[test]
fn dev_has_short_paths_notifications_and_no_ear_for_other_hosts() {
    let server = Server::start(&["dev", "--port", "0"]);
    let notifications = server.omnivox(&["subscribe", "notifications", "--since", "earliest", "--count", "1"]);
    assert!(notifications.starts_with(r#"{"msg":"notification 1","time":"#), "{notifications}");
    assert!(server.get("/poll?timeout=0", "localhost").starts_with("HTTP/1.1 200 "));
    assert!(server.get("/", "localhost").starts_with("HTTP/1.1 200 "));
    let refused = server.get("/poll?timeout=0", "evil.example");
    assert!(refused.starts_with("HTTP/1.1 403 ") && refused.contains("server.hosts"), "{refused}");
    server.signal("-INT");
    assert_eq!(server.ended().code(), Some(0));
}

#[test]
fn dev_stays_on_loopback() {
    for arguments in [["dev", "--host", "0.0.0.0"], ["dev", "--server-listen", "0.0.0.0:0"], ["dev", "--host", "192.168.1.1"]] {
        let output = command(&arguments).output().expect("the binary runs");
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(String::from_utf8_lossy(&output.stderr).contains("loopback only"), "{arguments:?}");
    }
}

#[test]
fn a_port_that_is_taken_is_code_1_and_names_what_to_change() {
    let server = Server::start(&["dev", "--port", "0"]);
    let port = server.url.rsplit(':').next().expect("a port");
    let output = command(&["dev", "--port", port]).output().expect("the binary runs");
    let words = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{words}");
    assert!(words.contains(port) && words.contains("--port"), "{words}");
}

#[test]
fn serve_has_only_what_its_file_says() {
    let file = File::new("routes", &format!("{OPEN}[[route]]\npath = \"/live\"\nto = \"sse\"\nchannels = [\"a\"]\nformat = \"data\"\n"));
    let server = Server::start(&["serve", "--config", file.path()]);
    server.omnivox(&["publish", "a", "1"]);
    assert!(server.get("/poll", "any.example").starts_with("HTTP/1.1 404 "), "short paths are those of dev");
    assert!(server.get("/v1/poll?channel=a&timeout=0&last=earliest", "any.example").contains("\"data\":1"));
    let mut stream = TcpStream::connect(server.url.trim_start_matches("http://")).expect("it listens");
    write!(stream, "GET /live?since=earliest HTTP/1.1\r\nHost: a\r\n\r\n").expect("it reads");
    let line = BufReader::new(stream).lines().map(|line| line.expect("text")).find(|line| line.starts_with("data: "));
    assert_eq!(line.as_deref(), Some("data: 1"));
}

#[test]
fn a_second_signal_ends_at_once_with_its_own_code() {
    // One session in 30 seconds: without the second signal the end would take that long.
    let file = File::new("slow", &format!("{OPEN}[drain]\nsessions_per_second = 1\ndeadline_ms = 3_600_000\n"));
    let server = Server::start(&["serve", "--config", file.path()]);
    // A request that never ends keeps its connection, and so the drain.
    let mut stream = TcpStream::connect(server.url.trim_start_matches("http://")).expect("it listens");
    write!(stream, "GET /v1/sse?channel=a HTTP/1.1\r\nHost: a\r\n\r\n").expect("it reads");
    let _ = stream.read(&mut [0; 1]).expect("it answers");
    let _others: Vec<_> = (0..50)
        .map(|_| {
            let mut stream = TcpStream::connect(server.url.trim_start_matches("http://")).expect("it listens");
            write!(stream, "GET /v1/sse?channel=a HTTP/1.1\r\nHost: a\r\n\r\n").expect("it reads");
            let _ = stream.read(&mut [0; 1]).expect("it answers");
            stream
        })
        .collect();
    server.signal("-TERM");
    server.heard("a second signal ends at once");
    server.signal("-TERM");
    assert_eq!(server.ended().code(), Some(143));
}

#[test]
fn a_hang_up_reads_the_settings_again_and_a_mistake_changes_nothing() {
    let file = File::new("reload", OPEN);
    let server = Server::start(&["serve", "--config", file.path()]);
    server.signal("-HUP");
    server.heard("the settings were read again");
    std::fs::write(file.path(), "[serber]").expect("writable");
    server.signal("-HUP");
    server.heard("the settings were not taken over");
    server.heard("did you mean `server`?");
    std::fs::write(file.path(), format!("{OPEN}[heartbeat]\nws_ping_interval_ms = 1_000\n")).expect("writable");
    server.signal("-HUP");
    assert!(server.heard("needs a restart").contains("ws_ping_interval_ms = 1000"));
    // An app that is no longer open takes nobody without a credential.
    server.omnivox(&["publish", "a", "1"]);
    let closed = OPEN.replace("open = true", "secret = \"6f1d2c9be07a4835f2a1c7e9d0b34856\"");
    std::fs::write(file.path(), &closed).expect("writable");
    server.signal("-HUP");
    server.heard("the settings were read again");
    let refused = command(&["publish", "a", "1"]).env("OMNIVOX_URL", &server.url).output().expect("the binary runs");
    assert_eq!(refused.status.code(), Some(4), "{}", String::from_utf8_lossy(&refused.stderr));
    let token = command(&["token", "--allow", "a=publish", "--config", file.path()]).output().expect("the binary runs").stdout;
    server.omnivox(&["publish", "a", "1", "--token", String::from_utf8_lossy(&token).trim()]);
    std::fs::write(file.path(), format!("{OPEN}[log]\nlevel = \"error\"\n")).expect("writable");
    server.signal("-HUP");
    server.omnivox(&["publish", "a", "1"]);
    server.signal("-TERM");
    assert_eq!(server.ended().code(), Some(0));
}

#[test]
fn a_reload_that_does_not_go_with_what_the_server_keeps_changes_nothing() {
    let proxied = OPEN.replace("[server]\n", "[server]\nproxy_protocol = \"127.0.0.1:0\"\ntrusted_proxies = \"127.0.0.1\"\n");
    let file = File::new("kept", &proxied);
    let server = Server::start(&["serve", "--config", file.path()]);
    // By itself the new file is right, but the listener goes on to want headers of proxies, of which there would be none.
    std::fs::write(file.path(), OPEN).expect("writable");
    server.signal("-HUP");
    server.heard("the settings were not taken over: the server keeps some of its settings until a restart");
    server.heard("server.proxy_protocol: believes no proxy");
    std::fs::write(file.path(), &proxied).expect("writable");
    server.signal("-HUP");
    server.heard("the settings were read again");
}

#[test]
fn log_lines_can_be_json() {
    let file = File::new("json", &format!("{OPEN}[log]\nformat = \"json\"\n"));
    let line = Server::spawn(command(&["serve", "--config", file.path()])).heard("listening");
    let entry: serde_json::Value = serde_json::from_str(&line).expect("JSON");
    assert_eq!(entry["level"], "INFO");
    assert!(entry["message"].as_str().is_some_and(|message| message.starts_with("listening on http://127.0.0.1:")), "{line}");
}

#[test]
fn the_relay_says_where_it_is_in_plain_words_and_not_to_people_who_try_out() {
    let settings = format!("{OPEN}[log]\nformat = \"json\"\nlevel = \"debug\"\n[turn]\nudp = \"127.0.0.1:0\"\n");
    let file = File::new("relay-json", &settings);
    let line = Server::spawn(command(&["serve", "--config", file.path()])).heard("the relay serves");
    let entry: serde_json::Value = serde_json::from_str(&line).expect("JSON");
    assert!(entry["bound"].as_str().is_some_and(|bound| bound.starts_with("udp 127.0.0.1:")), "{line}");
    assert_eq!(entry["relays"], "127.0.0.1");

    let dev = Server::spawn(command(&["dev", "--port", "0"]));
    let first = dev.words.recv_timeout(PATIENCE).expect("a greeting");
    assert!(first.contains("is ready: http://127.0.0.1:"), "{first}");
}

/// A binding request of STUN gets an answer with the same transaction.
fn assert_stun(address: &str) {
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").expect("a free port");
    socket.set_read_timeout(Some(PATIENCE)).expect("a patient socket");
    let mut request = [0_u8; 20];
    request[..8].copy_from_slice(&[0x00, 0x01, 0, 0, 0x21, 0x12, 0xa4, 0x42]);
    request[8..].copy_from_slice(b"omnivoxtests");
    socket.send_to(&request, address).expect("it is sent");
    let mut answer = [0; 512];
    let length = socket.recv(&mut answer).expect("an answer");
    assert!(length > 20 && answer[..2] == [0x01, 0x01] && answer[8..20] == request[8..], "{:?}", &answer[..length]);
}

#[test]
fn the_relay_runs_alone_and_beside_a_server() {
    let address = |line: &str| line.trim().rsplit(' ').next().expect("an address").to_owned();

    let alone = Server::spawn(command(&["turn", "--turn-udp", "127.0.0.1:0"]));
    let line = alone.heard("relay on udp");
    assert_stun(&address(&line));
    alone.signal("-TERM");
    assert_eq!(alone.ended().code(), Some(0));

    let file = File::new("turn", &format!("{OPEN}[turn]\nudp = \"127.0.0.1:0\"\nusers = [\"ana:secret\"]\n"));
    let beside = Server::spawn(command(&["serve", "--config", file.path()]));
    beside.heard("listening on http://127.0.0.1:");
    let line = beside.heard("relay on udp");
    assert_stun(&address(&line));
    beside.signal("-TERM");
    assert_eq!(beside.ended().code(), Some(0));

    let output = command(&["turn"]).output().expect("the binary runs");
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("[turn] has no listener"));
}

//! Listening without a port of our own: Unix sockets, and sockets that a parent has bound and passes on.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::program::{File, OPEN, Server, command};
use crate::secure::Certificate;

/// The status line of what is answered to a question for its health.
fn status(mut stream: impl Read + Write) -> String {
    stream.write_all(b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it answers");
    answer.lines().next().unwrap_or_default().to_owned()
}

fn socket_path(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("omnivox-{}-{name}.sock", std::process::id()))
}

/// The settings without an address of TCP.
fn without_port() -> String {
    OPEN.replace("127.0.0.1:0", "").replace("listen = \"\"", "listen = []")
}

#[test]
fn a_unix_socket_serves_and_is_gone_afterwards() {
    let path = socket_path("plain");
    // A server that was killed leaves its file.
    drop(UnixListener::bind(&path).expect("a writable temporary directory"));
    let section = format!("[unix]\nlisten = \"{}\"\nmode = \"600\"\n", path.display());
    let file = File::new("unix", &format!("{}{section}", without_port()));
    let server = Server::spawn(command(&["serve", "--config", file.path()]));
    server.heard(&format!("listening on unix:{}", path.display()));
    assert_eq!(std::fs::metadata(&path).expect("it is there").permissions().mode() & 0o777, 0o600);
    assert_eq!(status(UnixStream::connect(&path).expect("it listens")), "HTTP/1.1 200 OK");

    let second = command(&["serve", "--config", file.path()]).output().expect("the binary runs");
    let words = String::from_utf8_lossy(&second.stderr);
    assert!(second.status.code() == Some(1) && words.contains("somebody listens there"), "{words}");
    assert_eq!(status(UnixStream::connect(&path).expect("the first one is untouched")), "HTTP/1.1 200 OK");

    server.signal("-TERM");
    assert_eq!(server.ended().code(), Some(0));
    assert!(!path.exists());

    for (wrong, part) in [("mode = \"999\"", "no mode in octal"), ("group = \"no-such-group-here\"", "no-such-group-here")] {
        let file = File::new("unix-wrong", &format!("{}[unix]\nlisten = \"{}\"\n{wrong}\n", without_port(), path.display()));
        let output = command(&["serve", "--config", file.path()]).output().expect("the binary runs");
        let words = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && words.contains(part), "{words}");
        assert!(!path.exists(), "nothing is left behind");
    }
}

/// Starts the server as systemd does: its sockets are the descriptors from 3 on, and the environment says how many and for whom.
fn activated(first: impl Into<OwnedFd>, second: impl Into<OwnedFd>, names: &str, settings: &str) -> Server {
    let script = r#"exec 3<&0 4<&1 0</dev/null 1>&2; LISTEN_PID=$$ LISTEN_FDS=2 exec "$0" serve --config "$1""#;
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", script, env!("CARGO_BIN_EXE_omnivox"), settings]).env_clear().env("LISTEN_FDNAMES", names);
    shell.stdin(Stdio::from(first.into())).stdout(Stdio::from(second.into()));
    Server::spawn(shell)
}

#[test]
fn sockets_from_a_parent_take_the_place_of_those_in_the_settings() {
    let certificate = Certificate::new("activated");
    let (plain, tls) = (TcpListener::bind("127.0.0.1:0").expect("a free port"), TcpListener::bind("127.0.0.1:0").expect("a free port"));
    let (plain_at, tls_at) = (plain.local_addr().expect("bound"), tls.local_addr().expect("bound"));
    // Who connects before the server is there waits for it.
    let early = TcpStream::connect(plain_at).expect("the socket listens");
    // The settings name an address that can't be bound, so they are not looked at.
    let file = File::new("activated", &format!("{}{}", OPEN.replace("127.0.0.1:0", "192.0.2.1:1"), certificate.section("192.0.2.1:2")));
    let mut server = activated(plain, tls, "http:tls", file.path());
    server.heard(&format!("listening on http://{plain_at}"));
    server.heard(&format!("listening on https://{tls_at}"));
    assert_eq!(status(early), "HTTP/1.1 200 OK");
    server.url = format!("https://{tls_at}");
    server.omnivox(&["publish", "a", "1", "--ca", &certificate.file("cert.pem")]);
    server.signal("-HUP");
    let line = server.heard("the settings were read again");
    assert!(!line.contains("restart"), "what was passed is no change of the settings: {line}");
    server.signal("-TERM");
    assert_eq!(server.ended().code(), Some(0));
}

#[test]
fn a_unix_socket_from_a_parent_keeps_its_file() {
    let path = socket_path("passed");
    let unix = UnixListener::bind(&path).expect("a writable temporary directory");
    let other = TcpListener::bind("[::1]:0").expect("a free port");
    let other_at = other.local_addr().expect("bound");
    let file = File::new("activated-unix", OPEN);
    let server = activated(unix, other, "", file.path());
    server.heard(&format!("listening on unix:{}", path.display()));
    server.heard(&format!("listening on http://{other_at}"));
    assert_eq!(status(UnixStream::connect(&path).expect("it listens")), "HTTP/1.1 200 OK");
    assert_eq!(status(TcpStream::connect(other_at).expect("it listens")), "HTTP/1.1 200 OK");
    server.signal("-TERM");
    assert_eq!(server.ended().code(), Some(0));
    assert!(path.exists(), "it is the parent's");
    std::fs::remove_file(&path).expect("ours");
}

#[test]
fn an_open_app_is_not_served_on_a_public_socket_of_a_parent() {
    let sockets = || TcpListener::bind("0.0.0.0:0").expect("a free port");
    let file = File::new("activated-public", OPEN);
    let server = activated(sockets(), sockets(), "", file.path());
    server.heard("can be reached from other machines");
    assert_eq!(server.ended().code(), Some(2));
}

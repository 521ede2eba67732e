//! Who the client is behind a proxy, and what an address may have: seen from outside, by the limits of an address.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use omnivox_server::proxies::{Network, Proxies};
use omnivox_server::tls::Tls;
use omnivox_server::{Handle, Server, ServerConfig, StartError};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::raw::{ask, head};
use super::{ANY, certificate, metric, start_with};

/// A server that trusts loopback.
fn behind_proxies(set: impl FnOnce(&mut ServerConfig)) -> Handle {
    start_with(|config| {
        config.listen = vec![ANY];
        config.proxies = Proxies { trusted: vec![Network::parse("127.0.0.0/8").unwrap()], ..Proxies::default() };
        set(config);
    })
}

/// Asks once on a connection of its own, with these bytes before the request, and gives the status.
async fn status(address: SocketAddr, before: &[u8], headers: &str) -> u16 {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(before).await.unwrap();
    let answer = ask(&mut stream, &format!("GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{headers}\r\n")).await;
    answer.split(' ').nth(1).map_or(0, |status| status.parse().unwrap())
}

/// Whether two connections count as one client where a client may send one request a second: what comes before the request, and its headers.
async fn same_client(address: SocketAddr, first: (&[u8], &str), second: (&[u8], &str)) -> bool {
    loop {
        let started = Instant::now();
        assert!(matches!(status(address, first.0, first.1).await, 200 | 429));
        match status(address, second.0, second.1).await {
            429 => return true,
            // When the machine was busy for so long that the budget came back, it has to be asked again.
            200 if started.elapsed() < Duration::from_millis(900) => return false,
            200 => {}
            other => panic!("{other}"),
        }
    }
}

#[tokio::test]
async fn requests_count_for_the_client_behind_a_trusted_proxy() {
    let slow = |config: &mut ServerConfig| config.limits.requests_per_address_per_second_max = Some(1);
    let server = behind_proxies(slow);
    let address = server.addresses()[0];
    let line = |client: &str| format!("X-Forwarded-For: {client}\r\n");
    for (first, second, same) in [
        ("203.0.113.1", "203.0.113.2", false),
        ("203.0.113.3", "203.0.113.3", true),
        ("203.0.113.4", "203.0.113.5, 203.0.113.4", true),
        ("203.0.113.6", "203.0.113.6, 203.0.113.7", false),
    ] {
        assert_eq!(same_client(address, (b"", &line(first)), (b"", &line(second))).await, same, "{first} and {second}");
    }
    assert_eq!((status(address, b"", "").await, status(address, b"", "").await), (200, 200), "the proxy itself is not limited");
    assert!(metric(&server.metrics(), "omnivox_throttled_requests_total") >= 2);
    server.stop();

    let server = start_with(|config| {
        config.listen = vec![ANY];
        slow(config);
    });
    let same = same_client(server.addresses()[0], (b"", &line("203.0.113.1")), (b"", &line("203.0.113.2"))).await;
    assert!(same, "nobody here is a trusted proxy");
    server.stop();
}

#[tokio::test]
async fn an_address_gets_an_answer_when_it_has_too_many_connections() {
    let server = start_with(|config| {
        config.listen = vec![ANY];
        config.limits.connections_per_address_max = Some(2);
    });
    let address = server.addresses()[0];
    let request = "GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let mut kept = Vec::new();
    for _ in 0..2 {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        assert!(head(&mut stream).await.starts_with("HTTP/1.1 200 "));
        kept.push(stream);
    }
    let refused = ask(&mut TcpStream::connect(address).await.unwrap(), request).await;
    for part in ["HTTP/1.1 429 ", "retry-after: 1", "limits.connections_per_address_max"] {
        assert!(refused.contains(part), "{part} in {refused}");
    }
    assert_eq!(metric(&server.metrics(), "omnivox_throttled_connections_total"), 1);
    kept.clear();
    // The place is free as soon as the server has seen the end.
    while status(address, b"", "").await != 200 {}
    server.stop();
}

#[tokio::test]
async fn a_listener_with_the_proxy_protocol_takes_clients_from_its_headers() {
    let server = behind_proxies(|config| {
        config.proxy_protocol = vec![ANY];
        config.limits.requests_per_address_per_second_max = Some(1);
    });
    let address = server.addresses()[0];
    let line = |client: &str| format!("PROXY TCP4 {client} 10.0.0.1 40000 443\r\n");
    let binary = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xcb\0\x71\x08\x0a\0\0\x01\x9c\x40\x01\xbb";
    let fake = "X-Forwarded-For: 203.0.113.99\r\n";
    for (first, second, headers, same) in [
        ("203.0.113.1", line("203.0.113.2").into_bytes(), "", false),
        ("203.0.113.3", line("203.0.113.3").into_bytes(), "", true),
        ("203.0.113.8", binary.to_vec(), "", true),
        // The client that is named is no proxy of ours, so its headers change nothing.
        ("203.0.113.4", line("203.0.113.4").into_bytes(), fake, true),
    ] {
        assert_eq!(same_client(address, (line(first).as_bytes(), ""), (&second, headers)).await, same, "{first}");
    }
    for (before, expected) in [
        (&b"PROXY UNKNOWN\r\n"[..], 200),
        (b"PROXY UNKNOWN\r\n", 200),
        (b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0", 200),
        (b"", 0),
        (b"PROXY TCP4 203.0.113.7\r\n", 0),
    ] {
        assert_eq!(status(address, before, "").await, expected, "{}", before.escape_ascii());
    }
    // A header in pieces, and the first request right behind it in the last one.
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    for piece in ["PROXY TCP6 2001", ":db8::7 ::1 1 2\r", "\nGET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"] {
        stream.write_all(piece.as_bytes()).await.unwrap();
        tokio::task::yield_now().await;
    }
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    server.stop();
}

#[tokio::test]
async fn tls_comes_behind_the_header_of_a_proxy() {
    let made = certificate("proxied");
    let server = behind_proxies(|config| {
        config.listen = Vec::new();
        config.listen_tls = vec![ANY];
        config.tls = Some(Arc::new(Tls::load(made.files.clone()).unwrap()));
        config.proxy_protocol = vec![ANY];
    });
    let mut socket = TcpStream::connect(server.addresses()[0]).await.unwrap();
    socket.write_all(b"PROXY TCP4 203.0.113.7 10.0.0.1 40000 443\r\n").await.unwrap();
    let mut stream = super::handshake(socket, &made.der, &[b"http/1.1"]).await.unwrap();
    let answer = ask(&mut stream, "GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    server.stop();
}

#[tokio::test]
async fn who_is_no_proxy_gets_nothing_from_such_a_listener() {
    let server = behind_proxies(|config| {
        config.proxies.trusted = vec![Network::parse("10.0.0.0/8").unwrap()];
        config.proxy_protocol = vec![ANY];
    });
    assert_eq!(status(server.addresses()[0], b"PROXY TCP4 203.0.113.7 10.0.0.1 40000 443\r\n", "").await, 0);
    assert_eq!(metric(&server.metrics(), "omnivox_refused_connections_total"), 1);
    server.stop();
}

#[test]
fn a_listener_that_could_believe_nobody_does_not_start() {
    let start = |set: fn(&mut ServerConfig)| {
        let mut config = ServerConfig::new(vec![ANY], Vec::new(), Vec::new());
        config.proxy_protocol = vec![ANY];
        set(&mut config);
        match Server::start(config) {
            Err(StartError::Setting(words)) => words,
            _ => panic!("it is refused"),
        }
    };
    assert!(start(|_| {}).contains("server.trusted_proxies"));
    assert!(start(|config| config.listen = Vec::new()).contains("server.listen"));
}

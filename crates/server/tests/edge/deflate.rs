//! permessage-deflate: one compressed frame for everyone who agreed, and its limits.

use omnivox_wire::ws::deflate::{OFFER, Offers};

use super::raw::{Heard, WebSocket, head};
use super::{ANY, metric, start_with};

fn offer(parameters: &str) -> String {
    format!("Sec-WebSocket-Extensions: permessage-deflate{parameters}\r\n")
}

#[tokio::test]
async fn a_broadcast_is_compressed_once_for_all_who_agreed() {
    let server = start_with(|config| {
        config.listen = vec![ANY];
        config.shards = Some(1);
        config.deflate = true;
    });
    let mut clients = Vec::new();
    for (headers, compresses) in [
        (offer(""), true),
        (offer("; client_max_window_bits"), true),
        (offer("; server_no_context_takeover; server_max_window_bits=15"), true),
        (String::new(), false),
        (offer("; server_max_window_bits=9"), false),
        (offer("; no_such_parameter"), false),
    ] {
        let mut client = WebSocket::open(server.addresses()[0], &headers).await;
        client.say(r#"{"type":"subscribe","channel":"c"}"#).await;
        client.next_of("subscribed").await;
        clients.push((headers, client, compresses));
    }
    let data = "again ".repeat(1000);
    clients[3].1.say(&format!(r#"{{"type":"publish","channel":"c","data":"{data}"}}"#)).await;
    for (headers, client, compresses) in &mut clients {
        assert_eq!(client.next_of("message").await["data"], data, "{headers}");
        assert_eq!(client.compressed, usize::from(*compresses), "{headers}");
    }
    let metrics = server.metrics();
    assert_eq!(metric(&metrics, "omnivox_encodings_total"), 2, "one frame for those who agreed, one for the others");
    assert!(metric(&metrics, "omnivox_bytes_out_total") < 5 * data.len() as u64, "three of six clients got a small frame");
    clients[0].1.say(r#"{"type":"publish","channel":"c","data":"short"}"#).await;
    assert_eq!(clients[1].1.next_of("message").await["data"], "short");
    assert_eq!(clients[1].1.compressed, 1, "what is short goes as it is");
    server.stop();
}

#[tokio::test]
async fn a_bomb_ends_its_own_connection() {
    let server = start_with(|config| {
        config.listen = vec![ANY];
        config.deflate = true;
        config.limits.message_bytes_max = 10_000;
    });
    let mut client = WebSocket::open(server.addresses()[0], &format!("Sec-WebSocket-Extensions: {OFFER}\r\n")).await;
    let agreement = Offers::parse([OFFER]).unwrap().accept().unwrap();
    client.say_compressed(format!("{{\"type\":\"ping\"{}}}", " ".repeat(9_000)).as_bytes(), agreement).await;
    client.next_of("pong").await;
    client.say_compressed(&[b' '; 5_000_000], agreement).await;
    assert_eq!(client.next().await, Heard::Closed(Some(1009)));
    server.stop();
}

#[tokio::test]
async fn it_is_off_until_somebody_turns_it_on() {
    use tokio::io::AsyncWriteExt as _;
    let server = start_with(|config| config.listen = vec![ANY]);
    let mut stream = tokio::net::TcpStream::connect(server.addresses()[0]).await.unwrap();
    let request = format!(
        "GET /v1/ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: x3JJHMbDL1EzLkh9GBhXDw==\r\n{}\r\n",
        offer("")
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let answer = head(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 101 ") && !answer.to_lowercase().contains("extensions"), "{answer}");
    server.stop();
}

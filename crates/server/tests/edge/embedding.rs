//! The program of `examples/axum`, as its customers meet it: on tokio's threads, over TLS, with HTTP/2 and HTTP/1.1.

#[path = "../../examples/axum/shop.rs"]
mod shop;

use std::net::SocketAddr;

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::CertificateDer;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::raw::head;
use super::{SUBSCRIBE, certificate, connect, handshake, talk};

/// Opens the shop; it closes when the sender goes.
async fn open(
    name: &str,
) -> (SocketAddr, CertificateDer<'static>, tokio::sync::oneshot::Sender<()>, tokio::task::JoinHandle<std::io::Result<()>>) {
    let made = certificate(name);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (close, closed) = tokio::sync::oneshot::channel::<()>();
    let tls = shop::tls(&made.files.certificate, &made.files.key).unwrap();
    let shop = shop::Shop::open().unwrap();
    let end = async {
        let _ = closed.await;
    };
    (address, made.der, close, tokio::spawn(shop.serve_tls(listener, tls, end)))
}

fn ask(method: Method, path: &str, cookie: &str, body: &'static str) -> Request<Full<Bytes>> {
    let request = Request::builder().method(method).uri(format!("https://localhost{path}"));
    request.header("cookie", cookie).body(Full::from(body)).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_of_ones_own_over_http2() {
    let (address, der, close, serving) = open("shop-http2").await;
    let stream = connect(address, &der, &[b"h2", b"http/1.1"]).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);

    let own = sender.send_request(ask(Method::GET, "/", "", "")).await.unwrap();
    assert_eq!(own.into_body().collect().await.unwrap().to_bytes(), "the shop is open\n");
    for path in ["/live/v1/sse?channel=orders", "/orders"] {
        let method = if path == "/orders" { Method::POST } else { Method::GET };
        let refused = sender.send_request(ask(method, path, "", "{}")).await.unwrap();
        assert_eq!(refused.status(), StatusCode::UNAUTHORIZED, "the program's login stands before omnivox: {path}");
    }

    let events = sender.send_request(ask(Method::GET, "/live/v1/sse?channel=orders", "session=ana", "")).await.unwrap();
    assert_eq!(events.status(), StatusCode::OK);
    let mut events = events.into_body();
    let websocket = Request::builder().method(Method::CONNECT).uri("https://localhost/live/v1/ws").header("sec-websocket-version", "13");
    let websocket = websocket.header("cookie", "session=ben").extension(hyper::ext::Protocol::from_static("websocket"));
    let mut opened = sender.send_request(websocket.body(Full::default()).unwrap()).await.unwrap();
    assert_eq!(opened.status(), StatusCode::OK, "RFC 8441 through axum");
    let mut websocket = TokioIo::new(hyper::upgrade::on(&mut opened).await.unwrap());
    let subscribe = SUBSCRIBE.replace("\"c\"", "\"orders\"");
    talk(&mut websocket, &[&subscribe], "subscribed").await;

    assert_eq!(sender.send_request(ask(Method::POST, "/orders", "session=cy", "tea")).await.unwrap().status(), StatusCode::BAD_REQUEST);
    let ordered = sender.send_request(ask(Method::POST, "/orders", "session=cy", r#"{"item":"tea"}"#)).await.unwrap();
    assert_eq!(ordered.status(), StatusCode::CREATED);
    let message = talk(&mut websocket, &[], "message").await;
    assert_eq!(message["data"], serde_json::json!({ "customer": "cy", "order": { "item": "tea" } }));
    let mut text = String::new();
    while !text.contains(r#""item":"tea""#) {
        text.push_str(std::str::from_utf8(&events.frame().await.unwrap().unwrap().into_data().unwrap()).unwrap());
    }

    drop(close);
    // The streams end because omnivox ends them; then axum has nobody to wait for.
    while let Some(Ok(_)) = events.frame().await {}
    drop((events, websocket, sender));
    serving.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_web_socket_over_http1_in_a_program_of_ones_own() {
    let (address, der, close, serving) = open("shop-http1").await;
    let mut stream = connect(address, &der, &[b"http/1.1"]).await.unwrap();
    let request = "GET /live/v1/ws HTTP/1.1\r\nHost: localhost\r\nCookie: session=ana\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                   Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: x3JJHMbDL1EzLkh9GBhXDw==\r\n\r\n";
    stream.write_all(request.as_bytes()).await.unwrap();
    let answer = head(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 101 ") && answer.contains("HSmrc0sMlYUkAGmm5OPpG2HaGWk="), "{answer}");
    talk(&mut stream, &[r#"{"type":"subscribe","channel":"c","presence":true}"#], "subscribed").await;
    let publish = r#"{"type":"publish","channel":"c","event":"e","data":1,"id":"1"}"#;
    assert_eq!(talk(&mut stream, &[publish], "error").await["code"], "forbidden", "only the program publishes");
    let entered = talk(&mut stream, &[r#"{"type":"enter","channel":"c","key":"k"}"#], "presence").await;
    assert_eq!(entered["member"]["user"], "ana", "omnivox knows who the login let in: {entered}");
    drop((close, stream));
    serving.await.unwrap().unwrap();
}

/// A failed handshake once made the listener look at new connections only, so that those under way never ended.
#[tokio::test(flavor = "multi_thread")]
async fn a_failed_handshake_holds_up_nobody() {
    let (address, der, close, serving) = open("shop-handshakes").await;
    let waiting = TcpStream::connect(address).await.unwrap();
    let mut wrong = TcpStream::connect(address).await.unwrap();
    wrong.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    // Whatever it is told, the end of it is the end of its handshake.
    let _ = wrong.read_to_end(&mut Vec::new()).await;
    let mut stream = handshake(waiting, &der, &[b"http/1.1"]).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    let answer = tokio::time::timeout(std::time::Duration::from_secs(20), head(&mut stream)).await.expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    drop((close, stream));
    serving.await.unwrap().unwrap();
}

//! How many connections of HTTP/2 there may be, and how each ends: in silence, idle, with a body that does not come, when everyone is sent away.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::{Body, Frame};
use hyper::client::conn::http2::SendRequest;
use hyper_util::rt::{TokioExecutor, TokioIo};
use omnivox_server::tls::Tls;
use omnivox_server::{Handle, ServerConfig};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::{ANY, Certificate, certificate, connect, metric, start_with};

/// What must come comes within this time, on the busiest machine.
const PATIENCE: Duration = Duration::from_secs(60);

async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("{what}"))
}

/// A server with TLS and what the test sets.
fn serve(name: &str, set: impl FnOnce(&mut ServerConfig)) -> (Handle, Certificate) {
    let made = certificate(name);
    let tls = Arc::new(Tls::load(made.files.clone()).unwrap());
    let server = start_with(|config| {
        config.listen_tls = vec![ANY];
        config.tls = Some(tls);
        set(config);
    });
    (server, made)
}

/// A body that goes on as long as its sender is there.
struct Pieces(mpsc::UnboundedReceiver<Bytes>);

impl Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(cx).map(|piece| piece.map(|piece| Ok(Frame::data(piece))))
    }
}

type Client = (SendRequest<Pieces>, JoinHandle<hyper::Result<()>>);

/// A client, and what becomes of its connection.
async fn join(server: &Handle, made: &Certificate) -> std::io::Result<Client> {
    let stream = soon("a handshake ends", connect(server.endpoints().last().unwrap().address().unwrap(), &made.der, &[b"h2"])).await?;
    let client = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await;
    let (sender, connection) = client.map_err(std::io::Error::other)?;
    Ok((sender, tokio::spawn(connection)))
}

fn ask(target: &str) -> Request<Pieces> {
    Request::get(format!("https://localhost{target}")).body(Pieces(mpsc::unbounded_channel().1)).unwrap()
}

/// A publication, and the way of the pieces of its body.
fn publish() -> (Request<Pieces>, mpsc::UnboundedSender<Bytes>) {
    let (pieces, body) = mpsc::unbounded_channel();
    let request = Request::post("https://localhost/v1/publish").header("content-type", "application/json").body(Pieces(body)).unwrap();
    (request, pieces)
}

async fn until_there_are(server: &Handle, connections: u64) {
    soon("the metric of connections", async {
        while metric(&server.metrics(), "omnivox_http2_connections") != connections {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn so_many_connections_as_the_limit_says() {
    let (server, made) = serve("http2-count", |config| config.limits.connections_max = 2);
    let (first, second) = (join(&server, &made).await.unwrap(), join(&server, &made).await.unwrap());
    until_there_are(&server, 2).await;
    assert!(join(&server, &made).await.is_err(), "a third one is closed at the door");
    assert_eq!(metric(&server.metrics(), "omnivox_refused_connections_total"), 1);
    first.1.abort();
    until_there_are(&server, 1).await;
    let (mut sender, _) = join(&server, &made).await.expect("there is room again");
    assert_eq!(soon("an answer", sender.send_request(ask("/health"))).await.unwrap().status(), StatusCode::OK);
    drop(second);
    server.stop();
}

#[tokio::test]
async fn who_does_not_begin_is_not_waited_for() {
    let (server, made) = serve("http2-silence", |config| config.limits.head_time_max = Duration::from_millis(200));
    for said in [&b""[..], b"PRI * HTTP/2.0\r\n"] {
        let mut stream = connect(server.addresses()[0], &made.der, &[b"h2"]).await.unwrap();
        stream.write_all(said).await.unwrap();
        let _ = soon("the server closes the connection", stream.read_to_end(&mut Vec::new())).await;
    }
    until_there_are(&server, 0).await;
    server.stop();
}

#[tokio::test]
async fn a_connection_without_a_stream_ends_and_one_with_a_stream_does_not() {
    let (server, made) = serve("http2-idle", |config| config.limits.keep_alive_time_max = Duration::from_millis(200));
    let (mut listener, lives) = join(&server, &made).await.unwrap();
    let mut events = soon("a stream", listener.send_request(ask("/v1/sse?channel=c"))).await.unwrap().into_body();
    // Never asked, and asked and then no more.
    for asks in [false, true] {
        let (mut sender, ended) = join(&server, &made).await.unwrap();
        if asks {
            let health = soon("an answer", sender.send_request(ask("/health"))).await.unwrap();
            health.into_body().collect().await.unwrap();
        }
        let ended = soon("the server says goodbye", ended).await.unwrap();
        assert!(ended.is_ok(), "asks: {asks}: {ended:?}");
    }
    // The other one is older than both were when they ended.
    assert!(!lives.is_finished());
    let (request, pieces) = publish();
    pieces.send(Bytes::from_static(br#"{"channel":"c","data":"still here"}"#)).unwrap();
    drop(pieces);
    assert_eq!(soon("an answer", listener.send_request(request)).await.unwrap().status(), StatusCode::OK);
    let mut text = String::new();
    while !text.contains("still here") {
        let frame = soon("an event", events.frame()).await.unwrap().unwrap();
        text.push_str(std::str::from_utf8(&frame.into_data().unwrap()).unwrap());
    }
    server.stop();
}

#[tokio::test]
async fn a_body_that_does_not_come_is_not_waited_for() {
    let (server, made) = serve("http2-body", |config| config.limits.body_time_max = Duration::from_millis(200));
    let (mut sender, _) = join(&server, &made).await.unwrap();
    let (request, pieces) = publish();
    pieces.send(Bytes::from_static(br#"{"channel":"#)).unwrap();
    let refused = soon("an answer", sender.send_request(request)).await.unwrap();
    assert_eq!(refused.status(), StatusCode::REQUEST_TIMEOUT);
    let body = soon("a body", refused.into_body().collect()).await.unwrap().to_bytes();
    let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(body["error"]["code"], "body_timeout", "{body}");
    assert!(body["error"]["message"].as_str().unwrap().contains("limits.body_time_max_ms"), "{body}");
    assert_eq!(soon("the next answer", sender.send_request(ask("/health"))).await.unwrap().status(), StatusCode::OK);
    server.stop();
}

#[tokio::test]
async fn what_was_half_sent_when_everyone_is_sent_away_is_answered() {
    let (server, made) = serve("http2-drain", |config| {
        config.shards = Some(1);
        config.listen = vec![ANY];
    });
    let (mut sender, ended) = join(&server, &made).await.unwrap();
    let (request, pieces) = publish();
    pieces.send(Bytes::from_static(br#"{"channel":"c","data":""#)).unwrap();
    let answer = tokio::spawn(sender.send_request(request));
    // An answer on the same connection shows that the other request has come.
    assert_eq!(soon("an answer", sender.send_request(ask("/health"))).await.unwrap().status(), StatusCode::OK);
    let mut bystander = TcpStream::connect(server.addresses()[0]).await.unwrap();
    bystander.write_all(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    super::raw::head(&mut bystander).await;
    let drained = tokio::task::spawn_blocking(move || server.drain());
    soon("the drain begins", bystander.read_to_end(&mut Vec::new())).await.unwrap();
    // More than a pipe takes at once.
    pieces.send(Bytes::from(vec![b'x'; 40_000])).unwrap();
    pieces.send(Bytes::from_static(br#""}"#)).unwrap();
    drop(pieces);
    let answer = soon("an answer", answer).await.unwrap().unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    assert!(!soon("a body", answer.into_body().collect()).await.unwrap().to_bytes().is_empty());
    let ended = soon("the server says goodbye", ended).await.unwrap();
    assert!(ended.is_ok(), "{ended:?}");
    soon("the drain ends", drained).await.unwrap();
}

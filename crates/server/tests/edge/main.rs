//! The edge: TLS with certificates that change, HTTP/2 with streams and WebSockets on it, and the server inside somebody else's; how connections
//! of HTTP/2 end in [`http2`], compression in [`deflate`], proxies and the limits of an address in [`proxies`].

mod deflate;
mod embedding;
mod http2;
mod proxies;
mod raw;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Empty, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use omnivox_core::{App, AppId, Namespace, Namespaces, Pattern, Permissions};
use omnivox_dialects::native::{Native, NativeSettings};
use omnivox_server::tls::{CertificateFiles, Tls};
use omnivox_server::{Handle, Peer, Server, ServerConfig};
use omnivox_wire::ws::{self, Message};
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// A certificate for `localhost` in a folder of its own.
struct Certificate {
    files: CertificateFiles,
    der: CertificateDer<'static>,
}

fn certificate(name: &str) -> Certificate {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::create_dir_all(&folder).unwrap();
    let files = CertificateFiles { certificate: folder.join("cert.pem"), key: folder.join("key.pem") };
    let der = write(&files);
    Certificate { files, der }
}

fn write(files: &CertificateFiles) -> CertificateDer<'static> {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    std::fs::write(&files.certificate, made.cert.pem()).unwrap();
    std::fs::write(&files.key, made.signing_key.serialize_pem()).unwrap();
    made.cert.der().clone()
}

fn start(tls: Option<Arc<Tls>>) -> Handle {
    start_with(|config| {
        if tls.is_some() {
            config.listen_tls = vec![ANY];
            config.tls = tls;
        }
    })
}

/// A free port on loopback.
const ANY: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// A server with an open app and the native dialect, and what the test sets.
fn start_with(set: impl FnOnce(&mut ServerConfig)) -> Handle {
    let mut all = Namespace::new("", Pattern::All);
    all.anonymous = Permissions::CLIENT;
    let app = App::new(AppId::parse("edge").unwrap(), Namespaces::new(vec![all]));
    let dialects = vec![Arc::new(Native::new(NativeSettings::default())) as Arc<dyn omnivox_core::Dialect>];
    let mut config = ServerConfig::new(Vec::new(), vec![omnivox_auth::Settings::open(Arc::new(app))], dialects);
    config.shards = Some(2);
    set(&mut config);
    Server::start(config).unwrap()
}

async fn connect(
    address: SocketAddr,
    trusted: &CertificateDer<'static>,
    protocols: &[&[u8]],
) -> std::io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
    handshake(TcpStream::connect(address).await?, trusted, protocols).await
}

async fn handshake(
    socket: TcpStream,
    trusted: &CertificateDer<'static>,
    protocols: &[&[u8]],
) -> std::io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(trusted.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    tokio_rustls::TlsConnector::from(Arc::new(config)).connect(ServerName::try_from("localhost").unwrap(), socket).await
}

/// The number behind a metric's name.
fn metric(metrics: &str, name: &str) -> u64 {
    let line = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {name} in {metrics}")).parse().unwrap()
}

/// Says something over a WebSocket and gives the first message that names `wanted`.
async fn talk(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), say: &[&str], wanted: &str) -> serde_json::Value {
    for text in say {
        let mut frame = BytesMut::new();
        ws::encode_masked(ws::DataKind::Text, text.as_bytes(), [1, 2, 3, 4], &mut frame);
        stream.write_all(&frame).await.unwrap();
    }
    stream.flush().await.unwrap();
    let mut decoder = ws::Decoder::new(ws::Role::Client, 1 << 20, None);
    let mut buffer = [0; 4096];
    loop {
        let count = stream.read(&mut buffer).await.unwrap();
        assert!(count > 0, "the stream ended before `{wanted}` came");
        let mut rest = &mut buffer[..count];
        while !rest.is_empty() {
            let step = decoder.step(rest).unwrap();
            let consumed = step.consumed;
            if let Some(Message::Text(text)) = step.message {
                let message: serde_json::Value = serde_json::from_str(text).unwrap();
                if message["type"] == wanted {
                    return message;
                }
            }
            rest = &mut rest[consumed..];
        }
    }
}

const SUBSCRIBE: &str = r#"{"type":"subscribe","channel":"c"}"#;
const PUBLISH: &str = r#"{"type":"publish","channel":"c","event":"e","data":[1]}"#;

#[tokio::test]
async fn a_web_socket_over_tls() {
    let made = certificate("websocket");
    let server = start(Some(Arc::new(Tls::load(made.files).unwrap())));
    let mut stream = connect(server.addresses()[0], &made.der, &[b"http/1.1"]).await.unwrap();
    let mut request = BytesMut::new();
    let handshake = ws::handshake::ClientHandshake { host: "localhost", target: "/v1/ws", nonce: [3; 16], protocols: &[], deflate: false };
    handshake.request([("", ""); 0], &mut request);
    stream.write_all(&request).await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        answer.push(stream.read_u8().await.unwrap());
    }
    assert!(answer.starts_with(b"HTTP/1.1 101 "), "{}", String::from_utf8_lossy(&answer));
    let message = talk(&mut stream, &[SUBSCRIBE, PUBLISH], "message").await;
    assert_eq!(message["data"], serde_json::json!([1]));
    server.stop();
}

#[tokio::test]
async fn frames_in_the_packet_of_the_handshake_are_read() {
    let server = start_with(|config| config.listen = vec![ANY]);
    let mut stream = TcpStream::connect(server.addresses()[0]).await.unwrap();
    let mut packet = BytesMut::new();
    let handshake = ws::handshake::ClientHandshake { host: "localhost", target: "/v1/ws", nonce: [3; 16], protocols: &[], deflate: false };
    handshake.request([("", ""); 0], &mut packet);
    ws::encode_masked(ws::DataKind::Text, SUBSCRIBE.as_bytes(), [1, 2, 3, 4], &mut packet);
    stream.write_all(&packet).await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        answer.push(stream.read_u8().await.unwrap());
    }
    assert_eq!(talk(&mut stream, &[], "subscribed").await["channel"], "c");
    server.stop();
}

#[tokio::test]
async fn a_new_certificate_is_for_new_connections() {
    let made = certificate("reload");
    let tls = Arc::new(Tls::load(made.files.clone()).unwrap());
    let server = start(Some(tls.clone()));
    let address = server.addresses()[0];
    let mut old = connect(address, &made.der, &[]).await.unwrap();
    let renewed = write(&made.files);
    tls.reload().unwrap();
    assert!(connect(address, &made.der, &[]).await.is_err(), "the old certificate is no longer shown");
    connect(address, &renewed, &[]).await.unwrap();
    old.write_all(b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    let _ = old.read_to_string(&mut answer).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "the old connection lives: {answer}");
    std::fs::write(&made.files.key, "no key").unwrap();
    assert!(tls.reload().unwrap_err().to_string().contains("tls.private_key_file"));
    connect(address, &renewed, &[]).await.expect("a bad file changes nothing");
    server.stop();
}

#[tokio::test]
async fn streams_and_web_sockets_share_an_http2_connection() {
    let made = certificate("http2");
    let server = start(Some(Arc::new(Tls::load(made.files).unwrap())));
    let stream = connect(server.addresses()[0], &made.der, &[b"h2", b"http/1.1"]).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);

    let health = sender.send_request(Request::get("https://localhost/health").body(Full::<Bytes>::default()).unwrap()).await.unwrap();
    assert_eq!(health.status(), StatusCode::OK);
    assert_eq!(health.into_body().collect().await.unwrap().to_bytes(), r#"{"status":"ok"}"#);

    let events = sender.send_request(Request::get("https://localhost/v1/sse?channel=c").body(Full::default()).unwrap()).await.unwrap();
    assert_eq!((events.status(), &events.headers()["content-type"]), (StatusCode::OK, &"text/event-stream".parse().unwrap()));
    let mut events = events.into_body();

    let mut websocket = Request::builder().method(Method::CONNECT).uri("https://localhost/v1/ws").header("sec-websocket-version", "13");
    websocket = websocket.extension(hyper::ext::Protocol::from_static("websocket"));
    let mut opened = sender.send_request(websocket.body(Full::default()).unwrap()).await.unwrap();
    assert_eq!(opened.status(), StatusCode::OK, "RFC 8441 §5: 200 accepts");
    let mut websocket = TokioIo::new(hyper::upgrade::on(&mut opened).await.unwrap());
    assert_eq!(talk(&mut websocket, &[SUBSCRIBE, PUBLISH], "message").await["event"], "e");

    let body = r#"{"channel":"c","data":"over h2"}"#;
    let publish =
        Request::post("https://localhost/v1/publish").header("content-type", "application/json").body(Full::<Bytes>::from(body)).unwrap();
    assert_eq!(sender.send_request(publish).await.unwrap().status(), StatusCode::OK);
    assert_eq!(talk(&mut websocket, &[], "message").await["data"], "over h2");
    let mut text = String::new();
    while !text.contains("over h2") {
        text.push_str(std::str::from_utf8(&events.frame().await.unwrap().unwrap().into_data().unwrap()).unwrap());
    }

    let unknown =
        Request::builder().method(Method::CONNECT).uri("https://localhost/v1/ws").extension(hyper::ext::Protocol::from_static("other"));
    let refused = sender.send_request(unknown.body(Full::default()).unwrap()).await.unwrap();
    assert_eq!(refused.status(), StatusCode::NOT_IMPLEMENTED, "RFC 8441 §4: an unknown protocol");
    let large = Request::post("https://localhost/v1/publish").header("content-type", "application/json");
    let refused = sender.send_request(large.body(Full::from(Bytes::from(vec![b' '; 2 << 20]))).unwrap()).await.unwrap();
    assert_eq!(refused.status(), StatusCode::PAYLOAD_TOO_LARGE);
    server.stop();
}

#[tokio::test]
async fn inside_somebody_elses_server() {
    let server = start(None);
    let embedded = server.embedded();
    let peer = Peer { ip: [127, 0, 0, 1].into(), secure: false };
    let ask = |path: &str| Request::get(format!("http://localhost{path}")).header("host", "localhost").body(Empty::<Bytes>::new()).unwrap();
    let stream = embedded.call(ask("/v1/sse?channel=c"), peer).await;
    assert_eq!(stream.status(), StatusCode::OK);
    let body = r#"{"channel":"c","data":"inside"}"#;
    let publish = Request::post("http://localhost/v1/publish").header("host", "localhost").header("content-type", "application/json");
    let published = embedded.call(publish.body(Full::<Bytes>::from(body)).unwrap(), peer).await;
    assert_eq!(published.status(), StatusCode::OK);
    let mut events = stream.into_body();
    let mut text = String::new();
    while !text.contains("inside") {
        text.push_str(std::str::from_utf8(&events.frame().await.unwrap().unwrap().into_data().unwrap()).unwrap());
    }
    assert_eq!(embedded.call(ask("/nowhere"), peer).await.status(), StatusCode::NOT_FOUND);
    drop(events);
    server.drain();
}

//! The bridge: requests that another HTTP implementation has read — HTTP/2 streams, an embedder's routes — become conversations with a shard.
//!
//! A request is written as HTTP/1.1 into a pipe in memory whose other end is a connection of a shard like any other. What the shard answers is
//! read again and handed back: a body as it comes, a WebSocket as a stream of bytes both ways. So there is one server behind all of them, and
//! back-pressure goes through the pipe: who does not read is a slow client.
//!
//! This is the slow lane, correct first; sockets and TLS go to the shards directly.
//!
//! Invariant: what goes into the pipe went through the same strict reader as every other request.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use base64::Engine as _;
use bytes::{Buf, Bytes, BytesMut};
use http::header::{self, HeaderName};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::{Body, Frame};
use omnivox_wire::http1::{ChunkedDecoder, ChunkedPiece, HeadLimits, ResponseBody, ResponseHead, write_header};
use tokio::io::{AsyncRead as _, AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};

/// Bytes that a pipe holds in each direction.
const PIPE_BYTES: usize = 16 << 10;

/// Opens a conversation with a shard.
pub(crate) trait Connect {
    /// Gives the other end of the pipe to a shard.
    fn connect(&self, stream: DuplexStream);
    /// The largest body that is taken.
    fn body_bytes_max(&self) -> usize;
    /// How long a body may take to come.
    fn body_time_max(&self) -> Duration;
}

/// Answers one request.
pub(crate) async fn answer<B>(door: &impl Connect, mut request: Request<B>) -> Response<BridgeBody>
where
    B: Body<Data: Buf, Error: Into<Box<dyn std::error::Error + Send + Sync>>>,
{
    let extended = is_websocket_connect(&request);
    if request.method() == Method::CONNECT && !extended {
        return plain(StatusCode::NOT_IMPLEMENTED, "unavailable", "only the `websocket` protocol is served over CONNECT (RFC 8441)");
    }
    let upgrade = hyper::upgrade::on(&mut request);
    let (parts, body) = request.into_parts();
    let whole = Limited::new(body, door.body_bytes_max()).collect();
    let body = match tokio::time::timeout(door.body_time_max(), whole).await {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(_)) => {
            let words = "the body is larger than limits.body_bytes_max, or was not sent to its end";
            return plain(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", words);
        }
        Err(_) => {
            let words = "the request's body took too long to arrive (limits.body_time_max_ms)";
            return plain(StatusCode::REQUEST_TIMEOUT, "body_timeout", words);
        }
    };
    let (mut pipe, other_end) = tokio::io::duplex(PIPE_BYTES);
    door.connect(other_end);
    let text = request_text(&parts, extended, &body);
    let Ok((head, rest)) = exchange(&mut pipe, &text).await else {
        return plain(StatusCode::SERVICE_UNAVAILABLE, "unavailable", "the server is going away; try again");
    };
    let mut response = Response::new(BridgeBody::empty());
    *response.status_mut() = StatusCode::from_u16(head.status()).unwrap_or(StatusCode::BAD_GATEWAY);
    if head.status() == 101 {
        tokio::spawn(relay(upgrade, pipe, rest));
        if extended {
            *response.status_mut() = StatusCode::OK;
        }
    } else if parts.method != Method::HEAD {
        *response.body_mut() = BridgeBody::new(pipe, rest, head.body());
    }
    for (name, value) in head.iter() {
        let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name.as_bytes()), http::HeaderValue::from_bytes(value)) else { continue };
        let of_connection = name == header::CONNECTION || name == header::UPGRADE || name == header::SEC_WEBSOCKET_ACCEPT;
        if name != header::TRANSFER_ENCODING && !(of_connection && (extended || head.status() != 101)) {
            response.headers_mut().append(name, value);
        }
    }
    response
}

/// Whether the request is a WebSocket's by RFC 8441.
fn is_websocket_connect<B>(request: &Request<B>) -> bool {
    let protocol = request.extensions().get::<hyper::ext::Protocol>();
    request.method() == Method::CONNECT && protocol.is_some_and(|protocol| protocol.as_str() == "websocket")
}

/// The request as HTTP/1.1.
fn request_text(parts: &http::request::Parts, extended: bool, body: &Bytes) -> Bytes {
    let mut text = BytesMut::with_capacity(512 + body.len());
    let method = if extended { "GET" } else { parts.method.as_str() };
    let target = parts.uri.path_and_query().map_or("/", |target| target.as_str());
    text.extend_from_slice(format!("{method} {target} HTTP/1.1\r\n").as_bytes());
    let authority = parts.uri.authority().map(|authority| authority.as_str().as_bytes());
    if let Some(host) = authority.or_else(|| parts.headers.get(header::HOST).map(http::HeaderValue::as_bytes)) {
        write_header(&mut text, b"Host", host);
    }
    let websocket = parts.headers.get(header::UPGRADE).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"websocket"));
    for (name, value) in &parts.headers {
        let of_connection =
            [header::HOST, header::CONNECTION, header::CONTENT_LENGTH, header::TRANSFER_ENCODING, header::TE, header::EXPECT];
        if !of_connection.contains(name) && name != header::COOKIE && (websocket || name != header::UPGRADE) {
            write_header(&mut text, name.as_str().as_bytes(), value.as_bytes());
        }
    }
    // HTTP/2 may send each cookie in a field of its own, HTTP/1.1 only all in one (RFC 9113 §8.2.3).
    let cookies: Vec<&[u8]> = parts.headers.get_all(header::COOKIE).iter().map(http::HeaderValue::as_bytes).collect();
    if !cookies.is_empty() {
        write_header(&mut text, b"cookie", &cookies.join(&b"; "[..]));
    }
    if extended {
        // The key is HTTP/1.1's own; its answer is taken off again.
        let key = base64::engine::general_purpose::STANDARD.encode([0; 16]);
        write_header(&mut text, b"Upgrade", b"websocket");
        write_header(&mut text, b"Sec-WebSocket-Key", key.as_bytes());
    }
    write_header(&mut text, b"Connection", if extended || websocket { b"Upgrade" } else { b"close" });
    if !body.is_empty() || matches!(parts.method, Method::POST | Method::PUT | Method::PATCH) {
        write_header(&mut text, b"Content-Length", body.len().to_string().as_bytes());
    }
    text.extend_from_slice(b"\r\n");
    text.extend_from_slice(body);
    text.freeze()
}

/// Sends a request through the pipe and reads the head of its answer.
async fn exchange(pipe: &mut DuplexStream, text: &[u8]) -> std::io::Result<(ResponseHead, BytesMut)> {
    let mut bytes = BytesMut::with_capacity(1024);
    let mut unsent = text;
    loop {
        let broken = |error: &dyn std::fmt::Display| std::io::Error::other(error.to_string());
        if let Some((head, used)) = ResponseHead::parse(&bytes, &HeadLimits::default()).map_err(|error| broken(&error))? {
            bytes.advance(used);
            if head.status() != 100 {
                return Ok((head, bytes));
            }
            continue;
        }
        // A refusal may come before everything was sent, so both go on at once.
        let (mut reader, mut writer) = tokio::io::split(&mut *pipe);
        tokio::select! {
            read = reader.read_buf(&mut bytes) => {
                if read? == 0 {
                    return Err(std::io::ErrorKind::UnexpectedEof.into());
                }
            }
            written = writer.write(unsent), if !unsent.is_empty() => unsent = &unsent[written?..],
        }
    }
}

/// Carries a WebSocket's bytes between the client and the shard until one of them ends.
async fn relay(upgrade: hyper::upgrade::OnUpgrade, mut pipe: DuplexStream, rest: BytesMut) {
    let Ok(upgraded) = upgrade.await else { return };
    let mut client = hyper_util::rt::TokioIo::new(upgraded);
    if client.write_all(&rest).await.is_ok() {
        let _ = tokio::io::copy_bidirectional(&mut client, &mut pipe).await;
    }
}

fn plain(status: StatusCode, code: &str, words: &str) -> Response<BridgeBody> {
    let error = crate::shard::error(status.as_u16(), code, words);
    let mut response =
        Response::new(BridgeBody { pipe: None, bytes: BytesMut::from(&error.body[..]), state: State::Length(error.body.len() as u64) });
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, http::HeaderValue::from_static("application/json"));
    response
}

/// The body of an answer, read from the pipe as it comes.
pub struct BridgeBody {
    pipe: Option<DuplexStream>,
    bytes: BytesMut,
    state: State,
}

enum State {
    Length(u64),
    Chunked(Box<ChunkedDecoder>),
    UntilClose,
    End,
}

impl BridgeBody {
    fn empty() -> Self {
        Self { pipe: None, bytes: BytesMut::new(), state: State::End }
    }

    fn new(pipe: DuplexStream, bytes: BytesMut, body: ResponseBody) -> Self {
        let state = match body {
            ResponseBody::None => State::End,
            ResponseBody::Length(length) => State::Length(length),
            ResponseBody::Chunked => State::Chunked(Box::new(ChunkedDecoder::new(u64::MAX))),
            ResponseBody::UntilClose => State::UntilClose,
        };
        Self { pipe: Some(pipe), bytes, state }
    }

    /// What of the bytes that are there belongs to the body.
    fn take(&mut self) -> Option<Bytes> {
        match &mut self.state {
            State::End => None,
            State::UntilClose => (!self.bytes.is_empty()).then(|| self.bytes.split().freeze()),
            State::Length(left) => {
                let count = usize::try_from(*left).unwrap_or(usize::MAX).min(self.bytes.len());
                let data = (count > 0).then(|| self.bytes.split_to(count).freeze());
                *left -= count as u64;
                if *left == 0 {
                    self.state = State::End;
                }
                data
            }
            State::Chunked(decoder) => {
                let mut data = BytesMut::new();
                loop {
                    let Ok((used, piece)) = decoder.step(&self.bytes) else {
                        self.state = State::End;
                        break;
                    };
                    let end = match piece {
                        ChunkedPiece::Data(piece) => {
                            data.extend_from_slice(piece);
                            false
                        }
                        ChunkedPiece::More => true,
                        ChunkedPiece::End => {
                            self.bytes.advance(used);
                            self.state = State::End;
                            break;
                        }
                    };
                    self.bytes.advance(used);
                    if end {
                        break;
                    }
                }
                (!data.is_empty()).then(|| data.freeze())
            }
        }
    }
}

impl Body for BridgeBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        loop {
            if let Some(data) = self.take() {
                return Poll::Ready(Some(Ok(Frame::data(data))));
            }
            if matches!(self.state, State::End) {
                return Poll::Ready(None);
            }
            let Self { pipe: Some(pipe), bytes, .. } = &mut *self else { return Poll::Ready(None) };
            let mut buffer = [0; 8 << 10];
            let mut into = tokio::io::ReadBuf::new(&mut buffer);
            match Pin::new(pipe).poll_read(cx, &mut into) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(())) if !into.filled().is_empty() => bytes.extend_from_slice(into.filled()),
                Poll::Ready(_) => return Poll::Ready(None),
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.state, State::End)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cookies_in_many_fields_are_one_line_of_http1() {
        let request = Request::get("https://a.example/x").header("cookie", "a=1").header("x-other", "y").header("cookie", "b=2");
        let (parts, ()) = request.body(()).unwrap().into_parts();
        let text = request_text(&parts, false, &Bytes::new());
        let text = std::str::from_utf8(&text).unwrap();
        let cookies: Vec<&str> = text.lines().filter(|line| line.to_ascii_lowercase().starts_with("cookie:")).collect();
        assert_eq!(cookies, ["cookie: a=1; b=2"], "{text}");
    }
}

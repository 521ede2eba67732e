//! A client that writes its bytes itself.

use std::net::SocketAddr;

use bytes::BytesMut;
use omnivox_wire::ws::deflate::Agreement;
use omnivox_wire::ws::{self, DataKind, Message};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Says a request and gives the whole answer, until the server closes.
pub(crate) async fn ask(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), request: &str) -> String {
    // Who is refused at once may find the connection closed before all is said.
    let _ = stream.write_all(request.as_bytes()).await;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

/// Reads an answer's head.
pub(crate) async fn head(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.expect("the head goes on"));
    }
    String::from_utf8(head).unwrap()
}

/// A WebSocket at `/v1/ws`.
pub(crate) struct WebSocket {
    stream: TcpStream,
    decoder: ws::Decoder,
    unread: Vec<u8>,
    /// The first byte of a frame whose rest has not come.
    begun: Option<u8>,
    /// How many messages came compressed.
    pub(crate) compressed: usize,
}

/// What came over a WebSocket.
#[derive(Debug, PartialEq)]
pub(crate) enum Heard {
    /// A text message, which is JSON.
    Json(serde_json::Value),
    /// The end, with the code of the close frame.
    Closed(Option<u16>),
}

impl WebSocket {
    /// Opens one with these further header lines.
    pub(crate) async fn open(address: SocketAddr, headers: &str) -> Self {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!(
            "GET /v1/ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: x3JJHMbDL1EzLkh9GBhXDw==\r\n{headers}\r\n"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let answer = head(&mut stream).await;
        assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
        let extensions =
            answer.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("sec-websocket-extensions: ").map(str::to_owned));
        let agreement = extensions.and_then(|value| ws::deflate::Offers::parse([value.as_str()]).unwrap().accept());
        Self { stream, decoder: ws::Decoder::new(ws::Role::Client, 1 << 20, agreement), unread: Vec::new(), begun: None, compressed: 0 }
    }

    /// Sends a text message.
    pub(crate) async fn say(&mut self, text: &str) {
        let mut frame = BytesMut::new();
        ws::encode_masked(DataKind::Text, text.as_bytes(), [1, 2, 3, 4], &mut frame);
        self.stream.write_all(&frame).await.unwrap();
    }

    /// Sends a compressed text message.
    pub(crate) async fn say_compressed(&mut self, text: &[u8], agreement: Agreement) {
        let mut frame = ws::deflate::message(DataKind::Text, text, agreement.server_window_bits()).to_vec();
        // A mask of zeroes leaves the payload as it is.
        frame[1] |= 0x80;
        let header = match frame[1] & 0x7f {
            126 => 4,
            127 => 10,
            _ => 2,
        };
        frame.splice(header..header, [0; 4]);
        self.stream.write_all(&frame).await.unwrap();
    }

    /// The next message that is not a ping.
    pub(crate) async fn next(&mut self) -> Heard {
        loop {
            while !self.unread.is_empty() {
                let first = *self.begun.get_or_insert(self.unread[0]);
                let step = self.decoder.step(&mut self.unread).unwrap();
                let (consumed, whole) = (step.consumed, step.message.is_some());
                let heard = step.message.and_then(|message| match message {
                    Message::Text(text) => Some(Heard::Json(serde_json::from_str(text).unwrap())),
                    Message::Close(close) => Some(Heard::Closed(close.map(|(code, _)| code))),
                    _ => None,
                });
                self.unread.drain(..consumed);
                if whole {
                    self.begun = None;
                }
                if let Some(heard) = heard {
                    self.compressed += usize::from(first & 0x40 != 0);
                    return heard;
                }
                if consumed == 0 {
                    break;
                }
            }
            let mut buffer = [0; 4096];
            match self.stream.read(&mut buffer).await {
                Ok(0) | Err(_) => return Heard::Closed(None),
                Ok(count) => self.unread.extend_from_slice(&buffer[..count]),
            }
        }
    }

    /// The next message of that type.
    pub(crate) async fn next_of(&mut self, kind: &str) -> serde_json::Value {
        loop {
            match self.next().await {
                Heard::Json(message) if message["type"] == kind => return message,
                Heard::Json(_) => {}
                closed @ Heard::Closed(_) => panic!("{closed:?} before `{kind}` came"),
            }
        }
    }
}

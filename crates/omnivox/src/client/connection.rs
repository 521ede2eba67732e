//! One connection to a server: requests out, heads and bodies in, with a deadline on everything that is not a held stream.

use std::path::PathBuf;
use std::time::Duration;

use base64::Engine as _;
use bytes::{Buf as _, BytesMut};
use omnivox_wire::http1::{ChunkedDecoder, ChunkedPiece, HeadLimits, ResponseBody, ResponseHead, write_header};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::target::Target;
use super::trouble::Trouble;

/// Which server, and what is shown to it.
#[derive(Debug, Clone)]
pub(crate) struct Access {
    /// The server.
    pub(crate) target: Target,
    /// The token to show, if any.
    pub(crate) token: Option<Token>,
    /// The API key to show instead, if any.
    pub(crate) key: Option<ApiKey>,
    /// The file with the certificate authorities to trust; the system's when `None`.
    pub(crate) authorities: Option<PathBuf>,
}

/// A token; its `Debug` shows nothing of it.
#[derive(Clone)]
pub(crate) struct Token(String);

impl Token {
    /// Takes the text of a token, which must fit into a header.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        match text.bytes().all(|byte| byte.is_ascii_graphic()) && !text.is_empty() {
            true => Ok(Self(text.to_owned())),
            false => Err("a token has printable characters and no spaces".to_owned()),
        }
    }
}

impl std::fmt::Debug for Token {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Token(…)")
    }
}

/// An API key's id and secret; its `Debug` shows nothing of them.
#[derive(Clone)]
pub(crate) struct ApiKey(String);

impl ApiKey {
    /// Takes `id:secret`.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            Some((id, secret)) if !id.is_empty() && !secret.is_empty() => Ok(Self(text.to_owned())),
            _ => Err("an API key is `id:secret`".to_owned()),
        }
    }
}

impl std::fmt::Debug for ApiKey {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("ApiKey(…)")
    }
}

impl Access {
    /// The headers that every request carries.
    pub(crate) fn headers(&self) -> Vec<(&'static str, String)> {
        let agent = ("User-Agent", concat!("omnivox/", env!("CARGO_PKG_VERSION")).to_owned());
        let token = self.token.as_ref().map(|token| format!("Bearer {}", token.0));
        let key = self.key.as_ref().map(|key| format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(&key.0)));
        std::iter::once(agent).chain(key.or(token).map(|shown| ("Authorization", shown))).collect()
    }
}

/// What carries the bytes: TCP, or TLS over it.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// An open connection and what has been received on it but not yet used.
pub(crate) struct Connection {
    stream: Box<dyn Stream>,
    received: BytesMut,
    authority: String,
}

impl Connection {
    /// Connects within [`CONNECT_TIME_MAX`].
    pub(crate) async fn open(access: &Access) -> Result<Self, Trouble> {
        let target = &access.target;
        let unreachable = |words: String| Trouble::Unreachable(format!("cannot connect to {target}: {words}"));
        let connecting = async {
            let stream = TcpStream::connect((target.host.as_str(), target.port)).await?;
            stream.set_nodelay(true)?;
            let stream: Box<dyn Stream> = match target.tls {
                true => super::tls::wrap(stream, &target.host, access.authorities.as_deref()).await?,
                false => Box::new(stream),
            };
            std::io::Result::Ok(stream)
        };
        match timeout(CONNECT_TIME_MAX, connecting).await {
            Ok(Ok(stream)) => Ok(Self { stream, received: BytesMut::new(), authority: target.authority() }),
            Ok(Err(error)) => Err(unreachable(error.to_string())),
            Err(_) => Err(unreachable(format!("no answer within {} s", CONNECT_TIME_MAX.as_secs()))),
        }
    }

    /// Sends bytes.
    pub(crate) async fn send(&mut self, bytes: &[u8]) -> Result<(), Trouble> {
        let sending = async {
            self.stream.write_all(bytes).await?;
            self.stream.flush().await
        };
        match timeout(ANSWER_TIME_MAX, sending).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(lost(&error.to_string())),
            Err(_) => Err(lost("the server takes nothing")),
        }
    }

    /// Waits for more bytes; says so when the server closed instead.
    pub(crate) async fn receive(&mut self, patience: Duration) -> Result<(), Trouble> {
        self.received.reserve(READ_BYTES);
        match timeout(patience, self.stream.read_buf(&mut self.received)).await {
            Ok(Ok(0)) => Err(lost("the server closed it")),
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(lost(&error.to_string())),
            Err(_) => Err(lost(&format!("nothing came for {} s", patience.as_secs()))),
        }
    }

    /// What was received and not yet used.
    pub(crate) fn received(&mut self) -> &mut BytesMut {
        &mut self.received
    }

    /// Sends a request and waits for the head of its answer.
    pub(crate) async fn request(&mut self, request: &Request<'_>, patience: Duration) -> Result<ResponseHead, Trouble> {
        let mut out = BytesMut::new();
        out.extend_from_slice(format!("{} {} HTTP/1.1\r\n", request.method, request.path).as_bytes());
        write_header(&mut out, b"Host", self.authority.as_bytes());
        for (name, value) in &request.headers {
            write_header(&mut out, name.as_bytes(), value.as_bytes());
        }
        if let Some(body) = request.body {
            write_header(&mut out, b"Content-Type", b"application/json");
            write_header(&mut out, b"Content-Length", body.len().to_string().as_bytes());
        }
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(request.body.unwrap_or_default());
        self.send(&out).await?;
        self.head(patience).await
    }

    /// Waits for the head of an answer; interim answers (1xx) other than an upgrade are passed over.
    pub(crate) async fn head(&mut self, patience: Duration) -> Result<ResponseHead, Trouble> {
        loop {
            let parsed = ResponseHead::parse(&self.received, &HeadLimits::default());
            let foreign = |error| Trouble::Protocol(format!("{} does not speak HTTP: {error}", self.authority));
            match parsed.map_err(foreign)? {
                Some((head, bytes)) => {
                    self.received.advance(bytes);
                    if head.status() >= 200 || head.status() == 101 {
                        return Ok(head);
                    }
                }
                None => self.receive(patience).await?,
            }
        }
    }

    /// The next piece of a body; `None` at its end. How long the server may be silent is the caller's patience.
    pub(crate) async fn piece(&mut self, body: &mut Body, patience: Duration) -> Result<Option<BytesMut>, Trouble> {
        loop {
            match body {
                Body::Done => return Ok(None),
                Body::Chunked(decoder) => {
                    let stepped = decoder.step(&self.received);
                    let (used, piece) = stepped.map_err(|error| Trouble::Protocol(error.to_string()))?;
                    match piece {
                        ChunkedPiece::Data(data) => {
                            let data = BytesMut::from(data);
                            self.received.advance(used);
                            return Ok(Some(data));
                        }
                        ChunkedPiece::End => {
                            self.received.advance(used);
                            *body = Body::Done;
                            return Ok(None);
                        }
                        ChunkedPiece::More => self.received.advance(used),
                    }
                }
                Body::Left(0) => {
                    *body = Body::Done;
                    return Ok(None);
                }
                Body::Left(left) if !self.received.is_empty() => {
                    let available = usize::try_from(*left).unwrap_or(usize::MAX).min(self.received.len());
                    *left -= available as u64;
                    return Ok(Some(self.received.split_to(available)));
                }
                Body::UntilClose if !self.received.is_empty() => return Ok(Some(self.received.split())),
                Body::Left(_) | Body::UntilClose => {}
            }
            match self.receive(patience).await {
                Err(Trouble::Unreachable(_)) if matches!(body, Body::UntilClose) => *body = Body::Done,
                other => other?,
            }
        }
    }

    /// A whole body of at most [`BODY_BYTES_MAX`].
    pub(crate) async fn whole(&mut self, head: &ResponseHead) -> Result<Vec<u8>, Trouble> {
        let mut body = Body::of(head);
        let mut whole = Vec::new();
        while let Some(piece) = self.piece(&mut body, ANSWER_TIME_MAX).await? {
            whole.extend_from_slice(&piece);
            if whole.len() > BODY_BYTES_MAX {
                return Err(Trouble::Protocol(format!("an answer is larger than {BODY_BYTES_MAX} bytes")));
            }
        }
        Ok(whole)
    }
}

fn lost(words: &str) -> Trouble {
    Trouble::Unreachable(format!("the connection was lost: {words}"))
}

/// A request to be sent.
pub(crate) struct Request<'a> {
    /// The method.
    pub(crate) method: &'static str,
    /// Path and query.
    pub(crate) path: &'a str,
    /// Headers beside `Host` and those of the body.
    pub(crate) headers: Vec<(&'static str, String)>,
    /// A JSON body.
    pub(crate) body: Option<&'a [u8]>,
}

/// How far a body has been read.
pub(crate) enum Body {
    /// So many bytes are to come.
    Left(u64),
    /// It comes in chunks.
    Chunked(ChunkedDecoder),
    /// It ends with the connection.
    UntilClose,
    /// It has ended.
    Done,
}

impl Body {
    /// The body that follows a head.
    pub(crate) fn of(head: &ResponseHead) -> Self {
        match head.body() {
            ResponseBody::None => Self::Done,
            ResponseBody::Length(bytes) => Self::Left(bytes),
            ResponseBody::Chunked => Self::Chunked(ChunkedDecoder::new(u64::MAX)),
            ResponseBody::UntilClose => Self::UntilClose,
        }
    }
}

/// How long connecting may take.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(10);
/// How long an ordinary answer may take.
pub(crate) const ANSWER_TIME_MAX: Duration = Duration::from_secs(30);
/// The largest answer that is read as a whole.
const BODY_BYTES_MAX: usize = 64 << 20;
const READ_BYTES: usize = 16 << 10;

//! Heads of HTTP/1.1 messages, and chunked bodies: as much as the load tool and its floor servers need.

use anyhow::{Context, Result, bail, ensure};

/// What matters of the head of a server's answer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) status: u16,
    pub(crate) bytes: usize,
    pub(crate) chunked: bool,
    pub(crate) content_length: Option<usize>,
    pub(crate) websocket_accept: Option<String>,
}

impl Head {
    /// Parses the head at the start of `bytes`, `None` when its end has not arrived.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Option<Self>> {
        let mut headers = [httparse::EMPTY_HEADER; 48];
        let mut response = httparse::Response::new(&mut headers);
        let httparse::Status::Complete(length) = response.parse(bytes).context("the answer's head")? else {
            ensure!(bytes.len() < 16_384, "the answer's head has no end");
            return Ok(None);
        };
        let mut head =
            Self { status: response.code.unwrap_or(0), bytes: length, chunked: false, content_length: None, websocket_accept: None };
        for header in response.headers.iter() {
            let value = std::str::from_utf8(header.value).unwrap_or("").trim();
            if header.name.eq_ignore_ascii_case("transfer-encoding") {
                head.chunked = value.eq_ignore_ascii_case("chunked");
            } else if header.name.eq_ignore_ascii_case("content-length") {
                let length = value.parse().context("the answer's content-length")?;
                head.content_length = Some(length);
            } else if header.name.eq_ignore_ascii_case("sec-websocket-accept") {
                head.websocket_accept = Some(value.to_owned());
            }
        }
        Ok(Some(head))
    }

    /// Fails unless the status is the wanted one; the beginning of the body says why the server refused.
    pub(crate) fn expect(&self, status: u16, path: &str, bytes: &[u8]) -> Result<()> {
        ensure!(
            self.status == status,
            "{path} was answered {} instead of {status}: {}",
            self.status,
            super::super::payload::excerpt(&bytes[self.bytes..])
        );
        Ok(())
    }
}

/// A request at the start of `bytes`: its target and its length, `None` when it is not complete.
pub(crate) fn parse_request(bytes: &[u8]) -> Result<Option<(String, usize)>> {
    let mut headers = [httparse::EMPTY_HEADER; 32];
    let mut request = httparse::Request::new(&mut headers);
    match request.parse(bytes).context("the request's head")? {
        httparse::Status::Complete(length) => {
            let target = request.path.context("a complete head has a target")?;
            Ok(Some((target.to_owned(), length)))
        }
        httparse::Status::Partial => Ok(None),
    }
}

/// Takes a body out of its chunks.
#[derive(Debug)]
pub(crate) struct Chunks {
    /// Bytes of the current chunk that are still to come; its CRLF not counted.
    left: usize,
    within: Within,
}

#[derive(Debug, PartialEq, Eq)]
enum Within {
    Size,
    Data,
    LineEnd,
    End,
}

impl Chunks {
    pub(crate) fn new() -> Self {
        Self { left: 0, within: Within::Size }
    }

    /// Whether the last chunk has been seen: the server ended the stream.
    pub(crate) fn ended(&self) -> bool {
        self.within == Within::End
    }

    /// Gives every piece of body in `bytes` to `piece`; returns how many bytes were used. What is left is the beginning of a size line.
    pub(crate) fn feed(&mut self, bytes: &[u8], mut piece: impl FnMut(&[u8]) -> Result<()>) -> Result<usize> {
        let mut at = 0;
        loop {
            let rest = &bytes[at..];
            match self.within {
                Within::Size => {
                    let Some(end) = memchr::memchr(b'\n', rest) else {
                        return Ok(at);
                    };
                    self.left = chunk_size(&rest[..end])?;
                    self.within = Within::Data;
                    at += end + 1;
                    if self.left == 0 {
                        self.within = Within::End;
                    }
                }
                Within::Data => {
                    let length = self.left.min(rest.len());
                    if length > 0 {
                        piece(&rest[..length])?;
                    }
                    at += length;
                    self.left -= length;
                    if self.left > 0 {
                        return Ok(at);
                    }
                    self.within = Within::LineEnd;
                }
                Within::LineEnd => {
                    if rest.len() < 2 {
                        return Ok(at);
                    }
                    ensure!(rest.starts_with(b"\r\n"), "a chunk runs over its size");
                    self.within = Within::Size;
                    at += 2;
                }
                // The trailer section of a body that nobody sends trailers with.
                Within::End => return Ok(bytes.len()),
            }
        }
    }
}

fn chunk_size(line: &[u8]) -> Result<usize> {
    let text = std::str::from_utf8(line).unwrap_or("").trim();
    let digits = text.split(';').next().unwrap_or("").trim();
    match usize::from_str_radix(digits, 16) {
        Ok(size) => Ok(size),
        Err(_) => bail!("`{text}` is no chunk size"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads() {
        let text = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\ncontent-length: 12\r\n\r\nrest";
        let head = Head::parse(text).unwrap().unwrap();
        let expected = Head { status: 200, bytes: text.len() - 4, chunked: true, content_length: Some(12), websocket_accept: None };
        assert_eq!(head, expected);
        assert_eq!(Head::parse(&text[..30]).unwrap(), None);
        assert!(Head::parse(b"SSH-2.0-x\r\n\r\n").is_err());
        let refused = head.expect(101, "/ws", text).unwrap_err().to_string();
        assert_eq!(refused, "/ws was answered 200 instead of 101: rest");
    }

    #[test]
    fn chunked_bodies_in_all_pieces() {
        let body = b"5\r\nhello\r\n1;name=value\r\n \r\nA\r\n0123456789\r\n0\r\n\r\n";
        for size in 1..=body.len() {
            let mut chunks = Chunks::new();
            let mut carry = super::super::Carry::default();
            let mut text = Vec::new();
            for bytes in body.chunks(size) {
                let take = |bytes: &[u8]| {
                    chunks.feed(bytes, |piece| {
                        text.extend_from_slice(piece);
                        Ok(())
                    })
                };
                carry.feed(bytes, take).unwrap();
            }
            assert_eq!(text, b"hello 0123456789", "pieces of {size}");
            assert!(chunks.ended());
        }
        for bad in [&b"zz\r\nhello"[..], b"2\r\nhello", b"-1\r\n"] {
            assert!(Chunks::new().feed(bad, |_| Ok(())).is_err());
        }
    }
}

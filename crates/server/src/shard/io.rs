//! The byte streams that carriers run over.
//!
//! A socket is polled without a task of its own for writing: the shard writes with the waker of the connection's task, which is only kept by the
//! socket when it is full.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

use crate::listener::Socket;

/// Anything else that bytes flow through: TLS, an HTTP/2 stream, an embedder's upgrade.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// One connection's bytes.
pub(crate) enum Io {
    /// A TCP socket that this shard's reactor watches.
    Tcp(TcpStream),
    /// A Unix socket, likewise.
    Unix(UnixStream),
    /// Another stream.
    Other(Box<dyn Stream>),
}

impl Io {
    /// Lets this thread's reactor watch a socket.
    pub(crate) fn from_socket(socket: Socket) -> io::Result<Self> {
        Ok(match socket {
            Socket::Tcp(socket) => Self::Tcp(TcpStream::from_std(socket)?),
            Socket::Unix(socket) => Self::Unix(UnixStream::from_std(socket)?),
        })
    }

    /// Reads into `buffer`; 0 is the end.
    pub(crate) fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut into = ReadBuf::new(buffer);
        let read = match self {
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, &mut into),
            Self::Unix(stream) => Pin::new(stream).poll_read(cx, &mut into),
            Self::Other(stream) => Pin::new(stream).poll_read(cx, &mut into),
        };
        read.map_ok(|()| into.filled().len())
    }

    /// Writes several slices at once, and has the task woken when there is room again.
    pub(crate) fn poll_write(&mut self, cx: &mut Context<'_>, slices: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        match (self, slices) {
            (Self::Tcp(stream), [one]) => Pin::new(stream).poll_write(cx, one),
            (Self::Tcp(stream), several) => Pin::new(stream).poll_write_vectored(cx, several),
            (Self::Unix(stream), [one]) => Pin::new(stream).poll_write(cx, one),
            (Self::Unix(stream), several) => Pin::new(stream).poll_write_vectored(cx, several),
            (Self::Other(stream), [one]) => Pin::new(stream).poll_write(cx, one),
            (Self::Other(stream), several) => Pin::new(stream).poll_write_vectored(cx, several),
        }
    }

    /// Writes as `poll_write` does, but nobody is woken when a socket is full: keeping a waker costs more than asking once.
    ///
    /// One slice goes by `send`, which is a tenth cheaper than `writev` (`bench/profile.md`).
    pub(crate) fn try_write(&mut self, slices: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let written = match (self, slices) {
            (Self::Tcp(stream), [one]) => stream.try_write(one),
            (Self::Tcp(stream), several) => stream.try_write_vectored(several),
            (Self::Unix(stream), [one]) => stream.try_write(one),
            (Self::Unix(stream), several) => stream.try_write_vectored(several),
            (Self::Other(_), _) => return Poll::Pending,
        };
        match written {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Poll::Pending,
            written => Poll::Ready(written),
        }
    }

    /// Pushes out what a layer below may hold back.
    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(_) | Self::Unix(_) => Poll::Ready(Ok(())),
            Self::Other(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    /// Says that nothing more will be written.
    pub(crate) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Other(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

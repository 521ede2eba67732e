//! The byte streams that carriers run over.
//!
//! A socket is polled without a task of its own for writing: the shard writes with the waker of the connection's task, which is only kept by the
//! socket when it is full.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

use super::http2::Bridged;
use crate::listener::Socket;

/// Anything else that bytes flow through: TLS, an embedder's request, a test's pipe.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// One connection's bytes.
pub(crate) enum Io {
    /// A TCP socket that this shard's reactor watches.
    Tcp(TcpStream),
    /// A Unix socket, likewise.
    Unix(UnixStream),
    /// A stream of HTTP/2, whose request was read to its end before it came here.
    Bridged(Box<Bridged>),
    /// Another stream.
    Other(Box<dyn Stream>),
}

/// A connection's bytes on their way to another shard.
pub(crate) enum Detached {
    /// A socket that no reactor watches.
    Socket(Socket),
    /// Any other stream, as it is.
    Stream(Io),
}

impl Io {
    /// Takes a socket from this thread's reactor.
    pub(crate) fn detach(self) -> io::Result<Detached> {
        Ok(match self {
            Self::Tcp(stream) => Detached::Socket(Socket::Tcp(stream.into_std()?)),
            Self::Unix(stream) => Detached::Socket(Socket::Unix(stream.into_std()?)),
            other @ (Self::Bridged(_) | Self::Other(_)) => Detached::Stream(other),
        })
    }

    /// Takes over what another shard has detached.
    pub(crate) fn attach(detached: Detached) -> io::Result<Self> {
        match detached {
            Detached::Socket(socket) => Self::from_socket(socket),
            Detached::Stream(io) => Ok(io),
        }
    }

    /// Lets this thread's reactor watch a socket.
    pub(crate) fn from_socket(socket: Socket) -> io::Result<Self> {
        Ok(match socket {
            Socket::Tcp(socket) => Self::Tcp(TcpStream::from_std(socket)?),
            Socket::Unix(socket) => Self::Unix(UnixStream::from_std(socket)?),
        })
    }

    /// Whether the request that it is for has come to its end, so that nothing of it can stay out.
    pub(crate) fn is_bridged(&self) -> bool {
        matches!(self, Self::Bridged(_))
    }

    /// Reads into `buffer`; 0 is the end.
    pub(crate) fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut into = ReadBuf::new(buffer);
        let read = match self {
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, &mut into),
            Self::Unix(stream) => Pin::new(stream).poll_read(cx, &mut into),
            Self::Bridged(stream) => Pin::new(&mut stream.pipe).poll_read(cx, &mut into),
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
            (Self::Bridged(stream), [one]) => Pin::new(&mut stream.pipe).poll_write(cx, one),
            (Self::Bridged(stream), several) => Pin::new(&mut stream.pipe).poll_write_vectored(cx, several),
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
            (Self::Bridged(_) | Self::Other(_), _) => return Poll::Pending,
        };
        match written {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Poll::Pending,
            written => Poll::Ready(written),
        }
    }

    /// Pushes out what a layer below may hold back.
    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            // A pipe holds nothing back.
            Self::Tcp(_) | Self::Unix(_) | Self::Bridged(_) => Poll::Ready(Ok(())),
            Self::Other(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    /// Says that nothing more will be written.
    pub(crate) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Bridged(stream) => Pin::new(&mut stream.pipe).poll_shutdown(cx),
            Self::Other(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

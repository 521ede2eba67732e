//! The bytes of one client connection: as they are, or over TLS.
//!
//! Both behave like a socket that doesn't block, so that the readiness loop needs to know only one thing: over TLS a short read does not mean that nothing
//! more has come.

use std::io::{self, Read, Write};
use std::sync::Arc;

use anyhow::{Context, Result};
use mio::net::TcpStream;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

/// How TLS connections are made: the server's own certificate is the one authority.
#[derive(Debug, Clone)]
pub(crate) struct Trust(Arc<ClientConfig>);

impl Trust {
    /// Believes that certificate.
    pub(crate) fn of(certificate: CertificateDer<'static>) -> Result<Self> {
        let mut roots = RootCertStore::empty();
        roots.add(certificate).context("the certificate of the run")?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
        Ok(Self(Arc::new(config.with_root_certificates(roots).with_no_client_auth())))
    }
}

/// One connection.
pub(crate) enum Wire {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Wire {
    /// Over TLS when there is somebody to trust.
    pub(crate) fn new(stream: TcpStream, trust: Option<&Trust>) -> Result<Self> {
        let Some(Trust(config)) = trust else { return Ok(Self::Plain(stream)) };
        let name = ServerName::try_from("localhost").context("a name")?;
        Ok(Self::Tls(Box::new(StreamOwned::new(ClientConnection::new(config.clone(), name)?, stream))))
    }

    /// The socket below.
    pub(crate) fn socket(&self) -> &TcpStream {
        match self {
            Self::Plain(stream) => stream,
            Self::Tls(stream) => stream.get_ref(),
        }
    }

    /// Whether a read that did not fill its buffer has emptied the socket.
    pub(crate) fn is_empty_after_short_read(&self) -> bool {
        matches!(self, Self::Plain(_))
    }
}

impl Read for Wire {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.read(into),
            Self::Tls(stream) => stream.read(into),
        }
    }
}

impl Write for Wire {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.write(bytes),
            Self::Tls(stream) => stream.write(bytes),
        }
    }

    /// What TLS has made and the socket had no room for.
    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(_) => Ok(()),
            Self::Tls(stream) => stream.flush(),
        }
    }
}

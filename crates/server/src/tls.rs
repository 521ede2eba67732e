//! TLS: certificates that can change under running connections, and the protocols that clients choose by ALPN.
//!
//! Only the handshake is here; afterwards a TLS stream is a connection like any other. A client that chooses `h2` goes over the
//! [bridge](crate::bridge). The certificate comes from files ([`Tls::load`]) or from a certificate authority ([`Tls::automatic`], which
//! [`acme`](crate::acme) supplies).
//!
//! - `resolver`: which certificate a handshake gets; `validity`: until when it is good.

mod resolver;
mod validity;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

pub(crate) use self::resolver::Resolver;
use self::validity::Validity;

/// The protocol in which a certificate authority asks who we are (RFC 8737).
pub(crate) const ACME_PROTOCOL: &[u8] = b"acme-tls/1";

/// Where the certificate and its key lie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFiles {
    /// The chain, leaf first, as PEM.
    pub certificate: PathBuf,
    /// The private key, as PEM.
    pub key: PathBuf,
}

/// Why a certificate can't be used.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// The certificate's file can't be read, or is no PEM.
    #[error("{path}: {error}; `tls.certificate_file` names a PEM file with the certificate chain, which the server may read")]
    Certificate {
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The key's file can't be read, or is no PEM.
    #[error("{path}: {error}; `tls.private_key_file` names a PEM file with the private key, which the server may read")]
    Key {
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The two do not fit together.
    #[error(
        "the certificate and the key do not fit together: {0}; `tls.private_key_file` must hold the key of the first certificate of `tls.certificate_file`"
    )]
    Mismatch(rustls::Error),
}

impl CertificateError {
    /// The key of `[tls]` that it is about.
    pub fn setting(&self) -> &'static str {
        match self {
            Self::Certificate { .. } => "certificate_file",
            Self::Key { .. } | Self::Mismatch(_) => "private_key_file",
        }
    }
}

/// A certificate chain with its key, and until when it is good.
#[derive(Debug)]
pub(crate) struct Certificate {
    pub key: Arc<CertifiedKey>,
    pub validity: Validity,
}

/// The TLS settings of all listeners, replaceable.
#[derive(Debug)]
pub struct Tls {
    /// Where the certificate lies; `None` when an authority supplies it.
    files: Option<CertificateFiles>,
    resolver: Arc<Resolver>,
    config: Arc<rustls::ServerConfig>,
}

impl Tls {
    /// Reads the files.
    pub fn load(files: CertificateFiles) -> Result<Self, CertificateError> {
        let tls = Self::new(Some(files), &[b"h2", b"http/1.1"]);
        tls.reload()?;
        Ok(tls)
    }

    /// Has no certificate until one is supplied: handshakes before that fail.
    pub fn automatic() -> Self {
        Self::new(None, &[b"h2", b"http/1.1", ACME_PROTOCOL])
    }

    fn new(files: Option<CertificateFiles>, protocols: &[&[u8]]) -> Self {
        let resolver = Arc::new(Resolver::default());
        let builder = rustls::ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions();
        let builder = builder.expect("the provider has what TLS 1.2 and 1.3 need").with_no_client_auth();
        let mut config = builder.with_cert_resolver(resolver.clone());
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        // A client of long-lived connections seldom resumes; two tickets would be two more writes for nothing.
        config.send_tls13_tickets = 1;
        Self { files, resolver, config: Arc::new(config) }
    }

    /// Reads the files again; new connections get what is in them now. An error leaves everything as it was.
    pub fn reload(&self) -> Result<(), CertificateError> {
        let Some(files) = &self.files else { return Ok(()) };
        self.resolver.set(Arc::new(read(files)?));
        Ok(())
    }

    /// Serves new connections with the certificate of another one, when that has one.
    pub(crate) fn adopt(&self, other: &Self) {
        if let Some(certificate) = other.resolver.current() {
            self.resolver.set(certificate);
        }
    }

    /// Seconds since the Unix epoch at which the certificate ends; 0 while there is none.
    pub fn expires_at(&self) -> u64 {
        self.resolver.current().map_or(0, |certificate| certificate.validity.not_after)
    }

    /// What connections are served with.
    pub(crate) fn current(&self) -> Arc<rustls::ServerConfig> {
        self.config.clone()
    }

    /// The certificates, for whoever supplies them.
    pub(crate) fn resolver(&self) -> &Arc<Resolver> {
        &self.resolver
    }
}

impl Certificate {
    /// A chain, leaf first, with its key.
    pub(crate) fn new(chain: Vec<CertificateDer<'static>>, key: PrivateKeyDer<'static>) -> Result<Self, rustls::Error> {
        let leaf = chain.first().ok_or(rustls::Error::NoCertificatesPresented)?;
        let validity = Validity::of(leaf).ok_or(rustls::Error::InvalidCertificate(rustls::CertificateError::BadEncoding))?;
        let key = CertifiedKey::from_der(chain, key, &provider())?;
        Ok(Self { key: Arc::new(key), validity })
    }
}

fn read(files: &CertificateFiles) -> Result<Certificate, CertificateError> {
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(&files.certificate)
        .and_then(Iterator::collect)
        .map_err(|error| CertificateError::Certificate { path: files.certificate.clone(), error: io::Error::other(error) })?;
    if chain.is_empty() {
        let error = io::Error::other("it has no certificate");
        return Err(CertificateError::Certificate { path: files.certificate.clone(), error });
    }
    let key = PrivateKeyDer::from_pem_file(&files.key)
        .map_err(|error| CertificateError::Key { path: files.key.clone(), error: io::Error::other(error) })?;
    Certificate::new(chain, key).map_err(CertificateError::Mismatch)
}

pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

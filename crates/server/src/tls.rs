//! TLS: certificates that can change under running connections, and the protocols that clients choose by ALPN.
//!
//! Only the handshake is here; afterwards a TLS stream is a connection like any other. A client that chooses `h2` goes over the
//! [bridge](crate::bridge).

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

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

/// The TLS settings of all listeners, replaceable.
#[derive(Debug)]
pub struct Tls {
    files: CertificateFiles,
    current: ArcSwap<rustls::ServerConfig>,
}

impl Tls {
    /// Reads the files.
    pub fn load(files: CertificateFiles) -> Result<Self, CertificateError> {
        let current = ArcSwap::from(server_config(&files)?);
        Ok(Self { files, current })
    }

    /// Reads the files again; new connections get what is in them now. An error leaves everything as it was.
    pub fn reload(&self) -> Result<(), CertificateError> {
        self.current.store(server_config(&self.files)?);
        Ok(())
    }

    /// What the next connection is served with.
    pub(crate) fn current(&self) -> Arc<rustls::ServerConfig> {
        self.current.load_full()
    }
}

fn server_config(files: &CertificateFiles) -> Result<Arc<rustls::ServerConfig>, CertificateError> {
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(&files.certificate)
        .and_then(Iterator::collect)
        .map_err(|error| CertificateError::Certificate { path: files.certificate.clone(), error: io::Error::other(error) })?;
    let key = PrivateKeyDer::from_pem_file(&files.key)
        .map_err(|error| CertificateError::Key { path: files.key.clone(), error: io::Error::other(error) })?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key))
        .map_err(CertificateError::Mismatch)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    // A client of long-lived connections seldom resumes; two tickets would be two more writes for nothing.
    config.send_tls13_tickets = 1;
    Ok(Arc::new(config))
}

//! Connecting: the name is resolved once, its addresses are judged, and one that passed is connected to.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use http_body_util::Full;
use hyper_util::rt::TokioIo;
use omnivox_core::address::PeerPolicy;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;
use tokio_rustls::TlsConnector;

use super::error::OutgoingError;
use super::pool::Kept;
use super::request::Reach;
use super::url::Url;
use super::{HEAD_BYTES_MAX, HEADERS_MAX, Inner};

impl Inner {
    /// A new connection, ready for its first request.
    pub(super) async fn connect(&self, url: &Url, reach: Reach) -> Result<Kept, OutgoingError> {
        let permit = self.permit().await?;
        let origin = url.origin();
        let stream = self.dial(&origin.host, origin.port, reach).await?;
        let _ = stream.set_nodelay(true);
        self.counters.connections.fetch_add(1, Ordering::Relaxed);
        if !origin.tls {
            return self.speak(stream, permit).await;
        }
        let refuse = |words: String| OutgoingError::Tls { host: origin.host.clone(), words: words.into() };
        let name = ServerName::try_from(origin.host.to_string()).map_err(|error| refuse(error.to_string()))?;
        let stream = self.tls()?.connect(name, stream).await.map_err(|error| refuse(error.to_string()))?;
        self.speak(stream, permit).await
    }

    /// Room for a connection, if need be that of one that waits for a request to somewhere else.
    async fn permit(&self) -> Result<OwnedSemaphorePermit, OutgoingError> {
        if let Ok(permit) = self.room.clone().try_acquire_owned() {
            return Ok(permit);
        }
        let busy = OutgoingError::Busy(self.settings.connections_max);
        if !self.pool.give_up_one() {
            return Err(busy);
        }
        self.room.clone().acquire_owned().await.map_err(|_| busy)
    }

    async fn dial(&self, host: &str, port: u16, reach: Reach) -> Result<TcpStream, OutgoingError> {
        let found = resolve(host, port).await?;
        let addresses = self.judge(host, &found, reach)?;
        let mut last = None;
        for address in addresses {
            match tokio::time::timeout(self.settings.connect_time_max, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(error)) => last = Some(format!("{address}: {error}")),
                Err(_) => last = Some(format!("{address}: no answer within {} ms", self.settings.connect_time_max.as_millis())),
            }
        }
        let words = last.unwrap_or_else(|| "the name has no address".to_owned());
        Err(OutgoingError::Connect { host: host.into(), words: words.into() })
    }

    /// The addresses that may be reached.
    fn judge(&self, host: &str, found: &[SocketAddr], reach: Reach) -> Result<Vec<SocketAddr>, OutgoingError> {
        if reach == Reach::Operator {
            return Ok(found.to_vec());
        }
        let mut policy = PeerPolicy::default();
        self.settings.listed.iter().for_each(|range| policy.allow(*range));
        let permitted: Vec<SocketAddr> = found.iter().filter(|address| policy.permits(**address)).copied().collect();
        match found.first() {
            Some(first) if permitted.is_empty() => Err(OutgoingError::Forbidden { host: host.into(), address: first.ip() }),
            _ => Ok(permitted),
        }
    }

    async fn speak<S>(&self, stream: S, permit: OwnedSemaphorePermit) -> Result<Kept, OutgoingError>
    where
        S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
    {
        let mut builder = hyper::client::conn::http1::Builder::new();
        builder.max_buf_size(HEAD_BYTES_MAX).max_headers(HEADERS_MAX);
        let (sender, connection) =
            builder.handshake::<_, Full<Bytes>>(TokioIo::new(stream)).await.map_err(|error| OutgoingError::from_hyper(&error))?;
        self.runtime.spawn(async move {
            // How it ends is told to whoever waits for an answer.
            let _ = connection.await;
            drop(permit);
        });
        Ok(Kept { sender, born: Instant::now() })
    }

    /// What TLS connections are made with. The authorities are read when they are first needed.
    pub(super) fn tls(&self) -> Result<&TlsConnector, OutgoingError> {
        let made = self.tls.get_or_init(|| connector(self.settings.authorities.as_deref()));
        made.as_ref().map_err(|words| OutgoingError::Authorities(words.as_str().into()))
    }
}

async fn resolve(host: &str, port: u16) -> Result<Vec<SocketAddr>, OutgoingError> {
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(address, port)]);
    }
    let refuse = |error: io::Error| OutgoingError::Resolve { host: host.into(), words: error.to_string().into() };
    Ok(tokio::net::lookup_host((host, port)).await.map_err(refuse)?.collect())
}

fn connector(authorities: Option<&Path>) -> Result<TlsConnector, String> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let roots = roots(authorities)?;
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().map_err(|error| error.to_string())?;
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsConnector::from(Arc::new(config)))
}

/// The authorities of the file, else of the first of the system's bundles that is there: whoever runs the system decides whom it trusts.
fn roots(file: Option<&Path>) -> Result<RootCertStore, String> {
    let bundle = file.map(Path::to_owned).or_else(|| BUNDLES.iter().map(PathBuf::from).find(|path| path.exists()));
    let bundle = bundle.ok_or("this system has no certificate authorities; name a PEM file in `outgoing.ca_file`")?;
    let wrong =
        |words: &dyn std::fmt::Display| format!("{}: {words}; `outgoing.ca_file` names a PEM file of authorities", bundle.display());
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(&bundle).map_err(|error| wrong(&error))? {
        // A bundle may hold a certificate that this TLS library does not understand; the others still count.
        let _ = roots.add(certificate.map_err(|error| wrong(&error))?);
    }
    if roots.is_empty() { Err(wrong(&"it has no certificate")) } else { Ok(roots) }
}

/// Where systems keep their authorities: Debian and Alpine, Fedora, SUSE, macOS and the BSDs.
const BUNDLES: [&str; 4] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/ca-bundle.pem", "/etc/ssl/cert.pem"];

//! TLS for `https` and `wss` URLs, trusting the authorities that the system trusts, or those of one file.

use std::io;
use std::path::Path;
use std::sync::Arc;

use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use super::connection::Stream;

/// Encrypts a connection to `host`.
pub(crate) async fn wrap(stream: TcpStream, host: &str, authorities: Option<&Path>) -> io::Result<Box<dyn Stream>> {
    let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
    let config = ClientConfig::builder().with_root_certificates(roots(authorities)?).with_no_client_auth();
    let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
    Ok(Box::new(stream))
}

/// The authorities of the file, else of the first bundle that is found.
fn roots(authorities: Option<&Path>) -> io::Result<RootCertStore> {
    let bundle = match authorities {
        Some(file) => file.to_owned(),
        None => BUNDLES
            .iter()
            .map(Path::new)
            .find(|path| path.exists())
            .map(Path::to_owned)
            .ok_or_else(|| io::Error::other("no certificate authorities found; name a PEM file with --ca"))?,
    };
    let wrong = |words: String| io::Error::other(format!("{}: {words}", bundle.display()));
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(&bundle).map_err(|error| wrong(error.to_string()))? {
        // A bundle may hold a certificate that this TLS library does not understand; the others still count.
        let _ = roots.add(certificate.map_err(|error| wrong(error.to_string()))?);
    }
    if roots.is_empty() { Err(wrong("it has no certificate".to_owned())) } else { Ok(roots) }
}

/// Where systems keep their authorities: Debian and Alpine, Fedora, SUSE, macOS and the BSDs.
const BUNDLES: [&str; 4] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/ca-bundle.pem", "/etc/ssl/cert.pem"];

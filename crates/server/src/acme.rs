//! Certificates from an authority that speaks ACME (RFC 8555), such as Let's Encrypt: asked for when there is none, renewed after two thirds
//! of its time, kept on disk with the account's key.
//!
//! ```text
//!   stored certificate ──▶ served at once
//!   none, or old       ──▶ order ──▶ proof (TLS-ALPN-01 or HTTP-01) ──▶ certificate ──▶ stored, served to new connections
//! ```
//!
//! - `order`: the conversation with the authority; `transport`: over our own HTTP client; `challenge`: the proofs; `store`: the files.
//!
//! Invariants: a failure leaves the certificate that there is; nothing is asked again sooner than [`RETRIES`] allow, because authorities count.

mod challenge;
mod order;
mod store;
mod transport;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use omnivox_hub::outgoing::Outgoing;

pub(crate) use self::challenge::{HttpProofs, Proofs};
use self::store::Store;
use crate::tls::{Certificate, Resolver};

/// From whom certificates are asked for, for which names, and how.
#[derive(Clone, Debug)]
pub struct AcmeSettings {
    /// The names of the certificate, the first of which names its file.
    pub names: Vec<String>,
    /// The authority's directory.
    pub directory: String,
    /// Where the authority reaches the operator, such as `mailto:ops@example.com`.
    pub contacts: Vec<String>,
    /// Where the account and the certificates are kept.
    pub folder: PathBuf,
    /// How we prove that the names are ours.
    pub challenge: Challenge,
}

/// How a server proves that a name is its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Challenge {
    /// In a TLS handshake on port 443 (RFC 8737).
    #[default]
    TlsAlpn01,
    /// By a file under `/.well-known/acme-challenge/` on port 80.
    Http01,
}

/// Why there is no new certificate.
#[derive(Debug, thiserror::Error)]
pub enum AcmeError {
    /// A file can't be read or written.
    #[error("{path}: {error}; the server must be able to write to `acme.folder`")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// The authority can't be reached, or refuses.
    #[error("the authority gives no certificate: {0}")]
    Authority(#[from] instant_acme::Error),
    /// What it gave is no certificate for us.
    #[error("the certificate can't be used: {0}")]
    Certificate(String),
}

/// How long to wait after each failure in a row; the last for all further ones.
const RETRIES: [Duration; 5] = [
    Duration::from_secs(60),
    Duration::from_secs(5 * 60),
    Duration::from_secs(15 * 60),
    Duration::from_secs(60 * 60),
    Duration::from_secs(6 * 60 * 60),
];
/// The clock is looked at this often while nothing is due: it may be set, and a machine may sleep.
const LOOK_EVERY: Duration = Duration::from_secs(60 * 60);

/// Keeps the certificate of a server good.
pub(crate) struct Acme {
    settings: AcmeSettings,
    store: Store,
    resolver: Arc<Resolver>,
    proofs: Proofs,
    outgoing: Outgoing,
}

impl Acme {
    /// Serves what is stored, if anything.
    pub(crate) fn new(settings: AcmeSettings, resolver: Arc<Resolver>, outgoing: Outgoing) -> Result<Self, AcmeError> {
        let store = Store::open(&settings)?;
        let proofs = Proofs::new(resolver.clone());
        let acme = Self { settings, store, resolver, proofs, outgoing };
        match acme.store.certificate() {
            Ok(Some(certificate)) => acme.resolver.set(Arc::new(certificate)),
            Ok(None) => {}
            // It is replaced as if there were none.
            Err(error) => tracing::warn!("the stored certificate is not used: {error}"),
        }
        Ok(acme)
    }

    /// What answers the authority's requests over HTTP.
    pub(crate) fn http_proofs(&self) -> HttpProofs {
        self.proofs.over_http()
    }

    /// Asks for certificates whenever one is due, for ever.
    pub(crate) async fn run(self) {
        let mut failures = 0;
        loop {
            let wait = self.due_in();
            if !wait.is_zero() {
                tokio::time::sleep(wait.min(LOOK_EVERY)).await;
                continue;
            }
            match self.renew().await {
                Ok(certificate) => {
                    tracing::info!(
                        names = self.settings.names.join(", "),
                        until = certificate.validity.not_after,
                        "a new certificate is served"
                    );
                    self.resolver.set(Arc::new(certificate));
                    failures = 0;
                }
                Err(error) => {
                    let wait = RETRIES[failures.min(RETRIES.len() - 1)];
                    failures += 1;
                    tracing::error!(names = self.settings.names.join(", "), retry_s = wait.as_secs(), "{error}");
                    tokio::time::sleep(wait).await;
                }
            }
        }
    }

    /// How long the present certificate is good enough.
    fn due_in(&self) -> Duration {
        let due = self.resolver.current().map_or(0, |certificate| certificate.validity.renew_at());
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Duration::from_secs(due).saturating_sub(now)
    }

    async fn renew(&self) -> Result<Certificate, AcmeError> {
        let pem = order::certificate(&self.settings, &self.store, &self.proofs, &self.outgoing).await?;
        // Judged before it takes the place of one that works.
        let certificate = store::certificate_from(&pem)?;
        self.store.keep_certificate(&pem)?;
        Ok(certificate)
    }
}

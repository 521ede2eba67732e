//! Which certificate a handshake gets: the server's, or, when a certificate authority asks, the one that proves who we are.
//!
//! Invariant: a proof is shown to nobody but who speaks the authority's protocol, and such a handshake gets nothing else.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwapOption;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::{ACME_PROTOCOL, Certificate};

/// The certificates of a server.
#[derive(Debug, Default)]
pub(crate) struct Resolver {
    current: ArcSwapOption<Certificate>,
    /// By name, in lower case: what an authority is shown.
    proofs: Mutex<HashMap<String, Arc<CertifiedKey>>>,
}

impl Resolver {
    /// Serves new handshakes with this certificate.
    pub(crate) fn set(&self, certificate: Arc<Certificate>) {
        self.current.store(Some(certificate));
    }

    /// The certificate, if there is one.
    pub(crate) fn current(&self) -> Option<Arc<Certificate>> {
        self.current.load_full()
    }

    /// Shows a proof for this name, until it is taken back with `None`.
    pub(crate) fn prove(&self, name: &str, proof: Option<Arc<CertifiedKey>>) {
        let mut proofs = self.proofs.lock().unwrap_or_else(PoisonError::into_inner);
        match proof {
            Some(proof) => drop(proofs.insert(name.to_ascii_lowercase(), proof)),
            None => drop(proofs.remove(&name.to_ascii_lowercase())),
        }
    }
}

impl ResolvesServerCert for Resolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let asks_for_proof = hello.alpn().is_some_and(|mut protocols| protocols.any(|protocol| protocol == ACME_PROTOCOL));
        if asks_for_proof {
            let proofs = self.proofs.lock().unwrap_or_else(PoisonError::into_inner);
            return proofs.get(&hello.server_name()?.to_ascii_lowercase()).cloned();
        }
        self.current.load().as_ref().map(|certificate| certificate.key.clone())
    }
}

//! The proofs that a name is ours: a certificate in a handshake, or a text under a path.
//!
//! Invariant: a proof is there only while an order needs it ([`Shown`]).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::BytesMut;
use instant_acme::KeyAuthorization;
use omnivox_core::event::Event;
use omnivox_core::http::{Request, Response};
use omnivox_core::session::{Dialect, OpenContext, Opening, Route};
use omnivox_core::{EncodingKey, Frame};
use rcgen::{CertificateParams, CustomExtension, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use rustls::sign::CertifiedKey;

use super::AcmeError;
use crate::shard::error;
use crate::tls::{self, Resolver};

const PATH: &str = "/.well-known/acme-challenge/";

type Texts = Arc<Mutex<HashMap<String, String>>>;

/// The proofs that are shown at the moment.
pub(crate) struct Proofs {
    resolver: Arc<Resolver>,
    texts: Texts,
}

/// A proof that is shown until this is dropped.
pub(super) struct Shown {
    resolver: Arc<Resolver>,
    texts: Texts,
    key: String,
}

impl Proofs {
    pub(super) fn new(resolver: Arc<Resolver>) -> Self {
        Self { resolver, texts: Texts::default() }
    }

    pub(super) fn over_http(&self) -> HttpProofs {
        HttpProofs { texts: self.texts.clone() }
    }

    /// Shows a certificate for the name that holds the proof (TLS-ALPN-01).
    pub(super) fn in_handshake(&self, name: &str, proof: &KeyAuthorization) -> Result<Shown, AcmeError> {
        let wrong = |error: rcgen::Error| AcmeError::Certificate(error.to_string());
        let mut params = CertificateParams::new([name.to_owned()]).map_err(wrong)?;
        params.custom_extensions.push(CustomExtension::new_acme_identifier(proof.digest().as_ref()));
        let key = KeyPair::generate().map_err(wrong)?;
        let made = params.self_signed(&key).map_err(wrong)?;
        // Nobody but the authority understands the extension, so the two are not compared as those of a certificate are.
        let key = tls::provider().key_provider.load_private_key(PrivateKeyDer::Pkcs8(key.serialize_der().into()));
        let key = key.map_err(|error| AcmeError::Certificate(error.to_string()))?;
        self.resolver.prove(name, Some(Arc::new(CertifiedKey::new(vec![made.der().clone()], key))));
        Ok(self.shown(name))
    }

    /// Answers requests for the token with the proof (HTTP-01).
    pub(super) fn at_path(&self, token: &str, proof: &KeyAuthorization) -> Shown {
        self.texts.lock().unwrap_or_else(PoisonError::into_inner).insert(token.to_owned(), proof.as_str().to_owned());
        self.shown(token)
    }

    fn shown(&self, key: &str) -> Shown {
        Shown { resolver: self.resolver.clone(), texts: self.texts.clone(), key: key.to_owned() }
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        self.resolver.prove(&self.key, None);
        self.texts.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.key);
    }
}

/// The dialect of certificate authorities.
pub(crate) struct HttpProofs {
    texts: Texts,
}

impl Dialect for HttpProofs {
    fn name(&self) -> &'static str {
        "acme"
    }

    fn routes(&self) -> Vec<Route> {
        vec![Route::subtree(PATH)]
    }

    fn open(&self, _context: &OpenContext, request: &Request<'_>) -> Opening {
        let token = request.path.strip_prefix(PATH).unwrap_or_default();
        let proof = self.texts.lock().unwrap_or_else(PoisonError::into_inner).get(token).cloned();
        Opening::Respond(match (request.method, proof) {
            ("GET" | "HEAD", Some(proof)) => {
                Response::with_body(200, "application/octet-stream", proof).header("cache-control", "no-store")
            }
            ("GET" | "HEAD", None) => error(404, "not_found", "no certificate authority asked for this"),
            _ => error(405, "method_not_allowed", "only GET and HEAD are answered here").header("allow", "GET, HEAD"),
        })
    }

    fn encode(&self, _key: &EncodingKey, _event: &Event, _scratch: &mut BytesMut) -> Option<Frame> {
        None
    }
}

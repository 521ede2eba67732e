//! A back end that does as it is told: for each request one step, over plain TCP or TLS.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use rustls::pki_types::PrivateKeyDer;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::watch;

/// What to do when a request has come.
pub(crate) enum Step {
    /// Answer with these bytes.
    Say(String),
    /// Answer with these bytes and close.
    SayAndClose(String),
    /// Close without an answer.
    Close,
    /// Never answer.
    Hang,
}

/// What the back end has seen.
#[derive(Default)]
struct Seen {
    steps: Vec<Step>,
    connections: usize,
    requests: Vec<String>,
}

pub(crate) struct Backend {
    address: SocketAddr,
    seen: Arc<Mutex<Seen>>,
    count: watch::Sender<usize>,
}

/// A certificate for `localhost` and who vouches for it.
pub(crate) struct Certificates {
    pub authority_pem: String,
    config: Arc<rustls::ServerConfig>,
}

pub(crate) fn certificates() -> Certificates {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let authority = params.self_signed(&key).unwrap();
    let leaf_key = rcgen::KeyPair::generate().unwrap();
    let issuer = rcgen::Issuer::new(params, key);
    let leaf = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap().signed_by(&leaf_key, &issuer).unwrap();
    let config = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![leaf.der().clone()], PrivateKeyDer::try_from(leaf_key.serialize_der()).unwrap())
        .unwrap();
    Certificates { authority_pem: authority.pem(), config: Arc::new(config) }
}

impl Backend {
    pub(crate) async fn start(steps: Vec<Step>) -> Self {
        Self::listen(steps, None).await
    }

    pub(crate) async fn start_tls(steps: Vec<Step>, certificates: &Certificates) -> Self {
        Self::listen(steps, Some(certificates.config.clone().into())).await
    }

    async fn listen(mut steps: Vec<Step>, tls: Option<tokio_rustls::TlsAcceptor>) -> Self {
        steps.reverse();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Seen { steps, ..Seen::default() }));
        let count = watch::Sender::new(0);
        let (known, counted) = (seen.clone(), count.clone());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                known.lock().unwrap().connections += 1;
                let (known, counted, tls) = (known.clone(), counted.clone(), tls.clone());
                tokio::spawn(async move {
                    match tls {
                        None => attend(stream, known, counted).await,
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                attend(stream, known, counted).await;
                            }
                        }
                    }
                });
            }
        });
        Self { address, seen, count }
    }

    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }

    pub(crate) fn url(&self, target: &str) -> String {
        format!("http://{}{target}", self.address)
    }

    pub(crate) fn connections(&self) -> usize {
        self.seen.lock().unwrap().connections
    }

    pub(crate) fn requests(&self) -> Vec<String> {
        self.seen.lock().unwrap().requests.clone()
    }

    pub(crate) async fn wait_for_requests(&self, count: usize) {
        self.count.subscribe().wait_for(|seen| *seen >= count).await.unwrap();
    }
}

async fn attend(mut stream: impl AsyncRead + AsyncWrite + Unpin, seen: Arc<Mutex<Seen>>, count: watch::Sender<usize>) {
    let mut bytes = Vec::new();
    loop {
        while !is_whole(&bytes) {
            if stream.read_buf(&mut bytes).await.unwrap_or(0) == 0 {
                return;
            }
        }
        let step = {
            let mut seen = seen.lock().unwrap();
            seen.requests.push(String::from_utf8(std::mem::take(&mut bytes)).unwrap());
            count.send_modify(|count| *count += 1);
            seen.steps.pop().unwrap_or(Step::Close)
        };
        match step {
            Step::Say(answer) => drop(stream.write_all(answer.as_bytes()).await),
            Step::SayAndClose(answer) => {
                drop(stream.write_all(answer.as_bytes()).await);
                drop(stream.shutdown().await);
                return;
            }
            Step::Close => return,
            Step::Hang => std::future::pending().await,
        }
    }
}

/// Whether head and body of a request are there.
fn is_whole(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse::<usize>().ok());
    body.len() >= length.unwrap_or(0)
}

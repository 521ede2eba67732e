//! A shop whose customers see orders as they come: axum on tokio's threads, omnivox on its own, one hub between them.

use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::body::{Body, Bytes};
use axum::extract::connect_info::Connected;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::{any, get, post};
use axum::serve::{IncomingStream, Listener};
use axum::{Extension, Router};
use omnivox_auth::Settings;
use omnivox_auth::key::{Algorithm, SigningKey};
use omnivox_auth::mint::{TokenDraft, mint};
use omnivox_auth::secret::Secret;
use omnivox_core::app::Retention;
use omnivox_core::{App, AppId, ChannelName, Dialect, Draft, Namespace, Namespaces, Pattern, Payload};
use omnivox_dialects::native::{Native, NativeSettings};
use omnivox_hub::Hub;
use omnivox_server::{Embedded, Handle, Peer, Server, ServerConfig};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// The channel that orders are published to.
const ORDERS: &str = "orders";
/// The app of omnivox that the shop is.
const APP: &str = "shop";
/// How long a client that came with a login stays without showing it again.
const LOGIN_TIME: Duration = Duration::from_secs(12 * 3600);
/// How long a TLS handshake may take.
const HANDSHAKE_TIME_MAX: Duration = Duration::from_secs(10);
/// How much of a request is read that is refused.
const REFUSED_BYTES_MAX: usize = 64 << 10;
/// Handshakes at a time; further connections wait to be accepted.
const HANDSHAKES_MAX: usize = 1_000;

/// The program.
pub(crate) struct Shop {
    omnivox: Handle,
    routes: Router,
}

/// What the handlers share.
#[derive(Clone)]
struct Shared {
    omnivox: Embedded,
    hub: Arc<Hub>,
    app: AppId,
    key: Arc<SigningKey>,
}

/// Who is logged in.
#[derive(Clone)]
struct Customer(String);

/// Whose connection a request came on.
#[derive(Clone, Copy)]
struct Client(Peer);

impl Shop {
    /// Starts omnivox, and puts its routes beside those of the shop.
    pub(crate) fn open() -> Result<Self, Box<dyn Error>> {
        let app = AppId::parse(APP)?;
        // Nobody but this process has it: tokens are how the login's word reaches the hub.
        let mut secret = [0; 32];
        getrandom::fill(&mut secret).map_err(|error| error.to_string())?;
        let secret = Secret::from_bytes(&secret)?;
        let omnivox = omnivox(app.clone(), &secret)?;
        let key = Arc::new(SigningKey::of_secret(&secret, Algorithm::HS256)?);
        let shared = Shared { omnivox: omnivox.embedded(), hub: omnivox.hub().clone(), app, key };
        let behind_the_login = Router::new().route("/orders", post(order)).route("/live/{*path}", any(live));
        let routes = behind_the_login.layer(middleware::from_fn(login)).route("/", get("the shop is open\n")).with_state(shared);
        Ok(Self { omnivox, routes })
    }

    /// Serves plain HTTP/1.1 and HTTP/2 until the end.
    #[cfg_attr(test, expect(dead_code, reason = "the test speaks TLS"))]
    pub(crate) async fn serve(self, listener: TcpListener, end: impl Future<Output = ()> + Send + 'static) -> io::Result<()> {
        let service = self.routes.into_make_service_with_connect_info::<Client>();
        axum::serve(listener, service).with_graceful_shutdown(leave(self.omnivox, end)).await
    }

    /// Serves TLS, with HTTP/2 and WebSockets over it, until the end.
    pub(crate) async fn serve_tls(
        self,
        listener: TcpListener,
        tls: TlsAcceptor,
        end: impl Future<Output = ()> + Send + 'static,
    ) -> io::Result<()> {
        let listener = TlsListener { listener, tls, handshakes: JoinSet::new() };
        let service = self.routes.into_make_service_with_connect_info::<Client>();
        axum::serve(listener, service).with_graceful_shutdown(leave(self.omnivox, end)).await
    }
}

/// A server that listens nowhere by itself. It lets in whom the login vouches for, and only this program publishes.
fn omnivox(id: AppId, secret: &Secret) -> Result<Handle, Box<dyn Error>> {
    let mut app = App::new(id, Namespaces::new(vec![Namespace::new("*", Pattern::All)]));
    app.open = false;
    let dialects = vec![Arc::new(Native::new(NativeSettings::default())) as Arc<dyn Dialect>];
    Ok(Server::start(ServerConfig::new(Vec::new(), vec![Settings::of_secret(Arc::new(app), APP, secret)?], dialects))?)
}

/// The shop's own login, before its routes and before omnivox: here a cookie, in your program what you have.
async fn login(headers: HeaderMap, mut request: Request, next: Next) -> Result<Response, (StatusCode, &'static str)> {
    let cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok()).flat_map(|value| value.split("; "));
    let customer = cookies.filter_map(|cookie| cookie.strip_prefix("session=")).find(|name| !name.is_empty());
    let Some(customer) = customer.map(str::to_owned) else {
        // Over HTTP/2 an answer before the request's end resets the stream, which some clients (curl 7.88) take for a failure.
        let _ = axum::body::to_bytes(request.into_body(), REFUSED_BYTES_MAX).await;
        return Err((StatusCode::UNAUTHORIZED, "log in first\n"));
    };
    request.extensions_mut().insert(Customer(customer));
    Ok(next.run(request).await)
}

/// `POST /orders`: a route of the program, which tells everyone who listens.
async fn order(
    State(shop): State<Shared>,
    Extension(Customer(customer)): Extension<Customer>,
    body: Bytes,
) -> Result<StatusCode, (StatusCode, String)> {
    let item: serde_json::Value =
        serde_json::from_slice(&body).map_err(|error| (StatusCode::BAD_REQUEST, format!("an order is JSON: {error}\n")))?;
    let payload = serde_json::json!({ "customer": customer, "order": item }).to_string();
    let draft = Draft::new(ChannelName::parse(ORDERS).expect("a name"), Payload::Json(payload.into()));
    let published = shop.hub.log().publish(&shop.app, draft, Retention::default().into()).await;
    published.map_err(|error| (StatusCode::SERVICE_UNAVAILABLE, format!("{error}\n")))?;
    Ok(StatusCode::CREATED)
}

/// `/live/…`: everything that omnivox serves, WebSockets and event streams too, for the customer who is logged in.
async fn live(
    State(shop): State<Shared>,
    ConnectInfo(Client(peer)): ConnectInfo<Client>,
    Extension(Customer(customer)): Extension<Customer>,
    mut request: Request,
) -> Result<Response, (StatusCode, String)> {
    let draft = TokenDraft::new(APP).user(&customer).allow("*", &["subscribe", "history", "presence"]);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let token = mint(&shop.key, &draft, now.as_millis() as u64, LOGIN_TIME.as_millis() as u64);
    let bearer = token.ok().and_then(|token| HeaderValue::try_from(format!("Bearer {token}")).ok());
    // A customer's name can be one that omnivox takes for no user's.
    let bearer = bearer.ok_or_else(|| (StatusCode::FORBIDDEN, "this customer can't have messages\n".to_owned()))?;
    request.headers_mut().insert(header::AUTHORIZATION, bearer);
    let mut parts = request.uri().clone().into_parts();
    let inside = parts.path_and_query.as_ref().and_then(|target| target.as_str().strip_prefix("/live")).and_then(|path| path.parse().ok());
    if inside.is_some() {
        parts.path_and_query = inside;
    }
    if let Ok(uri) = Uri::from_parts(parts) {
        *request.uri_mut() = uri;
    }
    Ok(shop.omnivox.call(request, peer).await.map(Body::new))
}

/// Waits for the end and sends the clients of omnivox away, which ends the streams that axum would wait for.
async fn leave(server: Handle, end: impl Future<Output = ()>) {
    end.await;
    tokio::task::spawn_blocking(move || server.drain());
}

/// Reads a certificate chain and its key.
pub(crate) fn tls(certificate: &Path, key: &Path) -> Result<TlsAcceptor, Box<dyn Error>> {
    let chain = CertificateDer::pem_file_iter(certificate)?.collect::<Result<Vec<_>, _>>()?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let mut config = builder.with_no_client_auth().with_single_cert(chain, PrivateKeyDer::from_pem_file(key)?)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// Connections after their handshakes, which go on beside each other: a slow one keeps nobody waiting.
struct TlsListener {
    listener: TcpListener,
    tls: TlsAcceptor,
    handshakes: JoinSet<Option<(TlsStream<TcpStream>, SocketAddr)>>,
}

impl Listener for TlsListener {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            tokio::select! {
                (stream, address) = Listener::accept(&mut self.listener), if self.handshakes.len() < HANDSHAKES_MAX => {
                    let tls = self.tls.clone();
                    self.handshakes.spawn(async move {
                        let stream = tokio::time::timeout(HANDSHAKE_TIME_MAX, tls.accept(stream)).await.ok()?.ok()?;
                        Some((stream, address))
                    });
                }
                // One that failed concerns nobody else.
                Some(done) = self.handshakes.join_next() => if let Ok(Some(ready)) = done { return ready },
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

impl Connected<IncomingStream<'_, TcpListener>> for Client {
    fn connect_info(stream: IncomingStream<'_, TcpListener>) -> Self {
        Self(Peer { ip: stream.remote_addr().ip(), secure: false })
    }
}

impl Connected<IncomingStream<'_, TlsListener>> for Client {
    fn connect_info(stream: IncomingStream<'_, TlsListener>) -> Self {
        Self(Peer { ip: stream.remote_addr().ip(), secure: true })
    }
}

//! omnivox inside an axum program: its routes beside ours, one port, publishing from a handler.
//!
//! ```text
//! cargo run -p omnivox-server --example axum                      # prints its address
//! curl -N 'http://127.0.0.1:3000/live/v1/sse?channel=orders'      # a client of omnivox
//! curl http://127.0.0.1:3000/orders -d '{"item":"tea"}'           # a route of the program; the client sees the order
//! ```
//!
//! The program decides who reaches omnivox: [`live`] is a handler like any other, so its own login can stand before it.

use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{StatusCode, Uri};
use axum::response::Response;
use axum::routing::{any, post};
use omnivox_auth::Settings;
use omnivox_core::app::Retention;
use omnivox_core::{App, AppId, ChannelName, Dialect, Draft, Namespace, Namespaces, Pattern, Payload, Permissions};
use omnivox_dialects::native::{Native, NativeSettings};
use omnivox_hub::Hub;
use omnivox_server::{Embedded, Handle, Peer, Server, ServerConfig, StartError};

/// The channel that orders are published to.
const ORDERS: &str = "orders";

/// What the handlers share.
#[derive(Clone)]
struct Shop {
    omnivox: Embedded,
    hub: Arc<Hub>,
    app: AppId,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let port = std::env::args().nth(1).map_or(Ok(3000), |port| port.parse::<u16>())?;
    let app = AppId::parse("shop")?;
    let server = omnivox(app.clone())?;
    let shop = Shop { omnivox: server.embedded(), hub: server.hub().clone(), app };
    let routes = Router::new().route("/orders", post(order)).route("/live/{*path}", any(live)).with_state(shop);
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await?;
    println!("listening on http://{}", listener.local_addr()?);
    axum::serve(listener, routes.into_make_service_with_connect_info::<SocketAddr>()).with_graceful_shutdown(end(server)).await?;
    Ok(())
}

/// A server that listens nowhere by itself. Everyone may read; only this program publishes.
fn omnivox(id: AppId) -> Result<Handle, StartError> {
    let mut everything = Namespace::new("*", Pattern::All);
    everything.anonymous = Permissions::SUBSCRIBE.with(Permissions::HISTORY);
    let app = App::new(id, Namespaces::new(vec![everything]));
    let dialects = vec![Arc::new(Native::new(NativeSettings::default())) as Arc<dyn Dialect>];
    Server::start(ServerConfig::new(Vec::new(), vec![Settings::open(Arc::new(app))], dialects))
}

/// `POST /orders`: a route of the program, which tells everyone who listens.
async fn order(State(shop): State<Shop>, body: Bytes) -> Result<StatusCode, (StatusCode, String)> {
    let known = serde_json::from_slice::<serde_json::Value>(&body);
    known.map_err(|error| (StatusCode::BAD_REQUEST, format!("an order is JSON: {error}\n")))?;
    let draft = Draft::new(ChannelName::parse(ORDERS).expect("a name"), Payload::Json(body));
    let published = shop.hub.log().publish(&shop.app, draft, Retention::default()).await;
    published.map_err(|error| (StatusCode::SERVICE_UNAVAILABLE, format!("{error}\n")))?;
    Ok(StatusCode::CREATED)
}

/// `/live/…`: everything that omnivox serves, WebSockets and event streams too.
async fn live(State(shop): State<Shop>, ConnectInfo(client): ConnectInfo<SocketAddr>, mut request: Request) -> Response {
    let inside = request.uri().path_and_query().and_then(|target| target.as_str().strip_prefix("/live")).map(str::to_owned);
    if let Some(Ok(uri)) = inside.map(Uri::try_from) {
        *request.uri_mut() = uri;
    }
    shop.omnivox.call(request, Peer { ip: client.ip(), secure: false }).await.map(Body::new)
}

/// Ctrl-C: sends the clients of omnivox away, which ends the streams that axum would wait for.
async fn end(server: Handle) {
    let _ = tokio::signal::ctrl_c().await;
    tokio::task::spawn_blocking(move || server.drain());
}

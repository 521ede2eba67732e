//! A fan-out server on socketioxide and axum, with their defaults: a client joins rooms and publishes to one, as with omnivox itself.
//!
//! ```text
//! omnivox bench fanout --transport socketio --peer 'socketioxide=bench/peers/socketioxide/target/release/socketioxide-peer {port}'
//! ```
//!
//! The handlers are registered by a middleware: what runs on connect is a task that a client's first event may overtake.

use std::convert::Infallible;
use std::io;
use std::net::Ipv4Addr;

use serde_json::{Value, json};
use socketioxide::SocketIo;
use socketioxide::extract::{AckSender, Data, SocketRef};
use socketioxide::handler::ConnectHandler;
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> io::Result<()> {
    let port = std::env::args().nth(1).and_then(|port| port.parse().ok());
    let port: u16 = port.ok_or_else(|| io::Error::other("usage: socketioxide-peer PORT"))?;
    let (layer, io) = SocketIo::new_layer();
    io.ns("/", connected.with(handlers));
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
    axum::serve(listener, axum::Router::new().layer(layer)).await
}

async fn connected(_: SocketRef) {}

async fn handlers(socket: SocketRef) -> Result<(), Infallible> {
    socket.on("join", async |socket: SocketRef, Data(room): Data<String>, answer: AckSender| {
        socket.join(room);
        let _ = answer.send(&json!({ "ok": true }));
    });
    socket.on("publish", async |io: SocketIo, Data((room, event, data)): Data<(String, String, Value)>| {
        let _ = io.to(room).emit(event, &data).await;
    });
    Ok(())
}

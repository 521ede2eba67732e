//! A chat with Socket.IO closures: names by a middleware, rooms, acknowledgements both ways, reasons for going.
//!
//! ```text
//! cargo run -p omnivox-server --example chat        # prints its address
//! ```
//! ```js
//! import { io } from 'socket.io-client';
//! const socket = io('http://127.0.0.1:3001', { auth: { name: 'ann' } });
//! socket.on('message', (from, text) => console.log(`${from}: ${text}`));
//! socket.on('here?', (answer) => answer('reading'));
//! await socket.emitWithAck('enter', 'lobby');            // [ 'ann' ]: who is there
//! socket.emit('message', 'lobby', 'hello');
//! await socket.emitWithAck('roll call', 'lobby');        // [ [ 'ann', 'reading' ] ]
//! ```
//!
//! Every other client of the server shares the room: `curl -N 'http://127.0.0.1:3001/v1/sse?channel=lobby'` sees the messages too.

use std::collections::HashMap;
use std::error::Error;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use omnivox_auth::Settings;
use omnivox_core::{App, AppId, Dialect, Namespace, Namespaces, Pattern, Permissions};
use omnivox_dialects::native::{Native, NativeSettings};
use omnivox_dialects::socketio::SocketIoSettings;
use omnivox_server::socketio::{Arrival, ConnectError, Departure, Io, Outcome, Refusal, Socket};
use omnivox_server::{Server, ServerConfig};

/// The names of those who are here, by socket.
type Names = Arc<Mutex<HashMap<Arc<str>, String>>>;

/// What a client shows when it comes.
#[derive(serde::Deserialize)]
struct Auth {
    name: Option<String>,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let port = std::env::args().nth(1).map_or(Ok(3001), |port| port.parse::<u16>())?;
    let id = AppId::parse("chat")?;
    // Everyone may listen. Only this program publishes: what a client emits goes through the closures below.
    let mut everything = Namespace::new("*", Pattern::All);
    everything.anonymous = Permissions::SUBSCRIBE.with(Permissions::HISTORY);
    let app = App::new(id.clone(), Namespaces::new(vec![everything]));
    let io = Io::new(SocketIoSettings::default());
    chat(&io);
    let dialects: Vec<Arc<dyn Dialect>> = vec![io.dialect(), Arc::new(Native::new(NativeSettings::default()))];
    let listen = vec![SocketAddr::from(([127, 0, 0, 1], port))];
    let server = Server::start(ServerConfig::new(listen, vec![Settings::open(Arc::new(app))], dialects))?;
    io.attach(server.hub(), id);
    println!("listening on http://{}", server.addresses()[0]);
    tokio::signal::ctrl_c().await?;
    tokio::task::spawn_blocking(move || server.drain()).await?;
    Ok(())
}

/// The closures of the namespace `/`.
fn chat(io: &Io) {
    let names = Names::default();
    let name_of = |names: &Names, socket: &Socket| {
        let names = names.lock().unwrap_or_else(PoisonError::into_inner);
        names.get(socket.id()).cloned().ok_or_else(|| Refusal::new("unknown", "who are you?"))
    };
    let space = io.of("/");

    let known = names.clone();
    space.middleware(move |arrival: Arrival| {
        let known = known.clone();
        async move {
            let name = arrival.auth::<Auth>()?.name.filter(|name| !name.is_empty());
            let name = name.ok_or_else(|| ConnectError::new("say who you are").with_data(&"auth: { name }"))?;
            let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
            if known.values().any(|taken| *taken == name) {
                return Err(ConnectError::new(format!("{name} is here already")));
            }
            known.insert(arrival.id, name);
            Ok(())
        }
    });

    // `emit('enter', room, (names) => …)`: who is there is the acknowledgement, the others hear of it.
    let known = names.clone();
    space.on("enter", move |socket: Socket, (room,): (String,)| {
        let known = known.clone();
        async move {
            let name = name_of(&known, &socket)?;
            socket.join(&[&room]).await?;
            socket.to(&room).emit("entered", &(name,)).await?;
            let there = socket.to(&room).to_socket(socket.id()).sockets()?;
            let mut there: Vec<String> = there.iter().chain([&socket]).filter_map(|one| name_of(&known, one).ok()).collect();
            there.sort();
            Ok((there,))
        }
    });

    // `emit('message', room, text)`: to everyone in the room, the sender too.
    let known = names.clone();
    let everyone = io.clone();
    space.on("message", move |socket: Socket, (room, text): (String, String)| {
        let (known, everyone) = (known.clone(), everyone.clone());
        async move {
            if !socket.rooms().contains(&room) {
                return Err(Refusal::new("forbidden", format!("enter {room} before you speak there")));
            }
            everyone.of("/").to(&room).emit("message", &(name_of(&known, &socket)?, text)).await
        }
    });

    // `emit('typing', room)`: to the others in the room who can take it now.
    let known = names.clone();
    space.on("typing", move |socket: Socket, (room,): (String,)| {
        let known = known.clone();
        async move { socket.to(&room).volatile().emit("typing", &(name_of(&known, &socket)?,)).await }
    });

    // `emit('roll call', room, (answers) => …)`: everyone in the room is asked and has two seconds to answer.
    let known = names.clone();
    let everyone = io.clone();
    space.on("roll call", move |_: Socket, (room,): (String,)| {
        let (known, everyone) = (known.clone(), everyone.clone());
        async move {
            let answers = everyone.of("/").to(&room).ask::<_, (String,)>("here?", &(), Duration::from_secs(2)).await?;
            let known = known.lock().unwrap_or_else(PoisonError::into_inner);
            let answered = answers.given.into_iter().filter_map(|(id, answer)| Some((known.get(&id)?.clone(), answer.ok()?.0)));
            let mut answered: Vec<(String, String)> = answered.collect();
            answered.sort();
            Ok((answered, answers.missing))
        }
    });

    // `emit('nudge', (answer) => …)`: the server asks the client that asked.
    space.on("nudge", |socket: Socket, (): ()| async move {
        let (answer,): (serde_json::Value,) = socket.ask("nudged", &(), Duration::from_millis(500)).await?;
        Outcome::Ok((answer,))
    });

    space.on_disconnect(move |socket: Socket, departure: Departure| {
        let known = names.clone();
        async move {
            let name = known.lock().unwrap_or_else(PoisonError::into_inner).remove(socket.id());
            for room in departure.rooms {
                // Nobody is left to hear what goes wrong here.
                let _ = socket.to(&room).emit("left", &(name.clone(), departure.reason)).await;
            }
        }
    });
}

//! Socket.IO 5 over Engine.IO 4 (and 4 over 3): `socket.io-client` and its ports, unchanged.
//!
//! ```text
//!   request ── handshake ── engine (polls, WebSocket, upgrade, heartbeat) ── incoming (text + attachments, msgpack)
//!                              └──────────── line ◄── delivery ◄── sockets (namespaces, rooms, events, recovery)
//! ```
//!
//! Rooms are the hub's channels ([`channel`]), so that a socket shares them with every other dialect. Events of a room are encoded once per
//! namespace and format, whatever carrier each client is on. A short loss of the connection is repaired from one number, the hub's cursor,
//! which travels as the last argument of each event ([`directory`]).
//!
//! Invariant: nothing of one namespace reaches another, and an invalid packet ends the connection that sent it and no other.

mod api;
mod channel;
mod codes;
mod cors;
mod delivery;
mod directory;
mod emission;
mod engine;
#[doc(hidden)]
pub mod fuzzing;
mod handshake;
mod identity;
mod incoming;
mod line;
mod msgpack;
mod packet;
mod program;
mod session;
mod settings;
mod sockets;
mod tags;
#[cfg(test)]
mod tests;
mod value;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use bytes::BytesMut;
use omnivox_core::session::{Heartbeat, NewSession, OpenContext, Route};
use omnivox_core::{AppId, Dialect, EncodingKey, Event, Frame, Opening, Request, Response};

use self::codes::Refused;
use self::delivery::Format;
use self::directory::Directory;
use self::engine::{Drains, frames};
use self::handshake::{Admitted, Parameters};
use self::identity::Key;
pub use self::program::{Broadcast, Candidate, Door, Member, Order, Program, Target};
use self::session::SocketIoSession;
pub use self::settings::{Application, NamespaceSettings, RecoverySettings, SocketIoSettings, Transports};
use self::sockets::LastTold;

/// One Socket.IO endpoint.
pub struct SocketIo {
    shared: Arc<Shared>,
}

/// What all sessions of an endpoint share.
struct Shared {
    settings: SocketIoSettings,
    directory: Arc<Directory>,
    /// Made from the randomness of the first session.
    key: OnceLock<Key>,
    last_told: Mutex<LastTold>,
    /// How polls are answered.
    drains: Drains,
    /// The program around the server, when there is one.
    program: Option<Arc<dyn Program>>,
    /// The apps whose back end answers events that no handler takes.
    answered: Answered,
    /// Packets that are always the same.
    ping: Frame,
    noop: Frame,
    close: Frame,
    probe: Frame,
}

/// The apps whose back end answers events that no handler takes.
#[derive(Default)]
struct Answered {
    /// Whether there are any, which is what every event looks at.
    any: AtomicBool,
    apps: Mutex<Vec<AppId>>,
}

impl Answered {
    fn replace(&self, apps: &[AppId]) {
        *directory::lock(&self.apps) = apps.to_vec();
        self.any.store(!apps.is_empty(), Ordering::Relaxed);
    }

    fn contains(&self, app: &AppId) -> bool {
        self.any.load(Ordering::Relaxed) && directory::lock(&self.apps).contains(app)
    }
}

impl Shared {
    fn key(&self, context: &OpenContext) -> &Key {
        self.key.get_or_init(|| Key::new(&context.entropy))
    }
}

impl SocketIo {
    /// An endpoint with these settings.
    pub fn new(settings: SocketIoSettings) -> Self {
        Self::with_program(settings, None)
    }

    /// An endpoint inside a program that hears of its sockets.
    pub fn inside(settings: SocketIoSettings, program: Arc<dyn Program>) -> Self {
        Self::with_program(settings, Some(program))
    }

    fn with_program(settings: SocketIoSettings, program: Option<Arc<dyn Program>>) -> Self {
        let directory = Arc::new(Directory::new(settings.recovery.clone()));
        let [ping, noop, close, probe] = [&b"2"[..], b"6", b"1", b"3probe"].map(frames::text);
        Self {
            shared: Arc::new(Shared {
                settings,
                directory,
                key: OnceLock::new(),
                last_told: Mutex::default(),
                drains: Drains::default(),
                program,
                answered: Answered::default(),
                ping,
                noop,
                close,
                probe,
            }),
        }
    }

    fn refuse(&self, refused: Refused, request: &Request<'_>) -> Response {
        cors::allow(&self.shared.settings.cors_origins, request, refused.response(request.is_websocket()))
    }
}

impl Dialect for SocketIo {
    fn name(&self) -> &'static str {
        match self.shared.settings.application {
            Application::Hub | Application::Suite => "socketio",
            Application::Echo => "engineio",
        }
    }

    fn routes(&self) -> Vec<Route> {
        let path = &self.shared.settings.path;
        // Clients may be told to leave the last slash out.
        let bare = path.trim_end_matches('/');
        let mut routes = vec![Route::exact(path.clone())];
        if let Some(api) = &self.shared.settings.api_path {
            routes.extend(api::CALLS.iter().map(|call| Route::exact(format!("{api}{}", call.name()))));
        }
        if !bare.is_empty() && bare != path {
            routes.push(Route::exact(bare.to_owned()));
        }
        routes
    }

    fn open(&self, context: &OpenContext, request: &Request<'_>) -> Opening {
        let settings = &self.shared.settings;
        if let Some(call) = settings.api_path.as_ref().and_then(|api| request.path.strip_prefix(&**api)) {
            return api::open(&self.shared, call, request);
        }
        if request.method == "OPTIONS" {
            return Opening::Respond(cors::preflight(&settings.cors_origins, request));
        }
        match handshake::admit(request, Parameters::parse(request.query), settings, self.shared.key.get()) {
            Ok(Admitted::New(revision)) => {
                let sid = self.shared.key(context).session_id(context.shard, &context.entropy);
                Opening::Session(NewSession {
                    session: Box::new(SocketIoSession::new(self.shared.clone(), revision, sid.clone(), context)),
                    key: Some(sid),
                    heartbeat: Heartbeat::Dialect,
                    message_bytes_max: Some(settings.max_payload),
                    movable: false,
                })
            }
            Ok(Admitted::Existing { shard, sid }) => Opening::Join { shard, key: sid.into() },
            Err(refused) => Opening::Respond(self.refuse(refused, request)),
        }
    }

    fn application_answers(&self, apps: &[AppId]) {
        self.shared.answered.replace(apps);
    }

    fn unknown_session(&self, request: &Request<'_>) -> Response {
        self.refuse(Refused::SessionUnknown, request)
    }

    fn broken_off(&self, method: &str, query: &str) -> Option<(u16, Box<str>)> {
        let sid = Parameters::parse(query).sid.filter(|_| method == "POST")?;
        let shard = self.shared.key.get()?.shard_of(&sid)?;
        Some((shard, sid.into()))
    }

    fn encode(&self, key: &EncodingKey, event: &Event, _scratch: &mut BytesMut) -> Option<Frame> {
        let namespace = key.qualifier.as_deref().unwrap_or("/");
        let rendered = delivery::event(Format::numbered(key.format), namespace, event, self.shared.settings.attachments_max)?;
        Some(rendered.into_frame())
    }
}

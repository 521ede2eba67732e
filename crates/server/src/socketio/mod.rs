//! Socket.IO inside a program: closures for what clients emit, handles for what the program emits.
//!
//! ```no_run
//! # use omnivox_server::socketio::{Io, Socket};
//! # use omnivox_dialects::socketio::SocketIoSettings;
//! # async fn example() {
//! let io = Io::new(SocketIoSettings::default());
//! io.of("/").on("chat", |socket: Socket, (text,): (String,)| async move {
//!     socket.to("lobby").emit("chat", &(text,)).await?;       // everyone in the room but the sender
//!     Ok(("delivered",))                                      // the acknowledgement, for a client that asked for one
//! });
//! // ServerConfig { dialects: vec![io.dialect(), …] }, then, once the server runs: io.attach(server.hub(), app);
//! # }
//! ```
//!
//! Arguments are tuples: `(A, B)` is what `emit('x', a, b)` sends; one that does not fit is refused before the closure is called. Closures
//! of one socket run one after the other, in the order of its events, on the program's runtime, so that a slow one holds up its own client
//! and nobody else; what needs no order is spawned by the closure. [`arguments::Binary`] is binary data.
//!
//! Invariant: nothing of a program runs on a shard; what it wants comes to the session as a message of the hub.

pub mod arguments;
mod questions;
mod registry;

use std::future::Future;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use omnivox_core::command::Denied;
use omnivox_core::name::{AppId, UserId};
use omnivox_core::publication::Draft;
use omnivox_core::session::Dialect;
use omnivox_dialects::socketio::{Member, Order, SocketIo, SocketIoSettings, Target};
use omnivox_hub::Hub;
use omnivox_hub::hub::denied;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::runtime::Handle;

use self::arguments::{Arguments, into_json};
use self::questions::Questions;
use self::registry::{Registry, boxed};

/// What a closure gives back when it can't: the client hears the words in the acknowledgement, or as the event `error`.
pub type Outcome<T> = Result<T, Refusal>;

/// Why something was refused.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Refusal {
    /// The server refuses.
    #[error(transparent)]
    Denied(#[from] DeniedWords),
    /// The client did not answer in time.
    #[error("the client did not answer in time")]
    TimedOut,
    /// The client went away before it answered.
    #[error("the client went away before it answered")]
    Gone,
    /// The answer is not what was expected.
    #[error("the answer does not fit: {0}")]
    Unfit(String),
}

/// A refusal's code and words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{words}")]
pub struct DeniedWords {
    /// For programs.
    pub code: String,
    /// For people.
    pub words: String,
}

impl Refusal {
    /// A refusal in one's own words.
    pub fn new(code: &str, words: impl Into<String>) -> Self {
        Self::Denied(DeniedWords { code: code.to_owned(), words: words.into() })
    }
}

impl From<Denied> for Refusal {
    fn from(denied: Denied) -> Self {
        Self::new(denied.code(), denied.to_string())
    }
}

/// Why a middleware does not let a client in: it becomes the client's `connect_error`.
#[derive(Debug, Clone, PartialEq)]
pub struct ConnectError {
    pub(crate) message: String,
    pub(crate) data: Option<String>,
}

impl ConnectError {
    /// With these words.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), data: None }
    }

    /// With `error.data` for the client's program.
    #[must_use]
    pub fn with_data(mut self, data: &impl Serialize) -> Self {
        self.data = serde_json::to_string(data).ok();
        self
    }
}

/// A Socket.IO endpoint of a program. Clones are the same endpoint.
#[derive(Clone)]
pub struct Io(Arc<Inner>);

/// What all handles share.
pub(crate) struct Inner {
    dialect: Arc<SocketIo>,
    registry: Arc<Registry>,
}

/// Where the server is, once it runs.
pub(crate) struct Attached {
    pub(crate) hub: Arc<Hub>,
    pub(crate) app: AppId,
    pub(crate) runtime: Handle,
}

impl Io {
    /// An endpoint with these settings.
    pub fn new(settings: SocketIoSettings) -> Self {
        let waiting_max = settings.commands_in_flight_max;
        let registry = Arc::new(Registry {
            attached: OnceLock::new(),
            questions: Questions::default(),
            spaces: Default::default(),
            queues: Default::default(),
            waiting_max,
            io: OnceLock::new(),
        });
        let dialect = Arc::new(SocketIo::inside(settings, registry.clone()));
        let inner = Arc::new(Inner { dialect, registry });
        let _ = inner.registry.io.set(Arc::downgrade(&inner));
        Self(inner)
    }

    /// What the server is started with.
    pub fn dialect(&self) -> Arc<dyn Dialect> {
        self.0.dialect.clone()
    }

    /// The server runs: from now on closures run on the calling runtime, and emits of this endpoint go to the app. To be called once.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn attach(&self, hub: &Arc<Hub>, app: AppId) {
        let _ = self.0.registry.attached.set(Attached { hub: hub.clone(), app, runtime: Handle::current() });
    }

    /// A namespace.
    pub fn of(&self, name: &str) -> Namespace {
        Namespace { io: self.clone(), name: name.into() }
    }

    pub(crate) fn attached(&self) -> Outcome<&Attached> {
        self.0.registry.attached.get().ok_or_else(|| Refusal::new("unavailable", "the server does not run yet; call `attach`"))
    }

    async fn tell(&self, app: &AppId, draft: Box<Draft>) -> Outcome<()> {
        Ok(self.attached()?.hub.log().direct(app, *draft).await.map_err(denied)?)
    }

    async fn emit<A: Arguments>(&self, app: &AppId, to: &Target, event: &str, arguments: &A, volatile: bool) -> Outcome<()> {
        let dialect = &self.0.dialect;
        let broadcast = dialect.broadcast(to, event, &into_json(arguments)?, volatile)?;
        let hub = &self.attached()?.hub;
        let mut stamp = None;
        if let Some(draft) = dialect.publication(app, &broadcast) {
            let retentions = hub.retentions(app, &draft);
            stamp = Some(hub.log().publish(app, *draft, retentions).await.map_err(denied)?.cursor.stamp);
        }
        match dialect.telling(app, &broadcast, stamp) {
            Some(draft) => self.tell(app, draft).await,
            None => Ok(()),
        }
    }

    /// Asks sockets and gathers what they answer in time.
    async fn ask<A: Arguments, R: DeserializeOwned>(
        &self,
        app: &AppId,
        members: Vec<Member>,
        event: &str,
        arguments: &A,
        patience: Duration,
    ) -> Outcome<Answers<R>> {
        let mut question = self.0.registry.questions.ask(members.clone());
        if let Some(draft) = SocketIo::question(&members, event, &into_json(arguments)?, question.number())? {
            self.tell(app, draft).await?;
        }
        let mut answers = Answers { given: Vec::new(), missing: members.len() };
        let deadline = tokio::time::Instant::now() + patience;
        while answers.missing > 0 {
            let Ok(Some((id, answer))) = tokio::time::timeout_at(deadline, question.next()).await else { break };
            let Some(answer) = answer else {
                answers.missing -= 1;
                answers.given.push((id, Err(Refusal::Gone)));
                continue;
            };
            answers.missing -= 1;
            answers.given.push((id, arguments::from_json(&answer).map_err(Refusal::Unfit)));
        }
        Ok(answers)
    }
}

/// What sockets answered.
#[derive(Debug)]
pub struct Answers<R> {
    /// Each socket's id and its answer, in the order in which they came.
    pub given: Vec<(Arc<str>, Outcome<R>)>,
    /// How many did not answer in time.
    pub missing: usize,
}

/// A namespace of an endpoint.
#[derive(Clone)]
pub struct Namespace {
    io: Io,
    name: Arc<str>,
}

impl Namespace {
    /// Looks at each client before it is let in. All middlewares of a namespace are asked, in the order in which they were added; the first
    /// refusal counts. A client that takes up a lost socket again was looked at before.
    pub fn middleware<F, Fut>(&self, look: F) -> &Self
    where
        F: Fn(Arrival) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), ConnectError>> + Send + 'static,
    {
        self.io.0.registry.space(&self.name, |space| space.middlewares.push(Arc::new(move |arrival| Box::pin(look(arrival)))));
        self
    }

    /// What to do with a socket that has come.
    pub fn on_connect<F, Fut>(&self, came: F) -> &Self
    where
        F: Fn(Socket) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        self.io.0.registry.space(&self.name, |space| space.came = Some(Arc::new(move |socket| Box::pin(came(socket)))));
        self
    }

    /// What to do when a socket has gone.
    pub fn on_disconnect<F, Fut>(&self, gone: F) -> &Self
    where
        F: Fn(Socket, Departure) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        self.io
            .0
            .registry
            .space(&self.name, |space| space.gone = Some(Arc::new(move |socket, departure| Box::pin(gone(socket, departure)))));
        self
    }

    /// What to do with an event. An event without a closure goes the way that it goes without a program.
    pub fn on<A, R, F, Fut>(&self, event: &str, handle: F) -> &Self
    where
        A: Arguments + DeserializeOwned + Send + 'static,
        R: Arguments + Send + 'static,
        F: Fn(Socket, A) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Outcome<R>> + Send + 'static,
    {
        self.io.0.registry.space(&self.name, |space| space.events.insert(event.to_owned(), boxed(handle)));
        self
    }

    /// Everyone in the namespace; narrow it down with [`Emitter::to`] and [`Emitter::except`].
    pub fn all(&self) -> Emitter {
        let target = Target { namespace: self.name.to_string(), ..Target::default() };
        Emitter { io: self.io.clone(), app: None, target, volatile: false }
    }

    /// The sockets in a room.
    pub fn to(&self, room: &str) -> Emitter {
        self.all().to(room)
    }

    /// The sockets of a user.
    pub fn to_user(&self, user: &UserId) -> Emitter {
        self.all().to_user(user)
    }
}

/// A client that wants to be let in.
#[derive(Clone, Debug)]
pub struct Arrival {
    /// The namespace.
    pub namespace: Arc<str>,
    /// The id that its socket will have.
    pub id: Arc<str>,
    /// Its user, when its credential names one.
    pub user: Option<UserId>,
    auth: Option<String>,
}

impl Arrival {
    pub(crate) fn new(namespace: &str, id: &str, user: Option<UserId>, auth: Option<&str>) -> Self {
        Self { namespace: namespace.into(), id: id.into(), user, auth: auth.map(str::to_owned) }
    }

    /// What it shows (`auth` of the client's options), `{}` when it shows nothing.
    pub fn auth<T: DeserializeOwned>(&self) -> Result<T, ConnectError> {
        let auth = self.auth.as_deref().unwrap_or("{}");
        serde_json::from_str(auth).map_err(|error| ConnectError::new(format!("`auth` does not fit: {error}")))
    }
}

/// How a socket went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Departure {
    /// One of the reasons that Socket.IO servers give, such as `transport close` or `client namespace disconnect`.
    pub reason: &'static str,
    /// The rooms that it was in.
    pub rooms: Vec<String>,
}

/// One client in one namespace.
#[derive(Clone)]
pub struct Socket {
    pub(crate) io: Io,
    pub(crate) member: Member,
    pub(crate) recovered: bool,
}

impl Socket {
    /// Its id, as its client knows it.
    pub fn id(&self) -> &Arc<str> {
        self.member.id()
    }

    /// Its namespace.
    pub fn namespace(&self) -> &str {
        self.member.namespace()
    }

    /// Its user, when its credential names one.
    pub fn user(&self) -> Option<&UserId> {
        self.member.user()
    }

    /// The rooms that it is in.
    pub fn rooms(&self) -> Vec<String> {
        self.member.rooms()
    }

    /// Whether it took the place of one that was lost, with its rooms and all that it had missed.
    pub fn recovered(&self) -> bool {
        self.recovered
    }

    /// Emits to its client.
    pub async fn emit<A: Arguments>(&self, event: &str, arguments: &A) -> Outcome<()> {
        self.order(&Order::Emit(event, &into_json(arguments)?, None)).await
    }

    /// Emits to its client and waits for the acknowledgement.
    pub async fn ask<A: Arguments, R: DeserializeOwned>(&self, event: &str, arguments: &A, patience: Duration) -> Outcome<R> {
        let mut answers = self.io.ask(self.member.app(), vec![self.member.clone()], event, arguments, patience).await?;
        answers.given.pop().map_or(Err(Refusal::TimedOut), |(_, answer)| answer)
    }

    /// Joins rooms; it is in them when this is done.
    pub async fn join(&self, rooms: &[&str]) -> Outcome<()> {
        self.moved(|number| Order::Join(rooms, number)).await
    }

    /// Leaves rooms.
    pub async fn leave(&self, rooms: &[&str]) -> Outcome<()> {
        self.moved(|number| Order::Leave(rooms, number)).await
    }

    /// Sends it away: from the namespace, or with `close` from the server.
    pub async fn disconnect(&self, close: bool) -> Outcome<()> {
        self.order(&Order::Disconnect { close }).await
    }

    /// The sockets in a room, this one spared.
    pub fn to(&self, room: &str) -> Emitter {
        self.broadcast().to(room)
    }

    /// All others in the namespace.
    pub fn broadcast(&self) -> Emitter {
        let target = Target { namespace: self.namespace().to_owned(), except_sockets: vec![self.id().clone()], ..Target::default() };
        Emitter { io: self.io.clone(), app: Some(self.member.app().clone()), target, volatile: false }
    }

    pub(crate) async fn order(&self, order: &Order<'_>) -> Outcome<()> {
        self.io.tell(self.member.app(), SocketIo::order(&self.member, order)?).await
    }

    async fn moved<'a>(&self, order: impl FnOnce(u64) -> Order<'a>) -> Outcome<()> {
        let mut question = self.io.0.registry.questions.ask(vec![self.member.clone()]);
        self.order(&order(question.number())).await?;
        let answered = tokio::time::timeout(MOVED_TIME_MAX, question.next()).await.map_err(|_| Refusal::TimedOut)?;
        let Some((_, Some(answer))) = answered else { return Err(Refusal::Gone) };
        let (done,) = arguments::from_json::<(Done,)>(&answer).map_err(Refusal::Unfit)?;
        match done.error {
            Some(error) => Err(Refusal::new(&error.code, error.message)),
            None => Ok(()),
        }
    }
}

/// How long a join or leave may take before it is given up.
const MOVED_TIME_MAX: Duration = Duration::from_secs(30);

#[derive(serde::Deserialize)]
struct Done {
    error: Option<DoneError>,
}

#[derive(serde::Deserialize)]
struct DoneError {
    code: String,
    message: String,
}

/// Some sockets of a namespace.
#[derive(Clone)]
pub struct Emitter {
    io: Io,
    /// The app of the socket that it was made from; that of the endpoint otherwise.
    app: Option<AppId>,
    target: Target,
    volatile: bool,
}

impl Emitter {
    /// … and those in the room, each once however many rooms it is in.
    #[must_use]
    pub fn to(mut self, room: &str) -> Self {
        self.target.rooms.push(room.to_owned());
        self
    }

    /// … and those of the user.
    #[must_use]
    pub fn to_user(mut self, user: &UserId) -> Self {
        self.target.users.push(user.clone());
        self
    }

    /// … and the socket with that id.
    #[must_use]
    pub fn to_socket(mut self, id: &Arc<str>) -> Self {
        self.target.sockets.push(id.clone());
        self
    }

    /// … but none that is in the room.
    #[must_use]
    pub fn except(mut self, room: &str) -> Self {
        self.target.except_rooms.push(room.to_owned());
        self
    }

    /// … and of all these, when it is emitted, only those that can take it now: nothing of it is published, kept or recovered. For what the next one
    /// makes worthless, such as the place of a pointer. Questions and lists are not concerned: [`ask`](Self::ask) and [`sockets`](Self::sockets) mean all.
    #[must_use]
    pub fn volatile(mut self) -> Self {
        self.volatile = true;
        self
    }

    /// Emits. What goes to rooms is a publication, which every dialect's clients of the room hear and lost sockets recover; what goes to users,
    /// sockets and whole namespaces is heard by those that are there.
    pub async fn emit<A: Arguments>(&self, event: &str, arguments: &A) -> Outcome<()> {
        self.io.emit(&self.app()?, &self.target, event, arguments, self.volatile).await
    }

    /// Emits to each socket and gathers the acknowledgements that come in time.
    pub async fn ask<A: Arguments, R: DeserializeOwned>(&self, event: &str, arguments: &A, patience: Duration) -> Outcome<Answers<R>> {
        let app = self.app()?;
        let members = self.io.0.dialect.members(&app, &self.target)?;
        self.io.ask(&app, members, event, arguments, patience).await
    }

    /// The sockets that are meant.
    pub fn sockets(&self) -> Outcome<Vec<Socket>> {
        let members = self.io.0.dialect.members(&self.app()?, &self.target)?;
        Ok(members.into_iter().map(|member| Socket { io: self.io.clone(), member, recovered: false }).collect())
    }

    fn app(&self) -> Outcome<AppId> {
        match &self.app {
            Some(app) => Ok(app.clone()),
            None => Ok(self.io.attached()?.app.clone()),
        }
    }
}

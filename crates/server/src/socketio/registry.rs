//! The closures of a program, and the queue of each socket that runs them one after the other.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock, Weak};

use omnivox_core::command::Denied;
use omnivox_dialects::socketio::{Candidate, Member, Order, Program, SocketIo};
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;

use super::arguments::{Arguments, from_json, into_json};
use super::questions::Questions;
use super::{Arrival, Attached, ConnectError, Departure, Inner, Io, Outcome, Refusal, Socket};

type Task<T> = Pin<Box<dyn Future<Output = T> + Send>>;
type Middleware = Arc<dyn Fn(Arrival) -> Task<Result<(), ConnectError>> + Send + Sync>;
type Came = Arc<dyn Fn(Socket) -> Task<()> + Send + Sync>;
type Gone = Arc<dyn Fn(Socket, Departure) -> Task<()> + Send + Sync>;
/// A closure for an event; it takes and gives JSON.
pub(super) type Handler = Arc<dyn Fn(Socket, Vec<String>) -> Task<Outcome<Vec<String>>> + Send + Sync>;

/// Makes a handler of a closure with types.
pub(super) fn boxed<A, R, F, Fut>(handle: F) -> Handler
where
    A: DeserializeOwned + Send + 'static,
    R: Arguments + Send + 'static,
    F: Fn(Socket, A) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Outcome<R>> + Send + 'static,
{
    Arc::new(move |socket, arguments| match from_json::<A>(&arguments) {
        Ok(arguments) => {
            let handling = handle(socket, arguments);
            Box::pin(async move { into_json(&handling.await?) })
        }
        Err(error) => {
            let words = format!("the arguments of the event do not fit: {error}");
            Box::pin(std::future::ready(Err(Refusal::new("invalid", words))))
        }
    })
}

/// The closures of one namespace.
#[derive(Default)]
pub(super) struct Space {
    pub(super) middlewares: Vec<Middleware>,
    pub(super) came: Option<Came>,
    pub(super) gone: Option<Gone>,
    pub(super) events: HashMap<String, Handler>,
}

/// Something that is to be run for a socket.
type Job = Task<()>;

/// What the dialect tells a program, on its way to closures.
pub(super) struct Registry {
    pub(super) attached: OnceLock<Attached>,
    pub(super) questions: Questions,
    pub(super) spaces: RwLock<HashMap<Arc<str>, Space>>,
    /// By connection, not by id: that of a lost socket may end after the one that took its place came.
    pub(super) queues: Mutex<HashMap<Member, mpsc::Sender<Job>>>,
    /// Events of one socket that wait.
    pub(super) waiting_max: usize,
    pub(super) io: OnceLock<Weak<Inner>>,
}

impl Registry {
    /// Changes the closures of a namespace.
    pub(super) fn space<T>(&self, name: &Arc<str>, change: impl FnOnce(&mut Space) -> T) -> T {
        change(self.spaces.write().unwrap_or_else(PoisonError::into_inner).entry(name.clone()).or_default())
    }

    fn find<T>(&self, name: &str, find: impl FnOnce(&Space) -> Option<T>) -> Option<T> {
        self.spaces.read().unwrap_or_else(PoisonError::into_inner).get(name).and_then(find)
    }

    fn socket(&self, member: &Member, recovered: bool) -> Option<Socket> {
        let io = Io(self.io.get()?.upgrade()?);
        Some(Socket { io, member: member.clone(), recovered })
    }

    fn queues(&self) -> MutexGuard<'_, HashMap<Member, mpsc::Sender<Job>>> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs something for a socket behind everything else of it; an error when too much waits.
    fn queue(&self, member: &Member, job: Job) -> Result<(), Denied> {
        let full = || Denied::Limit {
            setting: "commands_in_flight_max",
            words: format!("{} events of this socket wait to be handled already", self.waiting_max).into(),
        };
        match self.queues().get(member) {
            Some(queue) => queue.try_send(job).map_err(|_| full()),
            None => Ok(()),
        }
    }
}

impl Program for Registry {
    fn wants_in(&self, candidate: &Candidate<'_>) -> bool {
        let Some(attached) = self.attached.get() else { return false };
        let looks = self.find(candidate.namespace, |space| (!space.middlewares.is_empty()).then(|| space.middlewares.clone()));
        let Some(looks) = looks else { return false };
        let arrival = Arrival::new(candidate.namespace, candidate.id, candidate.principal.user.clone(), candidate.auth);
        let (number, door, app, hub) = (candidate.number, candidate.door, candidate.principal.app.clone(), attached.hub.clone());
        attached.runtime.spawn(async move {
            let mut outcome = Ok(());
            for look in looks {
                outcome = look(arrival.clone()).await;
                if outcome.is_err() {
                    break;
                }
            }
            let order = match &outcome {
                Ok(()) => Order::Admit(number),
                Err(error) => Order::Refuse(number, &error.message, error.data.as_deref()),
            };
            if let Ok(draft) = SocketIo::verdict(door, &order)
                && let Err(error) = hub.log().direct(&app, *draft).await
            {
                tracing::warn!(%error, "a client could not be told whether it is let in");
            }
        });
        true
    }

    fn came(&self, member: &Member, recovered: bool) {
        let (Some(attached), Some(socket)) = (self.attached.get(), self.socket(member, recovered)) else { return };
        let (queue, mut jobs) = mpsc::channel::<Job>(self.waiting_max.max(2));
        self.queues().insert(member.clone(), queue);
        attached.runtime.spawn(async move {
            while let Some(job) = jobs.recv().await {
                job.await;
            }
        });
        if let Some(came) = self.find(member.namespace(), |space| space.came.clone()) {
            let _ = self.queue(member, Box::pin(async move { came(socket).await }));
        }
    }

    fn gone(&self, member: &Member, reason: &'static str) {
        self.questions.gone(member);
        let queue = self.queues().remove(member);
        let gone = self.find(member.namespace(), |space| space.gone.clone());
        let (Some(queue), Some(gone), Some(socket)) = (queue, gone, self.socket(member, false)) else { return };
        let Some(attached) = self.attached.get() else { return };
        let departure = Departure { reason, rooms: member.rooms() };
        // Behind what waits, however much that is.
        attached.runtime.spawn(async move { queue.send(Box::pin(async move { gone(socket, departure).await })).await.is_ok() });
    }

    fn event(&self, member: &Member, event: &str, arguments: Vec<String>, acknowledgement: Option<u64>) -> Result<bool, Denied> {
        let Some(handler) = self.find(member.namespace(), |space| space.events.get(event).cloned()) else { return Ok(false) };
        let Some(socket) = self.socket(member, false) else { return Ok(false) };
        let event = event.to_owned();
        self.queue(member, Box::pin(async move { handle(handler, socket, &event, arguments, acknowledgement).await }))?;
        Ok(true)
    }

    fn answered(&self, number: u64, member: &Member, arguments: Vec<String>) {
        self.questions.answered(number, member, arguments);
    }
}

/// Runs a closure and tells the client what came of it, in the words of the default handlers.
async fn handle(handler: Handler, socket: Socket, event: &str, arguments: Vec<String>, acknowledgement: Option<u64>) {
    let outcome = handler(socket.clone(), arguments).await;
    let told = match (outcome, acknowledgement) {
        (Ok(answer), Some(number)) => socket.order(&Order::Acknowledge(number, &answer)).await,
        (Ok(_), None) => Ok(()),
        (Err(refusal), Some(number)) => {
            let answer = vec![format!(r#"{{"ok":false,"error":{}}}"#, shown(&refusal, None))];
            socket.order(&Order::Acknowledge(number, &answer)).await
        }
        (Err(refusal), None) => socket.order(&Order::Emit("error", &[shown(&refusal, Some(event))], None)).await,
    };
    if let Err(error) = told {
        tracing::warn!(%error, event, "what came of an event could not be told");
    }
}

fn shown(refusal: &Refusal, event: Option<&str>) -> String {
    let code = match refusal {
        Refusal::Denied(denied) => &*denied.code,
        Refusal::TimedOut => "timed_out",
        Refusal::Gone => "gone",
        Refusal::Unfit(_) => "unfit",
    };
    let mut shown = serde_json::json!({ "code": code, "message": refusal.to_string() });
    if let Some(event) = event {
        shown["event"] = event.into();
    }
    shown.to_string()
}

//! What a back end does over HTTP: emit, let sockets join and leave, send them away, look who is there.
//!
//! ```text
//! POST /v1/socketio/emit        {"rooms":["orders"],"event":"new","args":[{"id":1}]}
//! POST /v1/socketio/join        {"users":["ann"],"join":["orders"]}
//! POST /v1/socketio/leave       {"rooms":["orders"],"leave":["orders"]}
//! POST /v1/socketio/disconnect  {"sockets":["Q84CxF0…"],"close":true}
//! GET  /v1/socketio/sockets     ?namespace=/&room=orders
//! ```
//!
//! Who is meant: the sockets of `namespace` that `rooms`, `users` or `sockets` name, all when none of the three is there, and none of
//! `except`. To publish to a room takes the right to publish there; everything else here takes the right to manage, and so does an emit that is
//! `volatile`.
//!
//! Only JSON bodies are taken, because any web page can post a form to anywhere.

use std::sync::Arc;
use std::time::Instant;

use base64::Engine as _;
use omnivox_core::command::{Connect, Manage};
use omnivox_core::engine::Published;
use omnivox_core::session::{Heartbeat, NewSession};
use omnivox_core::{
    Action, Actions, AppId, ChannelName, Command, Credential, Denied, ExchangeId, Input, Opening, Reply, Request, Response, Session,
    Ticket, UserId,
};
use omnivox_wire::http1::Query;
use serde::Deserialize;
use serde_json::value::RawValue;
use smallvec::SmallVec;

use super::Shared;
use super::channel::{channel_of, room_of};
use super::directory::{Named, Record, Selection};
use super::emission::{self, Emission, Errand, Telling};
use super::sockets::requests;
use super::value::Value;

/// A call of the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Call {
    Emit,
    Join,
    Leave,
    Disconnect,
    Sockets,
}

/// All calls.
pub(super) const CALLS: [Call; 5] = [Call::Emit, Call::Join, Call::Leave, Call::Disconnect, Call::Sockets];

/// Sockets in one answer.
const SOCKETS_LISTED_MAX: usize = 1_000;

impl Call {
    /// Its name behind the API's path.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Emit => "emit",
            Self::Join => "join",
            Self::Leave => "leave",
            Self::Disconnect => "disconnect",
            Self::Sockets => "sockets",
        }
    }

    fn method(self) -> &'static str {
        if self == Self::Sockets { "GET" } else { "POST" }
    }
}

/// What a request asks for.
#[derive(Debug)]
enum Wish {
    Emit(Emission),
    Move(Errand, Selection, SmallVec<[ChannelName; 1]>),
    Part(Errand, Selection),
    List(Selection),
}

/// One name or several.
#[derive(Deserialize)]
#[serde(untagged)]
enum Names {
    One(String),
    Many(Vec<String>),
}

impl Default for Names {
    fn default() -> Self {
        Self::Many(Vec::new())
    }
}

impl Names {
    fn each<T>(self, parse: impl Fn(&str) -> Result<T, Denied>) -> Result<SmallVec<[T; 1]>, Denied> {
        match self {
            Self::One(name) => Ok(SmallVec::from_iter([parse(&name)?])),
            Self::Many(names) => names.iter().map(|name| parse(name)).collect(),
        }
    }
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct NamedBody {
    rooms: Names,
    users: Names,
    sockets: Names,
}

impl NamedBody {
    fn read(self, namespace: &str) -> Result<Named, Denied> {
        let user = |name: &str| UserId::parse(name).map_err(|error| Denied::Invalid(format!("`users`: {error}").into()));
        let mut named = Named {
            channels: self.rooms.each(|room| channel(namespace, room))?,
            users: self.users.each(user)?,
            sockets: self.sockets.each(|id| Ok(id.into()))?,
        };
        let mut seen = std::collections::HashSet::new();
        named.channels.retain(|channel| seen.insert(channel.clone()));
        Ok(named)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Body<'a> {
    #[serde(default)]
    namespace: Option<String>,
    #[serde(default)]
    rooms: Names,
    #[serde(default)]
    users: Names,
    #[serde(default)]
    sockets: Names,
    #[serde(default)]
    except: NamedBody,
    event: Option<String>,
    #[serde(borrow, default)]
    args: Vec<&'a RawValue>,
    id: Option<String>,
    #[serde(default)]
    join: Names,
    #[serde(default)]
    leave: Names,
    #[serde(default)]
    close: bool,
    #[serde(default)]
    volatile: bool,
}

fn channel(namespace: &str, room: &str) -> Result<ChannelName, Denied> {
    channel_of(namespace, room).map_err(|error| Denied::Invalid(format!("room {room:?}: {error}").into()))
}

impl Wish {
    fn parse(call: Call, request: &Request<'_>, shared: &Shared) -> Result<Self, Denied> {
        if call == Call::Sockets {
            return Self::list(request, shared);
        }
        let invalid = |error: serde_json::Error| Denied::Invalid(format!("the body is not what this call takes: {error}").into());
        let mut body: Body<'_> = serde_json::from_slice(request.body).map_err(invalid)?;
        let namespace: Arc<str> = body.namespace.take().unwrap_or_else(|| "/".to_owned()).into();
        check_namespace(&namespace, shared)?;
        let [rooms, users, sockets, join, leave] =
            [&mut body.rooms, &mut body.users, &mut body.sockets, &mut body.join, &mut body.leave].map(std::mem::take);
        let to = NamedBody { rooms, users, sockets }.read(&namespace)?;
        let selection = Selection { to, except: std::mem::take(&mut body.except).read(&namespace)?, namespace: namespace.clone() };
        let channels = |names: Names, field: &str| {
            let channels = names.each(|room| channel(&namespace, room))?;
            if channels.is_empty() { Err(Denied::Invalid(format!("name at least one room in `{field}`").into())) } else { Ok(channels) }
        };
        Ok(match call {
            Call::Emit => Self::Emit(emission(selection, &body, shared)?),
            Call::Join => Self::Move(Errand::Join, selection, channels(join, "join")?),
            Call::Leave => Self::Move(Errand::Leave, selection, channels(leave, "leave")?),
            Call::Disconnect | Call::Sockets => Self::Part(if body.close { Errand::Close } else { Errand::Disconnect }, selection),
        })
    }

    fn list(request: &Request<'_>, shared: &Shared) -> Result<Self, Denied> {
        let (mut namespace, mut to) = (String::from("/"), NamedBody::default());
        for pair in Query::new(request.query) {
            let (name, value) = pair.map_err(|error| Denied::Invalid(error.to_string().into()))?;
            let names = match &*name {
                "namespace" => {
                    namespace = value.into_owned();
                    continue;
                }
                "room" => &mut to.rooms,
                "user" => &mut to.users,
                "socket" => &mut to.sockets,
                other => {
                    return Err(Denied::Invalid(format!("`{other}` is no parameter; there are namespace, room, user and socket").into()));
                }
            };
            if let Names::Many(names) = names {
                names.push(value.into_owned());
            }
        }
        check_namespace(&namespace, shared)?;
        let to = to.read(&namespace)?;
        Ok(Self::List(Selection { namespace: namespace.into(), to, except: Named::default() }))
    }
}

fn check_namespace(namespace: &str, shared: &Shared) -> Result<(), Denied> {
    if shared.settings.namespaces.allows(namespace) {
        return Ok(());
    }
    Err(Denied::Invalid(
        format!(
            "there is no namespace {namespace:?}; a namespace begins with a slash, and `socketio.namespaces` may list those that there are"
        )
        .into(),
    ))
}

fn emission(selection: Selection, body: &Body<'_>, shared: &Shared) -> Result<Emission, Denied> {
    let event = body.event.as_deref().ok_or_else(|| Denied::Invalid("`event` is missing; it is the name that clients listen to".into()))?;
    let arguments: SmallVec<[&str; 2]> = body.args.iter().map(|argument| argument.get()).collect();
    let mut binaries = 0;
    for argument in arguments.iter().filter(|argument| argument.contains("_placeholder")) {
        let words = "binary data is written as {\"_placeholder\":true,\"num\":0,\"base64\":\"AQID\"}";
        binaries += Value::parse_inline(argument).ok_or_else(|| Denied::Invalid(words.into()))?.binaries();
    }
    if binaries > shared.settings.attachments_max {
        let words = format!("clients take at most {} pieces of binary data in one event", shared.settings.attachments_max);
        return Err(Denied::Invalid(words.into()));
    }
    let id = body.id.as_deref().filter(|id| !id.is_empty()).map(Arc::from);
    if body.volatile && id.is_some() {
        return Err(Denied::Invalid(
            "`id` and `volatile` do not go together: what is volatile is kept nowhere, so a repetition is not known".into(),
        ));
    }
    let content = requests::content(&arguments, binaries);
    Ok(Emission { selection, event: requests::event(event)?, id, content, volatile: body.volatile })
}

/// Answers a request to the API, or opens the session that will.
pub(super) fn open(shared: &Arc<Shared>, name: &str, request: &Request<'_>) -> Opening {
    let Some(call) = CALLS.into_iter().find(|call| call.name() == name) else {
        return Opening::Respond(refused(404, "not_found", "nothing is at this path"));
    };
    if request.method != call.method() {
        let words = format!("this path answers {}", call.method());
        return Opening::Respond(refused(405, "method_not_allowed", &words).header("allow", call.method()));
    }
    let content_type = request.header("content-type").unwrap_or_default();
    if request.method == "POST" && !content_type.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/json") {
        return Opening::Respond(refused(415, "unsupported_media_type", "the body must be JSON; send `Content-Type: application/json`"));
    }
    let parsed = Wish::parse(call, request, shared).and_then(|wish| Ok((wish, credential(request)?)));
    let (wish, credential) = match parsed {
        Ok(parsed) => parsed,
        Err(denied) => return Opening::Respond(denial(&denied)),
    };
    let connect = Connect { credential, host: request.header("host").map(Into::into), origin: request.header("origin").map(Into::into) };
    let session =
        ApiSession { shared: shared.clone(), connect: Some(Box::new(connect)), wish, app: None, published: None, told: 0, exchange: None };
    Opening::Session(NewSession {
        session: Box::new(session),
        key: None,
        heartbeat: Heartbeat::Dialect,
        message_bytes_max: None,
        movable: false,
    })
}

fn credential(request: &Request<'_>) -> Result<Credential, Denied> {
    let Some(authorization) = request.header("authorization") else { return Ok(Credential::Anonymous) };
    let (scheme, value) = authorization.split_once(' ').unwrap_or((authorization, ""));
    if scheme.eq_ignore_ascii_case("bearer") {
        return Ok(Credential::Token(value.trim().into()));
    }
    let pair = base64::engine::general_purpose::STANDARD.decode(value.trim()).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    match pair.as_deref().and_then(|pair| pair.split_once(':')) {
        Some((id, secret)) if scheme.eq_ignore_ascii_case("basic") => Ok(Credential::Key { id: id.into(), secret: secret.into() }),
        _ => Err(Denied::Unauthorized("the Authorization header is neither `Bearer TOKEN` nor `Basic` with key and secret".into())),
    }
}

/// One call that is being answered.
struct ApiSession {
    shared: Arc<Shared>,
    connect: Option<Box<Connect>>,
    wish: Wish,
    app: Option<AppId>,
    published: Option<Published>,
    /// Sockets that were told.
    told: usize,
    exchange: Option<ExchangeId>,
}

const CONNECT: Ticket = Ticket(0);
const LOOK: Ticket = Ticket(1);
const PUBLISH: Ticket = Ticket(2);
const TELL: Ticket = Ticket(3);

/// What an emit came to.
#[derive(serde::Serialize)]
struct Emitted {
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    offset: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    duplicate: Option<bool>,
    /// Sockets that were told one by one: users and sockets beside the rooms, with `volatile` those in the rooms too.
    sockets: usize,
}

#[derive(serde::Serialize)]
struct Listed {
    sockets: Vec<SocketShown>,
    more: bool,
}

#[derive(serde::Serialize)]
struct SocketShown {
    id: String,
    namespace: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<String>,
    rooms: Vec<String>,
}

impl SocketShown {
    fn of(record: &Record) -> Self {
        let rooms = record.rooms().iter().map(|room| room_of(room.channel.as_str()).1.into_owned()).collect();
        Self { id: record.id.to_string(), namespace: record.namespace.to_string(), user: record.user().map(ToString::to_string), rooms }
    }
}

impl ApiSession {
    fn answer(&mut self, response: Response, actions: &mut Actions) {
        if let Some(exchange) = self.exchange.take() {
            actions.respond(exchange, response);
        }
        actions.push(Action::End);
    }

    /// The right to manage is asked for before anything is done, unless only rooms are meant.
    fn connected(&self, actions: &mut Actions) {
        match &self.wish {
            Wish::Emit(emission) if !emission.goes_beyond_rooms() => self.publish(emission, actions),
            Wish::Emit(_) | Wish::Move(..) | Wish::Part(..) | Wish::List(_) => {
                actions.run(LOOK, Command::Manage(Box::new(Manage::Look)));
            }
        }
    }

    fn publish(&self, emission: &Emission, actions: &mut Actions) {
        let Some(app) = &self.app else { return };
        if let Some(draft) = emission.publication(&self.shared.directory, app) {
            actions.run(PUBLISH, Command::Publish(SmallVec::from_elem(draft, 1)));
        }
    }

    /// Everything that concerns sockets.
    fn manage(&mut self, actions: &mut Actions) {
        let Some(app) = &self.app else { return };
        let select = |selection: &Selection| self.shared.directory.select(app, selection, (&[], 0));
        let telling = match &self.wish {
            Wish::Emit(emission) if self.published.is_none() && !emission.volatile && !emission.selection.to.channels.is_empty() => {
                return self.publish(emission, actions);
            }
            Wish::Emit(emission) => {
                let stamp = self.published.as_ref().map(|published| published.cursor.stamp);
                emission.telling(&self.shared.directory, app, stamp)
            }
            Wish::Move(errand, selection, channels) => emission::moving(*errand, &select(selection), channels, None),
            Wish::Part(errand, selection) => emission::parting(*errand, &select(selection)),
            Wish::List(selection) => {
                let found = select(selection);
                let sockets = found.iter().take(SOCKETS_LISTED_MAX).map(|record| SocketShown::of(record)).collect();
                let listed = Listed { sockets, more: found.len() > SOCKETS_LISTED_MAX };
                return self.answer(json(&listed), actions);
            }
        };
        match telling {
            Some(Telling { draft, sockets }) => {
                self.told = sockets;
                actions.run(TELL, Command::Manage(Box::new(Manage::Tell(draft))));
            }
            None => self.done(actions),
        }
    }

    fn done(&mut self, actions: &mut Actions) {
        let published = self.published.take();
        let emitted = Emitted {
            id: published.as_ref().and_then(|published| published.places.first()).map(|place| place.position.to_string()),
            offset: published.as_ref().map(|published| published.cursor.to_string()),
            duplicate: published.as_ref().map(|published| published.duplicate),
            sockets: self.told,
        };
        self.answer(json(&emitted), actions);
    }

    fn reply(&mut self, ticket: Ticket, reply: Reply, actions: &mut Actions) {
        match (ticket, reply) {
            (CONNECT, Reply::Connected(principal)) => {
                self.app = Some(principal.app.clone());
                self.connected(actions);
            }
            (LOOK, _) => self.manage(actions),
            (PUBLISH, Reply::Published(mut results)) => match results.pop() {
                Some(Ok(published)) => {
                    let beyond = matches!(&self.wish, Wish::Emit(emission) if emission.goes_beyond_rooms());
                    // What was published before was told before.
                    let again = published.duplicate;
                    self.published = Some(published);
                    if beyond && !again { self.manage(actions) } else { self.done(actions) }
                }
                Some(Err(denied)) => self.answer(denial(&denied), actions),
                None => self.answer(refused(500, "internal", "the server has a defect"), actions),
            },
            (_, _) => self.done(actions),
        }
    }
}

impl Session for ApiSession {
    fn handle(&mut self, _now: Instant, input: Input<'_>, actions: &mut Actions) {
        match input {
            Input::Exchange(exchange, _) => {
                self.exchange = Some(exchange);
                if let Some(connect) = self.connect.take() {
                    actions.run(CONNECT, Command::Connect(connect));
                }
            }
            Input::Reply(ticket, Ok(reply)) => self.reply(ticket, reply, actions),
            Input::Reply(_, Err(denied)) => self.answer(denial(&denied), actions),
            Input::Abandoned(_) => {
                self.exchange = None;
                actions.push(Action::End);
            }
            Input::Control(omnivox_core::Control::Close(_)) => {
                self.answer(refused(503, "unavailable", "the server goes away; try again"), actions);
            }
            Input::Control(_)
            | Input::Answered(_)
            | Input::Attached(..)
            | Input::Detached(_)
            | Input::Text(..)
            | Input::Binary(..)
            | Input::Event(_)
            | Input::Timeout => {}
        }
    }
}

fn json(value: &impl serde::Serialize) -> Response {
    Response::json(200, serde_json::to_vec(value).unwrap_or_default())
}

fn denial(denied: &Denied) -> Response {
    refused(denied.status(), denied.code(), &denied.to_string())
}

#[derive(serde::Serialize)]
struct ErrorBody<'a> {
    error: ErrorWords<'a>,
}

#[derive(serde::Serialize)]
struct ErrorWords<'a> {
    code: &'a str,
    message: &'a str,
}

fn refused(status: u16, code: &str, message: &str) -> Response {
    Response::json(status, serde_json::to_vec(&ErrorBody { error: ErrorWords { code, message } }).unwrap_or_default())
}

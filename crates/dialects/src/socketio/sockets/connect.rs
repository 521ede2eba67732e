//! CONNECT: who the client is, and a socket for it in the namespace.
//!
//! One connection has one principal, which the first namespace's credential gives. Further namespaces share it; one that brings another
//! credential is refused, and told to use a connection of its own (`forceNew`).

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use omnivox_core::command::Connect;
use omnivox_core::{Command, Credential, Denied, Principal, Publication, Request};
use serde_json::Value as Json;

use super::super::codes::ConnectError;
use super::super::delivery::Argument;
use super::super::directory::{Kept, Record};
use super::super::emission::Errand;
use super::super::engine::Revision;
use super::super::handshake::Parameters;
use super::super::line::Line;
use super::super::packet::{Broken, Kind};
use super::super::program::{Candidate, Door, Member};
use super::super::tags;
use super::{Outline, Pending, Socket, Sockets};

/// What the opening request told.
#[derive(Default)]
pub(super) struct Arrival {
    host: Option<Box<str>>,
    origin: Option<Box<str>>,
    /// A token from the `Authorization` header, or from the query of a client that has no other place for it.
    token: Option<Box<str>>,
    /// A mark of the credential that gave the principal.
    credential: Option<u64>,
}

/// A namespace that waits to be connected.
pub(super) struct Waiting {
    pub(super) namespace: Arc<str>,
    pub(super) auth: Option<Box<Auth>>,
}

/// A namespace that waits for the program around the server.
pub(super) struct Guarded {
    number: u64,
    id: String,
    waiting: Waiting,
    principal: Arc<Principal>,
}

/// The payload of a connect packet of the server.
#[derive(serde::Serialize)]
struct Welcome<'a> {
    sid: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pid: Option<&'a str>,
}

/// What a connect packet shows.
pub(super) struct Auth {
    fields: Json,
    /// As it came.
    text: Box<str>,
}

impl Auth {
    fn parse(text: &str) -> Option<Box<Self>> {
        Some(Box::new(Self { fields: serde_json::from_str(text).ok()?, text: text.into() }))
    }

    fn text_of(&self, name: &str) -> Option<&str> {
        self.fields.get(name)?.as_str()
    }

    /// The private id of a socket that was lost.
    pub(super) fn private_id(&self) -> Option<&str> {
        self.text_of("pid")
    }

    /// The offset of the last event that the lost socket received.
    pub(super) fn offset(&self) -> Option<&str> {
        self.text_of("offset")
    }

    fn credential(&self) -> Option<Credential> {
        let boxed = |name| self.text_of(name).map(Box::<str>::from);
        if let Some(token) = boxed("token") {
            return Some(Credential::Token(token));
        }
        if let Some(ticket) = boxed("ticket") {
            return Some(Credential::Ticket(ticket));
        }
        Some(Credential::Key { id: boxed("key")?, secret: boxed("secret")? })
    }
}

impl Arrival {
    pub(super) fn of(request: &Request<'_>, revision: Revision) -> Self {
        let bearer = request.header("authorization").and_then(|value| value.split_once(' '));
        let bearer = bearer.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer")).map(|(_, token)| Box::from(token.trim()));
        let in_query = || match revision {
            Revision::Three => Parameters::parse(request.query).token.map(|token| Box::from(&*token)),
            Revision::Four => None,
        };
        Self {
            host: request.header("host").map(Box::from),
            origin: request.header("origin").map(Box::from),
            token: bearer.or_else(in_query),
            credential: None,
        }
    }
}

/// A mark by which a client's credential is known again, without keeping it.
fn mark(credential: &Credential) -> u64 {
    let mut hasher = DefaultHasher::new();
    match credential {
        Credential::Anonymous => 0.hash(&mut hasher),
        Credential::Token(token) => (1, token).hash(&mut hasher),
        Credential::Ticket(ticket) => (2, ticket).hash(&mut hasher),
        Credential::Key { id, secret } => (3, id, secret).hash(&mut hasher),
        Credential::Cookie(cookie) => (4, &cookie.token).hash(&mut hasher),
        Credential::Signed(request) => (5, &request.authorization).hash(&mut hasher),
    }
    hasher.finish()
}

impl Sockets {
    /// The namespace that waited longest; an idle session holds no buffer for more.
    fn next_waiting(&mut self) -> Waiting {
        let waiting = self.waiting.remove(0);
        if self.waiting.is_empty() {
            self.waiting = Vec::new();
        }
        waiting
    }

    /// A connect packet.
    pub(super) fn connect_packet(&mut self, name: &str, auth: Option<&str>, line: &mut Line<'_>) -> Result<(), Broken> {
        // Clients of protocol 4 write a query behind the name.
        let name = match self.revision {
            Revision::Three => name.split_once('?').map_or(name, |(name, _)| name),
            Revision::Four => name,
        };
        let restoring = self.pending.iter().any(|(_, pending)| matches!(pending, Pending::Restore(restore) if *restore.namespace == *name));
        let guarded = self.guarded.iter().any(|guarded| *guarded.waiting.namespace == *name);
        if restoring || guarded || self.waiting.iter().any(|waiting| *waiting.namespace == *name) || self.is_in(name) {
            return Err(Broken("the namespace is connected already"));
        }
        self.connect(name.into(), auth, line);
        Ok(())
    }

    fn is_in(&self, namespace: &str) -> bool {
        self.sockets.iter().any(|socket| *socket.record().namespace == *namespace)
    }

    /// A wish to be in a namespace.
    pub(super) fn connect(&mut self, namespace: Arc<str>, auth: Option<&str>, line: &mut Line<'_>) {
        let settings = &self.shared.settings;
        if !settings.namespaces.allows(&namespace) {
            return self.connect_error(&namespace, &ConnectError::invalid_namespace(), line);
        }
        if self.sockets.len() + self.waiting.len() + self.guarded.len() >= settings.namespaces_max {
            return self.connect_error(&namespace, &ConnectError::too_many_namespaces(settings.namespaces_max), line);
        }
        self.waiting.push(Waiting { namespace, auth: auth.and_then(Auth::parse) });
        self.ask(line);
    }

    /// Goes on with those who wait, until one needs the hub.
    fn ask(&mut self, line: &mut Line<'_>) {
        if self.pending.iter().any(|(_, pending)| matches!(pending, Pending::Connect)) {
            return;
        }
        while let Some(first) = self.waiting.first() {
            let shown = first.auth.as_ref().filter(|_| !self.is_suite()).and_then(|auth| auth.credential());
            let credential = shown.clone().or_else(|| self.arrival.token.clone().map(Credential::Token)).unwrap_or(Credential::Anonymous);
            let mark = mark(&credential);
            match (&self.principal, self.arrival.credential) {
                // A credential may follow a namespace that came without one.
                (Some(principal), _) if shown.is_none() || self.arrival.credential == Some(mark) => {
                    let principal = principal.clone();
                    let waiting = self.next_waiting();
                    self.establish(waiting, &principal, line);
                }
                (Some(principal), _) if principal.authenticated => {
                    let words = "one connection has one credential; connect this namespace with `forceNew: true`";
                    let waiting = self.next_waiting();
                    self.connect_error(&waiting.namespace, &ConnectError::from(&Denied::Invalid(words.into())), line);
                }
                (Some(_) | None, _) => {
                    self.arrival.credential = Some(mark);
                    let connect = Connect { credential, host: self.arrival.host.clone(), origin: self.arrival.origin.clone() };
                    let ticket = self.ticket(Pending::Connect);
                    return line.run(ticket, Command::Connect(Box::new(connect)));
                }
            }
        }
    }

    /// The hub knows the client.
    pub(super) fn let_in(&mut self, principal: Arc<Principal>, line: &mut Line<'_>) {
        self.principal = Some(principal.clone());
        if !self.waiting.is_empty() {
            let waiting = self.next_waiting();
            self.establish(waiting, &principal, line);
        }
        self.ask(line);
    }

    /// The hub does not. The connection stays: the client may try again, or another namespace.
    pub(super) fn turn_away(&mut self, denied: &Denied, line: &mut Line<'_>) {
        self.arrival.credential = None;
        if !self.waiting.is_empty() {
            let waiting = self.next_waiting();
            self.connect_error(&waiting.namespace, &ConnectError::from(denied), line);
        }
        self.ask(line);
    }

    fn connect_error(&self, namespace: &str, error: &ConnectError, line: &mut Line<'_>) {
        let payload = match self.revision {
            Revision::Four => serde_json::to_string(error),
            // Protocol 4 has an error packet with any JSON value; its clients show a text.
            Revision::Three => serde_json::to_string(&error.message),
        };
        self.send_control(Kind::ConnectError, namespace, payload.ok().as_deref(), line);
    }

    /// Makes a socket: the one that was lost, if the client can show that it was its own, or a new one.
    fn establish(&mut self, waiting: Waiting, principal: &Arc<Principal>, line: &mut Line<'_>) {
        if self.recovers() && waiting.auth.as_ref().is_some_and(|auth| auth.private_id().is_some()) {
            self.restore(waiting, principal, line);
        } else {
            self.welcome(waiting, principal, line);
        }
    }

    /// Makes a new socket, unless the program around the server wants to look at the client first.
    pub(super) fn welcome(&mut self, waiting: Waiting, principal: &Arc<Principal>, line: &mut Line<'_>) {
        // Clients of protocol 4 take their session id for the socket's; here it stays a secret between the two.
        let id = self.identities.next();
        if let Some(program) = &self.shared.program {
            let auth = waiting.auth.as_ref().map(|auth| &*auth.text);
            let number = u64::from(self.tickets);
            let candidate = Candidate { number, namespace: &waiting.namespace, id: &id, principal, auth, door: Door(self.session) };
            if program.wants_in(&candidate) {
                self.tickets = self.tickets.wrapping_add(1);
                self.guarded.push(Guarded { number, id, waiting, principal: principal.clone() });
                return;
            }
        }
        self.let_into_namespace(id, waiting, principal, line);
    }

    /// The program has decided.
    pub(super) fn decided(&mut self, errand: Errand, publication: &Publication, line: &mut Line<'_>) {
        let number = publication.tag(tags::NUMBER).and_then(|number| number.parse::<u64>().ok());
        let Some(index) = self.guarded.iter().position(|guarded| Some(guarded.number) == number) else { return };
        let Guarded { id, waiting, principal, .. } = self.guarded.remove(index);
        if errand == Errand::Admit {
            return self.let_into_namespace(id, waiting, &principal, line);
        }
        let refusal = std::str::from_utf8(publication.draft.payload.bytes()).unwrap_or_default();
        match self.revision {
            Revision::Four => self.send_control(Kind::ConnectError, &waiting.namespace, Some(refusal), line),
            Revision::Three => {
                let words = serde_json::from_str::<Json>(refusal).ok().and_then(|refusal| refusal.get("message").map(Json::to_string));
                self.send_control(Kind::ConnectError, &waiting.namespace, words.as_deref(), line);
            }
        }
    }

    fn let_into_namespace(&mut self, id: String, waiting: Waiting, principal: &Arc<Principal>, line: &mut Line<'_>) {
        let Waiting { namespace, auth } = waiting;
        let record = Record::new(id.into(), namespace.clone(), principal.clone(), self.session, self.recovers());
        let kept = self.keep(record, line);
        self.seat(kept, false, line);
        if self.is_suite() {
            let text = auth.map_or_else(|| "{}".into(), |auth| auth.text);
            let outline = Outline { namespace: &namespace, name: Some("auth"), id: None };
            self.send(outline, &[Argument::Json((&*text).into())], line);
        }
    }

    /// Enters a socket in the directory.
    pub(super) fn keep(&self, record: Record, line: &Line<'_>) -> Kept {
        self.shared.directory.keep(line.now, Arc::new(record))
    }

    /// Seats a socket in its namespace and tells the client.
    pub(super) fn seat(&mut self, kept: Kept, recovered: bool, line: &mut Line<'_>) {
        self.connect_by = None;
        let record = kept.record();
        let private_id = self.shared.key.get().filter(|_| self.recovers()).map(|key| key.private_id(&record.id));
        let payload = Welcome { sid: &record.id, pid: private_id.as_deref() };
        let payload = (self.revision == Revision::Four).then(|| serde_json::to_string(&payload).unwrap_or_default());
        self.send_control(Kind::Connect, &record.namespace, payload.as_deref(), line);
        if let Some(program) = &self.shared.program {
            program.came(&Member(record.clone()), recovered);
        }
        self.sockets.push(Socket { kept });
    }
}

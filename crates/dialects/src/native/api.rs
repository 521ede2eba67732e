//! One request, one answer: publish, history, presence, channels and rooms over plain HTTP.
//!
//! The request is parsed before a session exists; the session introduces the client, runs one command and answers.

use std::time::Instant;

use bytes::{Bytes, BytesMut};
use omnivox_core::command::Manage;
use omnivox_core::engine::{ChannelSummary, HistoryPage, HistoryQuery, Published};
use omnivox_core::event::Member;
use omnivox_core::room::{IceWish, Seat, Signal, Vacate};
use omnivox_core::{
    Action, Actions, ChannelName, Command, Denied, Draft, ExchangeId, Input, Limits, Reply, Request, Response, Session, Ticket, UserId,
};
use smallvec::SmallVec;

use super::call;
use super::codes::Refusal;
use super::fields::Fields;
use super::manage;
use super::message::{Body, Order, Origin, before};
use super::render::{self, Object};
use super::request::{Connecting, Cors, Parameters, refused};
use super::rooms::{IceFormat, ice_answer, seated_message};
use super::webhooks;

/// What a request asks for.
#[derive(Debug)]
pub(super) enum Call {
    /// Publish one message.
    Publish(Box<Draft>),
    /// Publish several, each on its own.
    Batch(Vec<Result<Box<Draft>, Refusal>>),
    /// Read what was published.
    History(ChannelName, HistoryQuery, Order),
    /// Who is there.
    Members(ChannelName),
    /// Which channels are in use.
    Channels(Box<str>),
    /// Servers that help two peers to connect.
    Ice(IceWish, IceFormat),
    /// Have a seat in a room, on lease.
    Enter(Box<Seat>),
    /// Say something to one member of a room, from that seat.
    Signal(Box<Signal>),
    /// Give the seat back.
    Leave(Box<Vacate>),
    /// A ticket for whoever asks.
    Ticket,
    /// Who is connected as a user.
    Connections(UserId),
    /// Act on the connections of others.
    Manage(Manage),
    /// Ask the application.
    Application(Box<omnivox_core::call::Call>),
}

/// Refuses a body that is not said to be JSON: a form of any web page can post everything else.
pub(super) fn json_only(request: &Request<'_>) -> Result<(), Refusal> {
    let content_type = request.header("content-type").unwrap_or_default();
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    if essence.eq_ignore_ascii_case("application/json") {
        return Ok(());
    }
    let words = "the body must be JSON; send `Content-Type: application/json`";
    Err(Refusal { code: "unsupported_media_type", status: 415, words: words.into() })
}

impl Call {
    /// `POST /v1/publish`.
    pub(super) fn publish(request: &Request<'_>, limits: &Limits) -> Result<Self, Refusal> {
        json_only(request)?;
        Ok(match Body::parse(request.body, limits)? {
            Body::One(draft) => Self::Publish(draft),
            Body::Batch(drafts) => Self::Batch(drafts),
        })
    }

    /// `POST /v1/call`.
    pub(super) fn application(request: &Request<'_>, limits: &Limits) -> Result<Self, Refusal> {
        json_only(request)?;
        Ok(Self::Application(Box::new(call::parse(&Fields::parse(request.body)?, limits)?)))
    }

    /// `GET /v1/history`.
    pub(super) fn history(parameters: &Parameters<'_>, limits: &Limits) -> Result<Self, Refusal> {
        let order = match parameters.first("order") {
            None | Some("oldest") => Order::OldestFirst,
            Some("newest") => Order::NewestFirst,
            Some(_) => return Err(Refusal::message("`order` is neither `oldest` nor `newest`")),
        };
        let before = parameters.mark("before")?.map(before).transpose()?;
        let query = order.query(parameters.mark("since")?, before, parameters.number("limit")?, limits);
        Ok(Self::History(parameters.channel(limits)?, query, order))
    }

    /// `GET /v1/presence`.
    pub(super) fn members(parameters: &Parameters<'_>, limits: &Limits) -> Result<Self, Refusal> {
        Ok(Self::Members(parameters.channel(limits)?))
    }

    /// `GET /v1/channels`.
    pub(super) fn channels(parameters: &Parameters<'_>) -> Self {
        Self::Channels(parameters.first("prefix").unwrap_or_default().into())
    }

    /// `GET /v1/ice`.
    pub(super) fn ice(parameters: &Parameters<'_>, limits: &Limits) -> Result<Self, Refusal> {
        let named = parameters.first("channel").is_some() || parameters.first("room").is_some();
        let channel = if named { Some(parameters.channel(limits)?) } else { None };
        let ttl_s = parameters.number("ttl")?.map(|ttl| ttl as u64);
        Ok(Self::Ice(IceWish { channel, ttl_s }, IceFormat::parse(parameters.first("format"))?))
    }

    /// `POST /v1/rooms/enter`.
    pub(super) fn enter(request: &Request<'_>) -> Result<Self, Refusal> {
        json_only(request)?;
        Ok(Self::Enter(Box::new(Fields::parse(request.body)?.seat(true)?)))
    }

    /// `POST /v1/rooms/signal`.
    pub(super) fn signal(request: &Request<'_>, limits: &Limits) -> Result<Self, Refusal> {
        json_only(request)?;
        let fields = Fields::parse(request.body)?;
        Ok(Self::Signal(Box::new(Signal { from: Some(fields.claim()?), ..fields.signal(limits)? })))
    }

    /// `POST /v1/rooms/leave`.
    pub(super) fn leave(request: &Request<'_>) -> Result<Self, Refusal> {
        json_only(request)?;
        let fields = Fields::parse(request.body)?;
        Ok(Self::Leave(Box::new(Vacate { channel: fields.channel()?, claim: fields.claim()? })))
    }
}

/// One request that is being answered.
pub(super) struct ApiSession {
    connecting: Connecting,
    cors: Cors,
    answer_bytes_max: usize,
    call: Option<Call>,
    answering: Answering,
    exchange: Option<ExchangeId>,
}

/// What is needed to answer once the command ran.
enum Answering {
    /// The channel that it is about.
    Channel(ChannelName),
    /// The channel, in which order its page is shown, and whether it was read newest first.
    History(ChannelName, Order, bool),
    /// For each message of a batch: its channel, or why it was never sent.
    Batch(Vec<Result<ChannelName, Refusal>>),
    /// In whose form servers are shown.
    Ice(IceFormat),
    /// Nothing.
    Nothing,
}

impl ApiSession {
    /// A session for one call. `answer_bytes_max` bounds the events of an answer.
    pub(super) fn new(connecting: Connecting, cors: Cors, answer_bytes_max: usize, call: Call) -> Self {
        Self { connecting, cors, answer_bytes_max, call: Some(call), answering: Answering::Nothing, exchange: None }
    }

    /// The command of the call, and what to keep for the answer; none when there is nothing left to do.
    fn command(&mut self, call: Call) -> Option<Command> {
        match call {
            Call::Publish(draft) => {
                self.answering = Answering::Channel(draft.channels[0].clone());
                Some(Command::Publish(SmallVec::from_elem(draft, 1)))
            }
            Call::Batch(items) => {
                let mut drafts = SmallVec::new();
                let kept = items.into_iter().map(|item| {
                    item.map(|draft| {
                        let channel = draft.channels[0].clone();
                        drafts.push(draft);
                        channel
                    })
                });
                self.answering = Answering::Batch(kept.collect());
                (!drafts.is_empty()).then_some(Command::Publish(drafts))
            }
            Call::History(channel, query, order) => {
                self.answering = Answering::History(channel.clone(), order, query.newest_first);
                Some(Command::History(channel, query))
            }
            Call::Members(channel) => {
                self.answering = Answering::Channel(channel.clone());
                Some(Command::Members(channel))
            }
            Call::Channels(prefix) => Some(Command::Channels(prefix)),
            Call::Ice(wish, format) => {
                self.answering = Answering::Ice(format);
                Some(Command::Ice(Box::new(wish)))
            }
            Call::Ticket => Some(Command::Ticket),
            Call::Connections(user) => Some(Command::Connections(user)),
            Call::Manage(manage) => Some(Command::Manage(Box::new(manage))),
            Call::Enter(seat) => {
                self.answering = Answering::Channel(seat.channel.clone());
                Some(Command::Seat(seat))
            }
            Call::Signal(signal) => {
                self.answering = Answering::Channel(signal.channel.clone());
                Some(Command::Signal(signal))
            }
            Call::Leave(vacate) => {
                self.answering = Answering::Channel(vacate.channel.clone());
                Some(Command::Vacate(vacate))
            }
            Call::Application(call) => Some(Command::Call(call)),
        }
    }

    fn answer(&mut self, response: Response, actions: &mut Actions) {
        if let Some(exchange) = self.exchange.take() {
            actions.respond(exchange, self.cors.on(response));
        }
        actions.push(Action::End);
    }

    fn refuse(&mut self, refusal: &Refusal, actions: &mut Actions) {
        self.answer(refused(refusal), actions);
    }

    fn on_reply(&mut self, reply: Reply, actions: &mut Actions) {
        let answering = std::mem::replace(&mut self.answering, Answering::Nothing);
        let response = match (reply, answering) {
            (Reply::Connected(_), _) => {
                match self.call.take().and_then(|call| self.command(call)) {
                    Some(command) => actions.run(ANSWER, command),
                    None => self.on_reply(Reply::Published(Vec::new()), actions),
                }
                return;
            }
            (Reply::Published(mut results), Answering::Channel(channel)) => match results.pop() {
                Some(Ok(published)) => render::json(200, |into| published_body(&channel, &published, into)),
                Some(Err(denied)) => refused(&Refusal::from(&denied)),
                None => refused(&defect()),
            },
            (Reply::Published(results), Answering::Batch(items)) => render::json(200, |into| batch_body(&items, results, into)),
            (Reply::History(page), Answering::History(channel, order, newest_first)) => render::json(200, |into| {
                let mut object = Object::begin(into);
                history_members(&channel, page, (order, newest_first), self.answer_bytes_max, &mut object);
                object.end();
            }),
            (Reply::Members(members), Answering::Channel(channel)) => render::json(200, |into| members_body(&channel, &members, into)),
            (Reply::Ice(servers), Answering::Ice(format)) => ice_answer(&servers, format),
            (Reply::Ticket(ticket, ttl_ms), _) => render::json(200, |into| manage::ticket_body(&ticket, ttl_ms, into)),
            (Reply::Connections(connections, more), _) => render::json(200, |into| manage::connections_body(&connections, more, into)),
            (Reply::Managed, _) => render::json(200, manage::done_body),
            (Reply::Deliveries(attempts), _) => render::json(200, |into| webhooks::deliveries_body(&attempts, into)),
            (Reply::Tested(id), _) => render::json(202, |into| webhooks::tested_body(&id, into)),
            (Reply::Seated(seated), Answering::Channel(channel)) => {
                render::json(200, |into| seated_message(&channel, &seated, &Origin::default(), into))
            }
            (Reply::Signalled, Answering::Channel(channel)) => about(202, "signalled", &channel),
            (Reply::Left, Answering::Channel(channel)) => about(200, "left", &channel),
            (Reply::Called(called), _) => render::json(200, |into| call::called_body(&called, into)),
            (Reply::Channels(channels), _) => render::json(200, |into| channels_body(&channels, into)),
            _ => refused(&defect()),
        };
        self.answer(response, actions);
    }
}

impl Session for ApiSession {
    fn handle(&mut self, _now: Instant, input: Input<'_>, actions: &mut Actions) {
        match input {
            Input::Exchange(exchange, _) => {
                self.exchange = Some(exchange);
                actions.run(CONNECT, self.connecting.command());
            }
            Input::Reply(_, Ok(reply)) => self.on_reply(reply, actions),
            Input::Reply(_, Err(denied)) => self.refuse(&Refusal::from(&denied), actions),
            Input::Abandoned(_) => {
                self.exchange = None;
                actions.push(Action::End);
            }
            Input::Control(omnivox_core::Control::Close(reason)) => {
                let words = super::codes::close_words(reason);
                self.refuse(&Refusal::from(&Denied::Unavailable(words.into())), actions);
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

/// An answer that only says what was done, and where.
fn about(status: u16, kind: &str, channel: &ChannelName) -> Response {
    render::json(status, |into| {
        let mut object = Object::message(kind, into);
        object.text("channel", channel.as_str());
        object.end();
    })
}

/// A reply that fits no question: ours is the fault.
fn defect() -> Refusal {
    Refusal { code: "internal", status: 500, words: "the server has a defect".into() }
}

/// Appends what became of a publication.
pub(super) fn published_body(channel: &ChannelName, published: &Published, into: &mut BytesMut) {
    let mut object = Object::begin(into);
    published_members(channel, published, &mut object);
    object.end();
}

/// Writes the members that tell what became of a publication.
pub(super) fn published_members(channel: &ChannelName, published: &Published, object: &mut Object<'_>) {
    object.text("channel", channel.as_str());
    if let Some(place) = published.places.first() {
        object.mark("id", place.position);
    }
    object.flag("duplicate", published.duplicate);
}

fn batch_body(items: &[Result<ChannelName, Refusal>], results: Vec<Result<Published, Denied>>, into: &mut BytesMut) {
    let mut results = results.into_iter();
    let mut object = Object::begin(into);
    object.list("results", items, |item, into| match item {
        Err(refusal) => render::error_body(refusal, into),
        Ok(channel) => match results.next() {
            Some(Ok(published)) => published_body(channel, &published, into),
            Some(Err(denied)) => render::error_body(&Refusal::from(&denied), into),
            None => render::error_body(&defect(), into),
        },
    });
    object.end();
}

/// Writes a page of history as members; what is too large for one answer is left for the next page.
pub(super) fn history_members(
    channel: &ChannelName,
    mut page: HistoryPage,
    (order, newest_first): (Order, bool),
    bytes_max: usize,
    object: &mut Object<'_>,
) {
    let fitting = render::fitting(&page.publications, bytes_max);
    let more = page.more || fitting < page.publications.len();
    page.publications.truncate(fitting);
    order.arrange(&mut page.publications, newest_first);
    object.text("channel", channel.as_str());
    object.list("events", &page.publications, |(event, place), into| {
        render::publication(event, Some(*place), render::Binary::Base64, into);
    });
    object.mark("id", page.position);
    object.flag("gap", page.gap);
    object.flag("more", more);
}

fn members_body(channel: &ChannelName, members: &[Member], into: &mut BytesMut) {
    let mut object = Object::begin(into);
    members_members(channel, members, &mut object);
    object.end();
}

/// Writes a channel's members.
pub(super) fn members_members(channel: &ChannelName, members: &[Member], object: &mut Object<'_>) {
    object.text("channel", channel.as_str());
    object.list("members", members, render::member);
}

/// How many bytes a list of members has, near enough.
pub(super) fn members_bytes(members: &[Member]) -> usize {
    let bytes = |member: &Member| {
        let (user, data) = (member.user.as_ref().map_or(0, |user| user.as_str().len()), member.data.as_ref().map_or(0, Bytes::len));
        MEMBER_BYTES + member.key.len() + user + data
    };
    members.iter().map(bytes).sum()
}

/// Appends which channels are in use.
pub(super) fn channels_body(channels: &[ChannelSummary], into: &mut BytesMut) {
    let mut object = Object::begin(into);
    object.list("channels", channels, |channel, into| {
        let mut object = Object::begin(into);
        object.text("channel", channel.channel.as_str());
        object.mark("id", channel.position);
        object.number("members", channel.members);
        object.end();
    });
    object.end();
}

/// The bytes of a member beside its names and data.
const MEMBER_BYTES: usize = 64;

const CONNECT: Ticket = Ticket(0);
const ANSWER: Ticket = Ticket(1);

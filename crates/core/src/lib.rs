//! The vocabulary of omnivox and its pure state: nothing here does I/O, reads a clock or draws a random number.
//!
//! A *dialect* turns one client's bytes into [`Command`]s and hub [`Event`]s into [`Frame`]s; the *hub* runs the commands;
//! an *engine* behind the ports of [`engine`] numbers and keeps the publications. The names used by all of them live here.
//!
//! Invariant: this crate imports no other crate of the workspace, and no tokio, socket, clock or environment.
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::disallowed_methods, reason = "a test has to start its clock somewhere"))]

pub mod address;
pub mod app;
pub mod budget;
pub mod call;
pub mod channel;
pub mod command;
pub mod engine;
pub mod event;
pub mod frame;
pub mod grants;
pub mod history;
pub mod http;
pub mod limits;
pub mod mark;
pub mod name;
pub mod origin;
pub mod outbox;
pub mod pattern;
pub mod pattern_table;
pub mod payload;
pub mod presence;
pub mod publication;
pub mod quota;
pub mod room;
pub mod session;
pub mod webhook;
pub mod wheel;

pub use app::{App, Namespace, Namespaces};
pub use command::{CloseReason, Command, Control, Credential, Denied, Reply, Ticket};
pub use event::{Event, MemberAction, PresenceEvent};
pub use frame::{EncodingKey, Frame, FrameKind, Framing};
pub use grants::{Grant, Grants, Permissions, Principal};
pub use http::{Coding, Request, Response};
pub use limits::Limits;
pub use mark::{Cursor, Epoch, Mark, Position};
pub use name::{AppId, ChannelKey, ChannelName, ChannelRef, SessionId, UserId};
pub use outbox::Outbox;
pub use pattern::Pattern;
pub use payload::Payload;
pub use publication::{Audience, Draft, Place, Publication};
pub use session::{Action, Actions, CarrierId, Dialect, ExchangeId, Input, Opening, Session, Switch};

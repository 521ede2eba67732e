//! What a publication of a Socket.IO client says about itself, for other Socket.IO clients.

use omnivox_core::publication::SHAPE_TAGS;

/// How the payload becomes arguments again. Without it the payload is the only argument.
pub(super) const ARGUMENTS: &str = SHAPE_TAGS[0];
/// There was no argument.
pub(super) const ARGUMENTS_NONE: &str = "none";
/// The payload is the array of all arguments.
pub(super) const ARGUMENTS_LIST: &str = "list";
/// The payload holds so many binary values, inlined as base64.
pub(super) const ATTACHMENTS: &str = SHAPE_TAGS[1];
/// The ids of the sockets that are to be spared, joined by commas, also when they come back under another session: that of the sender.
pub(super) const SOCKET: &str = "socket";
/// A direct message is an errand for a socket of the session: of which kind.
pub(super) const ERRAND: &str = "errand";
/// The namespace of the socket.
pub(super) const NAMESPACE: &str = "namespace";
/// The id of the socket, when the errand is for one alone.
pub(super) const TO: &str = "to";
/// The number under which somebody waits for what comes of the errand.
pub(super) const NUMBER: &str = "number";
/// The errand is for a socket that can take it now, and else for nobody.
pub(super) const VOLATILE: &str = "volatile";

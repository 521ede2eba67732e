//! What a publication of a Socket.IO client says about itself, for other Socket.IO clients.

/// How the payload becomes arguments again. Without it the payload is the only argument.
pub(super) const ARGUMENTS: &str = "args";
/// There was no argument.
pub(super) const ARGUMENTS_NONE: &str = "none";
/// The payload is the array of all arguments.
pub(super) const ARGUMENTS_LIST: &str = "list";
/// The payload holds so many binary values, inlined as base64.
pub(super) const ATTACHMENTS: &str = "attachments";
/// The id of the socket that emitted it and is to be spared, also when it comes back under another session.
pub(super) const SOCKET: &str = "socket";

// Settings files for `omnivox serve` in tests.

/// One open app on a free port of loopback, in which everyone may do everything; more sections can follow.
export const OPEN = `
[server]
listen = ["127.0.0.1:0"]

[[app]]
id = "demo"
open = true

[[namespace]]
channels = "*"
anonymous = ["subscribe", "publish", "presence", "history"]

`;
/// The test profile: an echo for conformance suites, with room for their largest messages, and compression for who offers it.
export const ECHO = `${OPEN.replace('[server]', '[server]\ndeflate = true')}
[limits]
message_bytes_max = 16777216
outbox_bytes_soft = 33554432
outbox_bytes_hard = 67108864

[[route]]
path = "/echo"
to = "echo"
`;

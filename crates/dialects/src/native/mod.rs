//! The native protocol: WebSocket, SSE, long polling and the HTTP API, without any SDK.

//! Server-sent events: [`Event`] writes `text/event-stream`, [`Parser`] reads it as a browser's EventSource does.
//!
//! Invariant: no payload, whatever line ends it has, can end an event early or add a field to it.
//!
//! ```
//! use omnivox_wire::sse::{Event, Parser, Received};
//!
//! let mut stream = bytes::BytesMut::new();
//! Event { id: Some("7"), event: Some("chat"), data: Some("two\nlines"), ..Event::default() }.encode(&mut stream).unwrap();
//! assert_eq!(&stream[..], b"id: 7\nevent: chat\ndata: two\ndata: lines\n\n");
//!
//! let mut parser = Parser::new(1024);
//! let mut received = Vec::new();
//! parser.feed(&stream, |event| received.push(event)).unwrap();
//! assert_eq!(received, [Received { event: "chat".into(), data: "two\nlines".into(), id: "7".into() }]);
//! ```

mod encoder;
mod parser;

pub use encoder::{CONTENT_TYPE, Event, FieldError, comment, retry};
pub use parser::{EventTooLarge, Parser, Received};

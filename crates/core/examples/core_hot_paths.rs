//! The shard's hot paths as a program whose instructions `cargo xtask counts` counts.
//!
//! `core_hot_paths` lists them; `core_hot_paths NAME ROUNDS` runs one. What a round costs is the difference between two runs of different
//! length, so that start-up cancels out.
#![expect(clippy::disallowed_methods, reason = "a program reads its arguments")]

use std::hint::black_box;
use std::time::Duration;

use bytes::Bytes;
use omnivox_core::outbox::{Outbox, OutboxLimits};
use omnivox_core::pattern::{Base, PatternIndex};
use omnivox_core::wheel::Wheel;
use omnivox_core::{ChannelName, Frame, FrameKind, Mark, Pattern};

type HotPath = (&'static str, fn(u32));

const PATHS: &[HotPath] = &[
    ("outbox-push-and-flush", outbox),
    ("wheel-schedule-and-fire", wheel),
    ("channel-name-parse", channel_name),
    ("mark-parse", mark),
    ("pattern-index", pattern_index),
];

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [name, rounds] = arguments.as_slice() else {
        return PATHS.iter().for_each(|(name, _)| println!("{name}"));
    };
    let (_, path) = PATHS.iter().find(|(known, _)| known == name).expect("a name from the list");
    path(rounds.parse().expect("a number of rounds"));
}

/// What one subscriber costs per publication: its outbox takes the shared frame and gives it to the socket.
fn outbox(rounds: u32) {
    let limits = OutboxLimits { hard_bytes: 4 << 20, soft_bytes: 1 << 20, soft_for: Duration::from_secs(10) };
    let frame = Frame::framed(FrameKind::Text, Bytes::from(vec![b'x'; 122]), 2, 0);
    let mut outbox = Outbox::default();
    for _ in 0..rounds {
        outbox.push(frame.clone(), &limits).expect("within the limits");
        {
            let mut slices = smallvec::SmallVec::new();
            outbox.slices(&mut slices, 64);
            black_box(&slices);
        }
        outbox.advance(black_box(frame.len()));
    }
}

/// What a heartbeat costs its shard: 1,000 connections, each due once a turn.
fn wheel(rounds: u32) {
    let mut wheel = Wheel::new(256);
    for connection in 0..1000_u64 {
        wheel.schedule(connection % 250, connection);
    }
    let mut due = Vec::new();
    let mut fired = 0;
    let mut tick = 0;
    while fired < rounds {
        wheel.advance(tick, &mut due);
        for connection in due.drain(..) {
            fired += 1;
            wheel.schedule(tick + 250, connection);
        }
        tick += 1;
    }
    black_box(wheel.len());
}

fn channel_name(rounds: u32) {
    for _ in 0..rounds {
        black_box(ChannelName::parse(black_box("private-chat:room-1234"))).expect("a good name");
    }
}

fn mark(rounds: u32) {
    for _ in 0..rounds {
        black_box(Mark::parse(black_box("1x2y3z4-123456"))).expect("a good mark");
    }
}

/// What a publication costs a shard on which 100,000 patterns live, four of which mean its channel.
fn pattern_index(rounds: u32) {
    let mut index = PatternIndex::default();
    for number in 0..25_000 {
        let patterns = [
            Pattern::parse(&format!("chat:{number}:*")).ok(),
            Pattern::template(&format!("https://example.com/users/{number}/{{thing}}")).ok(),
            Pattern::template(&format!("https://example.com/{{user}}/things/{number}")).ok(),
            Pattern::url(&format!("https://example.com/shops/:shop/{number}"), &Base::default()).ok(),
        ];
        patterns.into_iter().flatten().for_each(|pattern| index.insert(&pattern, number));
    }
    let names = ["chat:17:a", "https://example.com/users/17/x", "https://example.com/ana/things/17", "https://example.com/shops/a/17"];
    for round in 0..rounds {
        let mut found = 0;
        index.matches(black_box(names[round as usize % 4]), |number| found += number);
        assert_eq!(found, 17);
    }
}

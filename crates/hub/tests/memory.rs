//! The memory engine: the suite that all engines pass, what is its own, and a comparison with a model that keeps everything.

#[path = "memory/model.rs"]
mod model;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use omnivox_core::Limits;
use omnivox_core::engine::{Announcer, EngineError};
use omnivox_hub::MemoryEngine;
use omnivox_testkit::engine::{AMPLE, Engine, Fixture, draft, outcome};

fn memory(announcer: Arc<dyn Announcer>, limits: Limits) -> Engine {
    let now_ms = Arc::new(AtomicU64::new(1_700_000_000_000));
    let clock = now_ms.clone();
    let engine = Arc::new(MemoryEngine::new(announcer, Arc::new(limits), Arc::new(move || clock.load(Ordering::SeqCst)), 7));
    let (log, presence) = (engine.clone(), engine.clone());
    let advance = Box::new(move |time: Duration| {
        now_ms.fetch_add(time.as_millis() as u64, Ordering::SeqCst);
        engine.sweep();
    });
    Engine { log, presence, advance }
}

omnivox_testkit::engine_suite!(memory);

#[test]
fn ids_are_remembered_up_to_a_number() {
    let fixture = Fixture::new(&|announcer, limits| memory(announcer, Limits { idempotency_ids_max: 2, ..limits }));
    let publish = |id| fixture.publish_as(&fixture.app, "a", id).duplicate;
    assert_eq!(["x", "y", "x", "z", "y", "x"].map(publish), [false, false, true, false, true, false]);
}

#[test]
fn channels_are_limited_and_given_back() {
    let fixture = Fixture::new(&|announcer, limits| memory(announcer, Limits { channels_max: 2, ..limits }));
    let publish = |channels: &str| outcome(fixture.engine.log.publish(&fixture.app, draft(channels), AMPLE));
    assert!(publish("a").is_ok());
    assert!(publish("b").is_ok());
    assert!(matches!(publish("c"), Err(EngineError::Limit { setting: "channels_max", .. })));
    assert!(publish("a").is_ok(), "a channel that is there needs no room");
    fixture.advance(AMPLE.age_max + Duration::from_secs(1));
    assert!(publish("c").is_ok(), "channels that were forgotten leave room");
}

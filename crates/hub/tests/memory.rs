//! The memory engine: the suite that all engines pass, what is its own, and a comparison with a model that keeps everything.

#[path = "memory/model.rs"]
mod model;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use omnivox_core::engine::{Announcer, EngineError, Witness};
use omnivox_core::event::{Member, PresenceEvent};
use omnivox_core::{AppId, ChannelKey, Limits, Publication, SessionId, UserId};
use omnivox_hub::MemoryEngine;
use omnivox_testkit::engine::{AMPLE, Engine, Fixture, draft, outcome};

fn memory(announcer: Arc<dyn Announcer>, limits: Limits) -> Engine {
    witnessed(announcer, limits, Arc::default())
}

fn witnessed(announcer: Arc<dyn Announcer>, limits: Limits, witness: Arc<Told>) -> Engine {
    let now_ms = Arc::new(AtomicU64::new(1_700_000_000_000));
    let clock = now_ms.clone();
    let engine = MemoryEngine::new(announcer, Arc::new(limits), Arc::new(move || clock.load(Ordering::SeqCst)), 7);
    let engine = Arc::new(engine.witnessed_by(witness));
    let (log, presence) = (engine.clone(), engine.clone());
    let advance = Box::new(move |time: Duration| {
        now_ms.fetch_add(time.as_millis() as u64, Ordering::SeqCst);
        engine.sweep();
    });
    Engine { log, presence, advance }
}

omnivox_testkit::engine_suite!(memory);

/// A witness that writes down what it is told.
#[derive(Default)]
struct Told(Mutex<Vec<String>>);

impl Told {
    fn note(&self, words: String) {
        self.0.lock().unwrap().push(words);
    }

    fn take(&self) -> String {
        self.0.lock().unwrap().drain(..).collect::<Vec<_>>().join(" ")
    }
}

impl Witness for Told {
    fn published(&self, publication: &Arc<Publication>) {
        let places = publication.places.iter().map(|place| format!("{}={}", place.channel, place.position.offset));
        self.note(places.collect::<Vec<_>>().join("&"));
    }

    fn occupied(&self, key: &ChannelKey, occupied: bool) {
        self.note(format!("{}{}", if occupied { "+" } else { "-" }, key.channel));
    }

    fn appeared(&self, _: &AppId, event: &Arc<PresenceEvent>) {
        self.note(format!("{:?}/{}{}", event.action, event.member.key, if event.only_of_user { "!" } else { "" }));
    }
}

#[test]
fn a_witness_is_told_of_an_app_as_a_whole() {
    let told = Arc::new(Told::default());
    let witness = told.clone();
    let fixture = Fixture::new(&move |announcer, limits| witnessed(announcer, limits, witness.clone()));
    fixture.join(0, "a+b");
    fixture.join(1, "a");
    fixture.join(0, "a");
    assert_eq!(told.take(), "+a +b", "another shard is not the first");
    [(0, "a"), (0, "b"), (0, "b"), (1, "a"), (1, "never")].into_iter().for_each(|(shard, channel)| fixture.leave(shard, channel));
    assert_eq!(told.take(), "-b -a", "once, when the last shard is gone");
    fixture.publish("nobody+listens");
    fixture.publish_as(&fixture.app, "a", "x");
    fixture.publish_as(&fixture.app, "a", "x");
    assert_eq!(told.take(), "nobody=1&listens=1 a=1", "a repetition is no publication");
    let session = |slot| SessionId { node: 1, shard: 0, slot, generation: 0 };
    let enter = |slot, data: &'static str| {
        let user = UserId::parse("ana").ok();
        let member = Member { session: session(slot), key: "me".into(), user, data: Some(data.into()) };
        outcome(fixture.engine.presence.enter(&fixture.key("a"), member, false, 9)).unwrap();
    };
    [(1, "1"), (2, "1"), (1, "2"), (1, "2")].into_iter().for_each(|(slot, data)| enter(slot, data));
    assert_eq!(told.take(), "Enter/me! Enter/me Update/me");
    [1, 1, 2].into_iter().for_each(|slot| outcome(fixture.engine.presence.leave(&fixture.key("a"), session(slot), "me")).unwrap());
    assert_eq!(told.take(), "Leave/me Leave/me!");
}

#[test]
fn ids_are_remembered_up_to_a_number() {
    let fixture = Fixture::new(&|announcer, limits| memory(announcer, Limits { idempotency_ids_max: 2, ..limits }));
    let publish = |id| fixture.publish_as(&fixture.app, "a", id).duplicate;
    assert_eq!(["x", "y", "x", "z", "y", "x"].map(publish), [false, false, true, false, true, false]);
}

#[test]
fn channels_are_limited_and_given_back() {
    let fixture = Fixture::new(&|announcer, limits| memory(announcer, Limits { channels_max: 2, ..limits }));
    let publish = |channels: &str| outcome(fixture.engine.log.publish(&fixture.app, draft(channels), AMPLE.into()));
    assert!(publish("a").is_ok());
    assert!(publish("b").is_ok());
    assert!(matches!(publish("c"), Err(EngineError::Limit { setting: "channels_max", .. })));
    assert!(publish("a").is_ok(), "a channel that is there needs no room");
    fixture.advance(AMPLE.age_max + Duration::from_secs(1));
    assert!(publish("c").is_ok(), "channels that were forgotten leave room");
}

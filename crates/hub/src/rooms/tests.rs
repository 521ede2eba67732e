//! Rooms over the memory engine: who gets which seat, who hears which signal.

use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

use omnivox_auth::Settings;
use omnivox_core::app::{App, Namespace, Namespaces};
use omnivox_core::command::Command;
use omnivox_core::engine::{Announcement, Announcer, ShardSet};
use omnivox_core::room::Claim;
use omnivox_core::{Limits, Pattern};

use super::*;
use crate::hub::Caller;
use crate::memory::MemoryEngine;

/// Keeps what was announced.
#[derive(Default)]
struct Heard(Mutex<Vec<Announcement>>);

impl Announcer for Heard {
    fn announce(&self, _shards: ShardSet, announcement: Announcement) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(announcement);
    }
}

/// A relay that remembers what it was told.
#[derive(Default)]
struct Told(Mutex<Vec<String>>);

impl Told {
    fn note(&self, line: String) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(line);
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Relay for Told {
    fn issue(&self, holder: &Holder, ttl_s: Option<u64>, _now_ms: u64) -> Result<IceServers, Denied> {
        let room = holder.room.as_ref().map_or("-", ChannelName::as_str);
        self.note(format!("issue {room} {}", if holder.seat.is_some() { "seat" } else { "user" }));
        let (stun, turn) = (Vec::new(), Vec::new());
        Ok(IceServers { stun, turn, username: "u".into(), credential: "c".into(), ttl_s: ttl_s.unwrap_or(60), expires_s: 1 })
    }

    fn cut_off(&self, holder: &Holder) {
        self.note(format!("cut off {}", holder.room.as_ref().map_or("-", ChannelName::as_str)));
    }

    fn cut_off_user(&self, _app: &AppId, user: &UserId) {
        self.note(format!("cut off {user}"));
    }
}

struct World {
    hub: Hub,
    heard: Arc<Heard>,
    told: Arc<Told>,
    app: AppId,
}

impl World {
    fn new(allowed: Permissions) -> Self {
        let app = AppId::parse("demo").unwrap();
        let mut namespace = Namespace::new("", Pattern::All);
        namespace.anonymous = allowed;
        let settings = Settings::open(Arc::new(App::new(app.clone(), Namespaces::new(vec![namespace]))));
        let limits = Arc::new(Limits { seats_per_room_max: 3, signals_burst_max: 2, ..Limits::default() });
        let heard = Arc::new(Heard::default());
        let clock: crate::memory::Clock = Arc::new(|| 1_700_000_000_000);
        let engine = Arc::new(MemoryEngine::new(heard.clone(), limits.clone(), clock.clone(), 1));
        let hub = Hub::new(vec![settings], engine.clone(), engine, limits, clock);
        let told = Arc::new(Told::default());
        hub.set_relay(told.clone());
        Self { hub, heard, told, app }
    }

    fn run(&self, slot: u32, command: Command) -> Result<Reply, Denied> {
        let principal = Some(Arc::new(Principal::anonymous(self.app.clone())));
        let caller = Caller { session: session(slot), principal, subscriptions: 0 };
        let mut running = self.hub.run(&caller, command, 0);
        match running.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(outcome) => outcome.map(|outcome| match outcome {
                Outcome::Reply(reply) => reply,
                Outcome::Joined(..) => panic!("only a subscribe joins"),
            }),
            Poll::Pending => panic!("the memory engine answers at once"),
        }
    }

    fn seat(&self, slot: u32, claim: Claim) -> Result<Reply, Denied> {
        self.run(slot, Command::Seat(Box::new(Seat { channel: room(), claim, data: None })))
    }

    fn seated(&self, slot: u32, claim: Claim) -> Seated {
        match self.seat(slot, claim) {
            Ok(Reply::Seated(seated)) => *seated,
            other => panic!("no seat: {other:?}"),
        }
    }

    fn signal(&self, slot: u32, to: &str) -> Result<Reply, Denied> {
        self.run(slot, Command::Signal(Box::new(Signal { channel: room(), to: to.into(), data: Bytes::from_static(b"1") })))
    }

    /// To whom direct messages went since the last time, and what they said.
    fn directs(&self) -> Vec<(Vec<u32>, String)> {
        let heard = std::mem::take(&mut *self.heard.0.lock().unwrap_or_else(PoisonError::into_inner));
        let directs = heard.iter().filter_map(|announcement| match announcement {
            Announcement::Direct(publication) => Some(publication),
            _ => None,
        });
        let line = |publication: &Arc<omnivox_core::Publication>| {
            let slots = publication.draft.audience.sessions.iter().map(|session| session.slot).collect();
            (slots, String::from_utf8_lossy(publication.draft.payload.bytes()).into_owned())
        };
        directs.map(line).collect()
    }
}

fn session(slot: u32) -> SessionId {
    SessionId { node: 1, shard: 0, slot, generation: 0 }
}

fn room() -> ChannelName {
    ChannelName::parse("room").unwrap()
}

fn secret(text: &str, member: Option<&str>) -> Claim {
    Claim::Secret { secret: format!("{text:0>16}").into(), member: member.map(Into::into) }
}

fn name(name: &str, token: &str) -> Claim {
    Claim::Name { name: name.into(), token: token.into() }
}

#[test]
fn a_signal_reaches_one_seat_and_names_the_other() {
    let world = World::new(Permissions::CLIENT);
    let ana = world.seated(1, secret("ana", None));
    let bob = world.seated(2, secret("bob", None));
    assert_eq!(ana.peers.len() + bob.peers.len(), 1, "the later one is told of the earlier one");
    assert_eq!(bob.peers[0].polite, bob.member > ana.member);
    world.directs();
    assert!(matches!(world.signal(2, &ana.member), Ok(Reply::Signalled)));
    let expected = format!(r#"{{"channel":"room","from":"{}","data":1}}"#, bob.member);
    assert_eq!(world.directs(), [(vec![1], expected)]);
    assert!(matches!(world.signal(2, "~nobody"), Err(Denied::NotFound(_))));
    assert!(matches!(world.signal(3, &ana.member), Err(Denied::Forbidden(_))), "a stranger");
    assert!(matches!(world.signal(2, &ana.member), Err(Denied::Limit { setting: "signals_per_second_max", .. })), "the burst is over");
    assert!(world.directs().is_empty());
}

#[test]
fn a_seat_goes_with_its_secret_to_the_next_session() {
    let world = World::new(Permissions::CLIENT);
    let first = world.seated(1, secret("ana", None));
    let again = world.seated(2, secret("ana", Some(&first.member)));
    assert_eq!(again.member, first.member);
    let other = world.seated(3, secret("bob", Some(&first.member)));
    assert_ne!(other.member, first.member, "another secret, another seat");
    world.directs();
    world.signal(3, &first.member).unwrap();
    assert_eq!(world.directs()[0].0, [2], "the session that has it now");
    world.told.take();
    let leave = |slot| {
        let principal = Principal::anonymous(world.app.clone());
        let mut leaving = world.hub.unseat(&principal, &room(), session(slot), &first.member);
        assert!(leaving.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready());
        world.told.take()
    };
    assert!(leave(1).is_empty(), "the session before is over, the seat is not");
    assert_eq!(leave(2), ["cut off room"]);
}

#[test]
fn a_name_is_its_owners() {
    let world = World::new(Permissions::CLIENT);
    assert_eq!(&*world.seated(1, name("bob", "t")).member, "~bob");
    assert!(matches!(world.seat(2, name("bob", "other")), Ok(Reply::Taken)));
    assert_eq!(&*world.seated(2, name("bob", "t")).member, "~bob");
    let heard = std::mem::take(&mut *world.heard.0.lock().unwrap());
    let ended = heard.iter().any(|news| matches!(news, Announcement::Disconnect(_, Whom::Session(old)) if *old == session(1)));
    assert!(ended, "the session that had it before ends");
    let key = Arc::from("~bob");
    let enter = omnivox_core::command::Enter { channel: room(), key, data: None, update_only: false };
    assert!(matches!(world.run(3, Command::Enter(Box::new(enter))), Err(Denied::Invalid(_))), "nobody sits down without a claim");
}

#[test]
fn a_room_is_full_some_time() {
    let world = World::new(Permissions::CLIENT);
    for (slot, who) in [(1, "a"), (2, "b"), (3, "c")] {
        world.seated(slot, secret(who, None));
    }
    assert!(matches!(world.seat(4, secret("d", None)), Err(Denied::Limit { setting: "seats_per_room_max", .. })));
    assert!(matches!(world.seat(3, secret("d", None)), Err(Denied::Invalid(_))), "one seat for a session");
}

#[test]
fn grants_rule_seats_signals_and_relays() {
    let check = |allowed: Permissions, seat: bool, signal: bool, ice: bool| {
        let world = World::new(allowed);
        let seated = world.seat(1, secret("ana", None));
        assert_eq!(seated.is_ok(), seat, "{allowed}");
        let refused = matches!(world.signal(1, "~x"), Err(Denied::Forbidden(_)));
        assert_eq!(!refused, signal, "{allowed}");
        let wish = IceWish { channel: Some(room()), ttl_s: Some(7) };
        assert_eq!(world.run(1, Command::Ice(Box::new(wish))).is_ok(), ice, "{allowed}");
    };
    check(Permissions::CLIENT, true, true, true);
    check(Permissions::PRESENCE, true, false, true);
    check(Permissions::SUBSCRIBE.with(Permissions::PUBLISH), false, false, false);
    let world = World::new(Permissions::CLIENT);
    let nowhere = Command::Ice(Box::new(IceWish { channel: None, ttl_s: None }));
    assert!(matches!(world.run(1, nowhere), Err(Denied::Invalid(_))), "without a credential a relay is for one room");
}

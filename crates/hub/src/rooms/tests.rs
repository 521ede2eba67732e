//! Rooms over the memory engine: who gets which seat, who hears which signal.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

use omnivox_auth::Settings;
use omnivox_core::app::{App, Namespace, Namespaces};
use omnivox_core::command::Command;
use omnivox_core::engine::{Announcement, Announcer, ShardSet};
use omnivox_core::room::{Claim, Vacate};
use omnivox_core::{Limits, Pattern};

use super::*;
use crate::hub::Caller;
use crate::leases::Watched;
use crate::memory::MemoryEngine;
use crate::quotas::Share;

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
    hub: Arc<Hub>,
    heard: Arc<Heard>,
    told: Arc<Told>,
    app: AppId,
    now_ms: Arc<AtomicU64>,
}

impl World {
    fn new(allowed: Permissions) -> Self {
        let app = AppId::parse("demo").unwrap();
        let mut namespace = Namespace::new("", Pattern::All);
        namespace.anonymous = allowed;
        let settings = Settings::open(Arc::new(App::new(app.clone(), Namespaces::new(vec![namespace]))));
        let limits = Arc::new(Limits { seats_per_room_max: 3, seats_leased_max: 2, signals_burst_max: 2, ..Limits::default() });
        let heard = Arc::new(Heard::default());
        let now_ms = Arc::new(AtomicU64::new(1_700_000_000_000));
        let time = now_ms.clone();
        let clock: crate::memory::Clock = Arc::new(move || time.load(Ordering::Relaxed));
        let engine = Arc::new(MemoryEngine::new(heard.clone(), limits.clone(), clock.clone(), 1));
        let hub = Arc::new(Hub::new(vec![settings], engine.clone(), engine, limits, clock));
        let told = Arc::new(Told::default());
        hub.set_relay(told.clone());
        Self { hub, heard, told, app, now_ms }
    }

    fn run(&self, slot: u32, command: Command) -> Result<Reply, Denied> {
        let principal = Some(Arc::new(Principal::anonymous(self.app.clone())));
        let caller =
            Caller { session: session(slot), principal, subscriptions: 0, quota: Share::default(), dialect: "native", remote: None };
        let mut running = self.hub.run(&caller, command, 0);
        match std::pin::Pin::new(&mut running).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(outcome) => outcome.map(|outcome| match outcome {
                Outcome::Reply(reply) => reply,
                Outcome::Joined(..) | Outcome::Granted(..) => panic!("only a subscribe joins, and nobody vouches"),
            }),
            Poll::Pending => panic!("the memory engine answers at once"),
        }
    }

    fn seat(&self, slot: u32, claim: Claim) -> Result<Reply, Denied> {
        self.run(slot, Command::Seat(Box::new(Seat { channel: room(), claim, data: None, leased: false })))
    }

    fn seated(&self, slot: u32, claim: Claim) -> Seated {
        match self.seat(slot, claim) {
            Ok(Reply::Seated(seated)) => *seated,
            other => panic!("no seat: {other:?}"),
        }
    }

    /// A seat on lease.
    fn leased(&self, slot: u32, claim: Claim) -> Seated {
        match self.run(slot, Command::Seat(Box::new(Seat { channel: room(), claim, data: None, leased: true }))) {
            Ok(Reply::Seated(seated)) => *seated,
            other => panic!("no seat: {other:?}"),
        }
    }

    /// Reads an inbox from its beginning, as whoever shows that key.
    fn letters(&self, slot: u32, member: &str, key: &str) -> Result<Vec<String>, Denied> {
        let Reply::Kept(inbox, _) = self.run(slot, Command::Keep(key.into()))? else { panic!("not kept") };
        assert_eq!(inbox, ChannelName::inbox(member));
        let channels = [inbox].into_iter().collect();
        let (since, delivery) = (Some(omnivox_core::Mark::Earliest), omnivox_core::command::Delivery::Stateful);
        let replay = omnivox_core::command::Replay::InReply;
        let patterns = smallvec::SmallVec::new();
        let subscribe = omnivox_core::command::Subscribe { channels, patterns, since, delivery, presence: true, replay };
        let principal = Some(Arc::new(Principal::anonymous(self.app.clone())));
        let caller =
            Caller { session: session(slot), principal, subscriptions: 0, quota: Share::default(), dialect: "native", remote: None };
        let mut running = self.hub.run(&caller, Command::Subscribe(Box::new(subscribe)), 0);
        match std::pin::Pin::new(&mut running).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Ok(Outcome::Joined(_, joined))) => {
                let text = |(letter, _): &(Arc<omnivox_core::Publication>, usize)| {
                    String::from_utf8_lossy(letter.draft.payload.bytes()).into_owned()
                };
                Ok(joined.missed.iter().map(text).collect())
            }
            other => panic!("not subscribed: {other:?}"),
        }
    }

    /// Lets time pass and looks at a lease.
    fn later(&self, ms: u64, member: &Arc<str>, number: u64) -> Watched {
        self.now_ms.fetch_add(ms, Ordering::Relaxed);
        self.hub.watched_lease(&self.app, member, number)
    }

    fn signal(&self, slot: u32, to: &str) -> Result<Reply, Denied> {
        self.run(slot, Command::Signal(Box::new(Signal { channel: room(), from: None, to: to.into(), data: Bytes::from_static(b"1") })))
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
    world.directs();
    assert!(matches!(world.signal(2, &ana.member), Ok(Reply::Signalled)));
    let expected = format!(r#"{{"channel":"room","from":"{}","data":1}}"#, bob.member);
    assert_eq!(world.directs(), [(vec![1], expected)]);
    assert!(matches!(world.signal(2, "~nobody"), Err(Denied::NotFound(_))));
    assert!(matches!(world.signal(3, &ana.member), Err(Denied::Forbidden(_))), "a stranger");
    assert!(matches!(world.signal(2, &ana.member), Err(Denied::Limit { setting: "signals_per_second_max", .. })), "the burst is over");
    assert!(world.directs().is_empty());
}

/// The clock of the world stands still, and of the names that chance alone would give, every second one would sort before its predecessor.
#[test]
fn the_later_of_two_is_polite_also_within_a_millisecond() {
    let world = World::new(Permissions::CLIENT);
    let rooms = ["one", "two", "three", "four", "five", "six"].map(|room| ChannelName::parse(room).unwrap());
    let mut before: Option<Seated> = None;
    for (room, slot) in rooms.iter().zip(1..) {
        for (who, slot) in [("ana", slot), ("bob", slot + 100)] {
            let seat = Seat { channel: room.clone(), claim: secret(who, None), data: None, leased: false };
            let Ok(Reply::Seated(seated)) = world.run(slot, Command::Seat(Box::new(seat))) else { panic!("no seat") };
            assert!(seated.peers.iter().all(|peer| peer.polite), "{who} comes later and is polite");
            assert!(before.is_none_or(|before| before.member < seated.member), "names sort by when they were given");
            before = Some(*seated);
        }
    }
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

fn done(mut task: Task<()>) {
    assert!(matches!(task.as_mut().poll(&mut Context::from_waker(Waker::noop())), Poll::Ready(Ok(()))));
}

#[test]
fn what_is_said_to_a_seat_on_lease_waits_in_its_inbox() {
    let world = World::new(Permissions::CLIENT);
    let ana = world.leased(1, secret("ana", None));
    let key = ana.inbox.clone().unwrap().key;
    let bob = world.seated(2, secret("bob", None));
    assert_eq!(bob.peers.len(), 1);
    world.signal(2, &ana.member).unwrap();
    let letters = world.letters(3, &ana.member, &key).unwrap();
    assert_eq!(letters.len(), 2, "{letters:?}");
    assert!(letters[0].contains(r#""action":"enter""#) && letters[0].contains(&*bob.member), "who came: {letters:?}");
    assert_eq!(letters[1], format!(r#"{{"channel":"room","from":"{}","data":1}}"#, bob.member));
    world.directs();
    let from = Some(secret("ana", Some(&ana.member)));
    let signal = |from, data: &'static [u8]| Signal { channel: room(), from, to: bob.member.clone(), data: Bytes::from_static(data) };
    world.run(4, Command::Signal(Box::new(signal(from, b"2")))).unwrap();
    assert_eq!(world.directs(), [(vec![2], format!(r#"{{"channel":"room","from":"{}","data":2}}"#, ana.member))]);
    let stranger = world.run(4, Command::Signal(Box::new(signal(Some(secret("eve", Some(&ana.member))), b"3"))));
    assert!(matches!(stranger, Err(Denied::NotFound(_))), "a secret gives its own seat only");
    world.run(2, Command::Leave(room(), bob.member.clone())).unwrap();
    let letters = world.letters(3, &ana.member, &key).unwrap();
    assert!(letters[2].contains(r#""action":"leave""#), "{letters:?}");
}

#[test]
fn an_inbox_opens_to_its_key_and_to_nothing_else() {
    let world = World::new(Permissions::ALL);
    let (ana, eve) = (world.leased(1, secret("ana", None)), world.leased(2, secret("eve", None)));
    let key = ana.inbox.unwrap().key;
    assert!(world.letters(3, &ana.member, &key).is_ok());
    for wrong in [format!("{}.{}", ana.member, "x".repeat(22)), key.replace(&*ana.member, &eve.member), "~a".into(), String::new()] {
        assert!(world.letters(4, &ana.member, &wrong).is_err(), "{wrong}");
    }
    // Whoever may do everything, and has read another inbox before, may still not read this one.
    let inbox = ChannelName::inbox(&ana.member);
    let query = omnivox_core::engine::HistoryQuery { since: None, before: None, most: 9, newest_first: false };
    assert!(matches!(world.run(4, Command::History(inbox.clone(), query)), Err(Denied::Forbidden(_))));
    let draft = omnivox_core::Draft::new(inbox, omnivox_core::Payload::Json(Bytes::from_static(b"1")));
    let Ok(Reply::Published(published)) = world.run(4, Command::Publish(smallvec::SmallVec::from_elem(Box::new(draft), 1))) else {
        panic!()
    };
    assert!(matches!(published[0], Err(Denied::Forbidden(_))));
    world.signal(1, &ana.member).unwrap_err();
    let Ok(Reply::Channels(channels)) = world.run(4, Command::Channels("".into())) else { panic!() };
    assert!(channels.iter().all(|channel| !channel.channel.is_inbox()), "nobody lists them: {channels:?}");
}

#[test]
fn a_lease_lapses_unless_its_client_shows_up() {
    let world = World::new(Permissions::CLIENT);
    let ana = world.leased(1, secret("ana", None));
    let number = world.hub.watch_lease(&world.app, &ana.member).unwrap();
    assert_eq!(world.hub.watch_lease(&world.app, &ana.member), None, "one watcher is enough");
    assert!(matches!(world.later(14_000, &ana.member, number), Watched::Left(left) if left.as_millis() == 1000));
    world.letters(3, &ana.member, &ana.inbox.unwrap().key).unwrap();
    assert!(matches!(world.later(14_000, &ana.member, number), Watched::Left(_)), "a look into the inbox is a sign");
    let again = world.leased(4, secret("ana", Some(&ana.member)));
    assert_eq!(again.member, ana.member);
    assert!(matches!(world.later(14_000, &ana.member, number), Watched::Left(_)), "and so is coming again");
    world.told.take();
    let Watched::Lapsed(unseating) = world.later(1_000, &ana.member, number) else { panic!("it lapses") };
    done(unseating);
    assert_eq!(world.told.take(), ["cut off room"]);
    assert!(matches!(world.later(0, &ana.member, number), Watched::Gone));
    let Ok(Reply::Members(members)) = world.run(1, Command::Members(room())) else { panic!() };
    assert_eq!(members, []);
}

#[test]
fn leases_end_with_their_client() {
    let world = World::new(Permissions::CLIENT);
    let ana = world.leased(1, secret("ana", None));
    let bob = world.leased(2, secret("bob", None));
    let third = Seat { channel: room(), claim: secret("eve", None), data: None, leased: true };
    assert!(matches!(world.run(3, Command::Seat(Box::new(third))), Err(Denied::Limit { setting: "seats_leased_max", .. })));
    let Ok(Reply::Members(members)) = world.run(1, Command::Members(room())) else { panic!() };
    assert_eq!(members.len(), 2, "who got no lease has no seat");
    let vacate = Vacate { channel: room(), claim: secret("bob", Some(&bob.member)) };
    assert!(matches!(world.run(3, Command::Vacate(Box::new(vacate))), Ok(Reply::Left)));
    let ends = world.hub.end_leases(&world.app, &Whom::Session(members.iter().find(|member| member.key == ana.member).unwrap().session));
    assert_eq!(ends.len(), 1);
    ends.into_iter().for_each(done);
    let Ok(Reply::Members(members)) = world.run(1, Command::Members(room())) else { panic!() };
    assert_eq!(members, []);
    // A connection takes the seat over: the lease is over, the seat is not.
    let ana = world.leased(1, secret("ana", None));
    let number = world.hub.watch_lease(&world.app, &ana.member).unwrap();
    world.seated(5, secret("ana", Some(&ana.member)));
    assert!(matches!(world.later(60_000, &ana.member, number), Watched::Gone));
    let Ok(Reply::Members(members)) = world.run(1, Command::Members(room())) else { panic!() };
    assert_eq!(members.iter().map(|member| member.session).collect::<Vec<_>>(), [session(5)]);
}

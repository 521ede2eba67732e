//! Cases of presence.

use bytes::Bytes;
use omnivox_core::engine::{Announcement, EngineError};
use omnivox_core::event::Member;
use omnivox_core::{SessionId, UserId};

use super::{Fixture, done, outcome, watching};

/// More members than any case has.
const MANY: usize = 100;

/// A session of the node.
pub(super) fn session(slot: u32) -> SessionId {
    SessionId { node: 1, shard: 0, slot, generation: 0 }
}

fn member(slot: u32, key: &str, user: Option<&str>, data: &str) -> Member {
    let user = user.map(|user| UserId::parse(user).expect("a name"));
    Member { session: session(slot), key: key.into(), user, data: Some(Bytes::from(data.to_owned())) }
}

/// A session enters a channel.
pub(super) fn enter(fixture: &Fixture, channel: &str, slot: u32, key: &str, user: Option<&str>) {
    done(fixture.engine.presence.enter(&fixture.key(channel), member(slot, key, user, "1"), false, MANY));
}

/// A session leaves a channel.
pub(super) fn leave(fixture: &Fixture, channel: &str, slot: u32, key: &str) {
    done(fixture.engine.presence.leave(&fixture.key(channel), session(slot), key));
}

/// The members of a channel as `KEY DATA`, sorted.
fn members(fixture: &Fixture, channel: &str) -> String {
    let found = done(fixture.engine.presence.members(&fixture.key(channel)));
    let shown = |member: &Member| {
        let data = member.data.as_deref().map(|data| String::from_utf8_lossy(data).into_owned());
        format!("{}{} {}", member.key, member.session.slot, data.unwrap_or_default())
    };
    let mut found: Vec<String> = found.iter().map(shown).collect();
    found.sort_unstable();
    found.join(", ")
}

/// A member comes, changes and goes; each is told once, with the member as it was.
pub fn members_come_change_and_go(fixture: &Fixture) {
    let (presence, key) = (&fixture.engine.presence, fixture.key("a"));
    fixture.join(0, "a");
    assert_eq!(members(fixture, "a"), "");
    for data in ["1", "2", "2"] {
        done(presence.enter(&key, member(1, "x", None, data), false, MANY));
    }
    assert_eq!(members(fixture, "a"), "x1 2");
    leave(fixture, "a", 1, "x");
    leave(fixture, "a", 1, "x");
    leave(fixture, "never", 1, "x");
    assert_eq!(members(fixture, "a"), "");
    fixture.announced.wait_for(0, 3);
    let seen: Vec<Member> = fixture
        .announced
        .everything(0)
        .iter()
        .map(|news| match news {
            Announcement::Presence(app, event) if *app == fixture.app => event.member.clone(),
            other => panic!("not expected: {other:?}"),
        })
        .collect();
    assert_eq!(seen, ["1", "2", "2"].map(|data| member(1, "x", None, data)));
    assert_eq!(fixture.heard(0, 3), "a enter x! a update x a leave x!");
}

/// An update needs an entry.
pub fn only_members_that_are_there_are_updated(fixture: &Fixture) {
    let update = |data| outcome(fixture.engine.presence.enter(&fixture.key("a"), member(1, "x", None, data), true, 1));
    fixture.join(0, "a");
    assert!(matches!(update("1"), Err(EngineError::NotFound(_))));
    enter(fixture, "a", 1, "x", None);
    assert_eq!(update("2"), Ok(()));
    assert_eq!(members(fixture, "a"), "x1 2");
    leave(fixture, "a", 1, "x");
    assert!(matches!(update("3"), Err(EngineError::NotFound(_))));
    assert_eq!(fixture.heard(0, 3), "a enter x! a update x a leave x!");
}

/// Two sessions may use the same key, and one session several.
pub fn entries_are_told_apart_by_session_and_key(fixture: &Fixture) {
    for (slot, key) in [(1, "x"), (2, "x"), (1, "y"), (1, "")] {
        enter(fixture, "a", slot, key, None);
    }
    enter(fixture, "b", 1, "x", None);
    assert_eq!(members(fixture, "a"), "1 1, x1 1, x2 1, y1 1");
    leave(fixture, "a", 1, "x");
    leave(fixture, "a", 2, "y");
    assert_eq!(members(fixture, "a"), "1 1, x2 1, y1 1");
    assert_eq!(members(fixture, "b"), "x1 1");
}

/// The first entry of a user and the last one are marked; an entry without a user is always both.
pub fn a_user_comes_once_and_goes_once(fixture: &Fixture) {
    fixture.join(0, "a");
    enter(fixture, "a", 1, "x", Some("ann"));
    enter(fixture, "a", 2, "x", Some("ann"));
    enter(fixture, "a", 3, "z", None);
    enter(fixture, "a", 4, "z", None);
    enter(fixture, "a", 5, "o", Some("bob"));
    enter(fixture, "b", 6, "x", Some("ann"));
    leave(fixture, "a", 3, "z");
    leave(fixture, "a", 1, "x");
    leave(fixture, "a", 2, "x");
    assert_eq!(fixture.heard(0, 8), "a enter x! a enter x a enter z! a enter z! a enter o! a leave z! a leave x a leave x!");
}

/// A channel has room for so many entries; those who are in may change.
pub fn members_are_limited(fixture: &Fixture) {
    let enter = |slot, data| outcome(fixture.engine.presence.enter(&fixture.key("a"), member(slot, "x", None, data), false, 2));
    assert_eq!((enter(1, "1"), enter(2, "1")), (Ok(()), Ok(())));
    assert!(matches!(enter(3, "1"), Err(EngineError::Limit { setting: "members_per_channel_max", .. })));
    assert_eq!(enter(2, "2"), Ok(()));
    assert_eq!(members(fixture, "a"), "x1 1, x2 2");
    leave(fixture, "a", 1, "x");
    assert_eq!(enter(3, "3"), Ok(()));
    assert_eq!(members(fixture, "a"), "x2 2, x3 3");
}

/// A shard that watches hears of members everywhere; who is where can be asked for by pattern.
pub fn those_who_watch_hear_of_members(fixture: &Fixture) {
    let watch = watching("room:* one");
    let present = |most| {
        let found = done(fixture.engine.presence.present(&fixture.app, &watch, most));
        let shown = found.iter().map(|(channel, members)| format!("{channel} {}", members.len()));
        shown.collect::<Vec<_>>().join(", ")
    };
    fixture.watch(0, &watch, None);
    for (channel, slot) in [("room:b", 1), ("room:a", 1), ("room:a", 2), ("one", 1), ("two", 1), ("room:secret", 1)] {
        enter(fixture, channel, slot, "x", None);
    }
    assert_eq!(fixture.heard(0, 6), "room:b enter x! room:a enter x! room:a enter x! one enter x! two enter x! room:secret enter x!");
    assert_eq!(present(9), "one 1, room:a 2, room:b 1");
    assert_eq!(present(2), "one 1, room:a 2");
    leave(fixture, "room:a", 1, "x");
    fixture.engine.log.unwatch(&fixture.app, 0);
    leave(fixture, "room:a", 2, "x");
    assert_eq!(present(9), "one 1, room:b 1");
    assert_eq!(fixture.heard(0, 1), "room:a leave x!");
}

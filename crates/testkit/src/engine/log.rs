//! Cases of the log: numbers, order, ids, pages, apps.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use omnivox_core::app::{Retention, Retentions};
use omnivox_core::engine::{Announcement, EngineError, HistoryQuery, Joining, ShardSet, Whom};
use omnivox_core::name::ChannelRef;
use omnivox_core::publication::{Audience, NAME_TAG};
use omnivox_core::{ChannelKey, Cursor, Draft, Mark, Publication, SessionId, UserId};

use super::{AMPLE, CHANNELS_MAX, Fixture, IDEMPOTENCY_TIME, WHOLE, app, done, draft, listed, name, names, outcome};

/// Offsets begin with 1 in each channel, follow each other, and stay in one epoch.
pub fn offsets_count_each_channel_from_one(fixture: &Fixture) {
    assert_eq!(fixture.join(0, "a").channels[0].position.offset, 0);
    let mut epochs = BTreeMap::new();
    for (channel, offset) in [("a", 1), ("a", 2), ("b", 1), ("a", 3), ("b", 2)] {
        let place = fixture.publish(channel).places[0].clone();
        assert_eq!((place.channel.as_str(), place.position.offset, place.previous), (channel, offset, offset - 1));
        assert_eq!(*epochs.entry(channel).or_insert(place.position.epoch), place.position.epoch, "{channel}");
    }
    for (channel, top) in [("a", 3), ("b", 2)] {
        let page = fixture.history(channel, WHOLE);
        assert_eq!((page.position.offset, page.position.epoch), (top, epochs[channel]));
        assert_eq!(fixture.join(1, channel).channels[0].position, page.position);
    }
}

/// Stamps grow from publication to publication, whatever the channels, and history shows the same ones.
pub fn stamps_grow_across_all_channels(fixture: &Fixture) {
    let before = fixture.join(0, "other").cursor;
    let cursors: Vec<Cursor> = ["a", "b", "a", "c+b", "c"].map(|channels| fixture.publish(channels).cursor).into();
    let mut last = before;
    for cursor in &cursors {
        assert_eq!(cursor.epoch, before.epoch);
        assert!(last.stamp < cursor.stamp, "{cursors:?} after {before:?}");
        last = *cursor;
    }
    assert_eq!(fixture.join(0, "other").cursor, last);
    for (channel, expected) in [("a", [0, 2]), ("b", [1, 3]), ("c", [3, 4])] {
        let shown: Vec<Cursor> = fixture.history(channel, WHOLE).publications.iter().map(|(found, _)| found.cursor).collect();
        assert_eq!(shown, expected.map(|index: usize| cursors[index]), "{channel}");
    }
}

/// Each shard hears of what it joined, and of that in the order in which it was published.
pub fn shards_hear_of_their_channels_in_order(fixture: &Fixture) {
    fixture.join(0, "a+b");
    fixture.join(1, "b");
    for channels in ["a", "b", "c", "a", "b+a", "b"] {
        fixture.publish(channels);
    }
    assert_eq!(fixture.heard(0, 5), "a-1 b-1 a-2 b-2+a-3 b-3");
    assert_eq!(fixture.heard(1, 3), "b-1 b-2+a-3 b-3");
    assert_eq!(fixture.heard(2, 0), "");
}

/// Publishers on several threads: each shard sees growing stamps, and offsets without a hole.
pub fn racing_publishers_keep_the_order(fixture: &Fixture) {
    const EACH: u64 = 150;
    fixture.join(0, "a+b");
    fixture.join(1, "b");
    std::thread::scope(|scope| {
        for channels in ["a", "a", "b", "a+b", "b+a"] {
            let (log, app) = (fixture.engine.log.clone(), &fixture.app);
            scope.spawn(move || (0..EACH).for_each(|_| drop(done(log.publish(app, draft(channels), AMPLE.into())))));
        }
    });
    for (shard, count, per_channel) in [(0, 5 * EACH, [("a", 4 * EACH), ("b", 3 * EACH)].as_slice()), (1, 3 * EACH, &[("b", 3 * EACH)])] {
        fixture.announced.wait_for(shard, count as usize);
        let heard = fixture.announced.publications(shard);
        assert!(heard.windows(2).all(|pair| pair[0].cursor.stamp < pair[1].cursor.stamp), "stamps of shard {shard}");
        for (channel, top) in per_channel {
            assert_eq!(offsets(&heard, channel), (1..=*top).collect::<Vec<u64>>(), "{channel} at shard {shard}");
        }
    }
}

/// While somebody publishes, shards join: what they missed and what they hear is everything, once.
pub fn joining_is_atomic_with_what_follows(fixture: &Fixture) {
    const SHARDS: u16 = 40;
    const COUNT: u64 = 800;
    let joined = std::thread::scope(|scope| {
        let (log, app) = (fixture.engine.log.clone(), &fixture.app);
        let publisher = scope.spawn(move || {
            for round in 0..COUNT {
                done(log.publish(app, draft(["a", "b", "a+b", "b+a"][round as usize % 4]), AMPLE.into()));
            }
        });
        let joined: Vec<_> = (0..SHARDS).map(|shard| fixture.resume(shard, "a+b", Some(Mark::Earliest))).collect();
        publisher.join().expect("it publishes to the end");
        joined
    });
    let each = COUNT / 4 * 3;
    for (shard, joined) in (0..).zip(joined) {
        let missed: Vec<_> = joined.missed.iter().map(|(publication, _)| publication.clone()).collect();
        assert!(missed.iter().all(|publication| publication.cursor.stamp <= joined.cursor.stamp), "shard {shard}");
        for (channel, state) in ["a", "b"].iter().zip(&joined.channels) {
            let last = missed.iter().filter_map(|publication| publication.place(&name(channel))).next_back();
            assert_eq!(last.map_or(0, |place| place.position.offset), state.position.offset, "{channel} at shard {shard}");
            assert!(!state.gap);
        }
        fixture.announced.wait_for(shard, (COUNT - missed.len() as u64) as usize);
        let later = fixture.announced.publications(shard).into_iter().filter(|later| later.cursor.stamp > joined.cursor.stamp);
        let all: Vec<_> = missed.into_iter().chain(later).collect();
        assert_eq!(all.len(), COUNT as usize, "shard {shard}");
        for channel in ["a", "b"] {
            assert_eq!(offsets(&all, channel), (1..=each).collect::<Vec<u64>>(), "{channel} at shard {shard}");
        }
    }
}

/// Who asks again and again with the cursor of the last answer gets everything once and in order, whoever publishes meanwhile; and the mark of what
/// a shard was told of is never ahead of the log.
pub fn cursors_walk_through_racing_publishers(fixture: &Fixture) {
    const EACH: usize = 300;
    let publishers = ["a", "b", "a+b"];
    let mut since = fixture.resume(0, "a+b", Some(Mark::Earliest)).cursor;
    let mut stamps = Vec::new();
    std::thread::scope(|scope| {
        for channels in publishers {
            let (log, app) = (fixture.engine.log.clone(), &fixture.app);
            scope.spawn(move || (0..EACH).for_each(|_| drop(done(log.publish(app, draft(channels), AMPLE.into())))));
        }
        while stamps.len() < publishers.len() * EACH {
            let joined = fixture.resume(0, "a+b", Some(Mark::Cursor(since)));
            assert!(joined.channels.iter().all(|channel| !channel.gap), "behind {since:?}");
            stamps.extend(joined.missed.iter().map(|(publication, _)| publication.cursor.stamp));
            since = joined.cursor;
            // In a channel that nobody publishes to nothing has to be waited for.
            if let Some(told) = fixture.announced.publications(0).last() {
                let quiet = fixture.resume(1, "quiet", Some(Mark::Cursor(told.cursor)));
                assert!(!quiet.channels[0].gap, "behind {:?}, which a shard was told of", told.cursor);
            }
        }
    });
    assert!(stamps.windows(2).all(|pair| pair[0] < pair[1]), "once and in order");
    assert_eq!(stamps.len(), publishers.len() * EACH);
}

/// One publication in several channels has one stamp, a place in each, and reaches a shard once.
pub fn several_channels_share_one_publication(fixture: &Fixture) {
    fixture.publish("b");
    fixture.join(0, "a+b+c");
    let published = fixture.publish("c+a+b");
    let places: Vec<_> = published.places.iter().map(|place| (place.channel.as_str(), place.position.offset, place.previous)).collect();
    assert_eq!(places, [("c", 1, 0), ("a", 1, 0), ("b", 2, 1)]);
    assert_eq!(fixture.heard(0, 1), "c-1+a-1+b-2");
    for (channel, expected) in [("a", "a-1"), ("b", "b-1 b-2"), ("c", "c-1")] {
        let page = fixture.history(channel, WHOLE).publications;
        assert_eq!(listed(&page), expected);
        assert_eq!(page.last().map(|(found, _)| found.cursor), Some(published.cursor));
    }
    assert_eq!(fixture.resume(1, "a+b+c", Some(Mark::Earliest)).missed.len(), 2);
}

/// The same id in the same channel is the same publication, until its time is over.
pub fn an_id_counts_once_within_its_window(fixture: &Fixture) {
    fixture.join(0, "a");
    let first = fixture.publish_as(&fixture.app, "a", "x");
    assert!(!first.duplicate);
    fixture.advance(IDEMPOTENCY_TIME - Duration::from_secs(1));
    let again = fixture.publish_as(&fixture.app, "a", "x");
    assert!(again.duplicate);
    assert_eq!((&again.places, again.cursor), (&first.places, first.cursor));
    assert!(!fixture.publish_as(&fixture.app, "a", "y").duplicate);
    assert!(!fixture.publish("a").duplicate);
    fixture.advance(Duration::from_secs(2));
    assert!(!fixture.publish_as(&fixture.app, "a", "x").duplicate, "its time is over");
    assert!(fixture.publish_as(&fixture.app, "a", "y").duplicate, "that of the later one is not");
    assert_eq!(fixture.heard(0, 4), "a-1 a-2 a-3 a-4");
    assert_eq!(listed(&fixture.history("a", WHOLE).publications), "a-1 a-2 a-3 a-4");
}

/// An id is looked up in the first channel of a publication.
pub fn an_id_belongs_to_its_first_channel(fixture: &Fixture) {
    let publish = |channels| fixture.publish_as(&fixture.app, channels, "x").duplicate;
    assert_eq!([publish("a"), publish("b"), publish("c+a"), publish("a+c"), publish("c")], [false, false, false, true, true]);
    assert_eq!(listed(&fixture.history("c", WHOLE).publications), "c-1");
    assert_eq!(listed(&fixture.history("a", WHOLE).publications), "a-1 a-2");
}

/// Pages of a history, from either end.
pub fn history_is_read_in_both_directions(fixture: &Fixture) {
    for channel in ["a", "b", "a", "a", "a+b", "a"] {
        fixture.publish(channel);
    }
    let offset = |offset| Some(Mark::Offset(offset));
    for (since, before, most, newest_first, expected, more) in [
        (None, None, 9, false, "a-1 a-2 a-3 a-4 a-5", false),
        (None, None, 2, false, "a-1 a-2", true),
        (offset(2), None, 2, false, "a-3 a-4", true),
        (offset(3), None, 2, false, "a-4 a-5", false),
        (offset(5), None, 2, false, "", false),
        (None, offset(3), 9, false, "a-1 a-2", false),
        (offset(1), offset(4), 9, false, "a-2 a-3", false),
        (offset(1), offset(5), 2, false, "a-2 a-3", true),
        (None, None, 2, true, "a-5 a-4", true),
        (None, offset(4), 2, true, "a-3 a-2", true),
        (None, offset(2), 2, true, "a-1", false),
        (None, offset(1), 2, true, "", false),
        (offset(3), None, 9, true, "a-5 a-4", false),
        (offset(1), offset(5), 2, true, "a-4 a-3", true),
    ] {
        let page = fixture.history("a", HistoryQuery { since, before, most, newest_first });
        let case = format!("since {since:?} before {before:?} most {most} newest first {newest_first}");
        assert_eq!((listed(&page.publications).as_str(), page.more, page.gap), (expected, more, false), "{case}");
        assert_eq!(page.position.offset, 5, "{case}");
    }
}

/// A channel that was never used has an empty history without a gap, and reading it does not bring it into being.
pub fn history_of_nothing(fixture: &Fixture) {
    let page = fixture.history("never", WHOLE);
    assert_eq!((listed(&page.publications).as_str(), page.position.offset, page.gap, page.more), ("", 0, false, false));
    assert!(done(fixture.engine.log.channels(&fixture.app, "", 10)).is_empty());
    assert!(fixture.history("never", HistoryQuery { since: Some(Mark::Offset(3)), ..WHOLE }).gap);
    // Whoever read it goes on from there.
    let since = Some(Mark::Position(page.position));
    assert!(!fixture.history("never", HistoryQuery { since, ..WHOLE }).gap && !fixture.resume(0, "never", since).channels[0].gap);
    fixture.publish("never");
    assert_eq!(listed(&fixture.resume(1, "never", since).missed), "never-1");
}

/// Channels are listed by name while they have publications, subscribers or members.
pub fn channels_in_use_are_listed(fixture: &Fixture) {
    let list = |prefix: &str, most| {
        let found = done(fixture.engine.log.channels(&fixture.app, prefix, most));
        let shown = found.iter().map(|found| format!("{}-{} {}", found.channel, found.position.offset, found.members));
        shown.collect::<Vec<_>>().join(", ")
    };
    fixture.publish("room:b");
    fixture.publish("room:b+other");
    fixture.join(3, "room:c");
    super::enter(fixture, "room:a", 1, "x", None);
    super::enter(fixture, "room:a", 2, "x", None);
    assert_eq!(list("", 9), "other-1 0, room:a-0 2, room:b-2 0, room:c-0 0");
    assert_eq!(list("room:", 9), "room:a-0 2, room:b-2 0, room:c-0 0");
    assert_eq!(list("room:", 2), "room:a-0 2, room:b-2 0");
    assert_eq!(list("none", 9), "");
    fixture.leave(3, "room:c");
    super::leave(fixture, "room:a", 1, "x");
    assert_eq!(list("room:", 9), "room:a-0 1, room:b-2 0");
    super::leave(fixture, "room:a", 2, "x");
    fixture.advance(AMPLE.age_max + Duration::from_secs(1));
    assert_eq!(list("", 9), "");
}

/// A shard that left hears no more, the others do.
pub fn leaving_ends_the_news(fixture: &Fixture) {
    fixture.join(0, "a+b");
    fixture.join(1, "a");
    let shards = |channel| fixture.engine.log.shards(ChannelRef::new(&fixture.app, &names(channel)[0]));
    assert_eq!((shards("a"), shards("b").only(), shards("a").only(), shards("c").is_empty()), (ShardSet(0b11), Some(0), None, true));
    fixture.publish("a");
    fixture.leave(0, "a");
    fixture.leave(7, "a");
    assert_eq!(shards("a").only(), Some(1));
    fixture.publish("a");
    super::enter(fixture, "a", 1, "x", None);
    fixture.publish("b");
    assert_eq!(fixture.heard(0, 2), "a-1 b-1");
    assert_eq!(fixture.heard(1, 3), "a-1 a-2 a enter x!");
}

/// Two apps use the same names for everything, and know nothing of each other.
pub fn apps_never_see_each_other(fixture: &Fixture) {
    let (log, presence) = (&fixture.engine.log, &fixture.engine.presence);
    let (one, two) = (fixture.app.clone(), app("two"));
    let there = ChannelKey::new(&two, &name("a"));
    fixture.join(0, "a");
    let joining = Joining { channels: &names("a"), watch: Some(&super::watching("*")), shard: 1, since: None, most: 9 };
    done(log.subscribe(&two, joining));
    for _ in 0..3 {
        fixture.publish_as(&one, "a", "x");
        fixture.publish("a");
    }
    super::enter(fixture, "a", 1, "x", None);
    assert_eq!(fixture.heard(1, 0), "");
    let page = done(log.history(&there, WHOLE));
    assert_eq!((page.publications.len(), page.position.offset), (0, 0));
    assert_eq!(done(presence.members(&there)), []);
    assert_eq!(done(presence.present(&two, &super::watching("*"), 9)), []);
    assert_eq!(done(log.channels(&two, "", 9)).iter().map(|found| found.members).collect::<Vec<_>>(), [0]);
    fixture.announced.wait_for(0, 5);
    fixture.announced.take(0);
    // The other way round, with an id that the first app used.
    let published = fixture.publish_as(&two, "a", "x");
    assert_eq!((published.duplicate, published.places[0].position.offset), (false, 1));
    assert_eq!(fixture.heard(1, 1), "a-1");
    assert_eq!(fixture.heard(0, 0), "");
    log.unsubscribe(&there, 0);
    log.unwatch(&one, 1);
    presence_leaves_of(fixture, &there);
    fixture.publish("a");
    fixture.publish_as(&two, "b", "y");
    assert_eq!(fixture.heard(0, 1), "a-5");
    assert_eq!(fixture.heard(1, 1), "b-1");
    // A mark of the one is strange to the other.
    let since = Some(Mark::Cursor(fixture.publish("a").cursor));
    assert!(done(log.subscribe(&two, Joining { channels: &names("a"), watch: None, shard: 2, since, most: 9 })).channels[0].gap);
}

/// Of one publication each channel keeps what its own rules say, whichever is named first.
pub fn each_channel_keeps_what_its_own_rules_say(fixture: &Fixture) {
    let nothing = Retention { count_max: 0, ..AMPLE };
    (0..3).for_each(|_| drop(fixture.publish("kept")));
    let both = |channels: &str, rules: [Retention; 2]| {
        fixture.publish_draft(&fixture.app, draft(channels), Retentions::from_iter(rules));
    };
    both("fleeting+kept", [nothing, AMPLE]);
    both("kept+fleeting", [AMPLE, nothing]);
    for (channel, expected) in [("kept", &[1, 2, 3, 4, 5][..]), ("fleeting", &[])] {
        let page = fixture.history(channel, WHOLE);
        let kept: Vec<u64> = page.publications.iter().map(|(publication, place)| publication.places[*place].position.offset).collect();
        assert_eq!(kept, expected, "{channel}");
    }
}

/// A channel that is named twice gets one place, is kept once and missed once.
pub fn a_channel_that_is_named_twice_is_meant_once(fixture: &Fixture) {
    let before = fixture.join(0, "a").channels[0].position;
    let published = fixture.publish("a+b+a");
    assert_eq!(published.places.iter().map(|place| place.channel.as_str()).collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(fixture.heard(0, 1), "a-1+b-1");
    assert_eq!(listed(&fixture.history("a", WHOLE).publications), "a-1");
    assert_eq!(listed(&fixture.resume(1, "a", Some(Mark::Position(before))).missed), "a-1");
}

/// A shard that is refused one of several channels, because there are too many, still hears of those that it was in before, and of no others.
pub fn a_join_that_fails_leaves_others_alone(fixture: &Fixture) {
    fixture.join(0, "a");
    for channel in 1..CHANNELS_MAX {
        fixture.join(1, &format!("c{channel}"));
    }
    let channels = names("c1+a+new");
    let refused =
        outcome(fixture.engine.log.subscribe(&fixture.app, Joining { channels: &channels, watch: None, shard: 0, since: None, most: 10 }));
    assert!(matches!(refused, Err(EngineError::Limit { setting: "channels_max", .. })), "{refused:?}");
    fixture.publish("c1");
    fixture.publish("a");
    assert_eq!(fixture.heard(0, 1), "a-1");
    assert_eq!(fixture.heard(1, 1), "c1-1");
}

/// The first app's member stays when the second app says that it left.
fn presence_leaves_of(fixture: &Fixture, there: &ChannelKey) {
    done(fixture.engine.presence.leave(there, super::session(1), "x"));
    assert_eq!(done(fixture.engine.presence.members(&fixture.key("a"))).len(), 1);
}

/// A publication is found by the name that its publisher gave it; the earliest counts.
pub fn names_are_located(fixture: &Fixture) {
    let locate = |app, name| done(fixture.engine.log.locate(app, name));
    let named = |app, channel: &str| {
        let tags = Some(Arc::from([(NAME_TAG, Arc::from("first"))]));
        fixture.publish_draft(app, Draft { tags, ..draft(channel) }, AMPLE).cursor
    };
    let before = fixture.publish("a").cursor;
    assert_eq!(locate(&fixture.app, "first"), (None, before));
    let first = named(&fixture.app, "a");
    let last = named(&fixture.app, "b");
    assert_eq!(locate(&fixture.app, "first"), (Some(first), last));
    assert_eq!(locate(&fixture.app, "other"), (None, last));
    assert_eq!(locate(&app("two"), "first").0, None);
    assert_eq!(listed(&fixture.resume(0, "a+b", Some(Mark::Cursor(first))).missed), "b-1");
}

/// Messages outside of channels and goodbyes need no interest; a message to one session goes at least to its shard.
pub fn direct_messages_and_disconnects_reach_every_shard(fixture: &Fixture) {
    let log = &fixture.engine.log;
    let last = fixture.publish("a").cursor;
    let bob = UserId::parse("bob").expect("a name");
    let to = |audience| Draft { channels: Default::default(), audience, ..draft("a") };
    done(log.direct(&fixture.app, to(Audience { users: [bob.clone()].into_iter().collect(), ..Audience::default() })));
    done(log.direct(&fixture.app, to(Audience::default())));
    done(log.disconnect(&fixture.app, Whom::User(bob.clone())));
    for shard in [0, 1, 63] {
        fixture.announced.wait_for(shard, 3);
        let news = fixture.announced.everything(shard);
        let [Announcement::Direct(first), Announcement::Direct(_), Announcement::Disconnect(app, whom)] = &news[..] else {
            panic!("shard {shard} was told of {news:?}");
        };
        assert_eq!((&first.app, first.places.len(), &first.draft.audience.users[..]), (&fixture.app, 0, [bob.clone()].as_slice()));
        assert_eq!((app, whom), (&fixture.app, &Whom::User(bob.clone())));
        fixture.announced.take(shard);
    }
    let session = SessionId { shard: 5, ..super::session(1) };
    fixture.announced.take(5);
    done(log.direct(&fixture.app, to(Audience { sessions: [session].into_iter().collect(), ..Audience::default() })));
    assert_eq!(fixture.heard(5, 1), "direct");
    assert_eq!(fixture.join(0, "a").cursor, last, "it is in no log");
}

/// The probe is answered.
pub fn a_probe_comes_back(fixture: &Fixture) {
    assert!(done(fixture.engine.log.probe()) < Duration::from_secs(20));
}

/// The offsets of publications in a channel.
fn offsets(publications: &[Arc<Publication>], channel: &str) -> Vec<u64> {
    let channel = name(channel);
    publications.iter().filter_map(|publication| Some(publication.place(&channel)?.position.offset)).collect()
}

//! Cases of resuming: marks, gaps, patterns.

use std::time::Duration;

use omnivox_core::app::Retention;
use omnivox_core::engine::{HistoryQuery, Joined};
use omnivox_core::{Cursor, Epoch, Mark, Position};

use super::{AMPLE, Fixture, IDEMPOTENCY_TIME, WHOLE, done, listed, watching};

/// What was missed, with `gap` before it when something of the first channel is gone.
fn shown(joined: &Joined) -> String {
    let gap = if joined.channels[0].gap { "gap " } else { "" };
    format!("{gap}{}", listed(&joined.missed)).trim_end().to_owned()
}

/// The same from a mark of the channel.
fn missed(fixture: &Fixture, channel: &str, mark: impl Into<Option<Mark>>) -> String {
    shown(&fixture.resume(0, channel, mark.into()))
}

/// A position, a cursor, a bare offset and `earliest` each give what lies behind them; no mark gives nothing.
pub fn every_kind_of_mark_resumes(fixture: &Fixture) {
    let published: Vec<_> = ["a", "b", "a", "c", "a"].map(|channel| fixture.publish(channel)).into();
    let position = |index: usize| Mark::Position(published[index].places[0].position);
    let cursor = |index: usize| Mark::Cursor(published[index].cursor);
    let before = Mark::Position(Position { offset: 0, ..published[0].places[0].position });
    for (mark, expected) in [
        (None, ""),
        (Some(Mark::Earliest), "a-1 a-2 a-3"),
        (Some(before), "a-1 a-2 a-3"),
        (Some(position(0)), "a-2 a-3"),
        (Some(position(4)), ""),
        (Some(Mark::Offset(0)), "a-1 a-2 a-3"),
        (Some(Mark::Offset(2)), "a-3"),
        (Some(Mark::Offset(3)), ""),
        (Some(cursor(0)), "a-2 a-3"),
        (Some(cursor(1)), "a-2 a-3"),
        (Some(cursor(3)), "a-3"),
        (Some(cursor(4)), ""),
    ] {
        let joined = fixture.resume(0, "a", mark);
        assert_eq!(shown(&joined), expected, "{mark:?}");
        assert_eq!((joined.cursor, joined.channels[0].position), (published[4].cursor, published[4].places[0].position), "{mark:?}");
        assert!(!joined.more && !joined.watch_gap, "{mark:?}");
    }
}

/// A cursor means all channels: what was missed comes in order of stamps, and what was in several of them comes once.
pub fn a_cursor_resumes_several_channels(fixture: &Fixture) {
    let first = fixture.publish("a").cursor;
    for channels in ["b", "a", "c", "b+a", "c+b", "d"] {
        fixture.publish(channels);
    }
    let joined = fixture.resume(0, "a+b+d", Some(Mark::Cursor(first)));
    let stamps: Vec<u64> = joined.missed.iter().map(|(publication, _)| publication.cursor.stamp).collect();
    assert!(stamps.is_sorted_by(|a, b| a < b), "{stamps:?}");
    let places: Vec<String> = joined
        .missed
        .iter()
        .map(|(found, _)| {
            found.places.iter().map(|place| format!("{}-{}", place.channel, place.position.offset)).collect::<Vec<_>>().join("+")
        })
        .collect();
    assert_eq!(places.join(" "), "b-1 a-2 b-2+a-3 c-2+b-3 d-1");
    for (publication, place) in &joined.missed {
        let channel = &publication.places[*place].channel;
        assert!(["a", "b", "d"].contains(&channel.as_str()), "it is shown in a channel that was joined, not in {channel}");
    }
    let tops: Vec<u64> = joined.channels.iter().map(|channel| channel.position.offset).collect();
    assert_eq!(tops, [3, 3, 1]);
}

/// At most so many at once; the cursor of the last one leads to the rest.
pub fn missed_publications_come_in_pages(fixture: &Fixture) {
    for channels in ["a", "b", "a", "a", "b"] {
        fixture.publish(channels);
    }
    let mut mark = Mark::Earliest;
    for (expected, more) in [("a-1 b-1", true), ("a-2 a-3", true), ("b-2", false)] {
        let joined = fixture.resume_some(0, "a+b", Some(mark), 2);
        assert_eq!((shown(&joined).as_str(), joined.more), (expected, more));
        mark = Mark::Cursor(joined.missed.last().expect("there are some").0.cursor);
    }
    for (most, more) in [(2, true), (3, false)] {
        assert_eq!(fixture.resume_some(0, "a", Some(Mark::Offset(0)), most).more, more, "{most}");
    }
}

/// Only the latest are kept; who stands before the others is told of a gap.
pub fn evicted_by_count_is_a_gap(fixture: &Fixture) {
    let two = Retention { count_max: 2, ..AMPLE };
    let published: Vec<_> = (0..5).map(|_| fixture.publish_kept("a", two)).collect();
    let position = |index: usize| Mark::Position(published[index].places[0].position);
    let cursor = |index: usize| Mark::Cursor(published[index].cursor);
    for (mark, expected) in [
        (position(1), "gap a-4 a-5"),
        (position(2), "a-4 a-5"),
        (position(4), ""),
        (Mark::Offset(0), "gap a-4 a-5"),
        (Mark::Offset(3), "a-4 a-5"),
        (cursor(1), "gap a-4 a-5"),
        (cursor(2), "a-4 a-5"),
        (cursor(4), ""),
        (Mark::Earliest, "a-4 a-5"),
    ] {
        assert_eq!(missed(fixture, "a", mark), expected, "{mark:?}");
        let page = fixture.history("a", HistoryQuery { since: Some(mark), ..WHOLE });
        assert_eq!(page.gap, expected.starts_with("gap"), "history since {mark:?}");
    }
    fixture.publish_kept("b", Retention { count_max: 0, ..AMPLE });
    assert_eq!(missed(fixture, "b", Mark::Offset(0)), "gap");
    assert_eq!(missed(fixture, "b", Mark::Offset(1)), "");
    // What another channel lost is no gap here.
    fixture.publish("c");
    assert_eq!(missed(fixture, "c", cursor(0)), "c-1");
}

/// What is older than the channel keeps is gone, also when nothing follows it.
pub fn evicted_by_age_is_a_gap(fixture: &Fixture) {
    let minute = Retention { age_max: Duration::from_secs(60), ..AMPLE };
    let first = fixture.publish_kept("a", minute);
    fixture.advance(Duration::from_secs(40));
    fixture.publish_kept("a", minute);
    assert_eq!(missed(fixture, "a", Mark::Offset(0)), "a-1 a-2");
    fixture.advance(Duration::from_secs(30));
    assert_eq!(missed(fixture, "a", Mark::Offset(0)), "gap a-2");
    assert_eq!(missed(fixture, "a", Mark::Cursor(first.cursor)), "a-2");
    assert_eq!(listed(&fixture.history("a", WHOLE).publications), "a-2");
    fixture.advance(Duration::from_secs(40));
    assert_eq!(missed(fixture, "a", Mark::Cursor(first.cursor)), "gap");
    assert_eq!(fixture.publish_kept("a", minute).places[0].position.offset, 3);
}

/// A channel keeps no more than its bytes.
pub fn evicted_by_size_is_a_gap(fixture: &Fixture) {
    fixture.publish_kept("a", Retention { bytes_max: 0, ..AMPLE });
    assert_eq!(listed(&fixture.history("a", WHOLE).publications), "");
    assert_eq!(missed(fixture, "a", Mark::Offset(0)), "gap");
    assert_eq!(missed(fixture, "a", Mark::Offset(1)), "");
}

/// A mark that was never given out means that the log was lost: everything that is there comes, behind a gap.
pub fn marks_of_the_future_are_a_gap(fixture: &Fixture) {
    fixture.publish("a");
    let last = fixture.publish("a");
    let position = last.places[0].position;
    for mark in [
        Mark::Position(Position { offset: 3, ..position }),
        Mark::Offset(3),
        Mark::Cursor(Cursor { stamp: last.cursor.stamp + 1, ..last.cursor }),
    ] {
        assert_eq!(missed(fixture, "a", mark), "gap a-1 a-2", "{mark:?}");
    }
}

/// A mark of another life of the log says nothing about this one.
pub fn marks_of_another_epoch_are_a_gap(fixture: &Fixture) {
    let Cursor { epoch, stamp } = fixture.publish("a").cursor;
    let position = fixture.history("a", WHOLE).position;
    for mark in [
        Mark::Position(Position { epoch: Epoch(position.epoch.0 ^ 1), offset: 1 }),
        Mark::Cursor(Cursor { epoch: Epoch(epoch.0 ^ 1), stamp }),
        Mark::Cursor(Cursor { epoch: Epoch(epoch.0 ^ 1), stamp: 0 }),
    ] {
        assert_eq!(missed(fixture, "a", mark), "gap a-1", "{mark:?}");
        for newest_first in [false, true] {
            let page = fixture.history("a", HistoryQuery { since: Some(mark), newest_first, ..WHOLE });
            assert!(page.gap, "history since {mark:?}, newest first {newest_first}");
        }
    }
    // What came before a place of another life of the channel is none of this one's.
    let before = Some(Mark::Position(Position { epoch: Epoch(position.epoch.0 ^ 1), offset: 9 }));
    let page = fixture.history("a", HistoryQuery { before, ..WHOLE });
    assert!(page.gap && page.publications.is_empty(), "{page:?}");
}

/// Marks into a channel that nobody used for so long that it was forgotten.
pub fn a_forgotten_channel_is_a_gap(fixture: &Fixture) {
    let before = fixture.publish("other").cursor;
    let lost = fixture.publish("a");
    fixture.join(0, "a");
    fixture.leave(0, "a");
    fixture.advance(AMPLE.age_max.max(IDEMPOTENCY_TIME) + Duration::from_secs(1));
    assert!(done(fixture.engine.log.channels(&fixture.app, "", 9)).is_empty());
    assert!(fixture.history("a", HistoryQuery { since: Some(Mark::Offset(0)), ..WHOLE }).publications.is_empty());
    for (since, gap) in [(before, true), (lost.cursor, false)] {
        assert_eq!(fixture.history("a", HistoryQuery { since: Some(Mark::Cursor(since)), ..WHOLE }).gap, gap, "history, as a resume says");
    }
    assert_eq!(missed(fixture, "a", Mark::Cursor(before)), "gap");
    assert_eq!(missed(fixture, "a", Mark::Cursor(lost.cursor)), "");
    let next = fixture.publish("a");
    assert_ne!(next.places[0].position, lost.places[0].position, "a place never names two publications");
    assert!(next.cursor.stamp > lost.cursor.stamp && next.cursor.epoch == lost.cursor.epoch);
    assert!(missed(fixture, "a", Mark::Cursor(before)).starts_with("gap a-"));
    assert!(missed(fixture, "a", Mark::Cursor(lost.cursor)).starts_with("a-"));
}

/// A shard that watches is told of everything in the app, in order, once, until it stops.
pub fn a_watch_hears_of_the_whole_app(fixture: &Fixture) {
    fixture.publish("a");
    let joined = fixture.watch(0, &watching("room:*"), None);
    assert_eq!((listed(&joined.missed).as_str(), joined.watch_gap), ("", false));
    fixture.join(0, "a");
    for channels in ["room:x", "a", "a+room:y", "new"] {
        fixture.publish(channels);
    }
    assert_eq!(fixture.heard(0, 4), "room:x-1 a-2 a-3+room:y-1 new-1");
    fixture.engine.log.unwatch(&fixture.app, 0);
    fixture.publish("room:x");
    fixture.publish("a");
    assert_eq!(fixture.heard(0, 1), "a-4");
}

/// What was missed is what the patterns mean and may read, in order of stamps, each once, in a channel that is meant.
pub fn a_watch_resumes_what_it_may_read(fixture: &Fixture) {
    let first = fixture.publish("room:a").cursor;
    for channels in ["room:b", "other", "room:secret", "other+room:a", "room:b+room:a", "one"] {
        fixture.publish(channels);
    }
    let watch = watching("room:* one room:a");
    for (mark, expected) in [(None, ""), (Some(Mark::Cursor(first)), "b a 2 one"), (Some(Mark::Earliest), "a b a 2 one")] {
        let joined = fixture.watch(0, &watch, mark);
        let shown = joined.missed.iter().map(|(found, place)| match found.places.len() {
            2 if found.places[0].channel.as_str() == "room:b" => "2",
            _ => found.places[*place].channel.as_str().trim_start_matches("room:"),
        });
        assert_eq!(shown.collect::<Vec<_>>().join(" "), expected, "{mark:?}");
        assert!(!joined.watch_gap && !joined.more, "{mark:?}");
    }
}

/// Losses in channels that the patterns mean, and in those that were forgotten, are told.
pub fn a_watch_knows_of_gaps(fixture: &Fixture) {
    let gap = |patterns: &str, mark| fixture.watch(0, &watching(patterns), Some(mark)).watch_gap;
    let cursor = fixture.publish("other").cursor;
    assert!(!gap("room:*", Mark::Cursor(cursor)));
    let one = Retention { count_max: 1, ..AMPLE };
    fixture.publish_kept("room:a", one);
    let last = fixture.publish_kept("room:a", one).cursor;
    assert!(gap("room:*", Mark::Cursor(cursor)));
    assert!(!gap("other", Mark::Cursor(cursor)));
    assert!(!gap("room:*", Mark::Cursor(last)));
    assert!(gap("room:*", Mark::Cursor(Cursor { epoch: Epoch(last.epoch.0 ^ 1), ..last })));
    assert!(gap("room:*", Mark::Cursor(Cursor { stamp: last.stamp + 1, ..last })));
    fixture.advance(AMPLE.age_max.max(IDEMPOTENCY_TIME) + Duration::from_secs(1));
    assert!(gap("room:*", Mark::Cursor(cursor)), "the channel is forgotten, what was lost is not");
    assert!(!gap("room:*", Mark::Cursor(last)));
}

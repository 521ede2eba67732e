//! Random lives of the memory engine, compared with a model that forgets nothing and searches everything.
//!
//! Invariant: the model shares no rule's code with the engine; it is told the same and counts by hand.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use omnivox_core::app::Retention;
use omnivox_core::{Cursor, Epoch, Mark, Position};
use omnivox_testkit::engine::{Fixture, IDEMPOTENCY_TIME, WHOLE, listed};
use proptest::prelude::*;

use super::memory;

/// What every channel keeps here.
const KEPT: Retention = Retention { count_max: 3, age_max: Duration::from_secs(90), bytes_max: 1 << 20 };

const CHANNELS: [&str; 4] = ["a", "b", "a+b", "c+a"];

#[derive(Clone, Debug)]
enum Step {
    /// To these of [`CHANNELS`], perhaps under an id.
    Publish(usize, Option<u8>),
    /// A shard joins behind a mark, made of something that was published or never was.
    Join(u16, usize, Wish),
    /// A shard leaves a channel.
    Leave(u16, usize),
    /// So many seconds pass.
    Wait(u64),
}

#[derive(Clone, Debug)]
enum Wish {
    Nothing,
    Earliest,
    /// The cursor of one of the publications.
    Cursor(prop::sample::Index),
    /// The place of one of the publications, in its first channel.
    Position(prop::sample::Index),
    Foreign,
}

/// One publication as the model remembers it.
#[derive(Debug)]
struct Known {
    at_s: u64,
    cursor: Cursor,
    places: Vec<(String, Position)>,
    id: Option<u8>,
}

impl Known {
    fn place(&self, channel: &str) -> Option<Position> {
        self.places.iter().find(|(known, _)| known == channel).map(|(_, position)| *position)
    }
}

#[derive(Debug, Default)]
struct Model {
    now_s: u64,
    published: Vec<Known>,
    /// Who is in which channel.
    interests: BTreeMap<String, BTreeSet<u16>>,
    /// The stamps that each shard must have heard of.
    heard: BTreeMap<u16, Vec<u64>>,
    /// Channels that may have been forgotten once: what is told of a gap in them may be too much, but never too little.
    doubtful: bool,
}

impl Model {
    /// Everything in a channel, oldest first.
    fn all(&self, channel: &str) -> Vec<&Known> {
        self.published.iter().filter(|known| known.place(channel).is_some()).collect()
    }

    /// What a channel still keeps.
    fn kept(&self, channel: &str) -> Vec<&Known> {
        let all = self.all(channel);
        let latest = all[all.len().saturating_sub(KEPT.count_max)..].iter();
        latest.filter(|known| known.at_s + KEPT.age_max.as_secs() >= self.now_s).copied().collect()
    }

    fn duplicate_of(&self, channels: &str, id: Option<u8>) -> Option<&Known> {
        let first = channels.split('+').next().unwrap_or_default();
        let fresh = |known: &&Known| known.at_s + IDEMPOTENCY_TIME.as_secs() > self.now_s;
        self.published.iter().filter(fresh).find(|known| id.is_some() && known.id == id && known.places[0].0 == first)
    }
}

/// The engine and the model side by side.
struct Pair {
    fixture: Fixture,
    model: Model,
}

impl Pair {
    fn publish(&mut self, channels: &str, id: Option<u8>) {
        let mut draft = omnivox_testkit::engine::draft(channels);
        draft.id = id.map(|id| id.to_string().into());
        let published = self.fixture.publish_draft(&self.fixture.app, draft, KEPT);
        let places: Vec<_> = published.places.iter().map(|place| (place.channel.to_string(), place.position)).collect();
        if let Some(first) = self.model.duplicate_of(channels, id) {
            assert_eq!((published.duplicate, published.cursor, &places), (true, first.cursor, &first.places));
            return;
        }
        assert!(!published.duplicate);
        assert_eq!(published.cursor.stamp, self.model.published.last().map_or(0, |last| last.cursor.stamp) + 1);
        for (place, (channel, position)) in published.places.iter().zip(&places) {
            assert_eq!(place.previous + 1, position.offset);
            match self.model.all(channel).last().and_then(|last| last.place(channel)) {
                Some(last) if last.epoch == position.epoch => assert_eq!(position.offset, last.offset + 1),
                last => assert_eq!((position.offset, last.is_some() && !self.model.doubtful), (1, false), "a new epoch begins with 1"),
            }
        }
        let shards: BTreeSet<u16> = places.iter().filter_map(|(channel, _)| self.model.interests.get(channel)).flatten().copied().collect();
        for shard in shards {
            self.model.heard.entry(shard).or_default().push(published.cursor.stamp);
        }
        self.model.published.push(Known { at_s: self.model.now_s, cursor: published.cursor, places, id });
    }

    fn join(&mut self, shard: u16, channels: &str, wish: &Wish) {
        let since = self.mark(wish);
        let joined = self.fixture.resume(shard, channels, since);
        let mut expected: BTreeSet<u64> = BTreeSet::new();
        for (channel, state) in channels.split('+').zip(&joined.channels) {
            self.model.interests.entry(channel.to_owned()).or_default().insert(shard);
            let kept = self.model.kept(channel);
            let all = self.model.all(channel);
            // Whether the client has seen a publication, as far as the mark tells.
            let seen = |known: &Known| match since {
                None | Some(Mark::Earliest) => false,
                Some(Mark::Cursor(cursor)) => cursor.epoch == known.cursor.epoch && known.cursor.stamp <= cursor.stamp,
                // Who knows a place has seen what was published before it, in earlier lives of the channel too.
                Some(Mark::Position(position)) => {
                    let named = all.iter().find(|named| named.place(channel) == Some(position));
                    named.is_some_and(|named| known.cursor.stamp <= named.cursor.stamp)
                }
                Some(Mark::Offset(_)) => unreachable!("no wish is for an offset"),
            };
            let strange = match since {
                None | Some(Mark::Earliest | Mark::Offset(_)) => false,
                Some(Mark::Cursor(cursor)) => cursor.epoch != joined.cursor.epoch,
                Some(Mark::Position(position)) => position.epoch != state.position.epoch || position.offset > state.position.offset,
            };
            let marked = !matches!(since, None | Some(Mark::Earliest));
            let lost = marked && (strange || all.len() > kept.len() && !all[..all.len() - kept.len()].iter().all(|known| seen(known)));
            assert!(state.gap >= lost, "{channel} since {since:?}: a loss is told");
            assert!(state.gap == lost || self.model.doubtful, "{channel} since {since:?}: no loss is made up");
            if since.is_some() {
                expected.extend(kept.iter().filter(|known| strange || !seen(known)).map(|known| known.cursor.stamp));
            }
            if let Some(last) = all.last().and_then(|last| last.place(channel)) {
                assert!(state.position == last || self.model.doubtful, "{channel}: {} is not {last}", state.position);
            }
        }
        let missed: Vec<u64> = joined.missed.iter().map(|(publication, _)| publication.cursor.stamp).collect();
        assert_eq!(missed, expected.into_iter().collect::<Vec<u64>>(), "{channels} since {since:?}: {}", listed(&joined.missed));
        assert_eq!(joined.cursor.stamp, self.model.published.last().map_or(0, |last| last.cursor.stamp));
    }

    fn mark(&self, wish: &Wish) -> Option<Mark> {
        let published = &self.model.published;
        Some(match wish {
            Wish::Nothing => return None,
            Wish::Cursor(index) if !published.is_empty() => Mark::Cursor(published[index.index(published.len())].cursor),
            Wish::Position(index) if !published.is_empty() => Mark::Position(published[index.index(published.len())].places[0].1),
            Wish::Foreign => Mark::Cursor(Cursor { epoch: Epoch(3), stamp: 0 }),
            _ => Mark::Earliest,
        })
    }

    fn leave(&mut self, shard: u16, channel: &str) {
        self.fixture.leave(shard, channel);
        self.model.interests.entry(channel.to_owned()).or_default().remove(&shard);
    }

    fn wait(&mut self, time_s: u64) {
        self.fixture.advance(Duration::from_secs(time_s));
        self.model.now_s += time_s;
        let nobody = |channel: &&str| self.model.interests.get(*channel).is_none_or(BTreeSet::is_empty);
        let silent = |channel: &&str| self.model.kept(channel).is_empty();
        self.model.doubtful |= ["a", "b", "c"].iter().any(|channel| nobody(channel) && silent(channel));
    }

    fn compare(&self) {
        for channel in ["a", "b", "c"] {
            let shown: Vec<u64> = self.fixture.history(channel, WHOLE).publications.iter().map(|(found, _)| found.cursor.stamp).collect();
            let kept: Vec<u64> = self.model.kept(channel).iter().map(|known| known.cursor.stamp).collect();
            assert_eq!(shown, kept, "the history of {channel}");
        }
        for shard in 0..3 {
            let heard: Vec<u64> = self.fixture.announced.publications(shard).iter().map(|found| found.cursor.stamp).collect();
            assert_eq!(heard, self.model.heard.get(&shard).cloned().unwrap_or_default(), "shard {shard}");
        }
    }
}

fn step() -> impl Strategy<Value = Step> {
    let wish = prop_oneof![
        Just(Wish::Nothing),
        Just(Wish::Earliest),
        Just(Wish::Foreign),
        any::<prop::sample::Index>().prop_map(Wish::Cursor),
        any::<prop::sample::Index>().prop_map(Wish::Position),
    ];
    prop_oneof![
        6 => (0..CHANNELS.len(), prop::option::weighted(0.3, 0..3u8)).prop_map(|(channels, id)| Step::Publish(channels, id)),
        3 => (0..3u16, 0..CHANNELS.len(), wish).prop_map(|(shard, channels, wish)| Step::Join(shard, channels, wish)),
        1 => (0..3u16, 0..2usize).prop_map(|(shard, channel)| Step::Leave(shard, channel)),
        2 => (1..100u64).prop_map(Step::Wait),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(400) })]
    #[test]
    fn the_engine_is_as_good_as_a_long_memory(steps in prop::collection::vec(step(), 1..60)) {
        let mut pair = Pair { fixture: Fixture::new(&memory), model: Model::default() };
        for step in steps {
            match step {
                Step::Publish(channels, id) => pair.publish(CHANNELS[channels], id),
                // A position means one channel; of several it would be the place in only one of them.
                Step::Join(shard, channels, Wish::Position(index)) => pair.join(shard, CHANNELS[channels % 2], &Wish::Position(index)),
                Step::Join(shard, channels, wish) => pair.join(shard, CHANNELS[channels], &wish),
                Step::Leave(shard, channel) => pair.leave(shard, CHANNELS[channel]),
                Step::Wait(time_s) => pair.wait(time_s),
            }
            pair.compare();
        }
    }
}

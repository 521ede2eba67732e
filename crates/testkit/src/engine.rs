//! What every engine must do: one suite for memory, disk and brokers, so that it does not matter to a client which one is behind the hub.
//!
//! A factory makes an empty engine; `engine_suite!` turns each case into a test of its own:
//!
//! ```text
//! fn memory(announcer: Arc<dyn Announcer>, limits: Limits) -> Engine { … }
//! omnivox_testkit::engine_suite!(memory);
//! ```
//!
//! In the cases a publication is written as `channel-offset`, so `a-1 b-1 a-2` is what a shard saw, in its order.
//!
//! Invariant: no case waits for a time to pass. News that a broker brings later are waited for by number; that there are no more is known
//! once a probe sent after them is back.

mod log;
mod marks;
mod members;
mod recorder;

use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::Duration;

use bytes::Bytes;
use omnivox_core::app::{Retention, Retentions};
use omnivox_core::engine::{Announcer, EngineError, HistoryPage, HistoryQuery, Joined, Joining, Log, Presence, Published, Task, Watch};
use omnivox_core::{AppId, ChannelKey, ChannelName, Draft, Limits, Mark, Pattern, Payload, Publication};

pub use log::*;
pub use marks::*;
pub use members::*;
pub use recorder::Recorder;

/// An engine under test.
pub struct Engine {
    /// Its log.
    pub log: Arc<dyn Log>,
    /// Its presence sets.
    pub presence: Arc<dyn Presence>,
    /// Moves its clock, and lets it forget what is too old by then.
    pub advance: Box<dyn Fn(Duration)>,
}

/// Makes an empty engine that announces to the announcer and keeps the limits.
pub type Factory = dyn Fn(Arc<dyn Announcer>, Limits) -> Engine;

/// An engine with everything around it.
pub struct Fixture {
    /// The engine.
    pub engine: Engine,
    /// What it announced.
    pub announced: Arc<Recorder>,
    /// The app of all that names no other.
    pub app: AppId,
}

/// How long the cases' engines remember ids.
pub const IDEMPOTENCY_TIME: Duration = Duration::from_secs(60);

/// How many channels the cases' engines have room for.
pub const CHANNELS_MAX: usize = 500;

/// What the cases keep of a channel unless they say otherwise: enough that nothing is lost.
pub const AMPLE: Retention = Retention { count_max: 10_000, age_max: Duration::from_secs(300), bytes_max: 64 << 20 };

impl Fixture {
    /// An empty engine.
    pub fn new(factory: &Factory) -> Self {
        let announced = Arc::new(Recorder::default());
        let engine =
            factory(announced.clone(), Limits { idempotency_time: IDEMPOTENCY_TIME, channels_max: CHANNELS_MAX, ..Limits::default() });
        Self { engine, announced, app: app("one") }
    }

    /// Publishes to channels of the app, `a` or `a+b`.
    pub fn publish(&self, channels: &str) -> Published {
        self.publish_kept(channels, AMPLE)
    }

    /// Publishes, and keeps of the channels what the retention says.
    pub fn publish_kept(&self, channels: &str, retention: Retention) -> Published {
        self.publish_draft(&self.app, draft(channels), retention)
    }

    /// Publishes under an id.
    pub fn publish_as(&self, app: &AppId, channels: &str, id: &str) -> Published {
        self.publish_draft(app, Draft { id: Some(id.into()), ..draft(channels) }, AMPLE)
    }

    /// Publishes a draft.
    pub fn publish_draft(&self, app: &AppId, draft: Draft, retentions: impl Into<Retentions>) -> Published {
        done(self.engine.log.publish(app, draft, retentions.into()))
    }

    /// The shard joins channels, `a` or `a+b`, without a mark.
    pub fn join(&self, shard: u16, channels: &str) -> Joined {
        self.resume(shard, channels, None)
    }

    /// The shard joins channels behind a mark.
    pub fn resume(&self, shard: u16, channels: &str, since: Option<Mark>) -> Joined {
        self.resume_some(shard, channels, since, 10_000)
    }

    /// The same, with at most so many missed publications.
    pub fn resume_some(&self, shard: u16, channels: &str, since: Option<Mark>, most: usize) -> Joined {
        done(self.engine.log.subscribe(&self.app, Joining { channels: &names(channels), watch: None, shard, since, most }))
    }

    /// The shard watches patterns.
    pub fn watch(&self, shard: u16, watch: &Watch, since: Option<Mark>) -> Joined {
        done(self.engine.log.subscribe(&self.app, Joining { channels: &[], watch: Some(watch), shard, since, most: 10_000 }))
    }

    /// The shard leaves a channel.
    pub fn leave(&self, shard: u16, channel: &str) {
        self.engine.log.unsubscribe(&self.key(channel), shard);
    }

    /// Reads a channel's history.
    pub fn history(&self, channel: &str, query: HistoryQuery) -> HistoryPage {
        done(self.engine.log.history(&self.key(channel), query))
    }

    /// A channel of the app.
    pub fn key(&self, channel: &str) -> ChannelKey {
        ChannelKey::new(&self.app, &name(channel))
    }

    /// Moves the clock.
    pub fn advance(&self, time: Duration) {
        (self.engine.advance)(time);
    }

    /// Everything that the shard was told of since it was asked last, once it is known that there is no more.
    pub fn heard(&self, shard: u16, at_least: usize) -> String {
        self.announced.wait_for(shard, at_least);
        done(self.engine.log.probe());
        self.announced.take(shard)
    }
}

/// The query for a whole history.
pub const WHOLE: HistoryQuery = HistoryQuery { since: None, before: None, most: 10_000, newest_first: false };

/// An app.
pub fn app(text: &str) -> AppId {
    AppId::parse(text).expect("a name")
}

/// A channel.
pub fn name(text: &str) -> ChannelName {
    ChannelName::parse(text).expect("a name")
}

/// The channels of `a+b`.
pub fn names(text: &str) -> Vec<ChannelName> {
    text.split('+').map(name).collect()
}

/// A draft for the channels of `a+b`.
pub fn draft(channels: &str) -> Draft {
    let mut names = names(channels);
    let first = names.remove(0);
    let mut draft = Draft::new(first, Payload::Json(Bytes::from_static(b"1")));
    draft.channels.extend(names);
    draft
}

/// A watch of patterns, joined by blanks, that may read everything but the channel `secret`.
pub fn watching(patterns: &str) -> Watch {
    let patterns = patterns.split(' ').map(|pattern| Pattern::parse(pattern).expect("a pattern")).collect();
    Watch { patterns, readable: Arc::new(|channel| !channel.as_str().ends_with("secret")) }
}

/// Publications in the notation of the cases.
pub fn listed(publications: &[(Arc<Publication>, usize)]) -> String {
    let listed = publications.iter().map(|(publication, place)| {
        let place = &publication.places[*place];
        format!("{}-{}", place.channel, place.position.offset)
    });
    listed.collect::<Vec<_>>().join(" ")
}

/// The answer of a task that must not fail.
#[track_caller]
pub fn done<T>(task: Task<T>) -> T {
    outcome(task).unwrap_or_else(|error| panic!("the engine refused: {error}"))
}

/// The answer of a task, by waiting for it on this thread.
pub fn outcome<T>(mut task: Task<T>) -> Result<T, EngineError> {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    loop {
        match task.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(answer) => return answer,
            Poll::Pending => std::thread::park(),
        }
    }
}

/// Makes a test of each case, for the engines of a factory ([`Factory`]).
#[macro_export]
macro_rules! engine_suite {
    ($factory:expr) => {
        $crate::engine_suite! { $factory;
            offsets_count_each_channel_from_one,
            stamps_grow_across_all_channels,
            shards_hear_of_their_channels_in_order,
            racing_publishers_keep_the_order,
            joining_is_atomic_with_what_follows,
            cursors_walk_through_racing_publishers,
            several_channels_share_one_publication,
            each_channel_keeps_what_its_own_rules_say,
            a_channel_that_is_named_twice_is_meant_once,
            an_id_counts_once_within_its_window,
            an_id_belongs_to_its_first_channel,
            history_is_read_in_both_directions,
            history_of_nothing,
            channels_in_use_are_listed,
            leaving_ends_the_news,
            a_join_that_fails_leaves_others_alone,
            apps_never_see_each_other,
            names_are_located,
            direct_messages_and_disconnects_reach_every_shard,
            a_probe_comes_back,
            every_kind_of_mark_resumes,
            a_cursor_resumes_several_channels,
            missed_publications_come_in_pages,
            evicted_by_count_is_a_gap,
            evicted_by_age_is_a_gap,
            evicted_by_size_is_a_gap,
            marks_of_the_future_are_a_gap,
            marks_of_another_epoch_are_a_gap,
            a_forgotten_channel_is_a_gap,
            a_watch_hears_of_the_whole_app,
            a_watch_resumes_what_it_may_read,
            a_watch_knows_of_gaps,
            members_come_change_and_go,
            only_members_that_are_there_are_updated,
            entries_are_told_apart_by_session_and_key,
            a_user_comes_once_and_goes_once,
            members_are_limited,
            those_who_watch_hear_of_members,
        }
    };
    ($factory:expr; $($case:ident),* $(,)?) => {
        $(
            #[test]
            fn $case() {
                $crate::engine::$case(&$crate::engine::Fixture::new(&$factory));
            }
        )*
    };
}

#[cfg(test)]
mod tests {
    /// A case that the macro does not name would never run.
    #[test]
    fn every_case_is_run() {
        let listed = include_str!("engine.rs");
        for source in [include_str!("engine/log.rs"), include_str!("engine/marks.rs"), include_str!("engine/members.rs")] {
            for case in source.lines().filter_map(|line| line.strip_prefix("pub fn ")?.split_once('(')) {
                assert!(listed.contains(&format!("            {},\n", case.0)), "engine_suite! lacks {}", case.0);
            }
        }
    }
}

//! An announcer that writes down what each shard is told.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use omnivox_core::Publication;
use omnivox_core::engine::{Announcement, Announcer, ShardSet};
use omnivox_core::event::MemberAction;

/// How long news of a broker are waited for before a case fails.
const PATIENCE: Duration = Duration::from_secs(20);

/// What was announced, in order.
#[derive(Debug, Default)]
pub struct Recorder {
    news: Mutex<Vec<(ShardSet, Announcement)>>,
    more: Condvar,
}

impl Announcer for Recorder {
    fn announce(&self, shards: ShardSet, announcement: Announcement) {
        self.news().push((shards, announcement));
        self.more.notify_all();
    }
}

impl Recorder {
    /// Waits until the shard was told of so many things; fails when they don't come.
    pub fn wait_for(&self, shard: u16, count: usize) {
        let heard = |news: &[(ShardSet, Announcement)]| news.iter().filter(|(shards, _)| shards.contains(shard)).count();
        let waited = self.more.wait_timeout_while(self.news(), PATIENCE, |news| heard(news) < count);
        let (news, _) = waited.unwrap_or_else(PoisonError::into_inner);
        assert!(heard(&news) >= count, "shard {shard} was told of {} things only, not {count}: {news:#?}", heard(&news));
    }

    /// What the shard was told, in words; it is forgotten for this shard.
    ///
    /// A publication is shown by all its places (`a-1+b-1`), a presence event as `a enter KEY` with `!` when it is the first or last of its
    /// user, and messages outside of channels as `direct` and `disconnect`.
    pub fn take(&self, shard: u16) -> String {
        let mut words = Vec::new();
        for (shards, announcement) in self.news().iter_mut().filter(|(shards, _)| shards.contains(shard)) {
            shards.remove(shard);
            words.push(described(announcement));
        }
        words.join(" ")
    }

    /// The publications that the shard was told of.
    pub fn publications(&self, shard: u16) -> Vec<Arc<Publication>> {
        let news = self.news();
        let heard = news.iter().filter(|(shards, _)| shards.contains(shard));
        heard
            .filter_map(|(_, announcement)| match announcement {
                Announcement::Publication(publication) => Some(publication.clone()),
                _ => None,
            })
            .collect()
    }

    /// Everything that the shard was told of.
    pub fn everything(&self, shard: u16) -> Vec<Announcement> {
        self.news().iter().filter(|(shards, _)| shards.contains(shard)).map(|(_, announcement)| announcement.clone()).collect()
    }

    fn news(&self) -> MutexGuard<'_, Vec<(ShardSet, Announcement)>> {
        self.news.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn described(announcement: &Announcement) -> String {
    match announcement {
        Announcement::Publication(publication) => {
            let places = publication.places.iter().map(|place| format!("{}-{}", place.channel, place.position.offset));
            places.collect::<Vec<_>>().join("+")
        }
        Announcement::Presence(_, event) => {
            let action = match event.action {
                MemberAction::Enter => "enter",
                MemberAction::Update => "update",
                MemberAction::Leave => "leave",
            };
            format!("{} {action} {}{}", event.channel, event.member.key, if event.only_of_user { "!" } else { "" })
        }
        Announcement::Direct(_) => "direct".to_owned(),
        Announcement::Disconnect(..) => "disconnect".to_owned(),
    }
}

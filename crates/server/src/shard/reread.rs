//! What a full inbox dropped is read again from the log, in order of stamps.
//!
//! A channel is read from the offset where the shard stands. A pattern may mean channels that the shard had never heard of, so their
//! channels are read from the stamp where the app's patterns stand; both up to the last stamp that was dropped, because what follows is queued.

use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use omnivox_core::Publication;
use omnivox_core::engine::{Announcement, EngineError, HistoryPage, HistoryQuery, Task};
use omnivox_core::event::Event;
use omnivox_core::mark::{Mark, Position};
use omnivox_core::name::ChannelKey;
use omnivox_hub::inbox::Dropped;

use super::Shard;
use crate::metrics::add;

/// A part of a channel's history, and for whom it was read.
struct Page {
    key: ChannelKey,
    page: HistoryPage,
    for_patterns: bool,
}

/// A publication that was missed: for the subscribers of that channel, or for patterns.
struct Missed {
    channel: Option<u32>,
    publication: Arc<Publication>,
    place: usize,
}

impl Shard {
    /// Reads channels again, because news of them were dropped, and delivers what it finds in order of stamps; and ends
    /// the sessions that were to end.
    pub(super) fn reread(&mut self, dropped: &Dropped) {
        let mut pages = Vec::new();
        for key in &dropped.channels {
            if let Some(channel) = self.table.find(key) {
                let since = self.table.channel(channel).last.map(|(epoch, offset)| Mark::Position(Position { epoch, offset }));
                self.read(key, since, false, dropped, &mut pages);
            }
            if !self.patterns.matching(&key.app, &key.channel).is_empty() {
                let since = self.patterns.last(&key.app).map(Mark::Cursor);
                self.read(key, since, true, dropped, &mut pages);
            }
        }
        self.catch_up(pages, dropped);
        for (app, whom) in &dropped.disconnects {
            self.take(Announcement::Disconnect(app.clone(), whom.clone()));
        }
    }

    fn read(&self, key: &ChannelKey, since: Option<Mark>, for_patterns: bool, dropped: &Dropped, pages: &mut Vec<Page>) {
        add(&self.metrics().rereads_total, 1);
        let query = HistoryQuery { since, before: None, most: usize::MAX, newest_first: false };
        let mut reading = self.common.hub.log().history(key, query);
        match reading.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Ok(page)) => pages.push(Page { key: key.clone(), page, for_patterns }),
            Poll::Ready(Err(error)) => tracing::warn!(%error, "a channel could not be read again"),
            Poll::Pending => self.read_later(key.clone(), reading, for_patterns, dropped.clone()),
        }
    }

    fn read_later(&self, key: ChannelKey, reading: Task<HistoryPage>, for_patterns: bool, dropped: Dropped) {
        let this = self.this.clone();
        tokio::task::spawn_local(async move {
            let page: Result<HistoryPage, EngineError> = reading.await;
            let Some(shard) = this.upgrade() else { return };
            let mut shard = super::turn(&shard);
            match page {
                Ok(page) => shard.catch_up(vec![Page { key, page, for_patterns }], &dropped),
                Err(error) => tracing::warn!(%error, "a channel could not be read again"),
            }
            shard.settle();
        });
    }

    fn catch_up(&mut self, pages: Vec<Page>, dropped: &Dropped) {
        let mut missed: Vec<Missed> = Vec::new();
        let mut tops = Vec::new();
        for Page { key, page, for_patterns } in pages {
            let channel = if for_patterns { None } else { self.table.find(&key) };
            if page.gap {
                add(&self.metrics().gaps_total, 1);
                match channel {
                    Some(channel) => self.broadcast(channel, &Event::Gap(key.channel.clone()), false),
                    None if for_patterns => self.tell_patterns_of_lost(&key.app, &key.channel),
                    None => {}
                }
            }
            if channel.is_none() && !for_patterns {
                continue;
            }
            // What was published since is queued by now, behind what other channels still have in the queue.
            let queued = |publication: &Publication| dropped.up_to(&key.app).is_some_and(|last| publication.cursor.stamp > last);
            let before = page.publications.iter().take_while(|(publication, _)| !queued(publication)).count();
            if before == page.publications.len() {
                tops.extend(channel.map(|channel| (channel, page.position)));
            }
            let found = page.publications.into_iter().take(before);
            missed.extend(found.map(|(publication, place)| Missed { channel, publication, place }));
        }
        missed.sort_by_key(|missed| (missed.publication.cursor.stamp, missed.channel.is_none()));
        for Missed { channel, publication, place } in missed {
            match channel {
                Some(channel) => self.catch_up_with(channel, &publication, place),
                None => {
                    self.fan_out_to_patterns(&publication, place);
                    self.patterns.advance(&publication.app, publication.cursor);
                }
            }
        }
        for (channel, top) in tops {
            let local = self.table.channel_mut(channel);
            if local.last.is_none_or(|(epoch, last)| epoch != top.epoch || last < top.offset) {
                local.last = Some((top.epoch, top.offset));
            }
        }
    }

    fn catch_up_with(&mut self, channel: u32, publication: &Arc<Publication>, place: usize) {
        let position = publication.places[place].position;
        let local = self.table.channel_mut(channel);
        match local.last {
            Some((epoch, last)) if epoch == position.epoch && position.offset <= last => return,
            Some((epoch, _)) if epoch != position.epoch => local.begin_epoch(position.epoch),
            Some(_) | None => {}
        }
        local.last = Some((position.epoch, position.offset));
        local.hold(publication, place);
        self.fan_out(channel, publication, place);
    }
}

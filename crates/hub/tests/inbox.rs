//! The queues between publishers and shards: bounded, in order, and honest about what they could not take.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use omnivox_core::engine::{Announcement, Announcer, ShardSet, Whom};
use omnivox_core::event::{Member, MemberAction};
use omnivox_core::publication::Place;
use omnivox_core::{AppId, Cursor, Epoch, Position, PresenceEvent, Publication, SessionId};
use omnivox_hub::inbox::Dropped;
use omnivox_hub::{Inbox, Inboxes};
use omnivox_testkit::engine::{app, draft, name, names};

/// A publication of the app in channels `a+b`, with a stamp.
fn publication(app: &AppId, channels: &str, stamp: u64) -> Announcement {
    let position = Position { epoch: Epoch(1), offset: stamp };
    let places = names(channels).into_iter().map(|channel| Place { channel, position, previous: stamp - 1 }).collect();
    let cursor = Cursor { epoch: Epoch(1), stamp };
    Announcement::Publication(Arc::new(Publication { app: app.clone(), draft: draft(channels), places, cursor, at_ms: 0 }))
}

fn presence(app: &AppId, channel: &str) -> Announcement {
    let session = SessionId { node: 1, shard: 0, slot: 1, generation: 0 };
    let member = Member { session, key: "x".into(), user: None, data: None };
    let event = PresenceEvent { channel: name(channel), action: MemberAction::Enter, member, only_of_user: true };
    Announcement::Presence(app.clone(), Arc::new(event))
}

fn only(shard: u16) -> ShardSet {
    let mut shards = ShardSet::default();
    shards.insert(shard);
    shards
}

/// The stamps of what is in the queue, at most so many; `None` when nothing is there and the shard would have to wait.
fn receive(inbox: &mut Inbox, most: usize) -> Option<Vec<u64>> {
    let mut news = Vec::new();
    let received = std::pin::pin!(inbox.receive(&mut news, most)).poll(&mut Context::from_waker(Waker::noop()));
    matches!(received, Poll::Ready(true)).then(|| stamps(&news))
}

fn stamps(news: &[Announcement]) -> Vec<u64> {
    let stamp = |announcement: &Announcement| match announcement {
        Announcement::Publication(publication) => publication.cursor.stamp,
        _ => 0,
    };
    news.iter().map(stamp).collect()
}

/// The channels of the list, as `app/channel`, sorted.
fn channels(dropped: &Dropped) -> String {
    let mut channels: Vec<String> = dropped.channels.iter().map(|key| format!("{}/{}", key.app, key.channel)).collect();
    channels.sort_unstable();
    channels.join(" ")
}

/// Takes the list when everything before it was dealt with.
fn overflowed(inbox: &mut Inbox) -> Dropped {
    let mut news = Vec::new();
    let dropped = inbox.take_overflowed(&mut news);
    assert!(news.is_empty(), "the queue was read before: {news:?}");
    dropped
}

#[test]
fn news_come_in_order_and_only_to_their_shards() {
    let (inboxes, mut shards) = Inboxes::new(3, 8);
    assert_eq!(inboxes.shards(), 3);
    for (stamp, to) in [(1, only(0)), (2, only(0).union(only(2))), (3, only(2)), (4, ShardSet::ALL), (5, only(9))] {
        inboxes.announce(to, publication(&app("one"), "a", stamp));
    }
    assert_eq!(receive(&mut shards[0], 2), Some(vec![1, 2]));
    assert_eq!(receive(&mut shards[0], 2), Some(vec![4]));
    assert_eq!(receive(&mut shards[0], 2), None);
    assert_eq!(receive(&mut shards[1], 9), Some(vec![4]));
    assert_eq!(receive(&mut shards[2], 9), Some(vec![2, 3, 4]));
    assert_eq!(inboxes.overflows(), 0);
    assert_eq!(channels(&overflowed(&mut shards[0])), "");
}

/// Counts how often a shard is woken.
#[derive(Default)]
struct Wakes(AtomicUsize);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// What a shard announces in one turn wakes another once, when the turn ends; what anyone else announces wakes it at once.
#[test]
fn the_news_of_a_turn_come_together() {
    let (inboxes, mut shards) = Inboxes::new(1, 8);
    let (others, _ends) = Inboxes::new(1, 8);
    let wakes = Arc::new(Wakes::default());
    let waker = Waker::from(wakes.clone());
    let mut context = Context::from_waker(&waker);
    let mut news = Vec::new();
    let mut receiving = Box::pin(shards[0].receive(&mut news, 9));
    assert!(receiving.as_mut().poll(&mut context).is_pending());
    let woken = || wakes.0.load(Ordering::Relaxed);

    inboxes.begin_turn();
    for stamp in 1..=3 {
        inboxes.announce(only(0), publication(&app("one"), "a", stamp));
    }
    assert_eq!(woken(), 0, "the turn goes on");
    inboxes.end_turn();
    assert_eq!(woken(), 1);
    assert_eq!(receiving.as_mut().poll(&mut context), Poll::Ready(true));
    drop(receiving);
    assert_eq!(stamps(&news), [1, 2, 3]);

    news.clear();
    let mut receiving = Box::pin(shards[0].receive(&mut news, 9));
    assert!(receiving.as_mut().poll(&mut context).is_pending());
    inboxes.announce(only(0), publication(&app("one"), "a", 4));
    assert_eq!(woken(), 2, "outside a turn");
    assert_eq!(receiving.as_mut().poll(&mut context), Poll::Ready(true));
    drop(receiving);

    // A long turn rings on its way.
    news.clear();
    let mut receiving = Box::pin(shards[0].receive(&mut news, 9));
    assert!(receiving.as_mut().poll(&mut context).is_pending());
    inboxes.begin_turn();
    (1..=64).for_each(|stamp| inboxes.announce(only(0), publication(&app("one"), "a", stamp)));
    assert_eq!(woken(), 3);
    inboxes.end_turn();
    assert_eq!(woken(), 3, "there is nothing more");
    assert_eq!(receiving.as_mut().poll(&mut context), Poll::Ready(true));
    drop(receiving);
    while receive(&mut shards[0], 99).is_some_and(|news| !news.is_empty()) {}
    overflowed(&mut shards[0]);

    // A turn is one server's: another one's shards are woken at once.
    news.clear();
    let mut receiving = Box::pin(shards[0].receive(&mut news, 9));
    assert!(receiving.as_mut().poll(&mut context).is_pending());
    others.begin_turn();
    inboxes.announce(only(0), publication(&app("one"), "a", 5));
    assert_eq!(woken(), 4);
    others.end_turn();
}

#[test]
fn a_queue_that_is_full_remembers_the_channels() {
    let (inboxes, mut shards) = Inboxes::new(2, 2);
    let (one, two) = (app("one"), app("two"));
    for (announcement, to) in [
        (publication(&one, "kept", 1), only(0)),
        (publication(&one, "kept", 2), only(0)),
        (publication(&one, "a+b", 3), ShardSet::ALL),
        (publication(&two, "a", 9), only(0)),
        (publication(&one, "a", 4), only(0)),
        (presence(&two, "members"), only(0)),
        (Announcement::Disconnect(one.clone(), Whom::Token("t".into())), only(0)),
    ] {
        inboxes.announce(to, announcement);
    }
    assert_eq!(inboxes.overflows(), 1, "the queue was full once");
    assert_eq!(receive(&mut shards[1], 9), Some(vec![3]), "another shard's queue is not full");
    assert_eq!(channels(&overflowed(&mut shards[1])), "");
    assert_eq!(receive(&mut shards[0], 9), Some(vec![1, 2]));
    let dropped = overflowed(&mut shards[0]);
    assert_eq!(channels(&dropped), "one/a one/b two/a two/members");
    assert_eq!(dropped.disconnects, [(one.clone(), Whom::Token("t".into()))], "whose end was ordered");
    assert_eq!([&one, &two, &app("three")].map(|app| dropped.up_to(app)), [Some(4), Some(9), None]);
    assert_eq!(channels(&overflowed(&mut shards[0])), "", "the list is taken once");
}

/// A list may name stamps out of order when publishers of several engines race: the largest counts.
#[test]
fn the_last_stamp_is_the_largest() {
    let (inboxes, mut shards) = Inboxes::new(1, 1);
    for stamp in [1, 7, 5] {
        inboxes.announce(only(0), publication(&app("one"), "a", stamp));
    }
    assert_eq!(receive(&mut shards[0], 9), Some(vec![1]));
    assert_eq!(overflowed(&mut shards[0]).up_to(&app("one")), Some(7));
}

/// What follows a loss waits behind it, also when there is room again: else a cursor would pass what is still to be read.
#[test]
fn nothing_overtakes_what_was_dropped() {
    let (inboxes, mut shards) = Inboxes::new(1, 2);
    let say = |channel, stamp| inboxes.announce(only(0), publication(&app("one"), channel, stamp));
    say("a", 1);
    say("a", 2);
    say("b", 3);
    assert_eq!(receive(&mut shards[0], 1), Some(vec![1]));
    say("c", 4);
    let mut rest = Vec::new();
    assert_eq!(channels(&shards[0].take_overflowed(&mut rest)), "", "what was queued comes before the list");
    assert_eq!(stamps(&rest), [2]);
    say("d", 5);
    assert_eq!(channels(&overflowed(&mut shards[0])), "one/b one/c one/d");
    say("e", 6);
    assert_eq!(receive(&mut shards[0], 9), Some(vec![6]), "the queue is open again");
}

#[test]
fn without_publishers_there_is_no_more() {
    let (inboxes, mut shards) = Inboxes::new(1, 2);
    inboxes.announce(only(0), publication(&app("one"), "a", 1));
    drop(inboxes);
    assert_eq!(receive(&mut shards[0], 9), Some(vec![1]));
    let mut news = Vec::new();
    let ended = std::pin::pin!(shards[0].receive(&mut news, 9)).poll(&mut Context::from_waker(Waker::noop()));
    assert!(matches!(ended, Poll::Ready(false)));
}

/// Publishers race while a shard reads: each stamp was delivered in order, or its channel was on a list that came behind everything older.
#[test]
fn racing_publishers_lose_nothing_unseen() {
    const COUNT: u64 = 5_000;
    let (inboxes, mut shards) = Inboxes::new(1, 4);
    let inbox = &mut shards[0];
    let (mut seen, mut lost_up_to) = (0, 0);
    std::thread::scope(|scope| {
        let publisher = scope.spawn(move || {
            for stamp in 1..=COUNT {
                inboxes.announce(only(0), publication(&app("one"), "a", stamp));
            }
        });
        loop {
            let ended = publisher.is_finished();
            let heard = receive(inbox, 3).unwrap_or_default();
            for stamp in &heard {
                assert_eq!(*stamp, seen.max(lost_up_to) + 1, "neither a hole that was not told nor a step back");
                seen = *stamp;
            }
            let mut rest = Vec::new();
            let dropped = inbox.take_overflowed(&mut rest);
            for stamp in stamps(&rest) {
                assert_eq!(stamp, seen.max(lost_up_to) + 1, "what was queued before the list");
                seen = stamp;
            }
            if let Some(last) = dropped.up_to(&app("one")) {
                assert_eq!(channels(&dropped), "one/a");
                assert!(last > seen);
                lost_up_to = last;
            }
            if ended && heard.is_empty() && rest.is_empty() && dropped.channels.is_empty() {
                break;
            }
        }
    });
    assert_eq!(seen.max(lost_up_to), COUNT);
}

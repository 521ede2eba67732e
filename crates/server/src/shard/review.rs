//! Sessions against the rules of the moment: after new settings, and after a session has shown another credential.
//!
//! A session whose credential would no longer be let in ends; one that may no longer read some of its channels loses those, and where it may
//! no longer be seen its entries end. Channels that the application let it into, it keeps. What it may do from now on is decided with the new
//! rules anyway.
//!
//! Invariant: a turn looks at so many sessions and no more, so that a reload does not hold up who is served.

use std::time::Duration;

use omnivox_core::app::App;
use omnivox_core::channel::Seating;
use omnivox_core::command::{CloseReason, Connection, Control};
use omnivox_core::grants::{Permissions, decide};
use omnivox_core::name::{AppId, ChannelName, UserId};
use tokio::sync::oneshot;

use super::conn::SlotRef;
use super::driver::Work;
use super::{Shard, Shared};

/// Sessions that one turn looks at.
const REVIEWED_MAX: usize = 500;

/// A question for the sessions of a user.
pub(crate) struct Inquiry {
    pub app: AppId,
    pub user: UserId,
    pub most: usize,
    pub answer: oneshot::Sender<Vec<Connection>>,
}

/// Looks at all sessions whenever the apps were replaced.
pub(super) async fn run(shard: Shared) {
    let mut replaced = shard.borrow().common.hub.replacements();
    while replaced.changed().await.is_ok() {
        let mut next = 0;
        while {
            let mut shard = super::turn(&shard);
            let more = shard.review_some(&mut next);
            shard.settle();
            more
        } {
            tokio::task::yield_now().await;
        }
    }
}

impl Shard {
    /// Looks at the next few sessions; false when all were.
    fn review_some(&mut self, next: &mut usize) -> bool {
        let end = (*next + REVIEWED_MAX).min(self.sessions.capacity());
        for slot in *next..end {
            let Some(at) = self.sessions.get(slot).filter(|found| !found.ending).map(|found| found.at(slot)) else { continue };
            self.review(at);
        }
        *next = end;
        end < self.sessions.capacity()
    }

    /// Ends a session whose credential no longer counts, or takes from it what it may no longer read.
    pub(super) fn review(&mut self, at: SlotRef) {
        let Some(principal) = self.slot(at).and_then(|slot| slot.principal.clone()) else { return };
        match self.common.hub.review(&principal) {
            Ok(entry) => {
                self.review_seats(at, &entry.app);
                self.review_entries(at, &entry.app);
            }
            Err(refused) => {
                tracing::debug!(%refused, "a session is no longer let in");
                self.close_session(at, CloseReason::Expired);
            }
        }
    }

    fn review_seats(&mut self, at: SlotRef, app: &App) {
        let Some(slot) = self.sessions.get(at.slot as usize) else { return };
        let Some(principal) = &slot.principal else { return };
        // Whom the application let in stays, and an inbox ends with its seat.
        let is_let_in =
            |channel: &ChannelName| channel.is_inbox() || slot.admitted.as_ref().is_some_and(|admitted| admitted.contains(channel));
        let granted = |seat: &Seating, wanted| {
            let channel = &self.table.channel(seat.channel).key.channel;
            is_let_in(channel) || decide(app, principal, channel, wanted).allowed
        };
        // Who sees the members has a subscription that needs the right to see them.
        let wanted = |seat: &Seating| match self.table.sees_presence(*seat) {
            true => Permissions::SUBSCRIBE.with(Permissions::PRESENCE),
            false => Permissions::SUBSCRIBE,
        };
        let lost: Vec<u32> = slot.seats.iter().filter(|seat| !granted(seat, wanted(seat))).map(|seat| seat.channel).collect();
        for channel in lost {
            let name = self.table.channel(channel).key.channel.clone();
            self.give_up_seat(at, channel);
            self.work.push_back(Work::Control(at, Control::Unsubscribed(name)));
        }
    }

    /// Ends the entries in presence sets that it may no longer have.
    fn review_entries(&mut self, at: SlotRef, app: &App) {
        let session = self.session_id(at);
        let Some(slot) = self.slot(at) else { return };
        let (Some(principal), Some(entries)) = (slot.principal.clone(), slot.entries.as_mut()) else { return };
        let (kept, lost) = std::mem::take(&mut **entries)
            .into_iter()
            .partition(|entry| decide(app, &principal, &entry.channel, Permissions::PRESENCE).allowed);
        **entries = kept;
        for entry in lost {
            self.end_entry(session, &principal, entry, Duration::ZERO);
        }
    }

    /// The sessions of a user here, at most so many and one more.
    pub(super) fn answer_inquiry(&self, inquiry: Inquiry) {
        let Inquiry { app, user, most, answer } = inquiry;
        let found = self.sessions.iter().filter_map(|(slot, found)| {
            let principal = found.principal.as_ref().filter(|principal| principal.app == app && principal.user.as_ref() == Some(&user))?;
            Some(Connection {
                session: self.session_id(found.at(slot)),
                dialect: self.common.router.dialect(found.dialect).name(),
                subscriptions: found.subscriptions(),
                token_id: principal.token_id.clone(),
            })
        });
        let _ = answer.send(found.take(most.saturating_add(1)).collect());
    }
}

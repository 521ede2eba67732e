//! Sessions against the rules of the moment: after new settings, and after a session has shown another credential.
//!
//! A session whose credential would no longer be let in ends; one that may no longer read some of its channels loses those. What it may do from
//! now on is decided with the new rules anyway.
//!
//! Invariant: a turn looks at so many sessions and no more, so that a reload does not hold up who is served.

use omnivox_core::app::App;
use omnivox_core::command::{CloseReason, Connection, Control};
use omnivox_core::grants::{Permissions, decide};
use omnivox_core::name::{AppId, UserId};
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
            Ok(entry) => self.review_seats(at, &entry.app),
            Err(refused) => {
                tracing::debug!(%refused, "a session is no longer let in");
                self.close_session(at, CloseReason::Expired);
            }
        }
    }

    fn review_seats(&mut self, at: SlotRef, app: &App) {
        let Some(slot) = self.sessions.get(at.slot as usize) else { return };
        let Some(principal) = &slot.principal else { return };
        let lost: Vec<u32> = slot
            .seats
            .iter()
            .map(|seat| seat.channel)
            .filter(|channel| !decide(app, principal, &self.table.channel(*channel).key.channel, Permissions::SUBSCRIBE).allowed)
            .collect();
        for channel in lost {
            let name = self.table.channel(channel).key.channel.clone();
            self.give_up_seat(at, channel);
            self.work.push_back(Work::Control(at, Control::Unsubscribed(name)));
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

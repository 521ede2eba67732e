//! Subscriptions by pattern: who asks receives of the channels that a pattern means those that it may subscribe to, and learns of no other.
//!
//! A pattern itself needs no grant. What may be received is decided for each channel: here for what was missed, on the shard for what comes.

use std::sync::Arc;

use omnivox_core::app::{Retention, Retentions};
use omnivox_core::command::{Appear, Denied, Replay, Reply, Subscribe};
use omnivox_core::engine::{Joining, Task, Watch};
use omnivox_core::event::Member;
use omnivox_core::grants::{Permissions, decide};
use omnivox_core::name::AppId;
use omnivox_core::{ChannelName, Draft, Mark, Pattern};
use smallvec::SmallVec;

use crate::hub::{Door, Hub, Outcome, Running, Started, denied, reply};

impl Door<'_> {
    /// Checks a wish to receive, for `admitted` channels without asking for a grant, and hands it to the engine. A hook may be asked first.
    pub(crate) fn subscribe(&self, mut subscribe: Box<Subscribe>, admitted: &[ChannelName], shard: u16) -> Result<Started, Denied> {
        let limits = &self.hub.limits();
        if subscribe.channels.is_empty() && subscribe.patterns.is_empty() {
            return Err(Denied::Invalid("name at least one channel to subscribe to".into()));
        }
        if self.caller.subscriptions + subscribe.channels.len() + subscribe.patterns.len() > limits.channels_per_connection_max {
            let words = format!("one connection subscribes to at most {} channels", limits.channels_per_connection_max);
            return Err(Denied::Limit { setting: "channels_per_connection_max", words: words.into() });
        }
        if !subscribe.patterns.is_empty() && matches!(subscribe.since, Some(Mark::Position(_) | Mark::Offset(_))) {
            return Err(Denied::Invalid("a position is a place in one channel; with a pattern send the cursor of the last event".into()));
        }
        if self.hub.hooks.any()
            && let Some(running) = self.subscribe_asking(&mut subscribe, admitted, shard)
        {
            return Ok(Started::Later(running));
        }
        self.receive(subscribe, admitted, shard)
    }

    /// Checks the grants that a wish to receive needs, and hands it to the engine.
    pub(crate) fn receive(&self, subscribe: Box<Subscribe>, admitted: &[ChannelName], shard: u16) -> Result<Started, Denied> {
        let limits = &self.hub.limits();
        let mut wanted = Permissions::SUBSCRIBE;
        if subscribe.since.is_some() {
            wanted = wanted.with(Permissions::HISTORY);
        }
        let each = [Permissions::SUBSCRIBE, Permissions::HISTORY].into_iter().filter(|one| wanted.contains(*one));
        let each: SmallVec<[Permissions; 3]> = each.chain(subscribe.presence.then_some(Permissions::PRESENCE)).collect();
        let all = if subscribe.presence { wanted.with(Permissions::PRESENCE) } else { wanted };
        for channel in subscribe.channels.iter().filter(|channel| !admitted.contains(channel)) {
            // One rule mostly allows all that is wanted; only when it does not, who refuses what is looked for.
            let admitted = if channel.is_inbox() {
                self.hub.leases.is_reader(&self.app.id, channel, self.caller.session)
            } else {
                decide(self.app, self.principal, channel, all).allowed
            };
            if admitted {
                continue;
            }
            each.iter().try_for_each(|permission| self.check(channel, *permission))?;
        }
        self.caller.quota.subscribe(subscribe.channels.len() + subscribe.patterns.len())?;
        // A replay goes on until it is complete, an answer holds a page.
        let most = if subscribe.replay == Replay::InReply { limits.history_page_max } else { usize::MAX };
        let watch = (!subscribe.patterns.is_empty()).then(|| self.watch(subscribe.patterns.clone(), wanted));
        let joining = Joining { channels: &subscribe.channels, watch: watch.as_ref(), shard, since: subscribe.since, most };
        if let Some(joined) = self.hub.log().subscribe_now(&self.app.id, &joining) {
            return Ok(Started::Done(Some(Ok(Outcome::Joined(subscribe, joined.map_err(denied)?)))));
        }
        let joining = self.hub.log().subscribe(&self.app.id, joining);
        Ok(Started::Later(Box::pin(async move { joining.await.map(|joined| Outcome::Joined(subscribe, joined)).map_err(denied) })))
    }

    /// The patterns, cut to the channels with which the caller may do what is wanted.
    fn watch(&self, patterns: SmallVec<[Pattern; 0]>, wanted: Permissions) -> Watch {
        let (entry, principal) = (self.hub.app(&self.app.id), self.principal.clone());
        let allowed = move |channel: &_| {
            let parts = [Permissions::SUBSCRIBE, Permissions::HISTORY, Permissions::PRESENCE];
            let mut wanted = parts.into_iter().filter(|part| wanted.contains(*part));
            entry.as_ref().is_some_and(|entry| wanted.all(|wanted| decide(&entry.app, &principal, channel, wanted).allowed))
        };
        Watch { patterns, readable: Arc::new(allowed) }
    }

    pub(crate) fn present(&self, pattern: Pattern) -> Result<Running, Denied> {
        let watch = self.watch(SmallVec::from_elem(pattern, 1), Permissions::PRESENCE);
        let present = self.hub.presence().present(&self.app.id, &watch, self.hub.limits().history_page_max);
        Ok(reply(present, Reply::Present))
    }

    pub(crate) fn locate(&self, name: &str) -> Result<Running, Denied> {
        let located = self.hub.log().locate(&self.app.id, name);
        Ok(reply(located, |(found, now)| Reply::Located { found, now }))
    }

    pub(crate) fn appear(&self, appear: Appear) -> Result<Running, Denied> {
        let Appear { enter, coming, .. } = appear;
        let limits = &self.hub.limits();
        if enter.data.as_ref().is_some_and(|data| data.len() > limits.member_data_bytes_max) {
            let words = format!("a member's data has at most {} bytes", limits.member_data_bytes_max);
            return Err(Denied::Limit { setting: "member_data_bytes_max", words: words.into() });
        }
        let key = self.key(&enter.channel);
        let member = Member { session: self.caller.session, key: enter.key, user: self.principal.user.clone(), data: enter.data };
        let entering = self.hub.presence().enter(&key, member, enter.update_only, limits.members_per_channel_max);
        let telling = self.hub.tell(&self.app.id, entering, coming);
        Ok(reply(telling, |()| Reply::Entered))
    }
}

impl Hub {
    /// How much the app keeps of each of a draft's channels.
    pub fn retentions(&self, app: &AppId, draft: &Draft) -> Retentions {
        self.app(app).map_or_else(|| Retention::default().into(), |entry| entry.app.namespaces.retentions(&draft.channels))
    }

    /// Publishes, once the presence set has changed, what its log tells of that.
    pub fn tell(&self, app: &AppId, changing: Task<()>, draft: Draft) -> Task<()> {
        let retentions = self.retentions(app, &draft);
        let (log, app) = (self.log().clone(), app.clone());
        Box::pin(async move {
            changing.await?;
            log.publish(&app, draft, retentions).await.map(drop)
        })
    }
}

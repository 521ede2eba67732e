//! Where commands meet hooks.
//!
//! A hook adds to what credential and namespaces give, or denies what they give; without an opinion they decide alone. What it allows holds for
//! one channel (a subscribe), one message (a publish) or one connection (a connect).

use std::sync::Arc;

use omnivox_auth::AuthError;
use omnivox_core::command::{Connect, Credential, Denied, Reply, Subscribe};
use omnivox_core::engine::Published;
use omnivox_core::grants::{Grant, Permissions, Principal, decide};
use omnivox_core::publication::{Form, SHAPE_TAGS};
use omnivox_core::{AppId, ChannelName, Cursor, Draft, Epoch, Pattern, Payload};
use smallvec::SmallVec;
use tokio::task::JoinHandle;

use super::hook::{Failure, Hook};
use super::question::Question;
use super::verdict::{Verdict, refused_by};
use super::{HookEvent, HookSettings, OnFailure};
use crate::calls::{Asked, vouch};
use crate::hub::{Caller, Door, Hub, Outcome, Running, Stranger, admit_page, answer, denied};
use crate::traces;

/// The way to a verdict.
struct Asking {
    hook: Arc<Hook>,
    way: Way,
}

enum Way {
    Known(Arc<Verdict>),
    Asked(JoinHandle<Result<Arc<Verdict>, Failure>>),
    Alone,
}

impl Asking {
    /// What the back end says, whatever it is.
    async fn verdict(self) -> Result<Arc<Verdict>, (Arc<Hook>, Failure)> {
        let result = match self.way {
            Way::Known(verdict) => Ok(verdict),
            Way::Asked(task) => task.await.unwrap_or(Err(Failure::Alone)),
            Way::Alone => Err(Failure::Alone),
        };
        result.map_err(|failure| (self.hook, failure))
    }

    /// What the back end says of something that it may leave to others: an error when it denies it, `None` when it failed and that is no reason.
    async fn opinion(self) -> Result<Option<Arc<Verdict>>, Denied> {
        let name = self.hook.settings.name.clone();
        match self.verdict().await {
            Ok(verdict) => verdict.denied.as_ref().map(|denied| refused_by(&name, denied)).map_or(Ok(Some(verdict)), Err),
            Err((hook, _)) if hook.settings.on_failure == OnFailure::Allow => Ok(None),
            Err((hook, failure)) => Err(failure.denied(&hook.settings.name)),
        }
    }
}

impl Hub {
    /// Takes over new hooks. Whom one that is gone has let in ends.
    pub fn replace_hooks(&self, settings: Vec<HookSettings>) {
        self.hooks.replace(settings);
        self.tell_replaced();
    }

    /// Whether back ends are asked about anything in the app.
    pub fn has_hooks(&self, app: &AppId) -> bool {
        self.hooks.all().iter().any(|hook| hook.settings.app == *app)
    }

    /// The apps whose back end answers events that no handler takes.
    pub fn apps_with_events(&self) -> Vec<AppId> {
        let mut apps: Vec<AppId> = Vec::new();
        for hook in self.hooks.all().iter().filter(|hook| hook.settings.events.contains(&HookEvent::Event)) {
            if !apps.contains(&hook.settings.app) {
                apps.push(hook.settings.app.clone());
            }
        }
        apps
    }

    /// Appends what was counted of hooks, in the text format of Prometheus.
    pub fn hook_metrics(&self, into: &mut String) {
        self.hooks.metrics(into);
    }

    fn ask(&self, hook: &Arc<Hook>, question: Question) -> Asking {
        let way = match (hook.remembered(&question), self.outgoing()) {
            (Some(verdict), _) => Way::Known(verdict),
            (None, None) => Way::Alone,
            (None, Some(outgoing)) => {
                let asking = hook.clone().ask(outgoing.clone(), question, self.clock(), traces::current());
                Way::Asked(outgoing.runtime().spawn(asking))
            }
        };
        Asking { hook: hook.clone(), way }
    }

    /// Lets somebody in who may have to be asked about.
    pub(crate) fn connect_asking(self: &Arc<Self>, connect: &Connect, caller: &Caller) -> Result<Running, Denied> {
        let current = caller.principal.clone();
        let (principal, hook, stranger) = match self.identify(connect, current.as_deref(), true, caller.session.shard) {
            Ok((entry, principal)) => {
                admit_page(&entry.app, connect)?;
                let hook = self.hooks.of(&principal.app, HookEvent::Connect).into_iter().next();
                match hook.filter(|_| !principal.back_end) {
                    Some(hook) => (principal, hook, None),
                    None => {
                        same_user(current.as_deref(), &principal)?;
                        return Ok(answer(Reply::Connected(principal)));
                    }
                }
            }
            Err(Stranger::Known(denied)) => return Err(denied),
            Err(Stranger::Unknown(error)) => {
                let Some(hook) = self.decides_alone(connect, current.as_deref(), &error) else { return Err(error.into()) };
                let entry = self.app(&hook.settings.app).ok_or_else(|| Denied::from(error.clone()))?;
                admit_page(&entry.app, connect)?;
                (Arc::new(Principal::anonymous(hook.settings.app.clone())), hook, Some(error))
            }
        };
        let token = stranger.as_ref().and_then(|_| token(&connect.credential));
        let question = Question::connect(caller, &principal, connect, stranger.is_none() && token.is_none(), token);
        let (hub, asking) = (self.clone(), self.ask(&hook, question));
        Ok(Box::pin(async move {
            let principal = match (asking.opinion().await?, stranger) {
                (Some(verdict), stranger) if verdict.allow == Some(true) => {
                    hub.welcomed(&hook, &principal, &verdict, stranger.is_some())?
                }
                (_, Some(error)) => return Err(error.into()),
                (_, None) => principal,
            };
            same_user(current.as_deref(), &principal)?;
            Ok(Outcome::Reply(Reply::Connected(principal)))
        }))
    }

    /// The hook that decides about somebody whom no app knows: of the one app that has such a hook.
    fn decides_alone(&self, connect: &Connect, current: Option<&Principal>, error: &AuthError) -> Option<Arc<Hook>> {
        let hooks = self.hooks.all();
        let mut fitting = hooks.iter().filter(|hook| {
            current.is_none_or(|current| current.app == hook.settings.app) && hook.settings.may_let_in(&connect.credential, error)
        });
        let first = fitting.next()?;
        fitting.all(|other| other.settings.app == first.settings.app).then(|| first.clone())
    }

    /// Who it is, as the back end says.
    fn welcomed(&self, hook: &Hook, principal: &Arc<Principal>, verdict: &Verdict, alone: bool) -> Result<Arc<Principal>, Denied> {
        let now_ms = self.now_ms();
        let mut welcomed = Principal::clone(principal);
        if let Some(user) = &verdict.user {
            if principal.user.as_ref().is_some_and(|known| known != user) {
                tracing::warn!(hook = %hook.settings.name, "a hook names another user than the credential does");
                let failure = Failure::Garbage("it names another user than the credential does".to_owned());
                return Err(failure.denied(&hook.settings.name));
            }
            let entry = self.app(&principal.app).ok_or_else(|| Denied::Unauthorized("the app no longer exists".into()))?;
            // A remembered answer is as old as it is.
            entry.authenticator.memory().revocations.check(Some(user), None, Some(verdict.at_ms), now_ms)?;
            welcomed.user = Some(user.clone());
        }
        if alone {
            welcomed.issued_at_ms = Some(verdict.at_ms);
        }
        welcomed.authenticated |= alone || verdict.user.is_some();
        if alone || verdict.user.is_some() || !verdict.grants.is_empty() {
            welcomed.hook = Some(hook.settings.signer());
        }
        if !verdict.grants.is_empty() {
            welcomed.grants = principal.grants.iter().chain(&verdict.grants).cloned().collect();
        }
        if let Some(info) = &verdict.info {
            welcomed.info = Some(info.clone());
        }
        if let Some(more_ms) = verdict.expires_in_ms {
            let end = now_ms.saturating_add(more_ms);
            welcomed.expires_at_ms = Some(principal.expires_at_ms.map_or(end, |known| known.min(end)));
        }
        Ok(Arc::new(welcomed))
    }
}

impl Door<'_> {
    /// Asks about the channels and patterns of a subscribe; `None` when nobody has to be asked.
    pub(crate) fn subscribe_asking(&self, subscribe: &mut Box<Subscribe>, admitted: &[ChannelName], shard: u16) -> Option<Running> {
        let hooks = self.hub.hooks.of(&self.app.id, HookEvent::Subscribe);
        if hooks.is_empty() || self.principal.back_end {
            return None;
        }
        let mut questions: Vec<(Option<ChannelName>, Asking)> = Vec::new();
        for channel in subscribe.channels.iter().filter(|channel| !admitted.contains(channel) && !channel.is_inbox()) {
            if let Some(hook) = hooks.iter().find(|hook| hook.settings.channels.matches(channel.as_str())) {
                let granted = decide(self.app, self.principal, channel, Permissions::SUBSCRIBE).allowed;
                let question = Question::subscribe(self.caller, self.principal, channel.as_str(), granted);
                questions.push((Some(channel.clone()), self.hub.ask(hook, question)));
            }
        }
        for pattern in &subscribe.patterns {
            for hook in hooks.iter().filter(|hook| may_meet(&hook.settings.channels, pattern)) {
                let question = Question::pattern(self.caller, self.principal, &pattern.to_string());
                questions.push((None, self.hub.ask(hook, question)));
            }
        }
        if questions.is_empty() {
            return None;
        }
        let wish = Subscribe {
            channels: std::mem::take(&mut subscribe.channels),
            patterns: std::mem::take(&mut subscribe.patterns),
            ..Subscribe::clone(subscribe)
        };
        let (hub, caller, admitted) = (self.hub.clone(), self.caller.clone(), admitted.to_vec());
        let mut principal = Arc::new(self.principal.clone());
        Some(Box::pin(async move {
            for (channel, asking) in questions {
                let verdict = asking.opinion().await?;
                let allowed = verdict.filter(|verdict| verdict.allow == Some(true));
                if let (Some(channel), Some(verdict)) = (channel, allowed) {
                    principal = vouched(&principal, channel, verdict.permissions.unwrap_or(RECEIVE));
                }
            }
            let caller = Caller { principal: Some(principal.clone()), ..caller };
            let receiving = hub.with_door(&caller, |door| door.receive(Box::new(wish), &admitted, shard))?;
            Ok(Outcome::Granted(principal, Box::new(receiving.await?)))
        }))
    }

    /// Asks about publications, each on its own; gives them back when nobody has to be asked.
    pub(crate) fn publish_asking(&self, drafts: SmallVec<[Box<Draft>; 1]>) -> Result<Running, SmallVec<[Box<Draft>; 1]>> {
        let hooks = self.hub.hooks.of(&self.app.id, HookEvent::Publish);
        let concerns =
            |hook: &Arc<Hook>, draft: &Draft| draft.channels.iter().any(|channel| hook.settings.channels.matches(channel.as_str()));
        let hook_for = |draft: &Draft| hooks.iter().find(|hook| concerns(hook, draft));
        if hooks.is_empty() || !drafts.iter().any(|draft| hook_for(draft).is_some()) || self.principal.back_end {
            return Err(drafts);
        }
        let ask = |draft: Box<Draft>| {
            // What is refused anyway is nobody's question.
            let hook = hook_for(&draft).filter(|_| self.check_sizes(&draft).is_ok());
            let asking = hook.map(|hook| {
                let allowed = |channel: &ChannelName| decide(self.app, self.principal, channel, Permissions::PUBLISH).allowed;
                let granted = draft.channels.iter().all(allowed);
                self.hub.ask(hook, Question::publish(self.caller, self.principal, &draft, granted))
            });
            (draft, asking)
        };
        let asked: Vec<(Box<Draft>, Option<Asking>)> = drafts.into_iter().map(ask).collect();
        let (hub, caller) = (self.hub.clone(), self.caller.clone());
        Ok(Box::pin(async move {
            let mut published = Vec::with_capacity(asked.len());
            for (draft, asking) in asked {
                published.push(hub.publish_judged(&caller, draft, asking).await);
            }
            Ok(Outcome::Reply(Reply::Published(published)))
        }))
    }

    /// Lets the back end answer a call, or an event.
    pub(crate) fn call_asking(&self, asked: Asked) -> Result<Running, Denied> {
        let event = if asked.call.scope.is_some() { HookEvent::Event } else { HookEvent::Call };
        let Some(hook) = self.hub.hooks.of(&self.app.id, event).into_iter().next() else {
            let words = "nobody answers calls in this app; a hook may (`[[hook]]` with `events = [\"call\"]`), or the program that embeds \
                         the server (`Hub::set_call_handler`)";
            return Err(Denied::NotFound(words.into()));
        };
        let asking = self.hub.ask(&hook, Question::call(self.caller, self.principal, &asked.call));
        let hub = self.hub.clone();
        Ok(Box::pin(async move {
            let verdict = asking.verdict().await.map_err(|(hook, failure)| failure.denied(&hook.settings.name))?;
            match &verdict.denied {
                Some(denied) => Err(denied.clone()),
                None => hub.carry_out(&asked, verdict.answer.clone()).await,
            }
        }))
    }
}

impl Hub {
    async fn publish_judged(self: &Arc<Self>, caller: &Caller, mut draft: Box<Draft>, asking: Option<Asking>) -> Result<Published, Denied> {
        let mut caller = caller.clone();
        if let Some(asking) = asking {
            let pattern = asking.hook.settings.channels.clone();
            if let Some(verdict) = asking.opinion().await? {
                if verdict.drop {
                    let cursor = Cursor { epoch: Epoch(0), stamp: 0 };
                    return Ok(Published { places: SmallVec::new(), cursor, duplicate: false });
                }
                if let Some(principal) = caller.principal.as_ref().filter(|_| verdict.allow == Some(true)) {
                    let asked = draft.channels.iter().filter(|channel| pattern.matches(channel.as_str()));
                    let asked: Vec<ChannelName> = asked.cloned().collect();
                    // For this message alone: the session keeps the principal that it has.
                    caller.principal = Some(vouch(principal, &asked, Permissions::PUBLISH));
                }
                if let Some(payload) = &verdict.payload {
                    replace_payload(&mut draft, payload.clone());
                }
            }
        }
        let publishing = self.with_door(&caller, |door| door.publish_one(draft, self.author(door.principal)))?;
        publishing.await.map_err(denied)
    }
}

/// What a hook gives for a channel when it does not say.
const RECEIVE: Permissions = Permissions::SUBSCRIBE.with(Permissions::HISTORY).with(Permissions::PRESENCE);

/// The principal with what a hook gives for a channel instead of what it gave before.
fn vouched(principal: &Arc<Principal>, channel: ChannelName, permissions: Permissions) -> Arc<Principal> {
    let before = |grant: &&Grant| {
        let same = matches!(&grant.pattern, Pattern::Exact(name) if *name == channel);
        !(same && grant.permissions.contains(Permissions::VOUCHED))
    };
    let grants = principal.grants.iter().filter(before).cloned().collect();
    vouch(&Arc::new(Principal { grants, ..Principal::clone(principal) }), &[channel], permissions)
}

/// The token that a client shows, when it shows one.
fn token(credential: &Credential) -> Option<&str> {
    match credential {
        Credential::Token(token) => Some(token),
        Credential::Cookie(cookie) => Some(&cookie.token),
        Credential::Anonymous | Credential::Ticket(_) | Credential::Key { .. } | Credential::Signed(_) => None,
    }
}

/// A living connection keeps its user: presence and what was sent to the user went out under that name.
fn same_user(current: Option<&Principal>, renewed: &Principal) -> Result<(), Denied> {
    match current {
        Some(current) if current.user.is_some() && current.user != renewed.user => Err(AuthError::OtherUser.into()),
        _ => Ok(()),
    }
}

/// Whether a channel may match both patterns; of those that are not plain beginnings nobody can say, so they may.
fn may_meet(one: &Pattern, other: &Pattern) -> bool {
    let plain = |pattern: &Pattern| matches!(pattern, Pattern::All | Pattern::Prefix(_) | Pattern::Exact(_));
    let (first, second) = (one.literal_prefix(), other.literal_prefix());
    !plain(one) || !plain(other) || first.starts_with(second) || second.starts_with(first)
}

/// Puts another payload in the place of the publisher's.
fn replace_payload(draft: &mut Draft, payload: Payload) {
    let is_object = matches!(&payload, Payload::Json(json) if json.trim_ascii_start().starts_with(b"{"));
    if draft.form == Form::Flat && !is_object {
        draft.form = Form::Enveloped;
    }
    draft.payload = payload;
    if let Some(tags) = &draft.tags {
        // What was said of the old payload's shape is not true of this one.
        let left: Vec<_> = tags.iter().filter(|(name, _)| !SHAPE_TAGS.contains(name)).cloned().collect();
        draft.tags = (!left.is_empty()).then(|| left.into());
    }
}

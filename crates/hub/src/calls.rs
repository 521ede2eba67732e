//! Calls: the program that embeds the server answers by a closure, and what it wants done is done.
//!
//! ```
//! # use omnivox_hub::calls::{Asked, CallHandler};
//! # use omnivox_core::call::Answer;
//! # use omnivox_core::Denied;
//! async fn answer(asked: Asked) -> Result<Answer, Denied> {
//!     match &*asked.call.method {
//!         "time" => Ok(Answer::value("12")),
//!         other => Err(Denied::NotFound(format!("there is no method `{other}`").into())),
//!     }
//! }
//! fn is_a_handler(_: impl CallHandler) {}
//! is_a_handler(answer);
//! ```
//!
//! Invariant: a handler runs on its program's runtime, never on a shard; its answer is checked as anything else that comes from outside.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use omnivox_core::call::{Answer, Call, Called, Emit};
use omnivox_core::command::{Denied, Reply};
use omnivox_core::engine::Task;
use omnivox_core::grants::{Grant, Permissions, Principal};
use omnivox_core::name::{AppId, ChannelName, SessionId};
use omnivox_core::pattern::Pattern;
use omnivox_core::publication::Audience;
use smallvec::SmallVec;
use tokio::runtime::Handle;

use crate::hub::{Door, Hub, Outcome, Running, denied};

/// How long a handler may take.
const HANDLER_TIME_MAX: Duration = Duration::from_secs(60);
/// Grants that the application may add to one session beyond those of its credential.
pub(crate) const VOUCHED_GRANTS_MAX: usize = 2_000;

/// A call and who makes it.
#[derive(Clone, Debug)]
pub struct Asked {
    /// The session.
    pub session: SessionId,
    /// Who it is.
    pub principal: Arc<Principal>,
    /// What it asks for.
    pub call: Arc<Call>,
}

/// The way to an answer.
pub type Answering = Pin<Box<dyn Future<Output = Result<Answer, Denied>> + Send>>;

/// What answers the calls of an app's clients: any `async fn(Asked) -> Result<Answer, Denied>`.
pub trait CallHandler: Send + Sync + 'static {
    /// Answers.
    fn answer(&self, asked: Asked) -> Answering;
}

impl<F, Fut> CallHandler for F
where
    F: Fn(Asked) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Answer, Denied>> + Send + 'static,
{
    fn answer(&self, asked: Asked) -> Answering {
        Box::pin(self(asked))
    }
}

/// A handler and where it runs.
type Registered = (Arc<dyn CallHandler>, Handle);

/// The handlers of all apps.
#[derive(Default)]
pub(crate) struct Handlers(RwLock<BTreeMap<AppId, Registered>>);

impl Hub {
    /// Lets a handler answer the calls of an app's clients, on that runtime. It replaces an earlier handler.
    pub fn set_call_handler(&self, app: &AppId, handler: Arc<dyn CallHandler>, runtime: Handle) {
        self.handlers.0.write().unwrap_or_else(PoisonError::into_inner).insert(app.clone(), (handler, runtime));
    }

    fn handler(&self, app: &AppId) -> Option<Registered> {
        self.handlers.0.read().unwrap_or_else(PoisonError::into_inner).get(app).cloned()
    }
}

impl Door<'_> {
    pub(crate) fn call(&self, call: Call) -> Result<Running, Denied> {
        let limits = &self.hub.limits();
        if call.method.len() > limits.event_name_bytes_max {
            let words = format!("the method's name is longer than {} bytes", limits.event_name_bytes_max);
            return Err(Denied::Limit { setting: "event_name_bytes_max", words: words.into() });
        }
        let asked = Asked { session: self.caller.session, principal: Arc::new(self.principal.clone()), call: Arc::new(call) };
        let Some((handler, runtime)) = self.hub.handler(&self.app.id) else { return self.call_asking(asked) };
        let (hub, known) = (self.hub.clone(), asked.clone());
        let work = runtime.spawn(async move {
            let answering = handler.answer(known);
            tokio::time::timeout(HANDLER_TIME_MAX, answering).await
        });
        Ok(Box::pin(async move {
            let answer = match work.await {
                Ok(Ok(answer)) => answer?,
                Ok(Err(_)) => return Err(Denied::Unavailable("the application did not answer the call in time".into())),
                Err(_) => return Err(Denied::Unavailable("the application failed to answer the call".into())),
            };
            hub.carry_out(&asked, answer).await
        }))
    }
}

impl Hub {
    /// Does what an answer wants done for others, and tells what is left for the caller's own dialect.
    pub(crate) async fn carry_out(&self, asked: &Asked, answer: Answer) -> Result<Outcome, Denied> {
        let Answer { arguments, emits, join, leave, disconnect } = answer;
        let most = self.limits().batch_publications_max;
        if emits.len() > most || join.len() + leave.len() > self.limits().channels_per_connection_max {
            let words = "the application's answer emits to, joins or leaves more than `limits.batch_publications_max` and `limits.channels_per_connection_max` allow";
            return Err(Denied::Unavailable(words.into()));
        }
        let channel = |name: &str| {
            (asked.call.words.channel)(&asked.call, name)
                .map_err(|error| Denied::Unavailable(format!("the application's answer names `{name}`: {error}").into()))
        };
        let join = join.iter().map(|name| channel(name)).collect::<Result<Vec<_>, _>>()?;
        let leave = leave.iter().map(|name| channel(name)).collect::<Result<Vec<_>, _>>()?;
        let mut own = Vec::new();
        let mut tasks = Vec::new();
        for emit in emits {
            if emit.to.is_empty() && emit.users.is_empty() {
                own.push(emit);
            } else {
                let channels = emit.to.iter().map(|name| channel(name)).collect::<Result<SmallVec<_>, _>>()?;
                tasks.push((emit, channels));
            }
        }
        // Only what is right as a whole is done at all.
        for (emit, channels) in tasks {
            self.emit(asked, &emit, channels)?.await.map_err(denied)?;
        }
        let principal = vouch(&asked.principal, &join, Permissions::SUBSCRIBE.with(Permissions::HISTORY).with(Permissions::PRESENCE));
        let called = Reply::Called(Box::new(Called { join, leave, emits: own, arguments, disconnect }));
        Ok(Outcome::Granted(principal, Box::new(Outcome::Reply(called))))
    }

    /// Publishes with the application's authority.
    fn emit(&self, asked: &Asked, emit: &Emit, channels: SmallVec<[ChannelName; 1]>) -> Result<Task<()>, Denied> {
        let mut draft = (asked.call.words.draft)(&asked.call, emit, channels);
        let most = self.limits().message_bytes_max;
        if draft.payload.len() > most {
            let words = format!("the application emits {} bytes; at most {most} are taken (limits.message_bytes_max)", draft.payload.len());
            return Err(Denied::Unavailable(words.into()));
        }
        draft.audience = Audience { users: emit.users.iter().cloned().collect(), except_publisher: emit.except_caller, ..draft.audience };
        draft.published_by(asked.session);
        let app = &asked.principal.app;
        if draft.channels.is_empty() {
            return Ok(self.log().direct(app, draft));
        }
        let retentions = self.retentions(app, &draft);
        let publishing = self.log().publish(app, draft, retentions);
        Ok(Box::pin(async move { publishing.await.map(drop) }))
    }
}

/// The principal with grants for channels that the application vouches for. The oldest of such grants make room.
pub(crate) fn vouch(principal: &Arc<Principal>, channels: &[ChannelName], permissions: Permissions) -> Arc<Principal> {
    if channels.is_empty() {
        return principal.clone();
    }
    let permissions = permissions.with(Permissions::VOUCHED);
    let is_vouched = |grant: &Grant| grant.permissions.contains(Permissions::VOUCHED);
    let fresh: Vec<Grant> = channels.iter().map(|channel| Grant { pattern: Pattern::Exact(channel.clone()), permissions }).collect();
    let mut grants: Vec<Grant> = principal.grants.iter().filter(|known| !fresh.contains(known)).cloned().collect();
    grants.extend(fresh);
    let mut surplus = grants.iter().filter(|grant| is_vouched(grant)).count().saturating_sub(VOUCHED_GRANTS_MAX);
    grants.retain(|grant| {
        let dropped = surplus > 0 && is_vouched(grant);
        surplus -= usize::from(dropped);
        !dropped
    });
    Arc::new(Principal { grants: grants.into(), ..Principal::clone(principal) })
}

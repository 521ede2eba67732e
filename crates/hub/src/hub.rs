//! The one door: a command of a principal goes in, a reply or a refusal comes out.
//!
//! Grants and limits are checked here, for every dialect alike. What only the session's shard can do (its subscriber table) it does itself with
//! the [`Outcome`].

use std::net::IpAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::{Context, Poll};

use arc_swap::ArcSwap;
use bytes::Bytes;
use omnivox_auth::key_set::KeySet;
use omnivox_auth::origin::PageSigns;
use omnivox_auth::revocation::Revoked;
use omnivox_auth::{AuthError, Memory, Settings};
use omnivox_core::Limits;
use omnivox_core::app::App;
use omnivox_core::budget::{Budgets, Rate};
use omnivox_core::command::{Command, Connect, Connection, Credential, Denied, Enter, Manage, Reply, Subscribe};
use omnivox_core::engine::{EngineError, HistoryQuery, Joined, Log, Presence, Published, Task, Whom};
use omnivox_core::event::Member;
use omnivox_core::grants::{Permissions, Principal, decide, granted};
use omnivox_core::name::{AppId, ChannelKey, ChannelName, SessionId, UserId};
use omnivox_core::publication::{Author, Draft};
use smallvec::SmallVec;
use tokio::sync::watch;

use crate::apps::{AppEntry, Apps, candidates, known};
use crate::calls::Handlers;
use crate::hooks::Hooks;
use crate::key_sets::KeySetCounters;
use crate::leases::Leases;
use crate::memory::Clock;
use crate::outgoing::Outgoing;
use crate::quotas::{Quotas, Share};
use crate::rooms::{self, Relay};
use crate::webhooks::Webhooks;

/// How long something that was revoked is refused: as long as any credential lives that an app should give out.
const REVOKED_FOR_MS: u64 = 24 * 3600 * 1000;

/// The hub of one node.
pub struct Hub {
    /// Looked at without counting references: the shards would take the counts from each other.
    apps: ArcSwap<Apps>,
    /// Held while the apps are replaced.
    replacing: Mutex<()>,
    log: Arc<dyn Log>,
    presence: Arc<dyn Presence>,
    limits: Arc<Limits>,
    clock: Clock,
    /// The time in the name of the seat that was given last.
    last_seat_ms: AtomicU64,
    /// How fast sessions signal.
    signals: Mutex<Budgets<SessionId>>,
    pub(crate) leases: Arc<Leases>,
    relay: OnceLock<Arc<dyn Relay>>,
    outgoing: OnceLock<Outgoing>,
    webhooks: OnceLock<Arc<Webhooks>>,
    roster: OnceLock<Arc<dyn Roster>>,
    quotas: Arc<Quotas>,
    key_set_counters: KeySetCounters,
    replaced: watch::Sender<u64>,
    pub(crate) handlers: Handlers,
    pub(crate) hooks: Hooks,
}

/// Who knows the sessions that live: the shards of the server.
pub trait Roster: Send + Sync {
    /// The sessions of a user, at most so many and one more.
    fn connections(&self, app: &AppId, user: &UserId, most: usize) -> Task<Vec<Connection>>;
}

/// What a command came to.
#[derive(Debug)]
pub enum Outcome {
    /// A reply for the session.
    Reply(Reply),
    /// The engine's half of a subscribe, and the subscribe; the shard opens the gate and makes the reply.
    Joined(Box<Subscribe>, Joined),
    /// Another outcome, for a session that the application has given further grants.
    Granted(Arc<Principal>, Box<Self>),
}

/// The way to an outcome.
pub type Running = Pin<Box<dyn Future<Output = Result<Outcome, Denied>> + Send>>;

/// A command that was started: what it came to when that is known at once, as on a single node, without a box for it; else the way there.
pub enum Started {
    /// The outcome; nothing when it was taken.
    Done(Option<Result<Outcome, Denied>>),
    /// The way to it.
    Later(Running),
}

impl Future for Started {
    type Output = Result<Outcome, Denied>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut *self {
            Self::Done(outcome) => outcome.take().map_or(Poll::Pending, Poll::Ready),
            Self::Later(running) => running.as_mut().poll(cx),
        }
    }
}

/// Who runs a command.
#[derive(Clone, Debug)]
pub struct Caller {
    /// The session.
    pub session: SessionId,
    /// Who it is; `None` before it has connected.
    pub principal: Option<Arc<Principal>>,
    /// How many channels it is subscribed to.
    pub subscriptions: usize,
    /// What it draws on when it publishes and subscribes.
    pub quota: Share,
    /// The protocol that it speaks.
    pub dialect: &'static str,
    /// Where its client is.
    pub remote: Option<IpAddr>,
}

/// Why somebody is not let in.
pub(crate) enum Stranger {
    /// Whoever it is, it can't be.
    Known(Denied),
    /// No app knows the credential.
    Unknown(AuthError),
}

impl Hub {
    /// A hub over an engine.
    pub fn new(apps: Vec<Settings>, log: Arc<dyn Log>, presence: Arc<dyn Presence>, limits: Arc<Limits>, clock: Clock) -> Self {
        let quotas = Arc::new(Quotas::new(limits.clone()));
        let hub = Self {
            apps: ArcSwap::default(),
            replacing: Mutex::default(),
            log,
            presence,
            limits,
            clock,
            last_seat_ms: AtomicU64::new(0),
            signals: Mutex::default(),
            leases: Arc::new(Leases::default()),
            relay: OnceLock::new(),
            outgoing: OnceLock::new(),
            webhooks: OnceLock::new(),
            roster: OnceLock::new(),
            quotas,
            key_set_counters: KeySetCounters::default(),
            replaced: watch::Sender::new(0),
            handlers: Handlers::default(),
            hooks: Hooks::default(),
        };
        hub.replace_apps(apps);
        hub
    }

    /// Takes over new settings of all apps. What an app remembers stays: used tickets, revocations.
    pub fn replace_apps(&self, settings: Vec<Settings>) {
        let replacing = self.replacing.lock().unwrap_or_else(PoisonError::into_inner);
        let apps = self.apps.load();
        let entries = settings.into_iter().map(|mut settings| {
            if let Some(known) = apps.get(&settings.app.id) {
                let sets: Vec<_> = known.authenticator.key_sets().cloned().collect();
                settings.keep_key_sets(&sets);
            }
            let known = apps.get(&settings.app.id).map(|known| known.authenticator.memory().clone());
            let memory = known.unwrap_or_else(|| Arc::new(Memory::new(settings.memory)));
            (settings.app.id.clone(), Arc::new(AppEntry::new(settings, memory)))
        });
        self.apps.store(Arc::new(entries.collect()));
        drop(replacing);
        self.tell_replaced();
    }

    /// Has all sessions looked at again.
    pub(crate) fn tell_replaced(&self) {
        self.replaced.send_modify(|times| *times += 1);
    }

    /// What sessions, users and apps may have.
    pub fn quotas(&self) -> &Arc<Quotas> {
        &self.quotas
    }

    /// The key sets of all apps.
    pub fn key_sets(&self) -> Vec<Arc<KeySet>> {
        let apps = self.apps.load();
        apps.values().flat_map(|entry| entry.authenticator.key_sets().cloned()).collect()
    }

    /// What fetching them came to.
    pub fn key_set_counters(&self) -> &KeySetCounters {
        &self.key_set_counters
    }

    /// Tells whenever the apps or hooks were replaced: what sessions were let in with has to be looked at again.
    pub fn replacements(&self) -> watch::Receiver<u64> {
        self.replaced.subscribe()
    }

    /// Whether a principal that was let in before still would be.
    pub fn review(&self, principal: &Principal) -> Result<Arc<AppEntry>, Denied> {
        let entry = self.app(&principal.app).ok_or_else(|| Denied::Unauthorized("the app of this credential no longer exists".into()))?;
        entry.authenticator.review(principal, self.now_ms())?;
        self.hooks.still_vouch(principal)?;
        Ok(entry)
    }

    /// Lets the hub ask who is connected. Only the first one counts.
    pub fn set_roster(&self, roster: Arc<dyn Roster>) {
        let _ = self.roster.set(roster);
    }

    /// Milliseconds since the Unix epoch.
    pub fn now_ms(&self) -> u64 {
        (self.clock)()
    }

    /// The time for the name of a seat: later than that of every seat before, also within a millisecond, for the later one of two is polite.
    pub(crate) fn seat_ms(&self) -> u64 {
        let now = self.now_ms();
        let later = |last: u64| now.max(last + 1);
        let before = self.last_seat_ms.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |last| Some(later(last)));
        later(before.unwrap_or_default())
    }

    /// Whether a session may signal once more now.
    pub(crate) fn may_signal(&self, session: SessionId) -> bool {
        let Limits { signals_per_second_max, signals_burst_max, .. } = *self.limits;
        let rate = Rate { per_second: signals_per_second_max as u64, burst: signals_burst_max as u64 };
        let mut signals = self.signals.lock().unwrap_or_else(PoisonError::into_inner);
        signals.take(session, self.now_ms().saturating_mul(1_000_000), rate, 1)
    }

    /// The log, for shards that read a channel again or leave it.
    pub fn log(&self) -> &Arc<dyn Log> {
        &self.log
    }

    /// The presence sets, for shards whose sessions end.
    pub fn presence(&self) -> &Arc<dyn Presence> {
        &self.presence
    }

    /// Lets the hub give out credentials for a relay. Only the first one counts.
    pub fn set_relay(&self, relay: Arc<dyn Relay>) {
        let _ = self.relay.set(relay);
    }

    /// The relay, when there is one.
    pub fn relay(&self) -> Option<&Arc<dyn Relay>> {
        self.relay.get()
    }

    /// Lets the hub ask back ends. Only the first one counts.
    pub fn set_outgoing(&self, outgoing: Outgoing) {
        let _ = self.outgoing.set(outgoing);
    }

    /// The client of back ends, when there is one.
    pub fn outgoing(&self) -> Option<&Outgoing> {
        self.outgoing.get()
    }

    /// Lets the hub be asked about webhooks. Only the first ones count.
    pub fn set_webhooks(&self, webhooks: Arc<Webhooks>) {
        let _ = self.webhooks.set(webhooks);
    }

    /// The webhooks, when there are any.
    pub fn webhooks(&self) -> Option<&Arc<Webhooks>> {
        self.webhooks.get()
    }

    /// The limits.
    pub fn limits(&self) -> &Arc<Limits> {
        &self.limits
    }

    /// An app.
    pub fn app(&self, id: &AppId) -> Option<Arc<AppEntry>> {
        self.apps.load().get(id).cloned()
    }

    /// Runs a command. Ready at once unless a broker or a back end has to be asked.
    pub fn run(self: &Arc<Self>, caller: &Caller, command: Command, shard: u16) -> Started {
        self.start(caller, command, shard).unwrap_or_else(|denied| Started::Done(Some(Err(denied))))
    }

    fn start(self: &Arc<Self>, caller: &Caller, command: Command, shard: u16) -> Result<Started, Denied> {
        if let Command::Connect(connect) = &command {
            return if self.hooks.any() {
                self.connect_asking(connect, caller).map(Started::Later)
            } else {
                let reply = self.connect(connect, caller.principal.as_deref(), shard)?;
                Ok(Started::Done(Some(Ok(Outcome::Reply(reply)))))
            };
        }
        let apps = self.apps.load();
        let (principal, entry) = known(&apps, caller)?;
        let door = Door { hub: self, app: &entry.app, principal, caller };
        let running = match command {
            Command::Connect(_) => Err(Denied::Invalid("connect was handled above".into())),
            Command::Subscribe(subscribe) => return door.subscribe(subscribe, &[], shard),
            Command::Admit(subscribe, admitted) => return door.subscribe(subscribe, &admitted, shard),
            Command::Unsubscribe(_) | Command::UnsubscribePattern(_) => Ok(answer(Reply::Unsubscribed)),
            Command::Publish(drafts) => door.publish(drafts),
            Command::Enter(enter) => door.enter(*enter),
            Command::Appear(appear) => door.appear(*appear),
            Command::Leave(channel, key) => door.leave(&channel, &key),
            Command::Members(channel) => door.members(&channel),
            Command::Present(pattern) => door.present(pattern),
            Command::Locate(name) => door.locate(&name),
            Command::History(channel, query) => door.history(&channel, query),
            Command::Channels(prefix) => door.channels(&prefix),
            Command::Manage(manage) => door.manage(*manage),
            Command::Connections(user) => door.connections(user),
            Command::Ticket => door.ticket(entry),
            Command::Seat(seat) => door.seat(*seat),
            Command::Signal(signal) => door.signal(*signal),
            Command::Ice(wish) => door.ice(*wish),
            Command::Keep(key) => door.keep(&key),
            Command::Vacate(vacate) => door.vacate(&vacate),
            Command::Call(call) => door.call(*call),
        };
        running.map(Started::Later)
    }

    /// Goes on with a command whose caller had to be asked about.
    pub(crate) fn with_door<T>(self: &Arc<Self>, caller: &Caller, work: impl FnOnce(&Door<'_>) -> Result<T, Denied>) -> Result<T, Denied> {
        let apps = self.apps.load();
        let (principal, entry) = known(&apps, caller)?;
        work(&Door { hub: self, app: &entry.app, principal, caller })
    }

    /// The clock.
    pub(crate) fn clock(&self) -> Clock {
        self.clock.clone()
    }

    fn connect(&self, connect: &Connect, current: Option<&Principal>, shard: u16) -> Result<Reply, Denied> {
        let apps = self.apps.load();
        let (entry, principal) = self.identify_in(&apps, connect, current, false, shard).map_err(|stranger| match stranger {
            Stranger::Known(denied) => denied,
            Stranger::Unknown(error) => error.into(),
        })?;
        admit_page(&entry.app, connect)?;
        Ok(Reply::Connected(principal))
    }

    /// Who comes with the credential. Its app is the one whose keys verify it; without a credential, the one app that is open. `another` user
    /// than before is let through only to whoever looks at that later.
    pub(crate) fn identify(
        &self,
        connect: &Connect,
        current: Option<&Principal>,
        another: bool,
        shard: u16,
    ) -> Result<(Arc<AppEntry>, Arc<Principal>), Stranger> {
        let apps = self.apps.load();
        self.identify_in(&apps, connect, current, another, shard).map(|(entry, principal)| (entry.clone(), principal))
    }

    fn identify_in<'a>(
        &self,
        apps: &'a Apps,
        connect: &Connect,
        current: Option<&Principal>,
        another: bool,
        shard: u16,
    ) -> Result<(&'a Arc<AppEntry>, Arc<Principal>), Stranger> {
        let verify = |entry: &AppEntry| match (&connect.credential, current.filter(|_| !another)) {
            (credential, Some(current)) => entry.authenticator.refresh(current, credential, self.now_ms()).map(Arc::new),
            (Credential::Anonymous, None) => entry.authenticator.anonymous(shard),
            (credential, None) => entry.authenticator.verify(credential, self.now_ms()).map(Arc::new),
        };
        let mut refusal: Option<AuthError> = None;
        for entry in candidates(apps, connect, current).map_err(Stranger::Known)? {
            match verify(entry) {
                Ok(principal) => {
                    // A ticket may be older than the settings.
                    self.hooks.still_vouch(&principal).map_err(Stranger::Known)?;
                    return Ok((entry, principal));
                }
                Err(error) => {
                    refusal = Some(match refusal.take() {
                        Some(known) => known.more_telling(error),
                        None => error,
                    });
                }
            }
        }
        let nobody = || Stranger::Known(Denied::Unauthorized("this server has no app".into()));
        Err(refusal.map_or_else(nobody, Stranger::Unknown))
    }
}

/// Checks that the page which made the request may do so.
pub(crate) fn admit_page(app: &App, connect: &Connect) -> Result<(), Denied> {
    if let Credential::Cookie(cookie) = &connect.credential {
        let signs = PageSigns {
            origin: connect.origin.as_deref(),
            referer: cookie.referer.as_deref(),
            fetch_site: cookie.fetch_site.as_deref(),
            host: connect.host.as_deref(),
            secure: cookie.secure,
        };
        omnivox_auth::origin::cookie_counts(&app.allowed_origins, &signs)?;
    }
    if let Some(origin) = connect.origin.as_deref().filter(|origin| !is_own(origin, connect.host.as_deref())) {
        omnivox_auth::origin::allowed(&app.allowed_origins, origin)?;
    }
    Ok(())
}

/// Whether a page comes from the server's own address: then it needs no permission of its own.
fn is_own(origin: &str, host: Option<&str>) -> bool {
    let page = origin.split_once("://").filter(|(scheme, _)| matches!(*scheme, "http" | "https")).map(|(_, authority)| authority);
    page.zip(host).is_some_and(|(page, host)| page.eq_ignore_ascii_case(host))
}

/// A command's way through the checks.
pub(crate) struct Door<'a> {
    pub(crate) hub: &'a Arc<Hub>,
    pub(crate) app: &'a App,
    pub(crate) principal: &'a Principal,
    pub(crate) caller: &'a Caller,
}

impl Door<'_> {
    pub(crate) fn check(&self, channel: &ChannelName, wanted: Permissions) -> Result<(), Denied> {
        let decision = decide(self.app, self.principal, channel, wanted);
        if decision.allowed {
            return Ok(());
        }
        Err(Denied::Forbidden(format!("{wanted} is not allowed for channel `{channel}`: {}", decision.rule).into()))
    }

    pub(crate) fn key(&self, channel: &ChannelName) -> ChannelKey {
        ChannelKey::new(&self.app.id, channel)
    }

    fn publish(&self, drafts: SmallVec<[Box<Draft>; 1]>) -> Result<Running, Denied> {
        if drafts.len() > self.hub.limits.batch_publications_max {
            let words = format!("one batch holds at most {} publications", self.hub.limits.batch_publications_max);
            return Err(Denied::Limit { setting: "batch_publications_max", words: words.into() });
        }
        self.caller.quota.publish(drafts.len(), self.hub.now_ms())?;
        let drafts = if self.hub.hooks.any() {
            match self.publish_asking(drafts) {
                Ok(running) => return Ok(running),
                Err(drafts) => drafts,
            }
        } else {
            drafts
        };
        let author = self.hub.author(self.principal);
        let waiting: SmallVec<[Result<Task<_>, Denied>; 1]> =
            drafts.into_iter().map(|draft| self.publish_one(draft, author.clone())).collect();
        Ok(Box::pin(async move {
            let mut published = Vec::with_capacity(waiting.len());
            for task in waiting {
                published.push(match task {
                    Ok(task) => task.await.map_err(denied),
                    Err(denied) => Err(denied),
                });
            }
            Ok(Outcome::Reply(Reply::Published(published)))
        }))
    }

    /// Publishes one message, if the caller may.
    pub(crate) fn publish_one(&self, mut draft: Box<Draft>, author: Option<Author>) -> Result<Task<Published>, Denied> {
        if draft.skip_forbidden && draft.channels.len() > 1 {
            let allowed = |channel: &ChannelName| decide(self.app, self.principal, channel, Permissions::PUBLISH).allowed;
            if draft.channels.iter().any(allowed) {
                draft.channels.retain(|channel| allowed(channel));
            }
        }
        self.check_draft(&draft)?;
        draft.author = author;
        let retentions = self.app.namespaces.retentions(&draft.channels);
        Ok(self.hub.log.publish(&self.app.id, *draft, retentions))
    }

    fn check_draft(&self, draft: &Draft) -> Result<(), Denied> {
        let limits = &self.hub.limits;
        let limit = |setting, words: String| Err(Denied::Limit { setting, words: words.into() });
        if draft.channels.is_empty() {
            return Err(Denied::Invalid("name at least one channel to publish to".into()));
        }
        if draft.channels.len() > limits.channels_per_publication_max {
            return limit(
                "channels_per_publication_max",
                format!("one publication goes to at most {} channels", limits.channels_per_publication_max),
            );
        }
        self.check_sizes(draft)?;
        draft.channels.iter().try_for_each(|channel| self.check(channel, Permissions::PUBLISH))
    }

    /// The limits of a message, wherever it goes.
    pub(crate) fn check_sizes(&self, draft: &Draft) -> Result<(), Denied> {
        let limits = &self.hub.limits;
        let limit = |setting, words: String| Err(Denied::Limit { setting, words: words.into() });
        if draft.payload.len() > limits.message_bytes_max {
            let words = format!("the payload has {} bytes; at most {} are taken", draft.payload.len(), limits.message_bytes_max);
            return limit("message_bytes_max", words);
        }
        if draft.event.as_ref().is_some_and(|event| event.len() > limits.event_name_bytes_max) {
            return limit("event_name_bytes_max", format!("the event name is longer than {} bytes", limits.event_name_bytes_max));
        }
        if draft.id.as_ref().is_some_and(|id| id.len() > limits.publication_id_bytes_max) {
            return limit("publication_id_bytes_max", format!("the id is longer than {} bytes", limits.publication_id_bytes_max));
        }
        Ok(())
    }

    /// Whether the caller may be seen in the channel, with that data.
    pub(crate) fn check_presence(&self, channel: &ChannelName, data: Option<&Bytes>) -> Result<(), Denied> {
        self.check(channel, Permissions::PRESENCE)?;
        if !self.app.namespaces.of(channel).presence {
            return Err(Denied::Forbidden(format!("presence is off for channel `{channel}` (its namespace's `presence` setting)").into()));
        }
        let most = self.hub.limits.member_data_bytes_max;
        if data.is_some_and(|data| data.len() > most) {
            let words = format!("a member's data has at most {most} bytes");
            return Err(Denied::Limit { setting: "member_data_bytes_max", words: words.into() });
        }
        Ok(())
    }

    fn enter(&self, enter: Enter) -> Result<Running, Denied> {
        self.check_presence(&enter.channel, enter.data.as_ref())?;
        rooms::check_entry_name(&enter.key)?;
        let key = self.key(&enter.channel);
        let member = Member { session: self.caller.session, key: enter.key, user: self.principal.user.clone(), data: enter.data };
        let entering = self.hub.presence.enter(&key, member, enter.update_only, self.hub.limits.members_per_channel_max);
        Ok(reply(entering, |()| Reply::Entered))
    }

    fn leave(&self, channel: &ChannelName, key: &Arc<str>) -> Result<Running, Denied> {
        if rooms::check_entry_name(key).is_err() {
            return Ok(reply(self.hub.unseat(self.principal, channel, self.caller.session, key), |()| Reply::Left));
        }
        let leaving = self.hub.presence.leave(&self.key(channel), self.caller.session, key);
        Ok(reply(leaving, |()| Reply::Left))
    }

    fn members(&self, channel: &ChannelName) -> Result<Running, Denied> {
        self.check(channel, Permissions::PRESENCE)?;
        Ok(reply(self.hub.presence.members(&self.key(channel)), Reply::Members))
    }

    fn history(&self, channel: &ChannelName, query: HistoryQuery) -> Result<Running, Denied> {
        self.check(channel, Permissions::HISTORY)?;
        let query = HistoryQuery { most: query.most.min(self.hub.limits.history_page_max), ..query };
        let (entry, principal, session) = (self.hub.app(&self.app.id), self.principal.clone(), self.caller.session);
        Ok(reply(self.hub.log.history(&self.key(channel), query), move |mut page| {
            // What was meant for some is not shown to all who may read the channel.
            page.publications.retain(|(publication, _)| {
                let draft = &publication.draft;
                let granted =
                    || entry.as_ref().is_some_and(|entry| granted(&entry.app, &principal, &draft.channels, Permissions::SUBSCRIBE));
                draft.audience.is_everyone()
                    || (draft.audience.admits(session, principal.user.as_ref()) && (!draft.audience.granted_only || granted()))
            });
            Reply::History(page)
        }))
    }

    fn channels(&self, prefix: &str) -> Result<Running, Denied> {
        // Whoever lists names learns of channels that others may not see, so the right to manage must cover the prefix.
        let probe =
            ChannelName::parse(if prefix.is_empty() { "*" } else { prefix }).map_err(|error| Denied::Invalid(error.to_string().into()))?;
        self.check(&probe, Permissions::MANAGE)?;
        let visible =
            |app: &App, principal: &Principal, channel: &ChannelName| decide(app, principal, channel, Permissions::MANAGE).allowed;
        let listing = self.hub.log.channels(&self.app.id, prefix, self.hub.limits.history_page_max);
        let (entry, principal) = (self.hub.app(&self.app.id), self.principal.clone());
        Ok(reply(listing, move |mut channels| {
            channels.retain(|summary| entry.as_ref().is_some_and(|entry| visible(&entry.app, &principal, &summary.channel)));
            Reply::Channels(channels)
        }))
    }

    fn manage(&self, manage: Manage) -> Result<Running, Denied> {
        let all = ChannelName::parse("*").map_err(|error| Denied::Invalid(error.to_string().into()))?;
        self.check(&all, Permissions::MANAGE)?;
        let whom = match manage {
            Manage::Look => return Ok(answer(Reply::Managed)),
            Manage::Deliveries(query) => return Ok(self.deliveries(query)),
            Manage::TestWebhook(webhook) => return Ok(self.test_webhook(webhook)),
            Manage::Tell(draft) => {
                self.check_sizes(&draft)?;
                if draft.audience.sessions.is_empty() && draft.audience.users.is_empty() {
                    return Err(Denied::Invalid("name the sessions or users that are told".into()));
                }
                return Ok(reply(self.hub.log.direct(&self.app.id, *draft), |()| Reply::Managed));
            }
            Manage::DisconnectUser(user) => Whom::User(user),
            Manage::DisconnectSession(session) => Whom::Session(session),
            Manage::RevokeSession(session) => {
                self.revoke(Revoked::Session(session))?;
                Whom::Session(session)
            }
            Manage::RevokeUser(user) => {
                self.revoke(Revoked::User(user.clone()))?;
                if let Some(relay) = self.hub.relay() {
                    relay.cut_off_user(&self.app.id, &user);
                }
                Whom::User(user)
            }
            Manage::RevokeToken(token) => {
                self.revoke(Revoked::Token(token.clone()))?;
                Whom::Token(token)
            }
        };
        Ok(reply(self.hub.log.disconnect(&self.app.id, whom), |()| Reply::Managed))
    }

    fn revoke(&self, what: Revoked) -> Result<(), Denied> {
        let now_ms = self.hub.now_ms();
        let Some(entry) = self.hub.app(&self.app.id) else { return Ok(()) };
        Ok(entry.authenticator.memory().revocations.revoke(what, now_ms, now_ms + REVOKED_FOR_MS)?)
    }

    fn connections(&self, user: UserId) -> Result<Running, Denied> {
        let all = ChannelName::parse("*").map_err(|error| Denied::Invalid(error.to_string().into()))?;
        self.check(&all, Permissions::MANAGE)?;
        let Some(roster) = self.hub.roster.get() else { return Ok(answer(Reply::Connections(Vec::new(), false))) };
        let most = self.hub.limits.history_page_max;
        Ok(reply(roster.connections(&self.app.id, &user, most), move |mut found| {
            let more = found.len() > most;
            found.truncate(most);
            Reply::Connections(found, more)
        }))
    }

    fn ticket(&self, entry: &AppEntry) -> Result<Running, Denied> {
        if !self.principal.authenticated {
            return Err(Denied::Unauthorized("a ticket stands for a credential; send a token or a key".into()));
        }
        let mut entropy = [0; 32];
        getrandom::fill(&mut entropy).map_err(|_| Denied::Unavailable("the system gives no randomness now; try again".into()))?;
        let ticket = entry.authenticator.issue_ticket(self.principal, entropy, self.hub.now_ms())?;
        Ok(answer(Reply::Ticket(ticket, entry.authenticator.memory().tickets.ttl_ms())))
    }
}

pub(crate) fn answer(reply: Reply) -> Running {
    Box::pin(std::future::ready(Ok(Outcome::Reply(reply))))
}

pub(crate) fn reply<T: Send + 'static>(task: Task<T>, then: impl FnOnce(T) -> Reply + Send + 'static) -> Running {
    Box::pin(async move { task.await.map(|value| Outcome::Reply(then(value))).map_err(denied) })
}

/// What an engine's trouble is to a client.
pub fn denied(error: EngineError) -> Denied {
    match error {
        EngineError::Unavailable(words) => Denied::Unavailable(words),
        EngineError::Limit { setting, words } => Denied::Limit { setting, words },
        EngineError::NotFound(words) => Denied::NotFound(words),
    }
}

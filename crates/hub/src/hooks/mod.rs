//! Back-end hooks: the application is asked, over HTTP, whether clients may connect, subscribe and publish, and answers their calls.
//!
//! - [`settings`]: what the operator decides; [`question`]: what is asked; [`verdict`]: what is answered.
//! - [`hook`]: one back end: its turn, its tries, its deadline; [`breaker`]: leaves it alone when it fails; [`cache`]: answers that are good for
//!   a while.
//! - [`door`]: where commands of sessions meet hooks, whatever dialect they come from.
//!
//! Whoever comes with an API key is a back end itself and is never asked about: what it publishes while it answers would ask again.
//!
//! Invariant: nothing of a shard waits for a back end but the commands of the session that asked, and those stay in order.

mod breaker;
mod cache;
mod door;
mod hook;
mod question;
pub mod settings;
mod verdict;

use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use omnivox_core::command::Denied;
use omnivox_core::{AppId, Principal};
use smallvec::SmallVec;

pub(crate) use self::hook::Hook;
pub use self::settings::{HookEvent, HookSettings, OnFailure};

/// All hooks, in the order of the settings.
#[derive(Default)]
pub(crate) struct Hooks {
    /// Whether there are any: what everything that is not asked about pays.
    any: AtomicBool,
    table: RwLock<Arc<[Arc<Hook>]>>,
}

impl Hooks {
    /// Whether there are any.
    pub(crate) fn any(&self) -> bool {
        self.any.load(Ordering::Relaxed)
    }

    /// Takes over new settings. What was counted of a back end, and whether it is left alone, stays known; its remembered answers don't.
    pub(crate) fn replace(&self, settings: Vec<HookSettings>) {
        let mut table = self.table.write().unwrap_or_else(PoisonError::into_inner);
        let fresh = settings.into_iter().map(|settings| {
            let known = table.iter().find(|known| known.settings.is_same_place(&settings));
            Arc::new(Hook::new(settings, known.map(|known| &**known)))
        });
        let fresh: Arc<[Arc<Hook>]> = fresh.collect();
        self.any.store(!fresh.is_empty(), Ordering::Relaxed);
        *table = fresh;
    }

    /// The hooks of an app that are asked about such events.
    pub(crate) fn of(&self, app: &AppId, event: HookEvent) -> SmallVec<[Arc<Hook>; 1]> {
        if !self.any() {
            return SmallVec::new();
        }
        let table = self.all();
        table.iter().filter(|hook| hook.settings.app == *app && hook.settings.events.contains(&event)).cloned().collect()
    }

    /// Whether the app still asks the hook, if any, that let the principal in: at the same address, whatever its name and secrets are now, as a
    /// key set is known by its address too.
    pub(crate) fn still_vouch(&self, principal: &Principal) -> Result<(), Denied> {
        let Some(vouching) = principal.hook else { return Ok(()) };
        if self.of(&principal.app, HookEvent::Connect).iter().any(|hook| hook.settings.signer() == vouching) {
            return Ok(());
        }
        Err(Denied::Unauthorized("the hook that let it in is no longer there; connect again".into()))
    }

    /// All hooks.
    pub(crate) fn all(&self) -> Arc<[Arc<Hook>]> {
        self.table.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The metrics in the text format of Prometheus. The labels are names that the operator chose.
    pub(crate) fn metrics(&self, into: &mut String) {
        let hooks = self.all();
        let Some(first) = hooks.first() else { return };
        let of_each: Vec<_> = hooks.iter().map(|hook| (hook.settings.name.clone(), hook.metrics())).collect();
        for (at, (name, help, kind, _)) in first.metrics().into_iter().enumerate() {
            let _ = write!(into, "# HELP omnivox_hook_{name} {help}\n# TYPE omnivox_hook_{name} {kind}\n");
            for (hook, metrics) in &of_each {
                let _ = writeln!(into, "omnivox_hook_{name}{{hook=\"{hook}\"}} {}", metrics[at].3);
            }
        }
    }
}

//! The apps of a node, as commands look them up.
//!
//! Every command of every shard does. So nobody counts references for a look: the table is borrowed from where it lies (`ArcSwap`), and the
//! shards don't take a count's cache line from each other.

use std::collections::BTreeMap;
use std::sync::Arc;

use omnivox_auth::{Authenticator, Memory, Settings};
use omnivox_core::app::App;
use omnivox_core::command::{Connect, Credential, Denied};
use omnivox_core::grants::Principal;
use omnivox_core::name::AppId;
use smallvec::SmallVec;

use crate::hub::Caller;

/// All apps.
pub(crate) type Apps = BTreeMap<AppId, Arc<AppEntry>>;

/// An app and what verifies its clients' credentials.
pub struct AppEntry {
    /// The app.
    pub app: Arc<App>,
    /// What verifies credentials.
    pub authenticator: Authenticator,
}

impl AppEntry {
    /// An app with its settings; what it remembers may come from an earlier one of the same app.
    pub fn new(settings: Settings, memory: Arc<Memory>) -> Self {
        Self { app: settings.app.clone(), authenticator: Authenticator::new(settings, memory) }
    }
}

/// Who runs a command, and the app.
pub(crate) fn known<'a>(apps: &'a Apps, caller: &'a Caller) -> Result<(&'a Principal, &'a Arc<AppEntry>), Denied> {
    let principal =
        caller.principal.as_deref().ok_or_else(|| Denied::Unauthorized("connect first: the session has no credential yet".into()))?;
    let entry = apps.get(&principal.app).ok_or_else(|| Denied::Unauthorized("the app of this credential no longer exists".into()))?;
    Ok((principal, entry))
}

/// The apps whose credential it may be.
pub(crate) fn candidates<'a>(
    apps: &'a Apps,
    connect: &Connect,
    current: Option<&Principal>,
) -> Result<SmallVec<[&'a Arc<AppEntry>; 1]>, Denied> {
    if let Some(current) = current {
        return Ok(apps.get(&current.app).into_iter().collect());
    }
    if connect.credential != Credential::Anonymous {
        return Ok(apps.values().collect());
    }
    let open: SmallVec<[_; 1]> = apps.values().filter(|entry| entry.app.open).collect();
    match open.len() {
        0 => Ok(apps.values().take(1).collect()),
        1 => Ok(open),
        _ => {
            Err(Denied::Unauthorized("several apps are `open`, so a credential must say which one is meant; send a token or a key".into()))
        }
    }
}

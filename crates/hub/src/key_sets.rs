//! Keeps the key sets of identity providers fresh: from their addresses, or from files.
//!
//! When one is due says the set itself ([`omnivox_auth::key_set`]); here it is fetched. However many tokens name keys that nobody knows, a set is
//! fetched once in its pause, and one at a time.
//!
//! Invariant: a token never waits for a fetch: it is judged by the keys that are there.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use omnivox_auth::key_set::{KEY_SET_BYTES_MAX, KeySet, Replaced};

use crate::hub::Hub;
use crate::outgoing::{Outgoing, Request, Url};

/// How often the sets are asked whether they want to be fetched.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How long a fetch may take.
const DEADLINE: Duration = Duration::from_secs(10);

/// What the fetches came to.
#[derive(Debug, Default)]
pub struct KeySetCounters {
    /// Fetches that were begun.
    pub fetches: AtomicU64,
    /// Those that brought no key set.
    pub failures: AtomicU64,
}

/// Looks after the key sets of the hub's apps until the hub is gone.
pub async fn keep_fresh(hub: Weak<Hub>) {
    while let Some(hub) = hub.upgrade() {
        let now_ms = hub.now_ms();
        for set in hub.key_sets().into_iter().filter(|set| set.wants_refresh(now_ms)) {
            set.started(now_ms);
            hub.key_set_counters().fetches.fetch_add(1, Ordering::Relaxed);
            tokio::spawn(refresh(hub.clone(), set));
        }
        drop(hub);
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

async fn refresh(hub: Arc<Hub>, set: Arc<KeySet>) {
    match load(&set, set.location(), hub.outgoing(), || hub.now_ms()).await {
        Ok(replaced) => {
            for (place, why) in &replaced.skipped {
                tracing::debug!(set = set.location(), place, %why, "a key is passed over");
            }
            tracing::debug!(set = set.location(), keys = replaced.usable, "the key set was fetched");
        }
        Err(error) => {
            hub.key_set_counters().failures.fetch_add(1, Ordering::Relaxed);
            tracing::warn!(set = set.location(), error, "the key set could not be fetched; the keys that are there stay for a day");
        }
    }
}

/// Fills a set from an address or a file, which is that of the set or another one. The error says what is wrong with it.
pub async fn load(set: &KeySet, location: &str, outgoing: Option<&Outgoing>, now_ms: impl Fn() -> u64) -> Result<Replaced, String> {
    let fetched = match Url::parse(location) {
        Ok(url) => fetch(outgoing, url).await,
        Err(_) => read(location.into()).await,
    };
    match fetched {
        Ok(text) => set.replace(&text, now_ms()).map_err(|error| error.to_string()),
        Err(error) => {
            set.failed(now_ms());
            Err(error)
        }
    }
}

async fn fetch(outgoing: Option<&Outgoing>, url: Url) -> Result<String, String> {
    let outgoing = outgoing.ok_or("this server asks nobody")?;
    let request = Request { deadline: DEADLINE, body_bytes_max: KEY_SET_BYTES_MAX, ..Request::get(url) };
    let answer = outgoing.fetch(request).await.map_err(|error| error.to_string())?;
    if !answer.is_success() {
        return Err(format!("the answer has the status {}", answer.status));
    }
    String::from_utf8(answer.body.to_vec()).map_err(|_| "the answer is no text".to_owned())
}

async fn read(path: PathBuf) -> Result<String, String> {
    let reading = tokio::task::spawn_blocking(move || text_of(&path));
    reading.await.map_err(|error| error.to_string())?
}

fn text_of(path: &Path) -> Result<String, String> {
    use std::io::Read as _;
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(|error| error.to_string())?;
    file.take(KEY_SET_BYTES_MAX as u64 + 1).read_to_string(&mut text).map_err(|error| error.to_string())?;
    Ok(text)
}

//! Connections that are kept for the next request to the same place.
//!
//! Invariant: a connection that was made for a URL of the operator never carries the request of somebody else's URL.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use hashbrown::HashMap;
use http_body_util::Full;
use hyper::client::conn::http1::SendRequest;
use tokio::runtime::Handle;
use tokio::time::Instant;

use super::request::Reach;
use super::url::Origin;

/// Connections kept for one place.
const KEPT_PER_PLACE_MAX: usize = 16;
/// How old a connection may become: a name that moved is noticed by then.
const AGE_MAX: Duration = Duration::from_secs(300);

/// Where a connection goes, and who may use it.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct Key {
    pub url: Origin,
    pub reach: Reach,
}

/// A connection between two requests, or in use.
pub(super) struct Kept {
    pub sender: SendRequest<Full<Bytes>>,
    pub born: Instant,
}

/// The connections that wait for a request.
pub(super) struct Pool {
    idle_time_max: Duration,
    idle: Mutex<Idle>,
}

#[derive(Default)]
struct Idle {
    places: HashMap<Key, Vec<(Instant, Kept)>, foldhash::fast::RandomState>,
    /// Whether a janitor is at work.
    watched: bool,
}

impl Pool {
    pub(super) fn new(idle_time_max: Duration) -> Self {
        Self { idle_time_max, idle: Mutex::default() }
    }

    /// The connection that was used last, because it is the likeliest to be alive.
    pub(super) fn take(&self, key: &Key) -> Option<Kept> {
        let mut idle = self.lock();
        let kept = idle.places.get_mut(key)?;
        while let Some((since, connection)) = kept.pop() {
            if self.is_usable(since, &connection) {
                return Some(connection);
            }
        }
        None
    }

    /// Keeps a connection whose answer was read to its end.
    pub(super) fn keep(self: &Arc<Self>, key: Key, connection: Kept, runtime: &Handle) {
        let now = Instant::now();
        if !self.is_usable(now, &connection) {
            return;
        }
        let mut idle = self.lock();
        let kept = idle.places.entry(key).or_default();
        if kept.len() >= KEPT_PER_PLACE_MAX {
            kept.remove(0);
        }
        kept.push((now, connection));
        if !std::mem::replace(&mut idle.watched, true) {
            runtime.spawn(sweep(Arc::downgrade(self), self.idle_time_max));
        }
    }

    /// Gives up the connection that waits the longest, whatever it is for, so that another can be made.
    pub(super) fn give_up_one(&self) -> bool {
        let mut idle = self.lock();
        let oldest = idle.places.iter().filter_map(|(key, kept)| Some((kept.first()?.0, key.clone()))).min_by_key(|(since, _)| *since);
        let Some((_, key)) = oldest else { return false };
        if let Some(kept) = idle.places.get_mut(&key) {
            kept.remove(0);
        }
        true
    }

    fn is_usable(&self, since: Instant, connection: &Kept) -> bool {
        !connection.sender.is_closed() && since.elapsed() < self.idle_time_max && connection.born.elapsed() < AGE_MAX
    }

    /// Lets go what nobody asked for. Whether anything is left.
    fn forget_old(&self) -> bool {
        let mut idle = self.lock();
        idle.places.retain(|_, kept| {
            kept.retain(|(since, connection)| self.is_usable(*since, connection));
            !kept.is_empty()
        });
        idle.watched = !idle.places.is_empty();
        idle.watched
    }

    fn lock(&self) -> MutexGuard<'_, Idle> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Looks after the pool as long as there is something in it.
async fn sweep(pool: std::sync::Weak<Pool>, idle_time_max: Duration) {
    loop {
        tokio::time::sleep(idle_time_max / 2).await;
        if !pool.upgrade().is_some_and(|pool| pool.forget_old()) {
            return;
        }
    }
}

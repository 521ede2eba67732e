//! Connection state recovery: what is remembered of a socket so that a later connection can take its place.
//!
//! A [`Record`] is a socket's public id, its owner and its rooms, each with the cursor at which it was joined. Living sockets have theirs on
//! the [`Shelf`] too, so that a client whose loss the server has not noticed yet finds it. Which messages were missed is the hub's to
//! know: the client brings the cursor of the last one that it received, and when it had received none, the cursors of the joins do.
//!
//! The shelf is this node's. A client that comes back to another node is told that it was not recovered and starts anew.
//!
//! Invariant: a record is taken once; the socket that it was taken from no longer changes it.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use omnivox_core::{AppId, ChannelName, Cursor, Principal, UserId};

use super::settings::RecoverySettings;

/// What is remembered of a socket.
#[derive(Debug)]
pub(super) struct Record {
    /// The public id.
    pub(super) id: Arc<str>,
    pub(super) namespace: Arc<str>,
    app: AppId,
    user: Option<UserId>,
    rooms: Mutex<Vec<Room>>,
}

/// A room that a socket is in.
#[derive(Clone, Debug)]
pub(super) struct Room {
    pub(super) channel: ChannelName,
    /// Where the app stood at that moment.
    pub(super) joined: Cursor,
    /// What the socket says of itself to the other members, if it is one.
    pub(super) presence: Option<Box<Presence>>,
}

/// A socket's entry in a room's presence set.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Presence {
    /// JSON.
    pub(super) data: Option<Bytes>,
}

impl Record {
    pub(super) fn new(id: Arc<str>, namespace: Arc<str>, principal: &Principal) -> Self {
        Self { id, namespace, app: principal.app.clone(), user: principal.user.clone(), rooms: Mutex::default() }
    }

    /// The record of the socket that takes this one's place.
    fn heir(&self) -> Self {
        Self {
            id: self.id.clone(),
            namespace: self.namespace.clone(),
            app: self.app.clone(),
            user: self.user.clone(),
            rooms: Mutex::new(self.rooms().clone()),
        }
    }

    /// Adds rooms. Most sockets are in one or two for good, so that no room is made for more.
    pub(super) fn enter_rooms(&self, entered: impl ExactSizeIterator<Item = Room>) {
        let mut rooms = self.rooms();
        if rooms.len() < 4 {
            rooms.reserve_exact(entered.len());
        }
        rooms.extend(entered);
    }

    /// The rooms.
    pub(super) fn rooms(&self) -> MutexGuard<'_, Vec<Room>> {
        lock(&self.rooms)
    }
}

/// The records of a node.
#[derive(Debug)]
pub(super) struct Shelf {
    settings: RecoverySettings,
    kept: Mutex<Records>,
}

#[derive(Debug, Default)]
struct Records {
    by_private_id: HashMap<Arc<str>, Entry>,
    /// The order in which sockets were lost; an entry may have been taken since.
    lost: VecDeque<(Instant, Arc<str>)>,
    /// The latest time that anybody told.
    now: Option<Instant>,
}

#[derive(Debug)]
struct Entry {
    record: Arc<Record>,
    /// `None` while the socket lives.
    lost: Option<Instant>,
}

/// A record on the shelf; when it goes out of scope, the socket was lost.
#[derive(Debug)]
pub(super) struct Kept {
    shelf: Arc<Shelf>,
    private_id: Arc<str>,
    record: Arc<Record>,
}

impl Shelf {
    pub(super) fn new(settings: RecoverySettings) -> Self {
        Self { settings, kept: Mutex::default() }
    }

    /// Tells the time, and forgets what is too old.
    pub(super) fn note(&self, now: Instant) {
        drop(self.records(now));
    }

    fn records(&self, now: Instant) -> MutexGuard<'_, Records> {
        let mut records = lock(&self.kept);
        records.now = records.now.max(Some(now));
        records.forget(self.settings.max_disconnection, self.settings.connections_max);
        records
    }

    /// Puts a record on the shelf under its private id.
    pub(super) fn keep(self: &Arc<Self>, now: Instant, private_id: Arc<str>, record: Arc<Record>) -> Kept {
        let entry = Entry { record: record.clone(), lost: None };
        self.records(now).by_private_id.insert(private_id.clone(), entry);
        Kept { shelf: self.clone(), private_id, record }
    }

    /// Takes the record with that private id for a socket of the same namespace and the same user.
    pub(super) fn take(&self, now: Instant, private_id: &str, namespace: &str, principal: &Principal) -> Option<Record> {
        let mut records = self.records(now);
        let record = &records.by_private_id.get(private_id)?.record;
        if *record.namespace != *namespace || record.app != principal.app || record.user != principal.user {
            return None;
        }
        records.by_private_id.remove(private_id).map(|entry| entry.record.heir())
    }
}

impl Records {
    fn forget(&mut self, age_max: Duration, count_max: usize) {
        let Some(now) = self.now else { return };
        while let Some((lost, _)) = self.lost.front() {
            if now.saturating_duration_since(*lost) <= age_max && self.lost.len() <= count_max {
                return;
            }
            let Some((lost, private_id)) = self.lost.pop_front() else { return };
            // The id may have been taken and lost again since; then this is not its time.
            if self.by_private_id.get(&private_id).is_some_and(|entry| entry.lost == Some(lost)) {
                self.by_private_id.remove(&private_id);
            }
        }
    }
}

impl Kept {
    /// The private id.
    pub(super) fn private_id(&self) -> &str {
        &self.private_id
    }

    /// The socket was not lost but dismissed: nobody may take its place.
    pub(super) fn dismiss(self) {
        let mut records = lock(&self.shelf.kept);
        if records.by_private_id.get(&self.private_id).is_some_and(|entry| Arc::ptr_eq(&entry.record, &self.record)) {
            records.by_private_id.remove(&self.private_id);
        }
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        let mut records = lock(&self.shelf.kept);
        let Some(now) = records.now else { return };
        // Somebody else may have it by now.
        let Some(entry) = records.by_private_id.get_mut(&self.private_id).filter(|entry| Arc::ptr_eq(&entry.record, &self.record)) else {
            return;
        };
        entry.lost = Some(now);
        records.lost.push_back((now, self.private_id.clone()));
    }
}

/// A record stays whole when a thread dies, for every change of it is one step.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_kept_for_a_while_and_taken_once() {
        let settings = RecoverySettings { max_disconnection: Duration::from_secs(120), connections_max: 2 };
        let shelf = Arc::new(Shelf::new(settings));
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let somebody = Principal::anonymous(AppId::parse("demo").unwrap());
        let other = Principal { user: Some(UserId::parse("eve").unwrap()), ..somebody.clone() };
        let keep = |seconds, name: &str| {
            let record = Arc::new(Record::new(name.into(), "/".into(), &somebody));
            shelf.keep(at(seconds), name.into(), record)
        };
        let taken = |seconds, name: &str| shelf.take(at(seconds), name, "/", &somebody).is_some();

        let living = keep(0, "living");
        let lost = keep(0, "lost");
        keep(0, "dismissed").dismiss();
        shelf.note(at(10));
        drop(lost);
        assert!(!taken(11, "dismissed"));
        assert!(shelf.take(at(11), "lost", "/admin", &somebody).is_none(), "another namespace");
        assert!(shelf.take(at(11), "lost", "/", &other).is_none(), "another user");
        assert!(taken(130, "lost"), "exactly as long as promised");
        assert!(!taken(130, "lost"), "only once");
        assert!(taken(1000, "living"), "its loss was not noticed");
        drop(living);
        assert!(!taken(1000, "living"), "its first socket has no say any more");

        for name in ["a", "b", "c"] {
            drop(keep(1000, name));
        }
        assert_eq!([taken(1000, "a"), taken(1000, "b"), taken(1000, "c")], [false, true, true], "two are remembered");
        drop(keep(1000, "old"));
        assert!(!taken(1121, "old"));
        assert!(lock(&shelf.kept).by_private_id.is_empty());
    }
}

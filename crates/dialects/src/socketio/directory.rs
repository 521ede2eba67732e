//! The directory: which sockets there are on this node, who and where they are, and those that were lost a moment ago.
//!
//! A [`Record`] is a socket's public id, its owner, its session and its rooms, each with the cursor at which it was joined. A back end finds
//! sockets here by id, by user, by room ([`Directory::select`]). With recovery on, the record of a lost socket stays for a while, so that a
//! later connection of its client can take its place; living sockets are found too, for the client may know of the loss before the server.
//! Which messages were missed is the hub's to know: the client brings the cursor of the last one that it received, and when it had received
//! none, the cursors of the joins do.
//!
//! The directory is this node's. A client that comes back to another node is told that it was not recovered and starts anew.
//!
//! Invariant: a record is taken once; the socket that it was taken from no longer changes it.

use std::borrow::Borrow;
use std::collections::{HashMap, HashSet, VecDeque};
use std::hash::{Hash, Hasher};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use omnivox_core::{AppId, ChannelName, Cursor, Principal, SessionId, UserId};
use smallvec::SmallVec;

use super::settings::RecoverySettings;

/// What is known of a socket.
#[derive(Debug)]
pub(super) struct Record {
    /// The public id.
    pub(super) id: Arc<str>,
    pub(super) namespace: Arc<str>,
    principal: Arc<Principal>,
    session: SessionId,
    /// Whether another connection may take its place when it was lost.
    recoverable: bool,
    /// Whether the program around the server was told that the socket is gone.
    told_gone: AtomicBool,
    rooms: Mutex<Vec<Room>>,
    /// `None` while the socket lives.
    lost: Mutex<Option<Instant>>,
}

/// A room that a socket is in.
#[derive(Clone, Debug)]
pub(super) struct Room {
    pub(super) channel: ChannelName,
    /// Where the app stood at that moment.
    pub(super) joined: Cursor,
    /// What the socket says of itself to the other members, if it is one.
    pub(super) presence: Option<Box<Presence>>,
    /// The server let it in, whatever its grants are.
    pub(super) admitted: bool,
}

/// A socket's entry in a room's presence set.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Presence {
    /// JSON.
    pub(super) data: Option<Bytes>,
}

impl Record {
    /// The record of a new socket.
    pub(super) fn new(id: Arc<str>, namespace: Arc<str>, principal: Arc<Principal>, session: SessionId, recoverable: bool) -> Self {
        Self {
            id,
            namespace,
            principal,
            session,
            recoverable,
            told_gone: AtomicBool::new(false),
            rooms: Mutex::default(),
            lost: Mutex::default(),
        }
    }

    /// The record of the socket that takes this one's place.
    fn heir(&self, principal: Arc<Principal>, session: SessionId) -> Self {
        Self {
            id: self.id.clone(),
            namespace: self.namespace.clone(),
            principal,
            session,
            recoverable: self.recoverable,
            told_gone: AtomicBool::new(false),
            rooms: Mutex::new(self.rooms().clone()),
            lost: Mutex::default(),
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

    /// Where the socket is.
    pub(super) fn session(&self) -> SessionId {
        self.session
    }

    /// The app that it is in.
    pub(super) fn app(&self) -> &AppId {
        &self.principal.app
    }

    /// Whose it is.
    pub(super) fn user(&self) -> Option<&UserId> {
        self.principal.user.as_ref()
    }

    /// Whether it is to be told that the socket is gone: only once.
    pub(super) fn goes(&self) -> bool {
        !self.told_gone.swap(true, Ordering::AcqRel)
    }

    fn is_lost(&self) -> bool {
        lock(&self.lost).is_some()
    }

    fn is_in(&self, channels: &[ChannelName], before: u64) -> bool {
        !channels.is_empty() && self.rooms().iter().any(|room| room.joined.stamp < before && channels.contains(&room.channel))
    }
}

/// Which sockets of a namespace are meant: those that any of the lists names, or all when all lists are empty; but none of `except`.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Selection {
    pub(super) namespace: Arc<str>,
    pub(super) to: Named,
    pub(super) except: Named,
}

/// Sockets by room, user and id.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Named {
    pub(super) channels: SmallVec<[ChannelName; 1]>,
    pub(super) users: SmallVec<[UserId; 1]>,
    pub(super) sockets: SmallVec<[Box<str>; 1]>,
}

impl Named {
    /// Whether nothing is named.
    pub(super) fn is_empty(&self) -> bool {
        self.channels.is_empty() && self.users.is_empty() && self.sockets.is_empty()
    }

    fn names(&self, record: &Record) -> bool {
        self.sockets.iter().any(|id| **id == *record.id)
            || record.user().is_some_and(|user| self.users.contains(user))
            || record.is_in(&self.channels, u64::MAX)
    }
}

/// The sockets of a node.
#[derive(Debug)]
pub(super) struct Directory {
    recovery: Option<RecoverySettings>,
    records: Mutex<Records>,
}

#[derive(Debug, Default)]
struct Records {
    by_id: HashSet<ById>,
    by_user: HashMap<(AppId, UserId), SmallVec<[Arc<Record>; 1]>>,
    /// The order in which sockets were lost; a record may have been taken since.
    lost: VecDeque<(Instant, Arc<Record>)>,
    /// The latest time that anybody told.
    now: Option<Instant>,
}

/// A record that is found by its id.
#[derive(Debug)]
struct ById(Arc<Record>);

impl Borrow<str> for ById {
    fn borrow(&self) -> &str {
        &self.0.id
    }
}

impl PartialEq for ById {
    fn eq(&self, other: &Self) -> bool {
        self.0.id == other.0.id
    }
}

impl Eq for ById {}

impl Hash for ById {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (*self.0.id).hash(state);
    }
}

/// A record in the directory; when it goes out of scope, the socket was lost.
#[derive(Debug)]
pub(super) struct Kept {
    directory: Arc<Directory>,
    record: Arc<Record>,
}

impl Directory {
    /// An empty directory; lost sockets are remembered as the settings say.
    pub(super) fn new(recovery: Option<RecoverySettings>) -> Self {
        Self { recovery, records: Mutex::default() }
    }

    /// Whether lost sockets are remembered.
    pub(super) fn remembers(&self) -> bool {
        self.recovery.is_some()
    }

    /// Tells the time, and forgets what is too old.
    pub(super) fn note(&self, now: Instant) {
        drop(self.records(now));
    }

    fn records(&self, now: Instant) -> MutexGuard<'_, Records> {
        let mut records = lock(&self.records);
        records.now = records.now.max(Some(now));
        if let Some(recovery) = &self.recovery {
            records.forget(recovery);
        }
        records
    }

    /// Enters a record.
    pub(super) fn keep(self: &Arc<Self>, now: Instant, record: Arc<Record>) -> Kept {
        self.records(now).insert(record.clone());
        Kept { directory: self.clone(), record }
    }

    /// Takes the record of that id for a socket of the same namespace and the same user; with it comes the record of that socket.
    pub(super) fn take(
        &self,
        now: Instant,
        id: &str,
        namespace: &str,
        principal: &Arc<Principal>,
        session: SessionId,
    ) -> Option<(Arc<Record>, Record)> {
        let mut records = self.records(now);
        let record = &records.by_id.get(id)?.0;
        let own = record.principal.app == principal.app && record.principal.user == principal.user;
        if *record.namespace != *namespace || !own || !record.recoverable {
            return None;
        }
        let old = records.remove(id)?;
        let heir = old.heir(principal.clone(), session);
        Some((old, heir))
    }

    /// The living sockets of the app that a selection means. One that was in any of the `served` channels before that stamp is left out: it
    /// has been served already.
    ///
    /// Sockets by id and by user are looked up; for rooms, and for all, everyone is looked at.
    pub(super) fn select(&self, app: &AppId, selection: &Selection, served: (&[ChannelName], u64)) -> Vec<Arc<Record>> {
        let records = lock(&self.records);
        let meant = |record: &&Arc<Record>| {
            record.principal.app == *app
                && *record.namespace == *selection.namespace
                && !record.is_lost()
                && !selection.except.names(record)
                && !record.is_in(served.0, served.1)
        };
        let to = &selection.to;
        if to.is_empty() || !to.channels.is_empty() {
            let all = records.by_id.iter().map(|entry| &entry.0);
            return all.filter(|record| to.is_empty() || to.names(record)).filter(meant).cloned().collect();
        }
        let by_id = to.sockets.iter().filter_map(|id| records.by_id.get(&**id).map(|entry| &entry.0));
        let by_user = to.users.iter().filter_map(|user| records.by_user.get(&(app.clone(), user.clone()))).flatten();
        let mut found: Vec<Arc<Record>> = by_id.chain(by_user).filter(meant).cloned().collect();
        found.sort_unstable_by(|one, other| one.id.cmp(&other.id));
        found.dedup_by(|one, other| one.id == other.id);
        found
    }
}

impl Records {
    fn insert(&mut self, record: Arc<Record>) {
        if let Some(user) = record.user() {
            self.by_user.entry((record.principal.app.clone(), user.clone())).or_default().push(record.clone());
        }
        self.by_id.insert(ById(record));
    }

    fn remove(&mut self, id: &str) -> Option<Arc<Record>> {
        let ById(record) = self.by_id.take(id)?;
        if let Some(user) = record.user() {
            let key = (record.principal.app.clone(), user.clone());
            if let Some(of_user) = self.by_user.get_mut(&key) {
                of_user.retain(|known| !Arc::ptr_eq(known, &record));
                if of_user.is_empty() {
                    self.by_user.remove(&key);
                }
            }
        }
        Some(record)
    }

    /// Whether that very record is entered under its id.
    fn holds(&self, record: &Arc<Record>) -> bool {
        self.by_id.get(&*record.id).is_some_and(|entry| Arc::ptr_eq(&entry.0, record))
    }

    fn forget(&mut self, recovery: &RecoverySettings) {
        let Some(now) = self.now else { return };
        while let Some((lost, _)) = self.lost.front() {
            if now.saturating_duration_since(*lost) <= recovery.max_disconnection && self.lost.len() <= recovery.connections_max {
                return;
            }
            let Some((_, record)) = self.lost.pop_front() else { return };
            if self.holds(&record) {
                self.remove(&record.id);
            }
        }
    }
}

impl Kept {
    /// The record.
    pub(super) fn record(&self) -> &Arc<Record> {
        &self.record
    }

    /// The socket was not lost but dismissed: nobody may take its place.
    pub(super) fn dismiss(self) {
        let mut records = lock(&self.directory.records);
        if records.holds(&self.record) {
            records.remove(&self.record.id);
        }
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        let mut records = lock(&self.directory.records);
        // Somebody else may have its place by now.
        if !records.holds(&self.record) {
            return;
        }
        match records.now.filter(|_| self.record.recoverable) {
            Some(now) => {
                *lock(&self.record.lost) = Some(now);
                records.lost.push_back((now, self.record.clone()));
            }
            None => {
                records.remove(&self.record.id);
            }
        }
    }
}

/// A record stays whole when a thread dies, for every change of it is one step.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn principal(user: Option<&str>) -> Arc<Principal> {
        let app = AppId::parse("demo").unwrap();
        Arc::new(Principal { user: user.map(|user| UserId::parse(user).unwrap()), ..Principal::anonymous(app) })
    }

    fn session(slot: u32) -> SessionId {
        SessionId { node: 1, shard: 0, slot, generation: 0 }
    }

    #[test]
    fn lost_sockets_are_kept_for_a_while_and_taken_once() {
        let settings = RecoverySettings { max_disconnection: Duration::from_secs(120), connections_max: 2 };
        let directory = Arc::new(Directory::new(Some(settings)));
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let (somebody, other) = (principal(None), principal(Some("eve")));
        let keep = |seconds, name: &str| {
            let record = Record::new(name.into(), "/".into(), somebody.clone(), session(0), true);
            directory.keep(at(seconds), Arc::new(record))
        };
        let taken = |seconds, name: &str| directory.take(at(seconds), name, "/", &somebody, session(1)).is_some();

        let living = keep(0, "living");
        let lost = keep(0, "lost");
        keep(0, "dismissed").dismiss();
        directory.note(at(10));
        drop(lost);
        assert!(!taken(11, "dismissed"));
        assert!(directory.take(at(11), "lost", "/admin", &somebody, session(1)).is_none(), "another namespace");
        assert!(directory.take(at(11), "lost", "/", &other, session(1)).is_none(), "another user");
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
        let fleeting = Record::new("fleeting".into(), "/".into(), other, session(0), false);
        drop(directory.keep(at(1121), Arc::new(fleeting)));
        let records = lock(&directory.records);
        assert!(records.by_id.is_empty() && records.by_user.is_empty());
    }

    #[test]
    fn sockets_are_selected_each_once() {
        let directory = Arc::new(Directory::new(None));
        let channel = |name: &str| ChannelName::parse(name).unwrap();
        let socket = |id: &str, namespace: &str, user: Option<&str>, rooms: &[(&str, u64)]| {
            let record = Record::new(id.into(), namespace.into(), principal(user), session(0), true);
            let joined = |stamp| Cursor { epoch: omnivox_core::Epoch(1), stamp };
            let rooms =
                rooms.iter().map(|(name, stamp)| Room { channel: channel(name), joined: joined(*stamp), presence: None, admitted: false });
            record.enter_rooms(rooms.collect::<Vec<_>>().into_iter());
            directory.keep(Instant::now(), Arc::new(record))
        };
        let _sockets = [
            socket("one", "/", Some("ann"), &[("a", 1)]),
            socket("two", "/", Some("ann"), &[("a", 1), ("b", 5)]),
            socket("three", "/", None, &[("b", 1)]),
            socket("four", "/", Some("bob"), &[]),
            socket("five", "/x", Some("ann"), &[]),
        ];
        // Each list: rooms with `#`, users with `@`, sockets bare.
        let named = |text: &str| {
            let mut named = Named::default();
            for word in text.split_whitespace() {
                match word.split_at(1) {
                    ("#", name) => named.channels.push(channel(name)),
                    ("@", name) => named.users.push(UserId::parse(name).unwrap()),
                    _ => named.sockets.push(word.into()),
                }
            }
            named
        };
        let check = |to: &str, except: &str, expected: &str| {
            let selection = Selection { namespace: "/".into(), to: named(to), except: named(except) };
            let found = directory.select(&AppId::parse("demo").unwrap(), &selection, (&[], 0));
            let mut found: Vec<&str> = found.iter().map(|record| &*record.id).collect();
            found.sort_unstable();
            assert_eq!(found.join(" "), expected, "to {to} except {except}");
        };
        check("", "", "four one three two");
        check("", "@ann three", "four");
        check("#a #b", "", "one three two");
        check("#a #b", "#b", "one");
        check("@ann", "", "one two");
        check("@ann one four", "", "four one two");
        check("@ann #b", "two", "one three");
        check("five", "", "");
        check("@nobody nothing #c", "", "");
        let selection = Selection { namespace: "/".into(), to: named("@ann"), except: Named::default() };
        let left = directory.select(&AppId::parse("demo").unwrap(), &selection, (&[channel("b")], 6));
        assert_eq!(left.iter().map(|record| &*record.id).collect::<Vec<_>>(), ["one"], "the other was in `b` before stamp 6");
        let left = directory.select(&AppId::parse("demo").unwrap(), &selection, (&[channel("b")], 5));
        assert_eq!(left.len(), 2, "it came to `b` only then");
        assert!(
            directory
                .select(&AppId::parse("other").unwrap(), &Selection { namespace: "/".into(), ..Selection::default() }, (&[], 0))
                .is_empty()
        );
    }
}

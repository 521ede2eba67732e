//! The relay of a server: credentials for members of rooms, and the relay's question whether they are good.
//!
//! ```text
//!   hub ── issue, cut off ──▶ Office ◀── authorize ── relay (crate omnivox-turn)
//!                               └─ revoke ──────────────▶
//! ```
//!
//! Passwords are computed from names, so that nothing is stored for them; what was given to whom is remembered only to be cut off.
//! With the same secret every node accepts what another one gave, and so does a coturn.
//!
//! Invariant: a name is given once, so that cutting one off never hits another.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use omnivox_auth::secret::Secret;
use omnivox_auth::turn::{RelayUser, TTL_S_MAX, password};
use omnivox_core::command::Denied;
use omnivox_core::name::{AppId, ChannelName, UserId};
use omnivox_core::room::{IceServers, SEAT_MARK};
use omnivox_hub::memory::Clock;
use omnivox_hub::rooms::{Holder, Relay};
use omnivox_turn::credentials::{AnyOf, Authorize, Claim, Grant, GrantLimits, Refusal, Revoked, Username};
use omnivox_turn::proto::integrity::Key;
use omnivox_turn::{Config, Handle, Stats, Transport, TurnServer};

/// How a server helps peers to connect.
pub struct RelaySettings {
    /// The relay in this process; without it clients are sent to [`urls`](Self::urls). Its own authoriser is asked after the hub's.
    pub turn: Option<Config>,
    /// What passwords are made with: the same on all nodes and on relays elsewhere. Drawn at start when there is none.
    pub secret: Option<Secret>,
    /// The addresses that clients are told, `stun:`, `turn:` and `turns:`, the best first; those of the relay itself when empty.
    pub urls: Vec<String>,
    /// For how many seconds a credential is good when nobody asks for less or more.
    pub ttl_s: u64,
}

/// Holders that are remembered; the oldest credentials leave with their time.
const GIVEN_MAX: usize = 100_000;

/// Gives credentials out and answers for them.
pub(crate) struct Office {
    secret: Secret,
    ttl_s: u64,
    clock: Clock,
    urls: OnceLock<Urls>,
    relay: OnceLock<Handle>,
    given: Mutex<HashMap<Place, Given>>,
}

struct Urls {
    stun: Vec<Arc<str>>,
    turn: Vec<Arc<str>>,
}

/// App, holder's name, room.
type Place = (AppId, Option<UserId>, Option<ChannelName>);

/// What one holder was given in one room.
#[derive(Default)]
struct Given {
    /// The user behind it.
    user: Option<UserId>,
    /// Names that are still good, with their ends.
    names: Vec<(Arc<str>, u64)>,
    /// The latest end that was ever given, so that no name is given twice.
    last_s: u64,
}

impl Office {
    /// Opens the office, and the relay if it is to run here.
    pub(crate) fn open(settings: RelaySettings, clock: Clock) -> Result<Arc<Self>, String> {
        let secret = match settings.secret {
            Some(secret) => secret,
            None => draw_secret()?,
        };
        let office =
            Arc::new(Self { secret, ttl_s: settings.ttl_s, clock, urls: OnceLock::new(), relay: OnceLock::new(), given: Mutex::default() });
        let mut urls = settings.urls;
        if let Some(mut config) = settings.turn {
            let asked: Arc<dyn Authorize> = Arc::new(Asked(Arc::downgrade(&office)));
            config.authorize = Arc::new(AnyOf::new(vec![asked, config.authorize]));
            let relay = TurnServer::start(config).map_err(|error| error.to_string())?;
            if urls.is_empty() {
                urls = own_urls(&relay);
            }
            let _ = office.relay.set(relay);
        }
        let (stun, turn) = urls.into_iter().map(Arc::<str>::from).partition(|url| url.starts_with("stun"));
        let _ = office.urls.set(Urls { stun, turn });
        Ok(office)
    }

    /// Where the relay listens, when it is here.
    pub(crate) fn bound(&self) -> Vec<(&'static str, SocketAddr)> {
        let bound = self.relay.get().map(Handle::bound).unwrap_or_default();
        bound.iter().map(|bound| (scheme(bound.transport), bound.address)).collect()
    }

    /// What the relay has counted, when it is here.
    pub(crate) fn stats(&self) -> Option<Stats> {
        self.relay.get().map(Handle::stats)
    }

    /// Lets nobody new in, and ends the relay's threads with the office.
    pub(crate) fn close(&self) {
        if let Some(relay) = self.relay.get() {
            relay.stop();
        }
    }

    /// Names that are good are refused from now on. What a holder relays ends, even with a credential whose time is over.
    fn revoke(&self, names: Vec<(Arc<str>, u64)>, ending: impl IntoIterator<Item = Revoked>) {
        let Some(relay) = self.relay.get() else { return };
        for (name, expires_s) in names {
            relay.revoke(Revoked::Credential(name), expires_s);
        }
        ending.into_iter().for_each(|what| relay.end(what));
    }

    /// A name that was never given before.
    fn name(&self, holder: &Holder, ttl_s: u64, now_ms: u64) -> Result<(RelayUser, String), Denied> {
        let mut relay_user = RelayUser::new(holder.app.clone(), shown_holder(holder)?, holder.room.clone(), ttl_s, now_ms);
        let now_s = now_ms / 1000;
        let mut given = self.given.lock().unwrap_or_else(PoisonError::into_inner);
        if given.len() >= GIVEN_MAX {
            given.retain(|_, given| given.last_s >= now_s);
            if given.len() >= GIVEN_MAX {
                return Err(Denied::Unavailable("too many relay credentials are out; try again later".into()));
            }
        }
        let place = (relay_user.app.clone(), relay_user.user.clone(), relay_user.room.clone());
        let given = given.entry(place).or_default();
        if given.last_s > now_s && relay_user.expires_s <= given.last_s && given.last_s < now_s + TTL_S_MAX {
            relay_user.expires_s = given.last_s + 1;
        }
        given.last_s = given.last_s.max(relay_user.expires_s);
        given.user.clone_from(&holder.user);
        given.names.retain(|(_, expires_s)| *expires_s >= now_s);
        let username = relay_user.username()?;
        given.names.push((username.as_str().into(), relay_user.expires_s));
        Ok((relay_user, username))
    }
}

impl Relay for Office {
    fn issue(&self, holder: &Holder, ttl_s: Option<u64>, now_ms: u64) -> Result<IceServers, Denied> {
        let ttl_s = ttl_s.unwrap_or(self.ttl_s).clamp(1, TTL_S_MAX);
        let (relay_user, username) = self.name(holder, ttl_s, now_ms)?;
        let urls = self.urls.get().ok_or_else(|| Denied::Unavailable("the relay is only just starting; try again".into()))?;
        Ok(IceServers {
            stun: urls.stun.clone(),
            turn: urls.turn.clone(),
            credential: password(&self.secret, &username).into(),
            username: username.into(),
            ttl_s: relay_user.expires_s.saturating_sub(now_ms / 1000),
            expires_s: relay_user.expires_s,
        })
    }

    fn cut_off(&self, holder: &Holder) {
        let Ok(shown) = shown_holder(holder) else { return };
        let place = (holder.app.clone(), shown, holder.room.clone());
        let mut given = self.given.lock().unwrap_or_else(PoisonError::into_inner);
        let names = given.get_mut(&place).map(|given| std::mem::take(&mut given.names)).unwrap_or_default();
        drop(given);
        self.revoke(names, holder_of(place).map(Revoked::Holder));
    }

    fn cut_off_user(&self, app: &AppId, user: &UserId) {
        let mut given = self.given.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut names, mut ending) = (Vec::new(), vec![Revoked::User(account(app, user.as_str()))]);
        for (place, given) in given.iter_mut().filter(|((of, ..), given)| of == app && given.user.as_ref() == Some(user)) {
            names.append(&mut given.names);
            ending.extend(holder_of(place.clone()).map(Revoked::Holder));
        }
        drop(given);
        self.revoke(names, ending);
    }
}

/// The relay's question, which does not keep the office alive: the office owns the relay.
struct Asked(std::sync::Weak<Office>);

impl Authorize for Asked {
    fn authorize(&self, claim: &Claim<'_>) -> Result<Grant, Refusal> {
        let Username::Name(name) = claim.username else { return Err(Refusal::Unknown) };
        let office = self.0.upgrade().ok_or(Refusal::Unknown)?;
        let relay_user = RelayUser::parse(name).map_err(|_| Refusal::Unknown)?;
        if relay_user.expires_s < claim.unix {
            return Err(Refusal::Expired);
        }
        // The same clock as the one that set the end, as far as that is another one.
        relay_user.check_time((office.clock)().max(claim.unix * 1000)).map_err(|_| Refusal::TooLong)?;
        let password = password(&office.secret, name);
        let shown = relay_user.user.as_ref().map_or("", UserId::as_str);
        let seat = shown.rsplit_once(SEAT_MARK);
        let user = seat.map_or(shown, |(user, _)| if user.is_empty() { shown } else { user });
        let holder = name.split_once(':').map_or(name, |(_, holder)| holder);
        Ok(Grant {
            keys: std::iter::once(Key::long_term(claim.algorithm, name, claim.realm, &password)).collect(),
            credential: name.into(),
            holder: holder.into(),
            user: account(&relay_user.app, user),
            app: Some(relay_user.app.as_str().into()),
            room: relay_user.room.as_ref().map(|room| room.as_str().into()),
            expires_unix: Some(relay_user.expires_s),
            // A seat's end is told; without a seat nobody says when the call is over.
            ends_unix: Some(relay_user.expires_s).filter(|_| seat.is_none()),
            limits: GrantLimits::default(),
        })
    }
}

/// Whose quota it is.
fn account(app: &AppId, user: &str) -> Arc<str> {
    format!("{app}/{user}").into()
}

/// A place's part of every name that was given to it.
fn holder_of((app, user, room): Place) -> Option<Arc<str>> {
    let username = RelayUser { app, user, room, expires_s: 0 }.username().ok()?;
    username.split_once(':').map(|(_, holder)| holder.into())
}

/// What stands for the holder in the name: user and seat, either of them, or nothing.
fn shown_holder(holder: &Holder) -> Result<Option<UserId>, Denied> {
    let user = holder.user.as_ref().map_or("", UserId::as_str);
    let seat = holder.seat.as_deref().unwrap_or_default();
    let shown = format!("{user}{seat}");
    if shown.is_empty() {
        return Ok(None);
    }
    let words = |error| Denied::Invalid(format!("no relay credential can be made for this user: {error}").into());
    UserId::parse(&shown).map(Some).map_err(words)
}

fn draw_secret() -> Result<Secret, String> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(|error| format!("the system gives no randomness: {error}"))?;
    Secret::from_bytes(&bytes).map_err(|error| error.to_string())
}

fn scheme(transport: Transport) -> &'static str {
    match transport {
        Transport::Udp => "udp",
        Transport::Tcp => "tcp",
        Transport::Tls => "tls",
    }
}

/// The addresses of a relay as clients see them, in the order in which they should try.
fn own_urls(relay: &Handle) -> Vec<String> {
    let external = |ip: IpAddr| {
        let relays = relay.relays();
        let mapped = relays.iter().find(|known| known.bind == ip || (ip.is_unspecified() && known.bind.is_ipv4() == ip.is_ipv4()));
        mapped.map_or(ip, |known| known.external)
    };
    let addresses = |wanted: Transport| {
        let of_kind = relay.bound().iter().filter(move |bound| bound.transport == wanted);
        of_kind.map(move |bound| SocketAddr::new(external(bound.address.ip()), bound.address.port()))
    };
    let stun = addresses(Transport::Udp).map(|address| format!("stun:{address}"));
    let udp = addresses(Transport::Udp).map(|address| format!("turn:{address}?transport=udp"));
    let tcp = addresses(Transport::Tcp).map(|address| format!("turn:{address}?transport=tcp"));
    let tls = addresses(Transport::Tls).map(|address| format!("turns:{address}?transport=tcp"));
    stun.chain(udp).chain(tcp).chain(tls).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use omnivox_turn::proto::integrity::Algorithm;

    const NOW_S: u64 = 1_700_000_000;

    fn office() -> Arc<Office> {
        let secret = Secret::parse("an example secret that is long enough").unwrap();
        let urls = ["stun:a:3478", "turn:a:3478?transport=udp", "turns:a:443?transport=tcp"].map(str::to_owned).to_vec();
        let settings = RelaySettings { turn: None, secret: Some(secret), urls, ttl_s: 600 };
        Office::open(settings, Arc::new(|| NOW_S * 1000)).unwrap()
    }

    fn holder(app: &str, user: Option<&str>, seat: Option<&str>) -> Holder {
        let room = Some(ChannelName::parse("room").unwrap());
        Holder { app: AppId::parse(app).unwrap(), user: user.map(|user| UserId::parse(user).unwrap()), room, seat: seat.map(Into::into) }
    }

    fn asked(office: &Arc<Office>, username: &str, unix: u64) -> Result<Grant, Refusal> {
        let claim =
            Claim { username: Username::Name(username), realm: "omnivox", algorithm: Algorithm::Md5, unix, source: [127, 0, 0, 1].into() };
        Asked(Arc::downgrade(office)).authorize(&claim)
    }

    #[test]
    fn what_the_office_gives_the_relay_accepts() {
        let office = office();
        let check = |user, seat, ttl: Option<u64>, expected_user: &str| {
            let servers = office.issue(&holder("shop", user, seat), ttl, NOW_S * 1000).unwrap();
            assert_eq!((servers.stun.len(), servers.turn.len()), (1, 2));
            let grant = asked(&office, &servers.username, NOW_S).unwrap();
            assert_eq!((&*grant.user, grant.app.as_deref(), grant.room.as_deref()), (expected_user, Some("shop"), Some("room")));
            let key = Key::long_term(Algorithm::Md5, &servers.username, "omnivox", &servers.credential);
            assert!(grant.keys.contains(&key), "the password is that of the name");
            assert_eq!(asked(&office, &servers.username, servers.expires_s + 1).unwrap_err(), Refusal::Expired);
        };
        check(Some("ana"), None, None, "shop/ana");
        check(Some("ana"), Some("~1"), Some(60), "shop/ana");
        check(None, Some("~1"), Some(u64::MAX), "shop/~1");
        check(None, None, Some(0), "shop/");
    }

    #[test]
    fn no_name_is_given_twice() {
        let office = office();
        let who = holder("shop", Some("ana"), Some("~1"));
        let first = office.issue(&who, None, NOW_S * 1000).unwrap();
        office.cut_off(&who);
        let second = office.issue(&who, None, NOW_S * 1000).unwrap();
        assert_ne!(first.username, second.username, "what was cut off is not given again");
        assert_eq!(second.expires_s, first.expires_s + 1);
    }

    #[test]
    fn other_names_are_refused() {
        let office = office();
        for name in ["", "ana", "1700000600", "1700000600:ana", "99999999999:shop/ana/room"] {
            assert!(asked(&office, name, NOW_S).is_err(), "{name}");
        }
        let mut stranger = office.issue(&holder("blog", Some("ana"), None), None, NOW_S * 1000).unwrap();
        stranger.username = stranger.username.replace("blog", "shop").into();
        let grant = asked(&office, &stranger.username, NOW_S).unwrap();
        let key = Key::long_term(Algorithm::Md5, &stranger.username, "omnivox", &stranger.credential);
        assert!(!grant.keys.contains(&key), "another app, another password");
    }
}

//! What a server is started with. The binary fills it from its settings; an embedder writes it down.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use omnivox_auth::Settings;
use omnivox_auth::secret::Secret;
use omnivox_core::origin::Origins;
use omnivox_core::{Dialect, Limits, Request};
use omnivox_hub::hooks::HookSettings;
use omnivox_hub::memory::Clock;
use omnivox_hub::outgoing::OutgoingSettings;
use omnivox_hub::webhooks::WebhooksConfig;

use crate::acme::AcmeSettings;
use crate::listener::{Inherited, UnixSockets};
use crate::proxies::{Network, Proxies};
use crate::relay::RelaySettings;
use crate::tls::Tls;
use crate::traces::TraceSettings;

/// Everything that a server needs to start.
pub struct ServerConfig {
    /// The addresses to listen on; port 0 takes a free one.
    pub listen: Vec<SocketAddr>,
    /// The addresses to listen on with TLS, HTTP/2 included.
    pub listen_tls: Vec<SocketAddr>,
    /// Unix sockets to listen on.
    pub unix: UnixSockets,
    /// Sockets that listen already, such as those that systemd passes on.
    pub inherited: Vec<Inherited>,
    /// The certificate of the TLS addresses; keep a clone to reload it.
    pub tls: Option<Arc<Tls>>,
    /// Who supplies the certificate; then `tls` is [`Tls::automatic`].
    pub acme: Option<AcmeSettings>,
    /// Threads that own connections; one for each core when `None`. At most 64.
    pub shards: Option<u16>,
    /// The limits.
    pub limits: Limits,
    /// The apps, and how each checks credentials.
    pub apps: Vec<Settings>,
    /// The client protocols. Their paths must not clash.
    pub dialects: Vec<Arc<dyn Dialect>>,
    /// Which proxies are believed when they say who the client is.
    pub proxies: Proxies,
    /// Those of the addresses above where a trusted proxy begins each connection with a PROXY protocol header.
    pub proxy_protocol: Vec<SocketAddr>,
    /// Which hosts and origins are let in, when not everyone is.
    pub gate: Option<HostGate>,
    /// Which pages may read answers: the list that the dialects were given, so that a reload can replace it.
    pub origins: Origins,
    /// Whether clients may agree on permessage-deflate.
    pub deflate: bool,
    /// How peers are helped to connect to each other, if at all.
    pub relay: Option<RelaySettings>,
    /// What the server may ask of other servers, and whom it believes.
    pub outgoing: OutgoingSettings,
    /// Where traces go, if anywhere.
    pub traces: Option<TraceSettings>,
    /// Who is told what happens in the apps.
    pub webhooks: WebhooksConfig,
    /// The back ends that are asked about clients.
    pub hooks: Vec<HookSettings>,
    /// Who may see what the operator sees.
    pub admin: AdminGate,
    /// How clients are sent away at the end.
    pub drain: DrainPace,
    /// Milliseconds since the Unix epoch, for the stamps of publications; the system's clock unless a test turns its own.
    pub clock: Clock,
    /// How long sent bytes may stay unacknowledged before the kernel gives the connection up (`TCP_USER_TIMEOUT`).
    pub tcp_user_timeout: Duration,
}

impl ServerConfig {
    /// A server for these apps and dialects on these addresses, with defaults for the rest.
    pub fn new(listen: Vec<SocketAddr>, apps: Vec<Settings>, dialects: Vec<Arc<dyn Dialect>>) -> Self {
        Self {
            listen,
            listen_tls: Vec::new(),
            unix: UnixSockets::default(),
            inherited: Vec::new(),
            tls: None,
            acme: None,
            shards: None,
            limits: Limits::default(),
            apps,
            dialects,
            proxies: Proxies::default(),
            proxy_protocol: Vec::new(),
            gate: None,
            origins: Origins::default(),
            deflate: false,
            relay: None,
            outgoing: OutgoingSettings::default(),
            traces: None,
            webhooks: WebhooksConfig::default(),
            hooks: Vec::new(),
            admin: AdminGate::default(),
            drain: DrainPace::default(),
            clock: Arc::new(|| {
                std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
            }),
            tcp_user_timeout: Duration::from_secs(45),
        }
    }
}

/// What can change while clients are connected.
#[derive(Clone, Debug)]
pub(crate) struct Live {
    pub proxies: Proxies,
    pub gate: Option<HostGate>,
    pub drain: DrainPace,
}

/// Lets in only requests for known hosts from known origins, so that no web page reaches a server on loopback through the browser of the
/// person who runs it.
#[derive(Clone, Debug)]
pub struct HostGate {
    /// Host names (without port) that a request may name, and that an origin may have.
    pub hosts: Vec<String>,
    /// The setting that opens it, for the refusal's text.
    pub setting: &'static str,
}

/// Who may see what the operator sees: the metrics.
#[derive(Clone, Debug)]
pub struct AdminGate {
    /// A token that lets in from everywhere.
    pub token: Option<Secret>,
    /// Networks that are let in without it.
    pub networks: Vec<Network>,
}

impl Default for AdminGate {
    fn default() -> Self {
        Self { token: None, networks: ["127.0.0.0/8", "::1/128"].iter().filter_map(|text| Network::parse(text).ok()).collect() }
    }
}

impl AdminGate {
    /// Whether the request may see it. What a proxy passes on comes from somebody else, wherever the proxy is.
    pub(crate) fn admits(&self, request: &Request<'_>) -> bool {
        let bearer = request.header("authorization").and_then(|value| value.split_once(' '));
        let shown = bearer.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer")).map(|(_, token)| token.trim());
        if let (Some(token), Some(shown)) = (&self.token, shown) {
            return token.is(shown.as_bytes());
        }
        let passed_on = ["forwarded", "x-forwarded-for", "x-real-ip", "via"].iter().any(|name| request.header(name).is_some());
        !passed_on && self.networks.iter().any(|network| network.contains(request.remote))
    }
}

/// How fast clients are sent away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DrainPace {
    /// Sessions that each shard closes in a second.
    pub sessions_per_second: u32,
    /// After this everything is closed at once.
    pub deadline: Duration,
}

impl DrainPace {
    /// How many sessions have their turn by then: the first at once.
    pub(crate) fn due(&self, elapsed: Duration) -> u64 {
        1 + (u128::from(self.sessions_per_second) * elapsed.as_millis() / 1000) as u64
    }

    /// How many are sent away in one step at most: what a busy shard was late with does not come all at once.
    pub(crate) fn step_max(&self) -> u64 {
        u64::from(self.sessions_per_second / 10).max(1)
    }
}

impl Default for DrainPace {
    fn default() -> Self {
        Self { sessions_per_second: 5_000, deadline: Duration::from_secs(20) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pace_holds_however_slow_it_is() {
        let check = |sessions_per_second: u32, seconds: u64, expected: u64| {
            let pace = DrainPace { sessions_per_second, ..DrainPace::default() };
            let mut sent = 0;
            for step in 0..seconds * 50 {
                sent += pace.due(Duration::from_millis(20 * step)).saturating_sub(sent).min(pace.step_max());
            }
            assert_eq!(sent, expected, "{sessions_per_second} a second for {seconds} s");
        };
        check(1, 30, 30);
        check(7, 10, 70);
        check(49, 10, 490);
        check(5_000, 2, 9_901);
        let late = DrainPace { sessions_per_second: 1_000, ..DrainPace::default() };
        assert_eq!(late.due(Duration::from_secs(5)).min(late.step_max()), 100, "a late step is a step");
    }
}

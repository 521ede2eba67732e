//! What the settings mean: the hub's own types, made from what was written, and refused when they make no sense together.
//!
//! Single values were checked where they stood; here are the rules between them. Every breach is reported at once and names the
//! setting that mends it. Invariant: what [`server_config`] gives can be started, if the machine allows it.

use std::collections::{BTreeSet, HashSet};
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use omnivox_auth::secret::{Secret, WeakSecret};
use omnivox_core::app::Retention;
use omnivox_core::origin::Origins;
use omnivox_core::{App, Dialect, Limits, Namespace, Namespaces, Pattern, Permissions};
use omnivox_dialects::mercure::{self, Mercure, MercureSettings};
use omnivox_dialects::native::{Alias, Format, Native, NativeSettings, Transport};
use omnivox_dialects::peerjs::{PeerJs, PeerJsSettings};
use omnivox_dialects::socketio::{NamespaceSettings as SocketIoNamespaces, RecoverySettings, SocketIo, SocketIoSettings};
use omnivox_hub::outgoing::OutgoingSettings;
use omnivox_server::ServerConfig;
use omnivox_server::config::{AdminGate, DrainPace, HostGate};
use omnivox_server::proxies::{Proxies, ProxyHeaders};

use super::choices::{Permission, ProxyHeadersChoice, RouteFormat, RouteTarget};
use super::problem::{Place, Problem, Problems};
use super::settings::{self, Config, LimitSettings, NamespaceSettings};
use super::{apps, hooks, secrets, secure, traces, trust, webhooks};

/// Judges the settings as a whole and makes what the server is started with.
///
/// `read` reads a file: public keys are the only settings that lie elsewhere.
pub(crate) fn server_config(config: &Config, read: impl Fn(&Path) -> io::Result<String>) -> Result<ServerConfig, Problems> {
    let mut problems = Vec::new();
    apps::judge(config, &read, &mut problems);
    secrets::judge(config, &mut problems);
    judge_numbers(config, &mut problems);
    judge_routes(config, &mut problems);
    let mut apps = Vec::new();
    for entry in &config.app {
        match trust::settings(&Arc::new(tenant(entry, config)), entry, config, &read) {
            Ok(settings) => apps.push(settings),
            Err(wrong) => problems.extend(wrong),
        }
    }
    let tls = secure::tls(config, &mut problems);
    let admin = admin(&config.admin, &mut problems);
    let traces = traces::settings(&config.traces, &mut problems);
    let webhooks = webhooks::webhooks(config, &mut problems);
    let hooks = hooks::hooks(config, &mut problems);
    if !problems.is_empty() {
        return Err(Problems::new(problems));
    }
    let (server, origins) = (&config.server, origins(config));
    Ok(ServerConfig {
        shards: (server.shards > 0).then_some(server.shards),
        limits: config.limits.to_core(),
        proxies: Proxies {
            trusted: server.trusted_proxies.clone(),
            headers: match server.proxy_headers {
                ProxyHeadersChoice::XForwarded => ProxyHeaders::XForwarded,
                ProxyHeadersChoice::Forwarded => ProxyHeaders::Forwarded,
            },
        },
        proxy_protocol: server.proxy_protocol.clone(),
        gate: (!server.hosts.is_empty()).then(|| HostGate { hosts: server.hosts.clone(), setting: "server.hosts" }),
        deflate: server.deflate,
        drain: DrainPace { sessions_per_second: config.drain.sessions_per_second, deadline: config.drain.deadline_ms },
        tcp_user_timeout: config.heartbeat.tcp_user_timeout_ms,
        listen_tls: config.tls.listen.clone(),
        unix: config.unix.to_server(),
        acme: secure::acme(&config.acme),
        tls,
        outgoing: outgoing(&config.outgoing),
        hooks,
        admin,
        traces,
        webhooks,
        origins: origins.clone(),
        ..ServerConfig::new(server.listen.clone(), apps, dialects(config, &origins))
    })
}

/// Who may see what the operator sees.
fn admin(section: &settings::Admin, problems: &mut Vec<Problem>) -> AdminGate {
    let token = section.token.as_ref().and_then(|token| {
        let weak = |error: WeakSecret| problems.push(Problem::new(Place::Section("admin.token".to_owned()), error.to_string()));
        Secret::parse(token.reveal()).map_err(weak).ok()
    });
    AdminGate { token, networks: section.networks.clone() }
}

/// What the server may ask of others.
fn outgoing(section: &settings::OutgoingSection) -> OutgoingSettings {
    OutgoingSettings {
        authorities: section.ca_file.clone(),
        listed: section.allow.iter().map(|range| *range.meaning()).collect(),
        connections_max: section.connections_max,
        ..OutgoingSettings::default()
    }
}

/// Every client protocol that is served.
fn dialects(config: &Config, origins: &Origins) -> Vec<Arc<dyn Dialect>> {
    let mut dialects: Vec<Arc<dyn Dialect>> = vec![Arc::new(Native::new(native(config, origins)))];
    if config.socketio.suites {
        dialects.push(Arc::new(SocketIo::new(SocketIoSettings::socketio_suite())));
        dialects.push(Arc::new(SocketIo::new(SocketIoSettings::engineio_suite())));
    } else if config.socketio.enabled {
        dialects.push(Arc::new(SocketIo::new(socketio(config, origins))));
    }
    if config.mercure.enabled {
        dialects.push(Arc::new(Mercure::new(mercure(config, origins))));
    }
    if config.peerjs.enabled {
        dialects.push(Arc::new(PeerJs::new(peerjs(config, origins))));
    }
    dialects
}

/// The settings of PeerJS.
fn peerjs(config: &Config, origins: &Origins) -> PeerJsSettings {
    let section = &config.peerjs;
    PeerJsSettings {
        path: section.path.clone(),
        key: section.key.clone(),
        discovery: section.discovery,
        cors_origins: origins.clone(),
        alive_time_max: section.alive_time_max_ms,
        wait_time_max: section.wait_time_max_ms,
        message_bytes_max: config.limits.message_bytes_max,
        ..PeerJsSettings::default()
    }
}

/// The settings of Mercure.
fn mercure(config: &Config, origins: &Origins) -> MercureSettings {
    let section = &config.mercure;
    MercureSettings {
        limits: config.limits.to_core(),
        heartbeat: section.heartbeat_ms,
        connection_time_max: (!section.connection_time_max_ms.is_zero()).then_some(section.connection_time_max_ms),
        subscriptions: section.subscriptions,
        cookie_name: section.cookie_name.clone(),
        publish_origins: section.publish_origins.clone(),
        cors_origins: origins.clone(),
        authorization_servers: section.authorization_servers.clone(),
        public_origin: section.public_origin.as_ref().map(|origin| origin.trim_end_matches('/').to_owned()),
    }
}

/// The settings of Socket.IO.
fn socketio(config: &Config, origins: &Origins) -> SocketIoSettings {
    let section = &config.socketio;
    SocketIoSettings {
        path: section.path.clone(),
        ping_interval: section.ping_interval_ms,
        ping_timeout: section.ping_timeout_ms,
        max_payload: section.message_bytes_max,
        upgrade_timeout: section.upgrade_time_max_ms,
        connect_timeout: section.connect_time_max_ms,
        allow_eio3: section.allow_eio3,
        recovery: section.recovery.then_some(RecoverySettings {
            max_disconnection: section.recovery_time_max_ms,
            connections_max: section.recovery_connections_max,
        }),
        namespaces: match section.namespaces.as_slice() {
            [] => SocketIoNamespaces::Any,
            listed => SocketIoNamespaces::Listed(listed.to_vec()),
        },
        cors_origins: origins.clone(),
        cookie: section.cookie.clone(),
        compress_from: section.compression.then_some(section.compression_bytes_min),
        attachments_max: section.attachments_max,
        namespaces_max: section.namespaces_max,
        commands_in_flight_max: config.limits.commands_in_flight_max,
        queue_bytes_max: config.limits.outbox_bytes_hard,
        ..SocketIoSettings::default()
    }
}

/// The origins that some app lets in.
fn origins(config: &Config) -> Origins {
    let all: BTreeSet<&String> = config.app.iter().flat_map(|app| &app.allowed_origins).collect();
    Origins::new(all.into_iter().cloned().collect())
}

/// The settings of the native dialect.
fn native(config: &Config, origins: &Origins) -> NativeSettings {
    NativeSettings {
        limits: config.limits.to_core(),
        aliases: config.route.iter().map(settings::Route::to_alias).collect(),
        ws_ping: config.heartbeat.ws_ping_interval_ms,
        ws_pong_timeout: config.heartbeat.ws_pong_timeout_ms,
        sse_comment: config.heartbeat.sse_comment_interval_ms,
        retry_ms: config.native.sse_retry_ms,
        cors_origins: origins.clone(),
        cookie_name: Some(config.native.cookie_name.clone()).filter(|name| !name.is_empty()),
        connect_time_max: config.native.connect_time_max_ms,
        echo: None,
    }
}

impl settings::Route {
    fn to_alias(&self) -> Alias {
        Alias {
            path: self.path.clone(),
            transport: match self.to {
                RouteTarget::Ws => Transport::Ws,
                RouteTarget::Sse => Transport::Sse,
                RouteTarget::Poll => Transport::Poll,
                RouteTarget::Publish => Transport::Publish,
                RouteTarget::Echo => Transport::Echo,
            },
            channels: self.channels.clone(),
            format: match self.format {
                RouteFormat::Envelope => Format::Envelope,
                RouteFormat::Data => Format::Data,
            },
        }
    }
}

fn judge_routes(config: &Config, problems: &mut Vec<Problem>) {
    let path = &config.socketio.path;
    if path.len() < 3 || !path.starts_with('/') || !path.ends_with('/') || !is_plain(path.trim_end_matches('/')) {
        let what = format!("{path:?} is no plain path with a slash at both ends, such as \"/socket.io/\"");
        problems.push(Problem::new(Place::Section("socketio.path".to_owned()), what));
    }
    let mut paths = HashSet::new();
    for route in &config.route {
        let path = route.path.as_str();
        let mut problem = |what: &str| problems.push(Problem::new(Place::Section(format!("[[route]] {path:?}")), what));
        if !is_plain(path) {
            problem("`path` is no plain path; it begins with `/` and has no query, no escapes and no empty or dotted parts");
        }
        if path.starts_with("/v1/") {
            problem("paths under /v1/ are the API's own; choose another");
        }
        if config.socketio.enabled && path.starts_with(&config.socketio.path) {
            problem("paths under `socketio.path` are Socket.IO's; choose another, or move or disable that");
        }
        if !paths.insert(path) {
            problem("another route has the same `path`");
        }
    }
}

/// Whether a path can be asked for as it is, and only so.
fn is_plain(path: &str) -> bool {
    path.starts_with('/')
        && path.bytes().all(|byte| byte.is_ascii_graphic() && !b"?#%\"\\".contains(&byte))
        && !path.contains("//")
        && !path.contains("/.")
}

fn judge_numbers(config: &Config, problems: &mut Vec<Problem>) {
    let mut problem = |setting: &str, what: &str| {
        problems.push(Problem::new(Place::Section(setting.to_owned()), what));
    };
    for (section, entry) in config.entries() {
        let bounded = matches!(section.name, "limits" | "heartbeat" | "native" | "socketio" | "outgoing" | "webhooks" | "drain");
        for setting in section.settings.iter().filter(|_| bounded) {
            if entry.written(setting.key).as_deref() == Some("0") {
                problem(&format!("{}.{}", section.name, setting.key), "0 would stop everything; the smallest value is 1");
            }
        }
    }
    if config.limits.outbox_bytes_soft > config.limits.outbox_bytes_hard {
        problem("limits.outbox_bytes_soft", "is above limits.outbox_bytes_hard; the soft limit is the lower one");
    }
    if config.limits.message_bytes_max > config.limits.outbox_bytes_hard {
        problem("limits.message_bytes_max", "is above limits.outbox_bytes_hard; no client could be sent such a message");
    }
    if config.limits.poll_time_max_ms > POLL_TIME_MAX {
        problem("limits.poll_time_max_ms", "is above 55 seconds; proxies cut a request after 60");
    }
    let listens = |address: &SocketAddr| config.server.listen.contains(address) || config.tls.listen.contains(address);
    if !config.server.proxy_protocol.iter().all(listens) {
        problem("server.proxy_protocol", "names an address that neither `listen` nor `tls.listen` has");
    } else if !config.server.proxy_protocol.is_empty() && config.server.trusted_proxies.is_empty() {
        problem("server.proxy_protocol", "believes no proxy; list the proxies in `trusted_proxies`");
    }
    if config.server.listen.is_empty() && config.tls.listen.is_empty() && config.unix.listen.is_empty() {
        problem("server.listen", "is empty; name at least one address");
    }
}

/// Held polls must end before a proxy in between ends them.
const POLL_TIME_MAX: Duration = Duration::from_secs(55);

/// The app of an `[[app]]` entry, with the namespaces that are its own or everyone's.
fn tenant(app: &settings::App, config: &Config) -> App {
    let own = |namespace: &&NamespaceSettings| namespace.app.as_ref().is_none_or(|owner| *owner == app.id);
    // An app's own rule wins over one for all apps.
    let (specific, general): (Vec<_>, Vec<_>) = config.namespace.iter().filter(own).partition(|entry| entry.app.is_some());
    let mut namespaces: Vec<Namespace> = Vec::new();
    let rules = specific.into_iter().chain(general).map(|entry| entry.to_core(config)).chain(built_in(config));
    for rule in rules {
        if !namespaces.iter().any(|known| known.pattern == rule.pattern) {
            namespaces.push(rule);
        }
    }
    App { id: app.id.clone(), namespaces: Namespaces::new(namespaces), allowed_origins: app.allowed_origins.clone(), open: app.open }
}

/// Beginnings of names that mean security in one dialect or another are protected in all of them, and everything else keeps the
/// history of `[history]`.
fn built_in(config: &Config) -> impl Iterator<Item = Namespace> + '_ {
    let protected = PROTECTED.iter().map(|pattern| (*pattern, true));
    // Who is subscribed to what is seen with a grant only.
    let subscriptions = (config.mercure.enabled && config.mercure.subscriptions).then_some((mercure::SUBSCRIPTIONS_PATTERN, false));
    protected.chain(subscriptions).chain([("*", false)]).map(|(pattern, protected)| {
        let parsed = Pattern::parse(pattern).expect("a built-in pattern is valid");
        Namespace { protected, history: config.history.to_core(), ..Namespace::new(pattern, parsed) }
    })
}

const PROTECTED: [&str; 4] = ["private-*", "presence-*", "$*", "#*"];

impl NamespaceSettings {
    fn to_core(&self, config: &Config) -> Namespace {
        let default = config.history.to_core();
        Namespace {
            protected: self.protected,
            anonymous: permissions(&self.anonymous),
            authenticated: permissions(&self.authenticated),
            history: Retention {
                count_max: self.history_count_max.unwrap_or(default.count_max),
                age_max: self.history_age_max_ms.unwrap_or(default.age_max),
                bytes_max: self.history_bytes_max.unwrap_or(default.bytes_max),
            },
            presence: self.presence,
            ..Namespace::new(&self.channels.to_string(), self.channels.clone())
        }
    }
}

impl settings::History {
    fn to_core(&self) -> Retention {
        Retention { count_max: self.count_max, age_max: self.age_max_ms, bytes_max: self.bytes_max }
    }
}

fn permissions(words: &[Permission]) -> Permissions {
    words.iter().fold(Permissions::NONE, |all, word| {
        all.with(match word {
            Permission::Subscribe => Permissions::SUBSCRIBE,
            Permission::Publish => Permissions::PUBLISH,
            Permission::Presence => Permissions::PRESENCE,
            Permission::History => Permissions::HISTORY,
            Permission::Manage => Permissions::MANAGE,
        })
    })
}

impl LimitSettings {
    /// Field by field, so that a new limit without a setting does not compile.
    fn to_core(&self) -> Limits {
        Limits {
            message_bytes_max: self.message_bytes_max,
            body_bytes_max: self.body_bytes_max,
            head_bytes_max: self.head_bytes_max,
            headers_max: self.headers_max,
            head_time_max: self.head_time_max_ms,
            body_time_max: self.body_time_max_ms,
            keep_alive_time_max: self.keep_alive_time_max_ms,
            connections_max: self.connections_max,
            handshakes_max: self.handshakes_max,
            connections_per_address_max: self.connections_per_address_max,
            connects_per_second_max: self.connects_per_second_max,
            connects_per_address_per_second_max: self.connects_per_address_per_second_max,
            requests_per_address_per_second_max: self.requests_per_address_per_second_max,
            connections_per_app_max: self.connections_per_app_max,
            connections_per_user_max: self.connections_per_user_max,
            messages_per_second_max: self.messages_per_second_max,
            publications_per_second_max: self.publications_per_second_max,
            publications_per_user_per_second_max: self.publications_per_user_per_second_max,
            publications_per_app_per_second_max: self.publications_per_app_per_second_max,
            subscriptions_per_app_max: self.subscriptions_per_app_max,
            subscriptions_per_user_max: self.subscriptions_per_user_max,
            subscriptions_per_address_max: self.subscriptions_per_address_max,
            publications_per_address_per_second_max: self.publications_per_address_per_second_max,
            deliveries_per_second_max: self.deliveries_per_second_max,
            deliveries_per_user_per_second_max: self.deliveries_per_user_per_second_max,
            deliveries_per_app_per_second_max: self.deliveries_per_app_per_second_max,
            deliveries_per_address_per_second_max: self.deliveries_per_address_per_second_max,
            bytes_in_per_second_max: self.bytes_in_per_second_max,
            bytes_in_per_user_per_second_max: self.bytes_in_per_user_per_second_max,
            bytes_in_per_app_per_second_max: self.bytes_in_per_app_per_second_max,
            bytes_in_per_address_per_second_max: self.bytes_in_per_address_per_second_max,
            bytes_out_per_second_max: self.bytes_out_per_second_max,
            bytes_out_per_user_per_second_max: self.bytes_out_per_user_per_second_max,
            bytes_out_per_app_per_second_max: self.bytes_out_per_app_per_second_max,
            bytes_out_per_address_per_second_max: self.bytes_out_per_address_per_second_max,
            channels_per_connection_max: self.channels_per_connection_max,
            channels_per_publication_max: self.channels_per_publication_max,
            batch_publications_max: self.batch_publications_max,
            commands_in_flight_max: self.commands_in_flight_max,
            outbox_bytes_hard: self.outbox_bytes_hard,
            outbox_bytes_soft: self.outbox_bytes_soft,
            outbox_soft_time_max: self.outbox_soft_time_max_ms,
            event_name_bytes_max: self.event_name_bytes_max,
            publication_id_bytes_max: self.publication_id_bytes_max,
            member_data_bytes_max: self.member_data_bytes_max,
            members_per_channel_max: self.members_per_channel_max,
            seats_per_room_max: self.seats_per_room_max,
            seats_leased_max: self.seats_leased_max,
            seat_grace: self.seat_grace_ms,
            signals_burst_max: self.signals_burst_max,
            signals_per_second_max: self.signals_per_second_max,
            history_page_max: self.history_page_max,
            poll_time_max: self.poll_time_max_ms,
            channels_max: self.channels_max,
            idempotency_time: self.idempotency_time_ms,
            idempotency_ids_max: self.idempotency_ids_max,
            shard_queue_max: self.shard_queue_max,
        }
    }
}

#[cfg(test)]
mod tests {
    use omnivox_core::ChannelName;

    use super::super::Layers;
    use super::*;

    fn config(file: &str) -> Config {
        let layers = Layers { file: Some(("omnivox.toml".into(), file.to_owned())), ..Layers::default() };
        layers.over(Config::default()).unwrap_or_else(|problems| panic!("{problems}"))
    }

    fn judged(config: &Config) -> Result<ServerConfig, Problems> {
        server_config(config, |path| Err(io::Error::other(format!("nobody may read {}", path.display()))))
    }

    const SHOP: &str = "[[app]]\nid = \"shop\"\nsecret = \"6f1d2c9be07a4835f2a1c7e9d0b34856\"\n";

    #[test]
    fn a_setting_that_makes_no_sense_is_refused_with_what_mends_it() {
        let check = |file: &str, expected: &str| match judged(&config(file)) {
            Ok(_) => assert_eq!(expected, "", "{file}"),
            Err(problems) => {
                assert!(!expected.is_empty(), "{file}: {problems}");
                assert!(problems.to_string().contains(expected), "{file}: {problems}");
            }
        };
        let shop = |rest: &str| format!("{rest}\n{SHOP}");
        check(&shop(""), "");
        check("", "[[app]]: there is none");
        check(&format!("{SHOP}{SHOP}"), "[[app]] shop: another app has the same `id`");
        check("[[app]]\nid = \"a\"\nopen = true\nkey = \"k\"\n[[app]]\nid = \"b\"\nopen = true\nkey = \"k\"", "same `key` \"k\"");
        check("[[app]]\nid = \"a\"", "[[app]] a: nobody could connect");
        check("[[app]]\nid = \"a\"\nsecret = \"short\"", "`secret`: the secret has 5 bytes");
        let guessable = |secret: &str| format!("[[app]]\nid = \"a\"\nsecret = \"{secret}\"");
        check(&guessable("12345678901234567890123456789012"), "[[app]] a: `secret` can be guessed: it repeats itself");
        check(&guessable("abcdefghijklmnopqrstuvwxyz0123456789"), "[[app]] a: `secret` can be guessed: it counts up or down");
        let blog = "[[app]]\nid = \"blog\"\n";
        let secret = SHOP.lines().last().expect("a secret");
        check(&format!("{SHOP}{blog}secret = \"b47c1f60d28e395a7716fd03ac5e9284\""), "");
        check(&format!("{SHOP}{blog}{secret}"), "[[app]] blog: app shop has the same `secret`");
        check(&format!("{SHOP}token_audiences = \"a\"\n{blog}{secret}\ntoken_audiences = \"b\""), "has the same `secret`");
        let mercure = secret.replace("secret = ", "mercure_subscriber_secrets = ");
        check(
            &format!("{SHOP}{blog}{mercure}"),
            "[[app]] blog: app shop verifies tokens with the same key (`secret`, `mercure_subscriber_secrets`)",
        );
        let audiences = |one: &str, other: &str| format!("{SHOP}token_audiences = {one}\n{blog}{mercure}\ntoken_audiences = {other}");
        check(&audiences("[\"a\"]", "[\"b\"]"), "");
        check(&audiences("[\"a\"]", "[\"b\", \"a\"]"), "[[app]] blog: app shop verifies tokens with the same key");
        let set = "token_key_set = \"/keys.json\"\n";
        check(&format!("{SHOP}{set}{blog}{set}"), "another app has the same `token_key_set`");
        check(&format!("{SHOP}{set}token_audiences = \"a\"\n{blog}{set}token_audiences = \"b\""), "");
        check("[[app]]\nid = \"a\"\nopen = true", "");
        let public = "[server]\nlisten = \"0.0.0.0:80\"\n";
        check(&shop(public), "");
        check(&format!("{public}[[app]]\nid = \"a\"\nopen = true"), "0.0.0.0:80 can be reached from other machines");
        check(&format!("{public}open_to_the_network = true\n[[app]]\nid = \"a\"\nopen = true"), "");
        check("[server]\nlisten = \"[::ffff:127.0.0.1]:80\"\n[[app]]\nid = \"a\"\nopen = true", "");
        check(&shop("[server]\nlisten = []"), "server.listen: is empty");
        check(&shop("[server]\nproxy_protocol = \"127.0.0.1:8080\"\ntrusted_proxies = \"10.0.0.0/8\""), "");
        check(&shop("[server]\nproxy_protocol = \"127.0.0.1:8080\""), "server.proxy_protocol: believes no proxy");
        check(&shop("[server]\nproxy_protocol = \"127.0.0.1:1\"\ntrusted_proxies = \"::1\""), "server.proxy_protocol: names an address");
        check(&shop("[[namespace]]\nchannels = \"x\"\napp = \"shup\""), "[[namespace]] x: there is no app \"shup\"");
        check(&shop("[limits]\nconnections_max = 0"), "limits.connections_max: 0 would stop everything");
        check("[[app]]\nid = \"a\"\nsecret = \"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\"", "different bytes");
        let hook = |rest: &str| shop(&format!("[[hook]]\nname = \"a\"\nurl = \"http://127.0.0.1/\"\n{rest}"));
        let signed = "secrets = [\"6f1d2c9be07a4835f2a1c7e9d0b34856\"]\nevents = [\"connect\"]\n";
        check(&hook(signed), "");
        check(&hook(&format!("{signed}app = \"shup\"")), "[[hook]] a: it belongs to no app");
        check(&hook("events = [\"connect\"]"), "[[hook]] a: it has no `secrets`");
        check(&hook("events = [\"connect\"]\nsecrets = [\"short\"]"), "[[hook]] a: `secrets`: the secret has 5 bytes");
        check(&hook("secrets = [\"6f1d2c9be07a4835f2a1c7e9d0b34856\"]"), "[[hook]] a: it is asked about nothing");
        check(&hook(&format!("{signed}timeout_ms = 0")), "[[hook]] a: `timeout_ms` is 0");
        check(&hook(&format!("{signed}[[hook]]\nname = \"a\"\nurl = \"http://a/\"\n{signed}")), "another hook has the same `name`");
        check(&hook(signed).replace("http://127.0.0.1/", "ftp://a/"), "[[hook]] a: `url`: the scheme is neither");
        check(&hook(signed).replace("name = \"a\"", "name = \"a b\""), "its `name` is no plain word");
        let route = |path: &str| shop(&format!("[[route]]\nto = \"ws\"\npath = \"{path}\""));
        check(&route("/ws"), "");
        check(&route("ws"), "is no plain path");
        check(&route("/a/../b"), "is no plain path");
        check(&route("/v1/ws"), "the API's own");
        check(&route("/socket.io/x"), "Socket.IO's");
        check(&shop("[socketio]\npath = \"/\""), "socketio.path: \"/\" is no plain path");
        check(&shop("[[route]]\nto = \"ws\"\npath = \"/a\"\n[[route]]\nto = \"sse\"\npath = \"/a\""), "same `path`");
        check(&shop("[heartbeat]\nws_ping_interval_ms = 0"), "heartbeat.ws_ping_interval_ms: 0");
        check(&shop("[limits]\noutbox_bytes_soft = 5_000_000"), "limits.outbox_bytes_soft: is above");
        check(&shop("[limits]\nmessage_bytes_max = 5_000_000"), "limits.message_bytes_max: is above");
        check(&shop("[limits]\npoll_time_max_ms = 60_000"), "limits.poll_time_max_ms: is above");
        let hook = |rest: &str| shop(&format!("[[webhook]]\nid = \"audit\"\nurl = \"http://127.0.0.1:1/\"\n{rest}"));
        check(&hook(""), "");
        check(&hook("").replace("audit", "a b"), "[[webhook]] a b: its `id` is no name");
        check(&hook("").replace("http:", "ftp:"), "[[webhook]] audit: `url`: the scheme");
        check(&format!("{}{}", hook(""), hook("").replace(SHOP, "")), "same `id`");
        check(&hook("app = \"shup\""), "belongs to no app");
        check(&hook("events = []"), "told of nothing");
        check(&hook("events = \"message\""), "");
        check(&hook("secrets = \"short\""), "`secrets`: the secret has 5 bytes");
        check(&hook("").replace("secret = \"6f1d2c9be07a4835f2a1c7e9d0b34856\"", "open = true"), "nothing can sign");
        check(&hook("headers = [\"Authorization: Bearer x\"]"), "");
        check(&hook("headers = \"x\""), "`headers`: one is no header");
        check(&hook("headers = \"Host: x\""), "`host` is set by the server");
        check(&hook("batch_max = 0"), "`batch_max` is 0");
        check(&hook("debounce_ms = 0\nretry_for_ms = 0\nbatch_delay_ms = 0"), "");
        check(&shop("[webhooks]\nqueue_max = 0"), "webhooks.queue_max: 0");
        let acme = |rest: &str| shop(&format!("[tls]\nlisten = \"127.0.0.1:0\"\n[acme]\nterms_agreed = true\n{rest}"));
        check(&acme("names = \"a.example\""), "");
        let silent = acme("names = \"a.example\"").replace("terms_agreed = true", "");
        check(&silent, "acme.terms_agreed: ");
        check(&acme("names = \"*.example\""), "acme.names: \"*.example\" ");
        check(&acme("names = \"192.0.2.1\""), "acme.names: \"192.0.2.1\" ");
        check(&acme("names = \"192.0.2.1\"\nchallenge = \"http-01\""), "");
        check(&acme("names = \"a.example\"\ndirectory = \"http://a\""), "acme.directory: ");
        check(&acme("names = \"a.example\"").replace("listen = ", "certificate_file = \"x\"\nlisten = "), "acme.names: ");
        check(&shop("[acme]\nterms_agreed = true\nnames = \"a.example\""), "acme.names: there is no address in `tls.listen`");
    }

    #[test]
    fn the_settings_of_dev_are_sound() {
        let meant = judged(&Config::dev(SocketAddr::from(([127, 0, 0, 1], 0)))).expect("valid");
        assert!(meant.apps[0].app.open);
        assert!(meant.gate.is_some_and(|gate| !gate.hosts.is_empty()), "no page of another host reaches it");
    }

    #[test]
    fn all_problems_come_at_once() {
        let problems =
            judged(&config("[limits]\nheaders_max = 0\nchannels_max = 0")).err().map(|problems| problems.to_string()).unwrap_or_default();
        for part in ["[[app]]", "headers_max", "channels_max"] {
            assert!(problems.contains(part), "{problems}");
        }
    }

    #[test]
    fn the_longest_rule_of_the_app_itself_rules_a_channel() {
        let file = format!(
            "[history]\ncount_max = 7\n{SHOP}[[app]]\nid = \"blog\"\nopen = true\n\
             [[namespace]]\nchannels = \"chat:*\"\nanonymous = [\"subscribe\"]\n\
             [[namespace]]\nchannels = \"chat:*\"\napp = \"blog\"\nanonymous = [\"subscribe\", \"publish\"]\nhistory_count_max = 3\n\
             [[namespace]]\nchannels = \"private-*\"\nprotected = false\n"
        );
        let meaning = judged(&config(&file)).expect("valid");
        let check = |app: usize, channel: &str, anonymous: Permissions, protected: bool, history: usize| {
            let rule = meaning.apps[app].app.namespaces.of(&ChannelName::parse(channel).expect("a name"));
            assert_eq!((rule.anonymous, rule.protected, rule.history.count_max), (anonymous, protected, history), "{channel}");
        };
        check(0, "chat:x", Permissions::SUBSCRIBE, false, 7);
        check(1, "chat:x", Permissions::SUBSCRIBE.with(Permissions::PUBLISH), false, 3);
        check(0, "news", Permissions::NONE, false, 7);
        check(0, "private-x", Permissions::NONE, false, 7);
        check(0, "presence-x", Permissions::NONE, true, 7);
        check(0, "$system", Permissions::NONE, true, 7);
    }

    #[test]
    fn limits_arrive_as_written() {
        let meaning = judged(&config(&format!("[limits]\nhead_time_max_ms = 1\nchannels_max = 2\n{SHOP}"))).expect("valid");
        let expected = Limits { head_time_max: Duration::from_millis(1), channels_max: 2, ..Limits::default() };
        assert_eq!(meaning.limits, expected);
    }
}

//! `omnivox dev`: everything open, on loopback, with something to look at.
//!
//! Its safety is that only this machine reaches it, and that no web page of another host gets through the browser of the person who
//! runs it: it answers only to the names of loopback, and to those that `server.hosts` adds.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use omnivox_core::app::Retention;
use omnivox_core::{AppId, ChannelName, Draft, Payload};
use omnivox_hub::Hub;
use omnivox_server::Handle;

use crate::cli::{Dev, Settings};
use crate::config::Config;
use crate::config::dev::NOTIFICATIONS;
use crate::exit::{self, Code};
use crate::logging;

use super::serve::run_until_signalled;
use super::{judge, load, turn};

/// Where it listens when nothing else is said.
const PORT: u16 = 8080;

/// Starts the open server.
pub(crate) fn run(wish: Dev) -> anyhow::Result<()> {
    let listen = SocketAddr::new(wish.host.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST)), wish.port.unwrap_or(PORT));
    let settings = Settings { config: None, flags: wish.flags };
    let mut config = load(&settings, Config::dev(listen))?;
    if wish.host.is_some() || wish.port.is_some() {
        // Flags win over the environment.
        config.server.listen = vec![listen];
    }
    // Other names may come beside those of loopback, never in their place: without them its own page would be shut out, and with none every page let in.
    let own = Config::dev(listen).server.hosts;
    let further = config.server.hosts.drain(..).filter(|host| !own.contains(host));
    config.server.hosts = own.iter().cloned().chain(further).collect();
    if let Some(address) = config.server.listen.iter().find(|address| !address.ip().is_loopback()) {
        let words = format!("dev is open to everyone, so it listens on loopback only, not on {address}; use `omnivox serve` for others");
        return Err(exit::error(Code::Usage, words));
    }
    let app = config.app[0].id.clone();
    let mut server = judge(&config)?;
    server.relay = turn::beside(&config.turn)?;
    logging::start(&config.log)?;
    run_until_signalled(
        server,
        welcome,
        async move |hub| notify(&hub, app).await,
        |_| tracing::info!("dev has no settings file to read again"),
    )
}

/// Where to look, and three lines to paste.
fn welcome(server: &Handle) {
    let Some(address) = server.addresses().first() else { return };
    eprintln!(
        "omnivox {version} is ready: http://{address}
A video call to try: http://{address}/call

Listen in one terminal, publish in another:
  curl -N 'http://{address}/sse?channel=general'
  curl http://{address}/publish -H 'content-type: application/json' -d '{{\"channel\":\"general\",\"data\":{{\"text\":\"hi\"}}}}'
or in the console of a page:
  ws = new WebSocket('ws://{address}/ws?channel=general'); ws.onmessage = (event) => console.log(event.data);

Everyone on this machine may do everything; other machines are not let in. Ctrl-C ends it.",
        version = env!("CARGO_PKG_VERSION"),
    );
}

/// Publishes to `/api/notifications` once a second.
async fn notify(hub: &Arc<Hub>, app: AppId) {
    let channel = ChannelName::parse(NOTIFICATIONS).expect("a name");
    let mut second = tokio::time::interval(Duration::from_secs(1));
    for number in 1_u64.. {
        second.tick().await;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis());
        let payload = format!(r#"{{"msg":"notification {number}","time":{now}}}"#);
        let draft = Draft::new(channel.clone(), Payload::Json(payload.into()));
        if let Err(trouble) = hub.log().publish(&app, draft, Retention::default().into()).await {
            tracing::warn!("the notification was not published: {trouble}");
        }
    }
}

/// Reads `--host`: an address of loopback, or its name.
pub(crate) fn loopback(text: &str) -> Result<IpAddr, String> {
    let address = match text {
        "localhost" => IpAddr::from([127, 0, 0, 1]),
        text => text.trim_start_matches('[').trim_end_matches(']').parse().map_err(|_| format!("{text:?} is no IP address"))?,
    };
    match address.is_loopback() {
        true => Ok(address),
        false => Err(format!("dev is open to everyone, so it listens on loopback only, not on {address}; use `omnivox serve` for others")),
    }
}

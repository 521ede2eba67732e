//! scratch
use omnivox_core::*;
use omnivox_dialects::native::*;
use omnivox_dialects::socketio::*;
use std::sync::Arc;
fn main() {
    let mut all = Namespace::new("", Pattern::All);
    all.anonymous = Permissions::ALL;
    let app = App::new(AppId::parse("demo").unwrap(), Namespaces::new(vec![all]));
    let mut settings = NativeSettings::default();
    settings.aliases = vec![
        Alias::new("/ws", Transport::Ws),
        Alias::new("/sse", Transport::Sse),
        Alias::new("/poll", Transport::Poll),
        Alias::new("/publish", Transport::Publish),
        Alias::new("/echo", Transport::Echo),
    ];
    settings.aliases[2].channels = vec![ChannelName::parse("general").unwrap()];
    let port: u16 = std::env::args().nth(1).unwrap().parse().unwrap();
    let suite = std::env::args().nth(2).is_some();
    let hub = SocketIoSettings { allow_eio3: true, cors_origins: CorsOrigins::Any, ..SocketIoSettings::default() };
    let sio = SocketIo::new(if suite { SocketIoSettings::socketio_suite() } else { hub });
    let eio = SocketIo::new(SocketIoSettings::engineio_suite());
    let config = omnivox_server::ServerConfig::new(
        vec![([127, 0, 0, 1], port).into()],
        vec![Arc::new(app)],
        vec![Arc::new(Native::new(settings)), Arc::new(sio), Arc::new(eio)],
    );
    let handle = omnivox_server::Server::start(config).unwrap();
    eprintln!("{:?} pid {}", handle.addresses(), std::process::id());
    loop {
        std::thread::sleep(std::time::Duration::from_secs(1000));
    }
}

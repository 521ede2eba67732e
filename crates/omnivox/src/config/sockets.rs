//! Unix sockets in the settings, and sockets that systemd passes in place of those that the settings name.

use omnivox_server::{Identity, Inherited, InheritedSocket, UnixSockets};
use toml::de::DeValue;

use super::settings::{Config, UnixSection};
use super::value::{Kind, Value, quoted};

/// The mode of a file, in octal: `660`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FileMode(pub(crate) u32);

impl Value for FileMode {
    const KIND: Kind = Kind::Text;

    fn from_toml(value: &DeValue<'_>) -> Result<Self, String> {
        Self::from_text(value.as_str().ok_or("expected a mode in quotes, such as \"660\"")?)
    }

    fn from_text(text: &str) -> Result<Self, String> {
        let mode = u32::from_str_radix(text, 8).ok().filter(|mode| *mode <= 0o777);
        mode.map(Self).ok_or_else(|| format!("{text:?} is no mode in octal, such as \"660\""))
    }

    fn to_toml(&self) -> Option<String> {
        Some(quoted(&format!("{:o}", self.0)))
    }
}

impl Value for Identity {
    const KIND: Kind = Kind::Text;

    fn from_toml(value: &DeValue<'_>) -> Result<Self, String> {
        Self::from_text(value.as_str().ok_or("expected a name or a number in quotes")?)
    }

    fn from_text(text: &str) -> Result<Self, String> {
        let fits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b':');
        if fits { Ok(Self::new(text)) } else { Err(format!("{text:?} is no name of a user or group, and no number of one")) }
    }

    fn to_toml(&self) -> Option<String> {
        Some(quoted(self.as_str()))
    }
}

impl UnixSection {
    pub(super) fn to_server(&self) -> UnixSockets {
        UnixSockets { paths: self.listen.clone(), mode: self.mode.0, owner: self.owner.clone(), group: self.group.clone() }
    }
}

/// What was passed takes the place of what the settings name, so that systemd alone says where clients come in.
#[derive(Debug, Default)]
pub(crate) struct Passed {
    plain: Vec<std::net::SocketAddr>,
    tls: Vec<std::net::SocketAddr>,
    any: bool,
}

impl Passed {
    /// Takes note of where these sockets listen.
    pub(crate) fn of(sockets: &[Inherited]) -> Self {
        let mut passed = Self { any: !sockets.is_empty(), ..Self::default() };
        for inherited in sockets {
            if let InheritedSocket::Tcp(socket) = &inherited.socket
                && let Ok(address) = socket.local_addr()
            {
                if inherited.tls { &mut passed.tls } else { &mut passed.plain }.push(address);
            }
        }
        passed
    }

    /// Puts it into the settings, so that they are judged by where the server really listens.
    pub(crate) fn replace(&self, config: &mut Config) {
        if self.any {
            config.server.listen.clone_from(&self.plain);
            config.tls.listen.clone_from(&self.tls);
            config.unix.listen.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_octal() {
        let check = |text: &str, expected: Result<u32, &str>| {
            assert_eq!(FileMode::from_text(text).map(|mode| mode.0).map_err(|error| error.contains("octal")), expected.map_err(|_| true));
        };
        check("660", Ok(0o660));
        check("0600", Ok(0o600));
        check("800", Err("no octal digit"));
        check("1777", Err("too much"));
        check("", Err("nothing"));
        assert_eq!(FileMode(0o660).to_toml().as_deref(), Some("\"660\""));
        assert!(Identity::from_text("a:b").is_err() && Identity::from_text("www-data").is_ok());
    }

    #[test]
    fn passed_sockets_replace_all_that_the_settings_name() {
        let bind = || std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let sockets = [(bind(), false), (bind(), true)].map(|(socket, tls)| Inherited { socket: InheritedSocket::Tcp(socket), tls });
        let mut config = Config::default();
        config.unix.listen = vec!["/run/x.sock".into()];
        Passed::of(&[]).replace(&mut config);
        assert_eq!((config.server.listen.len(), config.unix.listen.len()), (1, 1), "nothing was passed");
        let passed = Passed::of(&sockets);
        passed.replace(&mut config);
        assert_eq!((&config.server.listen, &config.tls.listen, config.unix.listen.len()), (&passed.plain, &passed.tls, 0));
        assert_ne!(passed.plain, passed.tls);
    }
}

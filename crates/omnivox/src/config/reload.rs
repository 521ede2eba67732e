//! What a running server takes over of settings that were read again; the rest waits for a restart.
//!
//! ```text
//!   running + read ──▶ merged: what will be in force      judged as a whole, and taken over only when it is sound
//! ```
//!
//! Invariant: what is judged is what will be in force. New apps are held against the addresses that the server really listens on, not against
//! those that the file names by now.

use super::settings::Config;

impl Config {
    /// What is in force once a server with these settings has taken over `new`.
    pub(crate) fn merged(&self, new: &Self) -> Self {
        let mut merged = self.clone();
        merged.take_over(new);
        merged
    }

    /// Takes over those settings that a running server takes over; [`omnivox_server::Handle::take_over`] is the other half.
    fn take_over(&mut self, new: &Self) {
        self.log.level.clone_from(&new.log.level);
        self.app.clone_from(&new.app);
        self.api_key.clone_from(&new.api_key);
        self.namespace.clone_from(&new.namespace);
        self.hook.clone_from(&new.hook);
        self.history.clone_from(&new.history);
        self.webhook.clone_from(&new.webhook);
        self.drain.clone_from(&new.drain);
        self.admin.clone_from(&new.admin);
        // It is a word of consent that only the judgement reads.
        self.server.open_to_the_network = new.server.open_to_the_network;
        self.server.trusted_proxies.clone_from(&new.server.trusted_proxies);
        self.server.proxy_headers = new.server.proxy_headers;
        self.server.hosts.clone_from(&new.server.hosts);
        // Other files take the place of files; TLS itself begins and ends with the server.
        let files = |config: &Self| config.tls.certificate_file.is_some() && config.tls.private_key_file.is_some();
        if files(self) && files(new) {
            self.tls.certificate_file.clone_from(&new.tls.certificate_file);
            self.tls.private_key_file.clone_from(&new.tls.private_key_file);
        }
        let (limits, other) = (&mut self.limits, &new.limits);
        limits.connections_max = other.connections_max;
        limits.handshakes_max = other.handshakes_max;
        limits.seats_per_room_max = other.seats_per_room_max;
        limits.seats_leased_max = other.seats_leased_max;
        limits.connections_per_address_max = other.connections_per_address_max;
        limits.connects_per_second_max = other.connects_per_second_max;
        limits.connects_per_address_per_second_max = other.connects_per_address_per_second_max;
        limits.requests_per_address_per_second_max = other.requests_per_address_per_second_max;
        limits.take_quotas(other);
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::super::{Layers, server_config};
    use super::*;

    fn config(file: &str) -> Config {
        let layers = Layers { file: Some(("omnivox.toml".into(), file.to_owned())), ..Layers::default() };
        layers.over(Config::default()).unwrap_or_else(|problems| panic!("{problems}"))
    }

    #[test]
    fn new_settings_are_judged_beside_what_is_kept() {
        let check = |running: &str, read: &str, expected: &str| {
            let judged = |config: &Config| server_config(config, |_| Err(io::Error::other("there are no files"))).map(drop);
            let (running, new) = (config(running), config(read));
            for sound in [&running, &new] {
                judged(sound).unwrap_or_else(|problems| panic!("{read}: each is sound by itself: {problems}"));
            }
            match judged(&running.merged(&new)) {
                Ok(()) => assert_eq!(expected, "", "{read}"),
                Err(problems) => {
                    assert!(!expected.is_empty() && problems.to_string().contains(expected), "{read}: {problems}");
                }
            }
        };
        let closed = "[[app]]\nid = \"a\"\nsecret = \"6f1d2c9be07a4835f2a1c7e9d0b34856\"\n";
        let open = "[[app]]\nid = \"a\"\nopen = true\n";
        let serve = |server: &str, app: &str| format!("[server]\n{server}\n{app}");
        let public = serve("listen = \"0.0.0.0:80\"", closed);
        check(&public, &public, "");
        check(&public, &serve("", closed), "");
        check(&public, &serve("listen = \"127.0.0.1:80\"", open), "[[app]] a: it is `open`, and 0.0.0.0:80 can be reached");
        check(&public, &serve("listen = \"0.0.0.0:80\"\nopen_to_the_network = true", open), "");
        check(&serve("open_to_the_network = true", open), &serve("", open), "");
        check(&serve("", open), &public, "");
        let consenting = serve("listen = \"0.0.0.0:80\"\nopen_to_the_network = true", open);
        check(&consenting, &serve("listen = \"127.0.0.1:80\"", open), "[[app]] a: it is `open`, and 0.0.0.0:80 can be reached");
        let acme = "[tls]\nlisten = \"0.0.0.0:443\"\n[acme]\nterms_agreed = true\nnames = \"a.example\"\n";
        check(&serve("", &format!("{closed}{acme}")), &serve("", open), "[[app]] a: it is `open`, and 0.0.0.0:443 can be reached");
        let proxied = "proxy_protocol = \"127.0.0.1:8080\"\ntrusted_proxies = \"10.0.0.0/8\"";
        check(&serve(proxied, closed), &serve("", closed), "server.proxy_protocol: believes no proxy");
    }
}

//! aioice, an independent client in Python: two agents that only have relay candidates, over UDP, TCP and TLS.
//!
//! A missing package is a failure: `cargo xtask setup` installs it into `target/venv`.
// parts: python

mod common;

use std::path::Path;
use std::process::Command;

use common::{Relay, run_for};

#[test]
fn relay_to_relay_over_every_transport() {
    let relay = Relay::start(|_| {});
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let python = root.join("target/venv/bin/python");
    assert!(python.exists(), "{} is missing: run `cargo xtask setup`", python.display());
    for (transport, address) in [("udp", relay.udp), ("tcp", relay.tcp), ("tls", relay.tcp)] {
        let before = relay.handle.stats().counters;
        let mut command = Command::new(&python);
        command.arg(root.join("e2e/turn/aioice_relay.py")).args(["127.0.0.1", &address.port().to_string(), transport, "alice", "secret"]);
        let outcome = run_for(command.env("SSL_CERT_FILE", &relay.ca), 30);
        assert!(
            outcome.success && outcome.text.contains("relayed 100"),
            "{transport} failed (if aioice is missing run `cargo xtask setup`):\n{}",
            outcome.text
        );
        let after = relay.handle.stats().counters;
        assert_eq!(after.allocations_created - before.allocations_created, 2, "{transport}");
        assert!(
            after.packets_hairpinned - before.packets_hairpinned >= 100,
            "{transport}: both relays are ours, so nothing touches the kernel"
        );
    }
}

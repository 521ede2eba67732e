//! coturn's own clients against the relay: `turnutils_uclient` in every mode, `turnutils_stunclient` and
//! `turnutils_natdiscovery`.
//!
//! A missing tool is a failure: `cargo xtask setup` installs Debian's `coturn`. The clients are judged by what they print
//! (`Total lost packets 0`) and by their exit code.

// parts: coturn

mod common;

use std::process::{Child, Command, Stdio};
use std::thread;

use common::{Relay, free_port, run, run_for, tool};

/// An echoing peer that ends with the test.
struct EchoPeer {
    child: Child,
    port: u16,
}

impl EchoPeer {
    fn start(ip: &str) -> Self {
        let port = free_port(ip);
        let child = Command::new(tool("turnutils_peer"))
            .args(["-L", ip, "-p", &port.to_string()])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("turnutils_peer starts");
        Self { child, port }
    }
}

impl Drop for EchoPeer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One mode: what it is, its flags, and what its output must have.
struct Mode {
    name: &'static str,
    flags: &'static [&'static str],
    port: Port,
    expect: Expect,
}

#[derive(Clone, Copy)]
enum Port {
    Udp,
    Tcp,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Expect {
    /// Exit code 0 and every packet came back.
    NoLoss,
    /// The same for a mode that draws its address family by chance: an IPv6 draw gets 443 for an IPv4 peer, and is repeated.
    NoLossWhenFamilyFits,
    /// Every byte came back. The client counts reads of its raw connection as packets, and TCP may join two.
    NoLostByte,
    /// The passive side echoes nothing, so that this client counts half of the packets as lost with coturn's own server too.
    OneWay,
    /// Exit code 0; the mode itself throws clients or packets away.
    Survives,
    /// It binds one peer to two channels, is told 400, and gives up.
    Refused,
    /// It never ends by itself, with coturn's own server neither.
    Endless,
}

const fn mode(name: &'static str, flags: &'static [&'static str], port: Port, expect: Expect) -> Mode {
    Mode { name, flags, port, expect }
}

const MODES: &[Mode] = &[
    mode("channels", &[], Port::Udp, Expect::NoLoss),
    mode("send indications", &["-s"], Port::Udp, Expect::NoLoss),
    mode("client to client", &["-y"], Port::Udp, Expect::NoLoss),
    mode("client to client, send", &["-y", "-s"], Port::Udp, Expect::NoLoss),
    mode("TCP", &["-t"], Port::Tcp, Expect::NoLoss),
    mode("TCP, client to client", &["-t", "-y"], Port::Tcp, Expect::NoLoss),
    mode("TLS", &["-S", "-t"], Port::Tcp, Expect::NoLoss),
    mode("TLS, send, client to client", &["-S", "-t", "-s", "-y"], Port::Tcp, Expect::NoLoss),
    mode("TCP relay", &["-T"], Port::Tcp, Expect::NoLostByte),
    mode("TCP relay over TLS", &["-T", "-S"], Port::Tcp, Expect::NoLostByte),
    mode("TCP relay, passive", &["-P"], Port::Tcp, Expect::OneWay),
    mode("IPv6 relay", &["-x"], Port::Udp, Expect::NoLoss),
    mode("dual allocation", &["-Z"], Port::Udp, Expect::NoLossWhenFamilyFits),
    mode("dual allocation, send", &["-Z", "-s"], Port::Udp, Expect::NoLossWhenFamilyFits),
    mode("don't fragment", &["-g"], Port::Udp, Expect::NoLoss),
    mode("padded ChannelData", &["-D"], Port::Udp, Expect::NoLoss),
    mode("extra requests", &["-G"], Port::Udp, Expect::NoLoss),
    mode("negative requests", &["-N"], Port::Udp, Expect::Refused),
    mode("negative protocol", &["-R"], Port::Udp, Expect::Endless),
    mode("quick connect and exit", &["-O"], Port::Udp, Expect::Survives),
    mode("random disconnect", &["-B"], Port::Udp, Expect::Survives),
    mode("mobility", &["-M"], Port::Udp, Expect::NoLoss),
    mode("mobility over TCP", &["-M", "-t"], Port::Tcp, Expect::NoLoss),
    // Without permissions nothing may pass: the relay is not the non-standard one that this mode is for.
    mode("no permissions", &["-I"], Port::Udp, Expect::Survives),
];

#[test]
fn uclient_in_every_mode() {
    let relay = Relay::start(|config| {
        config.settings.tcp_relay = true;
        config.settings.mobility = true;
    });
    let (peer4, peer6) = (EchoPeer::start("127.0.0.1"), EchoPeer::start("::1"));
    let failures: Vec<String> = thread::scope(|scope| {
        let runs: Vec<_> = MODES
            .chunks(MODES.len().div_ceil(5))
            .map(|modes| scope.spawn(|| modes.iter().filter_map(|mode| judge(mode, &relay, &peer4, &peer6)).collect::<Vec<_>>()))
            .collect();
        runs.into_iter().flat_map(|run| run.join().expect("no panic")).collect()
    });
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    assert_eq!(relay.handle.stats().counters.error_500, 0);
    let after = judge(&mode("after all this", &["-y"], Port::Udp, Expect::NoLoss), &relay, &peer4, &peer6);
    assert_eq!(after, None, "the relay still serves");
}

/// Runs one mode; gives what was wrong.
fn judge(mode: &Mode, relay: &Relay, peer4: &EchoPeer, peer6: &EchoPeer) -> Option<String> {
    let port = match mode.port {
        Port::Udp => relay.udp.port(),
        Port::Tcp => relay.tcp.port(),
    };
    let (peer_ip, peer_port) = if mode.flags.contains(&"-x") { ("::1", peer6.port) } else { ("127.0.0.1", peer4.port) };
    let family_draw = mode.expect == Expect::NoLossWhenFamilyFits;
    let mut command = Command::new(tool("turnutils_uclient"));
    command.args(["-W", common::SECRET, "-u", "bob", "-e", peer_ip, "-r", &peer_port.to_string(), "-p", &port.to_string()]);
    command.args(["-c", "-n", "40", "-m", if family_draw { "1" } else { "2" }, "-l", "160", "-z", "10"]).args(mode.flags);
    if mode.flags.contains(&"-S") {
        command.arg("-E").arg(&relay.ca);
    }
    command.arg("127.0.0.1");
    let mut outcome = run_for(&mut command, if mode.expect == Expect::Endless { 8 } else { 40 });
    for _ in 0..20 {
        if !family_draw || !outcome.text.contains("error 443") {
            break;
        }
        outcome = run_for(&mut command, 40);
    }
    let text = &outcome.text;
    let good = match mode.expect {
        Expect::NoLoss | Expect::NoLossWhenFamilyFits => outcome.success && text.contains("Total lost packets 0 "),
        Expect::NoLostByte => outcome.success && text.contains("tot_send_bytes ~ 12800, tot_recv_bytes ~ 12800"),
        Expect::OneWay => outcome.success && text.contains("tot_send_bytes ~ 12800, tot_recv_bytes ~ 6400"),
        Expect::Survives => outcome.success,
        Expect::Refused => text.contains("channel bind: error 400"),
        Expect::Endless => true,
    };
    (!good).then(|| format!("--- {} {:?} failed:\n{text}", mode.name, mode.flags))
}

#[test]
fn stunclient_sees_its_address() {
    let relay = Relay::start(|_| {});
    let outcome = run(Command::new(tool("turnutils_stunclient")).args(["-p", &relay.udp.port().to_string(), "127.0.0.1"]));
    assert!(outcome.success && outcome.text.contains("UDP reflexive addr: 127.0.0.1:"), "{}", outcome.text);
}

#[test]
fn natdiscovery_finds_no_nat_on_loopback() {
    let (one, other) = (free_port("127.0.0.1"), free_port("127.0.0.2"));
    let relay = Relay::start(|config| {
        config.settings.discovery = Some(omnivox_turn::proto::machine::Discovery {
            primary: std::net::SocketAddr::from(([127, 0, 0, 1], one)),
            other: std::net::SocketAddr::from(([127, 0, 0, 2], other)),
        });
    });
    let discover =
        |flag: &str| run(Command::new(tool("turnutils_natdiscovery")).args([flag, "-L", "127.0.0.1", "-p", &one.to_string(), "127.0.0.1"]));
    for (flag, expected) in
        [("-m", "NAT with Endpoint Independent Mapping!|No NAT detected!"), ("-f", "NAT with Endpoint Independent Filtering!")]
    {
        let outcome = discover(flag);
        assert!(expected.split('|').any(|line| outcome.text.contains(line)), "{flag}: {}", outcome.text);
    }
    drop(relay);
}

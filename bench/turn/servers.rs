//! The servers under test, each a process of its own on a free loopback port.

use std::io::{BufRead as _, BufReader};
use std::net::{SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use crate::Outcome;
use crate::client::{PASSWORD, REALM, USER};
use crate::load::Shape;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Ours,
    Coturn,
    TurnRs,
    Forwarder,
}

/// Where the other servers' programs are.
pub(crate) struct Others {
    /// Debian's unless another is named.
    pub(crate) coturn: PathBuf,
    pub(crate) turn_rs: Option<PathBuf>,
}

impl Default for Others {
    fn default() -> Self {
        Self { coturn: "/usr/bin/turnserver".into(), turn_rs: None }
    }
}

pub(crate) struct Server {
    pub(crate) kind: Kind,
    pub(crate) address: SocketAddr,
    /// The echoing peer's socket, bound before the server starts.
    pub(crate) peer: UdpSocket,
    child: Child,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Kind {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Ours => "ours",
            Self::Coturn => "coturn",
            Self::TurnRs => "turn-rs",
            Self::Forwarder => "forwarder",
        }
    }

    /// Starts it; `None` when it isn't installed or can't do this.
    pub(crate) fn start(self, others: &Others, to_peer: bool, shape: Shape) -> Outcome<Option<Server>> {
        let peer = UdpSocket::bind("127.0.0.1:0")?;
        let own = std::env::current_exe()?;
        let port = UdpSocket::bind("127.0.0.1:0")?.local_addr()?.port();
        let listen = format!("127.0.0.1:{port}");
        let user = format!("{USER}:{PASSWORD}");
        let mut command = match self {
            Self::Ours => {
                let mut command = Command::new(own.with_file_name("turn"));
                command.args(["--udp", &listen, "--relay", "127.0.0.1", "--user", &user, "--realm", REALM]);
                command.args(["--allow", "127.0.0.0/8", "--no-limits", "--ports", "10000-32767", "--workers", &shape.workers.to_string()]);
                command
            }
            Self::Coturn => {
                if !others.coturn.exists() {
                    return Ok(None);
                }
                let mut command = Command::new(&others.coturn);
                command.args(["-n", "-L", "127.0.0.1", "-p", &port.to_string(), "--lt-cred-mech", "-u", &user, "-r", REALM, "--no-cli"]);
                command.args(["--allow-loopback-peers", "--min-port", "10000", "--max-port", "32767", "--no-dtls", "--no-tls"]);
                command.args(["--log-file", "/dev/null", "--simple-log", "--pidfile", "/dev/null", "--cli-password", "none"]);
                if shape.workers > 0 {
                    command.args(["-m", &shape.workers.to_string()]);
                }
                command
            }
            Self::TurnRs => match &others.turn_rs {
                Some(program) if !to_peer => {
                    let config = std::env::temp_dir().join(format!("turn-bench-{port}.toml"));
                    std::fs::write(&config, turn_rs_config(&listen))?;
                    let mut command = Command::new(program);
                    command.arg("--config").arg(config);
                    command
                }
                _ => return Ok(None),
            },
            Self::Forwarder => {
                let mut command = Command::new(own);
                let peer_port = if to_peer { peer.local_addr()?.port() } else { 0 };
                command.args(["forward", "--rate", &peer_port.to_string(), "--clients", &shape.clients.to_string()]);
                command
            }
        };
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
        let mut address = listen.parse()?;
        if self == Self::Forwarder {
            let mut line = String::new();
            BufReader::new(child.stdout.take().ok_or("piped")?).read_line(&mut line)?;
            address = line.trim().parse()?;
        }
        let server = Server { kind: self, address, peer, child };
        server.wait()?;
        Ok(Some(server))
    }
}

fn turn_rs_config(listen: &str) -> String {
    format!(
        "[server]\nrealm = \"{REALM}\"\nport-range = \"10000..32767\"\n[[server.interfaces]]\ntransport = \"udp\"\nlisten = \"{listen}\"\n\
         external = \"{listen}\"\n[auth]\n[auth.static-credentials]\n{USER} = \"{PASSWORD}\"\n[log]\nlevel = \"error\"\n"
    )
}

impl Server {
    /// Until it answers a Binding request.
    fn wait(&self) -> Outcome<()> {
        if self.kind == Kind::Forwarder {
            return Ok(());
        }
        let probe = UdpSocket::bind("127.0.0.1:0")?;
        probe.set_read_timeout(Some(std::time::Duration::from_millis(100)))?;
        let request = [&[0, 1, 0, 0, 0x21, 0x12, 0xA4, 0x42][..], &[7; 12]].concat();
        for _ in 0..50 {
            let _ = probe.send_to(&request, self.address);
            if probe.recv(&mut [0; 512]).is_ok() {
                return Ok(());
            }
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        Err(format!("{} does not answer on {}", self.kind.name(), self.address).into())
    }

    /// CPU time of the process so far, in microseconds.
    pub(crate) fn cpu_us(&self) -> Outcome<f64> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        let after_name = stat.rsplit_once(')').ok_or("stat")?.1;
        let fields: Vec<&str> = after_name.split_whitespace().collect();
        let ticks: f64 = fields[11].parse::<f64>()? + fields[12].parse::<f64>()?;
        // A hundred ticks a second on every Linux that this runs on.
        Ok(ticks * 10_000.0)
    }

    pub(crate) fn resident_kb(&self) -> Outcome<f64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).ok_or("no VmRSS")?;
        Ok(line.split_whitespace().nth(1).ok_or("no number")?.parse()?)
    }
}

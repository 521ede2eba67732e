//! The servers of a run: the one under test, the floors, and peers; attached to or started, and what they cost.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use clap::Args;

use crate::process::Process;
use crate::secure::SecureFiles;
use crate::sockets;
use crate::talk::Transport;
use crate::wire::Trust;

/// Which server is measured, and beside which others.
#[derive(Debug, Clone, Args)]
pub struct TargetOptions {
    /// Measure a server that runs already at this address (with --pid its CPU and memory too)
    #[arg(long, value_name = "ADDRESS", conflicts_with = "spawn")]
    pub target: Option<SocketAddr>,

    /// The process id of that server
    #[arg(long, requires = "target")]
    pub pid: Option<u32>,

    /// Start this server: a program that understands `dev --port N`, or a whole command with `{port}` in it
    #[arg(long, value_name = "PATH")]
    pub spawn: Option<String>,

    /// Measure another server in the same rounds; its command has `{port}` in it and it speaks the native protocol
    #[arg(long = "peer", value_name = "NAME=COMMAND")]
    pub peers: Vec<String>,

    /// Connect over TLS, and in the same rounds plainly to the same server; it is started with a certificate made for the run
    #[arg(long, conflicts_with = "target")]
    pub tls: bool,

    /// Where a started server's output goes (default: nowhere)
    #[arg(long, value_name = "FILE")]
    pub server_log: Option<std::path::PathBuf>,

    /// Print one JSON object instead of a table
    #[arg(long)]
    pub json: bool,
}

/// How this program calls itself for a floor server, and whether it is a server too.
#[derive(Debug, Clone)]
pub(crate) struct Invocation {
    /// The words between the program and a subcommand of the load tool.
    pub(crate) words: Vec<String>,
    /// Whether `dev --port N` starts a server.
    pub(crate) serves: bool,
}

/// A server that takes part in a run. One that was started here ends with this value.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) name: String,
    pub(crate) address: SocketAddr,
    /// Whom to believe, when clients come over TLS.
    pub(crate) trust: Option<Trust>,
    /// Where they come without.
    plain: SocketAddr,
    /// What its subscribers connect over, when it is not what those of the others do.
    pub(crate) transport: Option<Transport>,
    process: Option<Process>,
    child: Option<Child>,
    /// What it was started with.
    _files: Option<SecureFiles>,
}

impl TargetOptions {
    /// The server under test, ready to be connected to.
    pub(crate) fn server(&self, invocation: &Invocation) -> Result<Server> {
        let name = "omnivox".to_owned();
        if let Some(address) = self.target {
            let process = self.pid.map(Process::with_pid);
            return Server::attach(name, address, process);
        }
        if self.tls {
            let program = match &self.spawn {
                Some(command) if command.contains("{port}") => bail!("--tls starts the server itself: --spawn names the program alone"),
                Some(path) => path.clone(),
                None if invocation.serves => own_program()?,
                None => bail!("say which server to measure: --spawn PATH"),
            };
            return Server::start_secure("omnivox, TLS", program, "", self.server_log.as_deref());
        }
        let command = match &self.spawn {
            Some(command) if command.contains("{port}") => words(command),
            Some(path) => dev(path.clone()),
            None if invocation.serves => dev(own_program()?),
            None => bail!("say which server to measure: --spawn PATH or --target ADDRESS"),
        };
        Server::start(name, &command, self.server_log.as_deref())
    }

    /// The peers, started.
    pub(crate) fn start_peers(&self) -> Result<Vec<Server>> {
        self.peers.iter().map(|peer| self.start_peer(peer)).collect()
    }

    fn start_peer(&self, peer: &str) -> Result<Server> {
        let (name, command) = peer.split_once('=').with_context(|| format!("`--peer {peer}` is not NAME=COMMAND"))?;
        ensure!(command.contains("{port}"), "the command of `--peer {peer}` does not say {{port}}");
        Server::start(name.to_owned(), &words(command), self.server_log.as_deref())
    }
}

impl Server {
    /// The same server, measured over another transport.
    pub(crate) fn over(mut self, transport: Transport) -> Self {
        self.transport = Some(transport);
        self
    }

    /// A floor server: this program itself, as another process.
    pub(crate) fn start_floor(name: &str, kind: &str, invocation: &Invocation) -> Result<Self> {
        let mut command = vec![own_program()?];
        command.extend(invocation.words.iter().cloned());
        command.extend(["floor", "--kind", kind, "--port", "{port}"].map(str::to_owned));
        Self::start(name.to_owned(), &command, None)
    }

    /// A server that takes what a flood sends and does nothing with it: this program itself, as another process.
    pub(crate) fn start_sink(invocation: &Invocation, options: &[&str]) -> Result<Self> {
        let mut command = vec![own_program()?];
        command.extend(invocation.words.iter().cloned());
        command.extend(["sink", "--port", "{port}"].iter().chain(options).map(|&word| word.to_owned()));
        Self::start("sink".to_owned(), &command, None)
    }

    /// A server with a TLS address and a plain one; clients come over TLS.
    pub(crate) fn start_secure(name: &str, program: String, settings: &str, log: Option<&std::path::Path>) -> Result<Self> {
        let files = SecureFiles::write(settings)?;
        let tls_port = sockets::free_port()?;
        let command: Vec<String> = files.command(program).iter().map(|word| word.replace("{tls_port}", &tls_port.to_string())).collect();
        let mut server = Self::start(name.to_owned(), &command, log)?;
        server.address = SocketAddr::from((Ipv4Addr::LOCALHOST, tls_port));
        server.trust = Some(files.trust.clone());
        server._files = Some(files);
        Ok(server)
    }

    /// The same server as clients without TLS see it, if it has a TLS address.
    pub(crate) fn plainly(&self) -> Option<Self> {
        let name = "omnivox, plain".to_owned();
        self.trust.as_ref().map(|_| Self {
            name,
            address: self.plain,
            trust: None,
            plain: self.plain,
            transport: self.transport,
            process: self.process,
            child: None,
            _files: None,
        })
    }

    /// Where publishers connect: always plainly, for it is the subscribers that are measured.
    pub(crate) fn publishers_address(&self) -> SocketAddr {
        self.plain
    }

    /// CPU and memory can be told of servers whose process is known.
    pub(crate) fn process(&self) -> Option<Process> {
        self.process
    }

    /// The process, for runs that are about nothing else.
    pub(crate) fn process_needed(&self) -> Result<Process> {
        self.process.ok_or_else(|| anyhow!("this needs the server's process: add --pid, or use --spawn"))
    }

    /// Fails early when `connections` are more than the server or this process may have open.
    pub(crate) fn check_open_files(&self, connections: u64) -> Result<()> {
        let own = sockets::raise_open_files();
        let most = self.connections_max(own);
        ensure!(
            connections <= most,
            "{connections} connections are more than the {most} that the open-files limits allow ({}): raise `ulimit -n`",
            self.name
        );
        Ok(())
    }

    /// How many connections the open-files limits leave room for.
    pub(crate) fn connections_max(&self, own_limit: u64) -> u64 {
        let server = self.process.and_then(|process| process.open_files_max().ok());
        own_limit.min(server.unwrap_or(u64::MAX)).saturating_sub(FILES_BESIDE_CONNECTIONS)
    }

    fn attach(name: String, address: SocketAddr, process: Option<Process>) -> Result<Self> {
        sockets::raise_open_files();
        TcpStream::connect(address).map_err(|source| Unanswered { address, source })?;
        Ok(Self { name, address, trust: None, plain: address, transport: None, process, child: None, _files: None })
    }

    fn start(name: String, command: &[String], log: Option<&std::path::Path>) -> Result<Self> {
        // Children inherit the raised limit.
        sockets::raise_open_files();
        let port = sockets::free_port()?;
        let command: Vec<String> = command.iter().map(|word| word.replace("{port}", &port.to_string())).collect();
        let (program, arguments) = command.split_first().context("an empty command")?;
        let (output, errors) = match log {
            Some(path) => {
                let file = File::options().create(true).append(true).open(path);
                let file = file.with_context(|| format!("opening {}", path.display()))?;
                (Stdio::from(file.try_clone()?), Stdio::from(file))
            }
            None => (Stdio::null(), Stdio::null()),
        };
        let child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            .spawn()
            .with_context(|| format!("starting `{}`", command.join(" ")))?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let mut server = Self {
            name,
            address,
            trust: None,
            plain: address,
            transport: None,
            _files: None,
            process: Some(Process::with_pid(child.id())),
            child: Some(child),
        };
        server.wait_until_it_accepts(&command.join(" "))?;
        Ok(server)
    }

    fn wait_until_it_accepts(&mut self, command: &str) -> Result<()> {
        let begun = Instant::now();
        while TcpStream::connect(self.address).is_err() {
            if let Some(child) = &mut self.child
                && let Some(status) = child.try_wait()?
            {
                bail!("`{command}` ended with {status} instead of serving (--server-log shows why)");
            }
            ensure!(begun.elapsed() < START_PATIENCE, "`{command}` does not accept connections after {} s", START_PATIENCE.as_secs());
            thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }
}

/// Nobody listens where the server to measure should be; the error of [`run`](crate::run) for callers that tell it from others.
#[derive(Debug)]
pub struct Unanswered {
    address: SocketAddr,
    source: std::io::Error,
}

impl std::fmt::Display for Unanswered {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "nothing answers at {}", self.address)
    }
}

impl std::error::Error for Unanswered {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may have ended by itself; there is nobody to tell.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

pub(crate) fn own_program() -> Result<String> {
    let path = std::env::current_exe().context("the path of this program")?;
    path.into_os_string().into_string().map_err(|path| anyhow!("the path of this program is not UTF-8: {}", path.display()))
}

fn dev(program: String) -> Vec<String> {
    vec![program, "dev".into(), "--port".into(), "{port}".into()]
}

fn words(command: &str) -> Vec<String> {
    command.split_whitespace().map(str::to_owned).collect()
}

const START_PATIENCE: Duration = Duration::from_secs(10);
/// What a process has open besides its clients' connections.
const FILES_BESIDE_CONNECTIONS: u64 = 64;

#[cfg(test)]
mod tests {
    use super::*;

    fn options() -> TargetOptions {
        TargetOptions { target: None, pid: None, spawn: None, peers: Vec::new(), tls: false, server_log: None, json: false }
    }

    #[track_caller]
    fn check_refused(options: &TargetOptions, why: &str) {
        let invocation = Invocation { words: Vec::new(), serves: false };
        let outcome = options.server(&invocation).and_then(|_| options.start_peers());
        let text = format!("{:#}", outcome.expect_err("a refusal"));
        assert!(text.contains(why), "`{text}` does not say `{why}`");
    }

    #[test]
    fn what_can_not_be_measured_is_said() {
        check_refused(&options(), "--spawn PATH or --target");
        let spawn = |command: &str| TargetOptions { spawn: Some(command.into()), ..options() };
        check_refused(&spawn("/nonexistent/server"), "starting `/nonexistent/server dev --port");
        check_refused(&spawn("false {port}"), "instead of serving");
        let free = SocketAddr::from((Ipv4Addr::LOCALHOST, sockets::free_port().unwrap()));
        let target = TargetOptions { target: Some(free), ..options() };
        check_refused(&target, "nothing answers");
    }

    #[test]
    fn peers_are_named_commands_with_a_port() {
        for (peer, why) in [("ws", "NAME=COMMAND"), ("ws=node server.mjs", "{port}")] {
            let error = options().start_peer(peer).expect_err("a refusal");
            assert!(error.to_string().contains(why), "{error}");
        }
    }
}

//! The binary as a child process, and the settings files that it reads.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

/// A running server, killed when its test ends before it does.
pub(crate) struct Server {
    pub(crate) child: Child,
    pub(crate) words: Receiver<String>,
    pub(crate) url: String,
}

/// What a program says, line by line, read by a thread of its own so that waiting for a line can end.
fn lines(words: ChildStderr) -> Receiver<String> {
    let (say, heard) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(words).lines().map_while(Result::ok) {
            if say.send(line).is_err() {
                return;
            }
        }
    });
    heard
}

impl Server {
    /// Starts it and waits until it says where it listens.
    pub(crate) fn start(arguments: &[&str]) -> Self {
        let mut server = Self::spawn(command(arguments));
        let line = server.heard("http://127.0.0.1:");
        let start = line.find("http://").expect("just found");
        server.url = line[start..].trim().to_owned();
        server
    }

    /// Starts it without waiting.
    pub(crate) fn spawn(mut command: Command) -> Self {
        let mut child = command.stderr(Stdio::piped()).spawn().expect("the binary runs");
        let words = lines(child.stderr.take().expect("piped"));
        Self { child, words, url: String::new() }
    }

    /// Reads what it says up to a line with this part.
    pub(crate) fn heard(&self, part: &str) -> String {
        let mut all = String::new();
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.words.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) if line.contains(part) => return line,
                Ok(line) => all.extend([line.as_str(), "\n"]),
                Err(RecvTimeoutError::Timeout) => panic!("it did not say {part:?} within {PATIENCE:?}; it said: {all}"),
                Err(RecvTimeoutError::Disconnected) => panic!("it ended without saying {part:?}; it said: {all}"),
            }
        }
    }

    pub(crate) fn signal(&self, name: &str) {
        let sent = Command::new("/bin/kill").args([name, &self.child.id().to_string()]).status();
        assert!(sent.expect("kill runs").success());
    }

    /// Its exit status, once it has ended by itself.
    pub(crate) fn ended(mut self) -> ExitStatus {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("our child") {
                return status;
            }
            assert!(begun.elapsed() < PATIENCE, "it does not end");
            std::thread::yield_now();
        }
    }

    pub(crate) fn omnivox(&self, arguments: &[&str]) -> String {
        let output = command(arguments).env("OMNIVOX_URL", &self.url).output().expect("the binary runs");
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("text")
    }

    pub(crate) fn get(&self, path: &str, host: &str) -> String {
        let address = self.url.trim_start_matches("http://");
        let mut stream = TcpStream::connect(address).expect("it listens");
        write!(stream, "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").expect("it reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("it answers");
        answer
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Draining has a deadline of 20 seconds.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_omnivox"));
    command.args(arguments).env_clear().stdin(Stdio::null());
    command
}

/// A settings file that is removed again.
pub(crate) struct File(PathBuf);

impl File {
    pub(crate) fn new(name: &str, text: &str) -> Self {
        let path = std::env::temp_dir().join(format!("omnivox-serve-{}-{name}.toml", std::process::id()));
        std::fs::write(&path, text).expect("a writable temporary directory");
        Self(path)
    }

    pub(crate) fn path(&self) -> &str {
        self.0.to_str().expect("a temporary path in UTF-8")
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// One app in which everyone may do everything, on a free port.
pub(crate) const OPEN: &str = "[server]\nlisten = \"127.0.0.1:0\"\nshards = 1\n[[app]]\nid = \"demo\"\nopen = true\n\
                    [[namespace]]\nchannels = \"*\"\nanonymous = [\"subscribe\", \"publish\", \"history\"]\n";

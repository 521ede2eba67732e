//! `bench sink`: a server that takes connections and reads away what they send, as many and as much as the server under test would.
//!
//! A flood that goes here costs the machine what it costs, and no server anything: what is left of the difference is the server's.
//!
//! | option | for floods whose clients |
//! | --- | --- |
//! | `--keep` | are closed beyond a number |
//! | `--answer` | wait for an answer before they go on |
//! | `--most` | are closed once they have sent too much |

use std::io::{ErrorKind, Read, Write};

use anyhow::{Context, Result};
use clap::Args;
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};

/// How a sink is run.
#[derive(Debug, Clone, Args)]
pub struct SinkOptions {
    /// Port on 127.0.0.1
    #[arg(long)]
    pub port: u16,

    /// Clients that may stay; whoever comes beyond them is closed
    #[arg(long, default_value_t = usize::MAX)]
    pub keep: usize,

    /// Answer with a byte whatever comes at a time
    #[arg(long)]
    pub answer: bool,

    /// Bytes that a client may send; then it is closed
    #[arg(long, default_value_t = usize::MAX)]
    pub most: usize,
}

/// Serves until the process that started it ends.
pub(crate) fn serve(options: &SinkOptions) -> Result<()> {
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL)).context("ending with the load tool")?;
    crate::sockets::raise_open_files();
    let mut poll = Poll::new()?;
    let mut listener = TcpListener::bind(([127, 0, 0, 1], options.port).into())?;
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    let mut clients: Vec<Option<Client>> = Vec::new();
    let mut free: Vec<usize> = Vec::new();
    let (mut events, mut scratch) = (Events::with_capacity(1024), vec![0; 64 << 10]);
    loop {
        poll.poll(&mut events, None)?;
        for event in &events {
            if event.token() == LISTENER {
                while let Ok((mut stream, _)) = listener.accept() {
                    if clients.len() - free.len() >= options.keep {
                        continue;
                    }
                    let at = free.pop().unwrap_or_else(|| {
                        clients.push(None);
                        clients.len() - 1
                    });
                    poll.registry().register(&mut stream, Token(at), Interest::READABLE)?;
                    clients[at] = Some(Client { stream, heard: 0 });
                }
            } else if clients[event.token().0].as_mut().is_some_and(|client| client.is_over(options, &mut scratch)) {
                clients[event.token().0] = None;
                free.push(event.token().0);
            }
        }
    }
}

struct Client {
    stream: TcpStream,
    /// Bytes so far.
    heard: usize,
}

impl Client {
    /// Reads away what came. True when the connection has just ended, or should.
    fn is_over(&mut self, options: &SinkOptions, scratch: &mut [u8]) -> bool {
        let before = self.heard;
        loop {
            match self.stream.read(scratch) {
                Ok(0) => return true,
                Ok(length) => self.heard += length,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return true,
            }
        }
        // A client that can't take a byte has enough of them.
        let answered = !options.answer || self.heard == before || self.stream.write(b".").is_ok();
        self.heard > options.most || !answered
    }
}

const LISTENER: Token = Token(usize::MAX);

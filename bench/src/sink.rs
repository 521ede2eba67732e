//! `bench sink`: a server that takes connections, reads away what they send, and says nothing.
//!
//! A flood that goes here costs the machine what it costs, and no server anything: what is left of the difference is the server's.

use std::io::{ErrorKind, Read};

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
}

/// Serves until the process that started it ends.
pub(crate) fn serve(options: &SinkOptions) -> Result<()> {
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL)).context("ending with the load tool")?;
    crate::sockets::raise_open_files();
    let mut poll = Poll::new()?;
    let mut listener = TcpListener::bind(([127, 0, 0, 1], options.port).into())?;
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    let mut clients: Vec<Option<TcpStream>> = Vec::new();
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
                    clients[at] = Some(stream);
                }
            } else if is_over(clients[event.token().0].as_mut(), &mut scratch) {
                clients[event.token().0] = None;
                free.push(event.token().0);
            }
        }
    }
}

/// Reads away what came. True when the connection has just ended.
fn is_over(stream: Option<&mut TcpStream>, scratch: &mut [u8]) -> bool {
    let Some(stream) = stream else { return false };
    loop {
        match stream.read(scratch) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => return false,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => return true,
        }
    }
}

const LISTENER: Token = Token(usize::MAX);

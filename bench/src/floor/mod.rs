//! The physical floors: the least that a server can do for the same deliveries.
//!
//! A floor server is one thread, one readiness loop and one `write` per socket; it checks nothing, keeps no outbox unless a socket is full, and knows no
//! limits. It speaks the native protocol just far enough for the same generator to drive it with the same bytes:
//!
//! - kind `a` writes each message to each subscriber by itself;
//! - kind `b` takes in all that has arrived, then writes to each subscriber once all that is due to it.
//!
//! What omnivox costs above them is the price of being a server. A floor runs as a process of its own, so that its CPU time can be told apart.

mod channel;
mod client;

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};
use mio::net::TcpListener;
use mio::{Events, Interest, Poll, Token};
use socket2::{Domain, Socket, Type};

use channel::{Channel, Draft};
use client::{Client, Request};

/// How a floor server is run.
#[derive(Debug, Clone, Args)]
pub struct FloorOptions {
    /// `a`: one write per message; `b`: one write of everything due
    #[arg(long)]
    pub kind: FloorKind,

    /// Port on 127.0.0.1
    #[arg(long)]
    pub port: u16,
}

/// Which floor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum FloorKind {
    /// One write per message and subscriber.
    A,
    /// One write per subscriber of everything due.
    B,
}

/// Serves until the process that started it ends.
pub(crate) fn serve(options: &FloorOptions) -> Result<()> {
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL)).context("ending with the load tool")?;
    crate::sockets::raise_open_files();
    let mut floor = Floor::bind(options)?;
    loop {
        floor.turn()?;
    }
}

struct Floor {
    kind: FloorKind,
    poll: Poll,
    listener: TcpListener,
    clients: Vec<Option<Client>>,
    free: Vec<usize>,
    names: HashMap<String, usize>,
    channels: Vec<Channel>,
    /// Channels with something due.
    dirty: Vec<usize>,
    scratch: Vec<u8>,
}

impl Floor {
    fn bind(options: &FloorOptions) -> Result<Self> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, options.port));
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        socket.set_reuse_address(true)?;
        socket.set_nonblocking(true)?;
        socket.bind(&address.into()).with_context(|| format!("binding {address}"))?;
        socket.listen(4096)?;
        let mut listener = TcpListener::from_std(socket.into());
        let poll = Poll::new()?;
        let registry = poll.registry();
        registry.register(&mut listener, LISTENER, Interest::READABLE)?;
        Ok(Self {
            kind: options.kind,
            poll,
            listener,
            clients: Vec::new(),
            free: Vec::new(),
            names: HashMap::new(),
            channels: Vec::new(),
            dirty: Vec::new(),
            scratch: vec![0; 256 * 1024],
        })
    }

    fn turn(&mut self) -> Result<()> {
        let mut events = Events::with_capacity(1024);
        loop {
            match self.poll.poll(&mut events, None) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error).context("the readiness loop"),
            }
            for event in &events {
                match event.token() {
                    LISTENER => self.accept()?,
                    Token(number) => self.serve_client(number, event.is_readable()),
                }
            }
            self.flush_due();
        }
    }

    fn accept(&mut self) -> Result<()> {
        loop {
            let mut stream = match self.listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error).context("accepting"),
            };
            stream.set_nodelay(true)?;
            let number = self.free.pop().unwrap_or_else(|| {
                self.clients.push(None);
                self.clients.len() - 1
            });
            let interest = Interest::READABLE | Interest::WRITABLE;
            let registry = self.poll.registry();
            registry.register(&mut stream, Token(number), interest)?;
            self.clients[number] = Some(Client::new(stream));
        }
    }

    fn serve_client(&mut self, number: usize, readable: bool) {
        let Some(Some(client)) = self.clients.get_mut(number) else {
            return;
        };
        let mut requests = Vec::new();
        let outcome = client.flush().and_then(|()| if readable { client.receive(&mut self.scratch, &mut requests) } else { Ok(()) });
        for request in requests {
            self.answer(number, request);
        }
        if outcome.is_err() {
            self.drop_client(number);
        }
    }

    fn answer(&mut self, number: usize, request: Request) {
        match request {
            Request::Listen { channel, poll_after } => {
                let at = self.channel(&channel);
                let Some(client) = &mut self.clients[number] else {
                    return;
                };
                let channel = &mut self.channels[at];
                client.listen(at, poll_after.unwrap_or_else(|| channel.last()), channel);
                if poll_after.is_none_or(|after| after < channel.last()) && client.is_poll() {
                    client.answer_poll(channel);
                } else if client.wants_place() {
                    channel.subscribers.push(number);
                }
            }
            Request::Publish(draft) => self.publish(&draft),
        }
    }

    fn publish(&mut self, draft: &Draft) {
        let at = self.channel(&draft.channel);
        let channel = &mut self.channels[at];
        if !channel.is_dirty() {
            self.dirty.push(at);
        }
        channel.append(draft);
        if self.kind == FloorKind::A {
            self.flush_due();
        }
    }

    /// Writes to every subscriber of every dirty channel what is due to it, in one write each.
    fn flush_due(&mut self) {
        while let Some(at) = self.dirty.pop() {
            let channel = &mut self.channels[at];
            let subscribers = std::mem::take(&mut channel.subscribers);
            let mut kept = Vec::with_capacity(subscribers.len());
            for number in subscribers {
                let Some(client) = self.clients.get_mut(number).and_then(Option::as_mut) else {
                    continue;
                };
                if client.deliver(channel) {
                    kept.push(number);
                }
            }
            channel.subscribers = kept;
            channel.settle();
        }
    }

    fn channel(&mut self, name: &str) -> usize {
        if let Some(&at) = self.names.get(name) {
            return at;
        }
        self.channels.push(Channel::new(name));
        self.names.insert(name.to_owned(), self.channels.len() - 1);
        self.channels.len() - 1
    }

    fn drop_client(&mut self, number: usize) {
        let Some(client) = self.clients[number].take() else {
            return;
        };
        if let Some(at) = client.channel() {
            self.channels[at].subscribers.retain(|&other| other != number);
        }
        self.free.push(number);
    }
}

const LISTENER: Token = Token(usize::MAX);

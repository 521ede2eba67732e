//! The physical floors: the least that a server can do for the same deliveries.
//!
//! A floor server is one thread, one readiness loop and one `write` per socket; it checks nothing, keeps no outbox unless a socket is full, and knows no
//! limits. It speaks the native protocol just far enough for the same generator to drive it with the same bytes:
//!
//! - kind `a` writes each message to each subscriber by itself;
//! - kind `b` takes in all that has arrived, then writes to each subscriber once all that is due to it.
//!
//! What omnivox costs above them is the price of being a server. A floor runs as a process of its own, so that its CPU time can be told apart.
//!
//! With `--threads` a floor deals its connections out to several such loops, each on a thread of its own, and the one that reads a message wakes the
//! others: what more than one core costs even there.

mod channel;
mod client;

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, mpsc};

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token, Waker};
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

    /// Loops, each on a thread of its own with its share of the connections
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub threads: u16,
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
    let (mut floors, mut ways): (Vec<Floor>, Vec<Way>) = (Vec::new(), Vec::new());
    for _ in 0..options.threads {
        let (floor, way) = Floor::new(options.kind)?;
        floors.push(floor);
        ways.push(way);
    }
    for (at, floor) in floors.iter_mut().enumerate() {
        floor.others = ways.iter().enumerate().filter(|(other, _)| *other != at).map(|(_, way)| way.clone()).collect();
    }
    let mut first = floors.remove(0);
    first.listen(options.port)?;
    for mut floor in floors {
        std::thread::spawn(move || {
            if let Err(error) = floor.run() {
                eprintln!("a floor's thread: {error:#}");
                std::process::exit(1);
            }
        });
    }
    first.run()
}

/// What comes to a loop from another one.
enum Visit {
    Client(TcpStream),
    Draft(Draft),
}

/// The way to a loop on another thread.
#[derive(Clone)]
struct Way {
    visits: mpsc::Sender<Visit>,
    waker: Arc<Waker>,
}

impl Way {
    fn send(&self, visit: Visit) {
        // The process ends with any of its loops.
        let _ = self.visits.send(visit);
        let _ = self.waker.wake();
    }
}

struct Floor {
    kind: FloorKind,
    poll: Poll,
    listener: Option<TcpListener>,
    visits: mpsc::Receiver<Visit>,
    others: Vec<Way>,
    accepted: usize,
    clients: Vec<Option<Client>>,
    free: Vec<usize>,
    names: HashMap<String, usize>,
    channels: Vec<Channel>,
    /// Channels with something due.
    dirty: Vec<usize>,
    scratch: Vec<u8>,
}

impl Floor {
    fn new(kind: FloorKind) -> Result<(Self, Way)> {
        let poll = Poll::new()?;
        let (sender, visits) = mpsc::channel();
        let way = Way { visits: sender, waker: Arc::new(Waker::new(poll.registry(), WAKER)?) };
        let floor = Self {
            kind,
            poll,
            listener: None,
            visits,
            others: Vec::new(),
            accepted: 0,
            clients: Vec::new(),
            free: Vec::new(),
            names: HashMap::new(),
            channels: Vec::new(),
            dirty: Vec::new(),
            scratch: vec![0; 256 * 1024],
        };
        Ok((floor, way))
    }

    fn listen(&mut self, port: u16) -> Result<()> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        socket.set_reuse_address(true)?;
        socket.set_nonblocking(true)?;
        socket.bind(&address.into()).with_context(|| format!("binding {address}"))?;
        socket.listen(4096)?;
        let mut listener = TcpListener::from_std(socket.into());
        self.poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
        self.listener = Some(listener);
        Ok(())
    }

    fn run(&mut self) -> Result<()> {
        loop {
            self.turn()?;
        }
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
                    WAKER => self.take_visits()?,
                    Token(number) => self.serve_client(number, event.is_readable()),
                }
            }
            self.flush_due();
        }
    }

    fn accept(&mut self) -> Result<()> {
        while let Some(listener) = &self.listener {
            let stream = match listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error).context("accepting"),
            };
            stream.set_nodelay(true)?;
            self.accepted += 1;
            match (self.accepted % (self.others.len() + 1)).checked_sub(1) {
                Some(other) => self.others[other].send(Visit::Client(stream)),
                None => self.welcome(stream)?,
            }
        }
        Ok(())
    }

    fn welcome(&mut self, mut stream: TcpStream) -> Result<()> {
        let number = self.free.pop().unwrap_or_else(|| {
            self.clients.push(None);
            self.clients.len() - 1
        });
        let interest = Interest::READABLE | Interest::WRITABLE;
        self.poll.registry().register(&mut stream, Token(number), interest)?;
        self.clients[number] = Some(Client::new(stream));
        Ok(())
    }

    fn take_visits(&mut self) -> Result<()> {
        while let Ok(visit) = self.visits.try_recv() {
            match visit {
                Visit::Client(stream) => self.welcome(stream)?,
                Visit::Draft(draft) => self.publish(&draft),
            }
        }
        Ok(())
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
            Request::Publish(draft) => {
                self.others.iter().for_each(|other| other.send(Visit::Draft(draft.clone())));
                self.publish(&draft);
            }
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
const WAKER: Token = Token(usize::MAX - 1);

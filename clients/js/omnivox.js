// omnivox in browsers and Node. No dependencies.
//
//   const client = connect('https://example.org', { token });
//   client.subscribe('chat', (message) => console.log(message.data));
//   await client.publish('chat', { text: 'hi' });
//
// It speaks over a WebSocket; where none gets through, it receives over an event stream or else long polls, and publishes with requests.
// A seat in a room (rtc.js) works on all of them. A lost connection is replaced, and what was missed comes first. Invariant: `on message` sees each id of a channel once, in order.

const PATIENCE_MS = { open: 8_000, silence: 45_000, request: 20_000 };
const BACKOFF_MS = { first: 250, most: 15_000 };

/// Opens a client. `token` may be text or a function that fetches one; `transports` is the order in which they are tried; `WebSocket` is for
/// places that have none.
export function connect(url, options = {}) {
  return new Client(url, options);
}

/// Something that the server refused: `code` is for programs.
export class Refused extends Error {
  constructor({ code, message }) {
    super(message);
    this.name = 'Refused';
    this.code = code;
  }
}

class Emitter {
  #listeners = new Map();

  /// Calls back on every event of the name; the answer takes the listener away again.
  on(name, listener) {
    if (!this.#listeners.has(name)) this.#listeners.set(name, new Set());
    this.#listeners.get(name).add(listener);
    return () => this.#listeners.get(name)?.delete(listener);
  }

  emit(name, ...values) {
    for (const listener of [...(this.#listeners.get(name) ?? [])]) {
      try {
        listener(...values);
      } catch (error) {
        // One listener's mistake must not keep the others from their message.
        queueMicrotask(() => { throw error; });
      }
    }
  }
}

export class Client extends Emitter {
  #base;
  #options;
  #channels = new Map();
  #waiting = new Map();
  #next = 1;
  #carrier = null;
  #tries = 0;
  #timer = null;
  #closed = false;
  #transport = 0;
  /// Without a WebSocket: the seat in a room whose inbox is read too, where reading stands, and requests that must keep their order.
  #seat = null;
  #mark = undefined;
  #said = Promise.resolve();

  constructor(url, options) {
    super();
    this.#base = new URL(url, globalThis.location?.href);
    this.#options = { transports: ['websocket', 'stream', 'poll'], ...options };
    this.state = 'connecting';
    this.#open();
  }

  /// The transport that carries messages now.
  get transport() {
    return this.#options.transports[this.#transport];
  }

  /// Receives a channel. `presence` asks for members' comings and goings too; `since` resumes from an earlier id.
  subscribe(channel, listener, { presence = false, since } = {}) {
    let known = this.#channels.get(channel);
    const fresh = !known || (presence && !known.presence);
    if (!known) {
      known = { listeners: new Set(), last: since, presence };
      this.#channels.set(channel, known);
    }
    known.presence ||= presence;
    if (listener) known.listeners.add(listener);
    if (fresh) this.#join(channel, known);
    return () => {
      known.listeners.delete(listener);
      if (known.listeners.size === 0) this.unsubscribe(channel);
    };
  }

  unsubscribe(channel) {
    if (!this.#channels.delete(channel)) return;
    if (this.#carrier?.send) this.#ask({ type: 'unsubscribe', channel }).catch(() => {});
    else this.#carrier?.change?.();
  }

  /// Publishes and answers with the message's id.
  async publish(channel, data, more = {}) {
    if (this.#carrier?.send && this.state === 'open') return this.request({ type: 'publish', channel, data, ...more });
    return this.http('POST', '/v1/publish', { channel, data, ...more });
  }

  /// One message of the protocol and its answer. Only a WebSocket carries all of them; `enter` with a `seat`, `signal` and `leave` go as requests, too.
  request(message) {
    return this.#isForRequests(message) ? this.#post(message) : this.#ask(message);
  }

  /// One message that has no answer; false when it could not be said now.
  tell(message) {
    if (this.#isForRequests(message)) {
      this.#post(message).catch((error) => this.emit('unsaid', { message, error }));
      return true;
    }
    return this.#carrier?.send?.(JSON.stringify(message)) ?? false;
  }

  /// A request of the HTTP API.
  async http(method, path, body) {
    const token = await this.#token();
    const headers = { ...(token ? { authorization: `Bearer ${token}` } : {}), ...(body ? { 'content-type': 'application/json' } : {}) };
    const response = await fetch(this.#address(path), { method, headers, body: body && JSON.stringify(body), signal: AbortSignal.timeout(PATIENCE_MS.request) });
    const answer = await response.json().catch(() => ({}));
    if (!response.ok) throw new Refused(answer.error ?? { code: 'http', message: `status ${response.status}` });
    return answer;
  }

  close() {
    this.#closed = true;
    clearTimeout(this.#timer);
    this.#carrier?.close();
    this.#fail(new Error('the client was closed'));
    this.#become('closed');
  }

  /// Where no WebSocket is, what concerns a seat goes as requests, also while the stream or the polls begin anew.
  #isForRequests({ type, channel, seat }) {
    if (this.transport === 'websocket') return false;
    return (type === 'enter' && seat !== undefined) || (this.#seat?.channel === channel && ['signal', 'leave'].includes(type));
  }

  /// A message about a seat as a request, one after the other.
  #post({ type, ...message }) {
    const answer = this.#said.then(async () => {
      if (type === 'enter' && this.#seat && this.#seat.channel !== message.channel) {
        throw new Refused({ code: 'one_room', message: 'without a WebSocket a client has a seat in one room; make another client for another room' });
      }
      const proof = this.#seat ? { seat: this.#seat.seat, member: this.#seat.member } : {};
      // The inbox of who leaves is closed by the server; whoever still read it would take that for a lost connection.
      const inbox = type === 'leave' ? this.#read(undefined) : undefined;
      const said = await this.http('POST', `/v1/rooms/${type}`, { ...proof, ...message }).catch((error) => {
        if (inbox) this.#read(inbox);
        throw error;
      });
      if (type === 'enter') this.#seat = { channel: message.channel, seat: message.seat, member: said.member, inbox: said.inbox, since: said.last };
      if (type === 'leave') this.#seat = null;
      if (type !== 'signal') this.#carrier?.change?.();
      return said;
    });
    this.#said = answer.catch(() => {});
    return answer;
  }

  /// Reads this inbox of the seat from now on, or none; answers with the one before.
  #read(inbox) {
    const before = this.#seat?.inbox;
    if (this.#seat) this.#seat.inbox = inbox;
    this.#carrier?.change?.();
    return before;
  }

  #address(path) {
    return new URL(path.replace(/^\//, ''), this.#base.href.endsWith('/') ? this.#base : new URL(`${this.#base.href}/`));
  }

  async #token() {
    const { token } = this.#options;
    return typeof token === 'function' ? token() : token;
  }

  #become(state) {
    if (this.state === state) return;
    this.state = state;
    this.emit('state', state);
  }

  async #open() {
    const open = { websocket: openWebSocket, stream: openStream, poll: openPoll }[this.transport];
    let opened = false;
    const events = {
      address: (path) => this.#address(path),
      token: await this.#token().catch(() => undefined),
      channels: this.#channels,
      reading: {
        inbox: () => this.#seat?.inbox,
        mark: () => this.#mark ?? this.#seat?.since,
        reached: (mark) => { this.#mark = mark; },
      },
      WebSocket: this.#options.WebSocket,
      opened: (carrier) => {
        opened = true;
        this.#carrier = carrier;
        this.#tries = 0;
        for (const [channel, known] of this.#channels) this.#join(channel, known);
        this.#become('open');
      },
      message: (message) => this.#take(message),
      lost: (reason) => this.#lost(reason, opened),
    };
    if (this.#closed) return;
    this.#carrier = open(events);
  }

  #lost(reason, opened) {
    if (this.#closed) return;
    this.#carrier = null;
    // The inbox opens again when the seat was asked for again.
    if (this.#seat) this.#seat.inbox = undefined;
    this.#fail(new Error(`the connection was lost: ${reason}`));
    // A transport that never opened, twice, is given up for the next one.
    if (!opened && ++this.#tries % 2 === 0) this.#transport = (this.#transport + 1) % this.#options.transports.length;
    this.#become('connecting');
    const pause = Math.min(BACKOFF_MS.first * 2 ** Math.min(this.#tries, 6), BACKOFF_MS.most);
    this.#timer = setTimeout(() => this.#open(), opened ? BACKOFF_MS.first * Math.random() : pause * (0.5 + Math.random() / 2));
  }

  #fail(error) {
    for (const { reject } of this.#waiting.values()) reject(error);
    this.#waiting.clear();
  }

  #join(channel, known) {
    if (!this.#carrier) return;
    if (!this.#carrier.send) {
      this.#carrier.change?.();
      queueMicrotask(() => this.emit('subscribed', { channel, id: known.last }));
      return;
    }
    this.#ask({ type: 'subscribe', channel, presence: known.presence, ...(known.last ? { since: known.last } : {}) }).then(
      (answer) => {
        known.last = answer.id;
        this.emit('subscribed', answer);
      },
      (error) => { if (error instanceof Refused) this.emit('refused', { channel, error }); },
    );
  }

  #ask(message) {
    if (!this.#carrier?.send) return Promise.reject(new Error('there is no WebSocket now'));
    const ref = this.#next++;
    return new Promise((resolve, reject) => {
      this.#waiting.set(ref, { resolve, reject });
      this.#carrier.send(JSON.stringify({ ...message, ref }));
    });
  }

  #take(message) {
    const waiting = message.ref !== undefined && this.#waiting.get(message.ref);
    if (waiting) {
      this.#waiting.delete(message.ref);
      if (message.type === 'error') waiting.reject(new Refused(message));
      else waiting.resolve(message);
      return;
    }
    const known = this.#channels.get(message.channel);
    if (known && message.id) {
      if (isSeen(known.last, message.id)) return;
      known.last = message.id;
    }
    if (message.type === 'gap') this.emit('gap', message);
    if (message.type === 'presence') this.emit('presence', message);
    if (message.type === 'signal') this.emit('signal', message);
    if (known && message.id) for (const listener of [...known.listeners]) listener(message);
    this.emit('message', message);
  }
}

/// Whether an id is at or before another one of the same channel: `epoch-number`.
function isSeen(last, id) {
  const [epoch, number] = splitId(id);
  const [lastEpoch, lastNumber] = splitId(last ?? '');
  return epoch === lastEpoch && number <= lastNumber;
}

function splitId(id) {
  const at = String(id).lastIndexOf('-');
  return [String(id).slice(0, at), Number(String(id).slice(at + 1))];
}

function openWebSocket({ address, token, opened, message, lost, WebSocket = globalThis.WebSocket }) {
  if (!WebSocket) {
    // Node 20 has none of its own; the option brings one.
    queueMicrotask(() => lost('there is no WebSocket here'));
    return null;
  }
  const url = address('/v1/ws');
  url.protocol = url.protocol.replace('http', 'ws');
  const socket = new WebSocket(url);
  let [done, timer] = [false, null];
  const end = (reason) => {
    if (done) return;
    done = true;
    clearTimeout(timer);
    clearInterval(heartbeat);
    socket.close();
    lost(reason);
  };
  // The server pings where a page can't see it, so the page asks by itself now and then.
  let heardAt = Date.now();
  const heartbeat = setInterval(() => {
    if (socket.readyState !== 1) return;
    if (Date.now() - heardAt > PATIENCE_MS.silence) end('nothing was heard for too long');
    else socket.send('{"type":"ping"}');
  }, PATIENCE_MS.silence / 3);
  timer = setTimeout(() => end('it did not open in time'), PATIENCE_MS.open);
  const carrier = { send: (text) => socket.readyState === 1 && (socket.send(text), true), close: () => { done = true; clearInterval(heartbeat); clearTimeout(timer); socket.close(); } };
  socket.onopen = () => {
    clearTimeout(timer);
    if (token) socket.send(JSON.stringify({ type: 'connect', token }));
    opened(carrier);
  };
  socket.onmessage = ({ data }) => {
    heardAt = Date.now();
    if (typeof data === 'string') message(JSON.parse(data));
  };
  // The close that follows says all there is; without a listener Node's `ws` would end the program.
  socket.onerror = () => {};
  socket.onclose = ({ code, reason }) => end(reason || `code ${code}`);
  return null;
}

/// Requests for all channels, and the inbox of a seat, from where reading stands; started again whenever they change. A cursor is a place in all
/// channels together; one channel alone goes on from its last id.
function openPulling({ address, token, channels, reading, opened, message, lost }, path, take) {
  let [running, done] = [null, false];
  const run = async () => {
    running?.abort();
    const abort = running = new AbortController();
    const [wanted, inbox] = [[...channels.keys()], reading.inbox()];
    if (wanted.length === 0 && !inbox) return;
    const alone = wanted.length === 1 && !inbox;
    let cursor = (alone ? channels.get(wanted[0]).last : undefined) ?? reading.mark();
    try {
      while (!done && running === abort) {
        const url = address(path);
        for (const channel of wanted) url.searchParams.append('channel', channel);
        if (inbox) url.searchParams.set('inbox', inbox);
        if (cursor !== undefined) url.searchParams.set(path === '/v1/poll' ? 'last' : 'lastEventId', cursor);
        const response = await fetch(url, { signal: abort.signal, headers: token ? { authorization: `Bearer ${token}` } : {} });
        if (!response.ok) throw new Error(`status ${response.status}`);
        await take(response, message, (id) => {
          cursor = id ?? cursor;
          if (cursor?.includes('.')) reading.reached(cursor);
        });
      }
    } catch (error) {
      if (!done && running === abort) {
        done = true;
        lost(error.message);
      }
    }
  };
  const carrier = { change: run, close: () => { done = true; running?.abort(); } };
  queueMicrotask(() => { if (!done) { opened(carrier); run(); } });
  return carrier;
}

function openStream(events) {
  return openPulling(events, '/v1/sse', async (response, message, mark) => {
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = '';
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      const blocks = (rest + value).split('\n\n');
      rest = blocks.pop();
      for (const block of blocks) {
        const lines = block.split('\n').filter((line) => !line.startsWith(':'));
        const value = (name) => lines.filter((line) => line.startsWith(`${name}: `)).map((line) => line.slice(name.length + 2)).join('\n');
        if (value('data')) message(JSON.parse(value('data')));
        if (value('id')) mark(value('id'));
      }
    }
  });
}

function openPoll(events) {
  return openPulling(events, '/v1/poll', async (response, message, mark) => {
    const { events: list, last, gap } = await response.json();
    if (gap) message({ type: 'gap' });
    for (const event of list) message(event);
    mark(last);
  });
}

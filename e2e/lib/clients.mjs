// Small clients of the native protocol for tests: a WebSocket with an inbox, an event stream read by `fetch`.

import { EventSource } from 'eventsource';
import WebSocket from 'ws';
import { Inbox, within } from './inbox.mjs';

/// A WebSocket (npm `ws`, or one that behaves alike) whose messages land in an inbox, JSON parsed, binary as `Buffer`.
export class Socket {
  constructor(t, url, { protocols = [], ...options } = {}) {
    this.inbox = new Inbox();
    this.ws = typeof url === 'string' ? new WebSocket(url, protocols, options) : url;
    this.opened = new Promise((resolve, reject) => { this.ws.on('open', resolve); this.ws.on('error', reject); });
    this.opened.catch(() => {});
    this.closed = new Promise((resolve) => {
      this.ws.on('close', (code, reason) => {
        this.inbox.close(`${code} ${reason}`);
        resolve({ code, reason: reason.toString() });
      });
    });
    this.ws.on('error', () => {});
    this.ws.on('message', (data, isBinary) => this.inbox.push(isBinary ? data : JSON.parse(data)));
    t.after(() => this.ws.terminate());
  }

  send(message) {
    this.ws.send(typeof message === 'string' || Buffer.isBuffer(message) ? message : JSON.stringify(message));
  }

  /// The next message whose fields equal those of `wanted`.
  next(wanted = {}) {
    return this.inbox.next((item) => has(item, wanted), JSON.stringify(wanted));
  }

  /// Sends with a `ref` and waits for what answers it.
  async call(message) {
    const ref = `r${(this.refs = (this.refs ?? 0) + 1)}`;
    this.send({ ...message, ref });
    return this.inbox.next((item) => item.ref === ref, `an answer to ${JSON.stringify(message)}`);
  }

  subscribe(channel, more = {}) {
    return this.call({ type: 'subscribe', channel, ...more });
  }

  close() {
    this.ws.close();
    return within(this.closed, 'the socket to close');
  }
}

function has(item, wanted) {
  return Object.entries(wanted).every(([key, value]) => JSON.stringify(item?.[key]) === JSON.stringify(value));
}

export async function connect(t, url, options) {
  const socket = new Socket(t, url, options);
  await within(socket.opened, typeof url === 'string' ? `a WebSocket to ${url}` : 'a WebSocket');
  return socket;
}

/// An event stream by npm `eventsource`; messages in an inbox as `{ id, type, data }` with the data parsed.
export class Stream {
  constructor(t, url, options) {
    this.inbox = new Inbox();
    this.errors = new Inbox();
    this.source = new EventSource(url, options);
    this.opened = new Promise((resolve) => { this.source.onopen = resolve; });
    this.source.onmessage = (event) => this.inbox.push({ id: event.lastEventId, type: event.type, data: JSON.parse(event.data) });
    this.source.addEventListener('error', (event) => this.errors.push({ code: event.code, message: event.message, data: event.data }));
    t.after(() => this.source.close());
  }

  next(wanted = {}) {
    return this.inbox.next((item) => has(item.data, wanted), JSON.stringify(wanted));
  }
}

export async function stream(t, url, options) {
  const opened = new Stream(t, url, options);
  await within(opened.opened, `an event stream from ${url}`);
  return opened;
}

/// The bytes of an event stream as they come, for what no EventSource shows: comments, `retry:`, the end.
export async function rawStream(t, url, options = {}) {
  const abort = new AbortController();
  t.after(() => abort.abort());
  const response = await fetch(url, { ...options, headers: { accept: 'text/event-stream', ...options.headers }, signal: abort.signal });
  const inbox = new Inbox();
  const read = async () => {
    let text = '';
    const decoder = new TextDecoder();
    for await (const chunk of response.body) {
      text += decoder.decode(chunk, { stream: true });
      const blocks = text.split('\n\n');
      text = blocks.pop();
      for (const block of blocks) inbox.push(block);
    }
    inbox.close('the stream ended');
  };
  const ended = read().catch((error) => inbox.close(error.message));
  return { response, inbox, ended, abort: () => abort.abort() };
}

// Four Chromium pages in one room on four dialects: each connects to each, over the relay, with one and the same `room()`.
// parts: chromium
// budget: 180 s

import assert from 'node:assert/strict';
import path from 'node:path';
import { test } from 'node:test';
import { callers } from '../lib/chromium.mjs';
import { ROOT, omnivox } from '../lib/omnivox.mjs';

const SOCKET_IO = path.join(ROOT, 'e2e/node_modules/socket.io-client/dist/socket.io.min.js');
const WAYS = ['websocket', 'stream', 'poll', 'socketio'];

/// Runs in the page: takes a seat, says its name to everyone, and keeps what it hears.
async function enter(way) {
  const { connect } = await import('/assets/omnivox.js');
  const { room } = await import('/assets/rtc.js');

  /// What `room()` needs of a client, over a socket of Socket.IO.
  class OverSocketIo {
    listeners = new Map();
    sessions = new Map();

    constructor(socket) {
      this.socket = socket;
      socket.on('signal', (signal) => this.emit('signal', signal));
      socket.on('presence', ({ room: channel, action, member: { id: key, data } }) => {
        this.emit('presence', { channel, action, member: { key, data, session: this.sessions.get(key) } });
      });
    }

    on(name, listener) {
      this.listeners.set(name, [...(this.listeners.get(name) ?? []), listener]);
      return () => {};
    }

    emit(name, value) { for (const listener of this.listeners.get(name) ?? []) listener(value); }

    subscribe(channel) {
      this.socket.emit('join', { room: channel, presence: {} }, () => this.emit('subscribed', { channel }));
    }

    unsubscribe(channel) { this.socket.emit('leave', channel); }

    async request({ type, channel, key, ...more }) {
      const answer = await this.socket.emitWithAck(`room:${type}`, { room: channel, member: key, ...more });
      if (!answer.ok) throw new Error(answer.error.message);
      for (const { member, session } of answer.peers ?? []) this.sessions.set(member, session);
      return answer;
    }

    tell({ type, channel, to, data }) {
      this.socket.emit(`room:${type}`, { room: channel, to, data });
      return true;
    }
  }

  const client = way === 'socketio' ? new OverSocketIo(window.io()) : connect(location.origin, { transports: [way] });
  const call = await room(client, 'four', { data: { name: way }, iceTransportPolicy: 'relay' });
  const greet = (peer) => peer.send({ hello: way });
  call.peers.forEach(greet);
  call.on('peer', greet);
  window.heard = {};
  call.on('message', ({ peer, data }) => { window.heard[data.hello] = peer.data.name; });
  window.call = call;
}

/// Runs in the page: what it has heard, and how it stands with each.
function situation() {
  const peers = window.call.peers.map(({ data, state, channel, connection }) => [data.name, state, connection.signalingState, channel?.readyState]);
  return { heard: Object.keys(window.heard), peers };
}

test('four pages on four dialects', async (t) => {
  const server = await omnivox(t);
  const open = await callers(t, { bypassCSP: true });
  const pages = [];
  for (const way of WAYS) {
    const page = await open(`${server.url}/health`);
    if (way === 'socketio') await page.addScriptTag({ path: SOCKET_IO });
    await page.evaluate(enter, way);
    pages.push(page);
  }
  for (const [index, page] of pages.entries()) {
    const others = WAYS.filter((_, other) => other !== index);
    await page.waitForFunction((names) => names.every((name) => window.heard[name] === name), others).catch(async (error) => {
      throw new Error(`${WAYS[index]}: ${JSON.stringify(await Promise.all(pages.map((it) => it.evaluate(situation))))}`, { cause: error });
    });
    const roles = await page.evaluate(() => Object.fromEntries(window.call.peers.map(({ data, polite }) => [data.name, polite])));
    assert.deepEqual(roles, Object.fromEntries(others.map((name) => [name, WAYS.indexOf(name) < index])), `${WAYS[index]}: the later one is polite`);
  }
  await pages[3].evaluate(() => window.call.leave());
  for (const page of pages.slice(0, 3)) await page.waitForFunction(() => window.call.peers.length === 2);
  for (const page of pages) assert.deepEqual(page.trouble, []);
});

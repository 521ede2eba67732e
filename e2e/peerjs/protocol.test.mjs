// The wire of PeerJS, message by message, against what the reference server answers: handshake errors in their order, who is who, queues for
// absent peers, heartbeats, leaving.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import WebSocket from 'ws';
import { Inbox, within } from '../lib/inbox.mjs';
import { omnivox } from '../lib/omnivox.mjs';
import { OPEN } from '../lib/settings.mjs';

/// A client of the protocol; what comes lands in an inbox.
function peer(t, server, query) {
  const socket = new WebSocket(`${server.url.replace('http', 'ws')}/peerjs/peerjs?${query}`);
  const inbox = new Inbox();
  socket.on('message', (text) => inbox.push(JSON.parse(text)));
  const closed = new Promise((resolve) => { socket.on('close', (code) => { inbox.close(`closed with ${code}`); resolve(code); }); });
  socket.on('error', () => {});
  t.after(() => socket.terminate());
  return { socket, inbox, closed: () => within(closed, 'the socket to close'), next: () => inbox.next(), say: (message) => socket.send(typeof message === 'string' ? message : JSON.stringify(message)) };
}

const named = (id, token = `token of ${id}`) => `key=peerjs&id=${id}&token=${encodeURIComponent(token)}&version=1.5.5`;

async function opened(t, server, id, token) {
  const made = peer(t, server, named(id, token));
  assert.deepEqual(await made.next(), { type: 'OPEN' });
  return made;
}

test('a handshake that is wrong is told why, in the reference server\'s words', async (t) => {
  const server = await omnivox(t);
  const incomplete = { type: 'ERROR', payload: { msg: 'No id, token, or key supplied to websocket server' } };
  for (const [query, answer] of [
    ['key=peerjs&id=&token=x', incomplete],
    ['key=peerjs&id=a', incomplete],
    ['id=a&token=x', incomplete],
    ['key=other&id=a&token=x', { type: 'ERROR', payload: { msg: 'Invalid key provided' } }],
  ]) {
    const made = peer(t, server, query);
    assert.deepEqual(await made.next(), answer, query);
    await made.closed();
  }
  const ana = await opened(t, server, 'ana');
  const thief = peer(t, server, named('ana', 'another'));
  assert.deepEqual(await thief.next(), { type: 'ID-TAKEN', payload: { msg: 'ID is taken' } });
  await thief.closed();
  const again = await opened(t, server, 'ana');
  await ana.closed();
  again.socket.close();
  await again.closed();
});

test('messages go from peer to peer, and nobody can sign with another name', async (t) => {
  const server = await omnivox(t);
  const [ana, bob, eve] = [await opened(t, server, 'ana'), await opened(t, server, 'bob'), await opened(t, server, 'eve')];
  const payload = { sdp: { type: 'offer', sdp: 'v=0' }, type: 'data', connectionId: 'dc_1' };
  for (const type of ['OFFER', 'ANSWER', 'CANDIDATE', 'LEAVE', 'EXPIRE']) {
    ana.say({ type, src: 'eve', dst: 'bob', payload, more: 1 });
    assert.deepEqual(await bob.next(), { type, src: 'ana', dst: 'bob', payload });
  }
  for (const nothing of ['{', '[]', '7', '{"type":"STRANGE","dst":"bob"}', '{"dst":"bob"}', '{"type":"HEARTBEAT"}', '{"type":"OFFER"}']) ana.say(nothing);
  ana.say({ type: 'OFFER', dst: 'bob', payload: 'fence' });
  assert.equal((await bob.next()).payload, 'fence', 'what is no message is ignored');
  assert.deepEqual(eve.inbox.drain(), []);
});

test('what is for an absent peer waits for it, in order, and expires', async (t) => {
  const server = await omnivox(t, { settings: `${OPEN}\n[peerjs]\nwait_time_max_ms = 1500\n` });
  const ana = await opened(t, server, 'ana');
  for (const count of [1, 2, 3]) ana.say({ type: count === 1 ? 'OFFER' : 'CANDIDATE', dst: 'late', payload: count });
  const late = peer(t, server, named('late'));
  assert.deepEqual(await late.next(), { type: 'OPEN' }, 'OPEN comes first');
  for (const count of [1, 2, 3]) assert.equal((await late.next()).payload, count);
  ana.say({ type: 'OFFER', dst: 'nobody', payload: 1 });
  ana.say({ type: 'CANDIDATE', dst: 'nobody', payload: 2 });
  assert.deepEqual(await ana.next(), { type: 'EXPIRE', src: 'nobody', dst: 'ana' });
  late.socket.close();
  await late.closed();
  assert.deepEqual(ana.inbox.drain(), [], 'one EXPIRE for each absent peer');
});

test('who is silent for too long is sent away, and its id is free', async (t) => {
  const server = await omnivox(t, { settings: `${OPEN}\n[peerjs]\nalive_time_max_ms = 1200\n` });
  const [silent, alive] = [await opened(t, server, 'silent'), await opened(t, server, 'alive')];
  const beat = setInterval(() => alive.say({ type: 'HEARTBEAT' }), 200);
  t.after(() => clearInterval(beat));
  await silent.closed();
  assert.equal(alive.socket.readyState, WebSocket.OPEN);
  await opened(t, server, 'silent', 'another token');
});

test('LEAVE without a receiver gives the id back', async (t) => {
  const server = await omnivox(t);
  const ana = await opened(t, server, 'ana');
  ana.say({ type: 'LEAVE' });
  const other = await (async () => {
    for (;;) {
      const made = peer(t, server, named('ana', 'another'));
      const answer = await made.next();
      if (answer.type === 'OPEN') return made;
      assert.equal(answer.type, 'ID-TAKEN');
    }
  })();
  assert.equal(other.socket.readyState, WebSocket.OPEN);
});

test('the HTTP side: the root, ids, and peers only when it is asked for', async (t) => {
  const server = await omnivox(t);
  const root = await server.get('/peerjs/');
  assert.deepEqual([root.status, root.json.name], [200, 'PeerJS Server']);
  const ids = await Promise.all(Array.from({ length: 20 }, () => server.get('/peerjs/peerjs/id?ts=1&version=1.5.5')));
  for (const { status, text, headers } of ids) {
    assert.equal(status, 200);
    assert.match(text, /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
    assert.equal(headers.get('cache-control'), 'no-store');
  }
  assert.equal(new Set(ids.map(({ text }) => text)).size, 20);
  const hidden = await server.get('/peerjs/peerjs/peers');
  assert.deepEqual([hidden.status, hidden.text], [401, 'Unauthorized']);
  const open = await omnivox(t, { settings: `${OPEN}\n[peerjs]\ndiscovery = true\n` });
  await opened(t, open, 'ana');
  await opened(t, open, 'bob');
  assert.deepEqual((await open.get('/peerjs/peerjs/peers')).json.sort(), ['ana', 'bob']);
});

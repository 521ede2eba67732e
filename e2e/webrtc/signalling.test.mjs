// One room, five ways to be in it: WebSocket, event stream and requests, polls and requests, Socket.IO, PeerJS. Everyone sends everyone an offer,
// an answer and a candidate; each comes to the one whom it is for, in order, and nobody else sees it.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { connect, stream } from '../lib/clients.mjs';
import { until } from '../lib/inbox.mjs';
import { omnivox } from '../lib/omnivox.mjs';
import { OPEN } from '../lib/settings.mjs';
import { connect as connectSocketIo, NEWEST } from '../lib/socketio.mjs';
import WebSocket from 'ws';

const ROOM = 'peerjs';
const KINDS = ['OFFER', 'ANSWER', 'CANDIDATE'];

/// What a member hears lands in `heard` as `[from, kind, payload]`.
const listener = () => {
  const heard = [];
  const hear = ({ channel, from, data }) => { assert.equal(channel, ROOM); heard.push([from, data.type, data.payload]); };
  return { heard, hear };
};

async function overWebSocket(t, server) {
  const { heard, hear } = listener();
  const socket = await connect(t, server.ws);
  const { member } = await socket.call({ type: 'enter', channel: ROOM, seat: 'the seat of a WebSocket' });
  socket.ws.on('message', (text) => { const message = JSON.parse(text); if (message.type === 'signal') hear(message); });
  return { name: 'WebSocket', member, heard, say: (to, data) => socket.send({ type: 'signal', channel: ROOM, to, data }), leave: () => socket.call({ type: 'leave', channel: ROOM, key: member }) };
}

/// A seat by requests.
async function byRequests(server, seat) {
  const ask = async (what, body) => {
    const { status, json, text } = await server.post(`/v1/rooms/${what}`, { channel: ROOM, seat, ...body });
    assert.ok(status < 300, text);
    return json;
  };
  const entered = await ask('enter', {});
  const { member } = entered;
  return { ...entered, say: (to, data) => ask('signal', { member, to, data }), leave: () => ask('leave', { member }) };
}

async function overStream(t, server) {
  const { heard, hear } = listener();
  const { member, inbox, last, say, leave } = await byRequests(server, 'the seat of an event stream');
  const events = await stream(t, `${server.url}/v1/sse?inbox=${inbox}&since=${last}`);
  events.source.addEventListener('message', ({ data }) => { const message = JSON.parse(data); if (message.type === 'signal') hear(message); });
  return { name: 'event stream', member, heard, say, leave };
}

async function overPolls(t, server) {
  const { heard, hear } = listener();
  const { member, inbox, last, say, leave } = await byRequests(server, 'the seat of many polls');
  const ended = new AbortController();
  t.after(() => ended.abort());
  const poll = async (mark) => {
    while (!ended.signal.aborted) {
      const response = await fetch(`${server.url}/v1/poll?inbox=${inbox}&last=${mark}`, { signal: ended.signal });
      if (!response.ok) return;
      const page = await response.json();
      mark = page.last;
      page.events.filter(({ type }) => type === 'signal').forEach(hear);
    }
  };
  poll(last).catch((error) => { if (!ended.signal.aborted) throw error; });
  return { name: 'polls', member, heard, say, leave };
}

async function overSocketIo(t, server) {
  const { heard, hear } = listener();
  const { socket } = await connectSocketIo(t, NEWEST, server.url);
  socket.on('signal', hear);
  const { ok, member } = await socket.emitWithAck('room:enter', { room: ROOM, seat: 'the seat of Socket.IO' });
  assert.ok(ok);
  return {
    name: 'Socket.IO', member, heard,
    say: async (to, data) => assert.deepEqual(await socket.emitWithAck('room:signal', { room: ROOM, to, data }), { ok: true }),
    leave: () => socket.emitWithAck('room:leave', { room: ROOM, member }),
  };
}

async function overPeerJs(t, server) {
  const { heard } = listener();
  const socket = new WebSocket(`${server.url.replace('http', 'ws')}/peerjs/peerjs?key=peerjs&id=pia&token=secret`);
  t.after(() => socket.terminate());
  await new Promise((resolve, reject) => {
    socket.on('error', reject);
    socket.on('message', (text) => {
      const { type, src, dst, payload } = JSON.parse(text);
      if (type === 'OPEN') return resolve();
      assert.equal(dst, 'pia');
      heard.push([`~${src}`, type, payload]);
    });
  });
  return { name: 'PeerJS', member: '~pia', heard, say: (to, { type, payload }) => socket.send(JSON.stringify({ type, dst: to.slice(1), payload })), leave: () => socket.close() };
}

test('everyone reaches everyone, and nobody hears what is for another', async (t) => {
  // PeerJS has no way to leave but to go, and then its seat is kept for a while.
  const server = await omnivox(t, { settings: `${OPEN}[limits]\nseat_grace_ms = 300\n` });
  const eve = await connect(t, server.ws);
  await eve.subscribe(ROOM, { presence: true });
  await eve.call({ type: 'subscribe', pattern: '*', presence: true });
  const members = [];
  for (const way of [overWebSocket, overStream, overPolls, overSocketIo, overPeerJs]) members.push(await way(t, server));
  for (const kind of KINDS) {
    for (const from of members) {
      for (const to of members.filter((other) => other !== from)) await from.say(to.member, { type: kind, payload: { for: to.name } });
    }
  }
  for (const member of members) {
    await until(() => member.heard.length >= KINDS.length * (members.length - 1), `${member.name} has heard everyone: ${JSON.stringify(member.heard)}`);
    for (const from of members.filter((other) => other !== member)) {
      const said = member.heard.filter(([who]) => who === from.member);
      assert.deepEqual(said.map(([, ...what]) => what), KINDS.map((kind) => [kind, { for: member.name }]), `${from.name} to ${member.name}`);
    }
  }
  // What is published now comes behind all that was said before.
  await server.publish(ROOM, 'fence');
  await eve.next({ type: 'message', data: 'fence' });
  assert.doesNotMatch(JSON.stringify(eve.inbox.drain()), /OFFER|ANSWER|CANDIDATE/, 'a listener hears nothing of it');
  const { json: { members: seen } } = await server.get(`/v1/presence?channel=${ROOM}`);
  assert.deepEqual(seen.map(({ key }) => key).sort(), members.map(({ member }) => member).sort(), 'all are members of the channel');
  for (const member of members) await member.leave();
  await until(async () => (await server.get(`/v1/presence?channel=${ROOM}`)).json.members.length === 0, 'all have left');
});

test('roles are opposite, in whatever order and way two come', async (t) => {
  const server = await omnivox(t);
  const first = await byRequests(server, 'the seat of the first one');
  const second = await connect(t, server.ws);
  const answer = await second.call({ type: 'enter', channel: ROOM, seat: 'the seat of the second one' });
  const again = await byRequests(server, 'the seat of the first one');
  assert.deepEqual(answer.peers.map(({ member, polite }) => [member, polite]), [[first.member, true]]);
  assert.equal(again.member > answer.member, again.peers.find(({ member }) => member === answer.member).polite, 'the same rule for who comes again');
});

test('a room that is full, and a seat that nobody kept', async (t) => {
  const server = await omnivox(t, { settings: `${OPEN}[limits]\nseats_per_room_max = 1\nseat_grace_ms = 300\n` });
  const first = await byRequests(server, 'the seat of the first one');
  const full = await server.post('/v1/rooms/enter', { channel: ROOM, seat: 'the seat of the second one' });
  assert.deepEqual([full.status, full.json.error.code], [429, 'limit_exceeded']);
  assert.match(full.json.error.message, /seats_per_room_max/);
  await until(async () => (await server.get(`/v1/presence?channel=${ROOM}`)).json.members.length === 0, 'the seat is given back');
  const late = await server.post('/v1/rooms/signal', { channel: ROOM, seat: 'the seat of the first one', member: first.member, to: '~x', data: 1 });
  assert.deepEqual([late.status, late.json.error.code], [404, 'not_found']);
  assert.ok(await byRequests(server, 'the seat of the second one'));
});

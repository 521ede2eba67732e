// Subscribers of a small channel gather on one of the server's shards: a WebSocket moves with all that it has read and waits for.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { backend, hook } from '../lib/backend.mjs';
import { connect } from '../lib/clients.mjs';
import { claims, secret, token } from '../lib/credentials.mjs';
import { until, within } from '../lib/inbox.mjs';
import { omnivox } from '../lib/omnivox.mjs';
import { folder } from '../lib/programs.mjs';
import { OPEN } from '../lib/settings.mjs';

const SHARDS = OPEN.replace('[server]', '[server]\nshards = 4');
const sockets = (t, url, count, options) => Promise.all(Array.from({ length: count }, () => connect(t, url, options)));
/// How many shards have subscribers of a channel, summed over the channels.
const seats = (server) => server.metric('omnivox_local_channels');

test('the first of a channel stays, and the others come to it; of a large one they spread again', async (t) => {
  const server = await omnivox(t, { settings: SHARDS });
  const few = await sockets(t, server.ws, 8);
  for (const socket of few) await socket.subscribe('small');
  assert.equal(await seats(server), 1);
  for (const [number, socket] of few.entries()) {
    const { id } = await socket.call({ type: 'publish', channel: 'small', data: number, exclude_sender: true });
    for (const other of few.filter((each) => each !== socket)) assert.equal((await other.next({ type: 'message', id })).data, number);
  }
  for (const socket of few) assert.deepEqual(socket.inbox.drain(), [], 'each hears the others once, and not itself');

  const many = await sockets(t, server.ws, 80);
  for (const socket of many) await socket.subscribe('large');
  assert.equal(await seats(server), 1 + 4);
  await server.publish('large', 'all');
  await Promise.all(many.map((socket) => socket.next({ type: 'message', data: 'all' })));
  for (const socket of [...few, ...many]) await socket.close();
  await until(async () => (await server.metric('omnivox_websocket_connections')) === 0, 'none is counted any more');
  assert.deepEqual([await seats(server), await server.metric('omnivox_sessions')], [0, 0]);
});

test('what comes in one packet with the subscribe, or with the handshake, is answered in its order', async (t) => {
  const server = await omnivox(t, { settings: SHARDS });
  const [first] = await sockets(t, server.ws, 1);
  await first.subscribe('room');
  for (const [number, socket] of (await sockets(t, server.ws, 7)).entries()) {
    const tcp = socket.ws._socket;
    tcp.cork();
    socket.send({ type: 'subscribe', channel: 'room', since: 'earliest', ref: 1 });
    socket.send({ type: 'enter', channel: 'room', ref: 2 });
    for (const ref of [3, 4]) socket.send({ type: 'publish', channel: 'room', data: ref, ref });
    // The beginning of a message whose end comes when the session is elsewhere.
    const long = `${number}${'x'.repeat(300)}`;
    const rest = JSON.stringify({ type: 'publish', channel: 'room', data: long, ref: 6 });
    socket.ws.send(rest.slice(0, 100), { fin: false });
    tcp.uncork();
    await socket.next({ ref: 4 });
    socket.ws.send(rest.slice(100), { fin: true });
    await socket.next({ ref: 6 });
    await socket.next({ type: 'message', data: long });
    const refs = [];
    const heard = [];
    for (const { ref, type, data } of socket.inbox.drain()) if (ref) refs.push(ref); else if (type === 'message') heard.push(data);
    assert.deepEqual([refs, heard.slice(-2)], [[1, 2, 3], [3, 4]]);
    await socket.close();
  }
  for (const socket of await sockets(t, `${server.ws}?channel=room`, 7)) assert.equal((await socket.next({ type: 'subscribed' })).channel, 'room');
  assert.equal(await seats(server), 1, 'a channel that the path names counts as well');
});

test('who has moved is found by its user, and leaves nothing behind', async (t) => {
  const key = secret();
  const server = await omnivox(t, { settings: `[server]\nlisten = ["127.0.0.1:0"]\nshards = 4\n[[app]]\nid = "shop"\nsecret = "${key}"\n` });
  const authorization = `Basic ${Buffer.from(`shop:${key}`).toString('base64')}`;
  const as = (sub) => ({ headers: { authorization: `Bearer ${token(key, claims({ sub, channels: { '*': ['subscribe', 'publish', 'presence'] } }))}` } });
  const members = [];
  for (const user of ['ana', 'bob', 'cai', 'dan', 'eve']) {
    const socket = await connect(t, server.ws, as(user));
    await socket.subscribe('room');
    await socket.call({ type: 'enter', channel: 'room' });
    members.push([user, socket]);
  }
  assert.equal(await seats(server), 1);
  const present = async () => (await server.get('/v1/presence?channel=room', { authorization })).json.members.map(({ user }) => user).sort();
  assert.deepEqual(await present(), members.map(([user]) => user));
  for (const [user, socket] of members) {
    const { json } = await server.get(`/v1/connections?user=${user}`, { authorization });
    assert.equal(json.connections.length, 1, user);
    assert.equal((await server.post('/v1/disconnect', { session: json.connections[0].session }, { authorization })).status, 200);
    assert.equal((await socket.closed).code, 4403, user);
  }
  await until(async () => (await present()).length === 0, 'nobody is present any more');
});

test('who has moved is pinged, ends with its credential, and may show a new one', async (t) => {
  const key = secret();
  const heartbeat = '[heartbeat]\nws_ping_interval_ms = 300\nws_pong_timeout_ms = 10000\n';
  const settings = `[server]\nlisten = ["127.0.0.1:0"]\nshards = 4\n${heartbeat}[[app]]\nid = "shop"\nsecret = "${key}"\n`;
  const server = await omnivox(t, { settings });
  // Clocks may be half a minute apart, so these are good for six seconds more.
  const ends = Math.floor(Date.now() / 1000) - 24;
  const shown = (exp) => token(key, claims({ iat: ends - 60, exp }));
  const moved = await sockets(t, server.ws, 8, { headers: { authorization: `Bearer ${shown(ends)}` } });
  for (const socket of moved) await socket.subscribe('room');
  assert.equal(await seats(server), 1);
  // The interval counts, also where the timeout is longer.
  await Promise.all(moved.map(async ({ ws }) => { for (let ping = 1; ping <= 3; ping += 1) await within(once(ws, 'ping'), `ping ${ping}`); }));
  const [renewed, ...others] = moved;
  assert.equal((await renewed.call({ type: 'connect', token: shown(ends + 600) })).type, 'connected');
  for (const socket of others) assert.equal((await within(socket.closed, 'the end of its credential')).code, 4401);
  assert.equal((await renewed.call({ type: 'ping' })).type, 'pong');
});

test('who has asked for anything stays, and so does everybody where a back end was asked', async (t) => {
  const file = path.join(folder(t), 'omnivox.toml');
  const asked = await backend(t, secret(), () => ({}));
  writeFileSync(file, SHARDS);
  const server = await omnivox(t, { settings: SHARDS, settingsFile: file });
  const [first, ...others] = await sockets(t, server.ws, 8);
  await first.subscribe('a');
  for (const socket of others) {
    await socket.call({ type: 'history', channel: 'a' });
    await socket.subscribe('a');
  }
  assert.ok((await seats(server)) > 1, 'they are where they came in');
  for (const socket of [first, ...others]) await socket.close();
  await until(async () => (await seats(server)) === 0, 'all are gone');

  writeFileSync(file, SHARDS + hook(asked, ['connect']));
  server.child.kill('SIGHUP');
  await until(() => server.output.includes('the settings were read again'), 'the hook');
  for (const socket of await sockets(t, server.ws, 8)) await socket.subscribe('a');
  assert.ok((await seats(server)) > 1, 'a back end may have kept their ids');
});

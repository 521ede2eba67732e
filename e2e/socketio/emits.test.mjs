// Back ends emit and manage sockets over HTTP; real clients hear it, each once.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { connect as nativeSocket } from '../lib/clients.mjs';
import { until } from '../lib/inbox.mjs';
import { omnivox } from '../lib/omnivox.mjs';
import { CLIENTS, ENGINE3, NEWEST, TRANSPORTS, joined } from '../lib/socketio.mjs';

const SECRET = 'a back end keeps this to itself, all of it';
const SETTINGS = `
[server]
listen = ["127.0.0.1:0"]

[[app]]
id = "shop"
open = true
secret = "${SECRET}"

[[namespace]]
channels = "*"
anonymous = ["subscribe", "presence", "history"]

${ENGINE3}`;

async function shop(t) {
  const server = await omnivox(t, { settings: SETTINGS });
  const authorization = `Basic ${Buffer.from(`shop:${SECRET}`).toString('base64')}`;
  server.call = async (name, body) => {
    const { status, json, text } = await server.post(`/v1/socketio/${name}`, body, { authorization });
    assert.equal(status, 200, text);
    return json;
  };
  server.sockets = async (query) => (await server.get(`/v1/socketio/sockets${query}`, { authorization })).json.sockets;
  return server;
}

/// Everything that a client has heard up to now: what is emitted to it alone comes behind all else.
async function heard(server, { socket, inbox }, namespace = '/') {
  await server.call('emit', { namespace, sockets: [socket.id], event: 'end' });
  const names = [];
  for (;;) {
    const [name] = await inbox.next();
    if (name === 'end') return names;
    names.push(name);
  }
}

for (const [transport, options] of TRANSPORTS) {
  test(`${transport}: unions, exceptions, one socket, everyone`, async (t) => {
    const server = await shop(t);
    const one = await joined(t, NEWEST, server.url, ['a', 'b'], options);
    const two = await joined(t, NEWEST, server.url, ['b'], options);
    const three = await joined(t, NEWEST, server.url, ['c'], options);
    const admin = await joined(t, NEWEST, `${server.url}/admin`, ['a'], options);
    await server.call('emit', { rooms: ['a', 'b'], event: 'union' });
    await server.call('emit', { rooms: ['a', 'b'], except: { rooms: ['a'] }, event: 'but a' });
    await server.call('emit', { rooms: ['b'], except: { sockets: [two.socket.id] }, event: 'but two' });
    await server.call('emit', { rooms: ['b'], sockets: [three.socket.id, two.socket.id], event: 'mixed' });
    await server.call('emit', { event: 'all' });
    await server.call('emit', { except: { rooms: 'c' }, event: 'all but c' });
    await server.call('emit', { namespace: '/admin', rooms: 'a', event: 'admins' });
    assert.deepEqual(await heard(server, one), ['union', 'but two', 'mixed', 'all', 'all but c']);
    assert.deepEqual(await heard(server, two), ['union', 'but a', 'mixed', 'all', 'all but c']);
    assert.deepEqual(await heard(server, three), ['mixed', 'all']);
    assert.deepEqual(await heard(server, admin, '/admin'), ['admins']);
  });

  test(`${transport}: binary arguments`, async (t) => {
    const server = await shop(t);
    const client = await joined(t, NEWEST, server.url, 'a', options);
    const bytes = Buffer.from([0, 128, 255]);
    for (const to of [{ rooms: 'a' }, { sockets: client.socket.id }]) {
      await server.call('emit', { ...to, event: 'blob', args: [{ at: 1, bytes: { _placeholder: true, num: 0, base64: bytes.toString('base64') } }, 'é'] });
      const [, argument, text] = await client.next('blob');
      assert.deepEqual([Buffer.from(argument.bytes), argument.at, text], [bytes, 1, 'é']);
    }
  });
}

test('every generation of clients hears what is told to it alone', async (t) => {
  const server = await shop(t);
  for (const client of CLIENTS.filter(({ engine3 }) => !engine3)) {
    const { socket, next } = await joined(t, client, server.url, 'a');
    await server.call('emit', { sockets: [socket.id], event: 'hello', args: [client.name] });
    assert.equal((await next('hello'))[1], client.name);
  }
  // A client of Engine.IO 3 takes its session's id for its own, which is a secret here; it is found by what it is in.
  const old = await joined(t, CLIENTS.find(({ engine3 }) => engine3), server.url, 'old');
  const [{ id }] = await server.sockets('?room=old');
  await server.call('emit', { sockets: [id], event: 'hello', args: ['old'] });
  assert.equal((await old.next('hello'))[1], 'old');
});

test('other dialects hear what is emitted to a room', async (t) => {
  const server = await shop(t);
  const native = await nativeSocket(t, server.ws);
  await native.subscribe('a');
  const { id } = await server.call('emit', { rooms: 'a', event: 'news', args: [{ text: 'hi' }] });
  const message = await native.next({ type: 'message' });
  assert.deepEqual([message.event, message.data, message.id], ['news', { text: 'hi' }, id]);
});

test('sockets are let into rooms whatever they may do, are recovered there, leave, and go', async (t) => {
  const server = await shop(t);
  const { socket, ask, next } = await joined(t, NEWEST, server.url, 'a');
  assert.equal((await ask('join', 'private-1')).error.code, 'forbidden');
  assert.deepEqual(await server.call('join', { sockets: socket.id, join: ['private-1'] }), { sockets: 1 });
  await server.call('emit', { rooms: 'private-1', event: 'first' });
  await next('first');
  for (const times of [1, 2]) {
    server.child.kill('SIGHUP');
    await until(() => server.output.split('the settings were read again').length > times, `reload ${times}`);
  }
  await server.call('emit', { rooms: 'private-1', event: 'after the reload' });
  await next('after the reload');
  const back = new Promise((resolve) => { socket.once('connect', resolve); });
  socket.io.engine.close();
  await server.call('emit', { rooms: 'private-1', event: 'missed' });
  await back;
  assert.equal(socket.recovered, true);
  await next('missed');
  assert.deepEqual((await server.sockets(`?socket=${socket.id}`)).map(({ rooms }) => rooms), [['a', 'private-1']]);
  await server.call('leave', { rooms: 'a', leave: 'private-1' });
  assert.deepEqual(await server.sockets('?room=private-1'), []);
  const gone = new Promise((resolve) => { socket.once('disconnect', resolve); });
  await server.call('disconnect', { sockets: [socket.id] });
  assert.equal(await gone, 'io server disconnect');
  assert.deepEqual(await server.sockets('?namespace=/'), []);
});

test('only who may manage reaches sockets, only who may publish reaches rooms', async (t) => {
  const server = await shop(t);
  for (const [name, body] of [['emit', { event: 'all' }], ['emit', { rooms: 'a', event: 'x' }], ['join', { join: 'a' }], ['disconnect', {}]]) {
    const { status, json } = await server.post(`/v1/socketio/${name}`, body);
    assert.deepEqual([status, json.error.code], [403, 'forbidden'], name);
  }
  assert.equal((await server.get('/v1/socketio/sockets')).status, 403);
});

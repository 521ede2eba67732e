// The native protocol over a WebSocket, with npm `ws` as the client.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import net from 'node:net';
import { test } from 'node:test';
import { connect } from '../lib/clients.mjs';
import { within } from '../lib/inbox.mjs';
import { omnivox } from '../lib/omnivox.mjs';

test('subscribe is answered, and what is published arrives as a message', async (t) => {
  const server = await omnivox(t);
  const socket = await connect(t, server.ws);
  const answer = await socket.subscribe('news');
  assert.deepEqual({ type: answer.type, channel: answer.channel, gap: answer.gap }, { type: 'subscribed', channel: 'news', gap: false });
  const id = await server.publish('news', { text: 'hi' }, { event: 'chat' });
  const message = await socket.next({ type: 'message' });
  assert.deepEqual(message, { type: 'message', channel: 'news', id, event: 'chat', data: { text: 'hi' } });
});

test('channel and room mean the same', async (t) => {
  const server = await omnivox(t);
  const [one, other] = [await connect(t, server.ws), await connect(t, server.ws)];
  await one.call({ type: 'subscribe', room: 'lobby' });
  await other.subscribe('lobby');
  await other.call({ type: 'publish', room: 'lobby', event: 'chat', data: 1 });
  assert.equal((await one.next({ type: 'message' })).channel, 'lobby');
  assert.equal((await other.next({ type: 'message' })).channel, 'lobby');
});

test('publish is acknowledged with the position that subscribers see', async (t) => {
  const server = await omnivox(t);
  const [one, other] = [await connect(t, server.ws), await connect(t, server.ws)];
  await other.subscribe('acks');
  const answer = await one.call({ type: 'publish', channel: 'acks', event: 'e', data: [1, 'two', null] });
  assert.equal(answer.type, 'published');
  assert.equal(answer.channel, 'acks');
  const message = await other.next({ type: 'message' });
  assert.equal(message.id, answer.id);
  assert.deepEqual(message.data, [1, 'two', null]);
});

test('the same idempotency key is taken once', async (t) => {
  const server = await omnivox(t);
  const socket = await connect(t, server.ws);
  await socket.subscribe('once');
  const first = await socket.call({ type: 'publish', channel: 'once', event: 'e', data: 1, id: 'key-1' });
  const second = await socket.call({ type: 'publish', channel: 'once', event: 'e', data: 2, id: 'key-1' });
  assert.equal(second.id, first.id);
  await socket.call({ type: 'publish', channel: 'once', event: 'last', data: 3 });
  assert.deepEqual([(await socket.next({ type: 'message' })).data, (await socket.next({ type: 'message' })).data], [1, 3]);
});

test('exclude_sender leaves the sender out and nobody else', async (t) => {
  const server = await omnivox(t);
  const [one, other] = [await connect(t, server.ws), await connect(t, server.ws)];
  await one.subscribe('quiet');
  await other.subscribe('quiet');
  await one.call({ type: 'publish', channel: 'quiet', event: 'mine', data: 1, exclude_sender: true });
  await one.call({ type: 'publish', channel: 'quiet', event: 'ours', data: 2 });
  assert.equal((await other.next({ type: 'message' })).event, 'mine');
  assert.equal((await one.next({ type: 'message' })).event, 'ours');
});

test('since: the missed events come first, then the answer without a gap', async (t) => {
  const server = await omnivox(t);
  const mark = await server.publish('log', 0);
  for (const data of [1, 2, 3]) await server.publish('log', data);
  const socket = await connect(t, server.ws);
  socket.send({ type: 'subscribe', channel: 'log', since: mark });
  const got = [];
  for (let count = 0; count < 4; count += 1) got.push(await socket.inbox.next());
  assert.deepEqual(got.slice(0, 3).map(({ data }) => data), [1, 2, 3]);
  assert.equal(got[3].type, 'subscribed');
  assert.equal(got[3].gap, false);
  assert.equal(got[3].id, got[2].id);
  await server.publish('log', 4);
  assert.equal((await socket.next({ type: 'message' })).data, 4);
});

test('since a place that is no more says gap', async (t) => {
  const server = await omnivox(t);
  await server.publish('log', 1);
  const socket = await connect(t, server.ws);
  for (const since of ['0000000000000000-7', 'gone-1']) {
    const answer = await socket.subscribe('log', { since });
    if (answer.type === 'error') assert.equal(since, 'gone-1', 'a mark of another epoch is well formed');
    else assert.equal(answer.gap, true, JSON.stringify(answer));
    await socket.call({ type: 'unsubscribe', channel: 'log' });
  }
});

test('unsubscribe ends delivery', async (t) => {
  const server = await omnivox(t);
  const socket = await connect(t, server.ws);
  await socket.subscribe('a');
  await socket.subscribe('b');
  assert.equal((await socket.call({ type: 'unsubscribe', channel: 'a' })).type, 'unsubscribed');
  await server.publish('a', 'unseen');
  await server.publish('b', 'seen');
  assert.equal((await socket.next({ type: 'message' })).data, 'seen');
});

test('any other type is an application message, delivered as itself plus channel and id', async (t) => {
  const server = await omnivox(t);
  const [one, other, outside] = [await connect(t, server.ws), await connect(t, server.ws), await connect(t, server.ws)];
  await one.subscribe('general');
  await other.subscribe('general');
  await outside.subscribe('elsewhere');
  one.send({ type: 'chat', user: 'me', text: 'hi', nested: { a: [1] } });
  for (const socket of [one, other]) {
    const message = await socket.next({ type: 'chat' });
    assert.deepEqual({ ...message, id: 'ID' }, { type: 'chat', user: 'me', text: 'hi', nested: { a: [1] }, channel: 'general', id: 'ID' });
  }
  one.send({ type: 'chat', room: 'elsewhere', text: 'over there' });
  assert.equal((await outside.inbox.next()).text, 'over there');
});

test('channel and id belong to the server: no client forges them', async (t) => {
  const server = await omnivox(t);
  const [one, other] = [await connect(t, server.ws), await connect(t, server.ws)];
  await one.subscribe('general');
  await other.subscribe('general');
  one.send({ type: 'chat', id: 'forged-1', text: 'a' });
  one.send('{"type":"chat","text":"b","id":"x","id":"forged-2","channel":"general","channel":"general"}');
  one.send({ type: 'marker' });
  const messages = [];
  for (let message = await other.inbox.next(); message.type !== 'marker'; message = await other.inbox.next()) messages.push(message);
  for (const message of messages) {
    assert.equal(message.channel, 'general');
    assert.doesNotMatch(message.id, /forged|^x$/);
  }
});

test('reserved types are refused as application messages, and say so', async (t) => {
  const server = await omnivox(t);
  const socket = await connect(t, server.ws);
  await socket.subscribe('general');
  for (const type of ['message', 'error', 'subscribed', 'published', 'gap']) {
    const answer = await socket.call({ type, room: 'general', data: 1 });
    assert.equal(answer.type, 'error', `${type}: ${JSON.stringify(answer)}`);
    assert.match(answer.code, /^[a-z0-9_]+$/);
  }
});

test('a message to no room, from who joined none, is an error', async (t) => {
  const server = await omnivox(t);
  const socket = await connect(t, server.ws);
  assert.equal((await socket.call({ type: 'chat', text: 'hello?' })).type, 'error');
});

test('ping is answered', async (t) => {
  const server = await omnivox(t);
  const socket = await connect(t, server.ws);
  assert.equal((await socket.call({ type: 'ping' })).type, 'pong');
  const pong = new Promise((resolve) => { socket.ws.once('pong', (data) => resolve(data.toString())); });
  socket.ws.ping('are you there');
  assert.equal(await pong, 'are you there');
});

test('history gives the newest events in order', async (t) => {
  const server = await omnivox(t);
  for (const data of [1, 2, 3, 4]) await server.publish('past', data);
  const socket = await connect(t, server.ws);
  const answer = await socket.call({ type: 'history', channel: 'past', limit: 3 });
  assert.equal(answer.type, 'history', JSON.stringify(answer));
  assert.deepEqual(answer.events.map(({ data }) => data), [2, 3, 4]);
});

test('errors name what they answer and leave the connection open', async (t) => {
  const server = await omnivox(t);
  const socket = await connect(t, server.ws);
  for (const message of [
    { type: 'subscribe' },
    { type: 'subscribe', channel: '' },
    { type: 'subscribe', channel: 'x'.repeat(256) },
    { type: 'subscribe', channel: 'line\nbreak' },
    { type: 'subscribe', channel: 7 },
    { type: 'subscribe', channel: 'a', since: { an: 'object' } },
    { type: 'publish', channel: 'a', event: 7 },
    { type: 'unsubscribe', channel: 'never-joined' },
    {},
  ]) {
    const answer = await socket.call(message);
    assert.equal(answer.type, 'error', `${JSON.stringify(message)}: ${JSON.stringify(answer)}`);
    assert.match(answer.code, /^[a-z0-9_]+$/);
    assert.ok(answer.message.length > 5, answer.message);
  }
  assert.equal((await socket.call({ type: 'ping' })).type, 'pong');
});

test('a binary frame follows the header that names its channel', async (t) => {
  const server = await omnivox(t);
  const [one, other] = [await connect(t, server.ws), await connect(t, server.ws)];
  await other.subscribe('bytes');
  const body = Buffer.from([0, 1, 2, 253, 254, 255]);
  one.send({ type: 'publish', channel: 'bytes', event: 'blob', binary: true, ref: 1 });
  one.send(body);
  assert.equal((await one.next({ ref: 1 })).type, 'published');
  const header = await other.next({ type: 'message' });
  assert.equal(header.channel, 'bytes');
  assert.equal(header.event, 'blob');
  const frame = await other.inbox.next(Buffer.isBuffer, 'a binary frame');
  assert.deepEqual(frame, body);
});

test('presence: enter, update and leave are seen, and so is a lost connection', async (t) => {
  const server = await omnivox(t);
  const [watcher, member] = [await connect(t, server.ws), await connect(t, server.ws)];
  const answer = await watcher.subscribe('room', { presence: true });
  assert.equal(answer.type, 'subscribed');
  const calls = [
    [{ type: 'enter', channel: 'room', data: { name: 'Ann' } }, 'enter', { name: 'Ann' }],
    [{ type: 'update', channel: 'room', data: { name: 'Bob' } }, 'update', { name: 'Bob' }],
    [{ type: 'leave', channel: 'room' }, 'leave', undefined],
    [{ type: 'enter', channel: 'room', data: { name: 'Cid' } }, 'enter', { name: 'Cid' }],
  ];
  for (const [message, action, data] of calls) {
    await member.subscribe('room');
    const done = await member.call(message);
    assert.notEqual(done.type, 'error', JSON.stringify(done));
    const event = await watcher.next({ type: 'presence' });
    assert.equal(event.channel, 'room');
    assert.equal(event.action, action, JSON.stringify(event));
    if (data) assert.deepEqual(event.member?.data ?? event.data, data, JSON.stringify(event));
  }
  const { json } = await server.get('/v1/presence?channel=room');
  assert.equal(json.members.length, 1);
  member.ws.terminate();
  assert.equal((await watcher.next({ type: 'presence' })).action, 'leave');
});

test('who subscribes again misses nothing and gets nothing twice', async (t) => {
  const server = await omnivox(t);
  for (const [what, again] of [[{ channel: 'again' }, { presence: true }], [{ pattern: 'aga*' }, { presence: true }]]) {
    const socket = await connect(t, server.ws);
    await socket.call({ type: 'subscribe', ...what });
    const [expected, heard] = [[], []];
    socket.ws.on('message', (text) => { const { type, data } = JSON.parse(text); if (type === 'message') heard.push(data); });
    for (let round = 0; round < 100; round += 1) {
      socket.send({ type: 'publish', channel: 'again', data: `${round} before` });
      socket.send({ type: 'subscribe', ...what, ...again });
      socket.send({ type: 'publish', channel: 'again', data: `${round} behind` });
      expected.push(`${round} before`, `${round} behind`);
    }
    const other = await connect(t, server.ws);
    for (let number = 0; number < 200; number += 1) {
      other.send({ type: 'publish', channel: 'again', data: number });
      socket.send({ type: 'subscribe', ...what });
    }
    await other.call({ type: 'publish', channel: 'again', data: 'last' });
    await socket.next({ type: 'message', data: 'last' });
    socket.close();
    assert.deepEqual(heard.filter((data) => typeof data === 'string' && data !== 'last'), expected, JSON.stringify(what));
    assert.deepEqual(heard.filter((data) => typeof data === 'number'), Array.from({ length: 200 }, (_, number) => number), JSON.stringify(what));
  }
});

test('the pings of one who takes nothing do not pile up, and the last one is answered', async (t) => {
  const server = await omnivox(t);
  const socket = net.connect(new URL(server.url).port, '127.0.0.1');
  t.after(() => socket.destroy());
  socket.write('GET /ws HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n');
  await within(once(socket, 'data'), 'the upgrade');
  socket.pause();
  const mask = Buffer.alloc(4);
  const ping = (payload) => Buffer.concat([Buffer.from([0x89, 0x80 | payload.length]), mask, Buffer.from(payload)]);
  const PINGS = 200_000;
  const filler = ping('x'.repeat(120));
  const crowd = Buffer.concat(Array.from({ length: 1_000 }, () => filler));
  for (let sent = 0; sent < PINGS; sent += 1_000) await new Promise((resolve) => { socket.write(crowd, resolve); });
  await new Promise((resolve) => { socket.write(ping('the last one'), resolve); });
  let pongs = 0;
  let tail = Buffer.alloc(0);
  const last = new Promise((resolve) => {
    socket.on('data', (bytes) => {
      pongs += bytes.length / (filler.length - 4);
      tail = Buffer.concat([tail.subarray(-20), bytes]);
      if (tail.includes('the last one')) resolve();
    });
  });
  socket.resume();
  await within(last, 'the pong of the last ping');
  assert.ok(pongs < PINGS * 0.9, `${Math.round(pongs)} pongs for ${PINGS} pings`);
  assert.equal((await server.get('/health')).status, 200);
});

test('a list of members that is too large for a WebSocket is refused, and the API has it', async (t) => {
  const server = await omnivox(t, { env: { OMNIVOX_LIMITS_OUTBOX_BYTES_SOFT: '2000' } });
  const socket = await connect(t, server.ws);
  for (let number = 0; number < 20; number += 1) await socket.call({ type: 'enter', channel: 'crowd', key: `k${number}`, data: 'x'.repeat(100) });
  const refused = await socket.call({ type: 'presence', channel: 'crowd' });
  assert.deepEqual([refused.type, refused.code, refused.channel], ['error', 'limit_exceeded', 'crowd']);
  assert.match(refused.message, /limits\.outbox_bytes_soft/);
  assert.equal((await server.get('/v1/presence?channel=crowd')).json.members.length, 20);
  for (let number = 5; number < 20; number += 1) await socket.call({ type: 'leave', channel: 'crowd', key: `k${number}` });
  assert.equal((await socket.call({ type: 'presence', channel: 'crowd' })).members.length, 5);
});

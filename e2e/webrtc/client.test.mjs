// The JavaScript client in Node: every transport, the way down to the next one, and what was missed after a cut.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { createServer } from 'node:net';
import { test } from 'node:test';
import { promisify } from 'node:util';
import { WebSocket } from 'ws';
import { connect } from '../../clients/js/omnivox.js';
import { omnivox } from '../lib/omnivox.mjs';

/// A client whose messages can be awaited one by one.
function follow(t, server, options) {
  const client = connect(server.url, options);
  t.after(() => client.close());
  const [heard, waiting] = [[], []];
  client.subscribe('chat', ({ data }) => (waiting.length > 0 ? waiting.shift()(data) : heard.push(data)));
  client.next = () => (heard.length > 0 ? Promise.resolve(heard.shift()) : new Promise((resolve) => { waiting.push(resolve); }));
  return client;
}

const joined = (client) => new Promise((resolve) => { client.on('subscribed', resolve); });

test('a WebSocket resumes after a cut', async (t) => {
  const server = await omnivox(t);
  const sockets = [];
  class Cut extends WebSocket {
    constructor(url) {
      super(url);
      sockets.push(this);
    }
  }
  const client = follow(t, server, { WebSocket: Cut });
  await joined(client);
  assert.match((await client.publish('chat', 1)).id, /-1$/);
  assert.equal(await client.next(), 1);
  const back = joined(client);
  sockets[0].terminate();
  await server.publish('chat', 2);
  await back;
  await server.publish('chat', 3);
  assert.deepEqual([await client.next(), await client.next()], [2, 3]);
  assert.equal(sockets.length, 2);
});

for (const transport of ['stream', 'poll']) {
  test(`a ${transport} carries the same`, async (t) => {
    const server = await omnivox(t);
    const first = await server.publish('chat', 0);
    const client = follow(t, server, { transports: [transport] });
    client.unsubscribe('chat');
    client.subscribe('chat', ({ data }) => client.emit('got', data), { since: first });
    const got = new Promise((resolve) => { client.on('got', resolve); });
    await server.publish('chat', { n: 1 });
    assert.deepEqual(await got, { n: 1 });
    assert.ok((await client.publish('chat', 2)).id);
  });
}

test('where there is no WebSocket the next transport is taken', async (t) => {
  const server = await omnivox(t);
  class Never {
    constructor() { queueMicrotask(() => this.onclose({ code: 1006, reason: '' })); }

    close() {}
  }
  const client = follow(t, server, { WebSocket: Never });
  await new Promise((resolve) => { client.on('state', (state) => state === 'open' && resolve()); });
  assert.equal(client.transport, 'stream');
});

test('a server that nobody answers for is tried again, and the program goes on', async (t) => {
  const taken = await new Promise((resolve) => { const server = createServer().listen(0, '127.0.0.1', () => resolve(server)); });
  const { port } = taken.address();
  await new Promise((resolve) => { taken.close(resolve); });
  const program = `
    import { WebSocket } from '${import.meta.resolve('ws')}';
    import { connect } from '${new URL('../../clients/js/omnivox.js', import.meta.url)}';
    let tries = 0;
    class Counted extends WebSocket {
      constructor(url) {
        super(url);
        if (++tries < 3) return;
        client.close();
        console.log('goes on');
      }
    }
    const client = connect('http://127.0.0.1:${port}', { WebSocket: Counted, transports: ['websocket'] });`;
  const { stdout } = await promisify(execFile)(process.execPath, ['--input-type=module', '--eval', program]);
  assert.equal(stdout, 'goes on\n');
});

const opened = (client) => (client.state === 'open' ? undefined : new Promise((resolve) => { client.on('state', (state) => state === 'open' && resolve()); }));

for (const transport of ['websocket', 'stream', 'poll']) {
  test(`a seat in a room over a ${transport}: what is said comes once and in order`, async (t) => {
    const server = await omnivox(t);
    const options = { transports: [transport], WebSocket };
    const [one, two] = [connect(server.url, options), connect(server.url, options)];
    t.after(() => { one.close(); two.close(); });
    for (const client of [one, two]) await opened(client);
    const first = await one.request({ type: 'enter', channel: 'room', seat: 'the seat of the first one' });
    const second = await two.request({ type: 'enter', channel: 'room', seat: 'the seat of the second one' });
    assert.deepEqual(second.peers.map(({ member, polite }) => [member, polite]), [[first.member, true]]);
    assert.ok(Array.isArray(second.iceServers));
    const heard = [];
    const all = new Promise((resolve) => {
      one.on('signal', ({ from, data }) => { assert.equal(from, second.member); if (heard.push(data) === 20) resolve(); });
    });
    for (let count = 0; count < 20; count += 1) assert.equal(two.tell({ type: 'signal', channel: 'room', to: first.member, data: count }), true);
    await all;
    assert.deepEqual(heard, Array.from({ length: 20 }, (_, count) => count));
    const again = await one.request({ type: 'enter', channel: 'room', seat: 'the seat of the first one', member: first.member });
    assert.equal(again.member, first.member, 'the same secret, the same seat');
    await two.request({ type: 'leave', channel: 'room', key: second.member });
    const { json: { members } } = await server.get('/v1/presence?channel=room');
    assert.deepEqual(members.map(({ key }) => key), [first.member]);
  });
}

test('without a WebSocket a client has a seat in one room at a time', async (t) => {
  const server = await omnivox(t);
  const client = connect(server.url, { transports: ['poll'] });
  t.after(() => client.close());
  await opened(client);
  await client.request({ type: 'enter', channel: 'a', seat: 'a seat in some room' });
  await assert.rejects(client.request({ type: 'enter', channel: 'b', seat: 'a seat in some room' }), { code: 'one_room' });
  await client.request({ type: 'leave', channel: 'a' });
  assert.ok((await client.request({ type: 'enter', channel: 'b', seat: 'a seat in some room' })).member);
});

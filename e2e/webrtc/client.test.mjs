// The JavaScript client in Node: every transport, the way down to the next one, and what was missed after a cut.

import assert from 'node:assert/strict';
import { test } from 'node:test';
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

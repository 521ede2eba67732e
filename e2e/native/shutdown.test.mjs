// SIGTERM: no new clients, those that are here are told to come back, exit 0. A second signal ends at once.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { connect, rawStream } from '../lib/clients.mjs';
import { omnivox } from '../lib/omnivox.mjs';

test('every transport is told to come back, and the exit code is 0', async (t) => {
  const server = await omnivox(t);
  const sockets = await Promise.all(Array.from({ length: 20 }, () => connect(t, server.ws)));
  for (const socket of sockets) await socket.subscribe('general');
  const events = await rawStream(t, `${server.url}/sse?channel=general`);
  const { last } = (await server.get('/poll?channel=general&timeout=0')).json;
  const held = server.get(`/poll?channel=general&last=${last}&timeout=30`);
  // The poll is held once the server has taken it: a request behind it on another connection has been answered.
  await server.get('/health');

  const ended = server.stop('SIGTERM', 30_000);
  for (const socket of sockets) {
    const { code } = await socket.closed;
    assert.ok([1001, 1012].includes(code), `close code ${code}`);
  }
  assert.match(await events.inbox.next((block) => block.includes('retry:')), /^retry: ?\d+$/m);
  await events.ended;
  const answer = await held;
  assert.equal(answer.status, 200);
  assert.deepEqual([answer.json.events, answer.json.last], [[], last]);
  assert.deepEqual(await ended, { code: 0, signal: null });
  await assert.rejects(fetch(`${server.url}/health`), 'the port is free again');
});

test('what was published before the signal still arrives', async (t) => {
  const server = await omnivox(t);
  const socket = await connect(t, server.ws);
  await socket.subscribe('last');
  for (let number = 0; number < 100; number += 1) await server.publish('last', number);
  const ended = server.stop('SIGTERM', 30_000);
  for (let number = 0; number < 100; number += 1) assert.equal((await socket.next({ type: 'message' })).data, number);
  assert.equal((await ended).code, 0);
});

test('a client that does not react does not keep the server', async (t) => {
  const server = await omnivox(t);
  const socket = await connect(t, server.ws);
  await socket.subscribe('a');
  socket.ws.pause();
  assert.equal((await server.stop('SIGTERM', 60_000)).code, 0);
});

test('SIGINT is as good as SIGTERM', async (t) => {
  const server = await omnivox(t);
  assert.equal((await server.stop('SIGINT', 30_000)).code, 0);
});

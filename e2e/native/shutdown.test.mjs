// SIGTERM: no new clients, those that are here are told to come back, exit 0. A second signal ends at once.
// parts: openssl

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { test } from 'node:test';
import { certificate, tlsSection } from '../lib/certificates.mjs';
import { connect, rawStream } from '../lib/clients.mjs';
import { connectHttp2 } from '../lib/http2.mjs';
import { within } from '../lib/inbox.mjs';
import { omnivox } from '../lib/omnivox.mjs';
import { OPEN } from '../lib/settings.mjs';

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

test('the same over HTTP/2: what was half sent is answered, a WebSocket is told, and the connection ends with GOAWAY', async (t) => {
  const files = certificate(t);
  const server = await omnivox(t, { settings: `${OPEN}${tlsSection(files)}` });
  const [, port] = await server.printed(/https:\/\/127\.0\.0\.1:(\d+)/);
  const connection = await connectHttp2(t, port, files);
  const posted = connection.session.request({ ':method': 'POST', ':path': '/v1/publish', 'content-type': 'application/json' });
  posted.write('{"channel":"last",');
  const socket = connection.webSocket('/v1/ws');
  await within(once(socket, 'open'), 'a WebSocket');
  // An answer on the same connection shows that the request before it has come.
  assert.equal((await connection.request('GET', '/health')).status, 200);

  const [goaway, closed] = [once(connection.session, 'goaway'), once(socket, 'close')];
  const ended = server.stop('SIGTERM', 30_000);
  assert.equal((await within(goaway, 'GOAWAY'))[0], 0);
  assert.equal((await within(closed, 'the WebSocket to be closed'))[0], 1012);
  posted.end('"data":1}');
  assert.equal((await within(once(posted, 'response'), 'an answer'))[0][':status'], 200);
  await within(connection.closed, 'the connection to end');
  assert.deepEqual(await ended, { code: 0, signal: null });
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

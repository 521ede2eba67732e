// `omnivox serve`: what its settings change, the ways to reach it, and what a reload takes over.

import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { test } from 'node:test';
import { connect, rawStream, stream } from '../lib/clients.mjs';
import { omnivox } from '../lib/omnivox.mjs';
import { raw } from '../lib/raw.mjs';
import { OPEN } from '../lib/settings.mjs';

test('IPv6: dev --host ::1', async (t) => {
  const server = await omnivox(t, { flags: ['--host', '::1'] });
  const answer = await fetch(`http://[::1]:${server.port}/health`);
  assert.equal(answer.status, 200);
  const socket = await connect(t, `ws://[::1]:${server.port}/ws`);
  assert.equal((await socket.call({ type: 'ping' })).type, 'pong');
});

test('routes give a transport a path, default channels and a format', async (t) => {
  const routes = `
[[route]]
path = "/live"
to = "sse"
channels = ["prices"]
format = "data"

[[route]]
path = "/socket"
to = "ws"
`;
  const server = await omnivox(t, { settings: OPEN + routes });
  const events = await stream(t, `${server.url}/live`);
  await server.publish('prices', { eur: 7 });
  assert.deepEqual((await events.inbox.next()).data, { eur: 7 });
  const socket = await connect(t, server.ws.replace('/v1/ws', '/socket'));
  assert.equal((await socket.subscribe('prices')).type, 'subscribed');
  const nowhere = await server.get('/ws');
  assert.equal(nowhere.status, 404, 'serve has only the routes of its settings');
  assert.match(nowhere.json.error.message, /did you mean `\/v1\/ws`\?/);
});

test('an environment variable beats the file, a flag beats both', async (t) => {
  const settings = `${OPEN}[history]\ncount_max = 1\n`;
  const kept = async (options) => {
    const server = await omnivox(t, { settings, ...options });
    for (let number = 0; number < 5; number += 1) await server.publish('a', number);
    return (await server.get('/v1/history?channel=a')).json.events.length;
  };
  assert.equal(await kept({}), 1);
  assert.equal(await kept({ env: { OMNIVOX_HISTORY_COUNT_MAX: '2' } }), 2);
  assert.equal(await kept({ env: { OMNIVOX_HISTORY_COUNT_MAX: '2' }, flags: ['--history-count-max', '3'] }), 3);
});

test('namespaces say what everyone may do, the same over every transport', async (t) => {
  const namespaces = `
[[namespace]]
channels = "read-*"
anonymous = ["subscribe", "history"]
`;
  const server = await omnivox(t, { settings: OPEN + namespaces });
  const socket = await connect(t, server.ws);
  assert.equal((await socket.subscribe('read-only')).type, 'subscribed');
  assert.equal((await socket.call({ type: 'publish', channel: 'read-only', data: 1 })).code, 'forbidden');
  const refused = await server.post('/v1/publish', { channel: 'read-only', data: 1 });
  assert.deepEqual([refused.status, refused.json.error.code], [403, 'forbidden']);
  assert.match(refused.json.error.message, /read-/, 'the refusal names the rule');
  for (const channel of ['private-a', 'presence-a', '$sys', '#user']) {
    const name = encodeURIComponent(channel);
    assert.equal((await socket.subscribe(channel)).code, 'forbidden', channel);
    assert.equal((await server.get(`/v1/poll?channel=${name}&timeout=0`)).status, 403, channel);
    assert.equal((await server.get(`/v1/sse?channel=${name}`)).status, 403, channel);
    assert.equal((await server.get(`/v1/history?channel=${name}`)).status, 403, channel);
    assert.equal((await server.post('/v1/publish', { channel, data: 1 })).status, 403, channel);
  }
});

test('an app that is not open lets nobody in without a credential', async (t) => {
  const server = await omnivox(t, { settings: OPEN.replace('open = true', `secret = "${randomBytes(32).toString('hex')}"`) });
  assert.equal((await server.get('/v1/poll?channel=a&timeout=0')).status, 401);
  assert.equal((await server.post('/v1/publish', { channel: 'a', data: 1 })).status, 401);
  assert.equal((await server.get('/v1/sse?channel=a')).status, 401);
  const socket = await connect(t, server.ws);
  const answer = await socket.subscribe('a');
  assert.deepEqual([answer.type, answer.code], ['error', 'unauthorized']);
});

test('what passes is said on the stream, what is permanent by a status', async (t) => {
  const server = await omnivox(t, { settings: `${OPEN}[limits]\nchannels_max = 1\n` });
  await server.publish('first', 1);
  const { response, inbox } = await rawStream(t, `${server.url}/v1/sse?channel=second`);
  assert.equal(response.status, 200, 'a browser never comes back after a status');
  assert.match(await inbox.next((block) => block.includes('event: error')), /limit_exceeded/);
  assert.equal((await fetch(`${server.url}/v1/sse?channel=%00`)).status, 400);
});

test('HTTP/1.0 gets an answer and the end; its stream has no chunks', async (t) => {
  const server = await omnivox(t, { settings: OPEN });
  const one = await raw(t, server.port);
  one.send('GET /health HTTP/1.0\r\nHost: localhost\r\n\r\n');
  await one.closed();
  assert.match(one.text, /^HTTP\/1\.[01] 200 [^]*"ok"/);
  const kept = await raw(t, server.port);
  for (let number = 1; number <= 2; number += 1) {
    kept.send('GET /health HTTP/1.0\r\nHost: localhost\r\nConnection: keep-alive\r\n\r\n');
    await kept.when((it) => it.text.split('connection: keep-alive').length > number, 'a connection that is kept says so');
  }
  const peer = await raw(t, server.port);
  peer.send('GET /v1/sse?channel=a HTTP/1.0\r\nHost: localhost\r\n\r\n');
  await peer.when((it) => it.text.includes('\r\n\r\n:'), 'the stream to begin with a comment, not with the size of a chunk');
  await server.publish('a', 1);
  await peer.when((it) => /^data: .*"data":1/m.test(it.text), 'an event');
});

test('HEAD has the head of GET and no body; OPTIONS answers a browser that asks first', async (t) => {
  const server = await omnivox(t, { settings: OPEN });
  const peer = await raw(t, server.port);
  peer.send('HEAD /v1/history?channel=a HTTP/1.1\r\nHost: localhost\r\n\r\nGET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n');
  await peer.closed();
  const [head, rest] = peer.text.split('\r\n\r\n', 2);
  assert.match(head, /^HTTP\/1\.1 200 /);
  assert.match(rest, /^HTTP\/1\.1 200 /, 'the next answer follows at once');
  // The length is that of the body, or is not told where the answer would be a stream (RFC 9110 §8.6).
  for (const [target, streams] of [['/v1/history?channel=a', false], ['/v1/poll?channel=a&timeout=0', false], ['/health', false], ['/v1/sse?channel=a', true]]) {
    const length = (await fetch(`${server.url}${target}`, { method: 'HEAD' })).headers.get('content-length');
    const due = streams ? null : (await fetch(`${server.url}${target}`)).headers.get('content-length');
    assert.equal(length, due, target);
    assert.notEqual(length, '0', target);
  }
  const whole = await raw(t, server.port);
  whole.send('OPTIONS * HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n');
  await whole.closed();
  assert.match(whole.text, /^HTTP\/1\.1 204 [^]*allow: GET, HEAD, POST, OPTIONS\r\n/);
  const asked = await fetch(`${server.url}/v1/publish`, {
    method: 'OPTIONS',
    headers: { origin: 'https://app.example', 'access-control-request-method': 'POST', 'access-control-request-headers': 'content-type' },
  });
  assert.ok([200, 204].includes(asked.status), `${asked.status}`);
});

test('SIGHUP takes over what can change and names what needs a restart', async (t) => {
  const server = await omnivox(t, { settings: `${OPEN}[log]\nlevel = "info"\n` });
  const file = server.child.spawnargs.at(-1);
  writeFileSync(file, `${readFileSync(file, 'utf8').replace('"info"', '"debug"')}[history]\ncount_max = 2\n[heartbeat]\nws_ping_interval_ms = 9_000\n`);
  server.child.kill('SIGHUP');
  await server.printed(/ws_ping_interval_ms = 9000/);
  for (const data of [1, 2, 3]) await server.post('/v1/publish', { channel: 'kept', data });
  assert.deepEqual((await server.get('/v1/history?channel=kept')).json.events.map(({ data }) => data), [2, 3]);
  await server.assertHealthy();
});

test('settings that are wrong change nothing on SIGHUP', async (t) => {
  const server = await omnivox(t, { settings: OPEN });
  writeFileSync(server.child.spawnargs.at(-1), '[limits]\nnonsense = 1\n');
  server.child.kill('SIGHUP');
  await server.printed(/nonsense/);
  await server.assertHealthy();
});

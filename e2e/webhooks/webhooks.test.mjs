// Webhooks: what happens is told to a back end, signed, in order, again while it is away, and after a restart of the server.
// budget: 180 s

import assert from 'node:assert/strict';
import { appendFileSync, existsSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { connect, rawStream } from '../lib/clients.mjs';
import { basic, claims, secret, token } from '../lib/credentials.mjs';
import { block } from '../lib/documents.mjs';
import { until } from '../lib/inbox.mjs';
import { BINARY, cleanEnvironment, omnivox } from '../lib/omnivox.mjs';
import { folder, program } from '../lib/programs.mjs';
import { genuine, receiver } from '../lib/receiver.mjs';
import { NEWEST, connect as socketio, joined } from '../lib/socketio.mjs';

const KEY = secret();
const SIGNING = secret();
const OTHER = secret();
const manager = { authorization: basic('shop', KEY) };
const ALL = ['occupied', 'vacated', 'member_added', 'member_removed', 'message', 'client_event'];

/// An app that is open to everyone, and one webhook that is told everything; `more` goes into the webhook, `rest` behind it.
function settings(url, more = {}, rest = '') {
  const own = { id: 'audit', app: 'shop', url: `${url}/hook?secret=in-the-address`, events: ALL, secrets: [SIGNING], batch_delay_ms: 10, debounce_ms: 200, ...more };
  const lines = Object.entries(own).map(([key, value]) => `${key} = ${JSON.stringify(value)}`).join('\n');
  return `
[server]
listen = ["127.0.0.1:0"]

[[app]]
id = "shop"
secret = "${KEY}"
open = true
allowed_origins = ["*"]

[[namespace]]
channels = "*"
anonymous = ["subscribe", "publish", "presence", "history"]

${rest}

[[webhook]]
${lines}
`;
}

const ana = (user = 'ana') => token(KEY, claims({ sub: user, aud: 'shop', channels: { '*': ['subscribe', 'publish', 'presence', 'history'] } }));

/// How each transport subscribes to a channel, and goes again.
const TRANSPORTS = {
  WebSocket: async (t, server, channel) => {
    const socket = await connect(t, server.ws);
    await socket.subscribe(channel);
    return () => socket.close();
  },
  'an event stream': async (t, server, channel) => {
    const { abort } = await rawStream(t, `${server.url}/v1/sse?channel=${channel}`);
    return abort;
  },
  'a held poll': async (t, server, channel) => {
    const abort = new AbortController();
    t.after(() => abort.abort());
    fetch(`${server.url}/v1/poll?channel=${channel}&timeout=25`, { signal: abort.signal }).catch(() => {});
    return () => abort.abort();
  },
  'Socket.IO': async (t, server, channel) => {
    const { socket } = await joined(t, NEWEST, server.url, channel);
    return () => socket.close();
  },
};

test('a channel is occupied by its first subscriber and vacated by its last one, however they come', async (t) => {
  const backend = await receiver(t);
  const server = await omnivox(t, { settings: settings(backend.url) });
  for (const [transport, subscribe] of Object.entries(TRANSPORTS)) {
    await t.test(transport, async (t) => {
      const channel = transport.replaceAll(' ', '-');
      const leave = await subscribe(t, server, channel);
      const occupied = await backend.next('occupied', channel);
      assert.deepEqual(Object.keys(occupied), ['id', 'type', 'channel', 'at', 'app', 'webhook']);
      // A second one changes nothing, neither as it comes nor as it goes.
      const second = await connect(t, server.ws);
      await second.subscribe(channel);
      await leave();
      await second.call({ type: 'publish', channel, data: 1 });
      await backend.next('client_event', channel);
      await second.close();
      await backend.next('vacated', channel);
      const others = backend.events.drain().filter((event) => event.channel === channel);
      assert.deepEqual(others, [], 'nothing else is told');
    });
  }
});

test('who comes back within the debounce was never gone', async (t) => {
  const backend = await receiver(t);
  const server = await omnivox(t, { settings: settings(backend.url, { debounce_ms: 1500 }) });
  const socket = await connect(t, server.ws);
  await socket.subscribe('back');
  await socket.subscribe('away');
  await backend.next('occupied', 'back');
  await backend.next('occupied', 'away');
  // Both go, one comes back at once. When the other one's end is told, the first one's would have been due before.
  for (const channel of ['back', 'away']) socket.send({ type: 'unsubscribe', channel });
  await socket.subscribe('back');
  await backend.next('vacated', 'away');
  assert.deepEqual(backend.events.drain(), []);
  assert.equal(await server.metric('omnivox_webhook_events_taken_back_total'), 1);
  await socket.close();
  await backend.next('vacated', 'back');
});

test('a user is added with the first entry and removed with the last one, over all protocols', async (t) => {
  const backend = await receiver(t);
  const server = await omnivox(t, { settings: settings(backend.url, { events: ['member_added', 'member_removed'] }) });
  const socket = await connect(t, server.ws, { headers: { authorization: `Bearer ${ana()}` } });
  await socket.subscribe('room');
  await socket.call({ type: 'enter', channel: 'room', data: { name: 'Ana' } });
  const added = await backend.next('member_added', 'room');
  assert.deepEqual([added.member.user, added.member.data], ['ana', { name: 'Ana' }]);
  const other = await socketio(t, NEWEST, server.url, { auth: { token: ana() } });
  assert.ok((await other.ask('join', { room: 'room', presence: true })).ok);
  // Somebody without a connection: a seat by request, as those on an event stream have.
  const seat = { channel: 'room', seat: 'a secret of the seat' };
  const bob = { authorization: `Bearer ${ana('bob')}` };
  const seated = await server.post('/v1/rooms/enter', seat, bob);
  assert.equal(seated.status, 200, seated.text);
  const { inbox, last } = seated.json;
  const stream = await rawStream(t, `${server.url}/v1/sse?channel=room&inbox=${encodeURIComponent(inbox)}&since=${last}`, { headers: bob });
  assert.equal(stream.response.status, 200);
  assert.equal((await backend.next('member_added')).member.user, 'bob', 'the second entry of ana was no event');
  await socket.close();
  await server.post('/v1/rooms/leave', { ...seat, member: seated.json.member }, bob);
  assert.equal((await backend.next('member_removed')).member.user, 'bob', 'ana is still there');
  other.socket.close();
  assert.equal((await backend.next('member_removed')).member.user, 'ana');
  assert.deepEqual(backend.events.drain(), []);
});

test('publications come as who published them, in order, in signed batches, and two apps are apart', async (t) => {
  const backend = await receiver(t);
  const blog = `[[app]]\nid = "blog"\nsecret = "${OTHER}"\n[[webhook]]\nid = "audit"\napp = "blog"\nurl = "${backend.url}/blog"\nevents = ["message"]\nbatch_delay_ms = 10\n`;
  const only = { events: ['message', 'client_event'], channels: ['chat:*'], batch_delay_ms: 300, headers: ['Authorization: Bearer of-the-receiver'] };
  const server = await omnivox(t, { settings: settings(backend.url, only, blog) });
  for (let number = 0; number < 5; number += 1) {
    const { status } = await server.post('/v1/publish', { channel: 'chat:1', event: 'news', data: { number } }, manager);
    assert.equal(status, 200);
  }
  const binary = await server.post('/v1/publish', { channel: 'chat:1', data: 'AAEC', encoding: 'base64' }, manager);
  await server.post('/v1/publish', { channel: 'other', data: 1 }, manager);
  await server.post('/v1/publish', { channel: 'chat:1', data: 'of the blog' }, { authorization: basic('blog', OTHER) });
  const client = await socketio(t, NEWEST, server.url, { auth: { token: ana() } });
  await client.ask('join', 'chat:2');
  await client.ask('publish', { room: 'chat:2', event: 'hello', data: [1] });
  const numbers = [];
  // Those of two apps come in any order.
  const of = (app, what) => backend.events.next((event) => event.app === app && event.type === 'message', what);
  for (let count = 0; count < 5; count += 1) numbers.push((await of('shop', `number ${count}`)).message.data.number);
  assert.deepEqual(numbers, [0, 1, 2, 3, 4]);
  const bytes = await backend.events.next((event) => event.message?.encoding, 'the binary message');
  assert.deepEqual([bytes.message.data, bytes.message.id], ['AAEC', binary.json.id]);
  const said = await backend.next('client_event', 'chat:2');
  assert.deepEqual([said.message.event, said.publisher.user], ['hello', 'ana']);
  const own = await of('blog', 'what the blog published');
  assert.deepEqual([own.channel, own.message.data], ['chat:1', 'of the blog']);
  assert.deepEqual(backend.events.drain(), []);

  const requests = backend.requests.drain();
  const derived = program(t, BINARY, ['secret', 'webhook', '--app', 'blog', '--config', writeTo(t, settings(backend.url, {}, blog))], { env: cleanEnvironment() });
  await derived.ended;
  const blogKey = Buffer.from(derived.output.trim().replace(/^whsec_/, ''), 'base64');
  for (const { path: target, headers, body } of requests) {
    const key = target === '/blog' ? blogKey : SIGNING;
    assert.ok(genuine(key, headers, body), `the signature of ${target}`);
    assert.ok(!genuine(secret(), headers, body));
    assert.equal(headers.authorization, target === '/blog' ? undefined : 'Bearer of-the-receiver');
    assert.equal(headers['content-type'], 'application/json');
  }
  assert.ok(requests.some(({ events }) => events.length > 1), 'they come together');
});

function writeTo(t, text) {
  const file = path.join(folder(t), 'omnivox.toml');
  writeFileSync(file, text);
  return file;
}

test('a receiver that fails, and one that is away, gets everything when it is back; the log tells', async (t) => {
  const backend = await receiver(t);
  const server = await omnivox(t, { settings: settings(backend.url, { events: ['message'], headers: ['X-Token: secret-of-the-header'] }) });
  const log = async (query = '') => (await server.get(`/v1/webhooks/deliveries${query}`, manager)).json.deliveries;
  const publish = (data) => server.post('/v1/publish', { channel: 'a', data }, manager);
  backend.answers.push(503);
  await publish('failed once');
  assert.equal((await backend.next('message')).message.data, 'failed once');
  await backend.close();
  await publish('while it was away');
  const [refused] = await until(async () => {
    const found = (await log('?status=retrying')).filter(({ answer }) => answer === null);
    return found.length > 0 && found;
  }, 'an attempt that found nobody');
  assert.match(refused.error, /no connection to `127\.0\.0\.1`/);
  assert.ok(refused.next_at > refused.at);
  await backend.listen();
  const [first, again] = [await backend.requests.next(), await backend.requests.next()];
  assert.deepEqual([first.status, again.status, first.headers['webhook-id']], [503, 204, again.headers['webhook-id']]);
  assert.deepEqual(first.body, again.body);
  assert.equal((await backend.next('message')).message.data, 'while it was away');
  const delivered = await until(async () => {
    const found = await log('?status=delivered&webhook=audit');
    return found.length === 2 && found;
  }, 'both are delivered');
  assert.deepEqual(delivered.map(({ answer, events, webhook }) => [answer, events, webhook]), [[204, 1, 'audit'], [204, 1, 'audit']]);
  assert.deepEqual(await log('?webhook=other'), []);
  assert.equal((await log('?limit=1')).length, 1);
  const everything = JSON.stringify(await log()) + server.output + (await server.get('/metrics')).text;
  for (const hidden of [SIGNING, KEY, 'in-the-address', 'secret-of-the-header', 'while it was away']) assert.ok(!everything.includes(hidden), hidden);
  assert.equal((await server.get('/v1/webhooks/deliveries')).status, 403, 'not for clients');
  assert.equal(await server.metric('omnivox_webhook_events_delivered_total'), 2);
  assert.equal(await server.metric('omnivox_webhook_events_waiting'), 0);

  const tested = await server.post('/v1/webhooks/test', { webhook: 'audit' }, manager);
  assert.equal(tested.status, 202, tested.text);
  assert.equal((await backend.next('test')).id, tested.json.id);
  assert.equal((await server.post('/v1/webhooks/test', { webhook: 'other' }, manager)).status, 404);
});

/// The one file of outboxes in a folder.
function outbox(home) {
  const name = existsSync(home) && readdirSync(home).find((file) => file.endsWith('.outbox'));
  return name && path.join(home, name);
}

test('what was taken in is delivered after a kill and a restart, and a damaged end harms nothing', async (t) => {
  const home = path.join(folder(t), 'outbox');
  const stored = `[webhooks]\nfolder = ${JSON.stringify(home)}\n`;
  const backend = await receiver(t);
  const text = settings(backend.url, { events: ['message', 'vacated', 'occupied'] }, stored);
  backend.answers.push(...Array(100).fill(500));
  const first = await omnivox(t, { settings: text });
  await first.post('/v1/publish', { channel: 'a', data: 'before the kill' }, manager);
  const { events: [told] } = await backend.requests.next();
  const second = await first.post('/v1/publish', { channel: 'b', data: 'not tried yet' }, manager);
  assert.equal(second.status, 200);
  await until(() => readFileSync(outbox(home)).includes('not tried yet'), 'it is stored');
  await first.stop('SIGKILL');
  appendFileSync(outbox(home), Buffer.from('0c00000012345678torn', 'latin1'));
  backend.answers.length = 0;
  backend.requests.drain();

  const again = await omnivox(t, { settings: text });
  const [one, other] = [await backend.next('message', 'a'), await backend.next('message', 'b')];
  assert.deepEqual([one.id, one.message.data, other.message.data], [told.id, 'before the kill', 'not tried yet']);
  assert.match(again.output, /the end of the outbox was damaged and is cut off/);

  // Stopped with a subscriber that comes back to the next start: it was never gone. One that does not is.
  const stays = await connect(t, again.ws);
  for (const channel of ['stays', 'goes']) {
    await stays.subscribe(channel);
    await backend.next('occupied', channel);
  }
  assert.equal((await again.stop()).code, 0);
  assert.deepEqual(backend.events.drain(), []);
  const third = await omnivox(t, { settings: text.replace('debounce_ms = 200', 'debounce_ms = 3000') });
  const back = await connect(t, third.ws);
  await back.subscribe('stays');
  await backend.next('vacated', 'goes');
  assert.deepEqual(backend.events.drain(), []);
});

test('a stop tells what is held back and not stored', async (t) => {
  const backend = await receiver(t);
  const server = await omnivox(t, { settings: settings(backend.url, { debounce_ms: 60_000 }) });
  const socket = await connect(t, server.ws);
  await socket.subscribe('a');
  await backend.next('occupied', 'a');
  assert.equal((await server.stop()).code, 0);
  await backend.next('vacated', 'a');
});

test('SIGHUP takes over other webhooks, and what waits goes where they say', async (t) => {
  const [before, after] = [await receiver(t), await receiver(t)];
  const file = path.join(folder(t), 'omnivox.toml');
  const server = await omnivox(t, { settings: settings(before.url, { events: ['message'] }), settingsFile: file });
  before.answers.push(...Array(100).fill(500));
  await server.post('/v1/publish', { channel: 'a', data: 'waits' }, manager);
  const { events: [waits] } = await before.requests.next();
  writeFileSync(file, settings(after.url, { events: ['message', 'occupied'] }));
  server.child.kill('SIGHUP');
  assert.equal((await after.next('message', 'a')).id, waits.id);
  const socket = await connect(t, server.ws);
  await socket.subscribe('a');
  await after.next('occupied', 'a');
});

test('`check` says what an operator should know, and refuses what can not be', async (t) => {
  const check = async (text) => {
    const run = program(t, BINARY, ['check', '--config', writeTo(t, text)], { env: cleanEnvironment() });
    return { code: (await run.ended).code, output: run.output };
  };
  const far = await check(settings('http://example.com'));
  assert.equal(far.code, 0, far.output);
  assert.match(far.output, /note: what waits for webhooks is kept in memory/);
  assert.match(far.output, /note: \[\[webhook\]\] audit: `url` is http/);
  assert.ok(!far.output.includes(SIGNING));
  const near = await check(settings('http://127.0.0.1:1', {}, '[webhooks]\nfolder = "/nowhere"\n'));
  assert.doesNotMatch(near.output, /note:/);
  const weak = await check(settings('http://127.0.0.1:1', { secrets: ['short'] }));
  assert.notEqual(weak.code, 0);
  assert.match(weak.output, /`secrets`: the secret has 5 bytes/);
});

for (const [language, command, name] of [['js', process.execPath, 'receiver.mjs'], ['python', 'python3', 'receiver.py']]) {
  test(`the receiver of the guide in ${language} believes the server and nobody else`, async (t) => {
    const file = path.join(folder(t), name);
    writeFileSync(file, block('docs/webhooks.md', language));
    const guide = `whsec_${Buffer.from(SIGNING).toString('base64')}`;
    const backend = program(t, command, [file], { env: cleanEnvironment({ PORT: '0', WEBHOOK_SECRET: guide }) });
    const [, port] = await backend.printed(/port (\d+)/);
    const server = await omnivox(t, { settings: settings(`http://127.0.0.1:${port}`) });
    const socket = await connect(t, server.ws, { headers: { authorization: `Bearer ${ana()}` } });
    await socket.call({ type: 'enter', channel: 'room' });
    await backend.printed(/member_added room ana/);
    const forged = await fetch(`http://127.0.0.1:${port}`, {
      method: 'POST',
      headers: { 'webhook-id': 'x', 'webhook-timestamp': String(Math.floor(Date.now() / 1000)), 'webhook-signature': 'v1,AAAA' },
      body: '{"events":[{"id":"x","type":"forged"}]}',
    });
    assert.equal(forged.status, 401);
    assert.doesNotMatch(backend.output, /forged/);
    // While its receiver is there: what is not stored is told at the end, for as long as a drain may take.
    assert.equal((await server.stop()).code, 0);
    await backend.printed(/member_removed room ana/);
  });
}

// SIGHUP: a hundred times under load without losing a client or a message; and everything that can change live does.
// parts: openssl
// budget: 240 s

import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import net from 'node:net';
import path from 'node:path';
import tls from 'node:tls';
import { test } from 'node:test';
import { certificate, renew, tlsSection } from '../lib/certificates.mjs';
import { connect, stream } from '../lib/clients.mjs';
import { connectHttp2 } from '../lib/http2.mjs';
import { until } from '../lib/inbox.mjs';
import { omnivox } from '../lib/omnivox.mjs';
import { folder } from '../lib/programs.mjs';
import { OPEN } from '../lib/settings.mjs';
import { NEWEST, joined, upgraded } from '../lib/socketio.mjs';

/// Sends SIGHUP and waits until the settings were read again, so many times in all.
async function reload(server, times) {
  server.child.kill('SIGHUP');
  await until(() => server.output.split('the settings were read again').length > times, `reload ${times}; it said:\n${server.output.slice(-1500)}`);
}

/// A server whose settings file the test changes.
async function changeable(t, text) {
  const file = path.join(folder(t), 'omnivox.toml');
  const server = await omnivox(t, { settings: text, settingsFile: file });
  let times = 0;
  server.change = async (changed) => {
    writeFileSync(file, changed);
    times += 1;
    await reload(server, times);
  };
  return server;
}

test('a hundred reloads under load: no client is dropped, and no message is lost', async (t) => {
  const files = certificate(t);
  const settings = `${OPEN}${tlsSection(files)}`;
  const server = await changeable(t, settings);
  const [, port] = await server.printed(/https:\/\/127\.0\.0\.1:(\d+)/);
  const ca = readFileSync(files.certificate);
  const sockets = await Promise.all(Array.from({ length: 15 }, () => connect(t, server.ws)));
  const overTls = await Promise.all(Array.from({ length: 5 }, () => connect(t, `wss://127.0.0.1:${port}/v1/ws`, { ca })));
  const second = await connectHttp2(t, port, files);
  sockets.push(...overTls, await connect(t, second.webSocket('/v1/ws')), await connect(t, second.webSocket('/v1/ws')));
  for (const socket of sockets) await socket.subscribe('load');
  const streams = await Promise.all(Array.from({ length: 10 }, () => stream(t, `${server.url}/v1/sse?channel=load`)));
  const streamsOverHttp2 = await Promise.all(Array.from({ length: 5 }, () => second.stream('/v1/sse?channel=load')));
  // Each transport of Socket.IO, plain and over TLS; whoever is cut comes back with another id, or stays away. A poll may come on a connection of its
  // own, and then meets a certificate that is its own authority and not there yet.
  const ways = [['polling'], ['websocket'], ['polling', 'websocket']].flatMap((transports) => [[server.url, { transports }], [`https://127.0.0.1:${port}`, { transports, rejectUnauthorized: false }]]);
  const socketio = await Promise.all(ways.map(([url, options]) => joined(t, NEWEST, url, ['load'], options)));
  await Promise.all(socketio.filter(({ socket }) => socket.io.opts.transports.length > 1).map(upgraded));
  const ids = socketio.map(({ socket }) => socket.io.engine.id);
  const room = (what, name, body) => server.post(`/v1/rooms/${what}`, { channel: 'meeting', seat: `the seat of ${name}, kept`, ...body });
  const { json: seat } = await room('enter', 'Ana');
  const letters = await stream(t, `${server.url}/v1/sse?inbox=${seat.inbox}&since=${seat.last}`);
  const overHttp2 = async (target) => {
    const { status, text } = await second.request('GET', target);
    return { status, text, json: JSON.parse(text) };
  };
  const { json: { last } } = await server.get('/v1/poll?channel=load&timeout=0');
  let reloading = true;
  const polls = [(target) => server.get(target), overHttp2].map(async (get) => {
    const polled = [];
    for (let mark = last; reloading || polled.at(-1) !== 'last';) {
      const { status, json, text } = await get(`/v1/poll?channel=load&timeout=5&last=${mark}`);
      assert.equal(status, 200, text);
      polled.push(...json.events.map(({ data }) => data));
      mark = json.last;
    }
    return polled;
  });
  const sent = [];
  for (let number = 0; number < 100; number += 1) {
    sent.push(number);
    const publishing = server.publish('load', number);
    if (number % 10 === 0) renew(files);
    const variants = [
      settings,
      `${settings}\n[log]\nlevel = "info,omnivox_hub=debug"\n`,
      `${settings}\n[history]\ncount_max = 1000\n`,
      `${settings}\n[drain]\nsessions_per_second = ${number + 1}\n`,
      settings.replace('[server]', '[server]\ntrusted_proxies = ["10.0.0.0/8"]'),
    ];
    await server.change(variants[number % variants.length]);
    await publishing;
  }
  reloading = false;
  sent.push('last');
  await server.publish('load', 'last');
  for (const socket of sockets) {
    for (const data of sent) assert.equal((await socket.next({ type: 'message' })).data, data);
  }
  for (const { inbox } of streams) {
    for (const data of sent) assert.equal((await inbox.next()).data.data, data);
  }
  for (const { inbox } of streamsOverHttp2) {
    for (const data of sent) assert.equal((await inbox.next()).data, data);
  }
  for (const { next } of socketio) {
    for (const data of sent) assert.equal((await next('message'))[1], data);
  }
  const { json: other } = await room('enter', 'Bob');
  await room('signal', 'Bob', { member: other.member, to: seat.member, data: 'after all of them' });
  let letter;
  do letter = (await letters.inbox.next()).data; while (letter.type !== 'signal');
  assert.equal(letter.data, 'after all of them');
  for (const polled of await Promise.all(polls)) assert.deepEqual(polled, sent);
  assert.equal(await server.metric('omnivox_closes_total'), 0);
  assert.deepEqual(socketio.map(({ socket }) => socket.connected && socket.io.engine.id), ids);
  // Four of Socket.IO's clients are on a WebSocket.
  assert.equal(await server.metric('omnivox_websocket_connections'), sockets.length + 4);
  assert.equal(await server.metric('omnivox_stream_connections'), 16);
  assert.equal(await server.metric('omnivox_http2_connections'), 1);
});

/// Whether the second of two quick requests is refused.
async function isLimited(server, headers = () => ({})) {
  for (;;) {
    const begun = performance.now();
    const first = await server.get('/health', headers(1));
    const second = await server.get('/health', headers(2));
    assert.ok([200, 429].includes(first.status), first.text);
    if (second.status === 429) return true;
    // On a busy machine the budget may have come back meanwhile.
    if (performance.now() - begun < 900) return false;
  }
}

test('everything that can change live does', async (t) => {
  const [one, other] = [certificate(t), certificate(t)];
  const settings = `${OPEN}${tlsSection(one)}`;
  const server = await changeable(t, settings);
  const [, port] = await server.printed(/https:\/\/127\.0\.0\.1:(\d+)/);
  const client = await connect(t, server.ws);
  await client.subscribe('live');

  await server.change(settings.replace('[server]', '[server]\nhosts = ["other.test"]'));
  const refused = await server.get('/health');
  assert.deepEqual([refused.status, refused.json.error.code], [403, 'host_not_allowed']);
  await server.change(settings);
  assert.equal((await server.get('/health')).status, 200);

  const metrics = async (token) => (await server.get('/metrics', token && { authorization: `Bearer ${token}` })).status;
  const operator = (token) => `${settings}\n[admin]\nnetworks = []\ntoken = "${token}"\n`;
  const [old, next] = ['4c1d8e5a90b7f2361d7c90ae52bf8341', 'e07b36d2194fa58c7b20d9e1436cf85a'];
  assert.equal(await metrics(), 200);
  await server.change(operator(old));
  assert.deepEqual([await metrics(), await metrics(old)], [403, 200]);
  await server.change(operator(next));
  assert.deepEqual([await metrics(old), await metrics(next)], [403, 200]);
  await server.change(settings);

  const limits = '\n[limits]\nrequests_per_address_per_second_max = 1\n';
  assert.equal(await isLimited(server), false);
  await server.change(settings + limits);
  assert.equal(await isLimited(server), true);
  const forwarded = (number) => ({ 'x-forwarded-for': `203.0.113.${number}` });
  assert.equal(await isLimited(server, forwarded), true, 'nobody is a trusted proxy yet');
  await server.change(settings.replace('[server]', '[server]\ntrusted_proxies = ["127.0.0.1"]') + limits);
  assert.equal(await isLimited(server, forwarded), false);
  assert.equal(await isLimited(server, () => forwarded(7)), true);
  const standard = (number) => ({ ...forwarded(7), forwarded: `for=198.51.100.${number}` });
  await server.change(settings.replace('[server]', '[server]\ntrusted_proxies = ["127.0.0.1"]\nproxy_headers = "forwarded"') + limits);
  assert.equal(await isLimited(server, standard), false);

  const shown = (files) => new Promise((resolve) => {
    const socket = tls.connect({ host: '127.0.0.1', port, servername: 'localhost', ca: readFileSync(files.certificate) });
    socket.on('secureConnect', () => { resolve(true); socket.destroy(); }).on('error', () => resolve(false));
  });
  assert.deepEqual([await shown(one), await shown(other)], [true, false]);
  await server.change(`${OPEN}${tlsSection(other)}`);
  assert.deepEqual([await shown(one), await shown(other)], [false, true], 'other files');
  renew(other);
  await server.change(`${OPEN}${tlsSection(other)}`);
  assert.equal(await shown(other), true, 'the same files with another certificate');

  await server.change(settings.replace('anonymous = ["subscribe", "publish", "presence", "history"]', 'anonymous = ["subscribe"]'));
  assert.equal((await server.post('/v1/publish', { channel: 'live', event: 'e', data: 1 })).status, 403);
  await server.change(`${settings}\n[heartbeat]\nws_ping_interval_ms = 1000\n`);
  await server.printed(/WARN.*ws_ping_interval_ms = 1[_]?000/);
  assert.equal((await server.post('/v1/publish', { channel: 'live', event: 'e', data: 'all the time' })).status, 200);
  assert.equal((await client.next({ type: 'message' })).data, 'all the time');
});

test('how many connections, handshakes and seats there may be changes live, and whoever is there stays', async (t) => {
  const files = certificate(t);
  const settings = `${OPEN}${tlsSection(files)}`;
  const limited = (...lines) => `${settings}\n[limits]\n${lines.join('\n')}\n`;
  const server = await changeable(t, settings);
  const [, port] = await server.printed(/https:\/\/127\.0\.0\.1:(\d+)/);
  const refusals = () => server.metric('omnivox_refused_connections_total');

  const room = (what, name, body) => server.post(`/v1/rooms/${what}`, { channel: 'meeting', seat: `the seat of ${name}, kept`, ...body });
  const [ana, bob] = [(await room('enter', 'Ana')).json, (await room('enter', 'Bob')).json];
  const refused = async (name, channel) => {
    const { status, json } = await room('enter', name, { channel });
    return status === 200 ? null : json.error.message.match(/seats_\w+/)[0];
  };
  await server.change(limited('seats_per_room_max = 2'));
  assert.deepEqual([await refused('Cy', 'meeting'), await refused('Cy', 'another')], ['seats_per_room_max', null]);
  await server.change(limited('seats_leased_max = 3'));
  assert.equal(await refused('Di', 'meeting'), 'seats_leased_max');
  assert.equal((await room('signal', 'Ana', { member: ana.member, to: bob.member, data: 'still here' })).status, 202);
  await server.change(settings);
  assert.equal(await refused('Di', 'meeting'), null);

  // One that says nothing keeps its handshake open; another client is then one too many, or is not.
  const silent = net.connect(port, '127.0.0.1');
  t.after(() => silent.destroy());
  await until(async () => (await server.metric('omnivox_tls_handshakes')) === 1, 'a handshake is under way');
  const shakes = () => new Promise((resolve) => {
    const socket = tls.connect({ host: '127.0.0.1', port, servername: 'localhost', ca: readFileSync(files.certificate) });
    socket.on('secureConnect', () => { resolve(true); socket.destroy(); }).on('error', () => resolve(false)).on('close', () => resolve(false));
  });
  assert.equal(await shakes(), true);
  await server.change(limited('handshakes_max = 1'));
  const before = await refusals();
  assert.equal(await shakes(), false);
  assert.equal(await refusals(), before + 1);
  await server.change(settings);
  assert.equal(await shakes(), true);

  const socket = await connect(t, server.ws);
  await socket.subscribe('live');
  await server.change(limited('connections_max = 1'));
  await assert.rejects(connect(t, server.ws));
  await server.change(limited('connections_max = 100000000'));
  await server.printed(/fewer open files than connections.*connections=100000000/);
  await server.publish('live', 'still here');
  assert.equal((await socket.next({ type: 'message' })).data, 'still here');
});

test('the pace of a drain can change until it begins', async (t) => {
  const slow = `${OPEN}[drain]\nsessions_per_second = 1\ndeadline_ms = 3600000\n`;
  const server = await changeable(t, slow);
  for (let count = 0; count < 60; count += 1) await connect(t, server.ws);
  await server.change(slow.replace('sessions_per_second = 1', 'sessions_per_second = 5000'));
  // At the old pace this would take half a minute at least.
  assert.deepEqual(await server.stop('SIGTERM', 20_000), { code: 0, signal: null });
});

test('the pages that may read answers change with a reload, in every protocol', async (t) => {
  const settings = (origins) => OPEN.replace('[[app]]', `[[app]]\nallowed_origins = ${JSON.stringify(origins)}`);
  const server = await changeable(t, settings(['https://one.test']));
  const targets = ['/v1/poll?channel=a&timeout=0', '/v1/ice', '/.well-known/oauth-protected-resource/.well-known/mercure', '/socket.io/?EIO=4&transport=polling'];
  const reads = async (origin) => Promise.all(targets.map(async (target) => {
    const answer = await fetch(server.url + target, { headers: { origin } });
    await answer.body?.cancel();
    return [answer.headers.get('access-control-allow-origin'), answer.headers.get('access-control-allow-credentials')];
  }));
  const all = (answer) => targets.map(() => answer);
  const [named, nobody] = [(origin) => all([origin, 'true']), all([null, null])];
  assert.deepEqual(await reads('https://one.test'), named('https://one.test'));
  assert.deepEqual(await reads('https://two.test'), nobody);

  await server.change(settings(['https://*.two.test']));
  assert.deepEqual(await reads('https://one.test'), nobody);
  assert.deepEqual(await reads('https://www.two.test'), named('https://www.two.test'));
  for (const target of targets) {
    const asked = await fetch(server.url + target, { method: 'OPTIONS', headers: { origin: 'https://www.two.test', 'access-control-request-method': 'GET' } });
    assert.equal(asked.headers.get('access-control-allow-origin'), 'https://www.two.test', target);
  }

  await server.change(settings(['*']));
  assert.deepEqual(await reads('https://any.test'), all(['*', null]), 'any page, but without credentials');
  await server.change(settings([]));
  assert.deepEqual(await reads('https://any.test'), nobody);
});

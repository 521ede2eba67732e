// Floods: half-open TLS handshakes, heads and bodies that never end, compression bombs, clients that all come at once. Memory stays bounded, and
// a neighbour goes on as if nothing were.
// parts: openssl
// budget: 240 s

import assert from 'node:assert/strict';
import https from 'node:https';
import net from 'node:net';
import { deflateRawSync } from 'node:zlib';
import { test } from 'node:test';
import { certificate, tlsSection } from '../lib/certificates.mjs';
import { connect, stream } from '../lib/clients.mjs';
import { until } from '../lib/inbox.mjs';
import { omnivox } from '../lib/omnivox.mjs';
import { raw } from '../lib/raw.mjs';
import { OPEN } from '../lib/settings.mjs';

/// Opens so many sockets, a few at a time, each of which says `text` and then waits; gives how many were closed by the other side so far.
async function flood(t, port, count, text) {
  const sockets = new Set();
  const state = { closed: 0 };
  t.after(() => sockets.forEach((socket) => socket.destroy()));
  const open = () => new Promise((resolve) => {
    const socket = net.connect({ port, host: '127.0.0.1' }, () => { if (text) socket.write(text, 'latin1'); resolve(); });
    socket.on('error', resolve).on('close', () => { state.closed += 1; sockets.delete(socket); }).resume();
    sockets.add(socket);
  });
  for (let opened = 0; opened < count; opened += 250) await Promise.all(Array.from({ length: Math.min(250, count - opened) }, open));
  return state;
}

/// The answer of /health over TLS, whoever signed the certificate.
function fetchSecurely(port) {
  return new Promise((resolve, reject) => {
    https.get({ port, host: '127.0.0.1', path: '/health', rejectUnauthorized: false }, (response) => resolve(response.resume())).on('error', reject);
  });
}

/// A neighbour that talks to itself all the time; `end` says how many rounds it had.
async function neighbour(t, server) {
  const client = await connect(t, server.ws);
  await client.subscribe('neighbour');
  let [rounds, going] = [0, true];
  const talking = (async () => {
    for (; going; rounds += 1) {
      client.send({ type: 'publish', channel: 'neighbour', event: 'e', data: rounds });
      assert.equal((await client.next({ type: 'message' })).data, rounds);
    }
  })();
  return { rounds: () => rounds, end: async () => { going = false; await talking; return rounds; } };
}

const MB = 1024;

test('10,000 half-open TLS handshakes', async (t) => {
  const settings = `${OPEN}${tlsSection(certificate(t))}\n[limits]\nhead_time_max_ms = 3000\n`;
  const server = await omnivox(t, { settings });
  const [, port] = await server.printed(/https:\/\/127\.0\.0\.1:(\d+)/);
  const beside = await neighbour(t, server);
  const before = server.residentKb();
  // The first bytes of a ClientHello that is 512 bytes long.
  const state = await flood(t, Number(port), 10_000, '\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03');
  assert.ok(server.residentKb() - before < 300 * MB, `${server.residentKb() - before} KB more`);
  // Whoever doesn't go on is closed, by the bound of handshakes or by their time.
  await until(() => state.closed === 10_000, `all are closed; ${state.closed} are`, 30_000);
  assert.equal(await server.metric('omnivox_tls_handshakes'), 0);
  const ended = (await server.metric('omnivox_tls_handshake_failures_total')) + (await server.metric('omnivox_refused_connections_total'));
  assert.equal(ended, 10_000);
  assert.ok((await beside.end()) > 0);
  await server.assertHealthy();
});

test('as many handshakes are under way as the setting says', async (t) => {
  const settings = `${OPEN}${tlsSection(certificate(t))}\n[limits]\nhandshakes_max = 50\nhead_time_max_ms = 5000\n`;
  const server = await omnivox(t, { settings });
  const [, port] = await server.printed(/https:\/\/127\.0\.0\.1:(\d+)/);
  const state = await flood(t, Number(port), 60, '\x16\x03\x01');
  await until(() => state.closed >= 10, 'those beyond are closed');
  assert.equal(await server.metric('omnivox_refused_connections_total'), 10);
  assert.equal(await server.metric('omnivox_tls_handshakes'), 50);
  // The address without TLS is not concerned, and whoever was refused may come again when the others are through.
  await server.assertHealthy();
  await until(() => state.closed === 60, 'the others have no more time', 30_000);
  const secure = await fetchSecurely(Number(port));
  assert.equal(secure.statusCode, 200);
});

for (const [what, text] of [
  ['heads', 'GET /health HTTP/1.1\r\nHost: localhost\r\nX-Slow: '],
  ['bodies', 'POST /v1/publish HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 60000\r\n\r\n{"channel":"'],
]) {
  test(`3,000 ${what} that never end`, async (t) => {
    const server = await omnivox(t, { settings: `${OPEN}\n[limits]\nhead_time_max_ms = 3000\nbody_time_max_ms = 3000\n` });
    const beside = await neighbour(t, server);
    const before = server.residentKb();
    const state = await flood(t, server.port, 3_000, text);
    assert.ok(server.residentKb() - before < 100 * MB, `${server.residentKb() - before} KB more`);
    await until(() => state.closed === 3_000, `all are closed; ${state.closed} are`, 30_000);
    assert.ok((await beside.end()) > 0);
    await server.assertHealthy();
  });
}

test('compression bombs are closed with 1009, and never unpacked', async (t) => {
  const server = await omnivox(t, { settings: OPEN.replace('[server]', '[server]\ndeflate = true') });
  const beside = await neighbour(t, server);
  // 256 MiB of zeroes in 256 KiB.
  const bomb = deflateRawSync(Buffer.alloc(256 << 20), { level: 9 });
  const header = Buffer.alloc(14);
  // FIN, RSV1, text; masked with zeroes.
  header[0] = 0xc1;
  header[1] = 0xff;
  header.writeBigUInt64BE(BigInt(Math.min(bomb.length, 60_000)), 2);
  const frame = Buffer.concat([header, bomb.subarray(0, 60_000)]);
  const before = server.residentKb();
  for (let round = 0; round < 5; round += 1) {
    await Promise.all(Array.from({ length: 20 }, async () => {
      const peer = await raw(t, server.port);
      peer.send('GET /v1/ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n'
        + 'Sec-WebSocket-Key: x3JJHMbDL1EzLkh9GBhXDw==\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n');
      await peer.when(() => peer.text.includes('permessage-deflate') && peer.text.includes('\r\n\r\n'), 'the handshake');
      peer.send(frame);
      await peer.closed();
      const close = peer.received.subarray(peer.received.lastIndexOf(0x88));
      assert.equal(close.readUInt16BE(2), 1009, peer.text);
      peer.socket.destroy();
    }));
  }
  assert.ok(server.residentKb() - before < 50 * MB, `${server.residentKb() - before} KB more`);
  assert.ok((await beside.end()) > 0);
});

test('a storm of clients that come back: so many a second are let in, the others are told when to try again', async (t) => {
  const server = await omnivox(t, { settings: `${OPEN}\n[limits]\nconnects_per_second_max = 100\n` });
  const storm = await Promise.all(Array.from({ length: 600 }, async () => {
    const peer = await raw(t, server.port);
    peer.send('GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n');
    await peer.closed();
    peer.socket.destroy();
    return peer.text;
  }));
  const served = storm.filter((answer) => answer.startsWith('HTTP/1.1 200 ')).length;
  const refused = storm.filter((answer) => answer.startsWith('HTTP/1.1 429 ') && answer.includes('limits.connects_per_second_max'));
  const told = refused.length;
  // Each its own place in time, half a minute ahead at most.
  for (const answer of refused) {
    const [, seconds] = answer.match(/retry-after: (\d+)\r\n/i);
    assert.ok(seconds >= 1 && seconds <= 31, seconds);
  }
  assert.equal(served + told, 600, 'nobody is left without an answer');
  assert.ok(served >= 100 && told > 0, `${served} were served`);
  // Who tries again is let in by and by.
  await until(async () => (await raw(t, server.port).then(async (peer) => {
    peer.send('GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n');
    await peer.closed();
    return peer.text;
  })).startsWith('HTTP/1.1 200 '), 'a client of the storm is let in');
  // Who asks for the numbers may have to try again, too.
  await until(async () => (await server.metric('omnivox_throttled_connections_total')) >= told, 'the metric counts them');
});

for (const limit of ['connects_per_second_max', 'requests_per_address_per_second_max']) test(`an EventSource beyond ${limit} is told in a stream when to come back, and comes back by itself`, async (t) => {
  const server = await omnivox(t, { settings: `${OPEN}\n[limits]\n${limit} = 1\n`.replace('[[app]]', '[[app]]\nallowed_origins = ["https://page.test"]') });
  const told = await until(async () => {
    const peer = await raw(t, server.port);
    peer.send('GET /v1/sse?channel=a HTTP/1.1\r\nHost: localhost\r\nOrigin: https://page.test\r\nAccept: text/event-stream\r\n\r\n');
    await peer.when((it) => it.text.includes('retry: '), 'a stream that says when');
    peer.socket.destroy();
    return peer.text.includes(limit) ? peer.text : undefined;
  }, 'one to be turned away');
  assert.match(told, /^HTTP\/1\.1 200 /);
  assert.match(told, /access-control-allow-origin: https:\/\/page\.test\r\n/);
  assert.match(told, /\nretry: \d{4,5}\n/);
  const sources = await Promise.all([1, 2, 3].map(() => stream(t, `${server.url}/v1/sse?channel=a`)));
  assert.equal(sources.length, 3, 'all of them came in by and by');
});

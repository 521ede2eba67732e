// Requests that no client should send, on raw sockets: each is refused, the connection closed, and nobody else notices.
// budget: 240 s

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { MALFORMED, PATH_TRICKS, SMUGGLED_CHANNEL } from '../lib/battery.mjs';
import { connect } from '../lib/clients.mjs';
import { until } from '../lib/inbox.mjs';
import { omnivox } from '../lib/omnivox.mjs';
import { raw } from '../lib/raw.mjs';
import { OPEN } from '../lib/settings.mjs';

test('malformed heads and bodies: an error, then the end of the connection', async (t) => {
  const server = await omnivox(t);
  const neighbour = await connect(t, server.ws);
  await neighbour.subscribe('neighbour');
  for (const [name, request] of MALFORMED) {
    await t.test(name, async (t) => {
      const peer = await raw(t, server.port);
      peer.send(request(`127.0.0.1:${server.port}`));
      await peer.closed();
      const responses = peer.responses();
      assert.ok(responses.length <= 1, `answered ${responses.length} requests: ${peer.text}`);
      if (peer.text !== '') {
        assert.match(peer.text, /^HTTP\/1\.[01] [45]\d\d /);
        assert.match(JSON.parse(responses[0].body).error.code, /^[a-z0-9_]+$/, peer.text);
      }
    });
  }
  assert.deepEqual((await server.get(`/v1/history?channel=${SMUGGLED_CHANNEL}`)).json.events, [], 'a hidden request was carried out');
  await server.publish('neighbour', 'untouched');
  assert.equal((await neighbour.next({ type: 'message' })).data, 'untouched');
});

test('path tricks are served as nothing else', async (t) => {
  const server = await omnivox(t);
  for (const target of PATH_TRICKS) {
    await t.test(target, async (t) => {
      const peer = await raw(t, server.port);
      peer.send(`GET ${target} HTTP/1.1\r\nHost: 127.0.0.1:${server.port}\r\nConnection: close\r\n\r\n`);
      const { status, body } = await peer.response();
      assert.ok(status >= 400 && status < 500, `${status} ${body.slice(0, 200)}`);
      assert.doesNotMatch(peer.text, /root:|\r\nX-A:/);
    });
  }
});

test('a host that is not ours is refused with the name of the setting', async (t) => {
  const server = await omnivox(t);
  for (const host of ['evil.test', 'localhost.evil.test', '127.0.0.1.evil.test', '169.254.169.254', '[::2]', '0x7f.1', 'a@localhost']) {
    const peer = await raw(t, server.port);
    peer.send(`GET /health HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`);
    const { status } = await peer.response();
    assert.ok([400, 403, 421].includes(status), `${host}: ${status}`);
  }
  for (const host of ['localhost', `localhost:${server.port}`, '127.0.0.1', '[::1]', 'LOCALHOST']) {
    const peer = await raw(t, server.port);
    peer.send(`GET /health HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`);
    assert.equal((await peer.response()).status, 200, host);
  }
});

test('an origin that is not ours is refused on every transport', async (t) => {
  const server = await omnivox(t);
  const body = { channel: 'a', event: 'e', data: 1 };
  for (const origin of ['https://evil.test', 'null', 'http://localhost.evil.test', 'http://127.0.0.1.evil.test:80', 'file://']) {
    for (const [method, target, sent] of [['GET', '/sse?channel=a'], ['GET', '/poll?channel=a&timeout=0'], ['POST', '/publish', body], ['GET', '/v1/channels']]) {
      const { status, json } = await server.request(method, target, sent, { origin });
      assert.equal(status, 403, `${origin} ${target}`);
      assert.match(json.error.message, /origin/i);
    }
    await assert.rejects(connect(t, server.ws, { origin }), /403/);
  }
  assert.equal((await server.get('/poll?channel=a&timeout=0', { origin: 'http://localhost:3000' })).status, 200);
});

test('requests that come in one packet are answered in order', async (t) => {
  const server = await omnivox(t);
  const peer = await raw(t, server.port);
  const host = `Host: 127.0.0.1:${server.port}`;
  const body = JSON.stringify({ channel: 'pipe', event: 'e', data: 1 });
  peer.send(`GET /health HTTP/1.1\r\n${host}\r\n\r\nPOST /publish HTTP/1.1\r\n${host}\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n${body}`
    + `GET /poll?channel=pipe&timeout=0&last=0 HTTP/1.1\r\n${host}\r\n\r\nGET /nowhere HTTP/1.1\r\n${host}\r\n\r\n`);
  const answers = await peer.when((it) => (it.responses().length === 4 ? it.responses() : null), 'four answers');
  assert.deepEqual(answers.map(({ status }) => status), [200, 200, 200, 404]);
  assert.deepEqual(JSON.parse(answers[2].body).events.map(({ data }) => data), [1]);
});

test('a chunked body, also byte by byte, is one publication', async (t) => {
  const server = await omnivox(t);
  const peer = await raw(t, server.port);
  const body = JSON.stringify({ channel: 'chunks', event: 'e', data: 'in pieces' });
  const pieces = [body.slice(0, 7), body.slice(7, 20), body.slice(20)];
  const chunks = pieces.map((piece) => `${piece.length.toString(16)};x="y"\r\n${piece}\r\n`).join('');
  const bytes = `POST /publish HTTP/1.1\r\nHost: 127.0.0.1:${server.port}\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n${chunks}0\r\nX-Trailer: 1\r\n\r\n`;
  for (const byte of bytes) peer.send(byte);
  assert.equal((await peer.response()).status, 200);
  peer.send(`GET /health HTTP/1.1\r\nHost: 127.0.0.1:${server.port}\r\n\r\n`);
  await peer.when((it) => it.responses().length === 2, 'the connection to be usable after a trailer');
});

test('slow senders of heads and bodies are cut off; idle connections too', async (t) => {
  const server = await omnivox(t, { settings: `${OPEN}[limits]\nhead_time_max_ms = 500\nbody_time_max_ms = 500\nkeep_alive_time_max_ms = 500\n` });
  const host = `Host: 127.0.0.1:${server.port}`;
  const cases = [
    ['nothing at all', ''],
    ['half a request line', 'GET /hea'],
    ['half a head', `GET /health HTTP/1.1\r\n${host}\r\nX-A: b`],
    ['half a body', `POST /v1/publish HTTP/1.1\r\n${host}\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{`],
    ['half a chunk', `POST /v1/publish HTTP/1.1\r\n${host}\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{`],
    ['a whole request and then nothing', `GET /health HTTP/1.1\r\n${host}\r\n\r\n`],
  ];
  for (const [name, bytes] of cases) {
    await t.test(name, async (t) => {
      const peer = await raw(t, server.port);
      peer.send(bytes);
      await peer.closed(10_000);
    });
  }
  await t.test('one header byte at a time', async (t) => {
    const peer = await raw(t, server.port);
    peer.send(`GET /health HTTP/1.1\r\n${host}\r\nX-Slow: `);
    const drip = setInterval(() => peer.send('x'), 50);
    t.after(() => clearInterval(drip));
    await peer.closed(10_000);
  });
  await server.assertHealthy();
});

test('five hundred connections that send half a head cost bounded memory and nobody their turn', async (t) => {
  const server = await omnivox(t);
  const before = server.residentKb();
  const peers = await Promise.all(Array.from({ length: 500 }, () => raw(t, server.port)));
  for (const peer of peers) peer.send(`GET /ws HTTP/1.1\r\nHost: 127.0.0.1:${server.port}\r\nX-A: ${'x'.repeat(1000)}`);
  await server.assertHealthy();
  const grown = server.residentKb() - before;
  assert.ok(grown < 500 * 64, `${grown} KB for 500 half heads`);
});

test('half-open peers: the end of their sending ends a stream and frees it', async (t) => {
  const server = await omnivox(t);
  const peer = await raw(t, server.port);
  peer.send(`GET /sse?channel=half HTTP/1.1\r\nHost: 127.0.0.1:${server.port}\r\n\r\n`);
  await peer.when((it) => it.text.includes('\r\n\r\n'), 'the head of a stream');
  const there = async () => JSON.stringify((await server.get('/v1/channels')).json).includes('"half"');
  assert.ok(await there());
  peer.socket.destroy();
  await until(async () => !(await there()), 'the channel of a client that went is gone');
});

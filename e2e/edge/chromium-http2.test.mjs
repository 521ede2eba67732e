// Real Chromium over HTTP/2: all of a page's streams on one connection, and WebSockets on it, too (RFC 8441).
// parts: chromium, openssl
// budget: 180 s

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { certificate, tlsSection } from '../lib/certificates.mjs';
import { page } from '../lib/chromium.mjs';
import { omnivox } from '../lib/omnivox.mjs';
import { OPEN } from '../lib/settings.mjs';

test('twelve event streams, four held polls and three WebSockets of one page share one HTTP/2 connection', async (t) => {
  const server = await omnivox(t, { settings: `${OPEN}${tlsSection(certificate(t))}` });
  const [, port] = await server.printed(/https:\/\/127\.0\.0\.1:(\d+)/);
  const tab = await page(t, { anyCertificate: true });
  await tab.goto(`https://localhost:${port}/health`);
  assert.equal(await tab.evaluate(() => performance.getEntriesByType('navigation')[0].nextHopProtocol), 'h2');

  await tab.evaluate(async () => {
    window.got = { streams: [], polls: [], sockets: [] };
    // A browser has six connections to a host over HTTP/1.1; over HTTP/2 this is no bound.
    await Promise.all(Array.from({ length: 12 }, (_, index) => new Promise((resolve, reject) => {
      const source = new EventSource(`/v1/sse?channel=shared&n=${index}`);
      source.onopen = resolve;
      source.onerror = reject;
      source.onmessage = (event) => window.got.streams.push(JSON.parse(event.data).data);
    })));
    window.sockets = await Promise.all(Array.from({ length: 3 }, () => new Promise((resolve, reject) => {
      const socket = new WebSocket(`wss://${location.host}/v1/ws?channel=shared`);
      socket.onerror = reject;
      socket.onmessage = (event) => {
        const message = JSON.parse(event.data);
        if (message.type === 'subscribed') resolve(socket);
        if (message.type === 'message') window.got.sockets.push(message.data);
      };
    })));
    const { last } = await (await fetch('/v1/poll?channel=shared&timeout=0')).json();
    for (let index = 0; index < 4; index += 1) {
      fetch(`/v1/poll?channel=shared&timeout=20&last=${last}&n=${index}`).then((answer) => answer.json()).then(({ events }) => window.got.polls.push(...events.map(({ data }) => data)));
    }
  });
  const big = 'x'.repeat(40_000);
  await tab.evaluate((data) => window.sockets[0].send(JSON.stringify({ type: 'publish', channel: 'shared', event: 'e', data })), big);
  await tab.waitForFunction(() => window.got.streams.length === 12 && window.got.sockets.length === 3 && window.got.polls.length === 4);
  const got = await tab.evaluate(() => window.got);
  for (const data of [...got.streams, ...got.sockets, ...got.polls]) assert.equal(data, big);

  assert.equal(await server.metric('omnivox_http2_websockets_total'), 3, 'WebSockets by extended CONNECT');
  assert.equal(await server.metric('omnivox_http2_connections'), 1);
  assert.equal(await server.metric('omnivox_stream_connections'), 12);
  // A page that goes away takes its streams with it.
  await tab.close();
  for (let left = 1; left > 0;) left = await server.metric('omnivox_sessions');
  assert.equal(await server.metric('omnivox_websocket_connections'), 0);
});

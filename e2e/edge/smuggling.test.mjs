// The same bytes for omnivox, nginx and HAProxy: where they differ, omnivox is the strictest.
// parts: nginx, haproxy
// budget: 240 s

import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import { test } from 'node:test';
import { MALFORMED, SLOPPY } from '../lib/battery.mjs';
import { omnivox } from '../lib/omnivox.mjs';
import { haproxy, nginx } from '../lib/proxies.mjs';
import { raw } from '../lib/raw.mjs';

/// The status of the first answer; 0 when the connection ends without one, or when the peer waits for more.
async function verdict(t, port, request) {
  const peer = await raw(t, port);
  peer.send(request(`127.0.0.1:${port}`));
  const answer = () => /^HTTP\/1\.[01] (\d{3})/.exec(peer.text);
  await peer.when(() => answer() || peer.over, 'an answer', 2_000).catch(() => peer.socket.end());
  if (!answer()) await peer.closed();
  peer.socket.destroy();
  return answer() ? Number(answer()[1]) : 0;
}

const isServed = (status) => status >= 200 && status < 300;

test('what nginx or HAProxy refuses is refused here, too', async (t) => {
  const server = await omnivox(t);
  // Behind the proxies stands somebody who serves everything, so that the refusals are theirs.
  const anything = createServer((request, response) => { request.resume().on('end', () => response.end('ok')); });
  await new Promise((resolve) => anything.listen(0, '127.0.0.1', resolve));
  t.after(() => anything.close());
  const upstream = anything.address().port;
  const proxies = [['nginx', (await nginx(t, upstream)).port], ['haproxy', (await haproxy(t, upstream)).port]];
  const stricter = [];
  for (const [what, request] of [...MALFORMED, ...SLOPPY]) {
    await t.test(what, async (t) => {
      const ours = await verdict(t, server.port, request);
      for (const [name, port] of proxies) {
        const theirs = await verdict(t, port, request);
        assert.ok(!isServed(ours) || isServed(theirs), `${name} answers ${theirs}, omnivox ${ours}`);
        if (isServed(theirs) && !isServed(ours)) stricter.push(`${name}: ${what}`);
      }
    });
  }
  t.diagnostic(`stricter than ${stricter.join('; ')}`);
  assert.ok(stricter.length > 0, 'the battery tells servers apart');
});

test('what is sound is served by all', async (t) => {
  const server = await omnivox(t);
  for (const [what, start] of [['directly', async () => server], ['nginx', nginx], ['haproxy', haproxy]]) {
    const { port } = await start(t, server.port);
    const body = '{"channel":"sound","data":1}';
    const post = (headers, sent) => (host) => `POST /publish HTTP/1.1\r\nHost: ${host}\r\nContent-Type: application/json\r\n${headers}\r\n\r\n${sent}`;
    for (const request of [
      (host) => `GET /health HTTP/1.1\r\nHost: ${host}\r\n\r\n`,
      post(`Content-Length: ${body.length}`, body),
      post('Transfer-Encoding: chunked', `${body.length.toString(16)}\r\n${body}\r\n0\r\n\r\n`),
    ]) assert.equal(await verdict(t, port, request), 200, `${what}: ${request('host')}`);
  }
});

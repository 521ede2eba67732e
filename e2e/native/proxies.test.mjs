// The same through real nginx and HAProxy: every transport works, and what a proxy passes on can't be smuggled through.
// parts: nginx, haproxy
// budget: 300 s

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { MALFORMED, SMUGGLED_CHANNEL } from '../lib/battery.mjs';
import { connect, stream } from '../lib/clients.mjs';
import { omnivox } from '../lib/omnivox.mjs';
import { haproxy, nginx } from '../lib/proxies.mjs';
import { raw } from '../lib/raw.mjs';

for (const [name, start] of [['nginx', nginx], ['haproxy', haproxy]]) {
  test(`${name}: WebSocket, event stream, poll and publish`, async (t) => {
    const server = await omnivox(t);
    const proxy = await start(t, server.port);
    const socket = await connect(t, proxy.ws);
    await socket.subscribe('general');
    const events = await stream(t, `${proxy.url}/sse?channel=general`);
    const { last } = await (await fetch(`${proxy.url}/poll?channel=general&timeout=0`)).json();
    const held = fetch(`${proxy.url}/poll?channel=general&last=${last}&timeout=20`);
    const answer = await fetch(`${proxy.url}/publish`, {
      method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify({ channel: 'general', event: 'chat', data: 'through' }),
    });
    assert.equal(answer.status, 200);
    assert.equal((await socket.next({ type: 'message' })).data, 'through');
    assert.equal((await events.inbox.next()).data.data, 'through');
    assert.deepEqual((await (await held).json()).events.map(({ data }) => data), ['through']);
  });

  test(`${name}: a large message and many of them`, async (t) => {
    const server = await omnivox(t);
    const proxy = await start(t, server.port);
    const [one, other] = [await connect(t, proxy.ws), await connect(t, proxy.ws)];
    await other.subscribe('big');
    const big = 'x'.repeat(30_000);
    for (let number = 0; number < 50; number += 1) one.send({ type: 'publish', channel: 'big', event: `${number}`, data: big });
    for (let number = 0; number < 50; number += 1) {
      const message = await other.next({ type: 'message' });
      assert.deepEqual([message.event, message.data.length], [`${number}`, big.length]);
    }
  });

  test(`${name}: nothing hidden gets through, and the next client's connection is its own`, async (t) => {
    const server = await omnivox(t);
    const proxy = await start(t, server.port);
    for (const [what, request] of MALFORMED) {
      await t.test(what, async (t) => {
        const peer = await raw(t, proxy.port);
        peer.send(request(`127.0.0.1:${proxy.port}`));
        // Whatever the proxy makes of it, the end of our sending must end the matter.
        peer.socket.end();
        await peer.closed();
        // The proxy keeps connections to the server: what was left in one would answer this.
        const answer = await fetch(`${proxy.url}/v1/history?channel=${SMUGGLED_CHANNEL}`);
        assert.equal(answer.status, 200);
        assert.ok(Array.isArray((await answer.json()).events), 'the answer to our own request, not to a hidden one');
      });
    }
    await server.assertHealthy();
  });
}

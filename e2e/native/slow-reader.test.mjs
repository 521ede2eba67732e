// A client that does not read is cut off with a reason and resumes; nobody else notices, and the server does not grow.
// budget: 180 s

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { connect } from '../lib/clients.mjs';
import { omnivox } from '../lib/omnivox.mjs';
import { OPCODE, frame, raw, upgraded } from '../lib/raw.mjs';

/// Far beyond what the kernel's buffers of one connection take, in messages of 30 KB.
const MESSAGES = 1200;
const PAYLOAD = 'x'.repeat(30_000);

const CASES = [
  ['WebSocket', async (t, server) => {
    const peer = await upgraded(t, server.port);
    peer.send(frame(OPCODE.text, '{"type":"subscribe","channel":"flood"}'));
    await peer.when((it) => it.text.includes('subscribed'), 'a subscription');
    return peer;
  }],
  ['event stream', async (t, server) => {
    const peer = await raw(t, server.port);
    peer.send(`GET /sse?channel=flood HTTP/1.1\r\nHost: 127.0.0.1:${server.port}\r\n\r\n`);
    await peer.when((it) => it.text.includes('\r\n\r\n'), 'a stream');
    return peer;
  }],
];

for (const [name, slow] of CASES) {
  test(`a slow ${name} is cut off while its neighbour gets everything`, async (t) => {
    const server = await omnivox(t);
    const [publisher, neighbour] = [await connect(t, server.ws), await connect(t, server.ws)];
    await neighbour.subscribe('flood');
    const peer = await slow(t, server);
    peer.socket.pause();
    const before = server.residentKb();

    // The neighbour shares this process with the publisher, so it sets the pace: what it has not read yet must never be what fills its outbox.
    for (let number = 0; number < MESSAGES; number += 1) {
      publisher.send({ type: 'publish', channel: 'flood', event: `${number}`, data: PAYLOAD, ref: number });
      if (number % 20 < 19) continue;
      await publisher.next({ ref: number });
      for (let due = number - 19; due <= number; due += 1) assert.equal((await neighbour.next({ type: 'message' })).event, `${due}`);
    }

    const there = async () => (await neighbour.call({ type: 'ping' })).type === 'pong';
    assert.ok(await there());
    const grown = server.residentKb() - before;
    assert.ok(grown < 48 * 1024, `${grown} KB for ${MESSAGES * 30} KB that nobody reads`);

    // What the kernel still holds comes out, and then the end.
    peer.socket.resume();
    await peer.closed(20_000);
    const metrics = (await server.get('/metrics')).text;
    assert.match(metrics, /^omnivox_closes_total\{reason="slow_consumer"\} [1-9]/m, 'a metric counts slow clients');
  });
}

test('a client that was cut off resumes where it was', async (t) => {
  const server = await omnivox(t);
  const slow = await connect(t, server.ws);
  await slow.subscribe('flood');
  const publisher = await connect(t, server.ws);
  slow.ws.pause();
  for (let number = 0; number < MESSAGES; number += 1) {
    publisher.send({ type: 'publish', channel: 'flood', event: `${number}`, data: PAYLOAD, ref: number });
    if (number % 20 === 19) await publisher.next({ ref: number });
  }
  slow.ws.resume();
  const { code } = await slow.closed;
  assert.ok([1006, 1008, 1013].includes(code) || code >= 4000, `close code ${code}`);
  const got = messages(slow);
  assert.deepEqual(got, got.map((_, number) => number), 'an unbroken beginning');
  assert.ok(got.length > 0 && got.length < MESSAGES, `${got.length} of ${MESSAGES}`);

  const back = await connect(t, server.ws);
  const answer = await back.subscribe('flood', { since: slow.mark });
  const missed = messages(back);
  assert.deepEqual(missed, missed.map((_, at) => MESSAGES - missed.length + at), 'an unbroken end');
  assert.equal(answer.gap, missed[0] !== got.length, `gap: ${answer.gap}, ${got.length} before the cut, then from ${missed[0]}`);
});

test('a resume of all that history holds comes through', async (t) => {
  const server = await omnivox(t);
  const mark = await server.publish('deep', 'first');
  const count = 990;
  for (let number = 0; number < count; number += 1) await server.publish('deep', 'x'.repeat(4000), { event: `${number}` });
  const back = await connect(t, server.ws);
  const answer = await back.subscribe('deep', { since: mark });
  const missed = messages(back);
  assert.deepEqual(missed, missed.map((_, at) => count - missed.length + at), 'an unbroken end');
  assert.equal(answer.gap, missed.length !== count, `gap: ${answer.gap}, ${missed.length} of ${count}`);
  assert.equal((await back.call({ type: 'ping' })).type, 'pong');
});

/// The numbers of the messages that have come; the mark of the last stays with the socket.
function messages(socket) {
  const got = socket.inbox.drain().filter(({ type }) => type === 'message');
  socket.mark = got.at(-1)?.id;
  return got.map(({ event }) => Number(event));
}

// From polling: the client before and each client after show the same orders, those from before they came and those after, each once.

import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import { test } from 'node:test';
import { guide } from '../lib/guides.mjs';
import { omnivox } from '../lib/omnivox.mjs';

const EXPECTED = ['order 1: tea', 'order 2: milk', 'order 3: cups', 'order 4: 😀'];

async function startShop(start, name, env) {
  const shop = start(name, { PORT: '0', ...env });
  const [SHOP] = await shop.printed(/http:\/\/\S+/);
  return { SHOP, order: (item) => order(SHOP, item) };
}

async function order(shop, item) {
  const { status } = await fetch(`${shop}/orders`, { method: 'POST', body: JSON.stringify({ item }) });
  assert.equal(status, 201, item);
}

const lines = (client) => client.output.trim().split('\n');

test('before: short-poll.mjs', async (t) => {
  const start = guide(t);
  const { SHOP, order } = await startShop(start, 'orders-before.mjs');
  for (const item of ['tea', 'milk']) await order(item);
  const client = start('short-poll.mjs', { SHOP });
  await client.printed(/order 2/);
  for (const item of ['cups', '😀']) await order(item);
  await client.printed(/order 4/);
  assert.deepEqual(lines(client), EXPECTED);
});

for (const name of ['long-poll.mjs', 'event-source.mjs', 'socketio.mjs']) {
  test(`after: ${name}`, async (t) => {
    const server = await omnivox(t);
    const start = guide(t);
    const { SHOP, order } = await startShop(start, 'orders-after.mjs', { OMNIVOX: server.url });
    for (const item of ['tea', 'milk']) await order(item);
    const client = start(name, { SHOP, OMNIVOX: server.url });
    await client.printed(/order 2/);
    for (const item of ['cups', '😀']) await order(item);
    await client.printed(/order 4/);
    assert.deepEqual(lines(client), EXPECTED);
  });
}

for (const name of ['long-poll.mjs', 'event-source.mjs', 'socketio.mjs']) {
  test(`${name}: what is no longer kept is loaded again, and what comes twice is shown once`, async (t) => {
    const server = await omnivox(t);
    const start = guide(t);
    const orders = [{ number: 1, item: 'tea' }];
    // The shop gives a mark of a time that is no more, as to a client that was away for long; then it has one order more.
    let mark = 'gone-1';
    const shop = createServer((_, response) => {
      response.end(JSON.stringify({ orders, mark }));
      if (mark === 'gone-1') { mark = 'earliest'; orders.push({ number: 2, item: 'milk' }); }
    });
    t.after(() => shop.close());
    await new Promise((listening) => { shop.listen(0, '127.0.0.1', listening); });
    const client = start(name, { SHOP: `http://127.0.0.1:${shop.address().port}`, OMNIVOX: server.url });
    await client.printed(/order 2/);
    for (const order of [orders[1], { number: 3, item: 'cups' }]) await server.publish('orders', order, { event: 'order' });
    await client.printed(/order 3/);
    assert.deepEqual(lines(client), EXPECTED.slice(0, 3));
  });
}

// Connection state recovery and reconnecting through a proxy that cuts at random bytes: nothing lost, doubled or out of order.
// budget: 240 s

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { cuttingProxy, deadLine } from '../lib/cutting-proxy.mjs';
import { until, within } from '../lib/inbox.mjs';
import { omnivox } from '../lib/omnivox.mjs';
import { NEWEST, TRANSPORTS, joined, upgraded } from '../lib/socketio.mjs';

const SEED = Number(process.env.SEED ?? 20_261_122);
const MESSAGES = 400;

for (const [transport, options] of TRANSPORTS) {
  test(`${transport}: rooms and missed events come back, more than once`, async (t) => {
    const server = await omnivox(t);
    const client = await joined(t, NEWEST, server.url, 'general', options);
    const { socket } = client;
    for (let round = 0; round < 3; round += 1) {
      const id = socket.id;
      const gone = new Promise((resolve) => { socket.once('disconnect', resolve); });
      const back = new Promise((resolve) => { socket.once('connect', resolve); });
      socket.io.engine.close();
      await within(gone, 'the disconnect');
      await server.publish('general', round, { event: 'missed' });
      await within(back, 'the reconnect');
      assert.equal(socket.recovered, true, `round ${round}`);
      assert.equal(socket.id, id);
      assert.equal((await client.next('missed'))[1], round);
      await server.publish('general', round, { event: 'live' });
      assert.equal((await client.next('live'))[1], round);
    }
    assert.equal(client.inbox.length, 0, 'nothing twice');
  });

  test(`${transport}: cut at random bytes (SEED=${SEED})`, async (t) => {
    const server = await omnivox(t);
    // A poll is a connection of its own and carries little.
    const bytes = transport === 'polling' ? { bytesMin: 200, bytesMax: 3000 } : { bytesMin: 1000, bytesMax: 4000 };
    const proxy = await cuttingProxy(t, { port: server.port, seed: SEED, ...bytes });
    proxy.cutting = false;
    const clients = [];
    for (let count = 0; count < 3; count += 1) {
      const client = await joined(t, NEWEST, proxy.url, 'general', options);
      client.seen = [];
      client.socket.on('tick', (number) => client.seen.push(number));
      client.fresh = 0;
      client.socket.on('connect', () => { if (!client.socket.recovered) { client.fresh += 1; client.socket.emit('join', 'general'); } });
      clients.push(client);
    }
    let number = 0;
    const publish = () => server.publish('general', number++, { event: 'tick' });
    await publish();
    await until(() => clients.every(({ seen }) => seen.length > 0), 'every client hears the first');
    proxy.cutting = true;
    const everywhere = () => until(() => clients.every(({ seen }) => seen.at(-1) === number - 1), 'the newest number is everywhere', 30_000);
    for (let count = 1; count <= MESSAGES; count += 1) {
      await publish();
      // All publishing at once would be over before the first is cut.
      if (count % 10 === 0) await everywhere();
    }
    proxy.calm();
    await everywhere();
    for (const { seen, fresh } of clients) {
      assert.equal(fresh, 0, 'every reconnect was a recovery');
      assert.deepEqual(seen, Array.from({ length: number }, (_, at) => at));
    }
    assert.ok(proxy.cuts > 8, `only ${proxy.cuts} cuts`);
    t.diagnostic(`${proxy.cuts} cuts`);
  });
}

test('a client that had received nothing yet is recovered as well', async (t) => {
  const server = await omnivox(t);
  const client = await joined(t, NEWEST, server.url, 'quiet');
  const back = new Promise((resolve) => { client.socket.once('connect', resolve); });
  client.socket.io.engine.close();
  await server.publish('quiet', 'first', { event: 'missed' });
  await within(back, 'the reconnect');
  assert.equal(client.socket.recovered, true);
  assert.equal((await client.next('missed'))[1], 'first');
});

for (const [transport, options] of TRANSPORTS) {
  test(`${transport}: a loss that the server has not noticed, and an acknowledgement that times out meanwhile`, async (t) => {
    const server = await omnivox(t);
    const line = await deadLine(t, server.port);
    const client = await joined(t, NEWEST, line.url, 'general', options);
    if (!options.transports) await upgraded(client);
    const { socket } = client;
    const id = socket.id;
    // Nothing gets through any more, and nobody is told.
    line.dead = true;
    await assert.rejects(socket.timeout(50).emitWithAck('publish', 'general', 'lost', 1), /timed out/);
    const gone = new Promise((resolve) => { socket.once('disconnect', resolve); });
    const back = new Promise((resolve) => { socket.once('connect', resolve); });
    await server.publish('general', 'missed', { event: 'missed' });
    line.dropClients();
    await within(gone, 'the disconnect');
    await within(back, 'the reconnect');
    assert.deepEqual([socket.recovered, socket.id], [true, id]);
    assert.equal((await client.next('missed'))[1], 'missed');
    socket.volatile.emit('publish', 'general', 'volatile', 1);
    assert.equal((await client.next('volatile'))[1], 1);
    assert.equal(client.inbox.length, 0, 'what was lost on the dead line stays lost, and nothing comes twice');
  });
}

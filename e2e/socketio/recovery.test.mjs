// Connection state recovery: across a blip, for a client that had received nothing, and across a loss that the server has not noticed.
// budget: 120 s

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { deadLine } from '../lib/cutting-proxy.mjs';
import { until, within } from '../lib/inbox.mjs';
import { omnivox } from '../lib/omnivox.mjs';
import { NEWEST, TRANSPORTS, joined, upgraded } from '../lib/socketio.mjs';

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
    // The client itself drops it while a POST of its own is under way.
    await until(() => socket.io.engine.transport.writable, 'the transport can take a packet');
    socket.volatile.emit('publish', 'general', 'volatile', 1);
    assert.equal((await client.next('volatile'))[1], 1);
    assert.equal(client.inbox.length, 0, 'what was lost on the dead line stays lost, and nothing comes twice');
  });
}

// The unmodified peerjs client in Chromium: two peers exchange data over our relay; an id that is taken; a peer that never comes.
// parts: chromium

import assert from 'node:assert/strict';
import path from 'node:path';
import { test } from 'node:test';
import { page } from '../lib/chromium.mjs';
import { ROOT, omnivox } from '../lib/omnivox.mjs';

const CLIENT = path.join(ROOT, 'e2e/node_modules/peerjs/dist/peerjs.min.js');

test('two peers in a page', async (t) => {
  const server = await omnivox(t);
  const { json: { iceServers } } = await server.get('/v1/ice?channel=peerjs');
  const tab = await page(t);
  await tab.goto(`${server.url}/`);
  await tab.addScriptTag({ path: CLIENT });
  const got = await tab.evaluate(async ({ port, iceServers }) => {
    const options = { host: '127.0.0.1', port, path: '/peerjs', config: { iceServers, iceTransportPolicy: 'relay' } };
    const once = (target, event) => new Promise((resolve) => { target.once(event, resolve); });
    const bob = new window.Peer('bob', options);
    await once(bob, 'open');
    const ana = new window.Peer(options);
    const id = await once(ana, 'open');
    const heard = new Promise((resolve) => { bob.on('connection', (connection) => connection.on('data', (data) => { connection.send({ back: data.text }); resolve(data); })); });
    const connection = ana.connect('bob', { metadata: { a: 1 } });
    await once(connection, 'open');
    const answer = once(connection, 'data');
    connection.send({ text: 'hi' });
    const [there, back] = [await heard, await answer];
    const taken = await once(new window.Peer('bob', options), 'error');
    ana.connect('nobody');
    const absent = await once(ana, 'error');
    return { id, there, back, taken: taken.type, absent: absent.type };
  }, { port: server.port, iceServers });
  assert.match(got.id, /^[0-9a-f]{8}-[0-9a-f]{4}-4/);
  assert.deepEqual({ ...got, id: undefined }, { id: undefined, there: { text: 'hi' }, back: { back: 'hi' }, taken: 'unavailable-id', absent: 'peer-unavailable' });
});

// The unmodified peerjs client in Chromium: two peers exchange data over our relay; an id that is taken; a peer that never comes.
// parts: chromium

import assert from 'node:assert/strict';
import path from 'node:path';
import { test } from 'node:test';
import { page } from '../lib/chromium.mjs';
import { ROOT, omnivox } from '../lib/omnivox.mjs';

const CLIENT = path.join(ROOT, 'e2e/node_modules/peerjs/dist/peerjs.min.js');

/// Runs a function in a page that has the client, with the options of a peer that is reached over our relay alone, and a way to await an event.
async function clientInPage(t) {
  const server = await omnivox(t);
  const { json: { iceServers } } = await server.get('/v1/ice?channel=peerjs');
  const tab = await page(t);
  await tab.goto(`${server.url}/`);
  await tab.addScriptTag({ path: CLIENT });
  const options = { host: '127.0.0.1', port: server.port, path: '/peerjs', config: { iceServers, iceTransportPolicy: 'relay' } };
  const once = '(target, event) => new Promise((resolve) => { target.once(event, resolve); })';
  return (run) => tab.evaluate(`(${run})(${JSON.stringify(options)}, ${once})`);
}

test('two peers in a page', async (t) => {
  const evaluate = await clientInPage(t);
  const got = await evaluate(async (options, once) => {
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
  });
  assert.match(got.id, /^[0-9a-f]{8}-[0-9a-f]{4}-4/);
  assert.deepEqual({ ...got, id: undefined }, { id: undefined, there: { text: 'hi' }, back: { back: 'hi' }, taken: 'unavailable-id', absent: 'peer-unavailable' });
});

test('an id of the server, a key that is wrong, a peer that comes late, reconnect()', async (t) => {
  const evaluate = await clientInPage(t);
  const got = await evaluate(async (options, once) => {
    const wrong = await once(new window.Peer('eve', { ...options, key: 'other' }), 'error');
    const ana = new window.Peer(options);
    const id = await once(ana, 'open');
    // What is said to it before it is there waits for it.
    const early = ana.connect('late');
    const opened = once(early, 'open');
    const late = new window.Peer('late', options);
    const met = await once(late, 'connection');
    await opened;
    // The connection between the two goes on without the server, and the same id is had again.
    const disconnected = once(ana, 'disconnected');
    ana.disconnect();
    await disconnected;
    const hears = once(met, 'data');
    early.send('still here');
    const heard = await hears;
    const again = once(ana, 'open');
    ana.reconnect();
    const sameId = await again;
    const back = late.connect(id);
    await once(back, 'open');
    late.destroy();
    // The server learns of it on another connection than the next one's, so that may be a moment early.
    let free;
    do {
      const next = new window.Peer('late', options);
      free = await Promise.race([once(next, 'open'), once(next, 'error').then(({ type }) => type)]);
    } while (free === 'unavailable-id');
    return { wrong: wrong.type, id, sameId, heard, free };
  });
  assert.deepEqual(got, { wrong: 'server-error', id: got.id, sameId: got.id, heard: 'still here', free: 'late' });
});

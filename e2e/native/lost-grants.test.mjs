// Who loses a grant while connected, by a renewed credential or by new settings, loses what it was good for, and nothing else.

import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { test } from 'node:test';
import { connect } from '../lib/clients.mjs';
import { claims, secret, token } from '../lib/credentials.mjs';
import { omnivox } from '../lib/omnivox.mjs';

const KEY = secret();
const settings = (rights) => `[server]\nlisten = ["127.0.0.1:0"]\n\n[[app]]\nid = "shop"\nsecret = "${KEY}"\n
[[namespace]]\nchannels = "room"\nauthenticated = ${JSON.stringify(rights)}\n`;
const EVERYTHING = ['subscribe', 'publish', 'presence', 'history'];
const shown = (user, channels) => token(KEY, claims({ sub: user, channels }));

/// Ana is seen in the room and sees the others there; Bob looks on.
async function world(t, server, grants) {
  const ana = await connect(t, server.ws, { headers: { authorization: `Bearer ${shown('ana', grants)}` } });
  const bob = await connect(t, server.ws, { headers: { authorization: `Bearer ${shown('bob', { '*': EVERYTHING })}` } });
  assert.equal((await ana.subscribe('room', { presence: true })).type, 'subscribed');
  assert.equal((await ana.subscribe('plain')).type, 'subscribed');
  assert.equal((await bob.subscribe('room', { presence: true })).type, 'subscribed');
  assert.equal((await ana.call({ type: 'enter', channel: 'room' })).type, 'entered');
  assert.equal((await bob.next({ type: 'presence', action: 'enter' })).member.user, 'ana');
  return { ana, bob };
}

async function lost({ ana, bob }) {
  assert.equal((await bob.next({ type: 'presence', action: 'leave' })).member.user, 'ana', 'she is no longer there');
  assert.equal((await ana.next({ type: 'unsubscribed' })).channel, 'room', 'a subscription that shows the members needs the right to see them');
  assert.deepEqual((await bob.call({ type: 'presence', channel: 'room' })).members, []);
  const again = await ana.call({ type: 'enter', channel: 'room' });
  assert.deepEqual([again.type, again.code], ['error', 'forbidden']);
  assert.equal((await ana.subscribe('room')).type, 'subscribed', 'she may still listen');
  for (const channel of ['room', 'plain']) assert.equal((await ana.call({ type: 'publish', channel, data: channel })).type, 'published');
  for (const channel of ['room', 'plain']) assert.equal((await ana.next({ type: 'message', channel })).data, channel);
}

test('a renewed credential without presence', async (t) => {
  const server = await omnivox(t, { settings: settings([]) });
  const both = await world(t, server, { '*': EVERYTHING });
  const renewed = await both.ana.call({ type: 'connect', token: shown('ana', { '*': ['subscribe', 'publish', 'history'] }) });
  assert.equal(renewed.type, 'connected');
  await lost(both);
});

test('new settings without presence', async (t) => {
  const server = await omnivox(t, { settings: settings(EVERYTHING) });
  const both = await world(t, server, { plain: ['subscribe', 'publish'] });
  const file = server.child.spawnargs[server.child.spawnargs.indexOf('--config') + 1];
  writeFileSync(file, readFileSync(file, 'utf8').replace(JSON.stringify(EVERYTHING), JSON.stringify(['subscribe', 'publish'])));
  server.child.kill('SIGHUP');
  await lost(both);
});

// What a user, an app and a connection may have; who may read the metrics; and what a reload takes from living connections.

import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { test } from 'node:test';
import { connect, rawStream } from '../lib/clients.mjs';
import { basic, claims, secret, token } from '../lib/credentials.mjs';
import { within } from '../lib/inbox.mjs';
import { omnivox } from '../lib/omnivox.mjs';

const KEY = secret();
const settings = (more, app = '') => `
[server]
listen = ["127.0.0.1:0"]

[[app]]
id = "shop"
secret = "${KEY}"
${app}
${more}
`;
const as = (user) => ({ authorization: `Bearer ${token(KEY, claims({ sub: user }))}` });

test('a user has so many connections, over whichever transport', async (t) => {
  const server = await omnivox(t, { settings: settings('[limits]\nconnections_per_user_max = 2') });
  const first = await connect(t, server.ws, { headers: as('ana') });
  await first.subscribe('a');
  const { response } = await rawStream(t, `${server.url}/v1/sse?channel=a`, { headers: as('ana') });
  assert.equal(response.status, 200);
  const third = await server.get('/v1/history?channel=a', as('ana'));
  assert.deepEqual([third.status, third.json.error.code], [429, 'limit_exceeded']);
  assert.match(third.json.error.message, /limits\.connections_per_user_max/);
  assert.equal((await server.get('/v1/history?channel=a', as('bob'))).status, 200, 'others are not concerned');
  assert.ok((await server.metric('omnivox_quota_refusals_total')) >= 1);
  await first.close();
  for (;;) {
    const { status } = await server.get('/v1/history?channel=a', as('ana'));
    if (status === 200) break;
    assert.equal(status, 429);
  }
});

test('publications have a pace for a connection, a user and an app', async (t) => {
  for (const setting of ['publications_per_second_max', 'publications_per_user_per_second_max', 'publications_per_app_per_second_max']) {
    const server = await omnivox(t, { settings: settings(`[limits]\n${setting} = 1`) });
    const socket = await connect(t, server.ws, { headers: as('ana') });
    const answers = await Promise.all(Array.from({ length: 20 }, (_, data) => socket.call({ type: 'publish', channel: 'a', data })));
    assert.equal(answers[0].type, 'published');
    const refused = answers.filter(({ type }) => type === 'error');
    assert.ok(refused.length > 0, setting);
    for (const { code, message } of refused) assert.deepEqual([code, message.includes(`limits.${setting}`)], ['limit_exceeded', true]);
    assert.equal((await socket.call({ type: 'ping' })).type, 'pong', 'the connection stays');
  }
});

test('who sends too many messages is cut off with 4429', async (t) => {
  const server = await omnivox(t, { settings: settings('[limits]\nmessages_per_second_max = 5') });
  const socket = await connect(t, server.ws, { headers: as('ana') });
  for (let sent = 0; sent < 200; sent += 1) socket.send({ type: 'ping' });
  const { code, reason } = await within(socket.closed, 'the flood to end');
  assert.equal(code, 4429);
  assert.match(reason, /limits\.messages_per_second_max/);
  const { text } = await server.get('/metrics');
  assert.match(text, /omnivox_closes_total\{reason="quota"\} 1\n/);
});

test('the metrics are the operator\'s', async (t) => {
  const admin = secret();
  const server = await omnivox(t, { settings: settings(`[admin]\ntoken = "${admin}"\nnetworks = []`) });
  const metrics = (headers) => server.get('/metrics', headers);
  assert.equal((await metrics()).status, 403);
  assert.match((await metrics()).json.error.message, /admin\.token/);
  assert.equal((await metrics({ authorization: `Bearer ${secret()}` })).status, 403);
  assert.equal((await metrics(as('ana'))).status, 403);
  assert.equal((await metrics({ authorization: `Bearer ${admin}` })).status, 200);
  assert.equal((await server.get('/health')).status, 200);
  const local = await omnivox(t, { settings: settings('') });
  assert.equal((await local.get('/metrics')).status, 200, 'this machine may');
  for (const header of ['x-forwarded-for', 'forwarded', 'x-real-ip', 'via']) {
    assert.equal((await local.get('/metrics', { [header]: '203.0.113.7' })).status, 403, `what a proxy passes on: ${header}`);
  }
});

test('a reload ends what lost its key and unsubscribes what lost its grant', async (t) => {
  const namespace = (rights) => `[[namespace]]\nchannels = "news"\nauthenticated = ${rights}\n`;
  const further = secret();
  const apiKey = `[[api_key]]\nid = "reader"\nsecret = "${further}"\nallow = ["*=subscribe"]\n`;
  const server = await omnivox(t, { settings: settings(namespace('["subscribe"]') + apiKey) });
  const file = server.child.spawnargs[server.child.spawnargs.indexOf('--config') + 1];
  const written = readFileSync(file, 'utf8');
  const ana = await connect(t, server.ws, { headers: { authorization: `Bearer ${token(KEY, claims({ channels: {} }))}` } });
  await ana.subscribe('news');
  const backEnd = await connect(t, server.ws, { headers: { authorization: basic('reader', further) } });
  await backEnd.subscribe('a');
  writeFileSync(file, written.replace(namespace('["subscribe"]'), namespace('[]')).replace(apiKey, ''));
  server.child.kill('SIGHUP');
  assert.equal((await ana.next({ type: 'unsubscribed' })).channel, 'news');
  assert.equal((await within(backEnd.closed, 'the key to be gone')).code, 4401);
  assert.equal((await ana.call({ type: 'ping' })).type, 'pong', 'nobody else is disturbed');
  writeFileSync(file, readFileSync(file, 'utf8').replace(KEY, secret()));
  server.child.kill('SIGHUP');
  assert.equal((await within(ana.closed, 'the old secret to be gone')).code, 4401);
});

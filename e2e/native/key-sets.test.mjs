// Key sets of an identity provider: from an address and from a file, rotation, a provider that fails, and floods of unknown keys.

import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import { createServer } from 'node:http';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { connect } from '../lib/clients.mjs';
import { claims, secret, signedToken, token } from '../lib/credentials.mjs';
import { until } from '../lib/inbox.mjs';
import { omnivox } from '../lib/omnivox.mjs';
import { folder } from '../lib/programs.mjs';

const KEY = secret();

/// A key pair with an id, and the public half as a provider publishes it.
function key(kid) {
  const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  return { kid, privateKey, jwk: { ...publicKey.export({ format: 'jwk' }), kid, use: 'sig', alg: 'ES256' } };
}

const mint = ({ privateKey, kid }, more) => signedToken(privateKey, claims({ aud: 'shop', ...more }), { alg: 'ES256', kid });

/// An identity provider that counts who asks.
async function provider(t, keys) {
  const state = { keys, asked: 0, answer: () => [200, JSON.stringify({ keys: state.keys.map(({ jwk }) => jwk) })] };
  const server = createServer((request, response) => {
    state.asked += 1;
    const [status, body] = state.answer();
    response.writeHead(status, { 'content-type': 'application/json' }).end(body);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => { server.closeAllConnections(); server.close(); });
  state.url = `http://127.0.0.1:${server.address().port}/keys.json`;
  return state;
}

const settings = (location, more = '') => `
[server]
listen = ["127.0.0.1:0"]

[[app]]
id = "shop"
secret = "${KEY}"
token_key_set = "${location}"
token_audiences = ["shop"]
${more}
`;

const ask = (server, shown) => server.get('/v1/history?channel=a', { authorization: `Bearer ${shown}` });
const accepted = (server, shown) => until(async () => (await ask(server, shown)).status === 200, 'the token to be accepted');

test('keys rotate, a provider that fails changes nothing, and its tokens never manage', async (t) => {
  const [first, second] = [key('first'), key('second')];
  const source = await provider(t, [first]);
  const server = await omnivox(t, { settings: settings(source.url, 'token_key_set_pause_ms = 200') });
  await accepted(server, mint(first));
  const socket = await connect(t, server.ws, { headers: { authorization: `Bearer ${mint(first)}` } });
  source.keys = [second];
  assert.match((await ask(server, mint(second))).json.error.message, /token_key_set/, 'unknown for a moment');
  await accepted(server, mint(second));
  await until(async () => (await ask(server, mint(first))).status === 401, 'the old key to be gone');
  assert.equal((await socket.call({ type: 'ping' })).type, 'pong', 'a rotation ends nobody');
  for (const answer of [() => [500, 'no'], () => [200, '<html>']]) {
    source.answer = answer;
    const failures = await server.metric('omnivox_key_set_failures_total');
    await until(async () => {
      assert.equal((await ask(server, mint(key('third')))).status, 401);
      return (await server.metric('omnivox_key_set_failures_total')) > failures;
    }, 'a fetch to fail');
    assert.equal((await ask(server, mint(second))).status, 200, 'the keys that are there stay');
  }
  const manages = mint(second, { channels: { '*': ['manage'] } });
  assert.equal((await server.post('/v1/revoke', { user: 'ana' }, { authorization: `Bearer ${manages}` })).status, 403);
  const foreign = await ask(server, mint(second, { aud: 'somebody-else' }));
  assert.deepEqual([foreign.status, /token_audiences/.test(foreign.text)], [401, true]);
  // The published key is no secret, and its set is pinned to public algorithms.
  const confused = await ask(server, token(JSON.stringify(second.jwk), claims({ aud: 'shop' }), { alg: 'HS256', kid: 'second' }));
  assert.equal(confused.status, 401);
});

test('a flood of unknown keys costs the provider one request in the pause, and nobody else anything', async (t) => {
  const mine = key('mine');
  const source = await provider(t, [mine]);
  const server = await omnivox(t, { settings: settings(source.url, 'token_key_set_pause_ms = 600_000') });
  await accepted(server, mint(mine));
  const before = source.asked;
  const shown = mint(mine);
  const stranger = key('x');
  for (let round = 0; round < 40; round += 1) {
    const flood = Array.from({ length: 50 }, (_, each) => ask(server, signedToken(stranger.privateKey, claims({ aud: 'shop' }), { alg: 'ES256', kid: `k${round}-${each}` })));
    const neighbour = await ask(server, shown);
    assert.equal(neighbour.status, 200, `round ${round}: the neighbour is served`);
    for (const { status } of await Promise.all(flood)) assert.equal(status, 401);
  }
  assert.ok(source.asked - before <= 1, `2,000 unknown keys caused ${source.asked - before} fetches`);
});

test('a file is read again when it changes', async (t) => {
  const [first, second] = [key('first'), key('second')];
  const file = path.join(folder(t), 'keys.json');
  const write = (...keys) => writeFileSync(file, JSON.stringify({ keys: keys.map(({ jwk }) => jwk) }));
  write(first);
  const server = await omnivox(t, { settings: settings(file) });
  await accepted(server, mint(first));
  write(first, second);
  await accepted(server, mint(second));
  assert.equal((await ask(server, mint(first))).status, 200);
});

test('tokens of Mercure are judged by the same key set', async (t) => {
  const [known, unknown] = [key('first'), key('second')];
  const source = await provider(t, [known]);
  const server = await omnivox(t, { settings: settings(source.url) });
  await accepted(server, mint(known));
  const publish = async (shown) => {
    const headers = { authorization: `Bearer ${mint(shown, { channels: undefined, mercure: { publish: ['*'] } })}`, 'content-type': 'application/x-www-form-urlencoded' };
    return (await server.request('POST', '/.well-known/mercure', 'topic=a&data=hi', headers)).status;
  };
  assert.deepEqual([await publish(known), await publish(unknown)], [200, 401]);
});

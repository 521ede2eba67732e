// `omnivox explain` against what the server does: with the keys of an identity provider, with hooks, and where presence is off.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { generateKeyPairSync } from 'node:crypto';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import path from 'node:path';
import { test } from 'node:test';
import { backend, hook } from '../lib/backend.mjs';
import { claims, secret, signedToken, token } from '../lib/credentials.mjs';
import { until } from '../lib/inbox.mjs';
import { BINARY, cleanEnvironment, omnivox } from '../lib/omnivox.mjs';
import { folder, freePort } from '../lib/programs.mjs';

const KEY = secret();
const app = (more) => `[server]\nlisten = ["127.0.0.1:0"]\n\n[[app]]\nid = "shop"\nsecret = "${KEY}"\n${more}`;

/// What it prints, and its exit code.
function explain(t, settings, channel, shown, more = []) {
  const file = path.join(folder(t), 'omnivox.toml');
  writeFileSync(file, settings);
  const who = shown ? ['--token', shown] : [];
  return new Promise((resolve) => {
    const options = { env: cleanEnvironment() };
    execFile(BINARY, ['explain', '--config', file, '--channel', channel, ...who, ...more], options, (error, stdout, stderr) =>
      resolve({ code: error?.code ?? 0, stdout, stderr }));
  });
}

test('a token is judged by the keys of its provider: from a file, an address, or the file that is named instead', async (t) => {
  const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const jwk = { ...publicKey.export({ format: 'jwk' }), kid: 'one', use: 'sig', alg: 'ES256' };
  const keys = path.join(folder(t), 'keys.json');
  writeFileSync(keys, JSON.stringify({ keys: [jwk] }));
  const provider = createServer((_, response) => response.end(JSON.stringify({ keys: [jwk] }))).listen(0, '127.0.0.1');
  await once(provider, 'listening');
  t.after(() => { provider.closeAllConnections(); provider.close(); });
  const served = `http://127.0.0.1:${provider.address().port}/keys.json`;
  const nowhere = `http://127.0.0.1:${await freePort()}/keys.json?of=hidden`;
  const shown = (channels, kid = 'one') => signedToken(privateKey, claims({ channels }), { alg: 'ES256', kid });
  const mayRead = shown({ a: ['subscribe', 'history'] });
  const settings = (location) => app(`token_key_set = "${location}"\n`);
  const server = await omnivox(t, { settings: settings(keys) });
  await until(async () => (await server.get('/v1/history?channel=a', { authorization: `Bearer ${mayRead}` })).status === 200, 'the server has the keys');
  for (const [location, credential, more, code, words] of [
    [keys, mayRead, [], 0, /user ana of app shop, channel a\n {2}subscribe +yes .*\n {2}publish +no /],
    [served, mayRead, [], 0, /subscribe +yes /],
    [served, shown({}, 'two'), [], 4, /no key has the `kid`/],
    [nowhere, mayRead, [], 3, /app\.token_key_set` http:\/\/127\.0\.0\.1:\d+\/keys\.json\?…: .*--keys/],
    [nowhere, mayRead, ['--keys', keys], 0, /subscribe +yes /],
    [nowhere, token(KEY, claims({ channels: { a: ['subscribe'] } })), [], 0, /subscribe +yes /],
    [served, mayRead, ['--keys', '/nonexistent.json'], 1, /--keys \/nonexistent\.json: No such file/],
    ['/nonexistent.json', mayRead, [], 1, /app\.token_key_set` \/nonexistent\.json: No such file/],
  ]) {
    const found = await explain(t, settings(location), 'a', credential, more);
    assert.equal(found.code, code, `${location} ${more}: ${found.stdout}${found.stderr}`);
    assert.match(found.stdout + found.stderr, words, `${location} ${more}`);
    assert.doesNotMatch(found.stderr, /hidden/);
  }
});

test('where a hook has the last word, that is said', async (t) => {
  const asked = await backend(t, secret(), ({ event }) => (event === 'publish' ? { allow: true } : { allow: false, reason: 'the room is full' }));
  const rules = hook(asked, ['subscribe', 'publish'], 'channels = "chat:*"').replace('"test"', '"rules"');
  const settings = `${app('')}${rules}`;
  const server = await omnivox(t, { settings });
  const shown = token(KEY, claims({ channels: { '*': ['subscribe'] } }));
  const bearer = { authorization: `Bearer ${shown}` };
  const hooked = await explain(t, settings, 'chat:1', shown);
  assert.match(hooked.stdout, /subscribe +yes .*hook `rules` is asked about it, and may deny it\n/);
  assert.match(hooked.stdout, /publish +no .*hook `rules` is asked about it, and may allow it\n/);
  assert.match(hooked.stdout, /history +no (?!.*hook)/, 'nobody asks about that');
  const refused = await server.get('/v1/poll?channel=chat:1&timeout=0', bearer);
  assert.deepEqual([refused.status, refused.json.error.message], [403, 'hook `rules`: the room is full']);
  assert.equal((await server.post('/v1/publish', { channel: 'chat:1', data: 1 }, bearer)).status, 200);
  assert.doesNotMatch((await explain(t, settings, 'news', shown)).stdout, /hook/, 'another channel');
  const door = hook(asked, ['connect'], 'pass_token = true').replace('"test"', '"door"');
  for (const [credential, code, words] of [
    [shown, 0, /\nhook `door` is asked when it connects: it may refuse, name the user and give more grants\n$/],
    [undefined, 4, /a credential is needed.*hook `door` is asked when it connects, and may let it in/],
    ['session-of-ben', 4, /not a signed token.*hook `door`/],
    [token(KEY, claims({ exp: 1 })), 4, /expired \d+ s ago(?!.*hook)/],
  ]) {
    const found = await explain(t, `${app('')}${door}`, 'news', credential);
    assert.equal(found.code, code, found.stdout + found.stderr);
    assert.match(found.stdout + found.stderr, words);
  }
});

test('presence in a namespace that has none', async (t) => {
  const settings = `${app('')}\n[[namespace]]\nchannels = "quiet"\npresence = false\n`;
  const server = await omnivox(t, { settings });
  const shown = token(KEY, claims({ channels: { '*': ['presence'] } }));
  assert.match((await explain(t, settings, 'quiet', shown)).stdout, /presence +yes .*; but nobody can enter: presence is off in namespace `quiet` \(its `presence` setting\)/);
  assert.doesNotMatch((await explain(t, settings, 'loud', shown)).stdout, /presence is off/);
  const entered = await server.get('/v1/presence?channel=quiet', { authorization: `Bearer ${shown}` });
  assert.deepEqual([entered.status, entered.json.members], [200, []]);
});

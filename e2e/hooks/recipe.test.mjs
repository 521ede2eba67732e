// The program of docs/hooks.md does what the page says.

import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { hook } from '../lib/backend.mjs';
import { claims, secret, token } from '../lib/credentials.mjs';
import { block } from '../lib/documents.mjs';
import { omnivox } from '../lib/omnivox.mjs';
import { accepting, folder, freePort, program } from '../lib/programs.mjs';

test('the recipe answers, and believes nobody else', async (t) => {
  const key = secret();
  const port = await freePort();
  const back = { url: `http://127.0.0.1:${port}/omnivox`, secret: secret() };
  const file = path.join(folder(t), 'hooks.mjs');
  writeFileSync(file, block('docs/hooks.md', 'js'));
  program(t, process.execPath, [file], { env: { ...process.env, HOOK_SECRET: back.secret, PORT: String(port) } });
  await accepting(port);
  const app = `[server]\nlisten = ["127.0.0.1:0"]\n[[app]]\nid = "shop"\nsecret = "${key}"\n`;
  const server = await omnivox(t, { settings: `${app}${hook(back, ['connect', 'subscribe', 'publish', 'call', 'event'])}` });
  const ana = { authorization: `Bearer ${token(key, claims({ channels: { chat: ['publish'] } }))}` };
  assert.equal((await server.get('/v1/poll?channel=user:ana&timeout=0', ana)).status, 200);
  assert.equal((await server.get('/v1/poll?channel=user:ben&timeout=0', ana)).status, 403);
  assert.equal((await server.post('/v1/publish', { channel: 'chat', data: { text: 'hello' } }, ana)).status, 200);
  const spam = await server.post('/v1/publish', { channel: 'chat', data: { text: 'buy spam' } }, ana);
  assert.equal(spam.status, 403);
  assert.match(spam.text, /no spam here/);
  const { json } = await server.post('/v1/call', { method: 'time' }, ana);
  assert.ok(Math.abs(json.data - Date.now()) < 60_000);
  assert.equal((await server.post('/v1/call', { method: 'fly' }, ana)).status, 404);
  const forged = await fetch(back.url, {
    method: 'POST',
    headers: { 'webhook-id': 'x', 'webhook-timestamp': String(Math.floor(Date.now() / 1000)), 'webhook-signature': `v1,${Buffer.alloc(32).toString('base64')}` },
    body: '{}',
  });
  assert.equal(forged.status, 401);
});

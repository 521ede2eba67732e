// Who takes a seat and is gone in the same breath leaves no ghost behind.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { until } from '../lib/inbox.mjs';
import { omnivox } from '../lib/omnivox.mjs';
import { OPEN } from '../lib/settings.mjs';

test('a seat that is taken in the packet before the end is given back', async (t) => {
  const server = await omnivox(t, { settings: `${OPEN}[limits]\nseat_grace_ms = 100\n` });
  const address = `${server.url}/socket.io/?EIO=4&transport=polling`;
  for (const end of ['1', 'nonsense']) {
    const { sid } = JSON.parse((await (await fetch(address)).text()).slice(1));
    const session = `${address}&sid=${sid}`;
    const post = (body) => fetch(session, { method: 'POST', body, headers: { 'content-type': 'text/plain;charset=UTF-8' } });
    assert.equal((await post('40')).status, 200);
    assert.match(await (await fetch(session)).text(), /^40/);
    const held = fetch(session).then((response) => response.text()).catch(() => '');
    await until(async () => (await server.metric('omnivox_held_requests')) > 1, 'the poll is held');
    await post(`42["room:enter",{"room":"r","seat":"the seat of one who goes"}]\x1e${end}`);
    await held;
    await until(async () => (await server.metric('omnivox_sessions')) === 0, 'the session is gone');
    await until(async () => (await server.get('/v1/presence?channel=r')).json.members.length === 0, 'the seat is given back', 3_000);
  }
});

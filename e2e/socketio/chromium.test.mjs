// socket.io-client in real Chromium: polling, the upgrade, binary, recovery.
// parts: chromium

import assert from 'node:assert/strict';
import path from 'node:path';
import { test } from 'node:test';
import { page } from '../lib/chromium.mjs';
import { ROOT, omnivox } from '../lib/omnivox.mjs';

const CLIENT = path.join(ROOT, 'e2e/node_modules/socket.io-client/dist/socket.io.min.js');

test('two sockets in a page', async (t) => {
  const server = await omnivox(t);
  const tab = await page(t);
  await tab.goto(`${server.url}/`);
  await tab.addScriptTag({ path: CLIENT });
  const got = await tab.evaluate(async () => {
    const once = (target, event) => new Promise((resolve) => { target.once(event, (...values) => resolve(values)); });
    const [one, other] = [window.io({ forceNew: true }), window.io({ forceNew: true, reconnectionDelay: 10 })];
    await Promise.all([one, other].map((socket) => once(socket, 'connect')));
    await Promise.all([one, other].map((socket) => socket.emitWithAck('join', 'general')));
    const heard = once(other, 'chat');
    one.emit('chat', { text: 'hi' }, new Uint8Array([1, 2, 255]));
    const [chat, bytes] = await heard;
    if (other.io.engine.transport.name !== 'websocket') await once(other.io.engine, 'upgrade');
    const transport = other.io.engine.transport.name;
    const back = once(other, 'connect');
    const missed = once(other, 'missed');
    other.io.engine.close();
    await one.emitWithAck('publish', 'general', 'missed', 1);
    await back;
    return { chat, bytes: [...new Uint8Array(bytes)], transport, recovered: other.recovered, missed: (await missed)[0] };
  });
  assert.deepEqual(got, { chat: { text: 'hi' }, bytes: [1, 2, 255], transport: 'websocket', recovered: true, missed: 1 });
});

// Clients that others wrote: python-socketio, and socket.io-client with the MessagePack parser.
// parts: python

import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import path from 'node:path';
import { test } from 'node:test';
import { ROOT, omnivox } from '../lib/omnivox.mjs';
import { Program } from '../lib/programs.mjs';
import { OPEN } from '../lib/settings.mjs';
import { NEWEST, TRANSPORTS, joined } from '../lib/socketio.mjs';

const parser = createRequire(import.meta.url)('socket.io-msgpack-parser');
// Its WebSocket names an origin as a browser does.
const SETTINGS = OPEN.replace('open = true', 'open = true\nallowed_origins = ["*"]');
const PYTHON = path.join(ROOT, 'target/venv/bin/python');

for (const [transports, last] of [['polling', 'polling'], ['websocket', 'websocket'], ['polling,websocket', 'websocket']]) {
  test(`python-socketio, ${transports}`, async (t) => {
    const server = await omnivox(t, { settings: SETTINGS });
    const program = new Program(PYTHON, [path.join(ROOT, 'e2e/socketio/client.py'), server.url, transports]);
    t.after(() => program.child.kill('SIGKILL'));
    const [text] = await program.printed(/^\{.*\}$/m);
    assert.deepEqual(JSON.parse(text), {
      joined: [true, true, true],
      sent: true,
      other: [['chat', 'text', 7, null, { nested: [true, 1.5] }, 'é😀'], ['blob', { bytes: [0, 1, 127, 128, 255] }]],
      admin: [['secret', 1]],
      one: [],
      published: true,
      refused: 'forbidden',
      transports: [last, last, last],
    });
    assert.deepEqual(await program.ended, { code: 0, signal: null });
  });
}

for (const [transport, options] of TRANSPORTS) {
  test(`the MessagePack parser, ${transport}`, async (t) => {
    const server = await omnivox(t);
    const packed = await joined(t, NEWEST, server.url, 'general', { ...options, parser });
    const plain = await joined(t, NEWEST, server.url, 'general', options);
    const values = ['text', -7, 2 ** 40, 1.5, null, { nested: [true, 'é😀'] }, Buffer.from([0, 128, 255])];
    for (const [from, to] of [[packed, plain], [plain, packed]]) {
      assert.equal((await from.ask('chat', ...values)).ok, true);
      const got = (await to.next('chat')).slice(1, 1 + values.length);
      assert.deepEqual(Buffer.from(got.at(-1)), values.at(-1));
      assert.deepEqual(got.slice(0, -1), values.slice(0, -1));
    }
    const date = new Date(1_700_000_000_123);
    await packed.ask('when', date);
    assert.equal((await plain.next('when'))[1], date.toISOString());
    const back = new Promise((resolve) => { packed.socket.once('connect', resolve); });
    packed.socket.io.engine.close();
    await server.publish('general', { missed: 1 }, { event: 'missed' });
    await back;
    assert.equal(packed.socket.recovered, true);
    assert.deepEqual((await packed.next('missed'))[1], { missed: 1 });
  });
}

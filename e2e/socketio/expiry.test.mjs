// A credential that ends on a living connection: the client is told, and comes back with the next one as docs/socketio.md says.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { claims, secret, token } from '../lib/credentials.mjs';
import { within } from '../lib/inbox.mjs';
import { omnivox } from '../lib/omnivox.mjs';
import { NEWEST, connect } from '../lib/socketio.mjs';

test('who is cut off at exp comes back with a fresh token', async (t) => {
  const key = secret();
  const server = await omnivox(t, { settings: `[server]\nlisten = ["127.0.0.1:0"]\n[[app]]\nid = "shop"\nsecret = "${key}"\n` });
  for (const transport of ['polling', 'websocket']) {
    let shown = 0;
    const auth = (show) => {
      shown += 1;
      // A credential counts for 30 s after its end, so the first one is nearly over.
      const lasts = shown === 1 ? -27 : 3600;
      show({ token: token(key, claims({ exp: Date.now() / 1000 + lasts, channels: { '*': ['subscribe'] } })) });
    };
    const client = await connect(t, NEWEST, server.url, { transports: [transport], auth });
    const { socket } = client;
    const errors = [];
    socket.on('error', (error) => errors.push(error.code));
    const reasons = [];
    socket.on('disconnect', (reason) => { reasons.push(reason); if (reason === 'io server disconnect') socket.connect(); });
    await within(new Promise((resolve) => { socket.on('connect', resolve); }), 'the second connection');
    assert.deepEqual([shown, errors], [2, ['expired']], transport);
    // Over polling the library sees the end of the connection before it reads why.
    assert.ok(reasons.includes('io server disconnect'), `${transport}: ${reasons}`);
    assert.equal((await client.ask('join', 'a')).ok, true);
  }
});

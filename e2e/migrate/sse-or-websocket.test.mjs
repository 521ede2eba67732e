// One chat, two transports: who sits at the event stream and who sits at the WebSocket hear the same; the WebSocket resumes.

import assert from 'node:assert/strict';
import net from 'node:net';
import { test } from 'node:test';
import { guide } from '../lib/guides.mjs';
import { omnivox } from '../lib/omnivox.mjs';

test('both hear both, in one order', async (t) => {
  const server = await omnivox(t);
  const start = guide(t);
  const ann = start('chat-event-source.mjs', { OMNIVOX: server.url }, ['ann']);
  const bob = start('chat-websocket.mjs', { OMNIVOX: server.url }, ['bob']);
  for (const client of [ann, bob]) await client.printed(/here/);
  ann.child.stdin.write('hello\n');
  for (const client of [ann, bob]) await client.printed(/ann: hello/);
  bob.child.stdin.write('hello yourself\n');
  for (const client of [ann, bob]) await client.printed(/bob: hello yourself/);
  for (const client of [ann, bob]) assert.deepEqual(client.output.trim().split('\n'), ['here', 'ann: hello', 'bob: hello yourself']);
});

for (const name of ['chat-event-source.mjs', 'chat-websocket.mjs']) {
  test(`${name} comes back after a lost connection and hears what was said meanwhile`, async (t) => {
    const server = await omnivox(t);
    const start = guide(t);
    const line = await breakable(t, server.port);
    const client = start(name, { OMNIVOX: line.url }, ['cut']);
    const say = (text) => server.publish('chat', { user: 'ann', text });
    await client.printed(/here/);
    await say('one');
    await client.printed(/ann: one/);
    line.cut();
    for (const text of ['two', 'three']) await say(text);
    await client.printed(/ann: three/);
    assert.deepEqual(client.output.trim().split('\n').filter((text) => text !== 'here'), ['ann: one', 'ann: two', 'ann: three']);
  });
}

/// A line to a port that the test can break.
async function breakable(t, port) {
  const open = new Set();
  const server = net.createServer((client) => {
    const upstream = net.connect(port, '127.0.0.1');
    for (const socket of [client, upstream]) { open.add(socket); socket.on('error', () => {}); }
    client.pipe(upstream).pipe(client);
  });
  const cut = () => { for (const socket of open) socket.destroy(); open.clear(); };
  t.after(() => { cut(); server.close(); });
  await new Promise((listening) => { server.listen(0, '127.0.0.1', listening); });
  return { url: `http://127.0.0.1:${server.address().port}`, cut };
}

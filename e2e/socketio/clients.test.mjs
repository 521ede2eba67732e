// Every generation of socket.io-client over every transport: rooms, acknowledgements, binary, namespaces.
// budget: 240 s

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { omnivox } from '../lib/omnivox.mjs';
import { OPEN } from '../lib/settings.mjs';
import { CLIENTS, ENGINE3, TRANSPORTS, connect, joined, upgraded } from '../lib/socketio.mjs';

for (const client of CLIENTS) {
  for (const [transport, options] of TRANSPORTS) {
    test(`${client.name}, ${transport}`, async (t) => {
      const server = await omnivox(t, { settings: OPEN + ENGINE3 });
      const one = await joined(t, client, server.url, 'general', options);
      const other = await joined(t, client, server.url, ['general', 'news'], options);

      await t.test('an event reaches the room, but not its sender, with all arguments unchanged', async () => {
        const sent = ['chat', 'text', 7, null, { nested: [true, 1.5] }, ['a', '\u2028é😀']];
        assert.equal((await one.ask(...sent)).ok, true);
        const got = await other.next('chat');
        assert.deepEqual(got.slice(0, sent.length), sent);
        assert.equal(one.inbox.length, 0, 'the sender hears nothing of it');
      });

      await t.test('binary arguments', async () => {
        const bytes = Buffer.from([0, 1, 127, 128, 255]);
        one.socket.emit('blob', { at: 1, bytes }, bytes);
        const [, inside, alone] = await other.next('blob');
        assert.deepEqual([Buffer.from(inside.bytes), inside.at, Buffer.from(alone)], [bytes, 1, bytes]);
      });

      await t.test('publish answers with the id; everyone in the room gets it', async () => {
        const answer = await one.ask('publish', 'general', 'headline', { text: 'extra' });
        assert.equal(answer.ok, true);
        assert.match(answer.id, /^[A-Za-z0-9_.-]+$/);
        for (const { next } of [one, other]) assert.deepEqual((await next('headline'))[1], { text: 'extra' });
      });

      await t.test('leave ends it', async () => {
        assert.equal((await one.ask('leave', 'general')).ok, true);
        await other.ask('publish', 'general', 'unheard', 1);
        await one.ask('join', 'news');
        await other.ask('publish', 'news', 'heard', 1);
        await one.next('heard');
        assert.deepEqual(one.inbox.drain().filter(([name]) => name === 'unheard'), []);
      });

      await t.test('a namespace is a world of its own', async () => {
        const admin = await joined(t, client, `${server.url}/admin`, 'news', options);
        await other.ask('publish', 'news', 'public', 1);
        await admin.ask('publish', 'news', 'secret', 1);
        await admin.next('secret');
        await one.next('public');
        await one.ask('publish', 'news', 'last', 1);
        await other.next('last');
        assert.deepEqual([...admin.inbox.drain(), ...other.inbox.drain()].filter(([name]) => ['public', 'secret'].includes(name)).map(([name]) => name), ['public']);
      });

      if (transport.includes('upgrade')) {
        await t.test('messages around the upgrade are neither lost nor doubled nor out of order', async (t) => {
          const late = await joined(t, client, server.url, 'stream', options);
          const counted = 300;
          const publishing = (async () => {
            for (let number = 0; number < counted; number += 1) await server.publish('stream', number, { event: 'tick' });
          })();
          await Promise.all([publishing, upgraded(late)]);
          for (let number = 0; number < counted; number += 1) assert.equal((await late.next('tick'))[1], number);
        });
      }
    });
  }
}

test('without the setting a client of Engine.IO 3 is told that its version is not served', async (t) => {
  const server = await omnivox(t);
  const { status, json } = await server.get('/socket.io/?EIO=3&transport=polling');
  assert.deepEqual([status, json], [400, { code: 5, message: 'Unsupported protocol version' }]);
});

test('a thousand rooms on one socket', async (t) => {
  const server = await omnivox(t);
  const rooms = Array.from({ length: 1000 }, (_, number) => `room ${number}`);
  const client = await joined(t, CLIENTS[0], server.url, rooms);
  for (const number of [0, 500, 999]) {
    await server.publish(`room ${number}`, number, { event: 'hit' });
    assert.equal((await client.next('hit'))[1], number);
  }
});

test('reserved event names and packets that make no sense end only the connection that sent them', async (t) => {
  const server = await omnivox(t);
  const neighbour = await joined(t, CLIENTS[0], server.url, 'general');
  for (const packet of ['2["connect"]', '2["disconnect"]', '2[]', '2{}', '2["a"', '9', '2[7,{}]', '51-["a",{"_placeholder":true,"num":9}]', '5999999999-["a"]', '']) {
    const open = await (await fetch(`${server.url}/socket.io/?EIO=4&transport=polling`)).text();
    const { sid } = JSON.parse(open.slice(1));
    const target = `${server.url}/socket.io/?EIO=4&transport=polling&sid=${sid}`;
    const post = (body) => fetch(target, { method: 'POST', body }).then((answer) => answer.status);
    await post('40');
    await post(`4${packet}`);
    const poll = await fetch(target);
    assert.ok(poll.status === 200 || poll.status === 400, `${packet}: ${poll.status}`);
  }
  await server.publish('general', 1, { event: 'alive' });
  assert.equal((await neighbour.next('alive'))[1], 1);
});

test('a room that needs a grant is refused in the acknowledgement, or by an event when nobody waits for one', async (t) => {
  const server = await omnivox(t, { settings: OPEN });
  const client = await connect(t, CLIENTS[0], server.url);
  const answer = await client.ask('join', 'private-a');
  assert.deepEqual([answer.ok, answer.error.code], [false, 'forbidden']);
  client.socket.emit('join', 'private-a');
  assert.equal((await client.next('error'))[1].code, 'forbidden');
});

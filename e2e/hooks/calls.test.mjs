// Calls of native clients, and events of Socket.IO clients that no handler takes: the back end answers, emits, joins, leaves, disconnects.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { backend, hook } from '../lib/backend.mjs';
import { connect } from '../lib/clients.mjs';
import { secret } from '../lib/credentials.mjs';
import { within } from '../lib/inbox.mjs';
import { omnivox } from '../lib/omnivox.mjs';
import { OPEN } from '../lib/settings.mjs';
import { NEWEST, connect as connectSocketIo } from '../lib/socketio.mjs';

/// What the application does for a call or an event of that name.
const APPLICATION = {
  add: ({ data, args }) => ({ result: (args ?? data).reduce((sum, one) => sum + one, 0) }),
  ack: () => ({ ack: ['several', { values: 2 }] }),
  quiet: () => ({}),
  shout: ({ data, args }) => ({ emits: [{ to: ['hall'], event: 'shouted', args: args ?? [data] }], result: true }),
  others: ({ args }) => ({ emits: [{ to: ['hall'], except_caller: true, event: 'others', args }], result: true }),
  whisper: () => ({ emits: [{ event: 'whispered', data: 'to you' }], result: true }),
  enter: () => ({ join: ['den'], leave: ['hall'], result: 'moved' }),
  go: () => ({ disconnect: true, result: 'bye' }),
  refuse: () => ({ allow: false, code: 'not_found', reason: 'no such thing' }),
  wrong: () => ({ raw: '{"answer":1}', status: 200 }),
  binary: ({ args }) => ({ ack: args }),
};

async function application(t, more = '') {
  const asked = await backend(t, secret(), (question) => APPLICATION[question.name](question));
  const den = '\n[[namespace]]\nchannels = "den"\n[[namespace]]\nchannels = "admin/*"\n';
  const server = await omnivox(t, { settings: `${OPEN}${den}${hook(asked, ['call', 'event'], more)}` });
  return { asked, server };
}

test('native clients call', async (t) => {
  const { asked, server } = await application(t);
  const socket = await connect(t, server.ws);
  const call = (method, data) => socket.call({ type: 'call', method, data });
  assert.deepEqual((await call('add', [1, 2, 3])).data, 6);
  const question = await asked.next('call');
  assert.deepEqual(question.data, [1, 2, 3]);
  assert.equal((await call('quiet')).data, null);
  await socket.subscribe('hall');
  assert.equal((await call('shout', 'hi')).data, true);
  assert.deepEqual((await socket.next({ event: 'shouted' })).data, 'hi');
  assert.equal((await call('whisper')).data, true);
  assert.equal((await socket.next({ event: 'whispered' })).data, 'to you');
  assert.equal((await call('refuse')).error?.message ?? (await call('refuse')).message, 'no such thing');
  assert.match(JSON.stringify(await call('wrong')), /hook `test`: its answer is not understood/);
  assert.match((await socket.subscribe('den')).message ?? '', /not allowed/);
  assert.equal((await call('enter')).data, 'moved');
  await socket.next({ type: 'subscribed', channel: 'den' });
  const { status, json } = await server.post('/v1/call', { method: 'add', data: [4, 5] });
  assert.deepEqual({ status, json }, { status: 200, json: { data: 9 } });
  assert.equal((await server.post('/v1/call', { method: 'refuse' })).status, 404);
  socket.send({ type: 'call', method: 'go', ref: 'last' });
  assert.equal((await socket.next({ ref: 'last' })).data, 'bye');
  await within(socket.closed, 'the connection to end');
});

for (const transport of ['polling', 'websocket']) {
  test(`Socket.IO over ${transport}: events`, async (t) => {
    const { asked, server } = await application(t);
    const ana = await connectSocketIo(t, NEWEST, server.url, { transports: [transport] });
    const ben = await connectSocketIo(t, NEWEST, server.url, { transports: [transport] });
    for (const client of [ana, ben]) assert.equal((await client.ask('join', 'hall')).ok, true);
    assert.equal(await ana.ask('add', 1, 2), 3);
    const question = await asked.next('event');
    assert.deepEqual(question.args, [1, 2]);
    assert.equal(question.namespace, '/');
    assert.equal(question.socket, ana.socket.id);
    assert.deepEqual(question.rooms, ['hall']);
    assert.equal(question.wants_answer, true);
    // Several values; and no acknowledgement that nobody asked for.
    const several = await within(new Promise((resolve) => { ana.socket.emit('ack', (...values) => resolve(values)); }), 'an answer');
    assert.deepEqual(several, ['several', { values: 2 }]);
    assert.equal(await ana.ask('shout', 'a', 'b'), true);
    for (const client of [ana, ben]) assert.deepEqual((await client.next('shouted')).slice(1, 3), ['a', 'b']);
    assert.equal(await ana.ask('others', 'c'), true);
    assert.equal((await ben.next('others'))[1], 'c');
    ana.socket.emit('whisper');
    assert.equal((await ana.next('whispered'))[1], 'to you');
    assert.deepEqual(await ana.ask('binary', Buffer.from('bytes')), Buffer.from('bytes'));
    const refused = await ana.ask('refuse');
    assert.deepEqual([refused.ok, refused.error.code, refused.error.message], [false, 'not_found', 'no such thing']);
    // When the answer has come, the socket is where it is to be: the room is closed to everyone else.
    assert.equal((await ben.ask('join', 'den')).ok, false);
    assert.equal(await ana.ask('enter'), 'moved');
    await server.publish('hall', 'hall');
    assert.equal(await ana.ask('add', 3, 4), 7);
    const later = await asked.asked.next((one) => JSON.stringify(one.args) === '[3,4]');
    assert.deepEqual(later.rooms, ['den']);
    assert.equal((await ben.next('message'))[1], 'hall');
    assert.ok(!ana.inbox.drain().some(([event]) => event === 'message' || event === 'others'), 'she left, and was spared');
    const gone = within(new Promise((resolve) => { ana.socket.once('disconnect', resolve); }), 'the end');
    assert.equal(await ana.ask('go'), 'bye');
    assert.equal(await gone, 'io server disconnect');
  });
}

test('Socket.IO: a namespace is its own place, and other handlers stay', async (t) => {
  const { asked, server } = await application(t);
  const admin = await connectSocketIo(t, NEWEST, `${server.url}/admin`);
  const main = await connectSocketIo(t, NEWEST, server.url);
  assert.equal(await admin.ask('enter'), 'moved');
  assert.equal((await asked.next('event')).namespace, '/admin');
  assert.equal((await main.ask('join', 'hall')).ok, true);
  assert.equal((await main.ask('publish', 'hall', 'news', 1)).ok, true);
  assert.equal((await main.next('news'))[1], 1);
  assert.deepEqual(asked.asked.drain(), [], 'joins and publications are no events of the application');
});

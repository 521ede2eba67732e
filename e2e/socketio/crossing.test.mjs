// One room, five ways to speak and to listen: what any of them publishes reaches all of them with the payload unchanged.

import assert from 'node:assert/strict';
import http from 'node:http';
import { test } from 'node:test';
import { connect as nativeSocket, stream } from '../lib/clients.mjs';
import { omnivox } from '../lib/omnivox.mjs';
import { NEWEST, joined } from '../lib/socketio.mjs';

const PAYLOADS = [{ text: 'hi', list: [1, null, { deep: '😀' }] }, 'plain text', 7.25, true, ['a', 'b'], null];

/// A listener gives, for each message, its event and payload.
async function listeners(t, server) {
  const ws = await nativeSocket(t, server.ws);
  await ws.subscribe('general');
  const sse = await stream(t, `${server.url}/sse?channel=general`);
  const polling = await joined(t, NEWEST, server.url, 'general', { transports: ['polling'] });
  const websocket = await joined(t, NEWEST, server.url, 'general', { transports: ['websocket'] });
  let { last } = (await server.get('/poll?channel=general&timeout=0')).json;
  const fromSocketIo = async ({ inbox }) => { const [event, data] = await inbox.next(); return { event, data }; };
  return {
    'native WebSocket': async () => { const { event, data } = await ws.next({ type: 'message' }); return { event, data }; },
    'event stream': async () => { const { event, data } = (await sse.inbox.next()).data; return { event, data }; },
    poll: async () => {
      const { json } = await server.get(`/poll?channel=general&last=${last}&timeout=10`);
      last = json.last;
      assert.equal(json.events.length, 1);
      const [{ event, data }] = json.events;
      return { event, data };
    },
    'Socket.IO polling': () => fromSocketIo(polling),
    'Socket.IO WebSocket': () => fromSocketIo(websocket),
  };
}

const SPEAKERS = {
  'native WebSocket': async (t, server) => {
    const ws = await nativeSocket(t, server.ws);
    return (event, data) => ws.call({ type: 'publish', channel: 'general', event, data });
  },
  // Who listens on a stream or by polls speaks by POST, to the short path of the quick start or to the one of the API.
  'event stream and POST': async (t, server) => {
    const own = await stream(t, `${server.url}/sse?channel=general`);
    return async (event, data) => {
      assert.equal((await server.post('/publish', { channel: 'general', event, data })).status, 200);
      assert.deepEqual((await own.inbox.next()).data.data, data, 'it hears itself');
    };
  },
  'poll and POST': async (t, server) => async (event, data) => {
    const { last } = (await server.get('/poll?channel=general&timeout=0')).json;
    const { json } = await server.post('/v1/publish', { channel: 'general', event, data });
    const heard = await server.get(`/poll?channel=general&last=${last}&timeout=10`);
    assert.deepEqual(heard.json.events.map(({ id }) => id), [json.id], 'it hears itself');
  },
  'Socket.IO polling': async (t, server) => {
    const client = await joined(t, NEWEST, server.url, 'elsewhere', { transports: ['polling'] });
    return (event, data) => client.ask('publish', 'general', event, data);
  },
  'Socket.IO WebSocket': async (t, server) => {
    const client = await joined(t, NEWEST, server.url, 'general', { transports: ['websocket'] });
    return async (event, data) => assert.equal((await client.ask(event, data)).ok, true);
  },
};

for (const [speaker, start] of Object.entries(SPEAKERS)) {
  test(`from ${speaker} to all`, async (t) => {
    const server = await omnivox(t);
    const heard = await listeners(t, server);
    const say = await start(t, server);
    for (const data of PAYLOADS) {
      await say('chat', data);
      for (const [listener, next] of Object.entries(heard)) {
        const got = await next();
        assert.deepEqual(got, { event: 'chat', data }, `${speaker} → ${listener}: ${JSON.stringify(data)}`);
      }
    }
  });
}

test('several arguments of Socket.IO are one array for the others', async (t) => {
  const server = await omnivox(t);
  const heard = await listeners(t, server);
  const client = await joined(t, NEWEST, server.url, 'general');
  await client.ask('move', 1, { x: 2 });
  for (const listener of ['native WebSocket', 'event stream', 'poll']) assert.deepEqual(await heard[listener](), { event: 'move', data: [1, { x: 2 }] }, listener);
});

test('an application message of a plain WebSocket is an event for Socket.IO', async (t) => {
  const server = await omnivox(t);
  const client = await joined(t, NEWEST, server.url, 'general');
  const ws = await nativeSocket(t, server.ws);
  await ws.subscribe('general');
  ws.send({ type: 'chat', user: 'me', text: 'hi' });
  const [event, data] = await client.inbox.next();
  assert.equal(event, 'chat');
  assert.deepEqual({ user: data.user, text: data.text }, { user: 'me', text: 'hi' });
});

test('a request that reaches another shard than its session counts once', async (t) => {
  const server = await omnivox(t);
  const counted = () => server.metric('omnivox_requests_total');
  const first = await counted();
  const asking = (await counted()) - first;
  // Each over a connection of its own: many of them come to the other shard.
  const ask = (method, query, body) => new Promise((resolve, reject) => {
    const request = http.request(`${server.url}/socket.io/?EIO=4&transport=polling${query}`, { method, agent: false }, (answer) => {
      answer.setEncoding('utf8').on('data', resolve);
    });
    request.on('error', reject).end(body);
  });
  const sids = [];
  for (let number = 0; number < 20; number += 1) sids.push(JSON.parse((await ask('GET', '')).slice(1)).sid);
  for (const sid of sids) assert.equal(await ask('POST', `&sid=${sid}`, '40'), 'ok');
  assert.equal((await counted()) - first - asking, 40 + asking);
});

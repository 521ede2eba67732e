// Hooks ask about clients of every protocol, in the same words, and what they answer holds in each.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import WebSocket from 'ws';
import { backend, hook } from '../lib/backend.mjs';
import { connect, stream } from '../lib/clients.mjs';
import { basic, claims, secret, token } from '../lib/credentials.mjs';
import { within } from '../lib/inbox.mjs';
import { omnivox } from '../lib/omnivox.mjs';
import { OPCODE, frame, raw, upgradeRequest } from '../lib/raw.mjs';
import { OPEN } from '../lib/settings.mjs';
import { NEWEST, connect as connectSocketIo } from '../lib/socketio.mjs';

const REASON = 'not on Mondays';
/// What a client is told: the rule, which is the hook `test`, and the reason.
const TOLD = `hook \`test\`: ${REASON}`;
const DENIAL = { allow: false, code: 'forbidden', reason: REASON };
/// Channels that nobody may use but by a hook's word.
const GIVEN = '\n[[namespace]]\nchannels = "given*"\n';

const form = { 'content-type': 'application/x-www-form-urlencoded' };

/// How a client of each protocol subscribes and publishes: what it is told when it is refused, nothing otherwise.
const CLIENTS = [
  {
    name: 'WebSocket',
    dialect: 'native',
    async start(t, server) {
      const socket = await connect(t, server.ws);
      const outcome = (answer) => (answer.type === 'error' ? JSON.stringify(answer) : '');
      return {
        subscribe: async (channel) => outcome(await socket.subscribe(channel)),
        publish: async (channel, data) => outcome(await socket.call({ type: 'publish', channel, data })),
      };
    },
  },
  {
    name: 'EventSource and POST',
    dialect: 'native',
    async start(t, server) {
      return {
        async subscribe(channel) {
          const probe = new AbortController();
          const response = await fetch(`${server.url}/v1/sse?channel=${channel}`, { signal: probe.signal });
          if (response.status !== 200) return response.text();
          probe.abort();
          await stream(t, `${server.url}/v1/sse?channel=${channel}`);
          return '';
        },
        async publish(channel, data) {
          const { status, text } = await server.post('/v1/publish', { channel, data });
          return status === 200 ? '' : text;
        },
      };
    },
  },
  {
    name: 'polls',
    dialect: 'native',
    async start(t, server) {
      return {
        async subscribe(channel) {
          const { status, text } = await server.get(`/v1/poll?channel=${channel}&timeout=0`);
          return status === 200 ? '' : text;
        },
      };
    },
  },
  ...['polling', 'websocket'].map((transport) => ({
    name: `Socket.IO over ${transport}`,
    dialect: 'socketio',
    async start(t, server) {
      const client = await connectSocketIo(t, NEWEST, server.url, { transports: [transport] });
      const outcome = (answer) => (answer.ok ? '' : JSON.stringify(answer));
      return {
        subscribe: async (channel) => outcome(await client.ask('join', channel)),
        publish: async (channel, data) => outcome(await client.ask('publish', channel, 'news', data)),
      };
    },
  })),
  {
    name: 'Mercure',
    dialect: 'mercure',
    // Its refusals have the words of its own reference, which tell nothing.
    words: /^(Unauthorized|Forbidden)/,
    async start(t, server) {
      const hub = `${server.url}/.well-known/mercure`;
      return {
        async subscribe(channel) {
          const probe = new AbortController();
          const response = await fetch(`${hub}?topic=${channel}`, { signal: probe.signal });
          const text = response.status === 200 ? '' : await response.text();
          probe.abort();
          return text;
        },
        async publish(channel, data) {
          const response = await fetch(hub, { method: 'POST', headers: form, body: new URLSearchParams({ topic: channel, data }) });
          return response.status === 200 ? '' : response.text();
        },
      };
    },
  },
];

for (const client of CLIENTS) {
  test(`${client.name}: a subscribe and a publication are denied, left alone, and given`, async (t) => {
    const asked = await backend(t, secret(), ({ channel, channels }) => {
      const name = channel ?? channels[0];
      if (name.endsWith('no')) return DENIAL;
      return name.endsWith('yes') ? { allow: true } : {};
    });
    const server = await omnivox(t, { settings: `${OPEN}${GIVEN}${hook(asked, ['subscribe', 'publish'])}` });
    const { subscribe, publish } = await client.start(t, server);
    for (const [channel, granted, expected] of [['open-no', true, TOLD], ['open', true, ''], ['given-yes', false, ''], ['given', false, 'not allowed']]) {
      for (const [event, act] of [['subscribe', subscribe], ['publish', publish]]) {
        if (!act) continue;
        asked.asked.drain();
        const told = await act(channel, 'hello');
        const question = await asked.next(event);
        if (expected) assert.match(told, client.words ?? new RegExp(expected), `${event} ${channel}`);
        else assert.equal(told, '', `${event} ${channel}`);
        assert.equal(question.app, 'demo');
        assert.equal(question.hook, 'test');
        assert.equal(question.granted, granted);
        assert.equal(question.who.dialect, client.dialect);
        assert.equal(question.who.address, '127.0.0.1');
        assert.deepEqual(event === 'subscribe' ? question.channel : question.channels, event === 'subscribe' ? channel : [channel]);
        if (event === 'publish') assert.equal(question.data ?? question.text, 'hello');
      }
    }
    assert.ok(await server.metric('omnivox_hook_denials_total') >= 1);
  });
}

test('a connect is denied in the words of each protocol', async (t) => {
  const asked = await backend(t, secret(), () => DENIAL);
  const server = await omnivox(t, { settings: `${OPEN}${hook(asked, ['connect'])}` });
  const http = async (target) => (await server.get(target)).text;
  const attempts = {
    async websocket() {
      const socket = new WebSocket(server.ws);
      t.after(() => socket.terminate());
      return within(new Promise((resolve) => {
        socket.on('unexpected-response', (_, response) => {
          let text = '';
          response.on('data', (piece) => { text += piece; });
          response.on('end', () => resolve(text));
        });
        socket.on('message', (text) => resolve(text.toString()));
        socket.on('close', (code, reason) => resolve(`${code} ${reason}`));
        socket.on('error', () => {});
      }), 'the refusal');
    },
    sse: () => http('/v1/sse?channel=a'),
    poll: () => http('/v1/poll?channel=a'),
    history: () => http('/v1/history?channel=a'),
    publish: async () => (await server.post('/v1/publish', { channel: 'a', data: 1 })).text,
    async socketio() {
      const error = await connectSocketIo(t, NEWEST, server.url).then(() => assert.fail('it is let in'), (refused) => refused);
      return `${error.message} ${JSON.stringify(error.data)}`;
    },
  };
  for (const [name, attempt] of Object.entries(attempts)) {
    const told = await attempt();
    assert.ok(told.includes(TOLD), `${name}: ${told}`);
    await asked.next('connect');
  }
  assert.match(await http('/.well-known/mercure?topic=a'), /^(Unauthorized|Forbidden)/);
  assert.equal((await asked.next('connect')).who.dialect, 'mercure');
  // The protocol of PeerJS has no words of the server's own; it says that it is an error.
  const peer = new WebSocket(`ws://127.0.0.1:${server.port}/peerjs/peerjs?key=peerjs&id=one&token=secret`);
  t.after(() => peer.terminate());
  peer.on('error', () => {});
  const refused = await within(new Promise((resolve) => { peer.on('message', (text) => resolve(text.toString())); peer.on('close', () => resolve('closed')); }), 'a refusal');
  assert.doesNotMatch(refused, /OPEN/);
  assert.equal((await asked.next('connect')).who.dialect, 'peerjs');
});

test('a connect names the user, gives grants and ends; what no key verifies is shown when that is wanted', async (t) => {
  const key = secret();
  const app = `[server]\nlisten = ["127.0.0.1:0"]\n[[app]]\nid = "shop"\nsecret = "${key}"\n`;
  const asked = await backend(t, secret(), ({ event, credential }) => {
    if (event === 'publish' || credential.kind === 'none') return {};
    if (credential.verified) return { allow: true, channels: { 'more:*': ['subscribe'] } };
    return credential.token === 'session-of-ben' ? { allow: true, user: 'ben', info: { name: 'Ben' }, channels: { 'chat:*': ['subscribe', 'publish'] }, expires_in_s: 3600 } : {};
  });
  const server = await omnivox(t, { settings: `${app}${hook(asked, ['connect', 'publish'], 'pass_token = true')}` });
  const bearer = (shown) => ({ authorization: `Bearer ${shown}` });
  const poll = async (channel, headers) => (await server.get(`/v1/poll?channel=${channel}&timeout=0`, headers)).status;
  // No credential, and the hook has no opinion: as without it.
  assert.equal(await poll('chat:1', {}), 401);
  assert.deepEqual((await asked.next('connect')).credential, { kind: 'none', verified: false });
  assert.equal(await poll('chat:1', bearer('session-of-ben')), 200);
  const strange = await asked.next('connect');
  assert.deepEqual(strange.credential, { kind: 'token', verified: false, token: 'session-of-ben' });
  assert.equal(await poll('other', bearer('session-of-ben')), 403);
  assert.equal(await poll('chat:1', bearer('session-of-eve')), 401);
  // A token of the app's own: nobody else has to see it, and the hook adds to it.
  const own = token(key, claims({ channels: { 'own:*': ['subscribe'] } }));
  asked.asked.drain();
  assert.equal(await poll('own:1', bearer(own)), 200);
  const known = await asked.next('connect');
  assert.equal(known.who.user, 'ana');
  assert.doesNotMatch(JSON.stringify(known), new RegExp(own.split('.')[2]));
  assert.equal(await poll('more:1', bearer(own)), 200);
  assert.equal(await poll('else', bearer(own)), 403);
  // Whoever was named publishes under that name.
  asked.asked.drain();
  const published = await server.post('/v1/publish', { channel: 'chat:1', data: 1 }, bearer('session-of-ben'));
  assert.equal(published.status, 200, published.text);
  const question = await asked.next('publish');
  assert.equal(question.who.user, 'ben');
  assert.deepEqual(question.who.info, { name: 'Ben' });
  // A back end with the app's key is not asked about.
  asked.asked.drain();
  assert.equal((await server.post('/v1/publish', { channel: 'chat:1', data: 1 }, { authorization: basic('shop', key) })).status, 200);
  assert.deepEqual(asked.asked.drain(), []);
});

test('a connect that takes its time becomes a WebSocket, and a stream, as any other', async (t) => {
  const asked = await backend(t, secret(), () => ({ allow: true }));
  const server = await omnivox(t, { settings: `${OPEN}${hook(asked, ['connect', 'subscribe'])}` });
  const socket = await connect(t, server.ws);
  await socket.subscribe('a');
  const events = await stream(t, `${server.url}/v1/sse?channel=a`);
  const io = await connectSocketIo(t, NEWEST, server.url);
  assert.equal((await io.ask('join', 'a')).ok, true);
  const updates = await within(fetch(`${server.url}/.well-known/mercure?topic=a`), 'a stream of updates');
  await server.publish('a', 'hello');
  assert.equal((await socket.next({ type: 'message' })).data, 'hello');
  await events.next({ data: 'hello' });
  assert.equal((await io.next('message'))[1], 'hello');
  for await (const chunk of updates.body.pipeThrough(new TextDecoderStream())) if (chunk.includes('hello')) break;
  // Its first message comes with its handshake: it is read when the connection is there.
  const early = await raw(t, server.port);
  early.send(upgradeRequest(server.port, '/v1/ws'));
  early.send(frame(OPCODE.text, '{"type":"ping","ref":"early"}'));
  await early.when((it) => it.text.includes('"early"'), 'an answer to what came early');
});

test('a publication is replaced or dropped', async (t) => {
  const asked = await backend(t, secret(), ({ data }) => (data?.spam ? { drop: true } : { data: { seen: data } }));
  const server = await omnivox(t, { settings: `${OPEN}${hook(asked, ['publish'])}` });
  const listener = await connect(t, server.ws);
  await listener.subscribe('chat');
  const io = await connectSocketIo(t, NEWEST, server.url);
  await io.ask('join', 'chat');
  const dropped = await server.post('/v1/publish', { channel: 'chat', data: { spam: 1 } });
  assert.equal(dropped.status, 200);
  assert.equal(dropped.json.id, undefined);
  assert.equal((await io.ask('publish', 'chat', 'news', { spam: 2 })).ok, true);
  await server.publish('chat', { text: 'hi' });
  assert.deepEqual((await listener.next({ type: 'message' })).data, { seen: { text: 'hi' } });
  assert.equal((await io.ask('publish', 'chat', 'news', 'one', 'two')).ok, true);
  assert.deepEqual((await listener.next({ type: 'message' })).data, { seen: ['one', 'two'] });
  const [, first] = await io.next('message');
  assert.deepEqual(first, { seen: { text: 'hi' } });
  const [, second] = await io.next('news');
  assert.deepEqual(second, { seen: ['one', 'two'] });
});

test('a pattern is asked about as a whole, where it may meet the channels of the hook', async (t) => {
  const asked = await backend(t, secret(), ({ pattern }) => (pattern?.startsWith('chat:p') ? { allow: false, reason: REASON } : {}));
  const server = await omnivox(t, { settings: `${OPEN}${hook(asked, ['subscribe'], 'channels = "chat:*"')}` });
  const socket = await connect(t, server.ws);
  for (const [pattern, refused, isAsked] of [['chat:p*', true, true], ['c*', false, true], ['news:*', false, false]]) {
    asked.asked.drain();
    const answer = await socket.call({ type: 'subscribe', pattern });
    assert.equal(answer.type === 'error', refused, JSON.stringify(answer));
    assert.equal(asked.asked.drain().some((question) => question.pattern === pattern), isAsked, pattern);
  }
});

test('the commands of a client stay in order while the back end thinks', async (t) => {
  let number = 0;
  // Every second answer comes with the next question.
  const asked = await backend(t, secret(), () => { number += 1; return number === 1 ? 'hang' : {}; });
  const server = await omnivox(t, { settings: `${OPEN}${hook(asked, ['publish'], 'channels = "slow"')}` });
  const socket = await connect(t, server.ws);
  const other = await connect(t, server.ws);
  await other.subscribe('slow');
  await other.subscribe('fast');
  socket.send({ type: 'publish', channel: 'slow', data: 1 });
  socket.send({ type: 'publish', channel: 'fast', data: 2 });
  await asked.next('publish');
  // Somebody else is served meanwhile.
  await server.publish('fast', 'meanwhile');
  assert.equal((await other.next({ type: 'message' })).data, 'meanwhile');
  asked.release();
  assert.equal((await other.next({ type: 'message' })).data, 1);
  assert.equal((await other.next({ type: 'message' })).data, 2);
});

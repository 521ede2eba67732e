// The table of quotas: whose (connection, address, user, app) times what (subscriptions, messages and bytes, in and out), over every transport,
// each breach in that transport's own words and counted.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { connect, rawStream } from '../lib/clients.mjs';
import { claims, secret, token } from '../lib/credentials.mjs';
import { within } from '../lib/inbox.mjs';
import { omnivox } from '../lib/omnivox.mjs';
import { NEWEST, connect as socketIo } from '../lib/socketio.mjs';

const KEY = secret();
const LARGE = 'x'.repeat(50_000);
const settings = (limits) => `[server]\nlisten = ["127.0.0.1:0"]\n\n[[app]]\nid = "shop"\nsecret = "${KEY}"\n\n[limits]\n${limits}\n`;
const shown = (user) => token(KEY, claims({ sub: user, mercure: { subscribe: ['*'], publish: ['*'] } }));
const as = (user) => ({ authorization: `Bearer ${shown(user)}` });
const JSON_TYPE = { 'content-type': 'application/json' };

/// Does it again until it comes to something: a budget may have been whole.
async function until(attempt) {
  for (;;) {
    const found = await attempt();
    if (found) return found;
  }
}

/// Follows a server until somebody was sent away, while another user (whom the quotas of users do not mean) publishes.
async function flooded(server, channel, gone) {
  let over = false;
  const ended = within(gone, 'the quota to end it').finally(() => { over = true; });
  while (!over) {
    const { status } = await server.post('/v1/publish', { channel, data: LARGE }, as('publisher'));
    assert.ok([200, 429].includes(status), `${status}`);
    await new Promise(setImmediate);
  }
  return ended;
}

const subscribers = {
  async ws(t, server, user) {
    const socket = await connect(t, server.ws, { headers: as(user) });
    assert.equal((await socket.subscribe('a')).type, 'subscribed');
    return { gone: socket.closed.then(({ code, reason }) => { assert.equal(code, 4429); return reason; }) };
  },
  async sse(t, server, user) {
    const { response, inbox, ended } = await rawStream(t, `${server.url}/v1/sse?channel=a`, { headers: as(user) });
    assert.equal(response.status, 200);
    return { gone: ended.then(() => inbox.items?.join('\n') ?? '') };
  },
  async 'socket.io websocket'(t, server, user) {
    return socketIoGone(t, server, user, ['websocket']);
  },
  async 'socket.io polling'(t, server, user) {
    return socketIoGone(t, server, user, ['polling']);
  },
  async mercure(t, server, user) {
    const { response, ended } = await rawStream(t, `${server.url}/.well-known/mercure?topic=a`, { headers: as(user) });
    assert.equal(response.status, 200);
    // Its protocol has no words for a stream that ends; whoever comes back is told.
    return { gone: ended.then(() => '') };
  },
};

async function socketIoGone(t, server, user, transports) {
  const client = await socketIo(t, NEWEST, server.url, { auth: { token: shown(user) }, transports, reconnection: false });
  assert.ok((await client.ask('join', 'a')).ok);
  return { gone: new Promise((resolve) => { client.socket.on('disconnect', resolve); }).then(() => '') };
}

for (const [what, limit] of [['bytes_out', 2000], ['deliveries', 1]]) {
  test(`${what}: whoever is sent too much is sent away, over every transport`, async (t) => {
    const setting = `${what}_per_user_per_second_max`;
    const server = await omnivox(t, { settings: settings(`${setting} = ${limit}`) });
    for (const [transport, begin] of Object.entries(subscribers)) {
      const { gone } = await begin(t, server, transport);
      const words = await flooded(server, 'a', gone);
      if (transport === 'ws') assert.match(words, new RegExp(`limits\\.${setting}`));
    }
    // Connections of streams that ended may be tried once more by `fetch`.
    const counted = (metric) => until(() => server.metric(metric).catch(() => 0));
    assert.ok((await counted(`omnivox_quota_breaches_total{limit="${setting}"}`)) >= 5);
    assert.ok((await counted('omnivox_closes_total{reason="quota"}')) >= 5);
  });
}

test('bytes_out: who polls for too much has to wait, over every transport', async (t) => {
  const server = await omnivox(t, { settings: settings('bytes_out_per_user_per_second_max = 2000') });
  await server.post('/v1/publish', { channel: 'a', data: LARGE }, as('publisher'));
  for (const [transport, target, method] of [
    ['poll', '/v1/poll?channel=a&since=earliest&timeout=0', 'GET'], ['history', '/v1/history?channel=a', 'GET'],
  ]) {
    assert.equal((await server.request(method, target, undefined, as(transport))).status, 200, transport);
    for (const [second, told] of [[target, /"limit_exceeded"/], ['/.well-known/mercure?topic=a', /./]]) {
      const refused = await until(async () => {
        const answer = await server.request(method, second, undefined, as(transport));
        return answer.status === 200 ? null : answer;
      });
      assert.equal(refused.status, 429, `${transport}: ${refused.text}`);
      assert.match(refused.text, told);
      assert.match(refused.text, /limits\.bytes_out_per_user_per_second_max/);
    }
  }
});

test('bytes_in: whoever sends too much is refused or sent away, over every transport', async (t) => {
  const setting = 'bytes_in_per_user_per_second_max';
  const server = await omnivox(t, { settings: settings(`${setting} = 2000`) });
  const named = new RegExp(`limits\\.${setting}`);

  const socket = await connect(t, server.ws, { headers: as('ws') });
  socket.closed.then(() => socket.ws.terminate());
  for (let sent = 0; sent < 3; sent += 1) socket.send({ type: 'publish', channel: 'a', data: LARGE });
  const { code, reason } = await within(socket.closed, 'the flood to end');
  assert.equal(code, 4429);
  assert.match(reason, named);

  const posts = {
    http: () => server.request('POST', '/v1/publish', JSON.stringify({ channel: 'a', data: LARGE }), { ...as('http'), ...JSON_TYPE }),
    mercure: () => fetch(`${server.url}/.well-known/mercure`, { method: 'POST', headers: as('mercure'), body: new URLSearchParams({ topic: 'a', data: LARGE }) })
      .then(async (response) => ({ status: response.status, text: await response.text() })),
  };
  for (const [transport, post] of Object.entries(posts)) {
    const refused = await until(async () => {
      const answer = await post();
      return answer.status === 200 ? null : answer;
    });
    assert.equal(refused.status, 429, `${transport}: ${refused.text}`);
    assert.match(refused.text, named);
  }
  for (const transports of [['websocket'], ['polling']]) {
    const client = await socketIo(t, NEWEST, server.url, { auth: { token: shown(`io ${transports}`) }, transports, reconnection: false });
    const gone = new Promise((resolve) => { client.socket.on('disconnect', resolve); });
    for (let sent = 0; sent < 3; sent += 1) client.socket.emit('publish', 'a', 'event', LARGE);
    await within(gone, `${transports} to be sent away`);
  }
  assert.ok((await server.metric(`omnivox_quota_breaches_total{limit="${setting}"}`)) >= 5);
});

test('bytes_in: an EventSource whose address sent too much is told in a stream, with when to come again', async (t) => {
  const setting = 'bytes_in_per_address_per_second_max';
  const server = await omnivox(t, { settings: settings(`${setting} = 2000`) });
  const told = await until(async () => {
    await server.post('/v1/publish', { channel: 'a', data: LARGE }, as('publisher'));
    const response = await fetch(`${server.url}/v1/sse?channel=a`, { headers: { ...as('ana'), accept: 'text/event-stream' } });
    assert.equal(response.status, 200);
    const reader = response.body.getReader();
    const text = Buffer.from((await reader.read()).value).toString();
    await reader.cancel();
    return text.startsWith('event: error') ? text : null;
  });
  assert.match(told, new RegExp(`retry: 1000\\n.*"limit_exceeded".*limits\\.${setting}`));
});

test('subscriptions: nobody has more than allowed, over every transport', async (t) => {
  const setting = 'subscriptions_per_user_max';
  const server = await omnivox(t, { settings: settings(`${setting} = 2`) });
  const told = (text, where) => assert.match(text, new RegExp(`limits\\.${setting}`), where);
  const first = await connect(t, server.ws, { headers: as('ana') });
  for (const channel of ['a', 'b']) assert.equal((await first.subscribe(channel)).type, 'subscribed');
  assert.equal((await first.subscribe('a')).type, 'error', 'again is one more until it is through');
  const other = await connect(t, server.ws, { headers: as('ana') });
  const refused = await other.subscribe('c');
  assert.deepEqual([refused.type, refused.code], ['error', 'limit_exceeded']);
  told(refused.message, 'ws');
  // An EventSource is told in its stream, and to wait: with another status it would never come back.
  for (const [target, expected] of [['/v1/sse?channel=c', 200], ['/v1/poll?channel=c', 429], ['/.well-known/mercure?topic=c', 429]]) {
    const { status, text } = await server.get(target, as('ana'));
    assert.equal(status, expected, target);
    told(text, target);
  }
  const client = await socketIo(t, NEWEST, server.url, { auth: { token: shown('ana') } });
  const { ok, error } = await client.ask('join', 'c');
  assert.equal(ok, false);
  told(error.message, 'socket.io');
  assert.equal((await (await connect(t, server.ws, { headers: as('bob') })).subscribe('c')).type, 'subscribed', 'others are not concerned');
  await first.call({ type: 'unsubscribe', channel: 'b' });
  assert.equal((await other.subscribe('c')).type, 'subscribed');
  assert.equal((await server.metric(`omnivox_quota_breaches_total{limit="${setting}"}`)), 6);
});

/// Each of the rest over a WebSocket; what the scopes mean the hub's own tests know.
const PER_SECOND = ['', 'per_address_', 'per_user_', 'per_app_'].flatMap((scope) =>
  ['publications', 'deliveries', 'bytes_in', 'bytes_out'].map((what) => [what, `${what}_${scope}per_second_max`]));

for (const [what, setting] of PER_SECOND) {
  test(setting, async (t) => {
    const server = await omnivox(t, { settings: settings(`${setting} = ${what.startsWith('bytes') ? 2000 : 1}`) });
    const socket = await connect(t, server.ws, { headers: as('ana') });
    await socket.subscribe('a');
    let refused;
    socket.inbox.next(({ code }) => code === 'limit_exceeded', 'a refusal').then((answer) => { refused = answer; }).catch(() => {});
    let closed;
    socket.closed.then((end) => { closed = end; });
    await until(async () => {
      if (!closed) socket.send({ type: 'publish', channel: 'a', data: what.startsWith('bytes') ? LARGE : 1, ref: '1' });
      await new Promise(setImmediate);
      return closed ?? refused;
    });
    if (what === 'publications') {
      assert.match(refused.message, new RegExp(`limits\\.${setting}`));
    } else {
      assert.equal(closed.code, 4429);
      assert.match(closed.reason, new RegExp(`limits\\.${setting}`));
    }
  });
}

// The cases of the protocol's conformance suites, 0.x and 1.0, in Chromium and with npm `eventsource`.
// parts: chromium
// budget: 240 s

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { EventSource } from 'eventsource';
import { page } from '../lib/chromium.mjs';
import { HUB, PUBLISHERS, hub, publish } from './hub.mjs';

const example = (path) => `https://example.net/${path}`;
/// Whether an update in `topics` reaches who asked for `selectors`; `templates` says so in the first generation, `patterns` in the second.
const CASES = [
  { name: 'raw string', topics: ['abc'], selectors: ['abc'], received: true },
  { name: 'multiple topics', topics: ['abc'], selectors: ['foo', 'abc'], received: true },
  { name: 'multiple updated topics', topics: ['other', 'abc'], selectors: ['abc'], received: true, generations: ['0.x'] },
  { name: 'URI', topics: [example('foo/1')], selectors: [example('foo/1')], received: true },
  { name: 'URI template', topics: [example('foo/1')], selectors: [example('foo/{random}')], received: true, generations: ['0.x'] },
  { name: 'URL pattern', topics: [example('foo/1')], selectors: [example('foo/:random')], received: true, generations: ['1.0'] },
  { name: 'nonmatching raw string', topics: ['will-not-match'], selectors: ['another-name'], received: false },
  { name: 'nonmatching URI', topics: [example('foo/x')], selectors: [example('foo/another')], received: false },
  { name: 'nonmatching URI template', topics: [example('foo/x')], selectors: [example('bar/{var}')], received: false, generations: ['0.x'] },
  { name: 'nonmatching URL pattern', topics: [example('foo/x')], selectors: [example('bar/:var')], received: false, generations: ['1.0'] },
  { name: 'private raw string', topics: ['abc'], selectors: ['abc'], received: false, private: true },
  { name: 'private URI', topics: [example('foo/1')], selectors: [example('foo/1')], received: false, private: true },
  { name: 'private URI template', topics: [example('foo/1')], selectors: [example('foo/{random}')], received: false, private: true, generations: ['0.x'] },
  { name: 'private URL pattern', topics: [example('foo/1')], selectors: [example('foo/:random')], received: false, private: true, generations: ['1.0'] },
];

function query(generation, selectors) {
  const names = { '0.x': () => 'topic', '1.0': (text) => (text.includes('/:') ? 'match_urlpattern' : 'match') };
  return new URLSearchParams(selectors.map((text) => [names[generation](text), text])).toString();
}

/// Follows with an EventSource, whichever this runtime has, and tells what came before the update `last`.
/// It runs in a page as well, so it uses nothing from outside.
async function follow({ url, hub, bearer, update, last }) {
  const source = new EventSource(url);
  const got = [];
  try {
    await new Promise((resolve, reject) => { source.onopen = resolve; source.onerror = () => reject(new Error('no stream')); });
    const end = new Promise((resolve) => {
      source.onmessage = (event) => { if (event.data === last) resolve(); else got.push({ id: event.lastEventId, data: event.data }); };
    });
    const send = (fields) => fetch(hub, { method: 'POST', headers: { authorization: `Bearer ${bearer}` }, body: new URLSearchParams(fields) });
    const response = await send(update);
    const answer = { status: response.status, type: response.headers.get('content-type'), id: await response.text() };
    await send([['topic', 'the-end'], ['data', last]]);
    await end;
    return { got, answer };
  } finally {
    source.close();
  }
}

test('every case, in both generations, in Chromium and in Node', async (t) => {
  const server = await hub(t);
  const chromium = await page(t);
  await chromium.goto(server.url);
  globalThis.EventSource ??= EventSource;
  for (const one of CASES) {
    for (const generation of one.generations ?? ['0.x', '1.0']) {
      const id = `id-${JSON.stringify(one.topics)}-${generation}`;
      const data = `data for\n\n        ${one.name}`;
      const update = [...one.topics.map((topic) => ['topic', topic]), ['id', id], ['data', data], ...(one.private ? [['private', 'on']] : [])];
      const url = `${server.url}${HUB}?${query(generation, [...one.selectors, 'the-end'])}`;
      const wish = { url, hub: server.hub, bearer: PUBLISHERS[generation], update, last: 'end' };
      for (const [where, run] of [['Node', follow], ['Chromium', (wish) => chromium.evaluate(follow, wish)]]) {
        const { got, answer } = await run(wish);
        const label = `${one.name}, ${generation}, ${where}`;
        assert.deepEqual(got, one.received ? [{ id, data }] : [], label);
        assert.equal(answer.status, 200, label);
        assert.match(answer.type, /^text\/plain(?:$|;.*)/, label);
        assert.equal(answer.id, id, label);
      }
    }
  }
});

test('each generation is refused in its words', async (t) => {
  const server = await hub(t);
  const topic = [['topic', 'a']];
  assert.equal((await publish(server, topic, null)).status, 401);
  const { first, second } = await import('./hub.mjs');
  assert.equal((await publish(server, topic, first({ publish: ['b'] }))).status, 401);
  assert.equal((await publish(server, topic, first({ publish: [] }))).status, 401);
  assert.equal((await publish(server, topic, first({}))).status, 401);
  const forbidden = await publish(server, topic, second(['publish'], 'b'));
  assert.deepEqual([forbidden.status, /error="insufficient_scope"/.test(forbidden.challenge)], [403, true]);
  const invalid = await publish(server, topic, `${second(['publish'], '*')}x`);
  assert.deepEqual([invalid.status, /error="invalid_token"/.test(invalid.challenge)], [401, true]);
  assert.equal((await publish(server, [['topic', 'a'], ['topic', 'b']], first({ publish: ['a'] }))).status, 401);
  assert.equal((await publish(server, [['topic', '/c/1']], second(['publish'], '/c/:id', 'urlpattern'))).status, 200);
  assert.equal((await publish(server, [['topic', 'https://a/1']], first({ publish: ['https://a/{id}'] }))).status, 200);
});

test('private updates reach tokens that cover a topic, by header, query and cookie', async (t) => {
  const server = await hub(t);
  const { first } = await import('./hub.mjs');
  const { rawStream } = await import('../lib/clients.mjs');
  const bearer = first({ subscribe: ['https://a/{id}'] });
  const streams = await Promise.all([
    rawStream(t, `${server.hub}?topic=https://a/1`, { headers: { authorization: `Bearer ${bearer}` } }),
    rawStream(t, `${server.hub}?topic=https://a/1&authorization=${bearer}`),
    rawStream(t, `${server.hub}?topic=https://a/1`, { headers: { cookie: `mercureAuthorization=${bearer}` } }),
    rawStream(t, `${server.hub}?match=https://a/1`, { headers: { cookie: `__Secure-mercure_access_token=${bearer}` } }),
  ]);
  const nobody = await rawStream(t, `${server.hub}?topic=https://a/1`);
  await publish(server, [['topic', 'https://a/1'], ['data', 'secret'], ['private', 'on']]);
  await publish(server, [['topic', 'https://a/1'], ['data', 'open']]);
  for (const stream of streams) assert.match(await stream.inbox.next((block) => block.includes('data:')), /data: secret/);
  assert.match(await nobody.inbox.next((block) => block.includes('data:')), /data: open/);
});

test('subscriptions come, go, and are listed', async (t) => {
  const server = await hub(t);
  const { first } = await import('./hub.mjs');
  const { rawStream } = await import('../lib/clients.mjs');
  const bearer = first({ subscribe: ['/.well-known/mercure/subscriptions{/topic}{/subscriber}'], payload: { user: 'ana' } });
  const headers = { authorization: `Bearer ${bearer}` };
  const watcher = await rawStream(t, `${server.hub}?topic=/.well-known/mercure/subscriptions%7B/topic%7D%7B/subscriber%7D`, { headers });
  const data = async () => JSON.parse((await watcher.inbox.next((block) => block.includes('"topic":"https://x/1"'))).match(/^data: (.*)$/m)[1]);
  const other = await rawStream(t, `${server.hub}?topic=https://x/1`, { headers });
  const came = await data();
  assert.deepEqual([came.active, came.type, came.payload], [true, 'Subscription', { user: 'ana' }]);
  const list = await (await fetch(`${server.hub}/subscriptions`, { headers })).json();
  assert.equal(list.type, 'Subscriptions');
  assert.ok(list.subscriptions.some(({ id }) => id === came.id));
  assert.equal((await fetch(server.url + came.id, { headers })).status, 200);
  assert.equal((await fetch(`${server.hub}/subscriptions`)).status, 401);
  other.abort();
  assert.equal((await data()).active, false);
  assert.equal((await fetch(server.url + came.id, { headers })).status, 404);
});

test('a topic is a channel of every other dialect', async (t) => {
  const server = await hub(t, '\n[[namespace]]\nchannels = "https://*"\nanonymous = ["subscribe", "publish", "history"]\n');
  const { stream } = await import('../lib/clients.mjs');
  const native = await stream(t, `${server.url}/v1/sse?pattern=https://b/*`);
  const mercure = await stream(t, `${server.hub}?topic=https://b/%7Bid%7D`);
  await publish(server, [['topic', 'https://b/1'], ['data', '{"n":1}']]);
  assert.deepEqual((await native.inbox.next()).data.data, { n: 1 });
  assert.deepEqual((await mercure.inbox.next()).data, { n: 1 });
  const { status } = await server.request('POST', '/v1/publish', { channel: 'https://b/1', data: { n: 2 } });
  assert.equal(status, 200);
  assert.deepEqual((await mercure.inbox.next()).data, { n: 2 });
});

// The HTTP API with plain `fetch`: publish, history, presence, channels, polls, health, and the form of every error.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { connect } from '../lib/clients.mjs';
import { until } from '../lib/inbox.mjs';
import { omnivox } from '../lib/omnivox.mjs';

const data = (events) => events.map((event) => event.data);

test('publish answers with channel and id, under both paths', async (t) => {
  const server = await omnivox(t);
  for (const path of ['/publish', '/v1/publish']) {
    const { status, json } = await server.post(path, { channel: 'general', event: 'chat', data: { text: 'hi' } });
    assert.equal(status, 200);
    assert.equal(json.channel, 'general');
    assert.match(json.id, /^[A-Za-z0-9_.-]{1,128}$/, 'a mark fits every header and query');
  }
});

test('a payload of any JSON type comes back unchanged', async (t) => {
  const server = await omnivox(t);
  const payloads = ['1', '-0.5e3', '12345678901234567890123', '"\\u0000\\ud83d\\ude00"', 'null', 'true', '[]', '{"a":{"b":[1,2]},"b":1}'];
  for (const payload of payloads) await server.post('/publish', `{"channel":"types","event":"e","data":${payload}}`, { 'content-type': 'application/json' });
  const { text } = await server.get('/v1/history?channel=types');
  for (const payload of payloads) assert.ok(text.includes(`"data":${payload}`), `${payload} in ${text}`);
});

test('a batch is one call; each publication has its answer, in order', async (t) => {
  const server = await omnivox(t);
  const messages = [
    { channel: 'a', event: 'e', data: 1 },
    { channel: 'b', event: 'e', data: 2 },
    { channel: '', event: 'e', data: 3 },
    { channel: 'a', event: 'e', data: 4, id: 'k' },
    { channel: 'a', event: 'e', data: 5, id: 'k' },
  ];
  const { status, json } = await server.post('/publish', { messages });
  assert.equal(status, 200);
  const results = json.results ?? json.messages;
  assert.equal(results.length, 5);
  assert.ok(results[0].id && results[1].id && results[2].error, JSON.stringify(results));
  assert.equal(results[4].id, results[3].id);
  assert.deepEqual(data((await server.get('/v1/history?channel=a')).json.events), [1, 4]);
});

test('the same idempotency key gives the same id, per channel', async (t) => {
  const server = await omnivox(t);
  const first = await server.publish('one', 1, { id: 'same' });
  assert.equal(await server.publish('one', 2, { id: 'same' }), first);
  await server.publish('two', 3, { id: 'same' });
  assert.deepEqual(data((await server.get('/v1/history?channel=one')).json.events), [1]);
  assert.deepEqual(data((await server.get('/v1/history?channel=two')).json.events), [3]);
});

test('history: by count, and after a mark', async (t) => {
  const server = await omnivox(t);
  const ids = [];
  for (let count = 1; count <= 5; count += 1) ids.push(await server.publish('past', count));
  assert.deepEqual(data((await server.get('/v1/history?channel=past')).json.events), [1, 2, 3, 4, 5]);
  assert.deepEqual(data((await server.get('/v1/history?channel=past&limit=2')).json.events), [4, 5]);
  assert.deepEqual(data((await server.get(`/v1/history?channel=past&since=${ids[2]}`)).json.events), [4, 5]);
  assert.deepEqual((await server.get('/v1/history?channel=empty')).json.events, []);
});

test('presence and channels show who is where', async (t) => {
  const server = await omnivox(t);
  const socket = await connect(t, server.ws);
  await socket.subscribe('room');
  await socket.call({ type: 'enter', channel: 'room', data: { name: 'Ann' } });
  const { json: presence } = await server.get('/v1/presence?channel=room');
  assert.deepEqual(presence.members.map((member) => member.data), [{ name: 'Ann' }]);
  const { json: listed } = await server.get('/v1/channels');
  assert.ok(listed.channels.some((channel) => (channel.channel ?? channel.name ?? channel) === 'room'), JSON.stringify(listed));
});

test('poll: a plain short poll, a bare number, a mark, a gap', async (t) => {
  const server = await omnivox(t);
  const empty = await server.get('/poll?channel=p&timeout=0');
  assert.equal(empty.status, 200);
  assert.deepEqual(empty.json.events, []);
  assert.match(empty.headers.get('cache-control') ?? '', /no-store/);

  const ids = [];
  for (const number of [1, 2, 3]) ids.push(await server.publish('p', number));
  const all = (await server.get(`/poll?channel=p&timeout=0&last=${empty.json.last}`)).json;
  assert.deepEqual([data(all.events), all.gap, all.more], [[1, 2, 3], false, false]);
  const rest = (await server.get(`/poll?channel=p&timeout=0&last=${all.events[1].id}`)).json;
  assert.deepEqual(data(rest.events), [3]);
  const same = (await server.get(`/poll?channel=p&timeout=0&last=${rest.last}`)).json;
  assert.deepEqual([same.events, same.last, same.gap], [[], rest.last, false]);

  const number = (await server.get('/poll?channel=p&timeout=0&last=1')).json;
  assert.deepEqual([data(number.events), number.gap], [[2, 3], false], 'a bare number is a place in the current epoch');
  const beyond = (await server.get('/poll?channel=p&timeout=0&last=42')).json;
  assert.equal(beyond.gap, true, 'a place that never was answers with gap');
});

test('poll without a channel has the default one of dev', async (t) => {
  const server = await omnivox(t);
  const { status, json } = await server.get('/poll?last=42&timeout=0');
  assert.equal(status, 200);
  assert.equal(typeof json.last, 'string');
});

test('a held poll is answered by the first publication, and by its timeout with the same mark', async (t) => {
  const server = await omnivox(t);
  const { last } = (await server.get('/poll?channel=held&channel=other&timeout=0')).json;
  const held = server.get(`/poll?channel=held&channel=other&last=${last}&timeout=20`);
  await server.publish('held', 'now');
  assert.deepEqual(data((await held).json.events), ['now']);
  const silent = (await server.get(`/poll?channel=held&channel=other&timeout=1&last=${(await held).json.last}`)).json;
  assert.deepEqual([silent.events, silent.last], [[], (await held).json.last]);
});

test('a crowd of held polls is answered by one publication, each poll once', async (t) => {
  const server = await omnivox(t);
  const { last } = (await server.get('/poll?channel=general&timeout=0')).json;
  const crowd = Array.from({ length: 150 }, () => server.get(`/poll?channel=general&last=${last}`));
  // Asking is a request itself.
  await until(async () => (await server.metric('omnivox_held_requests')) - 1 === crowd.length, 'all wait');
  await server.publish('general', 'now');
  for (const { status, json } of await Promise.all(crowd)) assert.deepEqual([status, data(json.events)], [200, ['now']]);
  await until(async () => (await server.metric('omnivox_sessions')) === 0, 'nothing is left of them');
});

test('who waits gets a batch in one answer, and one event when it set a limit; HEAD is never held', async (t) => {
  const server = await omnivox(t);
  const { last } = (await server.get('/poll?channel=burst&timeout=0')).json;
  const ask = (more = '') => server.get(`/poll?channel=burst&last=${last}&timeout=20${more}`);
  const waiting = [ask(), ask(), ask('&limit=1')];
  // Asking is a request itself.
  const held = async () => Number((await server.get('/metrics')).text.match(/^omnivox_held_requests (\d+)$/m)[1]) - 1;
  while (await held() < waiting.length);
  await server.post('/publish', { messages: [1, 2, 3].map((number) => ({ channel: 'burst', event: 'e', data: number })) });
  const answers = (await Promise.all(waiting)).map(({ json }) => json);
  assert.deepEqual(answers.map(({ events }) => data(events)), [[1, 2, 3], [1, 2, 3], [1]]);
  assert.deepEqual(answers.map(({ last: mark, events }) => mark === events.at(-1).id), [true, true, true]);
  const head = await fetch(`${server.url}/poll?channel=burst&last=${answers[0].last}`, { method: 'HEAD' });
  assert.deepEqual([head.status, await head.text()], [200, '']);
});

test('many polls of one client miss nothing and see nothing twice', async (t) => {
  const server = await omnivox(t);
  let { last } = (await server.get('/poll?channel=many&timeout=0')).json;
  const published = (async () => { for (let number = 0; number < 200; number += 1) await server.publish('many', number); })();
  const got = [];
  while (got.length < 200) {
    const { json } = await server.get(`/poll?channel=many&last=${last}&timeout=10`);
    assert.equal(json.gap, false);
    got.push(...data(json.events));
    last = json.last;
  }
  await published;
  assert.deepEqual(got, Array.from({ length: 200 }, (_, number) => number));
});

test('health, ready and metrics', async (t) => {
  const server = await omnivox(t);
  assert.equal((await server.get('/health')).status, 200);
  assert.equal((await server.get('/ready')).status, 200);
  const metrics = await server.get('/metrics');
  assert.equal(metrics.status, 200);
  assert.match(metrics.headers.get('content-type'), /^text\/plain; version=0\.0\.4|openmetrics/);
  assert.match(metrics.text, /^# TYPE omnivox_\w+ (counter|gauge|histogram)$/m);
});

test('the page at / is HTML', async (t) => {
  const server = await omnivox(t);
  const { status, headers, text } = await server.get('/');
  assert.equal(status, 200);
  assert.match(headers.get('content-type'), /^text\/html/);
  assert.match(text, /<html/i);
});

/// More names than one connection may have, in a head that is still allowed.
const manyChannels = (count) => Array.from({ length: count }, (_, number) => `channel=${number.toString(36)}`).join('&');

const JSON_TYPE = { 'content-type': 'application/json' };

test('every refusal is a status with a stable code in JSON', async (t) => {
  const server = await omnivox(t);
  for (const [method, target, body, headers, expected] of [
    ['GET', '/nowhere', undefined, {}, 404],
    ['GET', '/publish', undefined, {}, 405],
    ['DELETE', '/v1/history?channel=a', undefined, {}, 405],
    ['POST', '/publish', '{"channel":"a",', JSON_TYPE, 400],
    ['POST', '/publish', '[]', JSON_TYPE, 400],
    ['POST', '/publish', '', JSON_TYPE, 400],
    ['POST', '/publish', '{"event":"e","data":1}', JSON_TYPE, 400],
    ['POST', '/publish', '{"channel":7,"data":1}', JSON_TYPE, 400],
    ['POST', '/publish', '{"channel":"","data":1}', JSON_TYPE, 400],
    ['POST', '/publish', '{"channel":"a\\u0000b","data":1}', JSON_TYPE, 400],
    ['POST', '/publish', JSON.stringify({ channel: 'x'.repeat(256), data: 1 }), JSON_TYPE, 400],
    ['POST', '/publish', '{"channel":"a","data":1}', { 'content-type': 'text/plain' }, 415],
    ['POST', '/publish', JSON.stringify({ channel: 'a', data: 'x'.repeat(4 * 1024 * 1024) }), JSON_TYPE, 413],
    ['POST', '/publish', '['.repeat(20_000), JSON_TYPE, 400],
    ['POST', '/publish', `{"channel":"a","data":${'['.repeat(100_000)}${']'.repeat(100_000)}}`, JSON_TYPE, 400],
    ['GET', '/sse', undefined, {}, 400],
    ['GET', '/sse?channel=', undefined, {}, 400],
    ['GET', '/sse?channel=%00', undefined, {}, 400],
    ['GET', '/sse?channel=%ff', undefined, {}, 400],
    ['GET', `/sse?${manyChannels(1100)}`, undefined, {}, [400, 413, 414, 429]],
    ['GET', '/poll?channel=a&timeout=soon', undefined, {}, 400],
    ['GET', '/poll?channel=a&last=%20', undefined, {}, 400],
    ['GET', `/poll?channel=a&timeout=0&last=${'9'.repeat(300)}`, undefined, {}, 400],
    ['GET', '/v1/history', undefined, {}, 400],
    ['GET', '/v1/history?channel=a&limit=-1', undefined, {}, 400],
    ['GET', `/health?${'x'.repeat(70_000)}`, undefined, {}, [414, 431]],
    ['GET', '/health', undefined, { 'x-long': 'x'.repeat(70_000) }, 431],
  ]) {
    await t.test(`${method} ${target.slice(0, 40)} ${(body ?? '').slice(0, 40)}`, async () => {
      const { status, json, text } = await server.request(method, target, body, headers);
      assert.ok([expected].flat().includes(status), `${status}: ${text.slice(0, 300)}`);
      if (status >= 400) {
        assert.match(json?.error?.code ?? '', /^[a-z0-9_]+$/, text.slice(0, 300));
        assert.ok(json.error.message.length > 5);
      }
    });
  }
  await server.assertHealthy();
});

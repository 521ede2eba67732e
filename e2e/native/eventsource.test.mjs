// Event streams with npm `eventsource`, and as raw bytes for what no EventSource shows.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { rawStream, stream } from '../lib/clients.mjs';
import { cuttingProxy } from '../lib/cutting-proxy.mjs';
import { omnivox } from '../lib/omnivox.mjs';
import { OPEN } from '../lib/settings.mjs';

test('several channels on one stream, an id on every event', async (t) => {
  const server = await omnivox(t);
  const events = await stream(t, `${server.url}/sse?channel=general&channel=news`);
  await server.publish('general', { text: 'one' }, { event: 'chat' });
  await server.publish('news', 'two');
  const one = await events.inbox.next();
  const two = await events.inbox.next();
  assert.deepEqual({ type: one.data.type, channel: one.data.channel, event: one.data.event, data: one.data.data },
    { type: 'message', channel: 'general', event: 'chat', data: { text: 'one' } });
  assert.equal(two.data.channel, 'news');
  for (const { id } of [one, two]) assert.match(id, /^[A-Za-z0-9_.-]{1,128}$/);
});

test('text with line ends of every kind arrives unchanged', async (t) => {
  const server = await omnivox(t);
  const events = await stream(t, `${server.url}/sse?channel=lines`);
  const text = 'a\nb\r\nc\rd\n\n: not a comment\ndata: not a field\u2028\ufeff';
  await server.publish('lines', text);
  assert.equal((await events.inbox.next()).data.data, text);
});

test('a stream that was cut resumes all its channels by Last-Event-ID', async (t) => {
  const server = await omnivox(t);
  const proxy = await cuttingProxy(t, { port: server.port, seed: 1, bytesMin: 1e9, bytesMax: 2e9 });
  const events = await stream(t, `${proxy.url}/sse?channel=a&channel=b`);
  await server.publish('a', 1);
  assert.equal((await events.inbox.next()).data.data, 1);
  proxy.cutAll();
  await events.errors.next();
  await server.publish('b', 2);
  await server.publish('a', 3);
  const got = [await events.inbox.next(), await events.inbox.next()].map(({ data }) => data.data);
  assert.deepEqual(got.sort(), [2, 3]);
});

for (const [name, target, headers] of [
  ['header', '/sse?channel=a', (id) => ({ 'last-event-id': id })],
  ['lastEventId', '/sse?channel=a&lastEventId=ID', () => ({})],
  ['Last-Event-ID', '/sse?channel=a&Last-Event-ID=ID', () => ({})],
]) {
  test(`resume by ${name}`, async (t) => {
    const server = await omnivox(t);
    const before = await rawStream(t, `${server.url}/sse?channel=a`);
    await server.publish('a', 1);
    const block = await before.inbox.next((block) => block.includes('data:'));
    const id = block.match(/^id: ?(.*)$/m)[1];
    before.abort();
    await server.publish('a', 2);
    const after = await rawStream(t, server.url + target.replace('=ID', `=${id}`), { headers: headers(id) });
    assert.match(await after.inbox.next((block) => block.includes('data:')), /"data":2/);
  });
}

test('a mark that is no more is answered with an event that says gap', async (t) => {
  const server = await omnivox(t);
  await server.publish('a', 1);
  const { response, inbox } = await rawStream(t, `${server.url}/sse?channel=a`, { headers: { 'last-event-id': 'gone-1' } });
  assert.equal(response.status, 200);
  assert.match(await inbox.next((block) => /gap/.test(block)), /gap/);
});

test('the head lets events through proxies and caches', async (t) => {
  const server = await omnivox(t);
  const { response, inbox } = await rawStream(t, `${server.url}/sse?channel=a`);
  assert.equal(response.status, 200);
  assert.match(response.headers.get('content-type'), /^text\/event-stream/);
  assert.match(response.headers.get('cache-control'), /no-cache|no-store/);
  assert.equal(response.headers.get('x-accel-buffering'), 'no');
  await inbox.next(undefined, 'a first block at once, so that `open` fires behind proxies');
});

test('comments keep an idle stream alive', async (t) => {
  const server = await omnivox(t, { settings: `${OPEN}[heartbeat]\nsse_comment_interval_ms = 200\n` });
  const { inbox } = await rawStream(t, `${server.url}/v1/sse?channel=a`);
  for (let count = 0; count < 3; count += 1) await inbox.next((block) => block.startsWith(':'), 'a comment');
});

// The snippets of the README in real Chromium, and what a page from elsewhere must not reach.
// parts: chromium
// budget: 180 s

import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import { test } from 'node:test';
import { isDeepStrictEqual } from 'node:util';
import { page } from '../lib/chromium.mjs';
import { cuttingProxy } from '../lib/cutting-proxy.mjs';
import { until } from '../lib/inbox.mjs';
import { omnivox } from '../lib/omnivox.mjs';
import { snippets } from '../lib/documents.mjs';
import { freePort } from '../lib/programs.mjs';
import { OPEN } from '../lib/settings.mjs';

test('WebSocket: the snippet in two pages', async (t) => {
  const server = await omnivox(t);
  const code = snippets()[0].replace('ws://localhost:8080', `ws://localhost:${server.port}`);
  const [beginning, later] = code.split(/^\/\/ later.*$/m);
  const first = await page(t);
  const second = await first.context().newPage();
  for (const tab of [first, second]) {
    await tab.goto(`http://localhost:${server.port}/`);
    await tab.addScriptTag({ content: `window.got = []; { const console = { log: (msg) => got.push(msg) }; ${beginning}; window.ws = ws; }` });
    await tab.waitForFunction(() => window.got.some((msg) => msg.type === 'subscribed'));
  }
  await first.addScriptTag({ content: later });
  for (const tab of [first, second]) {
    await tab.waitForFunction(() => window.got.some((msg) => msg.type === 'chat'));
    const chat = await tab.evaluate(() => window.got.find((msg) => msg.type === 'chat'));
    assert.deepEqual([chat.user, chat.text, chat.channel], ['me', 'hi', 'general']);
  }
});

test('EventSource: the snippet, each second a message', async (t) => {
  const server = await omnivox(t);
  const tab = await page(t);
  await tab.goto(`${server.url}/`);
  const code = snippets()[1].replace('JSON.parse(event.data);', '$& got.push(data);');
  await tab.addScriptTag({ content: `window.got = []; ${code}` });
  await tab.waitForFunction(() => window.got.length >= 2);
  const [data] = await tab.evaluate(() => window.got);
  assert.equal(typeof data.msg, 'string');
  assert.ok(data.time);
});

test('EventSource comes back by itself and resumes after the server is back', async (t) => {
  const server = await omnivox(t);
  const proxy = await cuttingProxy(t, { port: server.port, seed: 1, bytesMin: 1e9, bytesMax: 2e9 });
  const tab = await page(t);
  await tab.goto(`${proxy.url}/`);
  await tab.evaluate(() => {
    window.got = [];
    window.errors = 0;
    const es = new EventSource('/sse?channel=a&channel=b');
    es.onmessage = (event) => window.got.push(JSON.parse(event.data).data);
    es.onerror = () => { window.errors += 1; };
    return new Promise((resolve) => { es.onopen = resolve; });
  });
  await server.publish('a', 1);
  await tab.waitForFunction(() => window.got.length === 1);
  proxy.cutAll();
  await tab.waitForFunction(() => window.errors > 0);
  await server.publish('b', 2);
  await server.publish('a', 3);
  await tab.waitForFunction(() => window.got.length === 3);
  assert.deepEqual((await tab.evaluate(() => window.got)).sort(), [1, 2, 3]);
});

test('fetch: a held poll and a publish', async (t) => {
  const server = await omnivox(t);
  const tab = await page(t);
  await tab.goto(`${server.url}/`);
  const got = await tab.evaluate(async () => {
    const json = async (target, body) => {
      const sent = body && { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) };
      return (await fetch(target, sent)).json();
    };
    const { last } = await json('/poll?channel=p&timeout=0');
    const held = json(`/poll?channel=p&last=${last}&timeout=20`);
    await json('/publish', { channel: 'p', event: 'e', data: 'from a page' });
    return (await held).events;
  });
  assert.deepEqual(got.map(({ data }) => data), ['from a page']);
});

test('the page at / sends and shows messages over the three transports, and where some are missing', async (t) => {
  const settings = OPEN.replace('127.0.0.1:0', `127.0.0.1:${await freePort()}`);
  const server = await omnivox(t, { settings });
  const tab = await page(t);
  await tab.goto(`${server.url}/`);
  const sections = () => tab.evaluate(() => [...document.querySelectorAll('section')].map((node) => ({
    transport: node.dataset.transport,
    state: node.querySelector('.words').textContent,
    lines: [...node.querySelectorAll('li')].map((line) => line.lastChild.textContent).reverse(),
  })));
  const shown = async (what, states, lines) => {
    const due = ['ws', 'sse', 'poll'].map((transport) => ({ transport, state: states, lines }));
    let last;
    await until(async () => isDeepStrictEqual(last = await sections(), due), what).catch(() => assert.deepEqual(last, due, what));
  };
  await shown('all three are open', 'open', []);
  await server.publish('general', { text: 'from elsewhere' }, { event: 'chat' });
  await shown('each shows what was published elsewhere', 'open', ['from elsewhere']);
  await tab.fill('#text', 'from the page');
  await tab.click('#send button');
  await shown('each shows what the page sent', 'open', ['from elsewhere', 'from the page']);
  assert.deepEqual(tab.said.filter((line) => line.startsWith('error')), []);

  await server.stop();
  await shown('each says that the server is gone', 'lost, trying again', ['from elsewhere', 'from the page']);
  await omnivox(t, { settings });
  const gap = ['from elsewhere', 'from the page', 'messages are missing here'];
  await shown('each comes back, and says that what the first server kept is gone', 'open', gap);
  await tab.fill('#text', 'afterwards');
  await tab.click('#send button');
  await shown('each goes on', 'open', [...gap, 'afterwards']);
});

test('a page from elsewhere reaches nothing: not by its origin, not by a name that points here', async (t) => {
  const server = await omnivox(t);
  const elsewhere = createServer((_, response) => response.setHeader('content-type', 'text/html').end('<html></html>'));
  await new Promise((resolve) => elsewhere.listen(0, '127.0.0.1', resolve));
  t.after(() => elsewhere.close());
  const tab = await page(t, { hosts: ['evil.test'] });
  await tab.goto(`http://evil.test:${elsewhere.address().port}/`);
  const reached = await tab.evaluate(async (port) => {
    const ends = {};
    ends.websocket = await new Promise((resolve) => {
      const ws = new WebSocket(`ws://127.0.0.1:${port}/ws`);
      ws.onopen = () => resolve('open');
      ws.onerror = () => resolve('refused');
    });
    ends.eventsource = await new Promise((resolve) => {
      const es = new EventSource(`http://127.0.0.1:${port}/sse?channel=a`);
      es.onopen = () => resolve('open');
      es.onerror = () => resolve('refused');
    });
    const body = JSON.stringify({ channel: 'a', event: 'e', data: 'from evil' });
    ends.fetch = await fetch(`http://127.0.0.1:${port}/poll?channel=a&timeout=0`).then((answer) => answer.text(), () => 'refused');
    ends.simplePost = await fetch(`http://127.0.0.1:${port}/publish`, { method: 'POST', mode: 'no-cors', body }).then((answer) => answer.type, () => 'refused');
    return ends;
  }, server.port);
  assert.equal(reached.websocket, 'refused');
  assert.equal(reached.eventsource, 'refused');
  assert.equal(reached.fetch, 'refused');
  // A simple POST leaves the browser in any case; it must have done nothing.
  const { json } = await server.get('/v1/history?channel=a');
  assert.deepEqual(json.events, []);

  const rebound = await tab.goto(`http://evil.test:${server.port}/health`);
  assert.ok([400, 403, 421].includes(rebound.status()), `a host that is not ours answered ${rebound.status()}`);
});

// The snippets of the README, word for word, with the clients that every JavaScript program has: `ws` and npm `eventsource`.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { EventSource } from 'eventsource';
import WebSocket from 'ws';
import { Inbox } from '../lib/inbox.mjs';
import { omnivox } from '../lib/omnivox.mjs';
import { snippets } from '../lib/documents.mjs';

test('the README shows two snippets', () => assert.equal(snippets().length, 2));

test('WebSocket: subscribe, then chat; every subscriber of the room sees user and text', async (t) => {
  const server = await omnivox(t);
  const [code] = snippets();
  const [beginning, later] = code.split(/^\/\/ later.*$/m);
  const said = new Inbox();
  // The snippet logs what it gets: each run has a console of its own.
  const run = () => {
    const console = { log: (message) => said.push(message) };
    const ws = new Function('WebSocket', 'console', `${at(server, beginning)}; return ws;`)(WebSocket, console);
    t.after(() => ws.close());
    return ws;
  };
  const first = run();
  run();
  for (let count = 0; count < 2; count += 1) await said.next((message) => message.type === 'subscribed');
  new Function('ws', later)(first);
  for (let count = 0; count < 2; count += 1) {
    const message = await said.next((message) => message.type === 'chat');
    assert.deepEqual({ user: message.user, text: message.text, channel: message.channel }, { user: 'me', text: 'hi', channel: 'general' });
    assert.equal(typeof message.id, 'string');
  }
});

test('EventSource: /api/notifications gives msg and time each second', async (t) => {
  const server = await omnivox(t);
  const [, code] = snippets();
  // In a browser the page's address completes the path.
  class PageEventSource extends EventSource {
    constructor(target) { super(new URL(target, server.url)); }
  }
  const got = new Inbox();
  const show = code.replace('const data = JSON.parse(event.data);', 'const data = JSON.parse(event.data); got(data, event.lastEventId);');
  assert.notEqual(show, code);
  const es = new Function('EventSource', 'got', `${show}; return es;`)(PageEventSource, (data, id) => got.push({ data, id }));
  t.after(() => es.close());
  const [one, two] = [await got.next(), await got.next()];
  for (const { data, id } of [one, two]) {
    assert.equal(typeof data.msg, 'string');
    assert.ok(data.time, 'a time');
    assert.ok(id, 'an id to come back with');
  }
  assert.notEqual(one.id, two.id);
});

function at(server, code) {
  const there = code.replace('ws://localhost:8080', `ws://127.0.0.1:${server.port}`);
  assert.notEqual(there, code, 'the snippet names the default address');
  return there;
}

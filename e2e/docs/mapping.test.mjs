// The tables of docs/mapping.md: each line is published, and what arrives is what the page says.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { Socket, rawStream } from '../lib/clients.mjs';
import { ROOT, omnivox } from '../lib/omnivox.mjs';
import { within } from '../lib/inbox.mjs';
import { NEWEST, joined } from '../lib/socketio.mjs';

const PAGE = readFileSync(path.join(ROOT, 'docs/mapping.md'), 'utf8');
const BYTES = Buffer.from([1, 2, 3]);

/// Fails unless the page has a line with all these pieces of code.
function shown(...pieces) {
  const lines = PAGE.split('\n').filter((line) => line.startsWith('| '));
  assert.ok(lines.some((line) => pieces.every((piece) => line.includes(`\`${piece}\``))), `no line of the page has ${pieces.join(' and ')}`);
}

/// One listener of each kind; each gives the next message in the words of the page.
async function listeners(t, server) {
  const ws = new Socket(t, `${server.ws}?channel=m`);
  await ws.next({ type: 'subscribed' });
  const raw = async (query) => {
    const { inbox } = await rawStream(t, `${server.url}/v1/sse?channel=m${query}`);
    await inbox.next((block) => block.startsWith('id:'), 'the place of the stream');
    return () => inbox.next((block) => block.includes('data:'), 'an event');
  };
  const [envelopes, data] = [await raw(''), await raw('&format=data')];
  const updates = await rawStream(t, `${server.url}/.well-known/mercure?topic=m`);
  const socketIo = await joined(t, NEWEST, server.url, 'm');
  let seen = 0;
  return {
    ws: async () => inner((await ws.inbox.next())),
    binary: () => ws.inbox.next(Buffer.isBuffer, 'a binary message'),
    stream: async () => inner(JSON.parse((await envelopes()).match(/^data: (.*)$/m)[1])),
    data: async () => (await data()).split('\n').filter((line) => !line.startsWith('id:')),
    mercure: async () => (await updates.inbox.next((block) => block.includes('data:'), 'an update')).split('\n').filter((line) => line !== ':' && !line.startsWith('id:')),
    history: async () => inner((await server.get('/v1/history?channel=m')).json.events[seen++]),
    socketIo: () => socketIo.inbox.next(),
  };
}

/// A message without its envelope, as the page writes it.
function inner({ type, channel, id, ...rest }) {
  assert.equal(channel, 'm');
  assert.match(id, /^\w+-\d+$/);
  return JSON.stringify(type === 'message' ? rest : { type, ...rest }).slice(1, -1);
}

async function check(heard, { ws, text = ws, data, mercure = data, socketIo }) {
  assert.equal(await heard.ws(), ws);
  if (ws.includes('"binary":true')) assert.deepEqual(await heard.binary(), BYTES);
  assert.equal(await heard.stream(), text);
  assert.equal(await heard.history(), text);
  const fields = await heard.data();
  if (data) assert.deepEqual(fields, data);
  assert.deepEqual(await heard.mercure(), mercure);
  const [offset, ...rest] = (await heard.socketIo()).reverse();
  assert.match(offset, /^\w+\.\d+$/);
  assert.deepEqual(rest.reverse(), socketIo);
}

const NATIVE = [
  { published: '"event":"chat","data":{"n":1}', ws: '"event":"chat","data":{"n":1}', data: ['event: chat', 'data: {"n":1}'], socketIo: ['chat', { n: 1 }] },
  { published: '"data":{"n":1}', ws: '"event":"message","data":{"n":1}', data: ['data: {"n":1}'], socketIo: ['message', { n: 1 }] },
  {
    published: '"event":"b","data":"AQID","encoding":"base64"',
    ws: '"event":"b","binary":true,"bytes":3',
    text: '"event":"b","data":"AQID","encoding":"base64"',
    data: ['event: b', 'data: {"data":"AQID","encoding":"base64"}'],
    mercure: ['event: b', 'data: AQID'],
    socketIo: ['b', BYTES],
  },
];

test('from native to all', async (t) => {
  const server = await omnivox(t);
  const heard = await listeners(t, server);
  for (const line of NATIVE) {
    shown(line.published, line.ws, ...line.data, ...(line.mercure ?? []));
    await server.request('POST', '/v1/publish', `{"channel":"m",${line.published}}`, { 'content-type': 'application/json' });
    await check(heard, line);
  }
  const own = '{"type":"chat","text":"hi"}';
  const speaker = new Socket(t, server.ws);
  await within(speaker.opened, 'a WebSocket');
  speaker.send({ ...JSON.parse(own), channel: 'm' });
  const line = { ws: '"type":"chat","text":"hi"', data: ['event: chat', 'data: {"text":"hi"}'], socketIo: ['chat', { text: 'hi' }] };
  shown(own, line.ws, ...line.data);
  await check(heard, line);
});

test('JSON goes through byte for byte', async (t) => {
  const server = await omnivox(t);
  const { inbox } = await rawStream(t, `${server.url}/v1/sse?channel=m&format=data`);
  const socket = new Socket(t, `${server.ws}?channel=m`);
  const raw = new Promise((resolve) => { socket.ws.on('message', (data) => { if (data.includes('"id"') && data.includes('"data"')) resolve(data.toString()); }); });
  await socket.next({ type: 'subscribed' });
  await inbox.next((block) => block.startsWith('id:'), 'the place of the stream');
  const json = '{ "z":12345678901234567890,"a":1.0, "e":1E2 }';
  await server.request('POST', '/v1/publish', `{"channel":"m","data":${json}}`, { 'content-type': 'application/json' });
  assert.ok((await within(raw, 'a message')).includes(json));
  assert.ok((await inbox.next((block) => block.includes('data:'), 'an event')).includes(`data: ${json}`));
  assert.ok((await server.get('/v1/history?channel=m')).text.includes(json));
});

const SOCKET_IO = [
  { emitted: ['`e`, `{"x":1}`', ['e', { x: 1 }]], ws: '"event":"e","data":{"x":1}', update: 'data: {"x":1}' },
  { emitted: ['`e`, `1`, `{"x":2}`', ['e', 1, { x: 2 }]], ws: '"event":"e","data":[1,{"x":2}]', update: 'data: [1,{"x":2}]' },
  { emitted: ['`e`', ['e']], ws: '"event":"e","data":null', update: 'data: null' },
  { emitted: ['`e`, `"plain"`', ['e', 'plain']], ws: '"event":"e","data":"plain"', update: 'data: "plain"' },
  { emitted: ['`e`, a `Buffer`', ['e', BYTES]], ws: '"event":"e","binary":true,"bytes":3', text: '"event":"e","data":"AQID","encoding":"base64"', update: 'data: AQID' },
  { emitted: ['`e`, a `Buffer` inside an object', ['e', { f: BYTES }]], ws: '"event":"e","data":{"f":{"_placeholder":true,"num":0,"base64":"AQID"}}', update: 'data: {"f":{"_placeholder":true,"num":0,"base64":"AQID"}}' },
];

test('from Socket.IO to all', async (t) => {
  const server = await omnivox(t);
  const heard = await listeners(t, server);
  const speaker = await joined(t, NEWEST, server.url, 'elsewhere');
  for (const { emitted: [words, args], ...line } of SOCKET_IO) {
    assert.ok(PAGE.includes(`| ${words} | \`${line.ws}\``), `the page has ${words}`);
    shown(line.ws, line.update);
    assert.equal((await speaker.ask('publish', 'm', ...args)).ok, true);
    await check(heard, { ...line, mercure: ['event: e', line.update], socketIo: args });
  }
});

const MERCURE = [
  { fields: { type: 'chat', data: '{"n":1}' }, ws: '"event":"chat","data":{"n":1}', data: ['event: chat', 'data: {"n":1}'], socketIo: ['chat', { n: 1 }] },
  { fields: { data: 'plain' }, ws: '"event":"message","data":"plain"', data: ['data: plain'], socketIo: ['message', 'plain'] },
  { fields: { data: 'two\nlines' }, ws: '"event":"message","data":"two\\nlines"', data: ['data: two', 'data: lines'], socketIo: ['message', 'two\nlines'] },
  { fields: {}, ws: '"event":"message","data":""', data: ['data: '], socketIo: ['message', ''] },
];

test('from Mercure to all', async (t) => {
  const server = await omnivox(t);
  const heard = await listeners(t, server);
  for (const { fields, ...line } of MERCURE) {
    shown(line.ws, ...line.data);
    const body = new URLSearchParams({ topic: 'm', ...fields });
    assert.equal((await fetch(`${server.url}/.well-known/mercure`, { method: 'POST', body })).status, 200);
    await check(heard, line);
  }
});

test('what is lost: events that the client library keeps for itself', async (t) => {
  const server = await omnivox(t);
  const heard = await listeners(t, server);
  for (const name of ['connect', 'connect_error', 'disconnect', 'disconnecting', 'newListener', 'removeListener']) {
    shown(name);
    await server.publish('m', 1, { event: name });
    assert.equal(await heard.ws(), `"event":"${name}","data":1`);
  }
  await server.publish('m', 2, { event: 'after' });
  assert.equal((await heard.socketIo())[0], 'after');
});

test('what is lost: a channel with two slashes; several channels are one message', async (t) => {
  const server = await omnivox(t);
  const client = await joined(t, NEWEST, server.url, ['a/b', 'm', 'n']);
  for (const channel of ['a/b', 'a/b/c']) await server.publish(channel, 'no room of the namespace /');
  await server.publish('a%2Fb', 'the room a/b', { event: 'room' });
  assert.deepEqual((await client.inbox.next()).slice(0, 2), ['room', 'the room a/b']);
  await server.post('/v1/publish', { channels: ['m', 'n'], event: 'both', data: 1 });
  await server.publish('m', 2, { event: 'after' });
  assert.deepEqual((await client.inbox.next()).slice(0, 2), ['both', 1]);
  assert.deepEqual((await client.inbox.next()).slice(0, 2), ['after', 2]);
});

test('members: the native key is the id of Socket.IO', async (t) => {
  const server = await omnivox(t);
  const client = await joined(t, NEWEST, server.url, { room: 'm', presence: { who: 'io' } });
  const native = new Socket(t, `${server.ws}?channel=m`);
  await native.next({ type: 'subscribed' });
  await native.call({ type: 'enter', channel: 'm', key: 'k', data: { who: 'native' } });
  const { members } = await client.ask('presence', 'm');
  const expected = [{ id: 'k', data: { who: 'native' } }, { id: client.socket.id, data: { who: 'io' } }];
  const byName = (list, name) => list.find(({ data }) => data.who === name);
  for (const { id, data } of expected) assert.equal(byName(members, data.who).id, id);
  const { members: listed } = (await server.get('/v1/presence?channel=m')).json;
  for (const { id, data } of expected) assert.equal(byName(listed, data.who).key, id);
});

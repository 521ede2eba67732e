// The OpenAPI file against the server: every answer has a status and a body that the file describes, and nothing that it lacks.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import Ajv from 'ajv/dist/2020.js';
import { connect, stream } from '../lib/clients.mjs';
import { ROOT, omnivox } from '../lib/omnivox.mjs';

const document = JSON.parse(readFileSync(path.join(ROOT, 'docs/openapi.json'), 'utf8'));
const ajv = new Ajv({ strict: false, allErrors: true });
ajv.addSchema(document, 'openapi');

/// Validates a value against a schema of the file, by its JSON pointer.
function check(pointer, value, what) {
  const validate = ajv.getSchema(`openapi#${pointer}`);
  assert.ok(validate(value), `${what}: ${JSON.stringify(validate.errors)} in ${JSON.stringify(value).slice(0, 300)}`);
}

const escaped = (name) => name.replaceAll('~', '~0').replaceAll('/', '~1');

/// What the file says of a status of an operation, as a pointer and the description there.
function described(operation, method, status) {
  const pointer = `/paths/${escaped(operation)}/${method.toLowerCase()}/responses/${status}`;
  // A method that the operation lacks is refused as its own methods refuse.
  const [own] = Object.values(document.paths[operation]);
  const response = (document.paths[operation][method.toLowerCase()] ?? own).responses[status];
  assert.ok(response, `${method} ${operation} answered ${status}, which the file lacks`);
  return response.$ref ? { pointer: response.$ref.slice(1), response: document.components.responses[response.$ref.split('/').at(-1)] } : { pointer, response };
}

const CALLS = [
  ['POST', '/v1/publish', '', { channel: 'a', event: 'chat', data: { text: 'hi' }, id: 'key' }],
  ['POST', '/v1/publish', '', { channel: 'a', event: 'chat', data: { text: 'hi' }, id: 'key' }],
  ['POST', '/v1/publish', '', { room: 'a', data: null }],
  ['POST', '/v1/publish', '', { channels: ['a', 'b'], data: 1 }],
  ['POST', '/v1/publish', '', { channel: 'a', data: 'AAEC', encoding: 'base64' }],
  ['POST', '/v1/publish', '', { messages: [{ channel: 'a', data: 1 }, { channel: '', data: 2 }] }],
  ['POST', '/v1/publish', '', {}],
  ['POST', '/v1/publish', '', 'text'],
  ['POST', '/v1/publish', '', { channel: 'a', data: 'x'.repeat(2 ** 21) }],
  ['DELETE', '/v1/publish', ''],
  ['GET', '/v1/history', '?channel=a'],
  ['GET', '/v1/history', '?channel=a&limit=2'],
  ['GET', '/v1/history', '?channel=a&limit=2&order=newest'],
  ['GET', '/v1/history', '?channel=a&before=3&since=1'],
  ['GET', '/v1/history', '?room=never'],
  ['GET', '/v1/history', ''],
  ['GET', '/v1/history', '?channel=a&order=up'],
  ['GET', '/v1/presence', '?channel=a'],
  ['GET', '/v1/presence', '?channel=never'],
  ['GET', '/v1/presence', ''],
  ['GET', '/v1/channels', ''],
  ['GET', '/v1/channels', '?prefix=a'],
  ['GET', '/v1/poll', '?channel=a'],
  ['GET', '/v1/poll', '?channel=a&last=1'],
  ['GET', '/v1/poll', '?channel=a&channel=b&timeout=0&last=earliest'],
  ['GET', '/v1/poll', '?channel=a&last=1&timeout=x'],
  ['GET', '/v1/poll', ''],
  ['GET', '/v1/poll', `?channel=${'a'.repeat(9_000)}`],
  ['GET', '/v1/history', '?channel=a', undefined, { 'x-large': 'a'.repeat(20_000) }],
  ['GET', '/v1/ice', ''],
  ['GET', '/v1/ice', '?format=twilio'],
  ['GET', '/v1/ice', '?format=strange'],
  ['POST', '/v1/rooms/enter', '', { channel: 'room', seat: 'a secret of ours', data: { name: 'Ann' } }],
  ['POST', '/v1/rooms/enter', '', { channel: 'room' }],
  ['POST', '/v1/rooms/signal', '', { channel: 'room', seat: 'a secret of ours', member: '~nobody', to: '~nobody', data: 1 }],
  ['POST', '/v1/rooms/leave', '', { channel: 'room', seat: 'a secret of ours' }],
  ['POST', '/v1/call', '', { method: 'time', data: 1 }],
  ['POST', '/v1/call', '', {}],
  ['DELETE', '/v1/call', ''],
  ['GET', '/v1/poll', '?inbox=nothing'],
  ['GET', '/v1/poll', '?inbox=~nobody.nothing'],
  ['GET', '/v1/sse', '?inbox=~nobody.nothing'],
  ['GET', '/v1/ws', ''],
  ['POST', '/v1/ticket', ''],
  ['GET', '/v1/connections', '?user=ann'],
  ['POST', '/v1/disconnect', '', { user: 'ann' }],
  ['POST', '/v1/revoke', '', { user: 'ann' }],
  ['GET', '/v1/webhooks/deliveries', '?status=failed&limit=3'],
  ['GET', '/v1/webhooks/deliveries', '?status=lost'],
  ['POST', '/v1/webhooks/test', '', { webhook: 'nobody' }],
  ['POST', '/v1/webhooks/test', '', {}],
  ['GET', '/v1/sse', ''],
  ['POST', '/v1/sse', '?channel=a', {}],
  ['POST', '/v1/socketio/emit', '', { rooms: ['a', 'b'], users: 'ann', except: { sockets: ['x'] }, event: 'news', args: [1, { text: 'hi' }], id: 'once' }],
  ['POST', '/v1/socketio/emit', '', { event: 'news' }],
  ['POST', '/v1/socketio/emit', '', { room: 'a' }],
  ['POST', '/v1/socketio/emit', '', 'text'],
  ['GET', '/v1/socketio/emit', ''],
  ['POST', '/v1/socketio/join', '', { users: ['ann'], join: 'a' }],
  ['POST', '/v1/socketio/leave', '', { rooms: ['a'], leave: ['a'] }],
  ['POST', '/v1/socketio/disconnect', '', { sockets: ['x'], close: true }],
  ['GET', '/v1/socketio/sockets', '?namespace=/&room=a'],
  ['GET', '/v1/socketio/sockets', '?page=2'],
];

test('every operation answers as the file says', async (t) => {
  const server = await omnivox(t);
  const member = await connect(t, server.ws);
  await member.subscribe('a');
  await member.call({ type: 'enter', channel: 'a', data: { name: 'Ann' } });
  member.send({ type: 'chat', text: 'an application message' });
  for (const [method, operation, query, body, sent] of CALLS) {
    await t.test(`${method} ${operation}${query} ${JSON.stringify(body ?? '').slice(0, 60)}`, async () => {
      const { status, json, headers, text } = await server.request(method, operation + query, body, sent);
      const { pointer, response } = described(operation, method, status);
      const [type] = Object.keys(response.content);
      assert.ok((headers.get('content-type') ?? '').startsWith(type), `${headers.get('content-type')}: ${text.slice(0, 200)}`);
      check(`${pointer}/content/${escaped(type)}/schema`, json, `${status}`);
    });
  }
});

test('a seat by requests, from its coming to its end', async (t) => {
  const server = await omnivox(t);
  const seats = [];
  for (const name of ['Ann', 'Bob']) {
    const answer = await server.post('/v1/rooms/enter', { channel: 'room', seat: `the secret of ${name}`, data: { name } });
    check('/components/schemas/Seated', answer.json, 'the seat');
    seats.push({ channel: 'room', seat: `the secret of ${name}`, ...answer.json });
  }
  const [ann, bob] = seats;
  assert.deepEqual(bob.peers.map(({ member, polite }) => ({ member, polite })), [{ member: ann.member, polite: true }]);
  const said = await server.post('/v1/rooms/signal', { ...bob, to: ann.member, data: { description: null } });
  assert.deepEqual([said.status, said.json], [202, { type: 'signalled', channel: 'room' }]);
  const { json: page } = await server.get(`/v1/poll?inbox=${ann.inbox}&last=${ann.last}`);
  check('/components/schemas/Poll', page, 'the inbox');
  assert.deepEqual(page.events.map(({ type, action, from }) => [type, action ?? from]), [['presence', 'enter'], ['signal', bob.member]]);
  const left = await server.post('/v1/rooms/leave', bob);
  assert.deepEqual([left.status, left.json], [200, { type: 'left', channel: 'room' }]);
  const { json: next } = await server.get(`/v1/poll?inbox=${ann.inbox}&last=${page.last}`);
  assert.deepEqual(next.events.map(({ type, action, member }) => [type, action, member.key]), [['presence', 'leave', bob.member]]);
});

test('what a stream says is an Event of the file', async (t) => {
  const server = await omnivox(t);
  const events = await stream(t, `${server.url}/v1/sse?channel=a&channel=b`);
  await server.publish('a', { text: 'hi' });
  const sender = await connect(t, server.ws);
  await sender.subscribe('b');
  sender.send({ type: 'chat', text: 'hi' });
  for (let count = 0; count < 2; count += 1) check('/components/schemas/Event', (await events.inbox.next()).data, 'an event');
});

test('every operation of the file is tried', () => {
  for (const [operation, methods] of Object.entries(document.paths)) {
    for (const method of Object.keys(methods)) {
      const tries = CALLS.filter(([used, target]) => used === method.toUpperCase() && target === operation);
      assert.ok(tries.length >= 1, `${method} ${operation}`);
    }
  }
});

test('what was accepted is counted, and nothing else', async (t) => {
  const server = await omnivox(t);
  await server.post('/v1/publish', { channel: 'nobody', data: 1 });
  for (let count = 0; count < 2; count += 1) await server.post('/v1/publish', { channel: 'nobody', data: 2, id: 'once' });
  await server.post('/v1/publish', { messages: [{ channel: 'a', data: 3 }, { channel: '', data: 4 }] });
  await server.post('/v1/publish', { channel: '', data: 5 });
  assert.equal(await server.metric('omnivox_published_total'), 3);
});

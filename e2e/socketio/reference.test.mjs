// What goes wrong, tried on npm `socket.io` itself and on omnivox: the same status, the same words, the same end of the connection.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:http';
import { createConnection } from 'node:net';
import { test } from 'node:test';
import { Server } from 'socket.io';
import WebSocket from 'ws';
import { Inbox, within } from '../lib/inbox.mjs';
import { omnivox } from '../lib/omnivox.mjs';
import { OPEN } from '../lib/settings.mjs';

const BYTES_MAX = 100_000;
const SETTINGS = `${OPEN}
[socketio]
namespaces = ["/", "/admin"]
message_bytes_max = ${BYTES_MAX}
recovery = false
`;

/// The reference, with a handler for the event that this file uses for a sign of life.
async function reference(t) {
  const http = createServer();
  const io = new Server(http, { maxHttpBufferSize: BYTES_MAX });
  for (const name of ['/', '/admin']) {
    io.of(name).on('connection', (socket) => { socket.on('alive', (answer) => { answer?.(); }); });
  }
  await new Promise((resolve) => { http.listen(0, '127.0.0.1', resolve); });
  t.after(() => { io.close(); http.closeAllConnections(); });
  return `http://127.0.0.1:${http.address().port}`;
}

/// Does the same to both and compares what came of it.
async function same(t, cases, attempt) {
  const [known, own] = [await reference(t), (await omnivox(t, { settings: SETTINGS })).url];
  for (const one of cases) {
    const [expected, got] = [await attempt(known, one), await attempt(own, one)];
    assert.deepEqual(got, expected, `${JSON.stringify(one).slice(0, 200)}: the reference does what is expected here`);
  }
}

const path = (rest) => `/socket.io/?${rest}`;

async function opened(url) {
  const text = await (await fetch(url + path('EIO=4&transport=polling'))).text();
  return path(`EIO=4&transport=polling&sid=${JSON.parse(text.slice(1)).sid}`);
}

const answer = async (response) => ({ status: response.status, type: response.headers.get('content-type'), body: await response.text() });

test('a POST that breaks off midway ends its session', async (t) => {
  await same(t, ['content-length: 100\r\n\r\n40', 'transfer-encoding: chunked\r\n\r\n2\r\n40\r\n'], async (url, rest) => {
    const target = await opened(url);
    const held = fetch(url + target).then(answer);
    const { hostname, port } = new URL(url);
    const socket = createConnection({ host: hostname, port });
    await once(socket, 'connect');
    // What is answered on the connection shows that the server has read as far as to the body.
    socket.write(`POST ${target} HTTP/1.1\r\nHost: ${hostname}:${port}\r\nContent-Type: text/plain\r\nExpect: 100-continue\r\n${rest.split('\r\n\r\n')[0]}\r\n\r\n`);
    await once(socket, 'data');
    socket.write(rest.slice(rest.indexOf('\r\n\r\n') + 4));
    socket.destroy();
    return [await held, await answer(await fetch(url + target))];
  });
});

test('requests that are no session\'s', async (t) => {
  await same(t, [
    ['GET', 'EIO=4'],
    ['GET', 'EIO=4&transport=abc'],
    ['GET', 'EIO=4&transport=webtransport'],
    ['GET', 'EIO=3&transport=polling'],
    ['GET', 'EIO=5&transport=polling'],
    ['GET', 'transport=polling'],
    ['GET', 'EIO=4&transport=websocket'],
    ['GET', 'EIO=4&transport=polling&sid=nobody'],
    ['GET', 'EIO=4&transport=websocket&sid=nobody'],
    ['POST', 'EIO=4&transport=polling'],
    ['PUT', 'EIO=4&transport=polling'],
    ['POST', 'EIO=4&transport=polling&sid=nobody'],
  ], async (url, [method, query]) => answer(await fetch(url + path(query), { method })));
});

test('WebSocket handshakes that are no session\'s', async (t) => {
  await same(t, ['EIO=4', 'EIO=4&transport=abc', 'EIO=4&transport=websocket&sid=nobody'], async (url, query) => {
    const ws = new WebSocket(url.replace('http', 'ws') + path(query));
    return new Promise((resolve, reject) => {
      ws.once('unexpected-response', async (_, response) => {
        let body = '';
        for await (const part of response) body += part;
        resolve({ status: response.statusCode, body });
      });
      ws.once('open', () => reject(new Error(`${query} was let in`)));
    });
  });
});

test('bodies that a session does not take', async (t) => {
  await same(t, [
    { body: '40' },
    { body: 'abc' },
    { body: '2' },
    { body: '9' },
    { body: 'x'.repeat(BYTES_MAX + 1) },
    { body: '40', type: 'application/octet-stream' },
    { method: 'PUT' },
    { method: 'DELETE' },
  ], async (url, { method = 'POST', body, type }) => {
    const session = url + await opened(url);
    await fetch(session, { method, body, headers: type ? { 'content-type': type } : {} }).then((sent) => sent.text());
    // What the sender is told differs for what is no packet (200 and 400); that the session is over, or is not, does not.
    const after = await fetch(session, { method: 'POST', body: '3' });
    return after.ok ? 'lives' : after.json();
  });
});

test('refusals of methods and sizes in a session', async (t) => {
  await same(t, [{ method: 'PUT' }, { method: 'DELETE' }, { method: 'POST', body: 'x'.repeat(BYTES_MAX + 1) }], async (url, request) => {
    const response = await fetch(url + await opened(url), request);
    return { status: response.status, body: await response.text() };
  });
});

/// Sends packets on a WebSocket that is connected to `/`, then asks for two signs of life; what came back until the second, or until the end.
async function said(url, packets) {
  const ws = new WebSocket(`${url.replace('http', 'ws')}${path('EIO=4&transport=websocket')}`);
  const inbox = new Inbox();
  ws.on('message', (data) => inbox.push(data.toString()));
  ws.on('close', (code) => inbox.push(`closed ${code}`));
  const next = () => inbox.next(() => true, `what comes of ${JSON.stringify(packets).slice(0, 100)}`);
  assert.match(await next(), /^0/);
  ws.send('40');
  assert.match(await next(), /^40/);
  for (const packet of [...packets, '42987["alive"]']) ws.send(packet);
  const heard = [];
  for (;;) {
    const packet = await next();
    // The second time, what the reference does a little later has been done as well.
    if (packet.startsWith('43987')) ws.send('42988["alive"]');
    else heard.push(packet.startsWith('43988') ? 'alive' : packet.replace(/"sid":"[^"]*"/, '"sid":"…"'));
    if (/^(closed|43988)/.test(packet)) break;
  }
  ws.terminate();
  return heard;
}

const KEPT = ['connect', 'connect_error', 'disconnect', 'disconnecting', 'newListener', 'removeListener'];
const PLACE = (num) => `451-["a",{"_placeholder":true,"num":${num}}]`;

for (const [what, cases] of Object.entries({
  'nothing wrong': [[]],
  'packets of Engine.IO': [['2'], ['7'], ['x'], [''], ['5'], ['6']],
  'what is no packet': [
    ['4'], ['4abc'], ['49'], ['4-1'], ['42{}'], ['42[]'], ['42"a"'], ['42[null]'], ['42[{}]'], ['42[true]'], ['42["a"'], ['42["a"]x'], ['42abc["a"]'],
    ['431{}'], ['44'], ['44"no"'], ['44{"message":"no"}'], ['440'], ['40[]'], ['40"a"'], ['41{}'],
  ],
  'acknowledgements that nobody waits for': [['43[]'], ['431[]'], ['4399999[1]']],
  'event names that are kept': KEPT.map((name) => [`42["${name}"]`]),
  'attachments that are announced': [['45["a"]'], ['451["a"]'], ['45-["a"]'], ['45x-["a"]'], ['4511-["a"]'], ['4510000-["a"]'], ['4599999999999999999999-["a"]']],
  'attachments that do not fit': [
    [PLACE(1), Buffer.from([1])], [PLACE(-1), Buffer.from([1])], [PLACE('"0"'), Buffer.from([1])], [PLACE(0), '42["text"]'],
    ['451-["connect",{"_placeholder":true,"num":0}]', Buffer.from([1])], [Buffer.from([1, 2, 3])],
  ],
  namespaces: [['40'], ['40/'], ['40/unknown'], ['40/unknown,{}'], ['40/admin'], ['40/admin,{"token":1}'], ['42/admin,["a"]'], ['41/admin'], ['41/unknown']],
  'what is too large': [[`42["${'x'.repeat(BYTES_MAX)}"]`], [Buffer.alloc(BYTES_MAX + 1)]],
})) {
  test(`on a connected WebSocket: ${what}`, async (t) => {
    await same(t, cases, said);
  });
}

test('who connects with nothing but nonsense is cut off', async (t) => {
  await same(t, ['42["a"]', '41', '44{}', '4abc', '43[]', '40/admin,[]'], async (url, packet) => {
    const ws = new WebSocket(`${url.replace('http', 'ws')}${path('EIO=4&transport=websocket')}`);
    const closed = new Promise((resolve) => { ws.once('close', (code) => resolve(code)); });
    await new Promise((resolve) => { ws.once('message', resolve); });
    ws.send(packet);
    return within(closed, 'the end');
  });
});

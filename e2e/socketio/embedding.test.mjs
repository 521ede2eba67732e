// The chat example: a Rust program with Socket.IO closures, and real clients.
// budget: 600 s

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import path from 'node:path';
import { test } from 'node:test';
import WebSocket from 'ws';
import { stream } from '../lib/clients.mjs';
import { Inbox, within } from '../lib/inbox.mjs';
import { ROOT, TARGET } from '../lib/omnivox.mjs';
import { Program } from '../lib/programs.mjs';
import { NEWEST, TRANSPORTS, connect } from '../lib/socketio.mjs';

execFileSync('cargo', ['build', '-q', '-p', 'omnivox-server', '--example', 'chat'], { cwd: ROOT, stdio: ['ignore', 'inherit', 'inherit'] });

async function chat(t) {
  const program = new Program(path.join(TARGET, 'debug/examples/chat'), ['0']);
  t.after(() => program.child.kill('SIGKILL'));
  const [, url] = await program.printed(/listening on (http:\S+)/);
  return url;
}

const guest = (t, url, name, options) => connect(t, NEWEST, url, { auth: { name }, ...options });

for (const [transport, options] of TRANSPORTS) {
  test(`${transport}: rooms, messages, acknowledgements both ways, reasons`, async (t) => {
    const url = await chat(t);
    const ann = await guest(t, url, 'ann', options);
    const bob = await guest(t, url, 'bob', options);
    assert.deepEqual(await ann.ask('enter', 'lobby'), ['ann']);
    assert.deepEqual(await bob.ask('enter', 'lobby'), ['ann', 'bob']);
    assert.equal((await ann.next('entered'))[1], 'bob');
    for (let number = 0; number < 20; number += 1) ann.socket.emit('message', 'lobby', `hello ${number}`);
    for (const { next } of [ann, bob]) {
      for (let number = 0; number < 20; number += 1) assert.deepEqual((await next('message')).slice(1, 3), ['ann', `hello ${number}`]);
    }
    ann.socket.on('here?', (answer) => answer('reading'));
    bob.socket.on('here?', (answer) => answer('writing'));
    const called = await new Promise((resolve) => { ann.socket.emit('roll call', 'lobby', (...answer) => resolve(answer)); });
    assert.deepEqual(called, [[['ann', 'reading'], ['bob', 'writing']], 0]);
    bob.socket.disconnect();
    assert.deepEqual((await ann.next('left')).slice(1, 3), ['bob', 'client namespace disconnect']);
  });
}

test('who does not answer is counted, who does not answer at all times out', async (t) => {
  const url = await chat(t);
  const [ann, bob] = [await guest(t, url, 'ann'), await guest(t, url, 'bob')];
  await ann.ask('enter', 'lobby');
  await bob.ask('enter', 'lobby');
  bob.socket.on('here?', (answer) => answer('writing'));
  const called = await new Promise((resolve) => { ann.socket.emit('roll call', 'lobby', (...answer) => resolve(answer)); });
  assert.deepEqual(called, [[['bob', 'writing']], 1]);
  assert.deepEqual(await ann.ask('nudge'), { ok: false, error: { code: 'timed_out', message: 'the client did not answer in time' } });
  ann.socket.on('nudged', (answer) => answer({ yes: true }));
  assert.deepEqual(await ann.ask('nudge'), { yes: true });
});

test('a middleware refuses with words and data; the connection may try again', async (t) => {
  const url = await chat(t);
  const socket = NEWEST.io(url, { forceNew: true, auth: {} });
  t.after(() => socket.close());
  const refused = () => new Promise((resolve) => { socket.once('connect_error', resolve); });
  const error = await refused();
  assert.deepEqual([error.message, error.data], ['say who you are', 'auth: { name }']);
  await guest(t, url, 'ann');
  socket.auth = { name: 'ann' };
  socket.connect();
  assert.equal((await refused()).message, 'ann is here already');
  socket.auth = { name: 'bob' };
  socket.connect();
  await new Promise((resolve) => { socket.once('connect', resolve); });
});

test('what does not fit is refused; what has no closure goes the usual way', async (t) => {
  const url = await chat(t);
  const ann = await guest(t, url, 'ann');
  const refusal = await ann.ask('message', 'lobby', 7);
  assert.equal(refusal.error.code, 'invalid');
  assert.match(refusal.error.message, /do not fit/);
  assert.equal((await ann.ask('message', 'lobby', 'hi')).error.code, 'forbidden');
  ann.socket.emit('message', 'lobby', 'hi');
  const [, told] = await ann.next('error');
  assert.deepEqual([told.code, told.event], ['forbidden', 'message']);
  const joined = await ann.ask('join', 'lobby');
  assert.equal(joined.ok, true);
});

test('other dialects share the rooms, and a lost socket is recovered without asking the middleware', async (t) => {
  const url = await chat(t);
  const events = await stream(t, `${url}/v1/sse?channel=lobby`);
  const ann = await guest(t, url, 'ann');
  await ann.ask('enter', 'lobby');
  await ann.ask('message', 'lobby', 'hi');
  const heard = await events.inbox.next(({ data }) => data.event === 'message');
  assert.deepEqual(heard.data.data, ['ann', 'hi']);
  const back = new Promise((resolve) => { ann.socket.once('connect', resolve); });
  ann.socket.io.engine.close();
  await back;
  assert.equal(ann.socket.recovered, true);
});

test('what is volatile is for the sockets that are there: nobody else hears it, and nothing brings it back', async (t) => {
  const url = await chat(t);
  const events = await stream(t, `${url}/v1/sse?channel=lobby`);
  const overWebSocket = { transports: ['websocket'] };
  const [ann, bob] = [await guest(t, url, 'ann', overWebSocket), await guest(t, url, 'bob', overWebSocket)];
  for (const { ask } of [ann, bob]) await ask('enter', 'lobby');
  await ann.ask('typing', 'lobby');
  await ann.ask('message', 'lobby', 'hi');
  const names = [];
  while (names.at(-1) !== 'message') names.push((await bob.inbox.next())[0]);
  assert.deepEqual(names, ['typing', 'message']);
  const heard = [];
  while (heard.at(-1) !== 'message') heard.push((await events.inbox.next()).data.event);
  assert.deepEqual(heard, ['entered', 'entered', 'message']);
});

test('the old connection of a recovered socket, closed late, leaves the new one its closures', async (t) => {
  const url = await chat(t);
  /// A client by hand, in `/` with what it shows.
  const hand = async (auth) => {
    const ws = new WebSocket(`${url.replace('http', 'ws')}/socket.io/?EIO=4&transport=websocket`);
    t.after(() => ws.terminate());
    const packets = new Inbox();
    ws.on('message', (data) => packets.push(data.toString()));
    const next = (start) => packets.next((packet) => packet.startsWith(start), `a packet ${start}`);
    await next('0');
    ws.send(`40${JSON.stringify(auth)}`);
    return { ws, next, connected: JSON.parse((await next('40')).slice(2)) };
  };
  const watcher = await guest(t, url, 'watcher');
  await watcher.ask('enter', 'lobby');
  const old = await hand({ name: 'ann' });
  old.ws.send('420["enter","lobby"]');
  await old.next('430');
  const { pid, sid } = old.connected;
  const recovered = await hand({ pid });
  assert.equal(recovered.connected.sid, sid);
  assert.deepEqual((await watcher.next('left')).slice(1, 3), ['ann', 'transport close']);
  const gone = new Promise((resolve) => { old.ws.once('close', resolve); });
  old.ws.close();
  await within(gone, 'the end of the old connection');
  recovered.ws.send('421["message","lobby",7]');
  assert.match(await recovered.next('431'), /do not fit/);
});

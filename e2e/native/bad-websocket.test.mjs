// Frames and messages that no client should send: each has its close code or error, costs bounded memory, and leaves others alone.
// budget: 240 s

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { connect } from '../lib/clients.mjs';
import { omnivox } from '../lib/omnivox.mjs';
import { OPCODE, closeFrame, frame, frames, raw, upgradeRequest, upgraded } from '../lib/raw.mjs';
import { OPEN } from '../lib/settings.mjs';

const text = (payload, options) => frame(OPCODE.text, payload, options);
const close = (code, reason = '') => frame(OPCODE.close, Buffer.concat([Buffer.from([code >> 8, code & 255]), Buffer.from(reason)]));

test('violations of the protocol are closed with the right code', async (t) => {
  const server = await omnivox(t);
  const neighbour = await connect(t, server.ws);
  await neighbour.subscribe('neighbour');
  for (const [name, bytes, code] of [
    ['an unmasked frame', text('{"type":"ping"}', { masked: false }), 1002],
    ['a reserved bit', text('{}', { rsv: 2 }), 1002],
    ['the compression bit without compression', text('{}', { rsv: 4 }), 1002],
    ['a reserved opcode', frame(3, 'x'), 1002],
    ['a reserved control opcode', frame(11, 'x'), 1002],
    ['a fragmented ping', frame(OPCODE.ping, 'x', { fin: false }), 1002],
    ['a ping that is too long', frame(OPCODE.ping, 'x'.repeat(126)), 1002],
    ['a continuation of nothing', frame(OPCODE.continuation, 'x'), 1002],
    ['a new message inside another', Buffer.concat([text('{', { fin: false }), text('{}')]), 1002],
    ['text that is not UTF-8', text(Buffer.from([0x22, 0xc3, 0x28, 0x22])), 1007],
    ['a surrogate in UTF-8', text(Buffer.from([0xed, 0xa0, 0x80])), 1007],
    ['text that ends inside a character', text(Buffer.from([0xf0, 0x9f, 0x98])), 1007],
    ['bad UTF-8 across fragments', Buffer.concat([text(Buffer.from([0xf0, 0x9f]), { fin: false }), frame(OPCODE.continuation, Buffer.from([0x20]))]), 1007],
    ['a frame beyond the limit, by its head alone', frame(OPCODE.text, '', { length: 2 ** 31 }), 1009],
    ['a length of 63 bits', frame(OPCODE.binary, '', { length: 2 ** 52 }), 1009],
    ['a close code that is reserved', close(1005), 1002],
    ['a close code below all', close(999), 1002],
    ['a close of one byte', frame(OPCODE.close, 'x'), 1002],
    ['a close reason that is not UTF-8', frame(OPCODE.close, Buffer.from([3, 232, 0xff])), 1007],
    ['an orderly close', close(1000, 'bye'), 1000],
    ['a close of the application', close(3001), 3001],
  ]) {
    await t.test(name, async (t) => {
      const peer = await upgraded(t, server.port);
      peer.send(bytes);
      const found = await closeFrame(peer);
      // RFC 6455 leaves open whether a bad reason is a protocol error or bad data.
      assert.ok(found.code === code || (name.startsWith('a close reason') && found.code === 1002), `${found.code} ${found.reason}`);
      await peer.closed(20_000);
    });
  }
  await server.publish('neighbour', 'untouched');
  assert.equal((await neighbour.next({ type: 'message' })).data, 'untouched');
});

test('messages that mean nothing get an error and the connection stays', async (t) => {
  const server = await omnivox(t);
  const socket = await connect(t, server.ws);
  for (const message of [
    '', ' ', 'not json', '{', '{"type":', '[]', '7', 'null', '"type"', '{"type":7}', '{"type":null}', '{"type":""}', '{}',
    '{"type":"subscribe","channel":"a\\u0000b"}', '{"type":"subscribe","channel":"a\\u007fb"}', '{"type":"subscribe","channel":"\\ud800"}',
    `{"type":"${'x'.repeat(2000)}"}`, '{"type":"chat","room":""}', '{"type":"chat","room":["a"]}',
    `{"type":"publish","channel":"a","event":"${'e'.repeat(2000)}","data":1}`,
    `{"type":"publish","channel":"a","event":"e","data":1,"id":"${'i'.repeat(2000)}"}`,
    `{"type":"publish","channel":"a","event":"e","data":${'['.repeat(60_000)}}`,
    '{"type":"ping"} trailing', "{'type':'ping'}", '\ufeff{"type":"ping"}',
  ]) {
    await t.test(JSON.stringify(message).slice(0, 60), async () => {
      socket.send(message);
      const answer = await socket.inbox.next();
      assert.equal(answer.type, 'error', JSON.stringify(answer));
      assert.match(answer.code, /^[a-z0-9_]+$/);
      assert.ok(answer.message.length > 5);
    });
  }
  assert.equal((await socket.call({ type: 'ping' })).type, 'pong');
});

test('too many channels on one connection is an error that names the limit', async (t) => {
  const server = await omnivox(t, { settings: `${OPEN}[limits]\nchannels_per_connection_max = 10\n` });
  const socket = await connect(t, server.ws);
  for (let number = 0; number < 10; number += 1) assert.equal((await socket.subscribe(`c${number}`)).type, 'subscribed');
  const refused = await socket.subscribe('one-too-many');
  assert.equal(refused.type, 'error');
  assert.match(refused.message, /10|channels_per_connection_max/);
  assert.equal((await socket.call({ type: 'unsubscribe', channel: 'c0' })).type, 'unsubscribed');
  assert.equal((await socket.subscribe('one-again')).type, 'subscribed');
});

test('subscribing twice is one subscription', async (t) => {
  const server = await omnivox(t);
  const socket = await connect(t, server.ws);
  await socket.subscribe('twice');
  await socket.subscribe('twice');
  await server.publish('twice', 1);
  await server.publish('twice', 2);
  assert.deepEqual([(await socket.next({ type: 'message' })).data, (await socket.next({ type: 'message' })).data], [1, 2]);
});

test('a message larger than the limit is closed with 1009, also in fragments', async (t) => {
  const server = await omnivox(t, { settings: `${OPEN}[limits]\nmessage_bytes_max = 1000\n` });
  const ok = `{"type":"ping","pad":"${'x'.repeat(900)}"}`;
  const peer = await upgraded(t, server.port, server.path);
  peer.send(text(ok));
  await peer.when((it) => frames(it.received).length > 0, 'an answer to what is within the limit');
  peer.send(text('x'.repeat(1001)));
  assert.equal((await closeFrame(peer)).code, 1009);
  const other = await upgraded(t, server.port, server.path);
  for (let part = 0; part < 11; part += 1) other.send(frame(part === 0 ? OPCODE.text : OPCODE.continuation, 'x'.repeat(100), { fin: false }));
  assert.equal((await closeFrame(other)).code, 1009);
});

test('a million tiny frames and pings cost bounded memory, and others get their turn', async (t) => {
  const server = await omnivox(t);
  const neighbour = await connect(t, server.ws);
  await neighbour.subscribe('neighbour');
  const peers = [await upgraded(t, server.port), await upgraded(t, server.port)];
  const before = server.residentKb();
  // An unfinished message in pieces of one byte, and pings whose pongs nobody reads.
  const pieces = Buffer.concat([text('"', { fin: false }), ...Array.from({ length: 5000 }, () => frame(OPCODE.continuation, 'x', { fin: false }))]);
  const rest = pieces.subarray(text('"', { fin: false }).length);
  const pings = Buffer.concat(Array.from({ length: 5000 }, () => frame(OPCODE.ping)));
  peers[1].socket.pause();
  const flood = async (peer, first, bytes) => {
    peer.send(first);
    for (let round = 0; round < 100 && !peer.socket.destroyed; round += 1) {
      if (!peer.socket.write(bytes)) await Promise.race([new Promise((resolve) => peer.socket.once('drain', resolve)), peer.ended, tick()]);
    }
  };
  const floods = [flood(peers[0], pieces, rest), flood(peers[1], pings, pings)];
  for (let number = 0; number < 20; number += 1) {
    await server.publish('neighbour', number);
    assert.equal((await neighbour.next({ type: 'message' })).data, number);
  }
  await Promise.all(floods);
  const grown = server.residentKb() - before;
  assert.ok(grown < 64 * 1024, `${grown} KB`);
  await server.assertHealthy();
});

test('handshakes that are none are refused with a status', async (t) => {
  const server = await omnivox(t);
  const good = upgradeRequest(server.port);
  for (const [name, request, statuses] of [
    ['not GET', good.replace('GET', 'POST'), [405]],
    ['no key', good.replace(/Sec-WebSocket-Key.*\r\n/, ''), [400]],
    ['a short key', good.replace(/(Sec-WebSocket-Key: ).*/, '$1YWJj'), [400]],
    ['two keys', good.replace(/(Sec-WebSocket-Key: .*\r\n)/, '$1$1'), [400]],
    ['version 12', good.replace('Version: 13', 'Version: 12'), [400, 426]],
    ['no version', good.replace(/Sec-WebSocket-Version.*\r\n/, ''), [400, 426]],
    ['no Connection: Upgrade', good.replace('Connection: Upgrade\r\n', ''), [400, 426]],
    ['HTTP/1.0', good.replace('HTTP/1.1', 'HTTP/1.0'), [400, 426, 505]],
    ['no upgrade at all', `GET /ws HTTP/1.1\r\nHost: 127.0.0.1:${server.port}\r\n\r\n`, [400, 426]],
  ]) {
    await t.test(name, async (t) => {
      const peer = await raw(t, server.port);
      peer.send(request);
      const { status, head, body } = await peer.response();
      assert.ok(statuses.includes(status), `${status}: ${body}`);
      if (status === 426) assert.match(head, /\r\nsec-websocket-version: *13/i);
    });
  }
});

test('frames in the packet of the handshake are read', async (t) => {
  const server = await omnivox(t);
  const peer = await raw(t, server.port);
  peer.send(Buffer.concat([Buffer.from(upgradeRequest(server.port)), text('{"type":"ping","ref":1}')]));
  await peer.when((it) => it.text.includes('"pong"'), 'a pong');
});

test('a peer that answers no ping is found and disconnected', async (t) => {
  const server = await omnivox(t, { settings: `${OPEN}[heartbeat]\nws_ping_interval_ms = 300\nws_pong_timeout_ms = 300\n` });
  const silent = await upgraded(t, server.port, server.path);
  await silent.when((it) => frames(it.received).some(({ opcode }) => opcode === OPCODE.ping), 'a ping');
  await silent.closed(10_000);
});

function tick() {
  return new Promise((resolve) => setTimeout(resolve, 100));
}

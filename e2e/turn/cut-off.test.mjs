// What a member of a room relays ends when it leaves; and when its bytes are used up. coturn's client relays, with the room's credential.
// parts: coturn

import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { test } from 'node:test';
import { connect } from '../lib/clients.mjs';
import { basic, claims, secret, token } from '../lib/credentials.mjs';
import { omnivox } from '../lib/omnivox.mjs';
import { pair, until } from './relay.mjs';

/// A server whose relay serves coturn's client, a member of the room, and what the member was given.
async function member(t, flags = []) {
  const server = await omnivox(t, { flags: ['--turn-old-channel-numbers', 'true', ...flags] });
  const socket = await connect(t, server.ws);
  const entered = await socket.call({ type: 'enter', channel: 'room', seat: randomUUID() });
  assert.equal(entered.type, 'entered');
  const { urls, username, credential } = entered.iceServers.find((known) => known.username);
  const port = Number(urls[0].match(/:(\d+)\?/)[1]);
  return { server, socket, entered, port, username, credential };
}

const relayed = (server) => server.metric('omnivox_turn_packets_to_clients_total');
const allocations = (server) => server.metric('omnivox_turn_allocations');

test('leaving the room ends what is relayed, and the credential', async (t) => {
  const { server, socket, entered, ...given } = await member(t);
  const clients = pair(t, { ...given, messages: 5_000 });
  await until(async () => await relayed(server) > 20, 'packets are relayed');
  const left = await socket.call({ type: 'leave', channel: 'room', key: entered.member });
  assert.equal(left.type, 'left');
  await until(async () => await allocations(server) === 0, 'the allocations end');
  const [end, dropped] = [await relayed(server), await server.metric('omnivox_turn_dropped_no_allocation_total')];
  await until(async () => await server.metric('omnivox_turn_dropped_no_allocation_total') > dropped, 'what the client still sends is dropped');
  assert.equal(await relayed(server), end, 'nothing is relayed any more');
  assert.ok(await server.metric('omnivox_turn_revoked_allocations_total') >= 2);
  await clients.stop('SIGKILL');
  const refused = await server.metric('omnivox_turn_credentials_refused_total');
  const again = pair(t, given);
  await until(async () => await server.metric('omnivox_turn_credentials_refused_total') > refused, 'the credential is refused');
  await again.stop('SIGKILL');
  assert.equal(await allocations(server), 0);
});

test('a lost connection ends it when the seat is given up', async (t) => {
  const { server, socket, entered, ...given } = await member(t, ['--limits-seat-grace-ms', '200']);
  const clients = pair(t, { ...given, messages: 5_000 });
  await until(async () => await relayed(server) > 20, 'packets are relayed');
  socket.ws.terminate();
  await until(async () => await allocations(server) === 0, 'the allocations end');
  await clients.stop('SIGKILL');
});

test('a user who has used its bytes up relays no more', async (t) => {
  const { server, entered, ...given } = await member(t, ['--turn-user-bytes-max', '5000']);
  const clients = pair(t, { ...given, messages: 500 });
  await until(async () => await server.metric('omnivox_turn_dropped_user_bytes_total') > 0, 'packets are dropped');
  assert.ok(await server.metric('omnivox_turn_bytes_to_clients_total') <= 5_000);
  await clients.stop('SIGKILL');
});

test('revoking a user over HTTP ends what it relays, whatever its seats', async (t) => {
  const key = secret();
  const settings = `
[server]
listen = ["127.0.0.1:0"]

[[app]]
id = "shop"
secret = "${key}"

[turn]
udp = ["127.0.0.1:0"]
peers_allow = ["127.0.0.1"]
old_channel_numbers = true
`;
  const server = await omnivox(t, { settings });
  const enter = async (sub) => {
    const socket = await connect(t, server.ws);
    const bearer = token(key, claims({ sub, channels: { room: ['subscribe', 'presence'] } }));
    assert.equal((await socket.call({ type: 'connect', token: bearer })).type, 'connected');
    const entered = await socket.call({ type: 'enter', channel: 'room', seat: randomUUID() });
    const { urls, username, credential } = entered.iceServers.find((known) => known.username);
    return { port: Number(urls[0].match(/:(\d+)\?/)[1]), username, credential };
  };
  const [ana, bob] = [await enter('ana'), await enter('bob')];
  const [hers, his] = [pair(t, { ...ana, messages: 5_000 }), pair(t, { ...bob, messages: 5_000 })];
  await until(async () => await allocations(server) >= 4 && await relayed(server) > 20, 'both relay');
  const before = await allocations(server);
  const { status } = await server.request('POST', '/v1/revoke', { user: 'ana' }, { authorization: basic('shop', key) });
  assert.equal(status, 200);
  await until(async () => await allocations(server) === before / 2, 'her allocations end, and his stay');
  await hers.stop('SIGKILL');
  const refused = await server.metric('omnivox_turn_credentials_refused_total');
  const again = pair(t, ana);
  await until(async () => await server.metric('omnivox_turn_credentials_refused_total') > refused, 'her credential is refused');
  await again.stop('SIGKILL');
  await his.stop('SIGKILL');
});

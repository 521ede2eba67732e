// Every limit of docs/limits.md, set low and gone beyond: the breach looks as the page says, and the server goes on.
// budget: 180 s

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { connect } from '../lib/clients.mjs';
import { until } from '../lib/inbox.mjs';
import { ROOT, omnivox } from '../lib/omnivox.mjs';
import { raw } from '../lib/raw.mjs';
import { OPEN } from '../lib/settings.mjs';

const publish = (server, body) => server.post('/v1/publish', body);
const socket = (t, server) => connect(t, server.ws);
const refused = (answer, status, code) => assert.deepEqual([answer.status, answer.json?.error.code], [status, code], answer.text?.slice(0, 300));
const error = (answer) => assert.deepEqual([answer.type, answer.code], ['error', 'limit_exceeded'], JSON.stringify(answer));

/// What is sent as a request and how the answer begins, on a socket of its own that must be closed then.
async function last(t, server, request, status, code) {
  const peer = await raw(t, server.port);
  peer.send(request.replace('HOST', `Host: 127.0.0.1:${server.port}`));
  const answer = await peer.response();
  refused({ status: answer.status, json: JSON.parse(answer.body), text: answer.body }, status, code);
  await peer.closed();
}

const BREACHES = {
  message_bytes_max: ['100', async (t, server) => {
    const open = await socket(t, server);
    open.send({ type: 'ping', pad: 'x'.repeat(100) });
    assert.equal((await open.closed).code, 1009);
    refused(await publish(server, { channel: 'a', data: 'x'.repeat(100) }), 429, 'limit_exceeded');
  }],
  body_bytes_max: ['100', (t, server) => last(t, server, 'POST /v1/publish HTTP/1.1\r\nHOST\r\nContent-Length: 101\r\n\r\n', 413, 'body_too_large')],
  head_bytes_max: ['1000', async (t, server) => {
    await last(t, server, `GET /health HTTP/1.1\r\nHOST\r\nX-A: ${'x'.repeat(1000)}\r\n\r\n`, 431, 'head_too_large');
    await last(t, server, `GET /health?${'x'.repeat(500)} HTTP/1.1\r\nHOST\r\n\r\n`, 414, 'target_too_long');
  }],
  headers_max: ['5', async (t, server) => {
    const peer = await raw(t, server.port);
    peer.send(`GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n${'X-A: b\r\n'.repeat(5)}\r\n`);
    assert.equal((await peer.response()).status, 431);
    await peer.closed();
  }],
  head_time_max_ms: ['300', (t, server) => last(t, server, 'GET /health HTTP/1.1\r\nHOST\r\n', 408, 'head_timeout')],
  body_time_max_ms: ['300', (t, server) => last(t, server, 'POST /v1/publish HTTP/1.1\r\nHOST\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{', 408, 'body_timeout')],
  keep_alive_time_max_ms: ['300', async (t, server) => {
    const peer = await raw(t, server.port);
    peer.send('GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n');
    assert.equal((await peer.response()).status, 200);
    await peer.closed();
  }],
  batch_publications_max: ['2', async (t, server) => {
    const message = { channel: 'a', data: 1 };
    refused(await publish(server, { messages: [message, message, message] }), 429, 'limit_exceeded');
  }],
  channels_per_publication_max: ['2', async (t, server) => refused(await publish(server, { channels: ['a', 'b', 'c'], data: 1 }), 429, 'limit_exceeded')],
  event_name_bytes_max: ['10', async (t, server) => refused(await publish(server, { channel: 'a', event: 'x'.repeat(11), data: 1 }), 429, 'limit_exceeded')],
  publication_id_bytes_max: ['10', async (t, server) => refused(await publish(server, { channel: 'a', id: 'x'.repeat(11), data: 1 }), 429, 'limit_exceeded')],
  connections_max: ['3', async (t, server) => {
    const peers = [];
    for (let count = 0; count < 3; count += 1) {
      const peer = await raw(t, server.port);
      peer.send('GET /v1/sse?channel=a HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n');
      await peer.when((it) => it.text.startsWith('HTTP/1.1 200'), 'a stream');
      peers.push(peer);
    }
    const fourth = await raw(t, server.port);
    fourth.send('GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n');
    await fourth.closed();
    assert.equal(fourth.text, '');
    for (const peer of peers) peer.socket.destroy();
    const counted = () => server.metric('omnivox_refused_connections_total').catch(() => 0);
    assert.ok((await until(counted, 'there is room again')) >= 1);
  }],
  channels_per_connection_max: ['2', async (t, server) => {
    const open = await socket(t, server);
    for (const channel of ['a', 'b']) assert.equal((await open.subscribe(channel)).type, 'subscribed');
    error(await open.subscribe('c'));
    assert.equal((await server.get('/v1/poll?channel=a&channel=b&channel=c&timeout=0')).status, 429);
  }],
  members_per_channel_max: ['1', async (t, server) => {
    const [one, other] = [await socket(t, server), await socket(t, server)];
    for (const open of [one, other]) await open.subscribe('a');
    assert.notEqual((await one.call({ type: 'enter', channel: 'a' })).type, 'error');
    error(await other.call({ type: 'enter', channel: 'a' }));
  }],
  member_data_bytes_max: ['10', async (t, server) => {
    const open = await socket(t, server);
    await open.subscribe('a');
    error(await open.call({ type: 'enter', channel: 'a', data: 'x'.repeat(10) }));
  }],
  channels_max: ['2', async (t, server) => {
    for (const channel of ['a', 'b']) await publish(server, { channel, data: 1 });
    refused(await publish(server, { channel: 'c', data: 1 }), 429, 'limit_exceeded');
  }],
  history_page_max: ['3', async (t, server) => {
    for (let number = 0; number < 5; number += 1) await publish(server, { channel: 'a', data: number });
    const { json } = await server.get('/v1/poll?channel=a&last=1&timeout=0');
    assert.deepEqual([json.events.length, json.more], [3, true]);
    const rest = (await server.get(`/v1/poll?channel=a&last=${json.last}&timeout=0`)).json;
    assert.deepEqual([rest.events.map(({ data }) => data), rest.more], [[4], false]);
  }],
  poll_time_max_ms: ['300', async (t, server) => {
    const { last } = (await server.get('/v1/poll?channel=a')).json;
    const { json } = await server.get(`/v1/poll?channel=a&last=${last}&timeout=50`);
    assert.deepEqual([json.events, json.last], [[], last]);
  }],
  token_bytes_max: ['50', async (t, server) => {
    const answer = await server.get('/v1/history?channel=a', { authorization: `Bearer ${'x'.repeat(51)}` });
    refused(answer, 401, 'unauthorized');
    assert.match(answer.json.error.message, /limits\.token_bytes_max/);
  }],
  idempotency_ids_max: ['2', async (t, server) => {
    const first = (await publish(server, { channel: 'a', id: '1', data: 1 })).json.id;
    for (const id of ['2', '3', '4']) await publish(server, { channel: 'a', id, data: 1 });
    assert.notEqual((await publish(server, { channel: 'a', id: '1', data: 1 })).json.id, first);
  }],
};

/// Those whose breach other files show, or that only load can reach.
const ELSEWHERE = {
  outbox_bytes_hard: 'slow-reader',
  outbox_bytes_soft: 'slow-reader',
  outbox_soft_time_max_ms: 'slow-reader',
  commands_in_flight_max: 'the server answers faster than a client can send',
  idempotency_time_ms: 'time is an argument of the unit tests',
  shard_queue_max: 'the hub floods its shards in its own tests',
  handshakes_max: 'floods',
  connections_per_address_max: "the server's tests of admission",
  connects_per_second_max: "the server's tests of admission",
  connects_per_address_per_second_max: "the server's tests of admission",
  requests_per_address_per_second_max: "the server's tests of admission",
  seats_per_room_max: "the hub's tests of rooms",
  seats_leased_max: "the hub's tests of rooms",
  seat_grace_ms: "the hub's tests of rooms",
  signals_burst_max: "the hub's tests of rooms",
  signals_per_second_max: "the hub's tests of rooms",
  tickets_max: "the credentials' own tests",
  revocations_max: "the credentials' own tests",
  signatures_max: "the credentials' own tests",
  connections_per_app_max: "the hub's tests of quotas",
  connections_per_user_max: 'quotas',
  messages_per_second_max: 'quotas',
  publications_per_second_max: 'quotas',
  publications_per_user_per_second_max: 'quotas',
  publications_per_app_per_second_max: 'quotas',
  subscriptions_per_app_max: "the hub's tests of quotas",
  subscriptions_per_user_max: 'quota-table',
  subscriptions_per_address_max: "the hub's tests of quotas",
  publications_per_address_per_second_max: 'quota-table',
  deliveries_per_second_max: 'quota-table',
  deliveries_per_user_per_second_max: 'quota-table',
  deliveries_per_app_per_second_max: 'quota-table',
  deliveries_per_address_per_second_max: 'quota-table',
  bytes_in_per_second_max: 'quota-table',
  bytes_in_per_user_per_second_max: 'quota-table',
  bytes_in_per_app_per_second_max: 'quota-table',
  bytes_in_per_address_per_second_max: 'quota-table',
  bytes_out_per_second_max: 'quota-table',
  bytes_out_per_user_per_second_max: 'quota-table',
  bytes_out_per_app_per_second_max: 'quota-table',
  bytes_out_per_address_per_second_max: 'quota-table',
};

for (const [key, [value, breach]] of Object.entries(BREACHES)) {
  test(key, async (t) => {
    const server = await omnivox(t, { settings: `${OPEN}[limits]\n${key} = ${value}\n` });
    await breach(t, server);
  });
}

test('the page names every limit of the settings, and every limit has its test', () => {
  const page = readFileSync(path.join(ROOT, 'docs/limits.md'), 'utf8');
  const [, section] = readFileSync(path.join(ROOT, 'docs/config.md'), 'utf8').split('## `[limits]`');
  const keys = [...section.split('\n## ')[0].matchAll(/^\| `(\w+)`/gm)].map(([, key]) => key);
  assert.ok(keys.length > 20, `${keys.length} keys`);
  for (const key of keys) {
    assert.ok(page.includes(`\`${key}\``), `docs/limits.md lacks ${key}`);
    assert.ok(key in BREACHES || key in ELSEWHERE, `${key} has no test`);
  }
});

// A relay credential is worth something as long as its member is in the room and its user is not revoked: a real client (Chromium) loses its
// allocation, and gets no other with the same credential.
// parts: chromium
// budget: 120 s

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { callers } from '../lib/chromium.mjs';
import { connect } from '../lib/clients.mjs';
import { until } from '../lib/inbox.mjs';
import { omnivox } from '../lib/omnivox.mjs';

/// Runs in the page: whether the credential gets a relay candidate.
async function gather(iceServers) {
  const connection = new RTCPeerConnection({ iceServers, iceTransportPolicy: 'relay' });
  connection.createDataChannel('probe');
  (window.kept ??= []).push(connection);
  const found = new Promise((resolve) => {
    connection.onicecandidate = ({ candidate }) => { if (!candidate || candidate.candidate) resolve(candidate?.type); };
  });
  await connection.setLocalDescription();
  return (await found) ?? 'none';
}

const ENDS = [
  ['it leaves the room', async (server, { socket, member }) => { await socket.call({ type: 'leave', channel: 'room', key: member }); }],
  ['its connection is lost and the seat is given back', async (server, { socket }) => { await socket.close(); }],
  ['it leaves by a request', async (server, { proof }) => { assert.equal((await server.post('/v1/rooms/leave', proof)).status, 200); }, 'requests'],
  ['it shows no sign any more', async () => {}, 'requests'],
];

for (const [what, end, way] of ENDS) {
  test(`a credential is cut off when ${what}`, async (t) => {
    const server = await omnivox(t, { env: { OMNIVOX_LIMITS_SEAT_GRACE_MS: '1500' } });
    const open = await callers(t);
    const page = await open(`${server.url}/`);
    const proof = { channel: 'room', seat: 'the seat of a relay client' };
    const socket = way ? undefined : await connect(t, server.ws);
    const { member, iceServers } = way ? (await server.post('/v1/rooms/enter', proof)).json : await socket.call({ type: 'enter', ...proof });
    assert.equal(await page.evaluate(gather, iceServers), 'relay');
    const allocations = () => server.metric('omnivox_turn_allocations');
    assert.ok(await allocations() > 0);
    await end(server, { socket, member, proof: { ...proof, member } });
    await until(async () => await allocations() === 0, 'what it relayed has ended');
    assert.equal(await page.evaluate(gather, iceServers), 'none', 'and it gets nothing more');
    assert.equal(await allocations(), 0);
  });
}
